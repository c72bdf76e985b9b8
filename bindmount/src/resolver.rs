//! `/etc/resolv.conf` for a root file system that has none, without writing into it.
//!
//! A mount needs a file to be mounted on, and none may be made. So an overlay covers etc: its
//! lower layer is the root's own etc, its upper one lies in memory and holds the file. A symbolic
//! link of that name, dangling or into the machine's /run, is hidden by it in the same way.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, inroot, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};

use crate::attach::{Mounted, explain_privilege};
use crate::place::Place;

/// The name in etc.
pub const NAME: &str = "resolv.conf";

/// What the root has at etc/resolv.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file, which can be mounted on.
    File,
    /// Nothing, or something else: etc needs an overlay.
    NoFile,
    /// Not even a folder etc.
    NoFolder,
}

/// Looks at the root.
pub fn look(rootfs: &Path) -> Result<Found, Failure> {
    let root = inroot::open_root(rootfs)?;
    let folder = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let etc = match inroot::open_plain(&root, Path::new("etc"), folder) {
        Ok(etc) => etc,
        Err(Errno::ENOENT) => return Ok(Found::NoFolder),
        Err(errno) => {
            return Err(Failure::errno(format!("open {:?}", rootfs.join("etc")), errno)
                .hint_if(Errno::ELOOP, || "it is a symbolic link, and might lead outside".into()));
        }
    };
    let file = inroot::open_plain(&etc, Path::new(NAME), OFlag::O_PATH);
    let regular = file
        .and_then(fstat)
        .is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG);
    Ok(if regular { Found::File } else { Found::NoFile })
}

/// The machine's file, behind whatever links lead to it.
pub fn of_the_machine() -> Option<PathBuf> {
    std::fs::canonicalize(Path::new("/etc").join(NAME)).ok()
}

/// Covers `etc` with an overlay that has a copy of `file`.
///
/// The memory is mounted on etc first, for a layer has to be mounted somewhere; the overlay then
/// hides it. The layers are named by descriptor, as no path leads to the lower one any more.
pub fn cover(mounted: &mut Mounted, etc: &Place, file: &Path) -> Result<(), Failure> {
    let lower = etc.open()?;
    let memory = sys::new_mount(c"tmpfs", &[(c"mode", c"0755"), (c"size", c"1m")], 0)
        .tried(|| "make a file system in memory")
        .map_err(explain_privilege)?;
    let upper = folder(&memory, "upper")?;
    let work = folder(&memory, "work")?;
    copy(file, &upper)?;
    mounted.attach(memory, etc)?;
    attach_overlay(mounted, etc, &[("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)])
        .inspect_err(|_| drop(mounted.take_back()))
}

fn attach_overlay(
    mounted: &mut Mounted,
    etc: &Place,
    layers: &[(&str, &OwnedFd)],
) -> Result<(), Failure> {
    let layers: Vec<(std::ffi::CString, std::ffi::CString)> = layers
        .iter()
        .map(|(key, fd)| (c(key), c(&format!("/proc/self/fd/{}", fd.as_raw_fd()))))
        .collect();
    let options: Vec<_> = layers.iter().map(|(key, path)| (&**key, &**path)).collect();
    let overlay = sys::new_mount(c"overlay", &options, 0)
        .tried(|| format!("make an overlay for {:?}", etc.path()))
        .map_err(|failure| {
            let touch = || format!("with a file there none is needed: touch {}/{NAME}", etc.word());
            failure.hint_if(Errno::ENODEV, touch).hint_if(Errno::EINVAL, touch)
        })?;
    mounted.attach(overlay, etc)
}

fn c(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap_or_default()
}

fn folder(parent: impl AsFd, name: &str) -> Result<OwnedFd, Failure> {
    let failed = || format!("make the folder {name:?} in memory");
    mkdirat(&parent, name, Mode::from_bits_truncate(0o755)).tried(failed)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).tried(failed)
}

fn copy(file: &Path, folder: impl AsFd) -> Result<(), Failure> {
    let text = std::fs::read(file).tried(|| format!("read {file:?}"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let failed = || format!("copy {file:?} into memory");
    let copy = openat(folder, NAME, flags, Mode::from_bits_truncate(0o644)).tried(failed)?;
    File::from(copy).write_all(&text).tried(failed)
}
