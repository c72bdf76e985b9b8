//! A mount is made in three moves: a detached tree, which nobody sees; its attributes; its place.
//! So nobody ever sees it without them, and no path is looked up twice.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use common::{Failure, Tried, mountinfo, shell, sys};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{fchdir, geteuid};

use crate::idmap;
use crate::options::Options;
use crate::overlay::in_user_namespace;
use crate::place::{self, Made, Place};

/// Where the kernel has names for our open files.
pub const DESCRIPTORS: &str = "/proc/self/fd";

/// What was made, so that it can be taken away again: the mounts, and the mount points.
#[derive(Debug, Default)]
pub struct Mounted {
    mounts: Vec<OwnedFd>,
    made: Vec<Vec<Made>>,
    /// A folder in the memory of a small dev, which a mount on it hides: there is room for a file.
    pub hidden: Option<OwnedFd>,
}

impl Mounted {
    /// A copy of the mount at `src`, with these options, at `place`.
    pub fn bind(&mut self, src: &Path, place: &Place, options: &Options) -> Result<(), Failure> {
        self.attach_with(tree(src, options)?, place, options)
            .map_err(|failure| idmap::name_the_mount(failure, src, options))
    }

    /// Puts a detached tree in its place, with these options.
    pub fn attach_with(
        &mut self,
        tree: OwnedFd,
        place: &Place,
        options: &Options,
    ) -> Result<(), Failure> {
        let at = place.open()?;
        set(&tree, &place.path(), options)?;
        self.put(tree, &at, &place.path())?;
        self.propagate(&place.path(), options).inspect_err(|_| drop(self.take_back()))
    }

    /// Attached below a shared mount the last one has become shared itself, so this comes last.
    pub fn propagate(&self, path: &Path, options: &Options) -> Result<(), Failure> {
        let Some((all, attr)) = options.propagation_attr() else { return Ok(()) };
        sys::mount_setattr(self.last()?, depth(all), &attr)
            .tried(|| format!("set the propagation of {path:?}"))
            .map_err(explain_privilege)
    }

    /// Puts a detached mount in its place.
    pub fn attach(&mut self, mount: OwnedFd, place: &Place) -> Result<(), Failure> {
        self.put(mount, &place.open()?, &place.path())
    }

    /// The same where the mount point is open already; `path` is what it is called.
    pub fn put(&mut self, mount: OwnedFd, at: &OwnedFd, path: &Path) -> Result<(), Failure> {
        sys::move_mount(&mount, at)
            .tried(|| format!("mount on {path:?}"))
            .map_err(|failure| explain_attach(failure, path))?;
        self.mounts.push(mount);
        Ok(())
    }

    /// The last mount that was made: what lies below it is reached by this descriptor alone.
    pub fn last(&self) -> Result<&OwnedFd, Failure> {
        self.mounts.last().ok_or_else(|| Failure::new("mount below the last mount: there is none"))
    }

    /// Goes there: who was in the folder that it covers would stay below.
    pub fn enter_last(&self) -> Result<(), Failure> {
        fchdir(self.last()?).tried(|| "enter the mount")
    }

    /// Takes the last mount away: the very one, whatever else is at its path by now.
    pub fn take_back(&mut self) -> Result<(), Failure> {
        self.take_back_by(Path::new(DESCRIPTORS))
    }

    /// The same where another path leads to the folder of our descriptors.
    pub fn take_back_by(&mut self, descriptors: &Path) -> Result<(), Failure> {
        let Some(mount) = self.mounts.pop() else { return Ok(()) };
        let path = descriptors.join(mount.as_raw_fd().to_string());
        umount2(&path, MntFlags::MNT_DETACH).tried(|| "take the mount away again")
    }

    /// Does something with a mount that has to lie somewhere for it.
    pub fn for_a_moment<T>(
        &mut self,
        mount: OwnedFd,
        place: &Place,
        act: impl FnOnce(&OwnedFd) -> T,
    ) -> Result<T, Failure> {
        let same = mount.try_clone().tried(|| "hold a mount twice")?;
        self.attach(mount, place)?;
        let done = act(&same);
        self.take_back().map(|()| done)
    }

    /// Makes a mount point, and all or nothing of the folders above it.
    pub fn make(&mut self, place: &Place, folder: bool) -> Result<(), Failure> {
        let mut made = Vec::new();
        let outcome = place.make(folder, &mut made);
        self.made.push(made);
        outcome.inspect_err(|_| drop(self.unmake()))
    }

    /// Removes what was made of the last mount point.
    pub fn unmake(&mut self) -> Result<(), Failure> {
        self.made.pop().unwrap_or_default().iter().rev().try_for_each(Made::remove)
    }
}

fn depth(all: bool) -> libc::c_int {
    if all { sys::AT_RECURSIVE } else { 0 }
}

/// Gives a detached tree what is to be seen of it from the first moment on, but its propagation;
/// `path` is what its mount point is called.
pub fn set(tree: &OwnedFd, path: &Path, options: &Options) -> Result<(), Failure> {
    let depth = depth(options.recursive);
    if let Some(map) = &options.idmap {
        map.set(tree, depth, path)?;
    }
    let Some(attr) = options.attr() else { return Ok(()) };
    sys::mount_setattr(tree, depth, &attr)
        .tried(|| format!("set {} on the mount for {path:?}", options.words()))
        .map_err(explain_attributes)
}

