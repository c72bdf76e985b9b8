//! An image in a registry, by the OCI distribution specification: manifests and blobs, by name and
//! digest.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use common::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Choice;
use super::client::{Client, Document, base, lock};
use super::digest::{Digest, Verified, compare};
use super::files::huge;
use super::manifest::{self, Chosen, Descriptor, Documents, LARGEST, parse};
use super::platform::Platform;
use super::reference::Reference;
use super::store::Store;
use crate::http::{Answer, Trouble};
use crate::patience::Patience;
use crate::transfer::Transfer;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// One image's repository, and what the cache has of it.
pub struct Registry {
    /// Nobody is asked if all is to be had from the cache.
    client: Option<Client>,
    pub store: Store,
    reference: Reference,
    /// Of the manifest that the name leads to.
    url: String,
    /// That manifest.
    first: Mutex<Option<(Digest, Vec<u8>)>>,
}

/// What tells a document from another, as long as it does not say so itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

impl Registry {
    pub fn new(
        reference: &Reference,
        transfer: &Transfer,
        plain_http: bool,
    ) -> Result<Self, Failure> {
        let client = match transfer.offline {
            true => None,
            false => Some(Client::new(reference, transfer, plain_http)?),
        };
        Ok(Self {
            client,
            store: Store::new(transfer.cache.clone()),
            url: format!("{}/manifests/{}", base(reference, plain_http), reference.manifest()),
            reference: reference.clone(),
            first: Mutex::default(),
        })
    }

    /// The image, of those that the name leads to.
    pub fn choose(&self, choice: &Choice) -> Result<Chosen, Failure> {
        let (digest, bytes, told) = self.top()?;
        let typed: Typed = parse(&bytes, &format!("the manifest {}", self.reference.manifest()))?;
        // One program would take it for one thing, another for the other: CVE-2021-41190.
        if typed.manifests.is_some() && typed.layers.is_some() {
            let name = self.reference.manifest();
            return Err(Failure::new(format!("read the manifest {name}: it is an index, too")));
        }
        let top = Descriptor {
            media_type: typed.media_type().or(told).unwrap_or_default(),
            digest,
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        };
        *lock(&self.first) = Some((digest, bytes));
        let machine = Platform::machine();
        manifest::choose(self, vec![top], choice.platform.as_ref().unwrap_or(&machine))
    }

    /// The manifest, or the index, that the name leads to: its digest, and what the registry says it
    /// is. Where a tag leads is asked each time; what is there now may be known already.
    fn top(&self) -> Result<(Digest, Vec<u8>, Option<String>), Failure> {
        let known = self.reference.digest.or_else(|| self.store.known(&self.url));
        let cached = || known.and_then(|digest| Some((digest, self.store.document(digest)?, None)));
        let path = format!("manifests/{}", self.reference.manifest());
        let Some(client) = &self.client else {
            return cached().ok_or_else(|| self.missing());
        };
        let is_known = |known| client.digest(&path, ACCEPT) == Some(known);
        let still = self.reference.digest.is_some() || known.is_some_and(is_known);
        if let Some(cached) = still.then(cached).flatten() {
            return Ok(cached);
        }
        let there = known.and_then(|digest| self.store.path(digest));
        let hint = there.map(|_| "--offline takes what is in the cache");
        let Document { bytes, media_type } = client.document(&path, ACCEPT, hint)?;
        let digest = Digest::of(&bytes);
        compare(digest, self.reference.digest.unwrap_or(digest), "the manifest")?;
        self.store.keep_document(digest, &bytes);
        self.store.remember(&self.url, digest);
        Ok((digest, bytes, media_type))
    }

    fn missing(&self) -> Failure {
        self.store.missing(&format!("docker://{}", self.reference))
    }

    fn client(&self, digest: Digest) -> Result<&Client, Failure> {
        self.client.as_ref().ok_or_else(|| self.store.missing(&digest.to_string()))
    }

    /// A blob that is not in the cache.
    pub fn download(&self, digest: Digest) -> Result<BlobDownload<'_>, Failure> {
        let client = self.client(digest)?;
        Ok(BlobDownload { client, path: format!("blobs/{digest}"), patience: client.patience() })
    }
}

/// A blob that is being asked for.
pub struct BlobDownload<'a> {
    client: &'a Client,
    path: String,
    pub patience: Patience,
}

impl BlobDownload<'_> {
    /// Begins, from an offset on.
    pub fn begin(&self, from: u64) -> Result<Answer, Trouble> {
        self.client.begin(&self.path, from)
    }

    /// What it means that it broke off.
    pub fn broken(&self, error: &io::Error) -> Trouble {
        self.client.broken(&self.path, error)
    }
}

impl Typed {
    /// What it says it is, or has the form of.
    fn media_type(self) -> Option<String> {
        let index = self.manifests.map(|_| "application/vnd.oci.image.index.v1+json");
        let manifest = self.layers.map(|_| "application/vnd.oci.image.manifest.v1+json");
        let form = index.or(manifest);
        self.media_type.or(form.map(str::to_owned))
    }
}

impl Documents for Registry {
    fn manifest(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        let first = lock(&self.first).clone().filter(|(first, _)| *first == of.digest);
        first.map_or_else(|| self.document("manifests", of), |(_, bytes)| Ok(bytes))
    }

    fn config(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        self.document("blobs", of)
    }
}

impl Registry {
    fn document(&self, kind: &str, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        let name = of.digest.to_string();
        if of.size > LARGEST {
            return Err(huge(&name));
        }
        if let Some(bytes) = self.store.document(of.digest) {
            return Ok(bytes);
        }
        let accept = if kind == "manifests" { ACCEPT } else { "*/*" };
        let client = self.client(of.digest)?;
        let Document { bytes, .. } = client.document(&format!("{kind}/{name}"), accept, None)?;
        Verified::new(&bytes[..], Some(of.size)).finish(Some(of.digest), &name)?;
        self.store.keep_document(of.digest, &bytes);
        Ok(bytes)
    }
}
