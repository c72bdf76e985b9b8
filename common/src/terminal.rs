//! The terminal's foreground process group: lent to COMMAND, and given back after it.
//!
//! In a PID namespace the caller's group has no number. A shell there can't put it back into the
//! foreground when it ends, and our caller's next read(2) from the terminal would stop it (SIGTTIN).
//!
//! SIGTTOU must be blocked: who changes the foreground is often in the background.

use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::sys::signal::killpg;
use nix::unistd::{Pid, getpgrp, read, tcgetpgrp, tcsetpgrp};

use crate::file;
use crate::sys;

/// The source, in the mount table, of a devpts that nsenter-lite has made for one command's terminal.
/// Nobody else's are in it: bindmount shows it to the command where it would make a new one.
pub const DEVPTS: &CStr = c"nsenter-lite";

/// The group `tty`, the same number everywhere; glibc expects terminals to have it.
pub const TTY: u32 = 5;

/// Whether that group is there: not in a user namespace whose map leaves it out. A kernel without
/// user namespaces has no map.
pub fn has_tty() -> bool {
    file::text("/proc/self/gid_map").map_or(true, |map| maps(&map, TTY))
}

/// Terminals of their own, for the group `tty` or not; `source` is the name in the mount table.
/// See devpts in the kernel's documentation.
pub fn new_devpts(source: &CStr, tty: bool) -> nix::Result<OwnedFd> {
    let group = CString::new(TTY.to_string()).unwrap_or_default();
    let options = [
        (c"newinstance", c""),
        (c"ptmxmode", c"0666"),
        (c"mode", c"0620"),
        (c"gid", group.as_c_str()),
    ];
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC;
    sys::new_mount_of(c"devpts", source, &options[..if tty { 4 } else { 3 }], attrs)
}

/// Whether a map of `user_namespaces(7)` has that number inside.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok());
        let (first, count) = (numbers.next(), numbers.nth(1));
        let distance = first.and_then(|first| id.checked_sub(first));
        distance.zip(count).is_some_and(|(distance, count)| distance < count)
    })
}

/// Whether this terminal is our session's and our group not in its foreground. Signals must be blocked.
pub fn is_in_background(terminal: impl AsFd) -> bool {
    let ours = getpgrp();
    match tcgetpgrp(&terminal) {
        // In a PID namespace all groups of outside are 0; but who reads, be it nothing, is told.
        Ok(group) if group == ours && ours.as_raw() == 0 => {
            read(terminal, &mut []) == Err(Errno::EIO)
        }
        Ok(group) => group != ours,
        Err(_) => false,
    }
}

/// The terminal of our session.
#[derive(Debug)]
pub struct Terminal {
    fd: OwnedFd,
    /// Our process group.
    ours: Pid,
    /// The one that it is lent to.
    lent: Option<Pid>,
    /// The last that it was lent to: a job of a shell inside.
    last: Option<Pid>,
}

impl Terminal {
    /// The terminal on a standard descriptor, if our process group is in its foreground.
    pub fn ours() -> Option<Self> {
        let ours = getpgrp();
        let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
        let fd = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
            .into_iter()
            .find(|fd| tcgetpgrp(fd) == Ok(ours))?
            .try_clone_to_owned()
            .ok()?;
        Some(Self { fd, ours, lent: None, last: None })
    }

    /// The terminal of our session, wherever the standard descriptors lead and whoever is in its
    /// foreground: it may be our turn later, by the shell's `fg`. To be called before another mount
    /// namespace is entered, whose /dev/tty may be anything.
    pub fn of_session() -> Option<Self> {
        let opened =
            OpenOptions::new().read(true).custom_flags(O_NOCTTY | O_NONBLOCK).open("/dev/tty");
        opened
            .ok()
            .map(|file| Self { fd: file.into(), ours: getpgrp(), lent: None, last: None })
            .filter(|terminal| terminal.foreground().is_some())
            // A small /dev may have none.
            .or_else(Self::ours)
    }

    /// Whether COMMAND gets it before it asks: not in a pipeline, where another may need it too.
    pub fn is_all_ours() -> bool {
        stdin().is_terminal() && stdout().is_terminal()
    }

    /// Notes that a group has taken it which is not ours, if that is so, as that of a shell which makes
    /// its own.
    pub fn taken_by(&mut self, group: Pid) {
        if group != self.ours && self.foreground() == Some(group) {
            self.lent = Some(group);
        }
    }

    /// Lends it to the group that had it last, else to this one, if it is ours to lend.
    pub fn lend(&mut self, group: Option<Pid>) -> bool {
        if !self.is_here() {
            // Somebody else's by now, as our caller's shell after it has stopped us.
            if self.foreground() != self.lent {
                self.lent = None;
            }
            return false;
        }
        let mut candidates = [self.last, group].into_iter().flatten();
        self.lent = candidates.find(|group| tcsetpgrp(&self.fd, *group).is_ok());
        self.lent.is_some()
    }

    /// Takes it back if it is lent, or with a group that is gone. Says whether it was away.
    pub fn take_back(&mut self) -> bool {
        let Some(group) = self.foreground().filter(|group| *group != self.ours) else {
            self.lent = None;
            return false;
        };
        if self.lent.take().is_none() && !is_gone(group) {
            return false;
        }
        self.last = Some(group);
        // Without the terminal's consent there is nothing more to be done.
        tcsetpgrp(&self.fd, self.ours).is_ok()
    }

    /// Whether COMMAND has it.
    pub fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Whether we have it.
    pub fn is_here(&self) -> bool {
        self.foreground() == Some(self.ours) && !is_in_background(&self.fd)
    }

    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.fd).ok()
    }
}

/// 0 is a group that was never ours to see.
fn is_gone(group: Pid) -> bool {
    group.as_raw() <= 0 || killpg(group, None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_in_the_map_or_not() {
        for (map, is) in [
            ("         0          0 4294967295\n", true),
            ("         0       1000          1\n", false),
            ("0 1000 1\n1 100000 4\n", false),
            ("0 1000 1\n1 100000 5\n", true),
            ("5 0 1\n", true),
            ("6 5 1\n", false),
            ("", false),
        ] {
            assert_eq!(maps(map, TTY), is, "{map:?}");
        }
    }
}
