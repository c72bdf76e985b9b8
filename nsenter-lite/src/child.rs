//! The child that goes on in our place: only children are born into a new PID or time namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use common::resident::{Beside, Group, Post, Side};
use common::sys::signal::{self, Change};
use common::{Failure, Flow, Tried, sys, terminal};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::SIGKILL;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, pipe2, read, setpgid};

use crate::cli::Cli;
use crate::hint;
use crate::init::{self, Init};
use crate::pty::{Counter, Devpts, Terminal};
use crate::relay::Relay;
use crate::report::Listener;
use crate::step::Hands;

/// How the child is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The signal that it gets when we die; none if it is to be left, or nothing ties it.
    pub tie: Option<Signal>,
    /// Whether there is a PID 1 before it.
    pub init: bool,
    /// Where it gets a terminal of its own from, if it gets one.
    pub pty: Option<Devpts>,
    /// Whether it leads a process group of its own.
    pub leads: Leads,
}

/// Who is in another PID namespace reaches our group all the same, by kill(0, ...), as long as it is
/// theirs, too. Without a terminal they have another one, which is nobody's to lead, see [`Unled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// It shares ours.
    Never,
    /// At a terminal PID 1 shares ours: of another one the kernel would neither stop it when it reads in
    /// the background, nor end it by Ctrl-C.
    WithoutTerminal,
    /// The terminal is lent to it.
    Always,
}

impl Leads {
    /// For a PID namespace that is made, and one that is entered.
    pub fn choose(cli: &Cli, made: bool, entered: bool) -> Self {
        match (cli.reports.detach, made, entered) {
            (false, _, true) => Self::Always,
            (false, true, _) => Self::WithoutTerminal,
            _ => Self::Never,
        }
    }
}

/// A process group whose leader makes room: who leads one can't make a session, as setsid(1) does,
/// which would fork for that, and be missed as PID 1.
#[derive(Debug)]
pub struct Unled {
    leader: Pid,
    /// The leader waits until nobody has this: we may lose the right to send it a signal.
    needed: Option<OwnedFd>,
}

impl Unled {
    fn make() -> Result<Self, Failure> {
        let what = || "make a process group for the command";
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(what)?;
        match sys::fork().tried(what).map_err(hint::for_fork)? {
            ForkResult::Child => {
                drop(writer);
                let _ = read(&reader, &mut [0]);
                sys::end(0)
            }
            ForkResult::Parent { child } => {
                let made = Self { leader: child, needed: Some(writer) };
                setpgid(child, child).tried(what).map(|()| made)
            }
        }
    }
}

impl Drop for Unled {
    /// For our child, which has a copy, the leader is nobody to wait for.
    fn drop(&mut self) {
        self.needed = None;
        let _ = signal::wait(self.leader);
    }
}

impl Child {
    /// Before there is a PID namespace, in which the next to be born is PID 1.
    pub fn prepare(self, hands: &mut Hands) -> Result<(), Failure> {
        let shares = self.init || self.pty.is_some() || self.leads == Leads::Never;
        if !shares && hands.callers_terminal.is_none() {
            hands.group = Some(Unled::make()?);
        }
        Ok(())
    }

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
    /// there: inside, it is 1, or 2. The first process inside calls `first`.
    pub fn fork(
        self,
        hands: &mut Hands,
        first: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Flow, Failure> {
        let words = hands.reporter.pipe()?;
        if self.init {
            return init::fork(self, hands, words, first);
        }
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the child")?;
        let post = Post::new()?;
        let counter = self.pty.map(|_| Counter::open()).transpose()?;
        match post.fork(hands.reporter.tie(self.tie)).map_err(hint::for_fork)? {
            Side::Parent(child) => {
                drop(reader);
                let listener = hands.reporter.listener(words.map(|(reader, _)| reader));
                let mut held = Held::new(None, listener);
                if let Err(failure) = held.get_terminal(counter) {
                    child.end();
                    return Err(failure);
                }
                // Who has a terminal of its own leads a session, besides.
                let leads = held.relay.is_none()
                    && self.leads == Leads::Always
                    && hands.callers_terminal.is_some();
                let moved = match hands.group.take() {
                    Some(group) => setpgid(child.pid(), group.leader),
                    None if leads => setpgid(child.pid(), child.pid()),
                    None => Ok(()),
                };
                if let Err(errno) = moved {
                    child.end();
                    return Err(Failure::errno("make a process group for the command", errno));
                }
                // A child that died at once tells why by its status.
                let _ = File::from(writer).write_all(&child.pid().as_raw().to_ne_bytes());
                held.knows(child.pid());
                let child = match held.relay {
                    Some(_) => child.leading(Group::Session, None),
                    None if leads => child.leading(Group::Own, hands.callers_terminal.take()),
                    None => child,
                };
                let status = child.wait_beside(&mut held)?;
                held.told(status).map(|()| Flow::Done(status))
            }
            Side::Child => {
                drop((writer, hands.group.take()));
                first()?;
                hands.terminal = self.make_terminal(counter)?;
                let mut bytes = [0; 4];
                File::from(reader)
                    .read_exact(&mut bytes)
                    .tried(|| "learn the PID from the parent")?;
                hands.outer_pid = Some(Pid::from_raw(i32::from_ne_bytes(bytes)));
                hands.reporter.speak_by(words.map(|(_, writer)| writer));
                Ok(Flow::Next)
            }
        }
    }

    /// COMMAND's side of its own terminal, if it gets one.
    pub fn make_terminal(self, counter: Option<Counter>) -> Result<Option<Terminal>, Failure> {
        counter.zip(self.pty).map(|(counter, devpts)| counter.make(devpts)).transpose()
    }
}

/// What the parent holds beside its child.
pub struct Held {
    init: Option<Init>,
    relay: Option<Relay>,
    listener: Option<Listener>,
    /// Why what COMMAND wrote to its terminal came to nothing.
    output_lost: Option<Errno>,
}

impl Held {
    /// PID 1, and who tells the caller.
    pub fn new(init: Option<Init>, listener: Option<Listener>) -> Self {
        Self { init, relay: None, listener, output_lost: None }
    }

