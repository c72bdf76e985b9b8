//! An image in a registry, by the OCI distribution specification: manifests and blobs, by name and
//! digest.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use common::Failure;
use serde::Deserialize;

use super::client::{Client, Document, lock};
use super::digest::{Digest, Verified};
use super::files::huge;
use super::manifest::{self, Descriptor, Documents, LARGEST, parse};
use super::platform::Platform;
use super::reference::Reference;
use super::{Blob, Choice};
use crate::http::{Answer, Trouble};
use crate::patience::Patience;
use crate::transfer::Transfer;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// One image's repository.
pub struct Registry {
    client: Client,
    name: String,
    digest: Option<Digest>,
    /// The manifest that the name led to.
    first: Mutex<Option<(Digest, Vec<u8>)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl Registry {
    pub fn new(
        reference: &Reference,
        transfer: &Transfer,
        plain_http: bool,
    ) -> Result<Self, Failure> {
        let client = Client::new(reference, transfer, plain_http)?;
        let (name, digest) = (reference.manifest(), reference.digest);
        Ok(Self { client, name, digest, first: Mutex::default() })
    }

    /// The layers of the image.
    pub fn layers(&self, choice: &Choice) -> Result<Vec<Blob>, Failure> {
        let name = &self.name;
        let Document { bytes, media_type } =
            self.client.document(&format!("manifests/{name}"), ACCEPT)?;
        if let Some(wanted) = self.digest {
            Verified::new(&bytes[..], None).finish(Some(wanted), "the manifest")?;
        }
        let typed: Typed = parse(&bytes, &format!("the manifest {name}"))?;
        let top = Descriptor {
            media_type: typed.media_type.or(media_type).unwrap_or_default(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        };
        *lock(&self.first) = Some((top.digest, bytes));
        let machine = Platform::machine();
        manifest::layers(self, vec![top], choice.platform.as_ref().unwrap_or(&machine))
    }

    pub fn patience(&self) -> Patience {
        self.client.patience()
    }

    /// A blob, from an offset on.
    pub fn blob(&self, digest: Digest, from: u64) -> Result<Answer, Trouble> {
        self.client.begin(&format!("blobs/{digest}"), from)
    }

    /// What it means that a blob broke off.
    pub fn broken(&self, digest: Digest, error: &io::Error) -> Trouble {
        self.client.broken(&format!("blobs/{digest}"), error)
    }
}

impl Documents for Registry {
    fn manifest(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        if let Some((_, bytes)) =
            lock(&self.first).as_ref().filter(|(first, _)| *first == of.digest)
        {
            return Ok(bytes.clone());
        }
        self.document("manifests", of)
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
        let accept = if kind == "manifests" { ACCEPT } else { "*/*" };
        let Document { bytes, .. } = self.client.document(&format!("{kind}/{name}"), accept)?;
        Verified::new(&bytes[..], Some(of.size)).finish(Some(of.digest), &name)?;
        Ok(bytes)
    }
}
