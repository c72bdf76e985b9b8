//! Groups taken away: a group that is empty, and what is in it if that is asked for.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::sys::{self, signal};
use common::{Failure, Tried, shell};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Pid, getpid};

use crate::cli::INIT;
use crate::control::{explain, write};
use crate::group::{self, inner, inside, inside_any};
use crate::hierarchy::Hierarchy;
use crate::process;
use crate::step::Step;

/// How long the end of killed processes may take before a group counts as stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// The step that removes a group, which has these folders.
pub fn plan(name: &str, dirs: Vec<PathBuf>, kill: bool) -> Result<Step, Failure> {
    let mut inside = inside_any(&dirs);
    inside.sort_unstable();
    inside.dedup();
    spare("remove", name, &inside)?;
    if let (false, [first, ..]) = (kill, inside.as_slice()) {
        return Err(Failure::new(format!(
            "remove the group {name:?}: it holds processes: {}",
            process::list(&inside)
        ))
        .hint(format!("see what it is: ps -p {first}; to kill them all: cgset rm --kill {name}")));
    }
    Ok(Step::Remove { dirs, kill })
}

/// Refuses to stop or end this process, and the one that all hang on.
pub fn spare(verb: &str, name: &str, inside: &[Pid]) -> Result<(), Failure> {
    let Some(pid) = inside.iter().find(|pid| [INIT, getpid()].contains(pid)) else {
        return Ok(());
    };
    let who = if *pid == INIT { "process 1" } else { "this very cgset" };
    Err(Failure::new(format!("{verb} the group {name:?}: {who} is in it"))
        .hint("cgset show lists what is in a group"))
}

/// The groups that cgset has named after processes that are gone, and in which nobody is: what is
/// left of a cgset that was killed, or of a process that has ended.
pub fn abandoned(trees: &[&Hierarchy]) -> Vec<PathBuf> {
    fn look(dir: &Path, namespace: &str, found: &mut Vec<PathBuf>) {
        for dir in inner(dir) {
            look(&dir, namespace, found);
            let owner = group::owner(&dir, namespace);
            let gone = owner.is_some_and(|pid| !common::pid::exists(pid));
            if gone && inside(&dir).is_empty() {
                found.push(dir);
            }
        }
    }
    let (namespace, mut found) = (group::namespace(), Vec::new());
    for tree in trees {
        look(&tree.mount, &namespace, &mut found);
    }
    found
}

/// The same in shell.
pub fn line(dirs: &[PathBuf], kill: bool) -> String {
    let list = dirs.iter().map(shell::operand).collect::<Vec<_>>().join(" ");
    if !kill {
        return format!("find {list} -depth -type d -exec rmdir {{}} +");
    }
    format!(
        "for group in {list}; do while [ -d \"$group\" ]; do \
         find \"$group\" -name cgroup.procs -exec cat {{}} + | \
         while read -r pid; do kill -KILL \"$pid\" || :; done; \
         find \"$group\" -depth -type d -exec rmdir {{}} + || sleep 0.1; \
         done 2>/dev/null; done"
    )
}

/// Removes a group with those in it. A process that has ended leaves its group a little later, so
/// "busy" may pass.
pub fn remove(dir: &Path, kill: bool) -> Result<(), Failure> {
    // As a rule nobody is left there, and no group: the kernel knows that best. But where it is
    // mounted read-only, it says that first also of what is not there.
    if remove_one(dir).is_ok() || !dir.exists() {
        return Ok(());
    }
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
                    explain(failure).hint_if(Errno::EBUSY, || match inside(dir).as_slice() {
                        [] => "processes of another PID namespace are in it, which have no number \
                               here"
                            .into(),
                        pids => format!("processes are in it: {}", process::list(pids)),
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
    remove_one(dir)
}

fn remove_one(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// By `cgroup.kill` where there is one (v2 since Linux 5.14): new forks can't slip away from it.
/// Else by number; which process that is, is certain if it is inside with the pidfd already open.
pub fn kill_all(dir: &Path) -> Result<(), Failure> {
    let file = dir.join("cgroup.kill");
    let killed = if file.exists() { write(&file, "1") } else { kill_each(dir) };
    // The end of the last one has its cgset remove the group, maybe before this one came to it.
    killed.or_else(|failure| if dir.exists() { Err(failure) } else { Ok(()) })
}

fn kill_each(dir: &Path) -> Result<(), Failure> {
    let held = inside(dir).into_iter().filter_map(|pid| Some((pid, sys::pidfd_open(pid).ok()?)));
    let held: Vec<(Pid, OwnedFd)> = held.collect();
    let still = inside(dir);
    for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        // Over already, or not ours to kill: then the group stays busy, and that is said.
        let _ = signal::pidfd_send_signal(pidfd, libc::SIGKILL, None);
    }
    // With v1 a frozen process takes no signal, not even this one.
    let freezer = dir.join("freezer.state");
    if freezer.exists() { write(&freezer, "THAWED") } else { Ok(()) }
}
