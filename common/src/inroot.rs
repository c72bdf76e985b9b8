//! Paths inside a root file system that nobody vouches for.
//!
//! There, `/etc/passwd` may be a symbolic link to `/etc/shadow`, meant to be read on the host.
//! The kernel resolves such a path as a process with that root would, so that no link, absolute
//! or with any number of `..`, leads out of it; and what comes back is a descriptor, which
//! nobody can exchange for something else afterwards.

mod walk;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::report::{Failure, Tried};
use walk::Links;

/// Opens the root itself, on the host's terms.
pub fn open_root(root: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(root, flags, Mode::empty())
        .tried(|| format!("open the root file system {root:?}"))
        .map_err(|failure| {
            failure
                .hint_if(Errno::ENOENT, || format!("make one: fetch-rootfs host {root:?}"))
                .hint_if(Errno::ENOTDIR, || {
                    format!("if it is an archive: fetch-rootfs {root:?} rootfs")
                })
        })
}

/// Opens a path with `root` for its root directory.
pub fn open_in(root: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    resolve(root, path, flags, Links::InRoot)
}

/// Opens a path below `dir` on whose way, and at whose end, no symbolic link may be.
pub fn open_plain(dir: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    resolve(dir, path, flags, Links::Refused)
}

/// Opens a path below `dir`; a symbolic link that leads out of it is an error (EXDEV).
pub fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    resolve(dir, path, flags, Links::Beneath)
}

/// By `openat2(2)`, Linux 5.6; where that is denied, or gives up, name by name.
fn resolve(dir: impl AsFd, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
    let how = match links {
        Links::InRoot => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Links::Beneath => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        Links::Refused => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(how);
    match openat2(&dir, path, how) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => walk::open(dir, path, flags, links),
        outcome => outcome,
    }
}

/// Reads a regular file of the root: not a FIFO that would hang, not a file without end. It is the
/// whole of it, or none: half a line may mean something else.
pub fn read_in(root: impl AsFd, path: &Path) -> Result<String, Failure> {
    const LARGEST: u64 = 64 << 20; // more than a million users
    let what = || format!("read {path:?} of the root file system");
    let file = open_in(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).tried(what)?;
    let file = File::from(file);
    let metadata = file.metadata().tried(what)?;
    if !metadata.is_file() {
        return Err(Failure::new(format!("{}: not a regular file", what())));
    }
    // A byte more than there should be, so that the end is seen without another buffer.
    let mut text =
        Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1);
    let size = file.take(LARGEST + 1).read_to_end(&mut text).tried(what)?;
    if size as u64 > LARGEST {
        return Err(Failure::new(format!("{}: it is larger than 64 MiB", what())));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
