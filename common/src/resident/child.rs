//! The child that is waited for: signals are passed on to it, and what becomes of it becomes of us.

use std::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    SI_QUEUE, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSTOP, SIGTERM,
    SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

use super::first::Perhaps;
use super::{Beside, Group};
use crate::report::{Failure, Tried};
use crate::sys::signal::{self, Arrived, Change, Set, set};
use crate::terminal::Terminal;
use crate::{pidfd, sys};

/// How many milliseconds pass until we look whether it is our turn at the terminal: a shell's `fg`
/// tells only those that are stopped.
const TURN: u8 = 200;

/// A child that is waited for. The PID of one's own child is not used again before that; that of a
/// child's child may be, and so there is a descriptor for it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    grandchild: Option<OwnedFd>,
    /// What it sees by that we live.
    _alive: Option<OwnedFd>,
    group: Group,
    signals: OwnedFd,
    /// What it was killed for, as a signal that does nothing else to it.
    killed_for: Option<c_int>,
    passed_on: Set,
    perhaps_first: Perhaps,
    terminal: Option<Terminal>,
}

impl Child {
    pub(super) fn new(pid: Pid, signals: OwnedFd) -> Self {
        Self {
            pid,
            grandchild: None,
            _alive: None,
            group: Group::Shared,
            signals,
            killed_for: None,
            passed_on: 0,
            perhaps_first: Perhaps::new(pid),
            terminal: None,
        }
    }

    /// In our group, with what terminal we have.
    pub(super) fn sharing(self, terminal: Option<Terminal>) -> Self {
        Self { terminal, ..self }
    }

    /// Sees our end by this one's.
    pub(super) fn witnessed_by(self, alive: Option<OwnedFd>) -> Self {
        Self { _alive: alive, ..self }
    }

    /// Leads a group of its own, and gets the terminal, which is our session's.
    #[must_use]
    pub fn leading(mut self, group: Group, terminal: Option<Terminal>) -> Self {
        self.group = group;
        if group == Group::Own {
            self.terminal = terminal;
            if Terminal::is_all_ours() {
                self.lend();
            }
        }
        self
    }

    /// It is waited for by another process, which is our child.
    pub fn grandchild(mut self) -> Result<Self, Failure> {
        let what = || format!("hold the command, process {}, by a descriptor", self.pid);
        self.grandchild = Some(pidfd::open_to_signal(self.pid, what)?);
        Ok(self)
    }

    /// Its PID, as this process sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends it without a word: what it was for can't be.
    pub fn end(self) {
        let _ = signal::send(self.pid, SIGKILL);
        let _ = signal::wait(self.pid);
    }

    /// Waits for its end, passing signals on meanwhile; gives its status, 128+N for signal N.
    pub fn wait(self) -> Result<u8, Failure> {
        self.wait_beside(&mut ())
    }

    /// [`Child::wait`], with something else to attend to.
    pub fn wait_beside(mut self, beside: &mut dyn Beside) -> Result<u8, Failure> {
        // Else it is another's child now.
        let Some(change) = self.watch(beside).transpose() else { return Ok(0) };
        let change = change.map(|change| match change {
            Change::Killed(SIGKILL) => Change::Killed(self.killed_for.unwrap_or(SIGKILL)),
            change => change,
        });
        beside.end(change.as_ref().is_ok_and(|change| self.was_asked_for(*change)));
        let was_away = self.terminal.as_mut().is_some_and(Terminal::take_back);
        let change = change?;
        if let Change::Killed(by @ (SIGINT | SIGQUIT)) = change
            && was_away
            && self.passed_on & set(by) == 0
        {
            // The terminal's Ctrl-C would have reached our whole group, had it not been away: the
            // script that runs us ends by it, too.
            let _ = signal::send(whole(getpgrp()), by);
        }
        Ok(change.status())
    }

    /// Whether it has ended by a signal that somebody sent us to end us both.
    fn was_asked_for(&self, change: Change) -> bool {
        let Change::Killed(by @ (SIGHUP | SIGINT | SIGQUIT | SIGTERM)) = change else {
            return false;
        };
        self.killed_for == Some(by) || self.passed_on & set(by) != 0
    }

