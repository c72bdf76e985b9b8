//! A mount is made in three moves: a detached tree, which nobody sees; its attributes; its place.
//! So nobody ever sees it without them, and no path is looked up twice.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, sys};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, umount2};

use crate::options::Options;
use crate::place::Place;

/// The mounts that were made, so that they can be taken away again.
#[derive(Debug, Default)]
pub struct Mounted(Vec<OwnedFd>);

impl Mounted {
    /// A copy of the mount at `src`, with these options, at `place`.
    pub fn bind(&mut self, src: &Path, place: &Place, options: Options) -> Result<(), Failure> {
        let depth = if options.recursive { sys::AT_RECURSIVE } else { 0 };
        let flags = sys::OPEN_TREE_CLONE | sys::OPEN_TREE_CLOEXEC | depth.cast_unsigned();
        let tree = sys::open_tree(AT_FDCWD, src, flags)
            .tried(|| format!("copy the mount of {src:?}"))
            .map_err(explain_copy)?;
        if let Some(attr) = options.attr() {
            sys::mount_setattr(&tree, depth, &attr)
                .tried(|| format!("set {} on the mount of {src:?}", options.words()))
                .map_err(explain_attributes)?;
        }
        self.attach(tree, place)?;
        // Attached below a shared mount it has become shared itself, so this comes last.
        let (Some((all, attr)), Some(mount)) = (options.propagation_attr(), self.0.last()) else {
            return Ok(());
        };
        let depth = if all { sys::AT_RECURSIVE } else { 0 };
        sys::mount_setattr(mount, depth, &attr)
            .tried(|| format!("set the propagation of {:?}", place.path()))
            .inspect_err(|_| drop(self.take_back()))
    }

    /// Puts a detached mount in its place.
    pub fn attach(&mut self, mount: OwnedFd, place: &Place) -> Result<(), Failure> {
        sys::move_mount(&mount, place.open()?)
            .tried(|| format!("mount on {:?}", place.path()))
            .map_err(|failure| explain_attach(failure, place))?;
        self.0.push(mount);
        Ok(())
    }

    /// Takes the last mount away: the very one, whatever else is at its path by now.
    pub fn take_back(&mut self) -> Result<(), Failure> {
        let Some(mount) = self.0.pop() else { return Ok(()) };
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd()));
        umount2(&path, MntFlags::MNT_DETACH).tried(|| "take the mount away again")
    }
}

/// Where the privilege is missing, or the call.
pub fn explain_privilege(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            "that takes root; as yourself: nsenter-lite --map-root-user --mount -- bindmount ..."
                .into()
        })
        .hint_if(Errno::ENOSYS, || {
            "this takes Linux 5.12 (open_tree, move_mount: 5.2; openat2: 5.6; mount_setattr: 5.12)"
                .into()
        })
}

fn explain_copy(failure: Failure) -> Failure {
    explain_privilege(failure)
        .hint_if(Errno::ENOENT, || "SRC must be there: what is to be seen at DST?".into())
        .hint_if(Errno::EINVAL, || {
            "in a user namespace a tree that mounts of outside cover can only be copied whole: \
             add --recursive"
                .into()
        })
}

fn explain_attributes(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "in a user namespace what is set on a mount of outside can't be taken off".into()
    })
}

/// `move_mount(2)` says EINVAL where one is a file and the other a folder, and ENOSPC where the
/// number of mounts is at its limit.
fn explain_attach(failure: Failure, place: &Place) -> Failure {
    let path = place.word();
    explain_privilege(failure)
        .hint_if(Errno::EINVAL, || {
            format!("a folder goes on a folder, a file on a file; see what DST is: ls -ld {path}")
        })
        .hint_if(Errno::ENOSPC, || {
            "no disk is full, there are too many mounts: sysctl fs.mount-max".into()
        })
}
