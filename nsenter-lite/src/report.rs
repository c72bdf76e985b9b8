//! What a script or an engine is told about COMMAND, and how it makes COMMAND wait.
//!
//! COMMAND itself can't tell that it was executed, so its parent does: COMMAND's end of a pipe
//! closes by the exec. The child says before it tries, and again if it could not.

mod listener;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use common::{Failure, Form, Line, Tried};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::pipe2;

pub use listener::Listener;

use crate::descriptor::{self, Passed, Use};
use crate::namespace::ALL;

/// Where they stand in the help.
pub const HEADING: &str = "For scripts and engines";

/// The options for it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Reports {
    /// Write a line to descriptor N and close it when COMMAND has been executed (implies --fork)
    ///
    /// If it is closed without a line, COMMAND could not be run. N is open for writing, 3 or
    /// higher; COMMAND does not get it.
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "N",
        value_parser = descriptor::number,
        conflicts_with = "no_fork"
    )]
    pub ready_fd: Option<RawFd>,
    /// Write to descriptor N what happens to COMMAND, a line of JSON each (implies --fork)
    ///
    /// {"event":"started","pid":P,"namespaces":{"user":I,"mnt":I,...}} when it has been executed: P
    /// as the caller sees it, I the inode numbers that /proc/P/ns shows; "waiting" instead of
    /// "started" while --block-fd holds it; {"event":"exited","status":S} when it has ended, which
    /// who has left it by --detach does not learn; or
    /// {"event":"error","status":S,"message":"..."}.
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "N",
        value_parser = descriptor::number,
        conflicts_with = "no_fork"
    )]
    pub status_fd: Option<RawFd>,
    /// Have COMMAND wait, with all else done, for a byte on descriptor N
    ///
    /// If N is closed without one, as when the process that had it has died, COMMAND is not run
    /// and the status is 125: it must not run without what was to be done to it first.
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = descriptor::number)]
    pub block_fd: Option<RawFd>,
    /// End when COMMAND has been executed, and leave it to the next subreaper (implies --fork)
    ///
    /// The status is 0 then. With --block-fd that is when COMMAND waits. It lives on without us,
    /// also in a new PID namespace. The subreaper (PR_SET_CHILD_SUBREAPER in prctl(2)), else PID 1,
    /// is its parent from then on; with --init that of PID 1, which stays and ends as COMMAND does.
    #[arg(long, help_heading = HEADING, conflicts_with_all = ["kill_child", "no_fork"])]
    pub detach: bool,
}

impl Reports {
    /// Whether there must be a parent of COMMAND.
    pub fn forks(self) -> bool {
        self.told() || self.detach
    }

    fn told(self) -> bool {
        self.ready_fd.is_some() || self.status_fd.is_some()
    }

    fn numbers(self) -> impl Iterator<Item = (&'static str, RawFd, Use)> {
        [
            ("--ready-fd", self.ready_fd, Use::Write),
            ("--status-fd", self.status_fd, Use::Write),
            ("--block-fd", self.block_fd, Use::Read),
        ]
        .into_iter()
        .filter_map(|(option, number, wanted)| Some((option, number?, wanted)))
    }

    /// Whether the caller has given all of them, each for one purpose.
    pub fn check(self, passed: &[Passed]) -> Result<(), Failure> {
        let numbers: Vec<_> = self.numbers().collect();
        for (at, (option, number, wanted)) in numbers.iter().enumerate() {
            if let Some((other, ..)) = numbers[..at].iter().find(|(_, other, _)| other == number) {
                return Err(Failure::usage(format!(
                    "use {option} {number}: it is that of {other} already"
                )));
            }
            descriptor::check(option, *number, *wanted)?;
        }
        let used = |at: usize| {
            let number = passed[at].number;
            let before = passed[..at].iter().any(|other| other.number == number);
            before || numbers.iter().any(|(_, other, _)| *other == number)
        };
        match (0..passed.len()).find(|at| used(*at)) {
            None => Ok(()),
            Some(at) => Err(Failure::usage(format!(
                "use --fd {}: that number is used already",
                passed[at].number
            ))),
        }
    }

    /// Takes the descriptors over. Before anything else is opened: see [`descriptor::take`].
    pub fn reporter(self) -> Result<Reporter, Failure> {
        let take = |option, number: Option<RawFd>| {
            number.map(|number| descriptor::take(option, number)).transpose()
        };
        let ready = take("--ready-fd", self.ready_fd)?.map(File::from);
        let status = take("--status-fd", self.status_fd)?.map(File::from);
        let gate = take("--block-fd", self.block_fd)?.map(File::from);
        let follows = self.forks();
        Ok(Reporter { ready, status, gate, follows, detach: self.detach, ..Reporter::default() })
    }

    /// Refuses a script of what no shell can do.
    pub fn check_script(self) -> Result<(), Failure> {
        let cant = |what: &str| Err(Failure::new(format!("write a script of this: {what}")));
        if self.detach {
            return cant(
                "no shell leaves COMMAND to a subreaper by one fork; try without --detach",
            );
        }
        if self.status_fd.is_some() {
            return cant(
                "no shell tells how a program ends that it becomes; leave --status-fd out",
            );
        }
        match self.numbers().find(|(_, number, _)| *number > 9) {
            None => Ok(()),
            Some((option, ..)) => {
                cant(&format!("a shell knows the descriptors 0 to 9; give {option} such a number"))
            }
        }
    }
}

