//! Every system call of `--init` and `--pty` fails once: one line, status 125, and nothing is left.

use std::fs;
use std::process::Command;

use support::{Test, need_program, need_root, run, scratch};

use crate::setup::has_word;

/// Those that change something, and those without which it can't go on.
const CALLS: [&str; 22] = [
    "unshare",
    "mount",
    "pipe2",
    "socketpair",
    "setsockopt",
    "signalfd4",
    "rt_sigprocmask",
    "prctl",
    "clone,clone3,fork,vfork",
    "pidfd_open",
    "setpgid",
    "setsid",
    "sendmsg",
    "recvmsg",
    "fsopen",
    "fsconfig",
    "fsmount",
    "move_mount",
    "dup2,dup3",
    "close_range",
    "ioctl",
    "chdir",
];

pub fn each_call_that_fails_leaves_nothing() -> Test {
    need_root()?;
    need_program("strace")?;
    for options in [&["--init"][..], &["--init", "--pty", "-m"], &["--pty"]] {
        let mut failures = 0;
        for call in CALLS {
            for n in 1.. {
                let folder = scratch();
                let log = folder.path().join("log");
                let word = format!("0.{}{n}", std::process::id());
                let mut strace = Command::new("strace");
                strace.args(["-f", "-e", &format!("trace={call}")]).arg("-o").arg(&log);
                strace.args(["-e", &format!("inject={call}:error=EIO:when={n}")]);
                strace.arg(env!("CARGO_BIN_EXE_nsenter-lite")).args(options);
                // What the command itself calls is not ours.
                let ran = run(strace.args(["sleep", &word]));
                assert!(!has_word(&word), "{options:?} {call} {n}: it is still there");
                let text = fs::read_to_string(&log).expect("strace wrote it");
                if !text.contains("(INJECTED)") {
                    assert_eq!(ran.status, 0, "{options:?} {call} {n}: {ran:?}");
                    break;
                }
                if ran.status == 0 {
                    continue;
                }
                // The loader and the command have their own words.
                if ran.stderr.starts_with("nsenter-lite: ") {
                    failures += 1;
                    ran.fails(125, "nsenter-lite", &["(EIO)"]);
                }
            }
        }
        assert!(failures > 9, "{options:?}: {failures} failures");
    }
    Ok(())
}
