//! The parent's side: what the child says is told on.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use common::resident::is_readable;
use nix::unistd::Pid;

use super::{event, word};

/// How far COMMAND is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Runs,
    /// We have left it to another.
    Left,
    Failed,
}

/// Who listens to the child, in its parent, and tells what it does.
#[derive(Debug)]
pub struct Listener {
    pipe: Option<File>,
    ready: Option<File>,
    status: Option<File>,
    pid: Option<Pid>,
    heard: String,
    executes: Option<String>,
    stage: Stage,
    detach: bool,
}

impl Listener {
    pub fn new(pipe: File, ready: Option<File>, status: Option<File>, detach: bool) -> Self {
        Self {
            pipe: Some(pipe),
            ready,
            status,
            pid: None,
            heard: String::new(),
            executes: None,
            stage: Stage::Before,
            detach,
        }
    }

    /// COMMAND's PID, as the caller sees it.
    pub fn knows(&mut self, pid: Pid) {
        self.pid = Some(pid);
    }

    /// What is to be read, until it is closed.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    pub fn has_left(&self) -> bool {
        self.stage == Stage::Left
    }

    /// Reads all that is there: COMMAND may have ended already, and we must have left it before that
    /// is looked at.
    pub fn serve(&mut self) {
        while self.is_readable() && !self.has_left() {
            self.read();
        }
    }

    fn is_readable(&self) -> bool {
        self.fd().is_some_and(|fd| is_readable(fd) == Ok(true))
    }

    fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 512];
        let read = match pipe.read(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            read => read.unwrap_or(0),
        };
        self.heard += &String::from_utf8_lossy(&bytes[..read]);
        while let Some((line, rest)) = self.heard.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.hear(&line);
            self.heard = rest;
        }
        if read == 0 {
            self.pipe = None;
            self.closed();
        }
    }

    fn hear(&mut self, line: &str) {
        let mut letters = line.chars();
        match letters.next() {
            Some(word::WAITING) => {
                self.tell_stage("waiting", letters.as_str());
                if self.detach {
                    self.stage = Stage::Left;
                }
            }
            Some(word::EXECUTES) => self.executes = Some(letters.as_str().to_owned()),
            _ => {
                self.stage = Stage::Failed;
                if !letters.as_str().is_empty() {
                    event(&mut self.status, letters.as_str());
                }
            }
        }
    }

    /// By the exec, if the child had said that it comes.
    fn closed(&mut self) {
        let Some(namespaces) = self.executes.take() else { return };
        if self.stage != Stage::Before {
            return;
        }
        self.tell_stage("started", &namespaces);
        if let Some(mut ready) = self.ready.take() {
            let _ = ready.write_all(b"\n");
        }
        self.stage = if self.detach { Stage::Left } else { Stage::Runs };
    }

    /// COMMAND has ended, or never was.
    pub fn end(&mut self, status: u8) {
        // Whom we have left may still hold the pipe.
        while self.pipe.is_some() && !self.has_left() {
            self.read();
        }
        if self.stage == Stage::Runs {
            event(&mut self.status, &format!("\"exited\",\"status\":{status}"));
        }
    }

    fn tell_stage(&mut self, stage: &str, namespaces: &str) {
        let pid = self.pid.map_or(0, Pid::as_raw);
        let text = format!("\"{stage}\",\"pid\":{pid},\"namespaces\":{{{namespaces}}}");
        event(&mut self.status, &text);
    }
}
