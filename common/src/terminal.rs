//! The terminal's foreground process group, given back after COMMAND.
//!
//! An interactive shell that is PID 1 of a PID namespace makes a group of its own and puts it in
//! the foreground. When it ends it can't put the old one back: from inside, that group has no
//! number. Our caller's next read(2) from the terminal would then stop it (SIGTTIN).

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// A terminal in whose foreground we were.
#[derive(Debug)]
pub struct Terminal {
    fd: OwnedFd,
    group: Pid,
}

impl Terminal {
    /// The terminal on a standard descriptor, if our process group is in its foreground.
    pub fn ours() -> Option<Self> {
        let group = getpgrp();
        let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
        let fd = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
            .into_iter()
            .find(|fd| tcgetpgrp(fd) == Ok(group))?
            .try_clone_to_owned()
            .ok()?;
        Some(Self { fd, group })
    }

    /// Takes it back from a group that is gone. SIGTTOU must be blocked: we ask from the background.
    pub fn take_back(&self) {
        if tcgetpgrp(&self.fd).is_ok_and(|group| group != self.group && is_gone(group)) {
            // Without the terminal's consent there is nothing more to be done.
            let _ = tcsetpgrp(&self.fd, self.group);
        }
    }
}

/// 0 is a group that was never ours to see.
fn is_gone(group: Pid) -> bool {
    group.as_raw() <= 0 || killpg(group, None) == Err(Errno::ESRCH)
}