    fn watch(&mut self, beside: &mut dyn Beside) -> Result<Option<Change>, Failure> {
        loop {
            let timeout = match beside.waits_for_terminal() {
                true => PollTimeout::from(TURN),
                false => PollTimeout::NONE,
            };
            let events = {
                let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                fds.extend(beside.watched());
                match poll(&mut fds, timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(Failure::errno("wait for a signal", errno)),
                }
                fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect::<Vec<_>>()
            };
            beside.serve(&events[1..]);
            if beside.has_left() {
                return Ok(None);
            }
            if self.grandchild.is_some()
                && let Some(end) = self.react(beside.news()?, beside)
            {
                return Ok(Some(end));
            }
            match signal::read(&self.signals) {
                Ok(arrived) => {
                    let is_chld = arrived.signal == SIGCHLD;
                    // Of two that wait the kernel keeps one: one that somebody has sent may stand
                    // for our child's, too.
                    if is_chld && self.grandchild.is_none() {
                        let change = signal::try_wait(self.pid)
                            .tried(|| format!("wait for {}", self.pid))?;
                        if let Some(end) = self.react(change, beside) {
                            return Ok(Some(end));
                        }
                    }
                    if !is_chld || arrived.code <= 0 {
                        self.arrived(arrived, beside);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(Failure::errno("wait for a signal", errno)),
            }
        }
    }

    fn react(&mut self, change: Option<Change>, beside: &mut dyn Beside) -> Option<Change> {
        match change? {
            Change::Stopped(by) => {
                self.stopped(by, beside);
                None
            }
            end => Some(end),
        }
    }

    /// What the caller ignores stays ignored: nohup(1) means it. A SIGPIPE of our own making is ours.
    fn arrived(&mut self, arrived: Arrived, beside: &mut dyn Beside) {
        let ours = arrived.signal == SIGPIPE && arrived.from == std::process::id();
        if ours || sys::caller_ignores(arrived.signal) {
            return;
        }
        match arrived.signal {
            SIGWINCH if beside.resize() => {}
            // A terminal that is not ours stops nobody there: it is us who are sent away from ours.
            signal @ (SIGTSTP | SIGTTIN | SIGTTOU) if self.group == Group::Session => {
                beside.pause();
                stop_by(signal, getpid());
            }
            SIGCONT => {
                // Of a SIGSTOP we were not told, and the terminal may be our caller's since.
                beside.pause();
                if self.terminal.as_ref().is_some_and(Terminal::is_here) && Terminal::is_all_ours()
                {
                    self.lend();
                }
                self.pass_on(arrived);
            }
            _ => self.pass_on(arrived),
        }
    }

    /// The init of a PID namespace gets only the signals that it has a handler for: any other is
    /// dropped, and both processes would live on. So the default action is done to it by the two
    /// signals that always arrive, SIGKILL and SIGSTOP.
    fn pass_on(&mut self, arrived: Arrived) {
        let signal = arrived.signal;
        if self.grandchild.is_none() && self.perhaps_first.drops(signal) {
            match signal {
                SIGWINCH | SIGURG | SIGCHLD => {}
                SIGCONT => self.send(SIGCONT),
                // It is to end, and will not wait for us to go on.
                SIGTSTP | SIGTTIN | SIGTTOU if self.killed_for.is_some() => {}
                SIGTSTP | SIGTTIN | SIGTTOU => {
                    self.send(SIGSTOP);
                    // It goes on asking for the terminal as soon as it is continued, by signals that
                    // would stop us once more before we see for what we were.
                    self.suspend(if arrived.code > 0 { SIGTSTP } else { signal }, &mut ());
                }
                _ => {
                    self.killed_for = Some(signal);
                    self.send(SIGKILL);
                }
            }
            return;
        }
        let by_kernel = arrived.code > 0;
        match self.group {
            // The terminal signals the whole process group, so a child in ours has had it already.
            Group::Shared if by_kernel && getpgid(Some(self.pid)) == Ok(getpgrp()) => {}
            // A stop of the terminal's has stopped all of the job, and by this all goes on.
            Group::Own if by_kernel || signal == SIGCONT => self.send_to_job(signal),
            // So would the child's own terminal signal all of its job.
            Group::Session if by_kernel => {
                self.passed_on |= set(signal);
                self.send_to_job(signal);
            }
            _ => {
                self.passed_on |= set(signal);
                self.send_with(signal, (arrived.code == SI_QUEUE).then_some(arrived.value));
            }
        }
    }

    /// The child has stopped. If it is for want of the terminal, and we have it, it gets it; else our
    /// caller's job control sees us stop, too.
    fn stopped(&mut self, by: c_int, beside: &mut dyn Beside) {
        if let (Some(terminal), Ok(group)) = (&mut self.terminal, getpgid(Some(self.pid))) {
            terminal.taken_by(group);
        }
        let at_terminal =
            self.group == Group::Session || self.terminal.as_ref().is_some_and(Terminal::is_lent);
        match by {
            SIGTTIN | SIGTTOU if self.lend() => {
                self.send_to_job(SIGCONT);
            }
            // A shell's `suspend`: its user is to come back to the shell before it.
            SIGSTOP if at_terminal => self.suspend(SIGTSTP, beside),
            // From somebody who means the child alone, and who will continue it alone.
            SIGSTOP => {}
            _ => self.suspend(by, beside),
        }
    }

    fn suspend(&mut self, signal: c_int, beside: &mut dyn Beside) {
        let lent = self.terminal.as_mut().is_some_and(Terminal::take_back);
        let was_away = beside.pause() || lent;
        // The terminal has stopped the job that it was lent to, and not the caller's. One signal is for
        // all of that: a second one would undo the SIGCONT that has come meanwhile.
        let continued = stop_by(signal, if was_away { whole(getpgrp()) } else { getpid() });
        let here = self.terminal.as_ref().is_some_and(Terminal::is_here);
        if here && (lent || Terminal::is_all_ours()) {
            self.lend();
        }
        if self.group == Group::Own && !continued && !here && signal != SIGTSTP {
            // Nobody is there who could give us the terminal: what the kernel does for such a job.
            self.send_to_job(SIGHUP);
        }
        self.send_to_job(SIGCONT);
    }

    /// A group of this number has to be there: the kernel would make any process's number the
    /// foreground, and whoever reads were in the background then.
    fn lend(&mut self) -> bool {
        let group = (self.group == Group::Own).then_some(self.pid);
        self.terminal.as_mut().is_some_and(|terminal| terminal.lend(group))
    }

    fn send(&self, signal: c_int) {
        self.send_with(signal, None);
    }

    fn send_with(&self, signal: c_int, value: Option<u64>) {
        // One that has ended meanwhile is waited for.
        let _ = match (&self.grandchild, value) {
            (Some(pidfd), value) => signal::pidfd_send_signal(pidfd, signal, value),
            (None, Some(value)) => signal::queue(self.pid, signal, value),
            (None, None) => signal::send(self.pid, signal),
        };
    }

    fn send_to_job(&self, signal: c_int) {
        match self.group {
            Group::Shared => self.send(signal),
            Group::Own | Group::Session => {
                let group = whole(self.pid);
                // It may not have made its session yet.
                if signal::send(group, signal).is_err() {
                    self.send(signal);
                }
            }
        }
    }
}

/// Lets the default action of this signal stop us, or all of our group. In a job that nobody could
/// continue the kernel leaves it out; says whether we were stopped, and continued.
fn stop_by(signal: c_int, whom: Pid) -> bool {
    let _ = signal::send(whom, signal);
    let _ = signal::block(signal::ALL & !set(signal));
    let _ = signal::block(signal::ALL);
    signal::take_back(set(SIGCONT))
}

/// A process group, to kill(2).
fn whole(group: Pid) -> Pid {
    Pid::from_raw(-group.as_raw())
}
