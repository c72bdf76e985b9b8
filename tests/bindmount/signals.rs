//! Signals that come while mounts are made, and before.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use common::resident::is_readable;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use support::{Ran, Signal, Skip, Test, eventually, need_program, send, shells, skip, wait};

use super::target::Contained;
use super::{BINDMOUNT, COUNT, alpine, bare_root, in_folder, tree};

/// Their names, and the status of whom they end.
const SIGNALS: [(&str, i32); 2] = [("TERM", 143), ("INT", 130)];

/// Runs it, and sends it a signal at the n-th call of that name.
fn signalled(folder: &Path, call: &str, n: usize, args: &str) -> Result<Ran, Skip> {
    let strace = need_program("strace")?;
    let (strace, (signal, _)) = (strace.display(), SIGNALS[n % 2]);
    let inject =
        format!("{strace} -o log -e trace={call} -e inject={call}:signal={signal}:when={n}");
    let script = format!(
        "status=0; {inject} $B {args} || status=$?; {COUNT}; find . ! -name log | sort
        exit $status"
    );
    Ok(in_folder(folder, &script))
}

/// Whoever sends it need not look what there is to be taken away.
pub fn one_that_ends_it_midway_leaves_nothing() -> Test {
    for args in ["--mkdir --std . --bind /etc:/a/b:ro", "--mkdir --std . -- touch run"] {
        for (call, least) in [("move_mount", 15), ("mkdirat", 5)] {
            for n in 1.. {
                let root = bare_root()?;
                let names = in_folder(root.path(), "find . | sort").silent();
                let ran = signalled(root.path(), call, n, args)?;
                if ran.status == 0 {
                    assert!(n > least, "{call} {n}");
                    break;
                }
                assert_eq!(ran.status, SIGNALS[n % 2].1, "{call} {n}: {ran:?}");
                assert_eq!(ran.stdout, format!("0\n{names}"), "{call} {n}: {ran:?}");
            }
        }
    }
    let root = alpine()?;
    let contained = Contained::start(root.path());
    let script = format!(
        "status=0; strace -o log -e trace=setns -e inject=setns:signal=TERM $B -t {} --mkdir /etc /new \
            || status=$?; ! [ -e new ]; exit $status",
        contained.pid()
    );
    assert_eq!(in_folder(root.path(), &script).status, 143);
    assert!(!contained.bindmount(&["--list"]).silent().contains("/new"));
    Ok(())
}

/// And nothing is ended by what the caller ignores or has blocked.
pub fn command_has_the_callers_mask() -> Test {
    need_program("strace")?;
    let folder = tree()?;
    let inject = "strace -qq -o /dev/null -e inject=move_mount:signal";
    for (how, signal) in [("--ignore-signal=TERM", "TERM"), ("--block-signal=TERM", "TERM")] {
        let script = format!("env {how} {inject}={signal} $B src dst; cat dst/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), "src/file\n", "{how}");
    }
    for signal in ["CHLD", "CONT", "WINCH", "PIPE"] {
        let script = format!("{inject}={signal} $B src dst; cat dst/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), "src/file\n", "{signal}");
    }
    let script = "masks='grep -E Sig(Blk|Ign|Cgt) /proc/self/status'; for how in \
        --default-signal --block-signal=USR1,TERM --ignore-signal=INT; do
        [ \"$(env $how $masks)\" = \"$(env $how $B src dst -- $masks)\" ] || echo $how; done";
    assert_eq!(in_folder(folder.path(), script).silent(), "");
    Ok(())
}

/// A write beyond it is an error, which is what undoes the rest.
pub fn a_limit_on_files_leaves_nothing() -> Test {
    let root = bare_root()?;
    let script = format!(
        "status=0; (ulimit -f 0; $B --std . --dns 192.0.2.1) || status=$?; {COUNT}; exit $status"
    );
    let ran = in_folder(root.path(), &script);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "0\n"), "{ran:?}");
    assert!(ran.stderr.contains("(EFBIG)"), "{ran:?}");
    Ok(())
}

/// Mounts a file system whose server answers the kernel's first question alone, for this thread and
/// those that it starts. See fuse(4).
fn mount_silent(folder: &Path) -> Result<File, Skip> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let mut device = device.map_err(|error| skip(format!("needs /dev/fuse: {error}")))?;
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("it is our own table");
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    mount(Some("silent"), folder, Some("fuse"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|errno| skip(format!("needs FUSE: {errno}")))?;
    let mut question = vec![0; 1 << 17];
    assert!(device.read(&mut question).expect("a question of the kernel's") > 16);
    let (version, rest) = ([7u32, 31], [0u8; 56]);
    let size = 16 + 8 + 56u32;
    let head = [&size.to_ne_bytes()[..], &[0; 4], &question[8..16]].concat();
    let version = version.map(u32::to_ne_bytes).concat();
    device.write_all(&[head, version, rest.to_vec()].concat()).expect("an answer to INIT");
    Ok(device)
}

/// How it ends by SIGINT while it waits for that server; `None` if it does not. What the server has
/// read nobody could leave any more, not even by SIGKILL.
fn interrupted(folder: &Path, args: &[&str]) -> Result<Option<ExitStatus>, Skip> {
    let by_a_thread = || {
        let device = mount_silent(&folder.join("dst"))?;
        let mut command = Command::new(BINDMOUNT);
        let command = command.args(args).current_dir(folder).process_group(0);
        let mut child = command.spawn().expect("it was built");
        let asked = || is_readable(device.as_fd()).expect("FUSE has a poll").then_some(());
        eventually("the server is asked", asked);
        send(&child, Signal::SIGINT, false);
        Ok(wait(&mut child, Duration::from_secs(3)))
    };
    thread::scope(|scope| scope.spawn(by_a_thread).join().expect("no panic"))
}

pub fn a_silent_server_keeps_nobody() -> Test {
    let folder = tree()?;
    let us = std::process::id().to_string();
    for args in [
        &["dst/x", "src/sub"][..],
        &["src/sub", "dst/x"],
        &["--mkdir", "src/sub", "dst/x"],
        &["--root", "src", "--bind", "dst/x:/sub"],
        &["--root", "src", "--overlay", "dst/x,src:::/sub"],
        &["-t", &us, "dst/x", "src/sub"],
    ] {
        let ended = interrupted(folder.path(), args)?;
        assert_eq!(ended.map(shells), Some(130), "{args:?}");
    }
    Ok(())
}
