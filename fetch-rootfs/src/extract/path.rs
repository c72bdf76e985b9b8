//! Names as paths below the root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::Failure;

use crate::entry::Entry;

pub fn inner_path(entry: &Entry) -> Result<PathBuf, Failure> {
    let path =
        plain_path(&entry.name).ok_or_else(|| entry.failure("its name leads outside (..)"))?;
    let long = path.iter().find(|part| part.len() > 255);
    match long {
        Some(_) => Err(entry.failure("a part of its name is longer than 255 bytes")),
        None => Ok(path),
    }
}

/// A name as a path below the root: without `/` at its start, without `.`; `None` if it has `..`.
pub fn plain_path(name: &[u8]) -> Option<PathBuf> {
    name.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| (part != b"..").then(|| OsStr::from_bytes(part)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_below_the_root() {
        for (name, wanted) in [
            ("a/b", Some("a/b")),
            ("./a", Some("a")),
            ("/etc/passwd", Some("etc/passwd")),
            ("//x//y/", Some("x/y")),
            ("./", Some("")),
            ("../x", None),
            ("a/../../x", None),
            ("a/..", None),
            ("..a", Some("..a")),
        ] {
            assert_eq!(plain_path(name.as_bytes()), wanted.map(PathBuf::from), "{name}");
        }
    }
}
