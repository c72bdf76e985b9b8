//! What nsenter-lite does, step by step.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use common::resident::{self, Side};
use common::{Failure, Flow, Line, Tried, exec, shell, sys};
use nix::mount::{MsFlags, mount};
use nix::sched::{setns, unshare};
use nix::unistd::{Gid, Pid, Uid, getpid, pipe2, sethostname, setresgid, setresuid};

use crate::cli::Propagation;
use crate::hint;
use crate::namespace::{self, Kind};
use crate::plan::propagation_word;

/// One user and one group of a new user namespace, and who they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    pub inside: (u32, u32),
    pub outside: (u32, u32),
}

/// A child that goes on in our place, while we wait for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// It is killed when we die.
    pub tied: bool,
}

/// One step into other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new user namespace.
    OwnUser(Option<IdMap>),
    /// New namespaces for this process.
    Own { kinds: Vec<Kind>, propagation: Option<Propagation> },
    /// The namespaces of another process, in a child if one of them is for children only.
    Enter { target: Pid, kinds: Vec<Kind>, be_root: bool, child: Option<Child> },
    /// A child, born into new namespaces.
    Born { kinds: Vec<Kind>, child: Child },
    /// The child's PID, for those outside.
    PidFile(PathBuf),
    /// A view of the processes.
    Proc(PathBuf),
    /// A name.
    Hostname(OsString),
    /// COMMAND.
    Exec(Vec<OsString>),
}

/// What is held while the steps are done.
#[derive(Debug, Default)]
pub struct Hands {
    /// Our PID as it is seen from where we came.
    outer_pid: Option<Pid>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::OwnUser(map) => Line::Within(own_user_line(map.as_ref())),
            Self::Own { kinds, propagation } => Line::Within(own_line(kinds, *propagation)),
            Self::Enter { target, kinds, be_root, .. } => {
                let mut line = format!("nsenter --target {target} {}", namespace::options(kinds));
                if kinds.contains(&Kind::User) && !be_root {
                    line += " --preserve-credentials";
                }
                Line::Within(line)
            }
            Self::Born { kinds, child } => Line::Within(born_line(kinds, *child)),
            Self::PidFile(file) => Line::Run(format!(
                "read -r pid rest </proc/self/stat; echo \"$pid\" >{}",
                shell::operand(file)
            )),
            Self::Proc(dir) => Line::Run(format!(
                "mount -t proc -o nosuid,nodev,noexec proc {}",
                shell::operand(dir)
            )),
            Self::Hostname(name) => Line::Run(format!("hostname -- {}", shell::word(name))),
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::OwnUser(_) => {
                "users and capabilities of our own; unshare(2), \
                user_namespaces(7)"
            }
            Self::Own { .. } => "a private view of these resources; unshare(2), namespaces(7)",
            Self::Enter { .. } => "see what that process sees; setns(2), namespaces(7)",
            Self::Born { kinds, .. } if kinds.contains(&Kind::Pid) => {
                "only children are in a new PID namespace, the first is its PID 1; fork(2), \
                 pid_namespaces(7)"
            }
            Self::Born { .. } => "go on in a child; fork(2)",
            Self::PidFile(_) => {
                "/proc still is the one of outside, so this is the PID there; \
                proc_pid_stat(5)"
            }
            Self::Proc(_) => {
                "a new proc shows the processes of the namespace that it is mounted \
                from; proc(5)"
            }
            Self::Hostname(_) => "the name in this UTS namespace; sethostname(2)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::OwnUser(map) => own_user(map.as_ref())?,
            Self::Own { kinds, propagation } => own(kinds, *propagation)?,
            Self::Enter { target, kinds, be_root, child } => {
                enter(*target, kinds, *be_root)?;
                return child.map_or(Ok(Flow::Next), |child| fork(child, hands));
            }
            Self::Born { kinds, child } => {
                if !kinds.is_empty() {
                    own(kinds, None)?;
                }
                return fork(*child, hands);
            }
            Self::PidFile(file) => write_pid(file, hands.outer_pid.unwrap_or_else(getpid))?,
            Self::Proc(dir) => mount_proc(dir)?,
            Self::Hostname(name) => sethostname(name)
                .tried(|| format!("set the host name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }
}

const NOTHING: Option<&str> = None;

fn own_user_line(map: Option<&IdMap>) -> String {
    match map {
        None => "unshare --user".into(),
        Some(IdMap { inside: (0, 0), .. }) => "unshare --user --map-root-user".into(),
        Some(_) => "unshare --user --map-current-user".into(),
    }
}

fn own_line(kinds: &[Kind], propagation: Option<Propagation>) -> String {
    let mut line = format!("unshare {}", namespace::options(kinds));
    if let Some(propagation) = propagation {
        line.extend([" --propagation ", propagation_word(propagation)]);
    }
    line
}

fn born_line(kinds: &[Kind], child: Child) -> String {
    let kinds = kinds.iter().map(|kind| kind.option());
    let words = ["unshare"].into_iter().chain(kinds).chain(["--fork"]);
    words.chain(child.tied.then_some("--kill-child")).collect::<Vec<_>>().join(" ")
}

/// Unprivileged, a group can be mapped only once setgroups(2) is denied: else a member of a group
/// could leave it, and with it what the group is kept from.
fn own_user(map: Option<&IdMap>) -> Result<(), Failure> {
    unshare(Kind::User.flag())
        .tried(|| "make a user namespace")
        .map_err(|failure| hint::for_new(failure, &[Kind::User]))?;
    let Some(IdMap { inside, outside }) = map else { return Ok(()) };
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{} {} 1", inside.1, outside.1)),
        ("uid_map", format!("{} {} 1", inside.0, outside.0)),
    ] {
        let file = Path::new("/proc/self").join(file);
        fs::write(&file, &text)
            .tried(|| format!("write {text:?} to {file:?}"))
            .map_err(|failure| hint::for_new(failure, &[Kind::User]))?;
    }
    Ok(())
}

fn own(kinds: &[Kind], propagation: Option<Propagation>) -> Result<(), Failure> {
    unshare(namespace::flags(kinds))
        .tried(|| format!("make new namespaces ({})", namespace::options(kinds)))
        .map_err(|failure| hint::for_new(failure, kinds))?;
    let flag = match propagation {
        None | Some(Propagation::Unchanged) => return Ok(()),
        Some(Propagation::Private) => MsFlags::MS_PRIVATE,
        Some(Propagation::Slave) => MsFlags::MS_SLAVE,
        Some(Propagation::Shared) => MsFlags::MS_SHARED,
    };
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | flag, NOTHING)
        .tried(|| "set the propagation of the mounts")
}

