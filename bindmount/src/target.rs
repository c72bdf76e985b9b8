//! Mounts in the mount namespace of another process: into a container that runs already.
//!
//! A tree is copied where SRC is, outside, and DST is opened as the target's root leads there; then
//! this process enters the mount namespace of the target, and attaches the copy. No shell command does
//! that: nsenter(1) finds no SRC where it is.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::{Failure, Tried, inroot, pid, pidfd, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, fchdir};

use crate::attach::{self, DESCRIPTORS, Mounted};
use crate::held::Held;
use crate::idmap;
use crate::overlay::in_user_namespace;
use crate::place::{self, Made};
use crate::spec::Spec;
use crate::{table, unmount};

/// The process whose mounts are changed.
struct Target {
    pid: Pid,
    process: OwnedFd,
    /// Its folder in /proc.
    folder: PathBuf,
    /// Its root, which its own mount namespace need not begin with.
    root: OwnedFd,
}

/// The process, and its folder in /proc.
fn find(pid: Pid) -> Result<(OwnedFd, PathBuf), Failure> {
    let what = || format!("find process {pid}");
    let found = pidfd::open(pid, what)
        .and_then(|process| Ok((pidfd::pid_in_proc(&process, what)?, process)));
    let found =
        found.map_err(|failure| failure.hint_if(Errno::ESRCH, || "ps -e lists them".into()));
    found.map(|(number, process)| (process, PathBuf::from(format!("/proc/{number}"))))
}

impl Target {
    /// By the time that its root is open, the process must be the one that it was.
    fn open(pid: Pid) -> Result<Self, Failure> {
        let (process, folder) = find(pid)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&folder.join("root"), flags, Mode::empty());
        let root = root.tried(|| format!("open the root of process {pid}")).map_err(|failure| {
            failure.hint_if(Errno::EACCES, || "that takes root, or a process of yours".into())
        })?;
        match pidfd::has_ended(&process).tried(|| format!("look at process {pid}"))? {
            false => Ok(Self { pid, process, folder, root }),
            true => Err(Failure::errno(format!("find process {pid}"), Errno::ESRCH)),
        }
    }

    /// What a place of its root is called here, as a word of a script.
    fn word(&self, dst: &Path) -> String {
        shell::operand(self.folder.join("root").join(dst.strip_prefix("/").unwrap_or(dst)))
    }

    /// Makes a mount point in it.
    fn make(&self, dst: &Path, folder: bool, made: &mut Vec<Made>) -> Result<(), Failure> {
        let failed = || format!("make the mount point {dst:?} of process {}", self.pid);
        let top = self.root.try_clone().tried(failed)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        place::make_below(top, dst, folder, made, |dir, name| inroot::open_plain(dir, name, flags))
            .tried(failed)
            .map_err(|failure| failure.hint_if(Errno::ELOOP, place::explain_link))
    }

    /// From here on the mounts of this process are those of the target. What is at /proc then shows
    /// other processes, or is made up to lead us elsewhere: what it is needed for comes before, and
    /// the way to our descriptors is to be where they are.
    fn enter(&self) -> Result<(), Failure> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptors = open(DESCRIPTORS, flags, Mode::empty())
            .tried(|| format!("open {DESCRIPTORS:?}"))
            .map_err(|failure| failure.hint(pid::NO_PROC))?;
        // What went wrong is explained by it.
        in_user_namespace();
        setns(&self.process, CloneFlags::CLONE_NEWNS)
            .tried(|| format!("enter the mount namespace of process {}", self.pid))
            .map_err(|failure| {
                failure.hint_if(Errno::EPERM, || {
                    "that takes root of the user namespace that it is in (sudo)".into()
                })
            })?;
        fchdir(descriptors).tried(|| format!("enter {DESCRIPTORS:?}"))
    }
}

/// What is done, for --explain: these are no commands of a shell.
pub fn line(pid: Pid, spec: &Spec) -> String {
    let [src, dst] = [&spec.src, &spec.dst].map(shell::operand);
    format!(": open_tree {src}, setns {pid}, move_mount {dst}")
}

/// Mounts a copy of `src` at `dst` of the process's root.
pub fn bind(pid: Pid, spec: &Spec, mkdir: bool, held: Option<&Held>) -> Result<(), Failure> {
    let Spec { src, dst, options } = spec;
    let target = Target::open(pid)?;
    let tree = attach::tree(src, options)?;
    attach::set(&tree, dst, options)
        .map_err(|failure| idmap::name_the_mount(failure, src, options))?;
    let mut made = Vec::new();
    let outcome = match mkdir {
        true => target.make(dst, src.is_dir(), &mut made),
        false => Ok(()),
    };
    let attached = outcome.and_then(|()| {
        let at = inroot::open_plain(&target.root, dst, OFlag::O_PATH)
            .tried(|| format!("open the mount point {dst:?} of process {pid}"))
            .map_err(|failure| place::explain(failure, &target.word(dst)))?;
        target.enter()?;
        let mut mounted = Mounted::default();
        mounted.put(tree, &at, dst).map_err(|failure| {
            failure.hint_if(Errno::EINVAL, || attach::other_kind(&target.word(dst)))
        })?;
        let outcome = mounted.propagate(dst, options);
        let outcome = outcome.and_then(|()| held.map_or(Ok(()), Held::none_has_come));
        outcome.inspect_err(|_| drop(mounted.take_back_by(Path::new("."))))
    });
    attached.inspect_err(|_| made.iter().rev().for_each(|made| drop(made.remove())))
}

/// Looks whether a place of the process's root can be opened.
pub fn look_at(pid: Pid, dst: &Path) {
    if let Ok(target) = Target::open(pid) {
        let _ = inroot::open_plain(&target.root, dst, OFlag::O_PATH);
    }
}

/// Takes the mount at `dst` of the process's root away.
pub fn unmount(pid: Pid, dst: &Path, lazy: bool) -> Result<(), Failure> {
    let target = Target::open(pid)?;
    target.enter()?;
    unmount::by_folder(&target.root, dst, lazy)
        .tried(|| format!("unmount {dst:?} of process {pid}"))
        .map_err(|failure| {
            failure
                .hint_if(Errno::EINVAL, || {
                    format!("nothing is mounted there: bindmount -t {pid} --list shows what is")
                })
                .hint_if(Errno::EBUSY, || {
                    "a process is in it; --lazy takes it away all the same".into()
                })
        })
}

/// The mounts that it sees, at and under a folder of its root. Links are followed as it would, for
/// nothing is done there.
pub fn list(pid: Pid, dir: Option<&Path>) -> Result<Vec<Mount>, Failure> {
    let Some(dir) = dir else {
        let (_process, folder) = find(pid)?;
        return mountinfo::read_from(&folder.join("mountinfo"));
    };
    let target = Target::open(pid)?;
    let there = inroot::open_in(&target.root, dir, OFlag::O_PATH)
        .tried(|| format!("look at {dir:?} of process {pid}"))?;
    let mounts = mountinfo::read_from(&target.folder.join("mountinfo"))?;
    let dir = Path::new("/").join(place::name_in(&target.root, &there)?);
    Ok(table::at_and_under(mounts, &dir))
}
