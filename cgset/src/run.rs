//! COMMAND in its groups, from its first instruction to its end.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use common::resident::{self, Side};
use common::{Failure, Form, Tried, exec, file, report, size, sys};
use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use nix::unistd::{getpid, pipe2};

use crate::control::write;
use crate::setting::{MEMORY_LIMIT, limit, read_number};
use crate::{attach, group};

/// Runs it; gives its status. With v2 a child is born in its group. v1 has nothing of the kind: there
/// the child joins itself before it becomes COMMAND, so that COMMAND has no moment outside of them.
///
/// A child that does not become COMMAND tells why by a pipe. It is closed by the exec, so that a
/// COMMAND of the same status is not mistaken for one that could not be run.
pub fn run(command: &[OsString], doors: &[PathBuf], mask: SigSet) -> Result<u8, Failure> {
    let dirs: Vec<PathBuf> = doors.iter().filter_map(|door| Some(door.parent()?.into())).collect();
    let kills_before = kills(&dirs);
    let v2 = group::v2(&dirs);
    let birthplace = v2.and_then(|dir| File::open(dir).ok());
    let (told, tell) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe from the child")?;
    let child = match resident::fork_into(birthplace.as_ref())? {
        (Side::Parent(child), _) => child,
        (Side::Child, inside) => {
            let born = v2.filter(|_| inside).map(PathBuf::as_path);
            let left = doors.iter().filter(|door| born.is_none() || door.parent() != born);
            let failure = join(left, command, mask);
            // Who has nobody to tell has lost its parent.
            let _ = File::from(tell).write_all(failure.lines("").as_bytes());
            sys::end(failure.status(Form::Command));
        }
    };
    drop(tell);
    let status = child.wait()?;
    let mut why = String::new();
    File::from(told).read_to_string(&mut why).tried(|| "read what the child tells")?;
    Failure::told(&why).map_err(|failure| failure.with_exec_status(status))?;
    let kills = kills(&dirs).saturating_sub(kills_before);
    if kills > 0 {
        report::tell(&format!("cgset: {}\n", obituary(&dirs, kills)));
    }
    Ok(status)
}

/// `0` means whoever writes it.
fn join<'a>(
    mut doors: impl Iterator<Item = &'a PathBuf>,
    command: &[OsString],
    mask: SigSet,
) -> Failure {
    let joined = doors.try_for_each(|door| {
        let dir = door.parent().unwrap_or(door);
        write(door, "0").map_err(|failure| attach::explain(failure, getpid(), dir))
    });
    let joined = joined.and_then(|()| mask.thread_set_mask().tried(|| "restore the signal mask"));
    joined.map_or_else(|failure| failure, |()| exec::exec(command))
}

/// How often the kernel has killed for memory in these groups, of which one is in the tree where
/// memory is limited.
pub fn kills(dirs: &[PathBuf]) -> u64 {
    let files = ["memory.events", "memory.oom_control"];
    let mut files = dirs.iter().flat_map(|dir| files.map(|file| dir.join(file)));
    files.find_map(|file| count(&file)).unwrap_or(0)
}

fn count(file: &Path) -> Option<u64> {
    let text = file::text(file).ok()?;
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
