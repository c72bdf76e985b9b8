//! Every step failing once, and signals in between: all is done, or nothing is.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Ran, Test, eventually, need_program, run, scratch, wait};

use crate::layout::{Name, Waiting, cgset, control, members, need, need_v2, pruning, tool};
use crate::placement;

/// cgset with a system call of its own that fails the nth time: `write:error=EIO`.
pub fn failing(fault: &str, nth: usize, args: &[&str]) -> Result<Ran, support::Skip> {
    let strace = need_program("strace")?;
    let mut command = Command::new(strace);
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={fault}:when={nth}")]);
    Ok(run(command.arg(env!("CARGO_BIN_EXE_cgset")).args(args)))
}

pub fn each_step_that_fails_leaves_nothing() -> Test {
    need(&["memory", "pids"])?;
    let mut failures = 0;
    for call in ["mkdir:error=EIO", "write:error=EIO", "pidfd_open:error=EIO"] {
        for nth in 1.. {
            let child = Waiting::idle();
            let (name, before) = (Name::of(child.pid()), child.groups());
            let ran = failing(call, nth, &["mem", "100M", "pids", "5", &child.pid()])?;
            if ran.status == 0 {
                break;
            }
            failures += 1;
            ran.fails(1, "cgset", &["(EIO)"]);
            assert!(name.groups().is_empty(), "{call} {nth}: {ran:?}");
            assert_eq!(child.groups(), before, "{call} {nth}");
            assert!(nth < 50, "it never succeeds: {ran:?}");
        }
    }
    assert!(failures >= 6, "limits, moves and the path are all written: {failures}");
    // What was set before is set again.
    let name = Name::new("restored");
    let dir = PathBuf::from(cgset(&["pids", "50", "-g", &name]).silent().trim_end());
    let child = Waiting::idle();
    let ran = failing("pidfd_open:error=EIO", 1, &["pids", "5", "-g", &name, &child.pid()])?;
    ran.fails(1, "cgset", &["(EIO)"]);
    assert_eq!((control(&dir, &["pids.max"]).as_str(), members(&dir).len()), ("50", 0));
    // A busy group is tried again.
    assert_eq!(failing("rmdir:error=EBUSY", 1, &["rm", &name])?.silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

/// Also those of the child, before it becomes COMMAND.
pub fn each_step_of_a_run_that_fails_leaves_nothing() -> Test {
    need(&["memory", "pids"])?;
    let strace = need_program("strace")?;
    let folder = scratch();
    let file = folder.path().join("pid");
    let net: &[&str] = if need_v2().is_ok() { &["net", "8mbit"] } else { &[] };
    let mut failures = 0;
    let calls = [("mkdir", 4), ("write", 4), ("bpf", 24), ("clone3,clone", 2), ("execve", 3)];
    for (call, most) in calls.into_iter().chain([("openat", 45)]) {
        for nth in 1..=most {
            let inject = format!("inject={call}:error=EIO:when={nth}");
            let mut command = Command::new(&strace);
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, "sh", "-c"]);
            command.arg("echo $$ > \"$0\"; exec \"$@\"").arg(&file);
            command.arg(env!("CARGO_BIN_EXE_cgset")).args(["mem", "100M", "pids", "9"]);
            let ran = run(command.args(net).args(["--", "true"]));
            let pid = fs::read_to_string(&file).unwrap_or_default();
            let groups = Name::of(pid.trim()).groups();
            assert!(groups.is_empty(), "{call} {nth}: {ran:?} {groups:?}");
            // The first of some are of the shell that becomes cgset.
            if ran.status != 0 && ran.stderr.starts_with("cgset: ") {
                failures += 1;
                assert!([125, 126].contains(&ran.status), "{call} {nth}: {ran:?}");
                assert!(ran.stderr.contains("(EIO)"), "{call} {nth}: {ran:?}");
            }
        }
    }
    assert!(failures >= 20, "each step fails once: {failures}");
    Ok(())
}