    /// Waits for COMMAND's terminal, where it gets one.
    pub fn get_terminal(&mut self, counter: Option<Counter>) -> Result<(), Failure> {
        self.relay = counter.map(Counter::relay).transpose()?.flatten();
        Ok(())
    }

    fn knows(&mut self, pid: Pid) {
        self.listener.iter_mut().for_each(|listener| listener.knows(pid));
    }

    /// The last that is told. It has all failed if the caller did not get what COMMAND wrote.
    pub fn told(&mut self, status: u8) -> Result<(), Failure> {
        self.listener.iter_mut().for_each(|listener| listener.end(status));
        let lost = |errno| Failure::errno("write the command's output to standard output", errno);
        self.output_lost.map_or(Ok(()), |errno| Err(lost(errno)))
    }

    /// Waits for the child of PID 1, and gives its status.
    pub fn wait(
        &mut self,
        post: Post,
        group: Group,
        terminal: Option<terminal::Terminal>,
    ) -> Result<u8, Failure> {
        let Some(init) = &self.init else { return Err(Failure::new("wait without a PID 1")) };
        let Some(pid) = init.wire.meet()? else {
            // Whichever of the two has failed has told why.
            return self.lost().map(Change::status);
        };
        let child = post.watch(pid).grandchild()?.leading(group, terminal);
        init.wire.tell(pid)?;
        self.knows(pid);
        child.wait_beside(self)
    }

    fn lost(&mut self) -> Result<Change, Failure> {
        self.init.take().map_or(Ok(Change::Killed(SIGKILL)), Init::wait)
    }
}

impl Beside for Held {
    fn watched(&self) -> Vec<PollFd<'_>> {
        let wire = self.init.iter().map(|init| PollFd::new(init.wire.fd(), PollFlags::POLLIN));
        let words = self.listener.iter().filter_map(Listener::fd);
        let words = words.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        wire.chain(words).chain(self.relay.iter().flat_map(Relay::watched)).collect()
    }

    fn serve(&mut self, events: &[PollFlags]) {
        let mut at = usize::from(self.init.is_some());
        if let Some(listener) = self.listener.as_mut().filter(|listener| listener.fd().is_some()) {
            if !events[at].is_empty() {
                listener.serve();
            }
            at += 1;
        }
        if let Some(relay) = &mut self.relay {
            relay.serve(&events[at..]);
        }
    }

    fn has_left(&self) -> bool {
        self.listener.as_ref().is_some_and(Listener::has_left)
    }

    fn news(&mut self) -> Result<Option<Change>, Failure> {
        let Some(init) = &self.init else { return Ok(None) };
        match init.wire.news() {
            Err(Errno::ECHILD) => self.lost().map(Some),
            news => news.tried(|| "hear from PID 1"),
        }
    }

    fn resize(&mut self) -> bool {
        self.relay.as_ref().map(Relay::resize).is_some()
    }

    fn pause(&mut self) -> bool {
        self.relay.as_mut().is_some_and(Relay::leave_terminal)
    }

    fn waits_for_terminal(&mut self) -> bool {
        self.relay.as_mut().is_some_and(|relay| !relay.take_terminal())
    }

    /// What is left is killed first: then nobody writes any more.
    fn end(&mut self, asked: bool) {
        let left = self.has_left();
        if let Some(init) = self.init.take() {
            if left { init.leave() } else { init.end() }
        }
        if let Some(relay) = self.relay.take() {
            self.output_lost = relay.finish(asked);
        }
    }
}
