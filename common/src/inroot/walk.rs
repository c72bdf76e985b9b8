//! A path resolved inside a root step by step, for where openat2(2) is denied: before Linux 5.6,
//! and under filters that have not heard of it; and where it gives up, for somebody renames
//! something somewhere while it passes a `..`.
//!
//! Each name is opened in the folder before it, and the kernel follows none: a symbolic link is
//! read, and its names take its place. `..` goes back to the folder that was opened before, and not
//! above the root, whatever is moved meanwhile.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They lead to where they would in a process with that root: `RESOLVE_IN_ROOT`.
    InRoot,
    /// They must not even try to lead out: `RESOLVE_BENEATH`.
    Beneath,
    /// None may be on the way, or at its end: `RESOLVE_NO_SYMLINKS`.
    Refused,
}

/// Opens a path with `root` for its root directory.
pub fn open(root: impl AsFd, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
    let (look, flags) = (OFlag::O_PATH | OFlag::O_NOFOLLOW, flags | OFlag::O_CLOEXEC);
    let mut names = names(path)?;
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut followed = 0;
    while let Some(name) = names.pop_front() {
        let name = name.as_os_str();
        match name.as_bytes() {
            b"/" if links == Links::Beneath => return Err(Errno::EXDEV),
            b".." if links == Links::Beneath && above.is_empty() => return Err(Errno::EXDEV),
            b"/" => above.clear(),
            b".." => drop(above.pop()),
            b"." => {}
            _ => {
                let here = above.last().map_or(root.as_fd(), AsFd::as_fd);
                let found = openat(here, name, look | OFlag::O_CLOEXEC, Mode::empty())?;
                let (kind, is_last) = (kind(&found)?, names.is_empty());
                let itself = is_last && flags.contains(OFlag::O_NOFOLLOW);
                if kind == SFlag::S_IFLNK && !itself {
                    followed += 1;
                    if links == Links::Refused || followed > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = readlinkat(&found, "")?;
                    let target = self::names(Path::new(&target))?;
                    names = target.into_iter().chain(names).collect();
                } else if is_last {
                    // Should it have become a link by now, that is refused.
                    return match flags.contains(OFlag::O_PATH) {
                        true => as_asked(found, kind, flags),
                        false => openat(here, name, flags | OFlag::O_NOFOLLOW, Mode::empty()),
                    };
                } else {
                    above.push(as_asked(found, kind, OFlag::O_DIRECTORY)?);
                }
            }
        }
    }
    openat(above.last().map_or(root.as_fd(), AsFd::as_fd), ".", flags, Mode::empty())
}

fn kind(file: &OwnedFd) -> nix::Result<SFlag> {
    fstat(file).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)
}

fn as_asked(found: OwnedFd, kind: SFlag, flags: OFlag) -> nix::Result<OwnedFd> {
    match kind == SFlag::S_IFDIR || !flags.contains(OFlag::O_DIRECTORY) {
        true => Ok(found),
        false => Err(Errno::ENOTDIR),
    }
}

/// The names of a path; the first may be `/`. A slash at the end asks for a folder, as `.` does.
fn names(path: &Path) -> nix::Result<VecDeque<OsString>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(Errno::ENOENT);
    }
    let inner = bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let top = bytes.starts_with(b"/").then_some(&b"/"[..]);
    let folder = bytes.ends_with(b"/").then_some(&b"."[..]);
    let names = top.into_iter().chain(inner).chain(folder);
    Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OpenHow, ResolveFlag, open as open_here, openat2};
    use proptest::prelude::*;
    use std::fs::{self, create_dir_all};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A root, and beside it what is not to be reached.
    struct Trees(PathBuf);

    impl Trees {
        fn new(name: &str) -> Self {
            let name = format!("common-walk-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            create_dir_all(folder.join("root/a/b")).expect("a temporary folder");
            create_dir_all(folder.join("root/c")).expect("a temporary folder");
            for file in ["outside", "root/f", "root/a/f", "root/a/b/f"] {
                fs::write(folder.join(file), file).expect("a temporary file");
            }
            Self(folder)
        }

        fn root(&self) -> OwnedFd {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            open_here(&self.0.join("root"), flags, Mode::empty()).expect("it was just made")
        }
    }

    impl Drop for Trees {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn kernel(root: &OwnedFd, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let resolve = match links {
            Links::InRoot => ResolveFlag::RESOLVE_IN_ROOT,
            Links::Beneath => ResolveFlag::RESOLVE_BENEATH,
            Links::Refused => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
        };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        loop {
            match openat2(root, path, how) {
                Err(Errno::EAGAIN) => {} // somebody renames somewhere
                opened => return opened,
            }
        }
    }

    /// What was opened, or why not.
    fn shown(opened: nix::Result<OwnedFd>) -> Result<(u64, u64), Errno> {
        fstat(&opened?).map(|stat| (stat.st_dev, stat.st_ino))
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        let name = prop_oneof![
            4 => prop::sample::select(vec!["a", "b", "c", "f", "l", "m", "n"]),
            1 => Just(".."),
            1 => Just("."),
            1 => Just("outside"),
        ];
        let names = prop::collection::vec(name, 1..5);
        (any::<bool>(), names, any::<bool>()).prop_map(|(top, names, folder)| {
            let (start, end) = (if top { "/" } else { "" }, if folder { "/" } else { "" });
            PathBuf::from(format!("{start}{}{end}", names.join("/")))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
        #[test]
        fn it_leads_where_the_kernel_does(
            targets in prop::collection::vec(path(), 5),
            paths in prop::collection::vec(path(), 8),
        ) {
            let trees = Trees::new("same");
            let places = ["l", "m", "a/l", "a/b/n", "c/m"];
            for (place, target) in places.iter().zip(&targets) {
                symlink(target, trees.0.join("root").join(place)).expect("nothing is there");
            }
            let root = trees.root();
            let folder = OFlag::O_PATH | OFlag::O_DIRECTORY;
            for path in &paths {
                for flags in [OFlag::O_PATH, folder, OFlag::O_RDONLY, OFlag::O_PATH | OFlag::O_NOFOLLOW] {
                    for links in [Links::InRoot, Links::Beneath, Links::Refused] {
                        let wanted = shown(kernel(&root, path, flags, links));
                        let ours = shown(open(&root, path, flags, links));
                        prop_assert_eq!(ours, wanted, "{:?} {:?} {:?}", path, flags, links);
                    }
                }
            }
        }
    }

    #[test]
    fn circles_have_an_end() {
        let trees = Trees::new("circle");
        let root = trees.root();
        symlink("l/x", trees.0.join("root/l")).expect("nothing is there");
        let opened = open(&root, Path::new("l"), OFlag::O_PATH, Links::InRoot);
        assert_eq!(shown(opened), Err(Errno::ELOOP));
        assert_eq!(
            shown(open(&root, Path::new(""), OFlag::O_PATH, Links::InRoot)),
            Err(Errno::ENOENT)
        );
    }
}
