//! Descriptors that the caller has left open: one for a folder outside is a way out, as in
//! CVE-2024-21626.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use common::sys::{self, power};
use common::{Failure, Tried, file};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

/// The first that is not standard input, output or error.
const FIRST: u32 = 3;

/// Those that are to be kept. It is asked before anything else is opened, which would get a number
/// that the caller does not use.
pub fn must_be_open(keep: &[u32]) -> Result<(), Failure> {
    keep.iter().filter(|fd| **fd >= FIRST).try_for_each(|fd| match sys::inherited(*fd) {
        Ok(_) => Ok(()),
        Err(errno) => Err(Failure::errno(format!("leave the descriptor {fd} open"), errno)
            .hint_if(Errno::EBADF, || format!("the caller has to open it: {fd}<FILE"))),
    })
}

/// Has exec close all from 3 on but these. The others are COMMAND's, but for a folder: `..` of that
/// leads out of the new root.
pub fn close_all_but(keep: &BTreeSet<u32>) -> Result<(), Failure> {
    (0..FIRST).filter(|fd| !keep.contains(fd)).try_for_each(refuse_folder)?;
    gaps(keep).into_iter().try_for_each(|(start, end)| match power::close_on_exec(start, end) {
        // Before Linux 5.11, or under a filter that does not know the call.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => close_each(start, end),
        outcome => outcome.tried(|| "close what the caller left open"),
    })
}

fn refuse_folder(fd: u32) -> Result<(), Failure> {
    let found = match fd {
        0 => fstat(io::stdin()),
        1 => fstat(io::stdout()),
        _ => fstat(io::stderr()),
    };
    if !found.is_ok_and(|found| file::is(&found, SFlag::S_IFDIR)) {
        return Ok(());
    }
    let name = ["input", "output", "error"][fd as usize];
    Err(Failure::new(format!("hand on standard {name}: it is a folder, a way out of the new root"))
        .hint(format!("redirect it, as from /dev/null; --keep-fd {fd} hands it on")))
}

/// The ranges between those that are kept.
fn gaps(keep: &BTreeSet<u32>) -> Vec<(u32, Option<u32>)> {
    let mut gaps = Vec::new();
    let mut start = FIRST;
    for fd in keep.range(FIRST..) {
        if start < *fd {
            gaps.push((start, Some(fd - 1)));
        }
        start = fd + 1;
    }
    gaps.push((start, None));
    gaps
}

fn close_each(start: u32, end: Option<u32>) -> Result<(), Failure> {
    let what = || "list the open descriptors in \"/proc/self/fd\"";
    let names: Result<Vec<_>, _> = fs::read_dir("/proc/self/fd").and_then(Iterator::collect);
    let names = names.tried(what)?.into_iter().map(|entry| entry.file_name());
    let open = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    open.filter(|fd| (start..=end.unwrap_or(u32::MAX)).contains(fd)).try_for_each(|fd| {
        power::close_one_on_exec(fd).tried(|| format!("close the descriptor {fd}"))
    })
}

/// The same in shell, which has names for the first ten alone.
pub fn line(keep: &BTreeSet<u32>) -> String {
    let closed = (FIRST..10).filter(|fd| !keep.contains(fd)).map(|fd| format!(" {fd}<&-"));
    let open = keep.range(FIRST..).map(|fd| format!("[ -e /proc/self/fd/{fd} ] || exit 125; "));
    format!("{}exec{}", open.collect::<String>(), closed.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_left_out() {
        for (keep, wanted) in [
            (&[][..], vec![(3, None)]),
            (&[3], vec![(4, None)]),
            (&[0, 5], vec![(3, Some(4)), (6, None)]),
            (&[7, 3, 4], vec![(5, Some(6)), (8, None)]),
        ] {
            assert_eq!(gaps(&keep.iter().copied().collect()), wanted, "{keep:?}");
        }
        let checks = "[ -e /proc/self/fd/4 ] || exit 125; [ -e /proc/self/fd/9 ] || exit 125; ";
        assert_eq!(line(&[0, 4, 9].into()), format!("{checks}exec 3<&- 5<&- 6<&- 7<&- 8<&-"));
    }
}
