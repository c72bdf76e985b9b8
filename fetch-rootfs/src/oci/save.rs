//! What `docker save` and `podman save` write: `manifest.json` beside the layers, which are named
//! `ID/layer.tar`, `ID.tar` or `blobs/sha256/ID`.

use common::Failure;
use serde::Deserialize;

use super::digest::Digest;
use super::files::{Files, document};
use super::manifest::{Config, check_counts, none_for, parse};
use super::platform::Platform;
use super::{Blob, Choice, layout};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The layers of the image that is asked for.
pub fn layers(files: &dyn Files, choice: &Choice) -> Result<Vec<Blob>, Failure> {
    let bytes = document(files, "manifest.json", None, None)?;
    let all: Vec<Saved> = parse(&bytes, "\"manifest.json\"")?;
    let saved = chosen(all, choice.image.as_deref())?;
    let bytes = document(files, &saved.config, named_digest(&saved.config), None)?;
    let config: Config = parse(&bytes, &format!("{:?}", saved.config))?;
    let wanted = choice.platform.clone().unwrap_or_else(Platform::machine);
    if !config.platform.architecture.is_empty() && !wanted.takes(&config.platform) {
        return Err(none_for(&wanted, std::iter::once(&config.platform), None));
    }
    check_counts(saved.layers.len(), config.rootfs.diff_ids.len())?;
    let pairs = saved.layers.into_iter().zip(config.rootfs.diff_ids);
    let blob = |(name, diff_id): (String, Digest)| Blob {
        digest: blob_digest(&name),
        size: None,
        name,
        diff_id,
    };
    Ok(pairs.map(blob).collect())
}

fn chosen(mut all: Vec<Saved>, wanted: Option<&str>) -> Result<Saved, Failure> {
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let names: Vec<String> = all.iter().flat_map(tags).collect();
    let at = match wanted {
        None if all.len() > 1 => return Err(super::several(&names)),
        None => Some(0),
        Some(wanted) => {
            all.iter().position(|saved| tags(saved).iter().any(|tag| layout::same(tag, wanted)))
        }
    };
    match at.filter(|at| *at < all.len()) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(super::none_named(wanted.unwrap_or_default(), &names)),
    }
}

/// A blob's name is its digest; `ID/layer.tar` is not, and has but the digest in the configuration.
fn blob_digest(name: &str) -> Option<Digest> {
    Digest::parse(&format!("sha256:{}", name.strip_prefix("blobs/sha256/")?))
}

/// The configuration is called by its digest, too: `ID.json`.
fn named_digest(name: &str) -> Option<Digest> {
    let digits = name.strip_suffix(".json").unwrap_or(name);
    blob_digest(name).or_else(|| Digest::parse(&format!("sha256:{digits}")))
}
