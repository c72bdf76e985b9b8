//! What passes between the caller's input and output and COMMAND's own terminal.

use std::io::{IsTerminal, Stdin, Stdout, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use common::resident::is_readable;
use common::sys::tty;
use common::terminal::is_in_background;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use crate::pty;

/// Ctrl-D, the end of input, as a new terminal has it.
const END: u8 = 4;

/// As much as a pipe that has room takes at once.
const CHUNK: usize = 4096;

/// The process outside holds it. All signals wait there, so that SIGTTOU hinders nothing.
#[derive(Debug)]
pub struct Relay {
    stdin: Stdin,
    stdout: Stdout,
    /// Gone when nobody takes the output: for COMMAND its terminal has hung up.
    master: Option<OwnedFd>,
    /// Kept open, so that a time in which COMMAND has closed it is not the end.
    _peer: OwnedFd,
    /// How the caller's terminal was set, while its keys go to COMMAND.
    callers: Option<Termios>,
    input: Input,
    /// Whether COMMAND's terminal collected lines when it was last told that the input has ended.
    ended_in_lines: Option<bool>,
    inward: Vec<u8>,
    outward: Vec<u8>,
    /// Why the output is not taken, unless whoever read it has had enough.
    lost: Option<Errno>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Whether keys are typed there.
    Open {
        terminal: bool,
    },
    Ended,
}

/// What a descriptor that is waited for is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Input,
    Command,
    Output,
}

impl Relay {
    /// Between standard input and output and this terminal.
    pub fn new(master: OwnedFd, peer: OwnedFd) -> Self {
        let (stdin, stdout) = (stdin(), stdout());
        let input = Input::Open { terminal: stdin.is_terminal() };
        Self {
            stdin,
            stdout,
            master: Some(master),
            _peer: peer,
            callers: None,
            input,
            ended_in_lines: None,
            inward: Vec::new(),
            outward: Vec::new(),
            lost: None,
        }
    }

