//! What nsenter-lite does, step by step.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::idmap::Writer;
use common::{Failure, Flow, Line, Tried, exec, shell, sys, terminal};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, sethostname};

use crate::child::Unled;
use crate::create::Creation;
use crate::descriptor::Passed;
use crate::enter::{Entry, Held};
use crate::join::{self, Joined};
use crate::network::{self, Groups};
use crate::persist::{Keep, Keeper};
use crate::place::Inside;
use crate::procfs::Folder;
use crate::pty::{self, Terminal};
use crate::report::{self, Reporter};
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
    /// Those of files.
    Join { joined: Vec<Joined>, preserve_credentials: bool },
    /// A descriptor for COMMAND.
    Fd(Passed),
    /// The PID, for those outside.
    PidFile(PathBuf),
    /// A view of the processes, where mounts may be shared with the namespace we come from.
    Proc { at: Folder, shared: bool },
    /// Interpreters for programs of other kinds, one of which may be named.
    Binfmt { at: Folder, interpreter: Option<OsString> },
    /// A name.
    Hostname(OsString),
    /// A name for NIS.
    Domainname(OsString),
    /// A loopback device that is up.
    Loopback,
    /// Groups that may ping.
    Ping(Groups),
    /// The devpts that COMMAND's own terminal is in.
    Devpts { shared: bool },
    /// A terminal of its own.
    Terminal,
    /// Root, folder, user and group.
    Inside(Inside),
    /// No environment.
    ClearEnv,
    /// A byte that is waited for.
    Block(RawFd),
    /// A line that says so.
    Ready(RawFd),
    /// COMMAND.
    Exec(Vec<OsString>),
    /// COMMAND, which was opened outside.
    ExecOpened(Vec<OsString>),
}

impl Step {
    /// Whether the next ones are a child's.
    pub fn forks(&self) -> bool {
        match self {
            Self::Create(creation) => creation.child.is_some(),
            Self::Enter(entry) => entry.child.is_some(),
            _ => false,
        }
    }
}

/// What is held while the steps are done.
#[derive(Debug, Default)]
pub struct Hands {
    /// Our PID as it is seen from where we came, if it differs.
    pub outer_pid: Option<Pid>,
    /// The files of the namespaces that are joined.
    pub joined: Vec<OwnedFd>,
    /// COMMAND, opened outside.
    pub program: Option<OwnedFd>,
    /// Where the PID file goes, found before another mount table is entered.
    pub pid_place: Option<pidfile::Place>,
    /// Who tells the caller.
    pub reporter: Reporter,
    /// What is entered.
    pub target: Option<Held>,
    /// Who writes the map of users.
    pub writer: Option<Writer>,
    /// Who keeps the namespaces.
    pub keeper: Option<Keeper>,
    /// COMMAND's own terminal, if it gets one.
    pub terminal: Option<Terminal>,
    /// The caller's, opened while its name leads there.
    pub callers_terminal: Option<terminal::Terminal>,
    /// COMMAND's, if it is not ours, and nobody's to lead.
    pub group: Option<Unled>,
}

