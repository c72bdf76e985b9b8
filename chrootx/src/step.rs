//! What chrootx does, step by step.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Line, Tried, exec, report, shell, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{get_pdeathsig, set_no_new_privs, set_pdeathsig};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, chdir, chroot, getresgid, getresuid, pivot_root, setgroups, setresgid, setresuid,
};

use crate::account::Identity;
use crate::capability::Set;
use crate::descriptor;
use crate::limit::Limit;
use crate::seccomp::Filter;
use crate::variable::{self, Variable};

/// One step into another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What the caller has left open is closed, but these.
    Descriptors(BTreeSet<u32>),
    /// A mount namespace of our own.
    OwnMounts,
    /// The new root, mounted on itself.
    MountOnItself(PathBuf),
    /// Nothing in the root can be written to.
    ReadOnly(PathBuf),
    /// None of the caller's keys.
    Keyring,
    /// No program gains privileges.
    NoNewPrivileges,
    /// None of the caller's variables, but TERM.
    ClearEnvironment,
    /// The working directory goes there first.
    Enter(PathBuf),
    /// The mount we are in becomes the root of the mount namespace; the old one goes.
    Pivot,
    /// HOME and what belongs to it, and what is asked for.
    Environment(Vec<Variable>),
    /// So much, and no more.
    Limit(Limit),
    /// The bits that new files don't get.
    Umask(u32),
    /// The directory we are in becomes the root of this process, perhaps with fewer privileges.
    Chroot { identity: Option<Identity>, gone: Option<Set> },
    /// The working directory, inside.
    Workdir(PathBuf),
    /// No system calls but those that it lets through; in the script by the name of a file.
    Filter { name: PathBuf, filter: Filter },
    /// The filter, for other programs.
    PrintFilter(Filter),
    /// COMMAND.
    Exec(Vec<OsString>),
}

impl common::Step for Step {
    type Hands = ();

