//! Descriptors for processes.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid};

use crate::file;
use crate::report::{Failure, Tried};
use crate::resident::is_readable;
use crate::sys;

/// Opens a process. A PID in its place could come to mean another process, so nothing else will do
/// where the call is denied, which the kernel itself does to nobody.
pub fn open(pid: Pid, what: impl FnOnce() -> String) -> Result<OwnedFd, Failure> {
    let lacking =
        || "it takes pidfd_open(2): Linux 5.3, and no filter (seccomp) that denies it".into();
    let failure = match sys::pidfd_open(pid).tried(what) {
        Ok(pidfd) => return Ok(pidfd),
        Err(failure) => failure,
    };
    Err(failure.hint_if(Errno::ENOSYS, lacking).hint_if(Errno::EPERM, lacking))
}

/// Whether the process has ended: what was found by its PID since it was opened may be another's then.
pub fn has_ended(pidfd: impl AsFd) -> nix::Result<bool> {
    is_readable(pidfd.as_fd())
}

/// Opens a process to send it signals: its folder in /proc will do for that where a pidfd is denied,
/// if it is a /proc of our own PID namespace. See `pidfd_send_signal(2)`.
pub fn open_to_signal(pid: Pid, what: impl FnOnce() -> String) -> Result<OwnedFd, Failure> {
    open(pid, what).or_else(|failure| match failure.kernel_said() {
        Some(Errno::ENOSYS | Errno::EPERM) if counts_as_we_do() => {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open_file(format!("/proc/{pid}").as_str(), flags, Mode::empty()).map_err(|_| failure)
        }
        _ => Err(failure),
    })
}

/// `NSpid` has a number for the namespace of /proc, and one for each below it, down to ours.
fn counts_as_we_do() -> bool {
    let status = file::text("/proc/self/status").unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.trim() == getpid().to_string())
}
