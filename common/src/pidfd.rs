//! Descriptors for processes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid};

use crate::report::{Failure, Tried};
use crate::resident::is_readable;
use crate::sys;
use crate::{file, pid};

/// Opens a process. A PID in its place could come to mean another process, so nothing else will do
/// where a filter denies the call; the kernel itself denies it to nobody.
pub fn open(pid: Pid, what: impl FnOnce() -> String) -> Result<OwnedFd, Failure> {
    let lacking =
        || "it takes pidfd_open(2): Linux 5.3, and no filter (seccomp) that denies it".into();
    let failure = match sys::pidfd_open(pid).tried(what) {
        Ok(pidfd) => return Ok(pidfd),
        Err(failure) => failure,
    };
    Err(failure.hint_if(Errno::ENOSYS, lacking).hint_if(Errno::EPERM, lacking))
}

/// The number that the process has in `/proc`, which may be that of a PID namespace above ours. See
/// `proc_pid_fdinfo(5)`.
pub fn pid_in_proc(pidfd: impl AsFd, what: impl Fn() -> String) -> Result<Pid, Failure> {
    let info = file::text(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))
        .tried(&what)
        .map_err(|failure| failure.hint_if(Errno::ENOENT, || pid::NO_PROC.into()))?;
    match file::field(&info, "Pid:").and_then(|number| number.parse().ok()) {
        None => {
            Err(Failure::usage(format!("{}: it is no pidfd", what()))
                .hint("pidfd_open(2) makes one"))
        }
        Some(0) => Err(Failure::new(format!("{}: it is not in /proc", what())).hint(pid::NO_PROC)),
        Some(..0) => Err(Failure::errno(what(), Errno::ESRCH)),
        Some(number) => Ok(Pid::from_raw(number)),
    }
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
    file::field(&status, "NSpid:").is_some_and(|numbers| numbers == getpid().to_string())
}
