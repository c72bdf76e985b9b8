//! Staying behind: for the tools that must outlive the exec of COMMAND, because somebody has to be
//! the parent of a PID namespace's init, or to remove a control group.
//!
//! To the caller such a tool must look as if it had become COMMAND: signals reach COMMAND, its
//! stops are mirrored, its end is the tool's end.

mod child;
mod first;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc::SIGPIPE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, getpid};

pub use child::Child;

use crate::report::{Failure, Tried};
use crate::sys;
use crate::sys::signal::{self, Set};
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
    /// Or why not; only what is tied to us needs it.
    us: nix::Result<OwnedFd>,
    callers_mask: Set,
    /// With SIGCHLD ignored, the kernel would throw the exit status away.
    deaf: bool,
}

/// What else is attended to while the child lives.
pub trait Beside {
    /// The descriptors that are waited for.
    fn watched(&self) -> Vec<PollFd<'_>> {
        Vec::new()
    }
    /// What they are ready for, in the same order.
    fn serve(&mut self, _events: &[PollFlags]) {}
    /// The terminal's window has another size. Says whether COMMAND learns it without us.
    fn resize(&mut self) -> bool {
        false
    }
    /// We are about to be stopped. Says whether the terminal was in our hands.
    fn pause(&mut self) -> bool {
        false
    }
    /// We go on.
    fn go_on(&mut self) {}
    /// COMMAND has ended.
    fn end(&mut self) {}
}

impl Beside for () {}

/// Forks a child that has the caller's signal mask and dispositions, and that is killed when this
/// process dies, if `tied`.
pub fn fork(tied: bool) -> Result<Side, Failure> {
    Post::new()?.fork(tied.then_some(Signal::SIGKILL), Group::Shared)
}

/// Forks a child into a v2 control group; says whether it is there. If the kernel does not do that,
/// for one reason or another, the child is left to join the group itself, and to tell the reason.
pub fn fork_into(group: Option<&File>) -> Result<(Side, bool), Failure> {
    let mut inside = false;
    let side = Post::new()?.fork_by(None, Group::Shared, || {
        let born = group.and_then(|group| sys::fork_into(group).ok());
        inside = born.is_some();
        born.map_or_else(sys::fork, Ok)
    })?;
    Ok((side, inside))
}

impl Post {
    /// From here on signals wait.
    pub fn new() -> Result<Self, Failure> {
        let signals = signal::descriptor(signal::ALL).tried(|| "open a descriptor for signals")?;
        let callers_mask = signal::block(signal::ALL).tried(|| "block signals")?;
        let deaf = sys::ignores(Signal::SIGCHLD);
        if deaf {
            sys::reset(Signal::SIGCHLD);
        }
        Ok(Self { signals, us: sys::pidfd_open(getpid()), callers_mask, deaf })
    }

    /// Where signals are read, by whichever process asks.
    pub fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// This process, for its children: it is readable when we are dead.
    pub fn us(&self) -> Result<BorrowedFd<'_>, Failure> {
        self.us.as_ref().map(AsFd::as_fd).map_err(|errno| *errno).tried(|| "open this process")
    }

    /// Forks a child that has the caller's signal mask and dispositions, and that gets the signal
    /// `tie` when this process dies.
    pub fn fork(self, tie: Option<Signal>, group: Group) -> Result<Side, Failure> {
        self.fork_by(tie, group, sys::fork)
    }

    fn fork_by(
        self,
        tie: Option<Signal>,
        group: Group,
        fork: impl FnOnce() -> nix::Result<ForkResult>,
    ) -> Result<Side, Failure> {
        let us = tie.map(|_| self.us()).transpose()?;
        let terminal = match group {
            Group::Shared => Terminal::ours(),
            Group::Own => Terminal::of_session(),
            Group::Session => None,
        };
        let fork = fork().tried(|| "fork").inspect_err(|_| {
            // The caller goes on in this process, or ends by telling: either way as it was.
            let _ = signal::block(self.callers_mask);
        })?;
        match fork {
            ForkResult::Parent { child } => {
                if !sys::caller_ignores(SIGPIPE) {
                    sys::reset(Signal::SIGPIPE);
                }
                let mut child = Child::new(child, group, self.signals, terminal);
                match child.set_apart() {
                    Ok(()) => Ok(Side::Parent(child)),
                    Err(failure) => Err(child.kill(failure)),
                }
            }
            ForkResult::Child => {
                if let (Some(parent), Some(signal)) = (us, tie) {
                    die_with(parent, signal)?;
                }
                if self.deaf {
                    sys::ignore(Signal::SIGCHLD);
                }
                signal::block(self.callers_mask).tried(|| "restore the signal mask")?;
                Ok(Side::Child)
            }
        }
    }
}

/// The kernel tells of the parent's death only from now on, so we look whether it died before:
/// in a new PID namespace getppid(2) is 0 either way, and can't tell.
fn die_with(parent: BorrowedFd<'_>, signal: Signal) -> Result<(), Failure> {
    set_pdeathsig(signal).tried(|| "tie this process to its parent")?;
    let mut fds = [PollFd::new(parent, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO).tried(|| "look at the parent")? {
        0 => Ok(()),
        _ => Err(Failure::new("run on without a parent: it was killed")),
    }
}