impl Hands {
    /// To be said directly before COMMAND is executed.
    fn executes(&mut self) -> Result<(), Failure> {
        self.reporter.executes();
        self.keeper.as_mut().map_or(Ok(()), Keeper::executes)
    }
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Keep(keep) => Line::Run(keep.line()),
            Self::Mapper(mapping) => Line::Run(idmap::line(mapping)),
            Self::Cgroup(files) => Line::Run(cgroup::line(files)),
            Self::Binfmt { at, interpreter } => {
                Line::Run(procfs::binfmt_line(at, interpreter.as_deref()))
            }
            Self::Inside(inside) => Line::Within(inside.line()),
            Self::Create(creation) => Line::Within(creation.line()),
            Self::Enter(entry) => Line::Within(entry.line()),
            Self::Join { joined, preserve_credentials } => {
                Line::Within(join::line(joined, *preserve_credentials))
            }
            Self::Fd(passed) => passed.line(),
            Self::PidFile(file) => Line::Run(format!(
                "read -r pid rest </proc/self/stat; echo \"$pid\" >{}",
                shell::operand(file)
            )),
            Self::Proc { at, shared } => {
                let dir = shell::operand(at.path());
                let first = procfs::apart_line(&dir, *shared);
                Line::Run(format!("{first}mount -t proc -o nosuid,nodev,noexec proc {dir}"))
            }
            Self::Hostname(name) => Line::Run(format!("hostname -- {}", shell::word(name))),
            Self::Domainname(name) => Line::Run(format!("domainname -- {}", shell::word(name))),
            Self::Loopback => network::loopback_line(),
            Self::Ping(groups) => groups.line(),
            Self::ClearEnv => Line::Within("env -i".into()),
            Self::Block(number) => report::block_line(*number),
            Self::Ready(number) => report::ready_line(*number),
            Self::Devpts { shared } => Line::Run(pty::line(*shared)),
            Self::Terminal => Line::Whole("script -qe /dev/null -c".into()),
            Self::Exec(command) | Self::ExecOpened(command) => Line::Exec(shell::line(command)),
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
            Self::Binfmt { .. } => "interpreters for this user namespace alone; binfmt_misc",
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
            Self::Devpts { .. } => "terminals of its own, numbered from 0; pts(4)",
            Self::Terminal => {
                "a terminal of its own, in a session of its own: the caller's is out of reach; \
                 pty(7), script(1)"
            }
            Self::Join { .. } => "share these with others; setns(2), namespaces(7)",
            Self::Fd(_) => "the command finds it open; open(2), connect(2)",
            Self::Domainname(_) => "the NIS domain in this UTS namespace; setdomainname(2)",
            Self::Loopback => "in a new network namespace it is down; netdevice(7)",
            Self::Ping(_) => "these groups may ping without being root; icmp(7)",
            Self::ClearEnv => "no variables; environ(7), env(1)",
            Self::Block(_) => "wait until the caller lets it run; read(2)",
            Self::Ready(_) => "the caller learns that it runs; pipe(7)",
            Self::Exec(_) => "become the command; execve(2)",
            Self::ExecOpened(_) => "become the command that was opened outside; execveat(2)",
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
            Self::Binfmt { at, interpreter } => {
                procfs::mount_binfmt(at, interpreter.as_deref())?;
            }
            Self::Inside(inside) => inside.act()?,
            Self::PidFile(file) => {
                let pid = hands.outer_pid.unwrap_or_else(getpid);
                hands.pid_place.as_ref().map_or_else(
                    || Err(Failure::errno(format!("write the PID file {file:?}"), Errno::EBADF)),
                    |place| place.write(pid),
                )?;
            }
            Self::Proc { at, shared } => procfs::mount(at, *shared)?,
            Self::Hostname(name) => sethostname(name)
                .tried(|| format!("set the host name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Devpts { shared } => {
                hands.terminal.iter_mut().try_for_each(|terminal| terminal.mount(*shared))?;
            }
            Self::Terminal => hands.terminal.iter_mut().try_for_each(Terminal::enter)?,
            Self::Domainname(name) => sys::set_domain_name(name.as_bytes())
                .tried(|| format!("set the domain name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Loopback => network::loopback_up()?,
            Self::Ping(groups) => groups.allow()?,
            Self::Join { joined, preserve_credentials } => {
                join::enter(joined, std::mem::take(&mut hands.joined), *preserve_credentials)?;
            }
            Self::Fd(passed) => passed.pass()?,
            Self::ClearEnv => sys::clear_env(),
            Self::Block(number) => hands.reporter.wait_at_gate(*number)?,
            // The parent tells, when it is so.
            Self::Ready(_) => {}
            Self::Exec(command) => {
                hands.executes()?;
                return Err(exec::exec(command));
            }
            Self::ExecOpened(command) => {
                hands.executes()?;
                return Err(match &hands.program {
                    Some(program) => exec::exec_opened(program, command),
                    None => Failure::errno("run COMMAND by its descriptor", Errno::EBADF),
                });
            }
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Keep(_) => hands.keeper.take().map_or(Ok(()), Keeper::undo),
            Self::PidFile(_) => hands.pid_place.as_ref().map_or(Ok(()), pidfile::Place::remove),
            Self::Terminal => {
                hands.terminal.iter_mut().for_each(Terminal::leave);
                Ok(())
            }
            // Namespaces, and what is in them, end with the process.
            _ => Ok(()),
        }
    }
}