    /// All keys of the caller's terminal go to COMMAND, also Ctrl-C. Says whether that is so, or input
    /// is no terminal; while our caller has us in the background, the keys are not ours.
    pub fn take_terminal(&mut self) -> bool {
        if self.callers.is_some() || self.input != (Input::Open { terminal: true }) {
            return true;
        }
        if is_in_background(&self.stdin) {
            return false;
        }
        if let Ok(mode) = tcgetattr(&self.stdin) {
            let mut raw = mode.clone();
            cfmakeraw(&mut raw);
            let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &raw);
            self.callers = Some(mode);
        }
        self.resize();
        true
    }

    /// Sets it as it was, if it is not somebody else's by now. Says whether it was otherwise.
    pub fn leave_terminal(&mut self) -> bool {
        let Some(mode) = self.callers.take() else { return false };
        if !is_in_background(&self.stdin) {
            // A terminal that is gone needs no setting.
            let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &mode);
        }
        true
    }

    /// COMMAND's terminal gets the size of the caller's, and its foreground learns it by SIGWINCH.
    pub fn resize(&self) {
        if let (Some(master), Some(size)) = (&self.master, pty::callers_size()) {
            let _ = tty::set_size(master, &size);
        }
    }

    /// What is waited for.
    pub fn watched(&self) -> Vec<PollFd<'_>> {
        self.ports().into_iter().map(|(_, fd, events)| PollFd::new(fd, events)).collect()
    }

    fn ports(&self) -> Vec<(Port, BorrowedFd<'_>, PollFlags)> {
        let Some(master) = &self.master else { return Vec::new() };
        let mut ports = Vec::with_capacity(3);
        if self.input != Input::Ended && self.inward.is_empty() {
            // In the background only that the terminal hangs up is for us.
            let theirs = self.input == (Input::Open { terminal: true }) && self.callers.is_none();
            let events = if theirs { PollFlags::empty() } else { PollFlags::POLLIN };
            ports.push((Port::Input, self.stdin.as_fd(), events));
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.outward.is_empty());
        events.set(PollFlags::POLLOUT, !self.inward.is_empty());
        if !events.is_empty() {
            ports.push((Port::Command, master.as_fd(), events));
        }
        if !self.outward.is_empty() {
            ports.push((Port::Output, self.stdout.as_fd(), PollFlags::POLLOUT));
        }
        ports
    }

    /// Passes on what there is, where there is room.
    pub fn serve(&mut self, events: &[PollFlags]) {
        let ready: Vec<Port> = self
            .ports()
            .into_iter()
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .map(|((port, ..), _)| port)
            .collect();
        for port in ready {
            match port {
                Port::Input => self.read_input(),
                Port::Command => {
                    self.read_command();
                    self.write_command();
                }
                Port::Output => self.write_output(),
            }
        }
    }

    fn read_input(&mut self) {
        let mut bytes = [0; CHUNK];
        match read(&self.stdin, &mut bytes) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(got @ 1..) => self.inward.extend(&bytes[..got]),
            // The end, or a terminal that has hung up.
            Ok(_) | Err(_) => {
                if self.input == (Input::Open { terminal: false }) {
                    // The first ends the line that is not ended, if there is one.
                    self.inward.extend([END, END]);
                    self.ended_in_lines = self.collects_lines();
                }
                self.input = Input::Ended;
            }
        }
    }

    fn read_command(&mut self) {
        if let (Some(master), true) = (&self.master, self.outward.is_empty()) {
            let mut bytes = [0; CHUNK];
            if let Ok(got) = read(master, &mut bytes) {
                self.outward.extend(&bytes[..got]);
                self.tell_the_end_again();
            }
        }
    }

    /// Who takes each key, as a shell that edits its line, does not see an end that came while lines
    /// were collected, and the other way round. Such a one says something when it has begun.
    fn tell_the_end_again(&mut self) {
        let now = self.collects_lines();
        if self.ended_in_lines.is_some() && self.ended_in_lines != now && self.inward.is_empty() {
            self.inward.push(END);
            self.ended_in_lines = now;
        }
    }

    /// How COMMAND has set its terminal; the kernel tells that at the other end, too.
    fn collects_lines(&self) -> Option<bool> {
        let mode = tcgetattr(self.master.as_ref()?).ok()?;
        Some(mode.local_flags.contains(LocalFlags::ICANON))
    }

    fn write_command(&mut self) {
        if let (Some(master), false) = (&self.master, self.inward.is_empty())
            && let Ok(written) = write(master, &self.inward)
        {
            self.inward.drain(..written);
        }
    }

    fn write_output(&mut self) {
        match write(&self.stdout, &self.outward) {
            Ok(written) => drop(self.outward.drain(..written)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => {
                self.lost = Some(errno).filter(|errno| *errno != Errno::EPIPE);
                self.master = None;
            }
        }
    }

    /// There may never be any: then the caller's terminal is free, and a signal ends us, as it does any
    /// program that writes.
    fn wait_for_room(&mut self) {
        self.leave_terminal();
        let mut mask = SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::all());
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            mask.remove(signal);
        }
        let mut room = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT)];
        let _ = ppoll(&mut room, None, Some(mask));
    }

    /// COMMAND has ended: what it has written last goes out, and the terminal is the caller's again. In
    /// a hurry only what is taken at once. Gives why output was lost, if it was.
    pub fn finish(mut self, hurry: bool) -> Option<Errno> {
        loop {
            while !self.outward.is_empty() && self.master.is_some() {
                let mut room = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut room, PollTimeout::ZERO) {
                    Ok(0) if hurry => return None,
                    Ok(0) => self.wait_for_room(),
                    _ => {}
                }
                self.write_output();
            }
            let Some(master) = &self.master else { break };
            if is_readable(master.as_fd()) != Ok(true) {
                break;
            }
            self.read_command();
            if self.outward.is_empty() {
                break;
            }
        }
        self.leave_terminal();
        self.lost
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.leave_terminal();
    }
}
