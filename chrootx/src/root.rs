//! How a folder becomes the root: by descriptor. The path that names it is resolved once; after the
//! mount it would lead below the mount, as `.` does, or to what somebody has put there meanwhile.

use std::env;
use std::os::fd::OwnedFd;
use std::path::Path;

use common::sys::namespace;
use common::{Failure, Tried, file, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, fchdir, getcwd, pivot_root};

const NOTHING: Option<&str> = None;

/// The mount namespace that we are in.
const OURS: &str = "/proc/self/ns/mnt";

/// The mount namespace that we have, if it is not the one outside, which the caller has open.
pub fn in_place(outside: u32) -> Result<(), Failure> {
    let what = || format!("pivot in place, where {outside} is the mount namespace outside");
    let refused = |why| {
        Failure::usage(format!("{}: {why}", what()))
            .hint("open it out there: nsenter-lite --mount --fd 9=/proc/self/ns/mnt -- ...")
    };
    let outside = match sys::inherited(outside) {
        Err(Errno::EBADF) => return Err(refused("the caller has no such descriptor open")),
        outcome => outcome.tried(what)?,
    };
    if namespace::kind(&outside) != Ok(CloneFlags::CLONE_NEWNS) {
        return Err(refused("it is no mount namespace"));
    }
    match file::same(&fstat(&outside).tried(what)?, &stat(OURS).tried(what)?) {
        true => Err(refused("we are in it, and so are others, who would lose their root")),
        false => make_private(),
    }
}

/// The same in shell.
pub fn in_place_line(outside: u32) -> String {
    format!(
        "case $(readlink /proc/self/fd/{outside}) in \"$(readlink {OURS})\") false ;; mnt:*) ;; \
         *) false ;; esac || {{ echo '{outside} is no mount namespace, or this one' >&2; exit 125; }}; \
         mount --make-rprivate /"
    )
}

/// The working directory comes along into the new table.
pub fn own_mounts() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).tried(|| "make a mount namespace").map_err(need_root)?;
    make_private()
}

/// Propagation is turned off for the whole table: a mount under a shared one would otherwise be
/// seen in the namespace we come from, and what is unmounted here be unmounted there.
fn make_private() -> Result<(), Failure> {
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .tried(|| "make the mounts private")
        .map_err(|failure| {
            failure.hint_if(Errno::EINVAL, || {
                "the present root is no mount, so it is a chroot; chrootx --chroot works in it"
                    .into()
            })
        })
}

/// The folder that we are in, mounted on itself; then we are in the mount.
pub fn mount_on_itself() -> Result<(), Failure> {
    let what = || "mount the root on itself";
    let outcome = match by_descriptor() {
        // Before Linux 5.2, or under a filter that does not know the calls.
        Err(denied @ (Errno::ENOSYS | Errno::EPERM)) => match by_name() {
            Err(Errno::ESTALE) => {
                return Err(Failure::errno(what(), denied).hint(
                    "something else is mounted over it; below that get only open_tree(2) and \
                     move_mount(2): Linux 5.2, and no filter (seccomp) that denies them",
                ));
            }
            outcome => outcome,
        },
        outcome => outcome,
    };
    outcome.tried(what).map_err(need_root).map_err(|failure| {
        failure.hint_if(Errno::EINVAL, || {
            "an unbindable mount can't be; see findmnt -o +PROPAGATION".into()
        })
    })
}

fn by_descriptor() -> nix::Result<()> {
    let here = folder(".")?;
    let tree = sys::copy_of_tree(&here)?;
    sys::move_mount(&tree, &here)?;
    fchdir(&tree)
}

/// What is mounted on the folder we are in is entered by its name alone. If the name has come to
/// mean another folder, that is refused.
fn by_name() -> nix::Result<()> {
    let folder = stat(".")?;
    mount(Some("."), ".", NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)?;
    chdir(&getcwd()?)?;
    match file::same(&folder, &stat(".")?) {
        true => Ok(()),
        false => Err(Errno::ESTALE),
    }
}

pub fn folder(path: &str) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// What a mount of our own namespace, which nobody else has seen yet, is not for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To change files.
    pub read_only: bool,
    /// To reach devices by its files: a tree from elsewhere may have one for each disk.
    pub nodev: bool,
}

impl Attributes {
    /// The words of mount(8).
    pub fn line(self, mount: &str) -> String {
        let words = [(",ro", self.read_only), (",nodev", self.nodev)];
        let words = words.into_iter().filter(|(_, asked)| *asked).map(|(word, _)| word);
        format!("mount -o remount,bind{} {mount}", words.collect::<String>())
    }

    /// Why, for the reader of the line.
    pub fn why(self) -> &'static str {
        match self.nodev {
            true if self.read_only => {
                "nothing in it can be changed, and its device files open nothing; mount_setattr(2)"
            }
            true => "its device files open nothing; mount_setattr(2)",
            false => "nothing in it can be changed; mount_setattr(2)",
        }
    }

    /// Sets them.
    pub fn set(self, mount: &str) -> Result<(), Failure> {
        let flags = [
            (self.read_only, sys::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY),
            (self.nodev, sys::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
        ];
        let asked = flags.into_iter().filter(|(asked, ..)| *asked);
        let (new, old) = asked
            .fold((0, MsFlags::empty()), |(new, old), (_, attr, flag)| (new | attr, old | flag));
        let attr = sys::mount_attr { attr_set: new, attr_clr: 0, propagation: 0, userns_fd: 0 };
        let outcome = match folder(mount).and_then(|mount| sys::mount_setattr(mount, 0, &attr)) {
            Err(Errno::ENOSYS | Errno::EPERM) => remount(mount, old),
            outcome => outcome,
        };
        outcome.tried(|| match self.read_only {
            true => "make the root read-only",
            false => "take devices from the root",
        })
    }
}

/// mount(2) sets all attributes anew; those that are there already may be locked to it.
fn remount(path: &str, flags: MsFlags) -> nix::Result<()> {
    let there = statvfs(path)?.flags();
    let kept = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| there.contains(*flag)).map(|(_, flag)| flag);
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(NOTHING, path, NOTHING, flags | kept.collect(), NOTHING)
}

/// With `.` for both, the old root is stacked on the new one, and `umount2(".")` finds it there:
/// no directory for it is needed inside. See NOTES of pivot_root(2).
pub fn pivot() -> Result<(), Failure> {
    pivot_root(".", ".").tried(|| "make this mount the root").map_err(|failure| {
        failure.hint_if(Errno::EINVAL, || {
            "the root of an initramfs can't be pivoted away from; chrootx --chroot can do without"
                .into()
        })
    })?;
    umount2(".", MntFlags::MNT_DETACH).tried(|| "unmount the old root")
}

/// A path such as `/proc/self/fd/9` may lead to where a descriptor of the caller points, outside.
pub fn workdir(dir: &Path) -> Result<(), Failure> {
    chdir(dir).tried(|| format!("enter {dir:?} in the new root"))?;
    match env::current_dir() {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new(format!("enter {dir:?} in the new root: it lies outside"))),
    }
}

pub fn need_root(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "that takes root; as yourself: nsenter-lite --map-root-user --mount -- chrootx ...".into()
    })
}
