//! All processes of a group at once: stopped and let go on, and ended.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Failure, Tried, shell, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::control::{read, write};
use crate::group::{inside, inside_any};
use crate::remove::kill_all;
use crate::wait::watch;

/// How long the kernel may take for what is under way: some milliseconds, as a rule.
const PATIENCE: Duration = Duration::from_secs(5);

/// What it is called.
pub fn verb(freeze: bool) -> &'static str {
    if freeze { "freeze" } else { "thaw" }
}

/// The file that freezes a group, and what is written to it. It must be that of all its processes:
/// where each controller has a tree of its own, one may be in this tree and not in that.
pub fn switch(
    name: &str,
    dirs: &[PathBuf],
    freeze: bool,
) -> Result<(PathBuf, &'static str), Failure> {
    for (file, on, off) in [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")] {
        let Some(dir) = dirs.iter().find(|dir| dir.join(file).exists()) else { continue };
        let missing = || {
            let (all, there) = (inside_any(dirs), inside(dir));
            all.into_iter().filter(move |pid| !there.contains(pid))
        };
        // Some may end while we look: who is missing twice is really elsewhere.
        let once: Vec<Pid> = missing().collect();
        if once.is_empty() || !missing().any(|pid| once.contains(&pid)) {
            return Ok((dir.join(file), if freeze { on } else { off }));
        }
    }
    Err(Failure::new(format!(
        "{} the group {name:?}: its processes are neither in a cgroup v2 tree nor in that of \
         v1's freezer",
        verb(freeze)
    ))
    .hint("move them into one that is: cgset --group GROUP PID..."))
}

/// Freezes or thaws, and returns when that is so; gives what stood there before. What can't be
/// finished is taken back.
pub fn freeze(file: &Path, text: &str) -> Result<String, Failure> {
    let before = read(file)?;
    write(file, text)?;
    until(file, text).inspect_err(|_| {
        // Why it could not be finished says more than why it could not be taken back.
        let _ = write(file, &before);
    })?;
    Ok(before)
}

fn until(file: &Path, text: &str) -> Result<(), Failure> {
    if file.ends_with("cgroup.freeze") {
        let wanted = format!("frozen {text}");
        let events = file.with_file_name("cgroup.events");
        let told = watch(&events, PATIENCE, |text| text.lines().any(|line| line == wanted))?;
        return if told { Ok(()) } else { Err(late(&events)) };
    }
    // v1 looks whether all have stopped only when it is asked, and tells nobody.
    let end = Instant::now() + PATIENCE;
    while read(file)? != text {
        if Instant::now() > end {
            return Err(late(file));
        }
        write(file, text)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Ends all processes; returns when the last one has gone. A frozen one can be killed with v2; with
/// v1 it takes the signal when it is let go on.
pub fn kill(dirs: &[PathBuf]) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !inside_any(dirs).is_empty() {
        if Instant::now() > end {
            let dir = dirs.iter().find(|dir| !inside(dir).is_empty());
            return Err(late(dir.map_or(Path::new(""), PathBuf::as_path)));
        }
        let held = pidfds(dirs);
        for dir in dirs {
            kill_all(dir)?;
        }
        ended(&held, end)?;
    }
    Ok(())
}

/// The processes inside, held by descriptors.
fn pidfds(dirs: &[PathBuf]) -> Vec<OwnedFd> {
    let pids = inside_any(dirs).into_iter();
    pids.filter_map(|pid| sys::pidfd_open(pid).ok()).collect()
}

/// Waits until one of them after the other has ended.
fn ended(held: &[OwnedFd], end: Instant) -> Result<(), Failure> {
    for pidfd in held {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::NONE);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).tried(|| "wait for a process")?;
    }
    Ok(())
}

fn late(file: &Path) -> Failure {
    Failure::new(format!("wait for {file:?}: it has not happened in {} s", PATIENCE.as_secs()))
        .hint("a process in state D, see ps, can be neither stopped nor ended before it leaves it")
}

/// The same in shell.
pub fn kill_line(dirs: &[PathBuf]) -> String {
    let list = dirs.iter().map(shell::operand).collect::<Vec<_>>().join(" ");
    format!(
        "for pid in $(find {list} -name cgroup.procs -exec cat {{}} + | sort -u); do \
         kill -KILL \"$pid\" || :; done"
    )
}
