//! The map of a new user namespace, written from outside: whoever has just moved into it has no
//! power over other ids than their own.
//!
//! So a child is forked before, which stays outside and waits until there is something to write.
//! Root's child writes itself; a user's has newuidmap(1) and newgidmap(1) do it, which are given
//! the power and look into `/etc/subuid` and `/etc/subgid`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, pipe2};

use crate::report::{Failure, Tried};
use crate::subordinate::Extent;
use crate::{pid, sys};

/// Users and groups. What has no extent is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// For `uid_map`.
    pub users: Vec<Extent>,
    /// For `gid_map`.
    pub groups: Vec<Extent>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// newuidmap(1) and newgidmap(1).
    Programs,
    /// The child itself: it takes `CAP_SETUID` and `CAP_SETGID`.
    Itself,
}

/// A child that writes the maps of this process when it is told to, and nothing if it never is.
#[derive(Debug)]
pub struct Writer {
    child: Pid,
    go: File,
    said: File,
}

/// What the child says of a map that is written.
const WRITTEN: &str = ".";

/// The lines that the kernel wants.
pub fn text(extents: &[Extent]) -> String {
    let lines = extents
        .iter()
        .map(|Extent { inside, outside, count }| format!("{inside} {outside} {count}\n"));
    lines.collect()
}

impl Writer {
    /// To be started while this process is still outside; `what` stands before what went wrong.
    pub fn start(what: &str, map: &IdMap, by: By) -> Result<Self, Failure> {
        let pipes = || Ok::<_, Errno>((pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?));
        let ((wait, go), (said, say)) = pipes().tried(|| format!("{what}: make a pipe"))?;
        let process = pid::own_in_proc()?;
        match sys::fork().tried(|| format!("{what}: fork"))? {
            ForkResult::Parent { child } => {
                Ok(Self { child, go: File::from(go), said: File::from(said) })
            }
            ForkResult::Child => {
                drop((go, said));
                // With SIGCHLD ignored the programs' statuses would be lost.
                sys::reset(Signal::SIGCHLD);
                if File::from(wait).read_exact(&mut [0]).is_ok() {
                    let said = match write(what, process, map, by) {
                        Ok(()) => WRITTEN.to_owned(),
                        Err(failure) => failure.lines(""),
                    };
                    let _ = File::from(say).write_all(said.as_bytes());
                }
                sys::end(0)
            }
        }
    }

    /// To be called when the namespace is there.
    pub fn write(mut self) -> Result<(), Failure> {
        let mut said = String::new();
        let told = self.go.write_all(b"\n").and_then(|()| self.said.read_to_string(&mut said));
        told.tried(|| "have the map written")?;
        let _ = waitpid(self.child, None);
        match said.as_str() {
            WRITTEN => Ok(()),
            // Without a map COMMAND would be nobody.
            "" => Err(Failure::new("have the map written: who was to write it has died")),
            failure => Failure::told(failure),
        }
    }
}

fn write(what: &str, process: Pid, map: &IdMap, by: By) -> Result<(), Failure> {
    let parts = [("newuidmap", "uid_map", &map.users), ("newgidmap", "gid_map", &map.groups)];
    for (program, file, extents) in parts.into_iter().filter(|(.., extents)| !extents.is_empty()) {
        match by {
            By::Programs => run(what, program, process, extents)?,
            By::Itself => {
                let file = format!("/proc/{process}/{file}");
                fs::write(&file, text(extents))
                    .tried(|| format!("{what}: write {file:?}"))
                    .map_err(refused)?;
            }
        }
    }
    Ok(())
}

fn run(what: &str, program: &str, process: Pid, extents: &[Extent]) -> Result<(), Failure> {
    let failed = || format!("{what} by {program:?}");
    let mut command = Command::new(program);
    command.arg(process.to_string());
    for extent in extents {
        command.args([extent.inside, extent.outside, extent.count].map(|n| n.to_string()));
    }
    let ended = match command.output() {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {
            return Err(Failure::new(format!("{}: it is not there", failed()))
                .hint("apt-get install uidmap"));
        }
        outcome => outcome.tried(failed)?,
    };
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said = said.trim().strip_prefix(program).unwrap_or(said.trim());
    Err(Failure::new(format!("{}{said}", failed())))
}

fn refused(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            "ids outside that are not mapped here can't be handed on: cat /proc/self/uid_map; and \
             root needs CAP_SETUID and CAP_SETGID"
                .into()
        })
        .hint_if(Errno::EINVAL, || {
            "no id may be mapped twice, inside or outside, and there may be 340 parts at most"
                .into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_line() {
        let part = |inside, outside, count| Extent { inside, outside, count };
        assert_eq!(text(&[part(0, 1000, 1), part(1, 5, 7)]), "0 1000 1\n1 5 7\n");
    }
}
