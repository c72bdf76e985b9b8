//! The child that goes on in our place: only children are born into a new PID or time namespace.

use std::fs::File;
use std::io::{Read, Write};

use common::resident::{Beside, Group, Post, Side};
use common::{Failure, Flow, Tried};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, pipe2};

use crate::hint;
use crate::init::{self, Init};
use crate::pty::{Devpts, Pty};
use crate::relay::Relay;
use crate::step::Hands;

/// How the child is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The signal that it gets when we die.
    pub tie: Option<Signal>,
    /// Whether there is a PID 1 before it.
    pub init: bool,
    /// Where it gets a terminal of its own from, if it gets one.
    pub pty: Option<Devpts>,
}

impl Child {
    /// The options of unshare(1) for it.
    pub fn options(self) -> String {
        let tie = match self.tie {
            None => String::new(),
            Some(Signal::SIGKILL) => " --kill-child".into(),
            Some(signal) => format!(" --kill-child={signal}"),
        };
        // A shell that waits reaps all orphans, and gives COMMAND's status.
        let init = if self.init { " sh -c '\"$@\"; exit $?' init" } else { "" };
        format!(" --fork{tie}{init}")
    }

    /// The parent stays until the child has ended. The child learns from it the PID that it has
    /// there: inside, it is 1, or 2.
    pub fn fork(self, hands: &mut Hands) -> Result<Flow, Failure> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the child")?;
        let pty = self.pty.map(Pty::open).transpose()?;
        let post = Post::new()?;
        let mut init = None;
        if self.init {
            let outside = post.us()?;
            init = init::fork()?;
            if init.is_none() {
                init::run(post.signals(), outside, self.tie);
                return Ok(Flow::Done(0));
            }
        }
        // With PID 1 everything dies.
        let tie = self.tie.filter(|_| !self.init);
        let group = match self {
            Self { pty: Some(_), .. } => Group::Session,
            Self { init: true, .. } => Group::Own,
            _ => Group::Shared,
        };
        match post.fork(tie, group).map_err(hint::for_fork)? {
            Side::Parent(child) => {
                drop(reader);
                // A child that died at once tells why by its status.
                let _ = File::from(writer).write_all(&child.pid().as_raw().to_ne_bytes());
                let mut held = Held { init, relay: pty.map(Pty::relay) };
                held.go_on();
                child.wait_beside(&mut held).map(Flow::Done)
            }
            Side::Child => {
                drop(writer);
                let mut bytes = [0; 4];
                File::from(reader)
                    .read_exact(&mut bytes)
                    .tried(|| "learn the PID from the parent")?;
                hands.outer_pid = Some(Pid::from_raw(i32::from_ne_bytes(bytes)));
                hands.terminal = pty.map(Pty::side_of_command);
                Ok(Flow::Next)
            }
        }
    }
}

/// What the parent holds beside its child.
struct Held {
    init: Option<Init>,
    relay: Option<Relay>,
}

impl Beside for Held {
    fn watched(&self) -> Vec<PollFd<'_>> {
        self.relay.as_ref().map(Relay::watched).unwrap_or_default()
    }

    fn serve(&mut self, events: &[PollFlags]) {
        if let Some(relay) = &mut self.relay {
            relay.serve(events);
        }
    }

    fn resize(&mut self) -> bool {
        self.relay.as_ref().map(Relay::resize).is_some()
    }

    fn pause(&mut self) -> bool {
        self.relay.as_mut().is_some_and(Relay::leave_terminal)
    }

    fn go_on(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.take_terminal();
        }
    }

    /// What is left is killed first: then nobody writes any more.
    fn end(&mut self) {
        if let Some(init) = self.init.take() {
            init.end();
        }
        if let Some(relay) = self.relay.take() {
            relay.finish();
        }
    }
}
