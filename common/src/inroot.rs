//! Paths inside a root file system that nobody vouches for.
//!
//! There, `/etc/passwd` may be a symbolic link to `/etc/shadow`, meant to be read on the host.
//! The kernel resolves such a path as a process with that root would, so that no link, absolute
//! or with any number of `..`, leads out of it; and what comes back is a descriptor, which
//! nobody can exchange for something else afterwards.

mod walk;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::file;
use crate::report::{Failure, Tried};
use walk::Links;

/// Opens the root itself, on the host's terms.
pub fn open_root(root: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(root, flags, Mode::empty())
        .tried(|| format!("open the root file system {root:?}"))
        .map_err(|failure| {
            failure
                .hint_if(Errno::ENOENT, || match root.as_os_str().is_empty() {
                    true => "is a shell variable empty? name the root file system".into(),
                    false => format!("make one: fetch-rootfs host {root:?}"),
                })
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

/// The size of a regular file.
fn regular(found: impl AsFd, what: impl Fn() -> String) -> Result<u64, Failure> {
    let stat = fstat(found).tried(&what)?;
    match file::is(&stat, SFlag::S_IFREG) {
        true => Ok(stat.st_size.cast_unsigned()),
        false => Err(Failure::new(format!("{}: not a regular file", what()))),
    }
}

/// Opens what was found for reading: by its name in /proc it is the very same. Where there is no proc
/// it is looked up once more.
fn opened(root: impl AsFd, path: &Path, found: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let name = format!("/proc/self/fd/{}", found.as_raw_fd());
    match open(name.as_str(), flags, Mode::empty()) {
        Err(Errno::ENOENT) => open_in(root, path, flags),
        opened => opened,
    }
}

/// Reads a regular file of the root: not a FIFO that would hang, not a file without end. A device is not
/// even opened, for with some that is an order, as with a watchdog. It is the whole of the file, or
/// none: half a line may mean something else.
pub fn read_in(root: impl AsFd, path: &Path) -> Result<String, Failure> {
    const LARGEST: u64 = 64 << 20; // more than a million users
    let what = || format!("read {path:?} of the root file system");
    let found = open_in(&root, path, OFlag::O_PATH).tried(what)?;
    regular(&found, what)?;
    let file = File::from(opened(root, path, &found).tried(what)?);
    let size = regular(&file, what)?;
    // A byte more than there should be, so that the end is seen without another buffer.
    let mut text = Vec::with_capacity(usize::try_from(size.min(LARGEST)).unwrap_or(0) + 1);
    let size = file.take(LARGEST + 1).read_to_end(&mut text).tried(what)?;
    if size as u64 > LARGEST {
        return Err(Failure::new(format!("{}: it is larger than 64 MiB", what())));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// To open a socket is an error of its own, ENXIO, which shows whether it was tried.
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let folder = std::env::temp_dir().join(format!("common-inroot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let socket = UnixListener::bind(folder.join("socket"));
        let file = std::fs::write(folder.join("file"), "text");
        let root = open_root(&folder).expect("it was just made");
        let refused = read_in(&root, Path::new("socket")).map_err(|failure| failure.lines("t"));
        let text = read_in(&root, Path::new("file")).map_err(|failure| failure.lines("t"));
        std::fs::remove_dir_all(&folder).expect("our own folder");
        assert!(socket.is_ok() && file.is_ok());
        let wanted = "t: read \"socket\" of the root file system: not a regular file\n";
        assert_eq!(refused, Err(wanted.to_owned()));
        assert_eq!(text.as_deref(), Ok("text"));
    }
}
