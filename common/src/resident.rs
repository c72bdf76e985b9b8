//! Staying behind: for the tools that must outlive the exec of COMMAND, because somebody has to be
//! the parent of a PID namespace's init, or to remove a control group.
//!
//! To the caller such a tool must look as if it had become COMMAND: signals reach COMMAND, its
//! stops are mirrored, its end is the tool's end.

mod child;
mod first;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::SIGPIPE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{get_pdeathsig, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, getpid, pipe2};

pub use child::Child;

use crate::pid::explain_new;
use crate::report::{Failure, Tried};
use crate::sys;
use crate::sys::signal::{self, Change, Set};
use crate::terminal::Terminal;

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Side {
    /// The one that stays.
    Parent(Child),
    /// The one that becomes COMMAND.
    Child,
}

/// Which process group the child is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Ours.
    Shared,
    /// Its own, which has the terminal when we would have it.
    Own,
    /// That of a session with a terminal of its own, which the child makes.
    Session,
}

/// All that is made ready before a fork: no signal may find us between two minds.
#[derive(Debug)]
pub struct Post {
    signals: OwnedFd,
    callers_mask: Set,
    /// With SIGCHLD ignored, the kernel would throw the exit status away.
    sigchld_was_ignored: bool,
}

/// What else is attended to while the child lives.
pub trait Beside {
    /// The descriptors that are waited for.
    fn watched(&self) -> Vec<PollFd<'_>> {
        Vec::new()
    }
    /// What they are ready for, in the same order.
    fn serve(&mut self, _events: &[PollFlags]) {}
    /// Whether nobody waits for COMMAND any more.
    fn has_left(&self) -> bool {
        false
    }
    /// The terminal's window has another size. Says whether COMMAND learns it without us.
    fn resize(&mut self) -> bool {
        false
    }
    /// We are about to be stopped, or were. Says whether the terminal was in our hands.
    fn pause(&mut self) -> bool {
        false
    }
    /// Takes the terminal, if there is one, and it is our turn. Says whether it has to be asked again.
    fn waits_for_terminal(&mut self) -> bool {
        false
    }
    /// What has become of a COMMAND that is another's child, if there is news.
    fn news(&mut self) -> Result<Option<Change>, Failure> {
        Ok(None)
    }
    /// COMMAND has ended; whether by a signal that was passed on to it.
    fn end(&mut self, _asked: bool) {}
}

impl Beside for () {}

/// Forks a child that has the caller's signal mask and dispositions, and that is killed when this
/// process dies, if `tied`.
pub fn fork(tied: bool) -> Result<Side, Failure> {
    Post::new()?.fork(tied.then_some(Signal::SIGKILL))
}

/// Forks a child into a v2 control group, which is killed when this process dies; says whether it is
/// there. If the kernel does not do that, for one reason or another, the child is left to join the
/// group itself, and to tell the reason.
pub fn fork_into(group: Option<&File>) -> Result<(Side, bool), Failure> {
    let (mut inside, parent) = (false, getpid());
    let side = Post::new()?.fork_by(Some(Signal::SIGKILL), || {
        let born = group.and_then(|group| sys::fork_into(group).ok());
        inside = born.is_some();
        born.map_or_else(sys::fork, Ok)
    });
    // A child that has lost its parent can't take away the group that it is in.
    let failed = |failure: Failure| if getpid() == parent { failure } else { failure.in_child() };
    side.map(|side| (side, inside)).map_err(failed)
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

/// Whether there is something to read now, or nothing ever to come.
pub fn is_readable(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).map(|ready| ready > 0)
}

impl Post {
    /// From here on signals wait.
    pub fn new() -> Result<Self, Failure> {
        let signals = signal::descriptor(signal::ALL).tried(|| "open a descriptor for signals")?;
        let callers_mask = signal::block(signal::ALL).tried(|| "block signals")?;
        let sigchld_was_ignored = sys::ignores(Signal::SIGCHLD);
        if sigchld_was_ignored {
            sys::reset(Signal::SIGCHLD);
        }
        Ok(Self { signals, callers_mask, sigchld_was_ignored })
    }

    /// Where signals are read, by whichever process asks.
    pub fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Forks a child that has the caller's signal mask and dispositions, and that gets the signal
    /// `tie` when this process dies.
    pub fn fork(self, tie: Option<Signal>) -> Result<Side, Failure> {
        self.fork_by(tie, sys::fork)
    }

    fn fork_by(
        self,
        tie: Option<Signal>,
        fork: impl FnOnce() -> nix::Result<ForkResult>,
    ) -> Result<Side, Failure> {
        let terminal = Terminal::ours();
        let us = tie.map(|_| witness()).transpose();
        let forked = us.and_then(|us| Ok((us, fork().tried(|| "fork").map_err(explain_new)?)));
        let (us, fork) = forked.inspect_err(|_| {
            // The caller goes on in this process, or ends by telling: either way as it was.
            let _ = self.leave();
        })?;
        match fork {
            ForkResult::Parent { child } => {
                let alive = us.and_then(|(_, alive)| alive);
                Ok(Side::Parent(self.watch(child).sharing(terminal).witnessed_by(alive)))
            }
            ForkResult::Child => {
                if let (Some((parent, ours)), Some(signal)) = (us, tie) {
                    drop(ours);
                    die_with(&parent, signal)?;
                }
                self.leave()?;
                Ok(Side::Child)
            }
        }
    }

    /// For the process that becomes COMMAND: all as the caller had it.
    pub fn leave(&self) -> Result<(), Failure> {
        if self.sigchld_was_ignored {
            sys::ignore(Signal::SIGCHLD);
        }
        signal::block(self.callers_mask).tried(|| "restore the signal mask").map(drop)
    }

    /// For the process that stays.
    pub fn watch(self, child: Pid) -> Child {
        if !sys::caller_ignores(SIGPIPE) {
            sys::reset(Signal::SIGPIPE);
        }
        Child::new(child, self.signals)
    }
}

/// Does what has the kernel forget that this process gets a signal when its parent dies, as a change of
/// user or group does: whoever asked for that signal meant it for COMMAND.
pub fn staying_tied(change: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let tie = get_pdeathsig().tried(|| "read the signal of the parent's death")?;
    change()?;
    tie.map_or(Ok(()), set_pdeathsig).tried(|| "keep the signal of the parent's death")
}

/// What a child sees the death of this process by, and what this process has to keep for that:
/// where a pidfd is denied, the end of a pipe that nobody else holds.
fn witness() -> Result<(OwnedFd, Option<OwnedFd>), Failure> {
    match sys::pidfd_open(getpid()) {
        Ok(pidfd) => Ok((pidfd, None)),
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the child")?;
            Ok((reader, Some(writer)))
        }
        Err(errno) => Err(Failure::errno("hold this process by a descriptor", errno)),
    }
}

/// The kernel tells of the parent's death only from now on, so we look whether it died before:
/// in a new PID namespace getppid(2) is 0 either way, and can't tell.
fn die_with(parent: &OwnedFd, signal: Signal) -> Result<(), Failure> {
    set_pdeathsig(signal).tried(|| "tie this process to its parent")?;
    match is_readable(parent.as_fd()).tried(|| "look at the parent")? {
        false => Ok(()),
        true => Err(Failure::new("run on without a parent: it was killed")),
    }
}