    fn line(&self) -> Line {
        match self {
            Self::Descriptors(keep) => Line::Run(descriptor::line(keep)),
            Self::OwnMounts => Line::Within("unshare --mount --propagation private".into()),
            Self::MountOnItself(root) => {
                let root = shell::operand(root);
                Line::Run(format!("mount --rbind {root} {root}"))
            }
            Self::Enter(dir) | Self::Workdir(dir) => {
                Line::Run(format!("cd {}", shell::operand(dir)))
            }
            Self::ReadOnly(root) => {
                Line::Run(format!("mount -o remount,bind,ro {}", shell::operand(root)))
            }
            Self::Keyring => Line::Within("keyctl session -".into()),
            Self::NoNewPrivileges => Line::Within("setpriv --no-new-privs".into()),
            Self::ClearEnvironment => Line::Within(variable::clear_line()),
            Self::Pivot => Line::Run("mount --move . /".into()),
            Self::Environment(variables) => Line::Run(variable::line(variables)),
            Self::Limit(limit) => Line::Run(limit.line()),
            Self::Umask(mask) => Line::Run(format!("umask {mask:03o}")),
            Self::Chroot { identity, gone: None } => Line::Within(chroot_line(identity.as_ref())),
            Self::Chroot { identity, gone: Some(gone) } => {
                Line::Within(capsh_line(identity.as_ref(), *gone))
            }
            Self::Filter { name, .. } => {
                Line::Within(format!("setpriv --seccomp-filter {}", shell::operand(name)))
            }
            Self::PrintFilter(filter) => Line::Run(format!("printf '{}'", octal(&filter.bytes()))),
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Descriptors(_) => {
                "what the caller left open may lead out, as a folder does; a shell closes those \
                that it has a digit for, chrootx all; close_range(2)"
            }
            Self::OwnMounts => {
                "a mount table of our own: what follows is not seen outside; \
                unshare(2), mount_namespaces(7)"
            }
            Self::MountOnItself(_) => {
                "only a mount can become the root, so the directory is \
                mounted on itself; mount(2)"
            }
            Self::ReadOnly(_) => "nothing in it can be changed; mount_setattr(2)",
            Self::Keyring => "a session keyring without the caller's keys; session-keyring(7)",
            Self::NoNewPrivileges => {
                "no program that follows gains privileges, setuid or not; PR_SET_NO_NEW_PRIVS(2const)"
            }
            Self::ClearEnvironment => {
                "what the caller's variables say is none of the command's business; environ(7)"
            }
            Self::Enter(_) => "be there first: the change of root follows the directory; chdir(2)",
            Self::Pivot => {
                "this mount becomes the root. chrootx has pivot_root(2) for that, and unmounts \
                the old root; a shell would need the umount of the new one, so it only covers it"
            }
            Self::Environment(_) => {
                "the home and shell that the root has for the user, and what was asked for; \
                passwd(5), environ(7)"
            }
            Self::Limit(_) => "no process that follows gets more; setrlimit(2)",
            Self::Umask(_) => "the bits that new files don't get; umask(2)",
            Self::Chroot { identity: None, gone: None } => {
                "/ means this directory from now on; chroot(2)"
            }
            Self::Chroot { identity: Some(_), gone: None } => {
                "/ means this directory from now on; then groups, group and \
                user, in this order, since only root may change the first two; chroot(2), \
                setgroups(2), setresgid(2), setresuid(2)"
            }
            Self::Chroot { gone: Some(_), .. } => {
                "/ means this directory from now on, and these parts of root's power are gone \
                for all programs that follow; then the user, if one is named; chroot(2), \
                capabilities(7), setresuid(2)"
            }
            Self::Workdir(_) => "where the command starts; chdir(2)",
            Self::Filter { .. } => {
                "system calls that a container has no business with are refused. chrootx brings \
                the filter; the script needs setpriv of util-linux 2.41 inside, and the file, \
                which chrootx --print-seccomp writes; seccomp(2)"
            }
            Self::PrintFilter(_) => "a program of the kernel's own simple instructions; seccomp(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, (): &mut ()) -> Result<Flow, Failure> {
        match self {
            Self::Descriptors(keep) => descriptor::close_all_but(keep)?,
            Self::OwnMounts => own_mounts()?,
            Self::MountOnItself(root) => {
                mount(Some(root), root, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
                    .tried(|| format!("mount {root:?} on itself"))?;
            }
            Self::Enter(dir) => chdir(dir).tried(|| format!("enter {dir:?}"))?,
            Self::Pivot => pivot()?,
            Self::ReadOnly(root) => read_only(root)?,
            Self::Keyring => new_keyring()?,
            Self::NoNewPrivileges => {
                set_no_new_privs().tried(|| "refuse privileges to come")?;
            }
            Self::ClearEnvironment => variable::clear(),
            Self::Environment(variables) => variables.iter().for_each(Variable::set),
            Self::Limit(limit) => limit.set()?,
            Self::Umask(mask) => drop(umask(Mode::from_bits_truncate(*mask))),
            Self::Chroot { identity, gone } => {
                gone.map_or(Ok(()), Set::take_from_bounding_set)?;
                chroot(".").tried(|| "make this directory the root").map_err(need_root)?;
                identity.as_ref().map_or(Ok(()), become_user)?;
                gone.map_or(Ok(()), Set::give_up)?;
            }
            Self::Workdir(dir) => workdir(dir)?,
            Self::Filter { filter, .. } => filter.install()?,
            Self::PrintFilter(filter) => {
                report::print_bytes(&filter.bytes())?;
                return Ok(Flow::Done(0));
            }
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }
}

const NOTHING: Option<&str> = None;

fn chroot_line(identity: Option<&Identity>) -> String {
    let Some(who) = identity else { return "chroot .".into() };
    let uid = who.uid.map(|uid| uid.to_string()).unwrap_or_default();
    format!("chroot --userspec={uid}:{} --groups={} .", who.gid, groups(who))
}

fn groups(who: &Identity) -> String {
    shell::word(who.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

/// capsh(1) does what it is told in order, and then runs a shell of the new root.
fn capsh_line(identity: Option<&Identity>, gone: Set) -> String {
    let mut line = "capsh --chroot=. --inh= --noamb".to_owned();
    let gone = Some(gone.names()).filter(|names| !names.is_empty());
    line.extend(gone.map(|names| format!(" --drop={names}")));
    if let Some(who) = identity {
        line.extend([format!(" --groups={} --gid={}", groups(who), who.gid)]);
        line.extend(who.uid.map(|uid| format!(" --uid={uid}")));
    }
    line + " --shell=/bin/sh -- -c 'exec \"$@\"' sh"
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:03o}"))
}

fn read_only(root: &Path) -> Result<(), Failure> {
    let failed = || format!("make {root:?} read-only");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mount = open(root, flags, Mode::empty()).tried(failed)?;
    let attr = sys::mount_attr {
        attr_set: sys::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    sys::mount_setattr(mount, 0, &attr).tried(failed)
}

fn new_keyring() -> Result<(), Failure> {
    match sys::power::new_session_keyring() {
        // A kernel without keys has none to hide.
        Err(Errno::ENOSYS) => Ok(()),
        outcome => outcome.tried(|| "make a session keyring").map_err(|failure| {
            failure.hint_if(Errno::EDQUOT, || {
                "this user has as many keys as it may: see /proc/key-users".into()
            })
        }),
    }
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
