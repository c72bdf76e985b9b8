//! All processes of a group at once: stopped and let go on, ended, waited for. The kernel tells of
//! changes by poll(2); only with v1's freezer one has to ask again and again.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Failure, Tried, shell, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;

use crate::control::{explain, read, write};
use crate::group::{self, inside, inside_any};
use crate::remove::kill_all;
use crate::run::kills;

/// What one can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No process is inside any more.
    Empty,
    /// All processes are stopped.
    Frozen,
    /// The kernel has killed for memory, from now on.
    Oom,
}

pub const EVENTS: [(&str, Event); 3] =
    [("empty", Event::Empty), ("frozen", Event::Frozen), ("oom", Event::Oom)];

/// How long the kernel may take for what is under way: some milliseconds, as a rule.
const PATIENCE: Duration = Duration::from_secs(5);

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
        "freeze the group {name:?}: its processes are neither in a cgroup v2 tree nor in that of \
         v1's freezer"
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
        return watch(&events, PATIENCE, |text| text.lines().any(|line| line == wanted));
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
        ended(&held, Some(end))?;
    }
    Ok(())
}

/// Waits for an event.
pub fn wait(event: Event, dirs: &[PathBuf]) -> Result<(), Failure> {
    match event {
        Event::Empty => loop {
            let held = pidfds(dirs);
            if held.is_empty() && inside_any(dirs).is_empty() {
                return Ok(());
            }
            ended(&held, None)?;
        },
        Event::Frozen => {
            let (file, text) = switch(&dirs[0].to_string_lossy(), dirs, true)?;
            if file.ends_with("cgroup.freeze") {
                let events = file.with_file_name("cgroup.events");
                return watch(&events, Duration::MAX, |text| text.contains("frozen 1"));
            }
            while read(&file)? != text {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        Event::Oom => oom(dirs),
    }
}

/// v2 tells by the file itself; v1 by an eventfd that is handed to the group.
fn oom(dirs: &[PathBuf]) -> Result<(), Failure> {
    let before = kills(dirs);
    if let Some(file) = group::file(dirs, &["memory.events"]) {
        return watch(&file, Duration::MAX, |_| kills(dirs) > before);
    }
    let Some(file) = group::file(dirs, &["memory.oom_control"]) else {
        return Err(Failure::new("wait for an OOM kill: the group has no limits of memory")
            .hint("cgset mem SIZE --group GROUP sets one"));
    };
    let control = File::open(&file).tried(|| format!("open {file:?}"))?;
    let told = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).tried(|| "open an event descriptor")?;
    let ask = format!("{} {}", number(&told), number(&control));
    write(&file.with_file_name("cgroup.event_control"), &ask)?;
    let mut timeout = PollTimeout::NONE;
    while kills(dirs) == before {
        let mut fds = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).tried(|| format!("wait for {file:?}"))?;
        if !file.exists() {
            return Err(Failure::new(format!("wait for {file:?}: the group is gone")));
        }
        // Memory has run out; the count follows a moment later, when somebody has been killed.
        timeout = PollTimeout::from(10u8);
    }
    Ok(())
}

fn number(fd: &impl AsFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd()
}

/// Waits until a file of events is as wanted.
fn watch(file: &Path, patience: Duration, good: impl Fn(&str) -> bool) -> Result<(), Failure> {
    // Opened before it is read, so that no change is missed: the kernel counts from here.
    let open = File::open(file).tried(|| format!("open {file:?}")).map_err(explain)?;
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::NONE);
    loop {
        let text = read_again(&open, file)?;
        if good(&text) {
            return Ok(());
        }
        let mut fds = [PollFd::new(open.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut fds, timeout).tried(|| format!("wait for {file:?}"))? == 0 {
            return Err(late(file));
        }
    }
}

fn read_again(mut open: &File, file: &Path) -> Result<String, Failure> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    let read = open.rewind().and_then(|()| open.read_to_string(&mut text));
    read.tried(|| format!("read {file:?}")).map_err(explain)?;
    Ok(text)
}

/// The processes inside, held by descriptors.
fn pidfds(dirs: &[PathBuf]) -> Vec<OwnedFd> {
    let pids = inside_any(dirs).into_iter();
    pids.filter_map(|pid| sys::pidfd_open(pid).ok()).collect()
}

/// Waits until one of them after the other has ended.
fn ended(held: &[OwnedFd], end: Option<Instant>) -> Result<(), Failure> {
    for pidfd in held {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::NONE)
        });
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

/// The same in shell, where one has to look again and again.
pub fn wait_line(event: Event, dirs: &[PathBuf]) -> String {
    let list = |name: &str| {
        let files: Vec<String> = dirs.iter().map(|dir| shell::operand(dir.join(name))).collect();
        files.join(" ")
    };
    match event {
        Event::Empty => format!(
            "while [ -n \"$(cat {} 2>/dev/null)\" ]; do sleep 0.1; done",
            list("cgroup.procs")
        ),
        Event::Frozen => {
            format!(
                "until grep -q 'frozen 1' {} 2>/dev/null; do sleep 0.1; done",
                list("cgroup.events")
            )
        }
        Event::Oom => format!(
            "oom() {{ cat {} {} 2>/dev/null | grep 'oom_kill '; }}; before=$(oom); \
             while [ \"$(oom)\" = \"$before\" ]; do sleep 0.1; done",
            list("memory.events"),
            list("memory.oom_control")
        ),
    }
}
