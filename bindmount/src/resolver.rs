//! `/etc/resolv.conf` for a root file system, without writing into it.
//!
//! What is mounted is a copy in memory: the machine's own file stays out of reach, and when a
//! resolver service replaces it by another, nobody is left with the old one's name.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, inroot, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use crate::attach::{Mounted, explain_privilege};
use crate::options::Options;
use crate::place::Place;

/// The name in etc.
pub const NAME: &str = "resolv.conf";

/// What the root has at etc/resolv.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file, here when the links that lead to it are followed inside the root.
    File(Place),
    /// Nothing that can be mounted on: a link that leads nowhere, a folder, a device.
    NoFile,
    /// Nothing at all, perhaps not even etc.
    Nothing,
}

/// Looks at the root.
pub fn look(rootfs: &Path) -> Result<Found, Failure> {
    let etc = Place::inside(rootfs, "etc").open();
    let etc = match etc {
        Err(failure) if failure.kernel_said() == Some(Errno::ENOENT) => return Ok(Found::Nothing),
        etc => etc?,
    };
    match inroot::open_plain(&etc, Path::new(NAME), OFlag::O_PATH) {
        Ok(file) if is_regular(&file) => Ok(Found::File(place(rootfs))),
        Err(Errno::ELOOP) => behind_links(rootfs),
        Err(Errno::ENOENT) => Ok(Found::Nothing),
        _ => Ok(Found::NoFile),
    }
}

/// A file in dev, proc or sys is covered by what is mounted there.
fn behind_links(rootfs: &Path) -> Result<Found, Failure> {
    let place = Place::resolved(rootfs, &path())?;
    let covered = ["dev", "proc", "sys"].iter().any(|name| place.is_under(name));
    match place.open() {
        Ok(file) if is_regular(&file) && !covered => Ok(Found::File(place)),
        _ => Ok(Found::NoFile),
    }
}

fn is_regular(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG)
}

fn path() -> PathBuf {
    Path::new("etc").join(NAME)
}

/// The place in a root.
pub fn place(rootfs: &Path) -> Place {
    Place::inside(rootfs, path())
}

/// The machine's file, behind whatever links lead to it.
pub fn of_the_machine() -> Option<PathBuf> {
    std::fs::canonicalize(Path::new("/etc").join(NAME)).ok()
}

/// Mounts a copy of `file` on a file.
pub fn cover_file(mounted: &mut Mounted, place: &Place, file: &Path) -> Result<(), Failure> {
    let memory = memory()?;
    copy(file, &memory)?;
    let copy = mount_of_file(mounted, memory, &place.folder())?;
    mounted.attach_with(copy, place, Options::of_resolver())
}

/// The file alone, as a mount. Before Linux 6.15 only what is mounted somewhere can be copied, so
/// the memory then lies on a folder for a moment.
fn mount_of_file(
    mounted: &mut Mounted,
    memory: OwnedFd,
    folder: &Place,
) -> Result<OwnedFd, Failure> {
    let flags = sys::OPEN_TREE_CLONE | sys::OPEN_TREE_CLOEXEC;
    let clone = |memory: &OwnedFd| sys::open_tree(memory.as_fd(), Path::new(NAME), flags);
    let file = match clone(&memory) {
        Err(Errno::EINVAL) => mounted.for_a_moment(memory, folder, clone)?,
        done => done,
    };
    file.tried(|| format!("copy the mount of {NAME:?} in memory")).map_err(explain_privilege)
}

/// A new file system in memory.
pub fn memory() -> Result<OwnedFd, Failure> {
    sys::new_mount(c"tmpfs", &[(c"mode", c"0755"), (c"size", c"1m")], 0)
        .tried(|| "make a file system in memory")
        .map_err(explain_privilege)
}

/// Copies the file there, readable for all, whatever the umask is.
pub fn copy(file: &Path, folder: impl AsFd) -> Result<(), Failure> {
    let text = std::fs::read(file).tried(|| format!("read {file:?}"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let failed = || format!("copy {file:?} into memory");
    let copy = openat(folder, NAME, flags, Mode::from_bits_truncate(0o644)).tried(failed)?;
    let mut copy = File::from(copy);
    copy.set_permissions(Permissions::from_mode(0o644)).tried(failed)?;
    copy.write_all(&text).tried(failed)
}
