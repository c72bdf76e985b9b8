//! What cgset does, step by step.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Line, Tried, exec, report, shell, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, geteuid};

use crate::hierarchy::gone;
use crate::setting::Write;
use crate::{remove, run};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A v2 group hands controllers down to those below.
    Enable { file: PathBuf, text: String },
    /// A new group.
    Make(PathBuf),
    /// A limit.
    Write(Write),
    /// A process goes from one group to another.
    Attach { pid: Pid, from: PathBuf, to: PathBuf },
    /// Something that people should know.
    Note(String),
    /// COMMAND, in these groups, to its end.
    Run { command: Vec<OsString>, dirs: Vec<PathBuf> },
    /// A group goes, and what runs in it if `kill`.
    Remove { dir: PathBuf, kill: bool },
    /// The group's path.
    Print(PathBuf),
    /// COMMAND's status becomes ours.
    End,
}

/// What is held while the steps are done.
#[derive(Debug, Default)]
pub struct Hands {
    /// What stood in the files that were written.
    before: Vec<String>,
    /// COMMAND's status.
    status: u8,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        Line::Run(match self {
            Self::Make(dir) => format!("mkdir {}", shell::operand(dir)),
            Self::Enable { file, text } | Self::Write(Write { file, text }) => echo(text, file),
            Self::Attach { pid, to, .. } => echo(&pid.to_string(), &to.join("cgroup.procs")),
            Self::Note(text) => format!("echo {} >&2", shell::word(format!("cgset: note: {text}"))),
            Self::Run { command, dirs } => {
                let join: String =
                    dirs.iter().map(|dir| echo("$$", &dir.join("cgroup.procs")) + "; ").collect();
                let script = shell::quote(&format!("{join}exec \"$@\""));
                format!("status=0; sh -e -c {script} sh {} || status=$?", exec::line(command))
            }
            Self::Remove { dir, kill } => remove::line(dir, *kill),
            Self::Print(dir) => format!("echo {}", shell::operand(dir)),
            Self::End => "exit \"$status\"".into(),
        })
    }

    fn why(&self) -> String {
        match self {
            Self::Enable { .. } => "the groups below get these controllers; cgroups(7)",
            Self::Make(_) => "a folder here is a control group; cgroups(7)",
            Self::Write(_) => "the limit, before anything is in the group; cgroups(7)",
            Self::Attach { .. } => "the process, and what it starts from now on; cgroups(7)",
            Self::Note(_) => "what is often overlooked",
            Self::Run { .. } => {
                "a child that joins the group and then becomes the command; \
                fork(2), execve(2)"
            }
            Self::Remove { .. } => "an empty group is removed as a folder is; rmdir(2)",
            Self::Print(_) => "for the next program",
            Self::End => "end as the command ended; exit(3)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Enable { file, text } => write(file, text)?,
            Self::Make(dir) => {
                fs::create_dir(dir).tried(|| format!("make the group {dir:?}")).map_err(explain)?;
            }
            Self::Write(wanted) => {
                hands.before.push(read(&wanted.file)?);
                set(wanted).inspect_err(|_| drop(hands.before.pop()))?;
            }
            Self::Attach { pid, from, to } => attach(*pid, from, to)?,
            Self::Note(text) => report::tell(&format!("cgset: note: {text}\n")),
            Self::Run { command, dirs } => hands.status = run::run(command, dirs)?,
            Self::Remove { dir, kill } => remove::remove(dir, *kill)?,
            Self::Print(dir) => report::print(&format!("{}\n", dir.display()))?,
            Self::End => return Ok(Flow::Done(hands.status)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Enable { file, text } => write(file, &text.replace('+', "-")),
            Self::Make(dir) => remove::remove(dir, false),
            Self::Write(wanted) => match hands.before.pop() {
                Some(before) if wanted.file.exists() => write(&wanted.file, &before),
                _ => Ok(()),
            },
            Self::Attach { pid, from, .. } => match move_to(*pid, from) {
                Err(failure) if failure.kernel_said() == Some(Errno::ESRCH) => Ok(()),
                outcome => outcome,
            },
            _ => Ok(()),
        }
    }
}

