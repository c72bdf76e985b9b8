//! From an index over a manifest to the layers, by descriptors: what they name is verified before
//! it is read.

use std::collections::BTreeMap;

use common::Failure;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Blob;
use super::digest::Digest;
use super::platform::Platform;

/// The longest manifest that registries take.
pub const LARGEST: u64 = 4 << 20;
/// More layers than any builder makes.
const MOST_LAYERS: usize = 512;
/// An index in an index in an index; and all documents of one image.
const DEEPEST: usize = 3;
const MOST_DOCUMENTS: usize = 256;

/// What names a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub struct Config {
    #[serde(flatten)]
    pub platform: Platform,
    pub rootfs: RootFs,
}

#[derive(Deserialize)]
pub struct RootFs {
    pub diff_ids: Vec<Digest>,
}

/// An image that was chosen.
pub struct Chosen {
    pub manifest: Digest,
    pub config: Digest,
    /// The lowest first.
    pub layers: Vec<Blob>,
}

/// Where manifests and configurations come from, verified.
pub trait Documents {
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure>;
    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure>;
}

/// What a media type is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Index,
    Manifest,
    Layer,
    /// A layer that its maker does not let others publish.
    Foreign,
    Other,
}

impl Kind {
    pub fn of(media_type: &str) -> Self {
        match media_type {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Self::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Self::Manifest,
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Layer,
            text if text.contains("nondistributable") || text.contains("foreign") => Self::Foreign,
            _ => Self::Other,
        }
    }
}

/// Reads a document of an image.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::new(format!("read {what}: {error}")))
}

/// The same for what may hold a password: nothing of it is repeated, as is done of a value that has
/// another type than it should have.
pub fn parse_private<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = match error.is_data() {
            true => format!("another value is wanted at line {line} column {column}"),
            false => error.to_string(),
        };
        Failure::new(format!("read {what}: {why}"))
    })
}

/// The image for a platform, from what an index or a tag leads to.
pub fn choose(
    documents: &dyn Documents,
    top: Vec<Descriptor>,
    wanted: &Platform,
) -> Result<Chosen, Failure> {
    let mut search = Search { documents, left: MOST_DOCUMENTS, found: Vec::new() };
    search.go_through(top, 0)?;
    let fits = |(platform, _): &&(Platform, Found)| wanted.takes(platform);
    let best = search.found.iter().filter(fits).min_by_key(|(platform, _)| platform.rank());
    match best {
        Some((_, Found::Manifest(descriptor))) => {
            let descriptor = descriptor.clone();
            let (manifest, config) = search.read(&descriptor)?;
            let (of, config_of) = (descriptor.digest, manifest.config.digest);
            Ok(Chosen { manifest: of, config: config_of, layers: blobs(manifest, config)? })
        }
        Some((_, Found::Sole(..))) | None => {
            let platforms = search.found.iter().map(|(platform, _)| platform);
            let other = search.found.first().and_then(|(_, found)| match found {
                Found::Sole(kind) => Some(kind.as_str()),
                Found::Manifest(_) => None,
            });
            Err(none_for(wanted, platforms, other))
        }
    }
}

/// What is known of an image before it is chosen.
enum Found {
    Manifest(Descriptor),
    /// Not an image of a machine: an attestation, an artefact.
    Sole(String),
}

struct Search<'a> {
    documents: &'a dyn Documents,
    left: usize,
    found: Vec<(Platform, Found)>,
}

