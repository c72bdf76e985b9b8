//! What nsenter-lite does, step by step.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use common::{Failure, Flow, Line, Tried, exec, shell, sys};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, sethostname};

use crate::create::Creation;
use crate::descriptor::Passed;
use crate::enter::Entry;
use crate::join::{self, Joined};
use crate::network::{self, Groups};
use crate::pidfile::Place;
use crate::report::{self, Herald};
use crate::{hint, procfs};

/// One step into other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// New namespaces; the next steps may be a child's.
    Create(Creation),
    /// Those of another process; the next steps may be a child's.
    Enter(Entry),
    /// Those of files.
    Join(Vec<Joined>),
    /// A descriptor for COMMAND.
    Fd(Passed),
    /// The PID, for those outside.
    PidFile(PathBuf),
    /// A view of the processes, where mounts may be shared with the namespace we come from.
    Proc { dir: PathBuf, shared: bool },
    /// A name.
    Hostname(OsString),
    /// A name for NIS.
    Domainname(OsString),
    /// A loopback device that is up.
    Loopback,
    /// Groups that may ping.
    Ping(Groups),
    /// A byte that is waited for.
    Block(RawFd),
    /// A line that says so.
    Ready(RawFd),
    /// COMMAND.
    Exec(Vec<OsString>),
    /// COMMAND, which was opened outside.
    ExecOpened(Vec<OsString>),
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
    pub pid_place: Option<Place>,
    /// Who tells the caller.
    pub herald: Herald,
    /// The process whose namespaces are entered.
    pub target: Option<OwnedFd>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Create(creation) => Line::Within(creation.line()),
            Self::Enter(entry) => Line::Within(entry.line()),
            Self::Join(joined) => Line::Within(join::line(joined)),
            Self::Fd(passed) => passed.line(),
            Self::PidFile(file) => Line::Run(format!(
                "read -r pid rest </proc/self/stat; echo \"$pid\" >{}",
                shell::operand(file)
            )),
            Self::Proc { dir, shared } => {
                let dir = shell::operand(dir);
                let first = if *shared {
                    format!("mount --make-rprivate {dir} 2>/dev/null || :; ")
                } else {
                    String::new()
                };
                Line::Run(format!("{first}mount -t proc -o nosuid,nodev,noexec proc {dir}"))
            }
            Self::Hostname(name) => Line::Run(format!("hostname -- {}", shell::word(name))),
            Self::Domainname(name) => Line::Run(format!("domainname -- {}", shell::word(name))),
            Self::Loopback => network::loopback_line(),
            Self::Ping(groups) => groups.line(),
            Self::Block(number) => report::block_line(*number),
            Self::Ready(number) => report::ready_line(*number),
            Self::Exec(command) | Self::ExecOpened(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Create(creation) => return creation.why(),
            Self::Enter(_) => "see what that process sees; setns(2), namespaces(7)",
            Self::Join(_) => "share these with others; setns(2), namespaces(7)",
            Self::Fd(_) => "the command finds it open; open(2), connect(2)",
            Self::PidFile(_) => {
                "/proc still is the one of outside, so this is the PID there; proc_pid_stat(5)"
            }
            Self::Proc { .. } => {
                "a new proc shows the processes of the PID namespace that it is mounted from; \
                 proc(5)"
            }
            Self::Hostname(_) => "the name in this UTS namespace; sethostname(2)",
            Self::Domainname(_) => "the NIS domain in this UTS namespace; setdomainname(2)",
            Self::Loopback => "in a new network namespace it is down; netdevice(7)",
            Self::Ping(_) => "these groups may ping without being root; icmp(7)",
            Self::Block(_) => "wait until the caller lets it run; read(2)",
            Self::Ready(_) => "the caller learns that it runs; pipe(7)",
            Self::Exec(_) => "become the command; execve(2)",
            Self::ExecOpened(_) => "become the command that was opened outside; execveat(2)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Create(creation) => return creation.act(hands),
            Self::Enter(entry) => {
                let target = hands.target.take().ok_or_else(|| {
                    Failure::errno(format!("enter process {}", entry.target), Errno::ESRCH)
                })?;
                return entry.act(&target, hands);
            }
            Self::PidFile(file) => {
                let pid = hands.outer_pid.unwrap_or_else(getpid);
                hands.pid_place.as_ref().map_or_else(
                    || Err(Failure::errno(format!("write the PID file {file:?}"), Errno::EBADF)),
                    |place| place.write(pid),
                )?;
            }
            Self::Proc { dir, shared } => procfs::mount(dir, *shared)?,
            Self::Hostname(name) => sethostname(name)
                .tried(|| format!("set the host name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Domainname(name) => sys::set_domain_name(name.as_bytes())
                .tried(|| format!("set the domain name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Loopback => network::loopback_up()?,
            Self::Ping(groups) => groups.allow()?,
            Self::Join(joined) => join::enter(joined, std::mem::take(&mut hands.joined))?,
            Self::Fd(passed) => passed.pass()?,
            Self::Block(number) => hands.herald.wait_at_gate(*number)?,
            // The parent tells, when it is so.
            Self::Ready(_) => {}
            Self::Exec(command) => {
                hands.herald.executes();
                return Err(exec::exec(command));
            }
            Self::ExecOpened(command) => {
                hands.herald.executes();
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
            Self::PidFile(_) => hands.pid_place.as_ref().map_or(Ok(()), Place::remove),
            // Namespaces, and what is in them, end with the process.
            _ => Ok(()),
        }
    }
}
