//! An image layout: `oci-layout`, `index.json` and `blobs/`, in a folder or an archive.

use common::Failure;
use serde::Deserialize;

use super::files::{Files, document};
use super::manifest::{self, Descriptor, Documents, Index, parse};
use super::platform::Platform;
use super::{Blob, Choice};

/// Names by which an index calls its images: OCI's own, and containerd's, which has all of it.
const NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

struct Layout<'a>(&'a dyn Files);

impl Documents for Layout<'_> {
    fn manifest(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        document(self.0, &of.digest.path(), Some(of.digest), Some(of.size))
    }

    fn config(&self, of: &Descriptor) -> Result<Vec<u8>, Failure> {
        self.manifest(of)
    }
}

/// The layers of the image that is asked for.
pub fn layers(files: &dyn Files, choice: &Choice) -> Result<Vec<Blob>, Failure> {
    let bytes = document(files, "oci-layout", None, None)?;
    let version: Version = parse(&bytes, "\"oci-layout\"")?;
    if !version.image_layout_version.starts_with("1.") {
        return Err(Failure::new(format!(
            "read \"oci-layout\": version {:?} is not known",
            version.image_layout_version
        )));
    }
    let bytes = document(files, "index.json", None, None)?;
    let index: Index = parse(&bytes, "\"index.json\"")?;
    let named = named(index.manifests, choice.image.as_deref())?;
    let machine = Platform::machine();
    let wanted = choice.platform.as_ref().unwrap_or(&machine);
    manifest::choose(&Layout(files), named, wanted).map(|chosen| chosen.layers)
}

/// Those of one name; without a name asked for there must be but one.
fn named(all: Vec<Descriptor>, wanted: Option<&str>) -> Result<Vec<Descriptor>, Failure> {
    let mut names: Vec<String> =
        all.iter().filter_map(|of| names(of).next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    match wanted {
        None if names.len() < 2 => Ok(all),
        None => Err(super::several(&names)),
        Some(wanted) => {
            let of_name = |of: &Descriptor| {
                of.digest.to_string() == wanted || self::names(of).any(|name| same(name, wanted))
            };
            let found: Vec<Descriptor> = all.into_iter().filter(of_name).collect();
            if found.is_empty() { Err(super::none_named(wanted, &names)) } else { Ok(found) }
        }
    }
}

fn names(of: &Descriptor) -> impl Iterator<Item = &str> {
    [FULL_NAME, NAME].into_iter().filter_map(|key| of.annotations.get(key).map(String::as_str))
}

/// `alpine:3.20` is `docker.io/library/alpine:3.20`.
pub fn same(name: &str, wanted: &str) -> bool {
    let short = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name).to_owned();
        name.strip_prefix("library/").map(str::to_owned).unwrap_or(name)
    };
    let (name, wanted) = (short(name), short(wanted));
    name == wanted || name == format!("{wanted}:latest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::Digest;

    fn descriptor(annotations: &[(&str, &str)]) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(format!("{annotations:?}").as_bytes()),
            size: 1,
            platform: None,
            annotations: annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn an_image_is_chosen_by_name() {
        let one = || descriptor(&[(NAME, "3.20"), (FULL_NAME, "docker.io/library/alpine:3.20")]);
        let two = || descriptor(&[(NAME, "latest")]);
        let count = |all: Vec<Descriptor>, wanted| named(all, wanted).map(|found| found.len());
        assert_eq!(count(vec![one(), one()], None).ok(), Some(2), "two platforms of one name");
        for name in ["3.20", "alpine:3.20", "docker.io/library/alpine:3.20"] {
            assert_eq!(count(vec![one(), two()], Some(name)).ok(), Some(1), "{name}");
        }
        for wanted in [None, Some("nothing")] {
            let lines = count(vec![one(), two()], wanted).expect_err("not one").lines("t");
            assert!(lines.contains("docker.io/library/alpine:3.20, latest"), "{lines}");
        }
    }
}
