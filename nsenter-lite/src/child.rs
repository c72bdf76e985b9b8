//! The child that goes on in our place: only children are born into a new PID or time namespace.

use std::fs::File;
use std::io::{Read, Write};

use common::resident::{self, Side};
use common::{Failure, Flow, Tried};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, pipe2};

use crate::hint;
use crate::step::Hands;

/// How the child is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The signal that it gets when we die.
    pub tie: Option<Signal>,
}

impl Child {
    /// The options of unshare(1) for it.
    pub fn options(self) -> String {
        match self.tie {
            None => " --fork".into(),
            Some(Signal::SIGKILL) => " --fork --kill-child".into(),
            Some(signal) => format!(" --fork --kill-child={signal}"),
        }
    }

    /// The parent stays until the child has ended. The child learns from it the PID that it has
    /// there: inside, it is 1.
    pub fn fork(self, hands: &mut Hands) -> Result<Flow, Failure> {
        let words = hands.herald.pipe()?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the child")?;
        match resident::fork_tied_by(hands.herald.tie(self.tie)).map_err(hint::for_fork)? {
            Side::Parent(child) => {
                drop(reader);
                // A child that died at once tells why by its status.
                let _ = File::from(writer).write_all(&child.pid().as_raw().to_ne_bytes());
                hands.herald.follow(child, words.map(|(reader, _)| reader))
            }
            Side::Child => {
                drop(writer);
                let mut bytes = [0; 4];
                File::from(reader)
                    .read_exact(&mut bytes)
                    .tried(|| "learn the PID from the parent")?;
                hands.outer_pid = Some(Pid::from_raw(i32::from_ne_bytes(bytes)));
                hands.herald.speak_by(words.map(|(_, writer)| writer));
                Ok(Flow::Next)
            }
        }
    }
}
