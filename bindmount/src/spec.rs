//! A mount as a word: `SRC:DST[:OPTIONS]`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use common::Failure;

use crate::options::Options;

/// A mount that is asked for: `SRC:DST[:OPTIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub src: PathBuf,
    pub dst: PathBuf,
    pub options: Options,
}

/// Whether it is of the form `SRC:DST[:OPTIONS]`, and no path.
pub fn is_spec(word: &Path) -> bool {
    parts(word.as_os_str(), 3).len() > 1
}

/// At most so many, at the first colons that have no backslash before them; options, which are the
/// last of them, may have more.
pub fn parts(text: &OsStr, most: usize) -> Vec<OsString> {
    let mut parts = vec![Vec::new()];
    let mut bytes = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let whole = parts.len() == most;
        if byte == b':' && !whole {
            parts.push(Vec::new());
            continue;
        }
        let escaped = bytes.next_if(|next| byte == b'\\' && !whole && b"\\:".contains(next));
        parts.last_mut().into_iter().for_each(|part| part.push(escaped.unwrap_or(byte)));
    }
    parts.into_iter().map(OsString::from_vec).collect()
}

/// With the options that hold for all, and its own; as it is seen inside a root, or not.
pub fn spec(text: &OsStr, options: &Options, inside: bool) -> Result<Spec, Failure> {
    let parts = parts(text, 3);
    let (src, dst, own) = match parts.as_slice() {
        [src, dst] => (src, dst, ""),
        [src, dst, own] => (src, dst, own.to_str().unwrap_or("?")),
        _ => return Err(wrong_spec(text)),
    };
    if src.is_empty() || dst.is_empty() {
        return Err(wrong_spec(text));
    }
    let dst = if inside { place_inside(dst, text)? } else { dst.into() };
    Ok(Spec { src: src.into(), dst, options: options.clone().and(own)? })
}

/// A path as it is seen in a root.
pub fn place_inside(dst: &OsStr, text: &OsStr) -> Result<PathBuf, Failure> {
    let mut names = Path::new(dst).components();
    if names.clone().any(|name| name == Component::ParentDir)
        || !names.any(|name| matches!(name, Component::Normal(_)))
    {
        return Err(Failure::usage(format!(
            "read the mount {text:?}: {dst:?} is no place in ROOTFS"
        ))
        .hint("DST is a path as it is seen inside, without .. in it"));
    }
    Ok(dst.into())
}

fn wrong_spec(text: &OsStr) -> Failure {
    Failure::usage(format!("read the mount {text:?}: not of the form SRC:DST[:OPTIONS]"))
        .hint("as in --bind /srv/data:/data:ro; a colon in a path is written \\:")
}
