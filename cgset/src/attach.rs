//! A process moved from one group to another, by its number, and by its number alone: the kernel
//! has no other way.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use common::{Failure, Tried, file, pidfd};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, Pid, access};

use crate::control::write;
use crate::process::gone;
use crate::{group, process};

/// What it is to us that a process has ended before it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked for.
    Fails,
    /// It was one of a list, which somebody has made earlier.
    IsNoted,
    /// As before, where nobody wants to read notes.
    IsIgnored,
}

/// Moves it; says whether it was there.
///
/// A number can come to mean another process at any time. A pidfd can't: if its process is over
/// after the move, it may have been another that was moved, and that is moved back.
pub fn attach(pid: Pid, from: &Path, to: &Path) -> Result<bool, Failure> {
    let is_gone = |failure: &Failure| failure.kernel_said() == Some(Errno::ESRCH);
    let pidfd = match pidfd::open(pid, || format!("open process {pid}")) {
        Err(failure) if is_gone(&failure) => return Ok(false),
        outcome => outcome?,
    };
    match move_new(pid, to) {
        Err(failure) if is_gone(&failure) => return Ok(false),
        outcome => outcome
            .map_err(|failure| explain(failure, pid, to))
            .map_err(|failure| explain_right(failure, from, to))?,
    }
    let over = pidfd::has_ended(&pidfd).tried(|| "look at the process")?;
    if over {
        // Nobody is left to be moved back, as a rule.
        let _ = move_to(pid, from);
    }
    Ok(!over)
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

/// For a moment after its start, the kernel refuses to move a process.
fn move_new(pid: Pid, dir: &Path) -> Result<(), Failure> {
    for _ in 0..5 {
        match move_to(pid, dir) {
            Err(failure)
                if failure.kernel_said() == Some(Errno::EINVAL) && !process::is_real_time(pid) =>
            {
                sleep(Duration::from_millis(30));
            }
            outcome => return outcome,
        }
    }
    move_to(pid, dir)
}

/// What stands behind the refusal of a process.
pub fn explain(failure: Failure, pid: Pid, to: &Path) -> Failure {
    if failure.kernel_said() == Some(Errno::ESRCH) {
        return gone(pid);
    }
    failure
        .hint_if(Errno::EINVAL, || {
            if process::is_real_time(pid) {
                return format!(
                    "{pid} is a real-time process, and {to:?} has no time for such: \
                     chrt --other --pid 0 {pid}, or write some to cpu.rt_runtime_us there"
                );
            }
            format!("is {pid} a thread of the kernel?")
        })
        .hint_if(Errno::ENOSPC, || {
            "with cgroup v1 both must be set first: cgset cpuset.cpus LIST cpuset.mems LIST".into()
        })
        .hint_if(Errno::ENOMEM, || {
            "what it holds is to come along (memory.move_charge_at_immigrate), and does not fit \
             into the limit"
                .into()
        })
        .hint_if(Errno::EBUSY, || {
            format!("{to:?} has inner groups with limits: attach to one of them: {:?}", leaf(to))
        })
        .hint_if(Errno::EOPNOTSUPP, || threaded(to))
}

/// The first group in a group that has none in it.
fn leaf(dir: &Path) -> PathBuf {
    group::inner(dir).first().map_or_else(|| dir.to_owned(), |inner| leaf(inner))
}

/// In a threaded group threads share what is limited for each; those below are no place for a
/// process of another group.
fn threaded(to: &Path) -> String {
    let kind = |dir: &Path| {
        let text = file::text(dir.join("cgroup.type")).unwrap_or_default();
        text.trim().to_owned()
    };
    let above = to.ancestors().skip(1).find(|dir| kind(dir).contains("threaded"));
    let above = above.map(|above| format!(", for {above:?} is {:?}", kind(above)));
    format!("{to:?} is {:?}{} (cgroup.type)", kind(to), above.unwrap_or_default())
}

/// With v2 a process is moved by whoever may write to the group above both.
fn explain_right(failure: Failure, from: &Path, to: &Path) -> Failure {
    let may = |dir: &Path| access(&dir.join("cgroup.procs"), AccessFlags::W_OK).is_ok();
    let both = to.ancestors().find(|above| from.starts_with(above));
    match both.filter(|both| may(to) && !may(both)) {
        Some(both) => failure.hint_if(Errno::EACCES, || {
            format!(
                "it comes from {from:?}, and that takes the right to write to {:?}: sudo cgset ..., \
                 or start inside: systemd-run --user --scope -p Delegate=yes sh",
                both.join("cgroup.procs")
            )
        }),
        None => failure,
    }
}