/// Clears up, once nobody is in the group; 1 if there was something to clear up.
fn pruned(name: &Name) -> usize {
    let left = usize::from(!name.groups().is_empty());
    eventually("all have left it", || {
        name.groups().iter().all(|dir| members(dir).is_empty()).then_some(())
    });
    let _alone = pruning();
    cgset(&["prune"]).ok();
    assert!(name.groups().is_empty(), "{:?}", name.groups());
    left
}

/// Nobody can clear up after SIGKILL but the next one.
pub fn what_is_killed_half_way_is_pruned() -> Test {
    need(&["memory", "pids"])?;
    let strace = need_program("strace")?;
    let folder = scratch();
    let file = folder.path().join("pid");
    let mut left = 0;
    let net: &[&str] = if need_v2().is_ok() { &["net", "8mbit", "net.deny", "any"] } else { &[] };
    for call in ["mkdir", "write", "rmdir", "bpf"] {
        for nth in 1.. {
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let mut command = Command::new(&strace);
            command.args(["-qq", "-o", "/dev/null", "-e", &inject, "sh", "-c"]);
            command.arg("echo $$ > \"$0\"; exec \"$@\"").arg(&file);
            command.arg(env!("CARGO_BIN_EXE_cgset")).args(["mem", "100M", "pids", "9"]);
            let ran = run(command.args(net).args(["--", "true"]));
            let pid = fs::read_to_string(&file).expect("the shell wrote it");
            let name = Name::of(pid.trim());
            if ran.status == 0 {
                break;
            }
            left += pruned(&name);
            assert!(nth < 150, "it never succeeds: {ran:?}");
        }
    }
    assert!(left > 5, "groups were left: {left}");
    Ok(())
}

/// Its parent is killed before it has asked the kernel to be killed with it. It is in the group then,
/// and does not try to take it away.
pub fn a_child_that_has_lost_its_parent_ends_at_once() -> Test {
    need(&["pids"])?;
    let strace = need_program("strace")?;
    let folder = scratch();
    let file = folder.path().join("pid");
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=prctl:delay_enter=500000"]);
    command.args(["sh", "-c", "echo $$ > \"$0\"; exec \"$@\""]).arg(&file);
    command.arg(env!("CARGO_BIN_EXE_cgset")).args(["pids", "5", "--", "true"]);
    let mut tracer = command
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let parent = eventually("its number is written", || {
        fs::read_to_string(&file).ok().filter(|pid| pid.ends_with('\n'))
    });
    let parent: i32 = parent.trim().parse().expect("a number");
    eventually("it has forked", || {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        (!children.is_empty()).then_some(())
    });
    kill(Pid::from_raw(parent), Signal::SIGKILL).expect("it is our child's");
    let killed = Instant::now();
    // It ends when the last that it traces has ended.
    wait(&mut tracer, Duration::from_secs(20)).expect("it ends");
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let mut said = String::new();
    tracer.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(said, "cgset: run on without a parent: it was killed\n");
    // Another test may have pruned it by now.
    pruned(&Name::of(parent.to_string()));
    Ok(())
}

/// A group that is to be a user's, and processes that are to go out of the way.
pub fn what_is_given_away_and_moved_away_comes_back() -> Test {
    need_v2()?;
    let name = Name::new("given");
    for nth in 1.. {
        let ran = failing("chown:error=EIO", nth, &["create", "--delegate", "65534", &name])?;
        if ran.status == 0 {
            assert!(nth > 2, "the folder and its files are given: {nth}");
            break;
        }
        ran.fails(1, "cgset", &["give ", "(EIO)"]);
        assert!(name.groups().is_empty(), "{nth}");
    }
    let [key, value, ..] = placement::v2_limit()?;
    let (mut failures, inner) = (0, format!("{}/inner", &*name));
    drop(name);
    for nth in 1.. {
        let name = Name::new("given");
        let (child, dir) = placement::held(&name);
        let args = ["--evacuate", "init", key, value, "-g", &inner];
        let ran = failing("write:error=EIO", nth, &args)?;
        if ran.status == 0 {
            break;
        }
        failures += 1;
        ran.fails(1, "cgset", &["(EIO)"]);
        let pid: i32 = child.pid().parse().expect("a PID");
        assert_eq!(
            (members(&dir), dir.join("init").exists()),
            (vec![pid], false),
            "{nth}: {ran:?}"
        );
        assert!(!dir.join("inner").exists(), "{nth}");
    }
    assert!(failures >= 4, "a move, a controller, a limit, the path: {failures}");
    Ok(())
}

