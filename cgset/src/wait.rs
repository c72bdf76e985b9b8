//! Nothing is done until something has happened to a group. The kernel tells of it by poll(2); only
//! with v1's freezer one has to ask again and again.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Failure, Tried, shell, sys};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::control::{explain, read, write};
use crate::freeze::switch;
use crate::group::{self, inside_any};
use crate::pressure::Trigger;
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
    /// Processes are held up, from now on, as much as this.
    Stall(Trigger),
}

/// Those of one word.
pub const EVENTS: [(&str, Event); 3] =
    [("empty", Event::Empty), ("frozen", Event::Frozen), ("oom", Event::Oom)];

/// How soon one looks again where nobody tells, in milliseconds.
const AGAIN: u8 = 200;

/// How soon one looks whether the group is still there: rmdir(2) wakes nobody who polls its files.
const REMOVED: Duration = Duration::from_secs(1);

/// Waits for an event.
pub fn wait(event: Event, dirs: &[PathBuf]) -> Result<(), Failure> {
    match event {
        Event::Empty => empty(dirs),
        Event::Frozen => frozen(dirs),
        Event::Oom => oom(dirs),
        Event::Stall(trigger) => trigger.wait(dirs),
    }
}

/// A process tells of its end by its descriptor. If it goes to another group, v2 tells; v1 does
/// not, so that there one has to look again.
fn empty(dirs: &[PathBuf]) -> Result<(), Failure> {
    let file = group::file(dirs, &["cgroup.events"]);
    let events = file.as_ref().and_then(|file| Some((File::open(file).ok()?, file)));
    loop {
        // Read before we look, so that the kernel tells of what comes after.
        let populated = |(open, file): &(File, &PathBuf)| read_again(open, file).ok();
        let text = events.as_ref().and_then(populated);
        let told = text.is_some_and(|text| text.contains("populated 1"));
        let inside = inside_any(dirs);
        if inside.is_empty() {
            return Ok(());
        }
        let first = inside.into_iter().find_map(|pid| sys::pidfd_open(pid).ok());
        let Some(pidfd) = &first else { continue };
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if let (true, Some((open, _))) = (told, &events) {
            fds.push(PollFd::new(open.as_fd(), PollFlags::POLLPRI));
        }
        let timeout = if told { PollTimeout::NONE } else { AGAIN.into() };
        poll(&mut fds, timeout).tried(|| "wait for a process")?;
    }
}

fn frozen(dirs: &[PathBuf]) -> Result<(), Failure> {
    let (file, text) = switch(&dirs[0].to_string_lossy(), dirs, true)?;
    if file.ends_with("cgroup.freeze") {
        let events = file.with_file_name("cgroup.events");
        return watch(&events, Duration::MAX, |text| text.contains("frozen 1")).map(drop);
    }
    while read(&file)? != text {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// v2 tells by the file itself; v1 by an eventfd that is handed to the group.
fn oom(dirs: &[PathBuf]) -> Result<(), Failure> {
    let before = kills(dirs);
    if let Some(file) = group::file(dirs, &["memory.events"]) {
        return watch(&file, Duration::MAX, |_| kills(dirs) > before).map(drop);
    }
    let Some(file) = group::file(dirs, &["memory.oom_control"]) else {
        return Err(Failure::new("wait for an OOM kill: the group has no limits of memory")
            .hint("cgset mem SIZE --group GROUP sets one"));
    };
    let told = v1_oom(&file)?;
    let mut timeout = PollTimeout::NONE;
    while kills(dirs) == before {
        let mut fds = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).tried(|| format!("wait for {file:?}"))?;
        if !file.exists() {
            return Err(removed(&file));
        }
        // Memory has run out; the count follows a moment later, when somebody has been killed.
        timeout = PollTimeout::from(10u8);
    }
    Ok(())
}

/// What v1 counts up when memory runs out in a group, and when the group goes.
pub fn v1_oom(file: &Path) -> Result<EventFd, Failure> {
    let control = File::open(file).tried(|| format!("open {file:?}"))?;
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let told = EventFd::from_flags(flags).tried(|| "open an event descriptor")?;
    let ask = format!("{} {}", number(&told), number(&control));
    write(&file.with_file_name("cgroup.event_control"), &ask)?;
    Ok(told)
}

fn number(fd: &impl AsFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd()
}

/// Waits until a file of events is as wanted; says whether it is, or patience is over.
pub fn watch(
    file: &Path,
    patience: Duration,
    good: impl Fn(&str) -> bool,
) -> Result<bool, Failure> {
    // Opened before it is read, so that no change is missed: the kernel counts from here.
    let open = File::open(file).tried(|| format!("open {file:?}")).map_err(explain)?;
    let end = Instant::now().checked_add(patience);
    loop {
        let text = read_again(&open, file)?;
        if good(&text) {
            return Ok(true);
        }
        let left = end.map_or(REMOVED, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left.min(REMOVED)).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(open.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, timeout).tried(|| format!("wait for {file:?}"))?;
    }
}

/// Reads from the start, after which the kernel tells of the next change.
pub fn read_again(mut open: &File, file: &Path) -> Result<String, Failure> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    let read = open.rewind().and_then(|()| open.read_to_string(&mut text));
    read.tried(|| format!("read {file:?}")).map_err(|failure| match failure.kernel_said() {
        Some(Errno::ENODEV) => removed(file),
        _ => explain(failure),
    })?;
    Ok(text)
}

/// The group of this file is there no more.
pub fn removed(file: &Path) -> Failure {
    Failure::new(format!("wait for {file:?}: the group is gone"))
        .hint("somebody has removed it meanwhile")
}

/// The same in shell, where one has to look again and again.
pub fn line(event: Event, dirs: &[PathBuf]) -> String {
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
        Event::Stall(trigger) => trigger.line(dirs),
    }
}
