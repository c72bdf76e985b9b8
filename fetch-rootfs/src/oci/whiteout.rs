//! Whiteouts: entries of a layer that take away what the layers below it have brought. See
//! layer.md of the OCI image specification.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::Failure;

use crate::entry::{Entry, Kind};

/// Such an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `.wh..wh..opq`: the folder that it is in shows nothing of the layers below.
    Opaque,
    /// `.wh.NAME`: NAME is gone.
    Gone(OsString),
    /// What aufs kept for itself at the top of a layer: of no meaning to anyone else.
    Aufs,
}

/// What an entry of a layer means; `None` for one to be extracted.
pub fn of(entry: &Entry, path: &Path) -> Result<Option<Mark>, Failure> {
    match mark(path).map_err(|why| entry.failure(why))? {
        Some(Mark::Gone(_) | Mark::Opaque)
            if !matches!(entry.kind, Kind::File | Kind::HardLink) =>
        {
            Err(entry.failure("a whiteout is an empty file"))
        }
        mark => Ok(mark),
    }
}

/// The same by its name alone. The path has no `.` or `..`.
pub fn mark(path: &Path) -> Result<Option<Mark>, &'static str> {
    let mut parts = path.iter().map(OsStrExt::as_bytes);
    let (Some(first), last) = (parts.next(), parts.next_back()) else { return Ok(None) };
    let own = |part: &[u8]| part.starts_with(b".wh..wh.") && part != b".wh..wh..opq";
    if own(first) {
        return Ok(Some(Mark::Aufs));
    }
    let mut folders = last.map(|_| first).into_iter().chain(parts);
    if folders.any(|part| part.starts_with(b".wh.")) {
        return Err("a whiteout is no folder");
    }
    match last.unwrap_or(first).strip_prefix(b".wh.") {
        None => Ok(None),
        Some(b".wh..opq") => Ok(Some(Mark::Opaque)),
        Some(b"" | b"." | b"..") => Err("it is a whiteout of no name"),
        Some(name) if name.starts_with(b".wh.") => Err("a whiteout of a whiteout makes no sense"),
        Some(name) => Ok(Some(Mark::Gone(OsStr::from_bytes(name).to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_take_away() {
        let gone = |name: &str| Ok(Some(Mark::Gone(name.into())));
        for (path, wanted) in [
            ("", Ok(None)),
            ("a/wh.b", Ok(None)),
            ("a/x.wh.b", Ok(None)),
            (".wh.a", gone("a")),
            ("a/b/.wh.c d", gone("c d")),
            ("a/.wh...c", gone("..c")),
            ("a/.wh..c", gone(".c")),
            (".wh..wh..opq", Ok(Some(Mark::Opaque))),
            ("a/.wh..wh..opq", Ok(Some(Mark::Opaque))),
            (".wh..wh.aufs", Ok(Some(Mark::Aufs))),
            (".wh..wh.plnk/1.2", Ok(Some(Mark::Aufs))),
        ] {
            assert_eq!(mark(Path::new(path)), wanted, "{path}");
        }
        for path in [
            ".wh.",
            "a/.wh..",
            "a/.wh...",
            ".wh.a/b",
            "a/.wh.b/c",
            "a/.wh..wh.x",
            ".wh..wh..opq/x",
            "a/.wh..wh..opq/x",
            "a/.wh..wh..opqx",
        ] {
            assert!(mark(Path::new(path)).is_err(), "{path}");
        }
    }
}
