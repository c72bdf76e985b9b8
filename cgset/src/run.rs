//! COMMAND in its groups, from its first instruction to its end.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use common::resident::{self, Side};
use common::{Failure, Tried, exec, report, size};
use nix::sys::signal::SigSet;
use nix::unistd::getpid;

use crate::control::write;
use crate::setting::{MEMORY_LIMIT, limit, read_number};
use crate::{attach, group};

/// Runs it; gives its status. With v2 a child is born in its group. v1 has nothing of the kind: there
/// the child joins itself before it becomes COMMAND, so that COMMAND has no moment outside of them.
pub fn run(command: &[OsString], dirs: &[PathBuf], mask: SigSet) -> Result<u8, Failure> {
    let kills_before = kills(dirs);
    let v2 = group::v2(dirs);
    let birthplace = v2.and_then(|dir| File::open(dir).ok());
    let child = match resident::fork_into(birthplace.as_ref())? {
        (Side::Parent(child), _) => child,
        (Side::Child, inside) => {
            let left = dirs.iter().filter(|dir| !(inside && Some(*dir) == v2));
            return Err(join(left, command, mask).in_child());
        }
    };
    let status = child.wait()?;
    let kills = kills(dirs).saturating_sub(kills_before);
    if kills > 0 {
        report::tell(&format!("cgset: {}\n", obituary(dirs, kills)));
    }
    Ok(status)
}

/// `0` means whoever writes it.
fn join<'a>(
    mut dirs: impl Iterator<Item = &'a PathBuf>,
    command: &[OsString],
    mask: SigSet,
) -> Failure {
    let joined = dirs.try_for_each(|dir| {
        let joined = write(&dir.join("cgroup.procs"), "0");
        joined.map_err(|failure| attach::explain(failure, getpid(), dir))
    });
    let joined = joined.and_then(|()| mask.thread_set_mask().tried(|| "restore the signal mask"));
    joined.map_or_else(|failure| failure, |()| exec::exec(command))
}

/// How often the kernel has killed for memory in these groups.
pub fn kills(dirs: &[PathBuf]) -> u64 {
    let files = ["memory.events", "memory.oom_control"];
    let counts = dirs.iter().flat_map(|dir| files.map(|file| count(&dir.join(file))));
    counts.flatten().sum()
}

fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.parse().ok())
}

/// `killed by the memory limit: 10 MiB, peak 10 MiB (1 OOM kill)`
fn obituary(dirs: &[PathBuf], kills: u64) -> String {
    let show = |number: Option<u64>| number.map_or_else(|| "none here".into(), size::human);
    let allowed = group::file(dirs, &MEMORY_LIMIT);
    let peak = group::file(dirs, &["memory.peak", "memory.max_usage_in_bytes"]);
    let allowed = allowed.and_then(|file| limit(&file).ok()?);
    let peak = peak.and_then(|file| read_number(&file).ok()?);
    let plural = if kills == 1 { "" } else { "s" };
    let peak = peak.map(|bytes| format!(", peak {}", size::human(bytes))).unwrap_or_default();
    format!("killed by the memory limit: {}{peak} ({kills} OOM kill{plural})", show(allowed))
}