fn echo(text: &str, file: &Path) -> String {
    format!("echo {text} > {}", shell::operand(file))
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file).tried(|| format!("read {file:?}")).map_err(explain)?;
    Ok(text.trim_end().to_owned())
}

/// One write(2), for the kernel takes each for a command of its own; and its answer is looked at,
/// which a shell's echo does, but not every language's buffered file.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .tried(|| format!("write {text:?} to {file:?}"))
        .map_err(explain)
}

fn set(wanted: &Write) -> Result<(), Failure> {
    let Write { file, text } = wanted;
    write(file, text).map_err(|failure| {
        failure.hint_if(Errno::EBUSY, || {
            "more than that is in use, and cgroup v1 does not take it back; a limit from the start \
             holds: cgset mem SIZE -- COMMAND"
                .into()
        })
    })?;
    let shown = read(file)?;
    if wanted.agrees(&shown) {
        return Ok(());
    }
    Err(Failure::new(format!("write {text:?} to {file:?}: it reads back as {shown:?}")))
}

fn move_to(pid: Pid, dir: &Path) -> Result<(), Failure> {
    write(&dir.join("cgroup.procs"), &pid.to_string())
}

/// A number can come to mean another process at any time. The pidfd can't: if its process is over
/// after the move, it may have been another that was moved, and it is moved back.
fn attach(pid: Pid, from: &Path, to: &Path) -> Result<(), Failure> {
    let pidfd = sys::pidfd_open(pid).map_err(|errno| match errno {
        Errno::ESRCH => gone(pid),
        errno => Failure::errno(format!("open process {pid}"), errno),
    })?;
    move_to(pid, to).map_err(|failure| match failure.kernel_said() {
        Some(Errno::ESRCH) => gone(pid),
        _ => explain_attach(failure, pid, to),
    })?;
    if is_over(&pidfd)? {
        // Nobody is left to be moved back, as a rule.
        let _ = move_to(pid, from);
        return Err(gone(pid));
    }
    Ok(())
}

fn is_over(pidfd: &OwnedFd) -> Result<bool, Failure> {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO).tried(|| "look at the process")? > 0)
}

fn explain_attach(failure: Failure, pid: Pid, to: &Path) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || {
            format!("is {pid} a kernel thread, or a real-time task, which a v1 cpu group refuses?")
        })
        .hint_if(Errno::EBUSY, || {
            format!("{to:?} has inner groups with limits: attach to one of them")
        })
        .hint_if(Errno::EOPNOTSUPP, || {
            format!("{to:?} is not a domain, see its file cgroup.type: a group above is threaded")
        })
}

/// What stands behind an errno of the cgroup file system.
pub fn explain(failure: Failure) -> Failure {
    let privilege = || {
        if geteuid().is_root() {
            return "root lacks the right here, as in a container; its engine may delegate it"
                .into();
        }
        "that takes root (note that sudo echo X > FILE opens FILE as you: sudo cgset ...); or a \
         delegated group: systemd-run --user --scope -p Delegate=yes sh"
            .into()
    };
    failure
        .hint_if(Errno::EACCES, privilege)
        .hint_if(Errno::EPERM, privilege)
        .hint_if(Errno::EROFS, || {
            "the control groups are mounted read-only here, as in a container".into()
        })
        .hint_if(Errno::EAGAIN, || {
            "a group above limits their number: see its cgroup.max.descendants and \
             cgroup.max.depth"
                .into()
        })
        .hint_if(Errno::ENOENT, || {
            "the group is gone, or its parent does not hand this controller \
            down: see cgroup.subtree_control there"
                .into()
        })
}
