//! What --json prints.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Hands;
use crate::checksum::Kind;
use crate::cli::hex;

/// What a summary says of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub source: String,
    pub url: Option<String>,
}

/// What a script knows before it runs, or all of it.
pub fn summary(dir: &Path, about: &About, hands: Option<&Hands>) -> serde_json::Value {
    let mut summary =
        json!({ "source": about.source, "url": about.url, "dir": dir.display().to_string() });
    if dir.to_str().is_none() {
        summary["dir_base64"] = STANDARD.encode(dir.as_os_str().as_bytes()).into();
    }
    if let Some(hands) = hands {
        let sha256 = hands.fetched.digests.iter().find(|digest| digest.kind == Kind::Sha256);
        summary["digest"] = sha256.map(|one| format!("sha256:{}", hex(&one.bytes))).into();
        summary["entries"] = json!(null);
        summary["bytes"] = hands.outcome.as_ref().map(|_| hands.fetched.bytes).into();
        hands.outcome.iter().for_each(|outcome| outcome.put_into(&mut summary));
        summary["seconds"] = hands.start.map(|start| start.elapsed().as_secs_f64()).into();
    }
    summary
}
