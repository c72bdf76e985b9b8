//! The place of a name: what is there, and how it is made free.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use common::file::{self, is};
use common::{Failure, Tried, inroot};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use xattr::FileExt;

use super::tried;
use crate::entry::Entry;

pub fn is_folder(folder: &OwnedFd, name: &Path) -> bool {
    look(folder, name).is_ok_and(|stat| stat.is_some_and(|stat| is(&stat, SFlag::S_IFDIR)))
}

/// Whether both are one file already.
pub fn same(folder: &OwnedFd, name: &Path, other: &OwnedFd, called: &Path) -> nix::Result<bool> {
    let (a, b) = (look(folder, name)?, look(other, called)?);
    Ok(a.zip(b).is_some_and(|(a, b)| file::same(&a, &b)))
}

/// The folder above may hand down a group, and a list of who may do what, to all that is made in
/// it; the archive says both for itself.
pub fn clear_inherited(root: BorrowedFd) -> Result<(), Failure> {
    let failed = || "prepare the root";
    fchmod(root, Mode::S_IRWXU).tried(failed)?;
    let folder = File::from(root.try_clone_to_owned().tried(failed)?);
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        match folder
            .remove_xattr(name)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        {
            Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(Failure::errno(failed(), errno)),
        }
    }
    Ok(())
}

/// The folder that a path of the root is in.
pub fn folder_of(root: BorrowedFd, path: &Path) -> nix::Result<OwnedFd> {
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    inroot::open_in(root, folder.unwrap_or(Path::new(".")), flags)
}

/// What is there, not following a link; `None` for nothing.
pub fn look(folder: impl AsFd, name: &Path) -> nix::Result<Option<FileStat>> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Makes something; what was there before is removed.
pub fn in_the_way<T>(
    entry: &Entry,
    parent: &OwnedFd,
    name: &Path,
    make: impl Fn() -> nix::Result<T>,
) -> Result<nix::Result<T>, Failure> {
    match make() {
        Err(Errno::EEXIST) => {
            make_way(entry, parent, name)?;
            Ok(make())
        }
        outcome => Ok(outcome),
    }
}

/// Nothing is ever opened that is there already: it may be a link, a device, or have a second
/// name elsewhere.
pub fn make_way(entry: &Entry, parent: &OwnedFd, name: &Path) -> Result<(), Failure> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => unlinkat(parent, name, UnlinkatFlags::RemoveDir)
            .tried(|| tried(entry, "replace the folder of that name")),
        Err(errno) => Err(Failure::errno(tried(entry, "replace what is there"), errno)),
    }
}