/// The script waits, too, for one byte, and ends without it.
pub fn block_line(number: RawFd) -> Line {
    Line::Run(format!(
        "test \"$(dd bs=1 count=1 2>/dev/null <&{number} | wc -c)\" -eq 1; exec {number}<&-"
    ))
}

/// A shell can tell only before it becomes COMMAND.
pub fn ready_line(number: RawFd) -> Line {
    Line::Run(format!("echo >&{number}; exec {number}>&-"))
}

/// Who tells. After a fork there is one on either side.
#[derive(Debug, Default)]
pub struct Reporter {
    ready: Option<File>,
    status: Option<File>,
    gate: Option<File>,
    proc: Option<OwnedFd>,
    follows: bool,
    detach: bool,
    /// In the child: closed by the exec.
    parent: Option<File>,
}

/// What the child tells its parent: a letter, and a line of text.
mod word {
    pub const WAITING: char = 'w';
    pub const EXECUTES: char = 'e';
    pub const FAILED: char = 'f';
}

impl Reporter {
    /// Opens the /proc that we know now: what is entered may have another, or none.
    pub fn look_at_proc(&mut self) -> Result<(), Failure> {
        if self.status.is_some() {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            self.proc = Some(open("/proc", flags, Mode::empty()).tried(|| "open \"/proc\"")?);
        }
        Ok(())
    }

    /// A pipe for the words of the child, if they are wanted.
    pub fn pipe(&self) -> Result<Option<(OwnedFd, OwnedFd)>, Failure> {
        match self.follows {
            true => pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to the child").map(Some),
            false => Ok(None),
        }
    }

    /// This is the child: it tells by that pipe.
    pub fn speak_by(&mut self, pipe: Option<OwnedFd>) {
        self.parent = pipe.map(File::from);
        self.ready = None;
    }

    /// This is the parent: who listens to the child.
    pub fn listener(&mut self, pipe: Option<OwnedFd>) -> Option<Listener> {
        self.gate = None;
        let pipe = File::from(pipe?);
        Some(Listener::new(pipe, self.ready.take(), self.status.take(), self.detach))
    }

    /// Says whether there is somebody to hear it.
    fn say(&mut self, word: char, text: &str) -> bool {
        let line = format!("{word}{text}\n");
        self.parent.as_mut().is_some_and(|parent| parent.write_all(line.as_bytes()).is_ok())
    }

    /// The child waits for a byte.
    pub fn wait_at_gate(&mut self, number: RawFd) -> Result<(), Failure> {
        self.leave();
        let namespaces = self.namespaces();
        self.say(word::WAITING, &namespaces);
        let what = || format!("wait for a byte on descriptor {number}");
        let Some(mut gate) = self.gate.take() else {
            return Err(Failure::errno(what(), Errno::EBADF));
        };
        let read = loop {
            common::resident::until_readable(gate.as_fd()).tried(what)?;
            match gate.read(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                read => break read.tried(what)?,
            }
        };
        match read {
            0 => Err(Failure::new(format!("{}: it was closed without one", what()))
                .hint(format!("who lets COMMAND run writes to it: echo >&{number}"))),
            _ => Ok(()),
        }
    }

    /// The child is tied to us until it is left: who is killed before leaves nothing.
    pub fn tie(&self, tie: Option<Signal>) -> Option<Signal> {
        if self.detach { Some(Signal::SIGKILL) } else { tie }
    }

    fn leave(&self) {
        if self.detach {
            // The kernel refuses only what is no signal.
            let _ = set_pdeathsig(None);
        }
    }

    /// COMMAND is next.
    pub fn executes(&mut self) {
        self.leave();
        let namespaces = self.namespaces();
        self.say(word::EXECUTES, &namespaces);
    }

    /// This process ends by this failure. The parent tells it behind what it has told before, unless it
    /// has left us.
    pub fn failed(&mut self, failure: &Failure) {
        let message = failure.lines("nsenter-lite");
        let message = message.lines().next().unwrap_or_default();
        let status = failure.status(Form::Command);
        let message = serde_json::Value::from(message);
        let text = format!("\"error\",\"status\":{status},\"message\":{message}");
        let is_told = self.say(word::FAILED, if self.detach { "" } else { &text });
        if !is_told || self.detach {
            event(&mut self.status, &text);
        }
    }

    /// The inode number of each of this process's namespaces, as JSON.
    fn namespaces(&self) -> String {
        let Some(proc) = &self.proc else { return String::new() };
        let numbers = ALL.into_iter().filter_map(|kind| {
            let link = format!("self/ns/{}", kind.link());
            let found = fstatat(proc, link.as_str(), AtFlags::empty()).ok()?;
            Some(format!("\"{}\":{}", kind.link(), found.st_ino))
        });
        numbers.collect::<Vec<_>>().join(",")
    }
}

/// A reader that has gone away is no failure.
fn event(to: &mut Option<File>, event: &str) {
    if let Some(status) = to {
        let _ = status.write_all(format!("{{\"event\":{event}}}\n").as_bytes());
    }
}