/// What a killed cgset leaves of an attach goes when the process has gone, too.
pub fn an_attach_that_is_killed_half_way_is_pruned() -> Test {
    need(&["memory", "pids"])?;
    let mut left = 0;
    for call in ["mkdir", "write"] {
        for nth in 1.. {
            let child = Waiting::idle();
            let name = Name::of(child.pid());
            let fault = format!("{call}:signal=KILL");
            let ran = failing(&fault, nth, &["mem", "100M", "pids", "9", &child.pid()])?;
            if ran.status == 0 {
                break;
            }
            drop(child);
            left += pruned(&name);
            assert!(nth < 50, "it never succeeds: {ran:?}");
        }
    }
    assert!(left > 5, "groups were left: {left}");
    Ok(())
}

pub fn a_signal_half_way_waits_for_the_end() -> Test {
    need(&["pids"])?;
    let strace = need_program("strace")?;
    let child = Waiting::idle();
    let name = Name::of(child.pid());
    let folder = scratch();
    let file = folder.path().join("pid");
    let slow = ["-qq", "-o", "/dev/null", "-e", "inject=mkdir:delay_exit=500000", "sh", "-c"];
    let mut command = Command::new(strace);
    command.args(slow).arg("echo $$ > \"$0\"; exec \"$@\"").arg(&file);
    command.arg(env!("CARGO_BIN_EXE_cgset")).args(["pids", "5", &child.pid()]);
    let mut started = command.stdout(Stdio::null()).process_group(0).spawn().expect("it starts");
    let group = eventually("the group is made", || name.groups().pop());
    let pid = fs::read_to_string(&file).expect("the shell wrote it");
    kill(Pid::from_raw(pid.trim().parse().expect("a PID")), Signal::SIGTERM).expect("our child");
    let status = wait(&mut started, Duration::from_secs(20)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(control(&group, &["pids.max"]), "5");
    assert_eq!(members(&group), [child.pid().parse::<i32>().expect("a PID")]);
    Ok(())
}

/// When the last process ends, the cgset that started it removes the group; this may be between two
/// steps of another that kills what is inside.
pub fn a_group_that_goes_while_it_is_killed_is_no_error() -> Test {
    need(&["pids"])?;
    need_v2()?;
    let strace = need_program("strace")?;
    let name = Name::new("going");
    let mut command = tool();
    command.args(["pids", "5", "-g", &name, "--", "sleep", "60"]);
    let mut started = command.spawn().expect("it starts");
    let inhabited = || name.groups().iter().any(|dir| !members(dir).is_empty());
    eventually("it runs", || name.groups_with("pids").iter().find_map(|dir| members(dir).pop()));
    let pid = Pid::from_raw(started.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("our child");
    let files = name.groups().into_iter().map(|dir| dir.join("cgroup.kill"));
    let mut command = Command::new(strace);
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=openat:delay_enter=500000"]);
    command.args(files.flat_map(|file| ["-P".into(), file.into_os_string()]));
    command.arg(env!("CARGO_BIN_EXE_cgset")).args(["rm", "--kill", &name]);
    let rm = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("the command has ended", || (!inhabited()).then_some(()));
    kill(pid, Signal::SIGCONT).expect("our child");
    assert_eq!(wait(&mut started, Duration::from_secs(20)).expect("it ends").code(), Some(137));
    let ran = rm.wait_with_output().expect("it ends");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    assert_eq!(name.groups(), Vec::<PathBuf>::new());
    Ok(())
}
