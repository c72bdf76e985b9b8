//! What chrootx does, step by step.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use common::{Failure, Flow, Line, Tried, exec, shell, sys};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{get_pdeathsig, set_pdeathsig};
use nix::unistd::{
    Gid, Uid, chdir, chroot, getresgid, getresuid, pivot_root, setgroups, setresgid, setresuid,
};

use crate::account::{Identity, User};

/// One step into another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mount namespace of our own.
    OwnMounts,
    /// The new root, mounted on itself.
    MountOnItself(PathBuf),
    /// The working directory goes there first.
    Enter(PathBuf),
    /// The mount we are in becomes the root of the mount namespace; the old one goes.
    Pivot,
    /// HOME and what belongs to it.
    Environment(User),
    /// The directory we are in becomes the root of this process, perhaps with fewer privileges.
    Chroot(Option<Identity>),
    /// The working directory, inside.
    Workdir(PathBuf),
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = ();

    fn line(&self) -> Line {
        match self {
            Self::OwnMounts => Line::Within("unshare --mount --propagation private".into()),
            Self::MountOnItself(root) => {
                let root = shell::operand(root);
                Line::Run(format!("mount --rbind {root} {root}"))
            }
            Self::Enter(dir) | Self::Workdir(dir) => {
                Line::Run(format!("cd {}", shell::operand(dir)))
            }
            Self::Pivot => Line::Run("mount --move . /".into()),
            Self::Environment(user) => Line::Run(format!("export {}", assignments(user).join(" "))),
            Self::Chroot(identity) => Line::Within(chroot_line(identity.as_ref())),
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::OwnMounts => {
                "a mount table of our own: what follows is not seen outside; \
                unshare(2), mount_namespaces(7)"
            }
            Self::MountOnItself(_) => {
                "only a mount can become the root, so the directory is \
                mounted on itself; mount(2)"
            }
            Self::Enter(_) => "be there first: the change of root follows the directory; chdir(2)",
            Self::Pivot => {
                "this mount becomes the root. chrootx has pivot_root(2) for that, and unmounts \
                the old root; a shell would need the umount of the new one, so it only covers it"
            }
            Self::Environment(_) => "the home and shell that the root has for the user; passwd(5)",
            Self::Chroot(None) => "/ means this directory from now on; chroot(2)",
            Self::Chroot(Some(_)) => {
                "/ means this directory from now on; then groups, group and \
                user, in this order, since only root may change the first two; chroot(2), \
                setgroups(2), setresgid(2), setresuid(2)"
            }
            Self::Workdir(_) => "where the command starts; chdir(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, (): &mut ()) -> Result<Flow, Failure> {
        match self {
            Self::OwnMounts => own_mounts()?,
            Self::MountOnItself(root) => {
                mount(Some(root), root, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
                    .tried(|| format!("mount {root:?} on itself"))?;
            }
            Self::Enter(dir) => chdir(dir).tried(|| format!("enter {dir:?}"))?,
            Self::Pivot => pivot()?,
            Self::Environment(user) => {
                for (name, value) in variables(user) {
                    sys::set_env(name, OsStr::new(value));
                }
            }
            Self::Chroot(identity) => {
                chroot(".").tried(|| "make this directory the root").map_err(need_root)?;
                identity.as_ref().map_or(Ok(()), become_user)?;
            }
            Self::Workdir(dir) => workdir(dir)?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }
}

const NOTHING: Option<&str> = None;

fn chroot_line(identity: Option<&Identity>) -> String {
    let Some(who) = identity else { return "chroot .".into() };
    let uid = who.uid.map(|uid| uid.to_string()).unwrap_or_default();
    let groups: Vec<String> = who.groups.iter().map(u32::to_string).collect();
    format!("chroot --userspec={uid}:{} --groups={} .", who.gid, shell::word(groups.join(",")))
}

fn variables(user: &User) -> [(&'static str, &str); 4] {
    let shell = if user.shell.is_empty() { "/bin/sh" } else { &user.shell };
    [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", shell)]
}

fn assignments(user: &User) -> Vec<String> {
    variables(user).iter().map(|(name, value)| format!("{name}={}", shell::word(value))).collect()
}

/// Propagation is turned off for the whole table: a mount under a shared one would otherwise be
/// seen in the namespace we come from.
fn own_mounts() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).tried(|| "make a mount namespace").map_err(need_root)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .tried(|| "make the mounts private")
}

/// With `.` for both, the old root is stacked on the new one, and `umount2(".")` finds it there:
/// no directory for it is needed inside. See NOTES of pivot_root(2).
fn pivot() -> Result<(), Failure> {
    pivot_root(".", ".").tried(|| "make this mount the root").map_err(|failure| {
        failure
            .hint_if(Errno::EINVAL, || {
                "the root of an initramfs can't be pivoted away from; chrootx --chroot can do \
                 without"
                    .into()
            })
            .hint_if(Errno::EBUSY, || "it is the root already; chrootx --chroot enters it".into())
    })?;
    umount2(".", MntFlags::MNT_DETACH).tried(|| "unmount the old root")
}

/// The kernel forgets that a process is to be killed with its parent when its user or group
/// changes; but whoever asked for that meant it for COMMAND.
fn become_user(who: &Identity) -> Result<(), Failure> {
    let with_parent = get_pdeathsig().tried(|| "read the signal of the parent's death")?;
    change_user(who)?;
    set_pdeathsig(with_parent).tried(|| "keep the signal of the parent's death")
}

fn change_user(who: &Identity) -> Result<(), Failure> {
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    let gid = Gid::from_raw(who.gid);
    setgroups(&groups).tried(|| format!("set the groups {:?}", who.groups)).map_err(mapped)?;
    setresgid(gid, gid, gid).tried(|| format!("set the group {gid}")).map_err(mapped)?;
    let held = getresgid().tried(|| "read the group back")?;
    if [held.real, held.effective, held.saved] != [gid; 3] {
        return Err(Failure::new(format!("set the group {gid}: it reads back as {held:?}")));
    }
    let Some(uid) = who.uid.map(Uid::from_raw) else { return Ok(()) };
    setresuid(uid, uid, uid).tried(|| format!("set the user {uid}")).map_err(mapped)?;
    let held = getresuid().tried(|| "read the user back")?;
    if [held.real, held.effective, held.saved] != [uid; 3] {
        return Err(Failure::new(format!("set the user {uid}: it reads back as {held:?}")));
    }
    Ok(())
}

/// A path such as `/proc/self/fd/9` may lead to where a descriptor of the caller points, outside.
fn workdir(dir: &PathBuf) -> Result<(), Failure> {
    chdir(dir).tried(|| format!("enter {dir:?} in the new root"))?;
    match env::current_dir() {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::new(format!("enter {dir:?} in the new root: it lies outside"))),
    }
}

fn need_root(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "that takes root; as yourself: nsenter-lite --map-root-user --mount -- chrootx ...".into()
    })
}

fn mapped(failure: Failure) -> Failure {
    let hint = || "a user namespace has only the users and groups mapped into it; see id(1), /proc/self/uid_map";
    failure.hint_if(Errno::EINVAL, || hint().into()).hint_if(Errno::EPERM, || {
        "that takes root; a user namespace with setgroups denied can't do it either".into()
    })
}
