//! What nsenter-lite does, step by step.

use std::ffi::OsString;
use std::path::PathBuf;

use common::idmap::Writer;
use common::{Failure, Flow, Line, Tried, exec, shell};
use nix::unistd::{Pid, getpid, sethostname};

use crate::create::Creation;
use crate::enter::{Entry, Held};
use crate::persist::{Keep, Keeper};
use crate::place::Inside;
use crate::procfs::Folder;
use crate::pty::Terminal;
use crate::users::Mapping;
use crate::{cgroup, hint, idmap, pidfile, procfs};

/// One step into other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Files that will keep them.
    Keep(Keep),
    /// A map of users that somebody outside has to write.
    Mapper(Mapping),
    /// The target's control groups.
    Cgroup(Vec<PathBuf>),
    /// New namespaces; the next steps may be a child's.
    Create(Creation),
    /// Those of another process; the next steps may be a child's.
    Enter(Entry),
    /// The PID, for those outside.
    PidFile(PathBuf),
    /// A view of the processes, where mounts may be shared with the namespace we come from.
    Proc { at: Folder, shared: bool },
    /// Interpreters for programs of other kinds.
    Binfmt(Folder),
    /// A name.
    Hostname(OsString),
    /// The devpts that COMMAND's own terminal is in.
    Devpts,
    /// A terminal of its own.
    Terminal,
    /// Root, folder, user and group.
    Inside(Inside),
    /// COMMAND.
    Exec(Vec<OsString>),
}

/// What is held while the steps are done.
#[derive(Debug, Default)]
pub struct Hands {
    /// Our PID as it is seen from where we came, if it differs.
    pub outer_pid: Option<Pid>,
    /// What is entered.
    pub target: Option<Held>,
    /// Who writes the map of users.
    pub writer: Option<Writer>,
    /// Who keeps the namespaces.
    pub keeper: Option<Keeper>,
    /// COMMAND's own terminal, if it gets one.
    pub terminal: Option<Terminal>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Keep(keep) => Line::Run(keep.line()),
            Self::Mapper(mapping) => Line::Run(idmap::line(mapping)),
            Self::Cgroup(files) => Line::Run(cgroup::line(files)),
            Self::Binfmt(at) => {
                let dir = shell::operand(at.path());
                Line::Run(format!("mount -t binfmt_misc binfmt_misc {dir}"))
            }
            Self::Inside(inside) => Line::Within(inside.line()),
            Self::Create(creation) => Line::Within(creation.line()),
            Self::Enter(entry) => Line::Within(entry.line()),
            Self::PidFile(file) => Line::Run(format!(
                "read -r pid rest </proc/self/stat; echo \"$pid\" >{}",
                shell::operand(file)
            )),
            Self::Proc { at, shared } => {
                let dir = shell::operand(at.path());
                let first = if *shared {
                    format!("mount --make-rprivate {dir} 2>/dev/null || :; ")
                } else {
                    String::new()
                };
                Line::Run(format!("{first}mount -t proc -o nosuid,nodev,noexec proc {dir}"))
            }
            Self::Hostname(name) => Line::Run(format!("hostname -- {}", shell::word(name))),
            Self::Devpts => Line::Run(
                "mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620 \
                 nsenter-lite /dev/pts"
                    .into(),
            ),
            Self::Terminal => Line::Whole("script -qe /dev/null -c".into()),
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Create(creation) => return creation.why(),
            Self::Inside(inside) => return inside.why(),
            Self::Keep(_) => {
                "a namespace that is mounted on a file outlives its processes; namespaces(7)"
            }
            Self::Mapper(mapping) => idmap::why(mapping),
            Self::Cgroup(_) => "what it may use is what that process may use; cgroups(7)",
            Self::Binfmt(_) => "interpreters for this user namespace alone; binfmt_misc",
            Self::Enter(entry) if entry.env || entry.user_parent => {
                "see what that process sees; setns(2), namespaces(7); older nsenter(1)s lack --env \
                 and --user-parent"
            }
            Self::Enter(_) => "see what that process sees; setns(2), namespaces(7)",
            Self::PidFile(_) => {
                "/proc still is the one of outside, so this is the PID there; proc_pid_stat(5)"
            }
            Self::Proc { .. } => {
                "a new proc shows the processes of the PID namespace that it is mounted from; \
                 proc(5)"
            }
            Self::Hostname(_) => "the name in this UTS namespace; sethostname(2)",
            Self::Devpts => "terminals of its own, numbered from 0; pts(4)",
            Self::Terminal => {
                "a terminal of its own, in a session of its own: the caller's is out of reach; \
                 pty(7), script(1)"
            }
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Keep(keep) => hands.keeper = Some(Keeper::start(keep)?),
            Self::Mapper(mapping) => hands.writer = mapping.writer()?,
            Self::Cgroup(files) => cgroup::join(files)?,
            Self::Create(creation) => return creation.act(hands),
            Self::Enter(entry) => {
                let held = hands.target.take().unwrap_or_default();
                return entry.act(held, hands);
            }
            Self::Binfmt(at) => procfs::mount_binfmt(at)?,
            Self::Inside(inside) => inside.act()?,
            Self::PidFile(file) => pidfile::write(file, hands.outer_pid.unwrap_or_else(getpid))?,
            Self::Proc { at, shared } => procfs::mount(at, *shared)?,
            Self::Hostname(name) => sethostname(name)
                .tried(|| format!("set the host name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Devpts => hands.terminal.iter_mut().try_for_each(Terminal::mount)?,
            Self::Terminal => hands.terminal.iter_mut().try_for_each(Terminal::enter)?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Keep(_) => hands.keeper.take().map_or(Ok(()), Keeper::undo),
            Self::PidFile(file) => pidfile::remove(file),
            Self::Terminal => {
                hands.terminal.iter_mut().for_each(Terminal::leave);
                Ok(())
            }
            // Namespaces, and what is in them, end with the process.
            _ => Ok(()),
        }
    }
}
