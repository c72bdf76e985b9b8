//! An image in a registry, by the OCI distribution specification: manifests and blobs, by name and
//! digest.

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::Failure;
use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

use super::client::{Client, body, lock};
use super::digest::{Digest, Verified};
use super::files::huge;
use super::manifest::{self, Descriptor, Documents, LARGEST, parse};
use super::platform::Platform;
use super::reference::Reference;
use super::{Blob, Choice};

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
    pub fn new(reference: &Reference, timeout: u32, plain_http: bool) -> Result<Self, Failure> {
        let client = Client::new(reference, timeout, plain_http)?;
        let (name, digest) = (reference.manifest(), reference.digest);
        Ok(Self { client, name, digest, first: Mutex::default() })
    }

    /// The layers of the image.
    pub fn layers(&self, choice: &Choice) -> Result<Vec<Blob>, Failure> {
        let name = &self.name;
        let response = self.client.get(&format!("manifests/{name}"), ACCEPT, 0)?;
        let told = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let told = told.map(|kind| kind.split(';').next().unwrap_or(kind).trim().to_owned());
        let bytes = body(response, name)?;
        if let Some(wanted) = self.digest {
            Verified::new(&bytes[..], None).finish(Some(wanted), "the manifest")?;
        }
        let typed: Typed = parse(&bytes, &format!("the manifest {name}"))?;
        let top = Descriptor {
            media_type: typed.media_type.or(told).unwrap_or_default(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        };
        *lock(&self.first) = Some((top.digest, bytes));
        let machine = Platform::machine();
        manifest::layers(self, vec![top], choice.platform.as_ref().unwrap_or(&machine))
    }

    /// A blob, from an offset on.
    pub fn blob(&self, digest: Digest, from: u64) -> Result<Response<Body>, Failure> {
        self.client.get(&format!("blobs/{digest}"), "*/*", from)
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
        let response = self.client.get(&format!("{kind}/{name}"), accept, 0)?;
        let bytes = body(response, &name)?;
        Verified::new(&bytes[..], Some(of.size)).finish(Some(of.digest), &name)?;
        Ok(bytes)
    }
}
