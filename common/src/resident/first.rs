//! The first process of a PID namespace, to which the kernel delivers only the signals that it has a
//! handler for.

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::file;
use crate::sys::signal::set;

/// A child that may be one, and the `/proc` in which that is looked up.
#[derive(Debug)]
pub struct Perhaps {
    child: Pid,
    /// Opened before the child can cover it: they may share a mount namespace, in which it mounts
    /// a new proc that shows the child as 1.
    proc: Option<OwnedFd>,
}

impl Perhaps {
    /// Opens `/proc`.
    pub fn new(child: Pid) -> Self {
        let proc = open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok();
        Self { child, proc }
    }

    /// Whether the kernel would throw this signal away before it reaches the child.
    pub fn drops(&self, signal: c_int) -> bool {
        let Some(ours) = self.read("self/status") else { return false };
        let depth = numbers(&ours).len();
        self.status(depth).is_some_and(|child| {
            numbers(&child).get(depth..).and_then(<[_]>::last) == Some(&"1")
                && is_default(&child, signal)
        })
    }

    /// The child's `/proc/PID/status`. The proc may be one of a PID namespace above ours, and then
    /// has other numbers than we: `depth` is the place of ours among those that a process has.
    fn status(&self, depth: usize) -> Option<String> {
        let pid = self.child.to_string();
        let children = self.read("thread-self/children").unwrap_or_else(|| pid.clone());
        let mut statuses =
            children.split_whitespace().filter_map(|child| self.read(&format!("{child}/status")));
        statuses.find(|status| numbers(status).get(depth.saturating_sub(1)) == Some(&pid.as_str()))
    }

    fn read(&self, path: &str) -> Option<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(self.proc.as_ref()?, path, flags, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// The PIDs that a process has, in the namespace that the proc is of and in those below.
fn numbers(status: &str) -> Vec<&str> {
    file::field(status, "NSpid:").unwrap_or_default().split_whitespace().collect()
}

/// Neither caught nor ignored, nor blocked until somebody fetches it, as by sigwait(3).
fn is_default(status: &str, signal: c_int) -> bool {
    ["SigBlk:", "SigIgn:", "SigCgt:"].into_iter().all(|name| {
        let found = file::field(status, name).and_then(|found| u64::from_str_radix(found, 16).ok());
        found.is_some_and(|found| found & set(signal) == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = "Name:\tsh\nPPid:\t41\nNSpid:\t42\t7\t1\nSigBlk:\t0000000000000000\n\
        SigIgn:\t0000000000000002\nSigCgt:\t0000000000004000\n";

    #[test]
    fn a_process_has_a_number_in_each_namespace() {
        assert_eq!(numbers(INIT), ["42", "7", "1"]);
        assert_eq!(numbers("Name:\tsh\n"), [""; 0]);
    }

    #[test]
    fn a_signal_is_default_if_no_set_has_it() {
        assert!(is_default(INIT, libc::SIGHUP));
        assert!(!is_default(INIT, libc::SIGINT), "ignored");
        assert!(!is_default(INIT, libc::SIGTERM), "caught");
        assert!(!is_default(&INIT.replace("Blk:\t0000000000000000", "Blk:\t1"), libc::SIGHUP));
        assert!(!is_default("", libc::SIGHUP), "who knows");
    }
}
