//! What nsenter-lite does, step by step.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use common::{Failure, Flow, Line, Tried, exec, shell};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, sethostname};

use crate::create::Creation;
use crate::enter::Entry;
use crate::network::{self, Groups};
use crate::{hint, pidfile, procfs};

/// One step into other namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// New namespaces; the next steps may be a child's.
    Create(Creation),
    /// Those of another process; the next steps may be a child's.
    Enter(Entry),
    /// The PID, for those outside.
    PidFile(PathBuf),
    /// A view of the processes, where mounts may be shared with the namespace we come from.
    Proc { dir: PathBuf, shared: bool },
    /// A name.
    Hostname(OsString),
    /// A loopback device that is up.
    Loopback,
    /// Groups that may ping.
    Ping(Groups),
    /// COMMAND.
    Exec(Vec<OsString>),
}

/// What is held while the steps are done.
#[derive(Debug, Default)]
pub struct Hands {
    /// Our PID as it is seen from where we came, if it differs.
    pub outer_pid: Option<Pid>,
    /// The process whose namespaces are entered.
    pub target: Option<OwnedFd>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        match self {
            Self::Create(creation) => Line::Within(creation.line()),
            Self::Enter(entry) => Line::Within(entry.line()),
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
            Self::Loopback => network::loopback_line(),
            Self::Ping(groups) => groups.line(),
            Self::Exec(command) => Line::Exec(exec::line(command)),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Create(creation) => return creation.why(),
            Self::Enter(_) => "see what that process sees; setns(2), namespaces(7)",
            Self::PidFile(_) => {
                "/proc still is the one of outside, so this is the PID there; proc_pid_stat(5)"
            }
            Self::Proc { .. } => {
                "a new proc shows the processes of the PID namespace that it is mounted from; \
                 proc(5)"
            }
            Self::Hostname(_) => "the name in this UTS namespace; sethostname(2)",
            Self::Loopback => "in a new network namespace it is down; netdevice(7)",
            Self::Ping(_) => "these groups may ping without being root; icmp(7)",
            Self::Exec(_) => "become the command; execve(2)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Create(creation) => return creation.act(&mut hands.outer_pid),
            Self::Enter(entry) => {
                let target = hands.target.take().ok_or_else(|| {
                    Failure::errno(format!("enter process {}", entry.target), Errno::ESRCH)
                })?;
                return entry.act(&target, &mut hands.outer_pid);
            }
            Self::PidFile(file) => pidfile::write(file, hands.outer_pid.unwrap_or_else(getpid))?,
            Self::Proc { dir, shared } => procfs::mount(dir, *shared)?,
            Self::Hostname(name) => sethostname(name)
                .tried(|| format!("set the host name {name:?}"))
                .map_err(hint::for_hostname)?,
            Self::Loopback => network::loopback_up()?,
            Self::Ping(groups) => groups.allow()?,
            Self::Exec(command) => return Err(exec::exec(command)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, _hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::PidFile(file) => pidfile::remove(file),
            // Namespaces, and what is in them, end with the process.
            _ => Ok(()),
        }
    }
}
