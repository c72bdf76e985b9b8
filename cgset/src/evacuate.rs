//! All processes of a group moved into an inner one, so that the group may limit those below: with
//! v2 it must not have any of its own then.

use std::path::Path;

use common::{Failure, Tried, file, pid, shell};
use nix::unistd::Pid;

use crate::attach;

/// So often it is looked for what has been forked meanwhile.
const TRIES: usize = 100;

/// Moves them; gives those that have been moved. All, or none.
pub fn evacuate(from: &Path, to: &Path) -> Result<Vec<Pid>, Failure> {
    let mut moved = Vec::new();
    let outcome = move_all(from, to, &mut moved);
    if outcome.is_err() {
        // Why they could not be moved says more than why they could not be moved back.
        let _ = take_back(&moved, from);
    }
    outcome.map(|()| moved)
}

/// Moves those that are still there.
pub fn take_back(moved: &[Pid], from: &Path) -> Result<(), Failure> {
    moved.iter().try_for_each(|pid| attach::move_if_there(*pid, from))
}

fn move_all(from: &Path, to: &Path, moved: &mut Vec<Pid>) -> Result<(), Failure> {
    let file = from.join("cgroup.procs");
    for _ in 0..TRIES {
        let text = file::text(&file).tried(|| format!("read {file:?}"))?;
        if text.is_empty() {
            return Ok(());
        }
        for word in text.lines() {
            // The kernel shows as 0 what has no number in our PID namespace; and takes 0 for us.
            let pid = pid::parse(word).map_err(|_| {
                Failure::new(format!(
                    "move the processes of {from:?}: one of them is outside of this PID namespace"
                ))
                .hint("run cgset outside of the container")
            })?;
            attach::move_if_there(pid, to)?;
            moved.push(pid);
        }
    }
    Err(Failure::new(format!("move the processes of {from:?}: there are always new ones"))
        .hint("freeze the group first: cgset freeze GROUP"))
}

/// The same in shell.
pub fn line(from: &Path, to: &Path) -> String {
    let (from, to) = (from.join("cgroup.procs"), to.join("cgroup.procs"));
    format!(
        "for pid in $(cat {}); do echo \"$pid\" > {}; done",
        shell::operand(from),
        shell::operand(to)
    )
}