/// A detached copy of the mount at a path, if so asked with what is mounted below it.
pub fn tree(src: &Path, options: &Options) -> Result<OwnedFd, Failure> {
    let depth = depth(options.recursive).cast_unsigned();
    let flags = sys::OPEN_TREE_CLONE | sys::OPEN_TREE_CLOEXEC | depth;
    sys::open_tree(AT_FDCWD, src, flags)
        .tried(|| format!("copy the mount of {src:?}"))
        .map_err(|failure| explain_copy(failure, src))
}

/// Puts a detached mount on what lies in another one, and goes when that is taken away.
pub fn attach_below(mount: OwnedFd, at: &OwnedFd, name: impl AsRef<Path>) -> Result<(), Failure> {
    sys::move_mount(mount, at)
        .tried(|| format!("mount on {:?}", name.as_ref()))
        .map_err(explain_attach_at)
}

/// A copy of what is at `from`, file or folder, with these options.
pub fn copy(from: &OwnedFd, name: impl AsRef<Path>, options: &Options) -> Result<OwnedFd, Failure> {
    let copy = sys::copy_of_mount(from)
        .tried(|| format!("copy the mount of {:?}", name.as_ref()))
        .map_err(explain_privilege)?;
    set(&copy, name.as_ref(), options).map(|()| copy)
}

/// Where the privilege is missing, or the call.
pub fn explain_privilege(failure: Failure) -> Failure {
    explain_kernel(failure).hint_if(Errno::EPERM, || Root::are_we().missing().into())
}

/// Whose root we are.
pub enum Root {
    OfTheMachine,
    OfAUserNamespace,
    No,
}

impl Root {
    pub fn are_we() -> Self {
        match (geteuid().is_root(), in_user_namespace()) {
            (true, false) => Self::OfTheMachine,
            (true, true) => Self::OfAUserNamespace,
            (false, _) => Self::No,
        }
    }

    /// What it may be that such a one is denied.
    fn missing(self) -> &'static str {
        match self {
            Self::OfTheMachine => {
                "root may do that, so a filter (seccomp) or a security module denies it, or \
                 CAP_SYS_ADMIN is missing; needed are open_tree, move_mount, mount_setattr, fsopen, \
                 fsconfig, fsmount"
            }
            Self::OfAUserNamespace => {
                "root of a user namespace may do that where the mount namespace belongs to it, too: \
                 nsenter-lite --mount -- bindmount ...; or root outside may (sudo)"
            }
            Self::No => {
                "that takes root (sudo); or as yourself: nsenter-lite --map-root-user --mount -- \
                 bindmount ..."
            }
        }
    }
}

/// Where the call is missing.
pub fn explain_kernel(failure: Failure) -> Failure {
    failure.hint_if(Errno::ENOSYS, || {
        "this takes Linux 5.12 (open_tree, move_mount: 5.2; fsopen, fsmount: 5.2; mount_setattr: \
         5.12), and no filter (seccomp) that denies it"
            .into()
    })
}

fn explain_copy(failure: Failure, src: &Path) -> Failure {
    explain_privilege(failure)
        .hint_if(Errno::ENOENT, || "SRC must be there: what is to be seen at DST?".into())
        .hint_if(Errno::EACCES, || {
            let src = shell::operand(src);
            format!(
                "a folder on the way is closed to us: namei -l {src}; root of a user namespace may \
                 only do there what its owner outside may"
            )
        })
        .hint_if(Errno::EINVAL, || {
            if is_mounted_here(src) {
                "an unbindable mount can't be copied (findmnt -o TARGET,PROPAGATION); in a user \
                 namespace a tree that mounts of outside cover only whole: --recursive, or -o rbind"
            } else {
                "it is on none of the mounts here, as a pipe is, a socket, or what another mount \
                 namespace has; SRC is a file or folder below a TARGET of bindmount --list"
            }
            .into()
        })
}

/// Whether a path leads to a mount of this mount namespace, as far as that can be seen.
fn is_mounted_here(path: &Path) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let number = open(path, flags, Mode::empty()).ok().and_then(|file| place::mount_number(&file));
    match (number, mountinfo::read()) {
        (Some(number), Ok(mounts)) => mounts.iter().any(|mount| mount.id == number),
        _ => true,
    }
}

fn explain_attributes(failure: Failure) -> Failure {
    let failure = explain_privilege(failure);
    match in_user_namespace() {
        true => failure.hint_if(Errno::EPERM, || {
            "in a user namespace what is set on a mount of outside can't be taken off".into()
        }),
        false => failure,
    }
}

/// `move_mount(2)` says EINVAL where one is a file and the other a folder, ENOENT where one has been
/// deleted while it was open, and ENOSPC where the number of mounts is at its limit.
fn explain_attach(failure: Failure, path: &Path) -> Failure {
    let path = shell::operand(path);
    explain_attach_at(failure)
        .hint_if(Errno::EINVAL, || other_kind(&path))
        .hint_if(Errno::ENOENT, || {
            "SRC or DST has been deleted; for who is in it, cd \"$PWD\" finds the new one".into()
        })
}

/// What is wrong with a mount point, as a word of a script.
pub fn other_kind(path: &str) -> String {
    format!("a folder goes on a folder, a file on a file; see what DST is: ls -ld {path}")
}

fn explain_attach_at(failure: Failure) -> Failure {
    explain_privilege(failure).hint_if(Errno::ENOSPC, || {
        "no disk is full, there are too many mounts: sysctl fs.mount-max".into()
    })
}