impl Search<'_> {
    fn go_through(&mut self, descriptors: Vec<Descriptor>, depth: usize) -> Result<(), Failure> {
        for descriptor in descriptors {
            match (Kind::of(&descriptor.media_type), descriptor.platform.clone()) {
                (Kind::Index, _) if depth == DEEPEST => {
                    return Err(Failure::new(format!(
                        "read the index {}: it is an index in {DEEPEST} others",
                        descriptor.digest
                    )));
                }
                (Kind::Index, _) => {
                    self.count()?;
                    let bytes = self.documents.manifest(&descriptor)?;
                    let index: Index = parse(&bytes, &format!("the index {}", descriptor.digest))?;
                    self.go_through(index.manifests, depth + 1)?;
                }
                (Kind::Manifest, Some(platform)) if !platform.architecture.is_empty() => {
                    self.found.push((platform, Found::Manifest(descriptor)));
                }
                (Kind::Manifest, _) => {
                    let (_, config) = self.read(&descriptor)?;
                    self.found.push((config.platform, Found::Manifest(descriptor)));
                }
                _ => {
                    let media_type = descriptor.media_type;
                    self.found.push((Platform::default(), Found::Sole(media_type)));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Failure> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Failure::new(format!("read the image: it has more than {MOST_DOCUMENTS} documents"))
        })?;
        Ok(())
    }

    fn read(&mut self, descriptor: &Descriptor) -> Result<(Manifest, Config), Failure> {
        self.count()?;
        let bytes = self.documents.manifest(descriptor)?;
        let manifest: Manifest = parse(&bytes, &format!("the manifest {}", descriptor.digest))?;
        self.count()?;
        let bytes = self.documents.config(&manifest.config)?;
        let what = format!("the configuration {}", manifest.config.digest);
        Ok((manifest, parse(&bytes, &what)?))
    }
}

fn blobs(manifest: Manifest, config: Config) -> Result<Vec<Blob>, Failure> {
    let Config { rootfs: RootFs { diff_ids }, .. } = config;
    check_counts(manifest.layers.len(), diff_ids.len())?;
    let pairs = manifest.layers.into_iter().zip(diff_ids);
    pairs
        .map(|(layer, diff_id)| {
            let fail = |why: &str| {
                let (digest, kind) = (layer.digest, &layer.media_type);
                Failure::new(format!("take the layer {digest}: its type {kind:?} {why}"))
            };
            match Kind::of(&layer.media_type) {
                Kind::Layer => Ok(Blob {
                    name: layer.digest.path(),
                    digest: Some(layer.digest),
                    size: Some(layer.size),
                    diff_id,
                }),
                Kind::Foreign => Err(fail("says that it is not distributed with the image")
                    .hint("its maker's licence wants it from its maker: take another image")),
                _ => Err(fail("is not one of a layer")),
            }
        })
        .collect()
}

/// Each layer has its digest of the archive inside.
pub fn check_counts(layers: usize, diff_ids: usize) -> Result<(), Failure> {
    if layers != diff_ids {
        return Err(Failure::new(format!(
            "read the manifest: it has {layers} layers, its configuration {diff_ids}"
        )));
    }
    if layers == 0 {
        return Err(Failure::new("read the manifest: it has no layers, there is nothing in it"));
    }
    if layers > MOST_LAYERS {
        return Err(Failure::new(format!(
            "read the manifest: it has {layers} layers, more than {MOST_LAYERS}"
        )));
    }
    Ok(())
}

