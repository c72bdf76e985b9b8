//! A proc of one's own: it shows the processes of the PID namespace that it is mounted from.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::{Failure, Tried, inroot, shell, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use nix::unistd::write;

use crate::hint;

/// A mount point, perhaps of a root that is not ours yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    root: Option<PathBuf>,
    dir: PathBuf,
}

impl Folder {
    pub fn new(root: Option<&OsString>, dir: PathBuf) -> Self {
        Self { root: root.map(PathBuf::from), dir }
    }

    /// Its name before the root is changed.
    pub fn path(&self) -> PathBuf {
        match &self.root {
            Some(root) => root.join(self.dir.strip_prefix("/").unwrap_or(&self.dir)),
            None => self.dir.clone(),
        }
    }

    /// Below a new root no symbolic link leads out of that, and elsewhere none is at the end.
    fn open(&self, what: &str) -> Result<OwnedFd, Failure> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // With a slash at its end a link would be followed all the same.
        let name = self.dir.components().as_path();
        let opened = match &self.root {
            Some(root) => inroot::open_in(inroot::open_root(root)?, name, flags),
            None => open(name, flags, Mode::empty()),
        };
        opened.tried(|| what).map_err(|failure| hint::for_mount_point(failure, &self.path()))
    }
}

/// Mounts a fresh proc on a folder, which must not be a symbolic link: `rootfs/proc` is a name
/// that whoever made the root file system chose, and it may lead anywhere.
pub fn mount(at: &Folder, shared: bool) -> Result<(), Failure> {
    let what = || format!("mount proc on {:?}", at.path());
    let folder = at.open(&what())?;
    set_apart(&folder, shared).tried(what)?;
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let proc = sys::new_mount(c"proc", &[], attributes).tried(what).map_err(hint::for_proc)?;
    sys::move_mount(proc, folder).tried(what)
}

/// The table of interpreters: since Linux 6.7 each user namespace can have its own. A first one may
/// come into it at once.
pub fn mount_binfmt(at: &Folder, interpreter: Option<&OsStr>) -> Result<(), Failure> {
    let what = || format!("mount binfmt_misc on {:?}", at.path());
    let folder = at.open(&what())?;
    let mounted = sys::new_mount(c"binfmt_misc", &[], 0).tried(what).map_err(hint::for_binfmt)?;
    sys::move_mount(&mounted, folder).tried(what)?;
    let Some(spec) = interpreter else { return Ok(()) };
    // The kernel opens the interpreter now, by the root that we have now, if it is asked to.
    openat(&mounted, "register", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|register| write(register, spec.as_bytes()))
        .tried(|| format!("add the interpreter {spec:?}"))
        .map_err(hint::for_interpreter)
        .map(drop)
}

/// The same in shell.
pub fn binfmt_line(at: &Folder, interpreter: Option<&OsStr>) -> String {
    let dir = at.path();
    let mount = format!("mount -t binfmt_misc binfmt_misc {}", shell::operand(&dir));
    match interpreter {
        None => mount,
        Some(spec) => {
            let register = shell::operand(dir.join("register"));
            format!("{mount}; printf %s {} >{register}", shell::word(spec))
        }
    }
}

/// If mounts are shared with the namespace that we come from, what is mounted on the folder now, as on
/// `/proc`, is made private first, as unshare(1) does: else it is covered there too.
pub fn set_apart(folder: impl AsFd, shared: bool) -> nix::Result<()> {
    let propagation = MsFlags::MS_PRIVATE.bits();
    let private = sys::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
    match shared.then(|| sys::mount_setattr(folder, sys::AT_RECURSIVE, &private)) {
        // It is no mount point.
        None | Some(Err(Errno::EINVAL)) => Ok(()),
        Some(set) => set,
    }
}

/// The same in shell.
pub fn apart_line(folder: &str, shared: bool) -> String {
    let line = format!("mount --make-rprivate {folder} 2>/dev/null || :; ");
    if shared { line } else { String::new() }
}