/// All at once, by a pidfd: the kernel checks the rights for all of them before it enters one, and
/// the process can't be another by then. Linux 5.8.
fn enter(target: Pid, kinds: &[Kind], be_root: bool) -> Result<(), Failure> {
    let pidfd = sys::pidfd_open(target).tried(|| format!("open process {target}"))?;
    setns(pidfd, namespace::flags(kinds))
        .tried(|| format!("enter namespaces of process {target} ({})", namespace::options(kinds)))
        .map_err(|failure| hint::for_entering(failure, target, kinds))?;
    if be_root {
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(gid, gid, gid).tried(|| "be group 0 of the user namespace")?;
        setresuid(uid, uid, uid).tried(|| "be root of the user namespace")?;
    }
    Ok(())
}

/// The parent stays until the child ends. The child learns its PID from it: inside, it is 1.
fn fork(child: Child, hands: &mut Hands) -> Result<Flow, Failure> {
    let (reader, writer) =
        pipe2(nix::fcntl::OFlag::O_CLOEXEC).tried(|| "make a pipe to the child")?;
    match resident::fork(child.tied).map_err(hint::for_fork)? {
        Side::Parent(child) => {
            drop(reader);
            // A child that died at once tells why by its status.
            let _ = File::from(writer).write_all(&child.pid().as_raw().to_ne_bytes());
            child.wait().map(Flow::Done)
        }
        Side::Child => {
            drop(writer);
            let mut bytes = [0; 4];
            File::from(reader).read_exact(&mut bytes).tried(|| "learn the PID from the parent")?;
            hands.outer_pid = Some(Pid::from_raw(i32::from_ne_bytes(bytes)));
            Ok(Flow::Next)
        }
    }
}

/// Whole or not at all: a reader that finds the file finds the PID in it.
fn write_pid(file: &Path, pid: Pid) -> Result<(), Failure> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", process::id()));
    let unfinished = PathBuf::from(name);
    fs::write(&unfinished, format!("{pid}\n"))
        .and_then(|()| fs::rename(&unfinished, file))
        .tried(|| format!("write the PID file {file:?}"))
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

fn mount_proc(dir: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), dir, Some("proc"), flags, NOTHING)
        .tried(|| format!("mount proc on {dir:?}"))
        .map_err(|failure| hint::for_proc(failure, dir))
}
