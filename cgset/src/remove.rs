//! Groups taken away: a group that is empty, and what is in it if that is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Failure, Tried, pid, shell, sys};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::group;
use crate::hierarchy::Layout;
use crate::step::{Step, explain, write};

/// How long the end of killed processes may take before a group counts as stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// The steps that remove a group of this name from every tree that has one.
pub fn plan(name: &str, layout: &Layout, kill: bool) -> Result<Vec<Step>, Failure> {
    let below = group::parse_name(name, layout)?;
    let groups = group::named(&below, &layout.0.iter().collect::<Vec<_>>());
    let dirs: Vec<PathBuf> =
        groups.into_iter().map(|group| group.dir).filter(|dir| dir.is_dir()).collect();
    if dirs.is_empty() {
        return Err(Failure::new(format!("remove the group {name:?}: there is none of this name"))
            .hint("find /sys/fs/cgroup -type d lists them"));
    }
    let inside: Vec<String> =
        dirs.iter().flat_map(|dir| inside(dir)).map(|pid| pid.to_string()).collect();
    if let (false, [first, ..]) = (kill, inside.as_slice()) {
        return Err(Failure::new(format!(
            "remove the group {name:?}: it has processes, {}",
            inside.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(" ")
        ))
        .hint(format!("see what it is: ps -p {first}; to kill them all: cgset rm --kill {name}")));
    }
    Ok(dirs.into_iter().map(|dir| Step::Remove { dir, kill }).collect())
}

/// The same in shell.
pub fn line(dir: &Path, kill: bool) -> String {
    let dir = shell::operand(dir);
    let remove = format!("find {dir} -depth -type d -exec rmdir {{}} \\;");
    if !kill {
        return remove;
    }
    format!(
        "find {dir} -name cgroup.procs -exec cat {{}} + | while read -r pid; do kill -KILL \"$pid\" \
         || :; done; while [ -d {dir} ]; do {remove} 2>/dev/null || sleep 0.1; done"
    )
}

/// The processes in a group and those in it.
fn inside(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let here = text.lines().filter_map(|line| pid::parse(line).ok());
    here.chain(inner(dir).iter().flat_map(|dir| inside(dir))).collect()
}

fn inner(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Removes a group with those in it. A process that has ended leaves its group a little later, so
/// "busy" may pass.
pub fn remove(dir: &Path, kill: bool) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        if kill {
            kill_all(dir)?;
        }
        match remove_tree(dir) {
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < end =>
            {
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            outcome => {
                return outcome.tried(|| format!("remove the group {dir:?}")).map_err(|failure| {
                    explain(failure).hint_if(Errno::EBUSY, || {
                        format!("processes are in it: cat {}/cgroup.procs", shell::operand(dir))
                    })
                });
            }
        }
    }
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for inner in inner(dir) {
        remove_tree(&inner)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// By `cgroup.kill` where there is one (v2 since Linux 5.14): new forks can't slip away from it.
fn kill_all(dir: &Path) -> Result<(), Failure> {
    let file = dir.join("cgroup.kill");
    if file.exists() {
        return write(&file, "1");
    }
    for pid in inside(dir) {
        // Over already, or not ours to kill: then the group stays busy, and that is said.
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            let _ = sys::pidfd_send_signal(pidfd, Signal::SIGKILL);
        }
    }
    Ok(())
}
