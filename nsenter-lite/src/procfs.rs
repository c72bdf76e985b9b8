//! A proc of one's own: it shows the processes of the PID namespace that it is mounted from.

use std::path::Path;

use common::{Failure, Tried, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use crate::hint;

/// Mounts a fresh proc on a folder, which must not be a symbolic link: `rootfs/proc` is a name
/// that whoever made the root file system chose, and it may lead anywhere.
///
/// If mounts are shared with the namespace that we come from, what is mounted on the folder now,
/// as on `/proc`, is made private first, as unshare(1) does: else it is covered there too.
pub fn mount(dir: &Path, shared: bool) -> Result<(), Failure> {
    let what = || format!("mount proc on {dir:?}");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // With a slash at its end a link would be followed all the same.
    let name = dir.components().as_path();
    let folder = open(name, flags, Mode::empty())
        .tried(what)
        .map_err(|failure| hint::for_mount_point(failure, dir))?;
    if shared {
        let private = private();
        match sys::mount_setattr(&folder, sys::AT_RECURSIVE, &private) {
            // It is no mount point.
            Err(Errno::EINVAL) | Ok(()) => {}
            other => other.tried(what)?,
        }
    }
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let proc = sys::new_mount(c"proc", &[], attributes).tried(what).map_err(hint::for_proc)?;
    sys::move_mount(proc, folder).tried(what)
}

fn private() -> sys::mount_attr {
    sys::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: MsFlags::MS_PRIVATE.bits(),
        userns_fd: 0,
    }
}