/// There is no image for a platform, or none at all but something of another kind. Only names that
/// are some are repeated, and not all of very many.
pub fn none_for<'a>(
    wanted: &Platform,
    there: impl Iterator<Item = &'a Platform>,
    other: Option<&str>,
) -> Failure {
    const ENOUGH: usize = 20;
    let mut names: Vec<String> = there
        .filter(|platform| platform.architecture != "unknown")
        .map(Platform::to_string)
        .filter(|name| Platform::parse(name).is_ok())
        .collect();
    names.sort();
    names.dedup();
    if names.len() > ENOUGH {
        names.truncate(ENOUGH);
        names.push("more".into());
    }
    let fail = |why: String| Failure::new(format!("find an image for {wanted}: {why}"));
    match (names.first(), other) {
        (Some(first), _) => fail(format!("there is only {}", names.join(", ")))
            .hint(format!("--platform {first} takes an image for another machine")),
        (None, Some(kind)) => fail(format!("what is there is {kind:?}")),
        (None, None) => fail("there is none for any".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    #[derive(Default)]
    struct Memory(HashMap<Digest, Vec<u8>>);

    impl Documents for Memory {
        fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
            let found = self.0.get(&descriptor.digest);
            found.cloned().ok_or_else(|| Failure::new("nothing of that digest"))
        }
        fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
            self.manifest(descriptor)
        }
    }

    impl Memory {
        fn add(&mut self, media_type: &str, text: &str) -> String {
            let digest = Digest::of(text.as_bytes());
            self.0.insert(digest, text.into());
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, text.len())
        }

        fn image(&mut self, platform: &str, layer_type: &str, layers: usize) -> String {
            let (os, arch) = platform.split_once('/').expect("two words");
            let digest = Digest::of(platform.as_bytes());
            let ids = vec![format!("\"{digest}\""); layers].join(",");
            let config = self.add("application/vnd.oci.image.config.v1+json", &format!(
                r#"{{"os":"{os}","architecture":"{arch}","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
            ));
            let layer = format!(r#"{{"mediaType":"{layer_type}","digest":"{digest}","size":3}}"#);
            self.add(MANIFEST, &format!(r#"{{"config":{config},"layers":[{layer}]}}"#))
        }

        fn layers(&self, top: &str, wanted: &str) -> Result<Vec<Blob>, String> {
            let top = vec![parse(top.as_bytes(), "it").expect("made here")];
            let wanted = Platform::parse(wanted).expect("made here");
            let chosen = choose(self, top, &wanted).map_err(|failure| failure.lines("t"));
            chosen.map(|chosen| chosen.layers)
        }
    }

    #[test]
    fn the_platform_is_found_through_indexes_and_without_its_being_named() {
        let mut memory = Memory::default();
        let images = ["linux/arm64", "linux/amd64"].map(|name| memory.image(name, LAYER, 1));
        let inner = memory.add(INDEX, &format!(r#"{{"manifests":[{}]}}"#, images.join(",")));
        let top = memory.add(INDEX, &format!(r#"{{"manifests":[{inner}]}}"#));
        let found = memory.layers(&top, "linux/amd64").expect("it is there");
        assert_eq!(found[0].diff_id, Digest::of(b"linux/amd64"));
        let lines = memory.layers(&top, "linux/s390x").expect_err("it is not");
        assert!(lines.contains("there is only linux/amd64, linux/arm64\nhint: --platform"));
    }

    #[test]
    fn only_names_of_platforms_are_said() {
        let mut memory = Memory::default();
        let names = ["linux/arm64", "linux/$(id)", "linux/\\u001b[2J", "linux/x y"];
        let images = names.map(|name| memory.image(name, LAYER, 1));
        let top = memory.add(INDEX, &format!(r#"{{"manifests":[{}]}}"#, images.join(",")));
        let lines = memory.layers(&top, "linux/amd64").expect_err("it is not there");
        assert!(
            lines.contains("there is only linux/arm64\nhint: --platform linux/arm64 "),
            "{lines}"
        );
    }

    #[test]
    fn what_can_not_be_taken_is_said() {
        let mut memory = Memory::default();
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        for (layer, count, why) in [
            (foreign, 1, "not distributed with the image"),
            ("text/plain", 1, "is not one of a layer"),
            (LAYER, 2, "it has 1 layers, its configuration 2"),
        ] {
            let image = memory.image("linux/amd64", layer, count);
            let lines = memory.layers(&image, "linux/amd64").expect_err("refused");
            assert!(lines.contains(why), "{lines}");
        }
        let mut top = memory.image("linux/amd64", LAYER, 1);
        for _ in 0..4 {
            top = memory.add(INDEX, &format!(r#"{{"manifests":[{top}]}}"#));
        }
        let lines = memory.layers(&top, "linux/amd64").expect_err("too deep");
        assert!(lines.contains("an index in 3 others"), "{lines}");
        let image = memory.image("linux/arm64", LAYER, 1);
        let many =
            memory.add(INDEX, &format!(r#"{{"manifests":[{}]}}"#, vec![image; 200].join(",")));
        let lines = memory.layers(&many, "linux/amd64").expect_err("too many");
        assert!(lines.contains("more than 256 documents"), "{lines}");
    }
}
