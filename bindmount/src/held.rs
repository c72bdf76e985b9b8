//! Signals that wait while mounts are made: of one that ends this process all are taken away again.

use common::sys::signal::{self, Set};
use common::{Failure, Tried, sys};
use nix::libc;
use nix::unistd::getpid;

/// What ends no process by default, can't be made to wait, or is ignored by us.
const HARMLESS: [i32; 11] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGKILL,
    libc::SIGPIPE,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGXFSZ,
];

/// They wait from [`Held::new`] on, until they are let act.
#[derive(Debug)]
pub struct Held {
    callers_mask: Set,
}

impl Held {
    /// From here on signals wait.
    pub fn new() -> Result<Self, Failure> {
        let callers_mask = signal::block(signal::ALL).tried(|| "block signals")?;
        Ok(Self { callers_mask })
    }

    /// Fails if one has come that will end us. What the caller ignores, or has blocked, ends nobody,
    /// and nothing does by default that ends the first process of a PID namespace.
    pub fn none_has_come(&self) -> Result<(), Failure> {
        let waiting = signal::waiting().tried(|| "look for signals")? & !self.callers_mask;
        let ends = |number: i32| {
            waiting & signal::set(number) != 0
                && !HARMLESS.contains(&number)
                && !sys::caller_ignores(number)
        };
        match (1..=64).any(ends) && getpid().as_raw() != 1 {
            false => Ok(()),
            true => Err(Failure::new("go on: a signal has come")),
        }
    }

    /// They act, as they would have before.
    pub fn let_act(&self) -> Result<(), Failure> {
        signal::block(self.callers_mask).tried(|| "restore the signal mask").map(drop)
    }

    /// For what becomes COMMAND all is as the caller had it. If it does not, they wait again.
    pub fn but_for<T>(&self, becomes: impl FnOnce() -> T) -> Result<T, Failure> {
        self.let_act()?;
        let outcome = becomes();
        signal::block(signal::ALL).tried(|| "block signals").map(|_| outcome)
    }
}
