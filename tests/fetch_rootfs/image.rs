//! Images made by the test: blobs by their digests, and what names them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::run;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Blobs, by `sha256:…`.
#[derive(Clone, Default)]
pub struct Image {
    pub blobs: BTreeMap<String, Vec<u8>>,
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".into(), |text, byte| text + &format!("{byte:02x}"))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

impl Image {
    /// Takes a blob; gives its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        self.blobs.insert(digest.clone(), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub fn document(&mut self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// An image for a machine: layers as tar archives; gives its manifest's descriptor.
    pub fn add(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let packed: Vec<Value> = layers.iter().map(|tar| self.blob(LAYER, &gzip(tar))).collect();
        let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
        self.add_with(architecture, &packed, &diff_ids)
    }

    pub fn add_with(&mut self, architecture: &str, layers: &[Value], diff_ids: &[String]) -> Value {
        let config = json!({"os": "linux", "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": layers});
        let mut descriptor = self.document(MANIFEST, &manifest);
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    }

    /// Writes it as a layout whose index has these.
    pub fn layout(&self, folder: &Path, manifests: &[Value]) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("our own folder");
        for (digest, bytes) in &self.blobs {
            fs::write(blobs.join(&digest[7..]), bytes).expect("our own folder");
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        fs::write(folder.join("index.json"), index.to_string()).expect("our own folder");
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(folder.join("oci-layout"), version).expect("our own folder");
    }
}

/// A descriptor with a name, as an index has it.
pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

/// A folder as a tar archive.
pub fn packed(folder: &Path) -> Vec<u8> {
    let out = Command::new("tar").arg("-C").arg(folder).args(["-cf", "-", "."]).output();
    let out = out.expect("tar is installed");
    assert!(out.status.success());
    out.stdout
}

/// The machine's name among those of images.
pub fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A folder's times don't tell anything where no layer says them.
pub fn same_time(root: &Path) {
    run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
}
