//! Staying behind: for the two tools that must outlive the exec of COMMAND, because somebody has
//! to be the parent of a PID namespace's init, or to remove a control group.
//!
//! To the caller such a tool must look as if it had become COMMAND: signals reach COMMAND, its
//! stops are mirrored, its end is the tool's end.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpgid, getpgrp, getpid};

use crate::report::{Failure, Tried};
use crate::sys;
use crate::terminal::Terminal;

/// Signals that a caller, or the terminal, sends to a program for the program itself.
const PASSED_ON: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Side {
    /// The one that stays.
    Parent(Child),
    /// The one that becomes COMMAND.
    Child,
}

/// A child that is waited for. Its PID can't come to mean another process before that.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    signals: SignalFd,
    killed_for: Option<Signal>,
    /// Its status, if it ended before it was waited for.
    ended: Option<u8>,
    /// Opened before the child can cover it: they may share a mount namespace, in which it mounts
    /// a new proc that shows the child as 1.
    proc: Option<OwnedFd>,
    terminal: Option<Terminal>,
}

/// Forks a child that has the caller's signal mask and dispositions, and that is killed when this
/// process dies, if `tied`.
pub fn fork(tied: bool) -> Result<Side, Failure> {
    fork_tied_by(tied.then_some(Signal::SIGKILL))
}

/// As [`fork`], with the signal that the child gets when this process dies.
pub fn fork_tied_by(tie: Option<Signal>) -> Result<Side, Failure> {
    fork_by(tie, sys::fork)
}

/// Forks a child into a v2 control group; says whether it is there. If the kernel does not do that,
/// for one reason or another, the child is left to join the group itself, and to tell the reason.
pub fn fork_into(group: Option<&File>) -> Result<(Side, bool), Failure> {
    let mut inside = false;
    let side = fork_by(None, || {
        let born = group.and_then(|group| sys::fork_into(group).ok());
        inside = born.is_some();
        born.map_or_else(sys::fork, Ok)
    })?;
    Ok((side, inside))
}

fn fork_by(
    tie: Option<Signal>,
    fork: impl FnOnce() -> nix::Result<ForkResult>,
) -> Result<Side, Failure> {
    let terminal = Terminal::ours();
    let parent =
        tie.map(|_| sys::pidfd_open(getpid())).transpose().tried(|| "open this process")?;
    // A signal that the caller ignores stays ignored: nohup(1) means it.
    let mut watched: SigSet = PASSED_ON.into_iter().filter(|s| !sys::ignores(*s)).collect();
    watched.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC)
        .tried(|| "open a descriptor for signals")?;
    let mask = watched.thread_swap_mask(SigmaskHow::SIG_BLOCK).tried(|| "block signals")?;
    // With SIGCHLD ignored, the kernel would throw the exit status away.
    let deaf = sys::ignores(Signal::SIGCHLD);
    if deaf {
        sys::reset(Signal::SIGCHLD);
    }
    let fork = fork().tried(|| "fork").inspect_err(|_| {
        // The caller goes on in this process, or ends by telling: either way as it was.
        let _ = mask.thread_set_mask();
    })?;
    match fork {
        ForkResult::Parent { child } => Ok(Side::Parent(Child {
            pid: child,
            signals,
            killed_for: None,
            ended: None,
            proc: open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok(),
            terminal,
        })),
        ForkResult::Child => {
            if let (Some(parent), Some(signal)) = (parent, tie) {
                die_with(&parent, signal)?;
            }
            if deaf {
                sys::ignore(Signal::SIGCHLD);
            }
            mask.thread_set_mask().tried(|| "restore the signal mask")?;
            Ok(Side::Child)
        }
    }
}

/// The kernel tells of the parent's death only from now on, so we look whether it died before:
/// in a new PID namespace getppid(2) is 0 either way, and can't tell.
fn die_with(parent: &OwnedFd, signal: Signal) -> Result<(), Failure> {
    set_pdeathsig(signal).tried(|| "tie this process to its parent")?;
    let mut fds = [PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO).tried(|| "look at the parent")? {
        0 => Ok(()),
        _ => Err(Failure::new("run on without a parent: it was killed")),
    }
}

/// Waits until there is something to read, or nothing ever to come.
pub fn until_readable(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            polled => return polled.map(drop),
        }
    }
}

impl Child {
    /// Its PID, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end, passing signals on meanwhile; gives its status, 128+N for signal N.
    pub fn wait(mut self) -> Result<u8, Failure> {
        let status = self.watch()?;
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        Ok(status)
    }

    /// Passes signals on until there is something to read, or nothing ever to come.
    pub fn until(&mut self, readable: BorrowedFd<'_>) -> Result<(), Failure> {
        loop {
            let mut fds =
                [readable, self.signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                polled => polled.tried(|| "wait for the child")?,
            };
            if fds[0].any() == Some(true) {
                return Ok(());
            }
            self.next_signal()?;
        }
    }

    /// Ends it, because we can't go on.
    pub fn kill(self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }

    fn watch(&mut self) -> Result<u8, Failure> {
        loop {
            if let Some(status) = self.ended {
                return Ok(status);
            }
            self.next_signal()?;
        }
    }

    fn next_signal(&mut self) -> Result<(), Failure> {
        let signal = match self.signals.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) | Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(Failure::errno("wait for a signal", errno)),
        };
        let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
        match Signal::try_from(number) {
            // Another one may be of a child that the caller had before it became this program.
            Ok(Signal::SIGCHLD) if self.ended.is_some() => {}
            Ok(Signal::SIGCHLD) => self.ended = self.reap()?,
            // Above 0 it comes from the kernel: the terminal's Ctrl-C.
            Ok(other) => self.pass_on(other, signal.ssi_code > 0),
            Err(_) => {}
        }
        Ok(())
    }

    fn reap(&self) -> Result<Option<u8>, Failure> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        let code = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match waitpid(self.pid, Some(flags)).tried(|| format!("wait for {}", self.pid))? {
            WaitStatus::Exited(_, status) => Ok(Some(code(status))),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
                Ok(Some(code(128 + self.killed_for.unwrap_or(Signal::SIGKILL) as i32)))
            }
            WaitStatus::Signaled(_, signal, _) => Ok(Some(code(128 + signal as i32))),
            // SIGSTOP is from somebody who means the child alone, and who will continue it alone.
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => {
                self.stop_along();
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Our caller's job control sees us stop; when it continues us, so do we the child.
    fn stop_along(&self) {
        let _ = raise(Signal::SIGSTOP);
        let _ = kill(self.pid, Signal::SIGCONT);
    }

    /// The init of a PID namespace gets only the signals that it has a handler for: any other is
    /// dropped, and both processes would live on. So the default action is done to it by the two
    /// signals that always arrive, SIGKILL and SIGSTOP.
    fn pass_on(&mut self, signal: Signal, from_terminal: bool) {
        if self.drops(signal) {
            match signal {
                Signal::SIGWINCH => {}
                Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
                    let _ = kill(self.pid, Signal::SIGSTOP);
                    self.stop_along();
                }
                _ => {
                    self.killed_for = Some(signal);
                    let _ = kill(self.pid, Signal::SIGKILL);
                }
            }
            return;
        }
        // The terminal signals the whole process group, so a child in ours has had it already.
        if !(from_terminal && getpgid(Some(self.pid)) == Ok(getpgrp())) {
            let _ = kill(self.pid, signal);
        }
    }

    /// Whether the kernel would throw this signal away before it reaches the child.
    fn drops(&self, signal: Signal) -> bool {
        let Some(ours) = self.read("self/status") else { return false };
        let depth = numbers(&ours).len();
        self.status(depth).is_some_and(|child| {
            numbers(&child).get(depth..).and_then(<[_]>::last) == Some(&"1")
                && is_default(&child, signal)
        })
    }

    /// The child's `/proc/PID/status`. The proc may be one of a PID namespace above ours, and then
    /// has other numbers than we: `depth` is the place of ours among those that a process has.
    fn status(&self, depth: usize) -> Option<String> {
        let pid = self.pid.to_string();
        let children = self.read("thread-self/children").unwrap_or_else(|| pid.clone());
        let mut statuses =
            children.split_whitespace().filter_map(|child| self.read(&format!("{child}/status")));
        statuses.find(|status| numbers(status).get(depth.saturating_sub(1)) == Some(&pid.as_str()))
    }

    fn read(&self, path: &str) -> Option<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(self.proc.as_ref()?, path, flags, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The PIDs that a process has, in the namespace that the proc is of and in those below.
fn numbers(status: &str) -> Vec<&str> {
    field(status, "NSpid:").unwrap_or_default().split_whitespace().collect()
}

/// Neither caught nor ignored, nor blocked until somebody fetches it, as by sigwait(3).
fn is_default(status: &str, signal: Signal) -> bool {
    let bit = 1u64 << (signal as u32 - 1);
    ["SigBlk:", "SigIgn:", "SigCgt:"].into_iter().all(|name| {
        let set = field(status, name).and_then(|set| u64::from_str_radix(set, 16).ok());
        set.is_some_and(|set| set & bit == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = "Name:\tsh\nPPid:\t41\nNSpid:\t42\t7\t1\nSigBlk:\t0000000000000000\n\
        SigIgn:\t0000000000000002\nSigCgt:\t0000000000004000\n";

    #[test]
    fn a_process_has_a_number_in_each_namespace() {
        assert_eq!(numbers(INIT), ["42", "7", "1"]);
        assert_eq!(numbers("Name:\tsh\n"), [""; 0]);
    }

    #[test]
    fn a_signal_is_default_if_no_set_has_it() {
        assert!(is_default(INIT, Signal::SIGHUP));
        assert!(!is_default(INIT, Signal::SIGINT), "ignored");
        assert!(!is_default(INIT, Signal::SIGTERM), "caught");
        assert!(!is_default(&INIT.replace("Blk:\t0000000000000000", "Blk:\t1"), Signal::SIGHUP));
        assert!(!is_default("", Signal::SIGHUP), "who knows");
    }
}
