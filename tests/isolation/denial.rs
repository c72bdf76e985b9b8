//! H8: calls that an older kernel has not, or that a filter around us denies.

use std::fs;
use std::process::Command;

use support::{Test, run};

use crate::bed::{Bed, fingerprint, words_of};

/// What the tools use that is newer than the oldest containers.
pub const CALLS: [&str; 8] = [
    "openat2",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "fsopen",
    "clone3",
    "close_range",
    "pidfd_open",
];

/// The container without one of the calls: it works, or one line says why not and nothing of it is
/// left. It is never a container of less than it should be.
pub fn h8_calls_that_the_kernel_has_not(bed: &Bed) -> Test {
    support::need_no_filter("it denies calls itself")?;
    let before = fingerprint(&bed.root());
    let serial = "0";
    let runs: [(&[&str], &[&str], i32); 6] = [
        (&[], &["/bin/true"], 0),
        (&[], &["/bin/sh", "-c", "exit 42"], 42),
        (&[], &["/bin/probe", "identity", "0", "0", "-", "800405fb"], 0),
        (&["--read-only"], &["/bin/probe", "peel"], 0),
        (&[], &["/bin/probe", "fds"], 0),
        (&[], &["/bin/probe", "keyring", serial], 0),
    ];
    let mut table = Vec::new();
    for errno in ["ENOSYS", "EPERM"] {
        for call in CALLS {
            let mut word = "works";
            for (options, words, status) in runs {
                let ran = run(&mut denied(bed, errno, call, &bed.container(options, words)));
                let what = format!("{call} {errno}: {words:?}");
                bed.works_or_fails_closed(&ran, status, &what);
                if ran.status == 125 {
                    word = "fails closed";
                    assert!(ran.stdout.is_empty(), "COMMAND was run: {what}: {ran:?}");
                } else if words[0] == "/bin/probe" {
                    bed.is_contained(&ran, &what);
                }
            }
            table.push(format!("{call} {errno}: {word}"));
        }
    }
    eprintln!("{:?}: {}", bed.mode, table.join(", "));
    assert_eq!(fingerprint(&bed.root()), before);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    assert!(!mounts.contains(&*bed.root().to_string_lossy()), "{mounts}");
    Ok(())
}

/// The same command without a call. The filter holds for all that the user starts.
fn denied(bed: &Bed, errno: &str, call: &str, container: &Command) -> Command {
    let mut command = support::sh(format!(
        "exec {} deny {errno} {call} {}",
        bed.path("tools/probe").display(),
        words_of(container)
    ));
    for (name, value) in container.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}
