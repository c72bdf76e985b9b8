//! A process moved from one group to another, by its number, and by its number alone: the kernel
//! has no other way.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use common::{Failure, Tried, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::control::write;
use crate::process::{gone, or_gone};

/// Moves it.
///
/// A number can come to mean another process at any time. A pidfd can't: if its process is over
/// after the move, it may have been another that was moved, and that is moved back.
pub fn attach(pid: Pid, from: &Path, to: &Path) -> Result<(), Failure> {
    let pidfd =
        sys::pidfd_open(pid).tried(|| format!("open process {pid}")).map_err(or_gone(pid))?;
    move_to(pid, to).map_err(|failure| explain(failure, pid, to))?;
    if is_over(&pidfd)? {
        // Nobody is left to be moved back, as a rule.
        let _ = move_to(pid, from);
        return Err(gone(pid));
    }
    Ok(())
}

/// Moves it, if it is still there.
pub fn move_if_there(pid: Pid, to: &Path) -> Result<(), Failure> {
    match move_to(pid, to) {
        Err(failure) if failure.kernel_said() == Some(Errno::ESRCH) => Ok(()),
        outcome => outcome,
    }
}

fn move_to(pid: Pid, dir: &Path) -> Result<(), Failure> {
    write(&dir.join("cgroup.procs"), &pid.to_string())
}

fn is_over(pidfd: &OwnedFd) -> Result<bool, Failure> {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO).tried(|| "look at the process")? > 0)
}

fn explain(failure: Failure, pid: Pid, to: &Path) -> Failure {
    if failure.kernel_said() == Some(Errno::ESRCH) {
        return gone(pid);
    }
    failure
        .hint_if(Errno::EINVAL, || {
            format!("is {pid} a kernel thread, or a real-time task, which a v1 cpu group refuses?")
        })
        .hint_if(Errno::ENOSPC, || {
            "with cgroup v1 both must be set first: cgset cpuset.cpus LIST cpuset.mems LIST".into()
        })
        .hint_if(Errno::EBUSY, || {
            format!("{to:?} has inner groups with limits: attach to one of them")
        })
        .hint_if(Errno::EOPNOTSUPP, || {
            format!("{to:?} is not a domain, see its file cgroup.type: a group above is threaded")
        })
}
