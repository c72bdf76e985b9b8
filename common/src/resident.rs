//! Staying behind: for the two tools that must outlive the exec of COMMAND, because somebody has
//! to be the parent of a PID namespace's init, or to remove a control group.
//!
//! To the caller such a tool must look as if it had become COMMAND: signals reach COMMAND, its
//! stops are mirrored, its end is the tool's end.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid};

use crate::report::{Failure, Tried};
use crate::sys;

/// Signals that a caller sends to a program for the program itself.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
];

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Side {
    /// The one that stays.
    Parent(Child),
    /// The one that becomes COMMAND.
    Child,
}

/// A child that is waited for.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    signals: SignalFd,
    killed_for: Option<Signal>,
}

/// Forks a child that has the caller's signal mask and dispositions, and that is killed when this
/// process dies, if `tied`.
pub fn fork(tied: bool) -> Result<Side, Failure> {
    let parent = sys::pidfd_open(getpid()).tried(|| "open this process")?;
    // A signal that the caller ignores stays ignored: nohup(1) means it.
    let mut watched: SigSet = PASSED_ON.into_iter().filter(|s| !sys::ignores(*s)).collect();
    watched.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC)
        .tried(|| "open a descriptor for signals")?;
    let mask = block(&watched)?;
    // With SIGCHLD ignored, the kernel would throw the exit status away.
    let deaf = sys::ignores(Signal::SIGCHLD);
    if deaf {
        sys::reset(Signal::SIGCHLD);
    }
    match sys::fork().tried(|| "fork")? {
        ForkResult::Parent { child } => {
            Ok(Side::Parent(Child { pid: child, signals, killed_for: None }))
        }
        ForkResult::Child => {
            if tied {
                die_with(&parent)?;
            }
            if deaf {
                sys::ignore(Signal::SIGCHLD);
            }
            mask.thread_set_mask().tried(|| "restore the signal mask")?;
            Ok(Side::Child)
        }
    }
}

fn block(watched: &SigSet) -> Result<SigSet, Failure> {
    let mask = SigSet::thread_get_mask().tried(|| "read the signal mask")?;
    watched.thread_block().tried(|| "block signals")?;
    Ok(mask)
}

/// The kernel tells of the parent's death only from now on, so we look whether it died before:
/// in a new PID namespace getppid(2) is 0 either way, and can't tell.
fn die_with(parent: &OwnedFd) -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGKILL).tried(|| "tie this process to its parent")?;
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(parent), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO).tried(|| "look at the parent")? {
        0 => Ok(()),
        _ => Err(Failure::new("run on without a parent: it was killed")),
    }
}

impl Child {
    /// Its PID, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end, passing signals on meanwhile; gives its status, 128+N for signal N.
    pub fn wait(mut self) -> Result<u8, Failure> {
        loop {
            let signal = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Failure::errno("wait for a signal", errno)),
            };
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => {
                    if let Some(status) = self.reap()? {
                        return Ok(status);
                    }
                }
                // Above 0 it comes from the kernel: the terminal's Ctrl-C, which the child, being
                // in the same process group, has had already.
                Ok(other) => self.pass_on(other, signal.ssi_code > 0),
                Err(_) => {}
            }
        }
    }

    fn reap(&self) -> Result<Option<u8>, Failure> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        let code = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match waitpid(self.pid, Some(flags)).tried(|| format!("wait for {}", self.pid))? {
            WaitStatus::Exited(_, status) => Ok(Some(code(status))),
            WaitStatus::Signaled(_, signal, _) => {
                Ok(Some(code(128 + self.killed_for.unwrap_or(signal) as i32)))
            }
            WaitStatus::Stopped(..) => {
                // Our caller's job control sees us stop; when it continues us, so do we the child.
                let _ = raise(Signal::SIGSTOP);
                let _ = kill(self.pid, Signal::SIGCONT);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The init of a PID namespace gets only the signals that it has a handler for: any other is
    /// dropped, and both processes would live on. So what would have ended it ends it by SIGKILL,
    /// the one signal that always arrives.
    fn pass_on(&mut self, signal: Signal, child_had_it: bool) {
        let ends = !matches!(signal, Signal::SIGWINCH);
        if ends && self.is_init() == Some(true) && self.leaves_to_default(signal) == Some(true) {
            self.killed_for = Some(signal);
            let _ = kill(self.pid, Signal::SIGKILL);
        } else if !child_had_it {
            let _ = kill(self.pid, signal);
        }
    }

    fn is_init(&self) -> Option<bool> {
        Some(self.status_field("NSpid:")?.split_whitespace().last()? == "1")
    }

    /// Neither caught nor ignored.
    fn leaves_to_default(&self, signal: Signal) -> Option<bool> {
        let bit = 1u64 << (signal as u32 - 1);
        let has =
            |field| Some(u64::from_str_radix(&self.status_field(field)?, 16).ok()? & bit != 0);
        Some(!has("SigCgt:")? && !has("SigIgn:")?)
    }

    fn status_field(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    }
}
