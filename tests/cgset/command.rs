//! COMMAND: started inside, waited for, and nothing left of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Test, eventually, need_program, run, sh, wait};

use crate::layout::{
    Name, Waiting, cgset, control, groups_called, members, need, need_v2, pruning, run_known, tool,
};

pub fn the_status_is_that_of_the_command() -> Test {
    need(&["pids"])?;
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
    ] {
        let (pid, ran) = run_known(&["pids", "50", "--", "sh", "-c", script]);
        assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (status, "", ""));
        assert!(groups_called(&Name::of(pid)).is_empty());
    }
    Ok(())
}

pub fn a_command_that_can_not_be_run_leaves_nothing() -> Test {
    need(&["memory", "pids"])?;
    for (command, status, part) in [
        ("no-such-program-anywhere", 127, "(ENOENT)"),
        ("/nowhere/at/all", 127, "(ENOENT)"),
        ("/proc", 126, "(EACCES)"),
        ("/proc/self/status", 126, "(EACCES)"),
    ] {
        let (pid, ran) = run_known(&["mem", "10M", "pids", "5", "--", command]);
        ran.fails(status, "cgset", &[&format!("run {command:?}"), part]);
        assert!(groups_called(&Name::of(pid)).is_empty());
        let name = Name::new("no-command");
        cgset(&["mem", "10M", "-g", &format!("{}/x", &*name), "--", command]).fails(
            status,
            "cgset",
            &[part],
        );
        assert!(name.groups().is_empty());
    }
    Ok(())
}

/// A group that was there before has its old limits again; a COMMAND that has run, and that ends as
/// if it had not, leaves the new ones.
pub fn a_command_that_can_not_be_run_changes_no_limit() -> Test {
    need(&["pids"])?;
    let name = Name::new("limited");
    cgset(&["pids", "5", "-g", &name]).silent();
    let limit = || control(&name.groups_with("pids")[0], &["pids.max"]);
    for (command, status) in [("/nowhere/at/all", 127), ("/proc", 126)] {
        let ran = cgset(&["pids", "7", "-g", &name, "--", command]);
        ran.fails(status, "cgset", &[&format!("run {command:?}")]);
        assert_eq!(limit(), "5", "{command}");
    }
    let nothing = ["no-such-program-anywhere"];
    let ran = cgset(&[&["pids", "7", "-g", &name, "--"], &nothing[..]].concat());
    ran.fails(127, "cgset", &["hint: it is in no folder of PATH here"]);
    let ran = cgset(&["pids", "7", "-g", &name, "--", "sh", "-c", "exit 127"]);
    assert_eq!((ran.status, ran.stderr.as_str(), limit().as_str()), (127, "", "7"));
    Ok(())
}

/// Starts a sleeper in the background that outlives the shell, and says which.
const LEAVE: &str = "sleep 300 >/dev/null 2>&1 & echo $!";

pub fn what_the_command_leaves_running_is_killed() -> Test {
    need(&["memory", "pids"])?;
    for key in [&["pids", "50"][..], &["mem", "50M"], &["pids", "50", "mem", "50M"]] {
        let (pid, ran) = run_known(&[key, &["--", "sh", "-c", LEAVE]].concat());
        let left = ran.ok();
        eventually("the sleeper is killed", || {
            (!Path::new("/proc").join(left.trim_end()).exists()).then_some(())
        });
        assert!(groups_called(&Name::of(pid)).is_empty());
    }
    Ok(())
}

/// A cgset inside calls the group the same in the trees that the outer one does not use.
pub fn what_the_command_adds_to_its_group_goes_too() -> Test {
    need(&["memory", "pids"])?;
    let above = Name::new("above");
    cgset(&["create", &above]).silent();
    for parent in [&[][..], &["--parent", &above]] {
        let again = format!("{} {} pids 9 $$", env!("CARGO_BIN_EXE_cgset"), parent.join(" "));
        let args = [parent, &["mem", "20M", "--", "sh", "-c", &again]].concat();
        let (pid, ran) = run_known(&args);
        let name = Name::of(pid);
        assert!(ran.ok().trim_end().ends_with(&format!("/{}", &*name)));
        assert!(groups_called(&name).is_empty(), "{parent:?}");
    }
    Ok(())
}

pub fn a_group_that_was_there_before_is_kept() -> Test {
    need(&["pids"])?;
    let name = Name::new("kept");
    let dir = PathBuf::from(cgset(&["create", &name]).silent().trim_end());
    let inner = format!("{}/inner/most", &*name);
    assert_eq!(cgset(&["pids", "50", "-g", &inner, "--", "true"]).silent(), "");
    assert!(dir.is_dir() && name.groups().iter().all(|dir| !dir.join("inner").exists()));
    let left = cgset(&["pids", "50", "-g", &name, "--", "sh", "-c", LEAVE]).ok();
    let left: i32 = left.trim_end().parse().expect("a PID");
    assert!(name.groups().iter().any(|dir| members(dir) == [left]));
    // Without a key COMMAND joins the group as it is, in every tree.
    let seen = cgset(&["-g", &name, "--", "cat", "/proc/self/cgroup"]).silent();
    let joined = seen.lines().filter(|line| line.ends_with(&*name)).count();
    assert_eq!(joined, name.groups().len(), "{seen}");
    Ok(())
}

pub fn the_command_is_inside_from_the_start() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let all = ["mem", "50M", "cpu", "1", "pids", "9", "--", "cat", "/proc/self/cgroup"];
    let (pid, ran) = run_known(&all);
    let (seen, name) = (ran.silent(), Name::of(pid));
    let trees: Vec<PathBuf> = ["memory", "cpu", "pids"]
        .into_iter()
        .map(crate::layout::tree_of)
        .collect::<Result<_, _>>()?;
    let inside = seen.lines().filter(|line| line.ends_with(&format!("/{}", &*name))).count();
    assert!(inside >= trees.iter().collect::<std::collections::HashSet<_>>().len(), "{seen}");
    assert!(name.groups().is_empty());
    Ok(())
}

/// With v2 it is never anywhere else; where the kernel or a filter has no clone3(2), it joins.
pub fn the_command_is_born_in_its_v2_group() -> Test {
    need_v2()?;
    let strace = need_program("strace")?;
    let folder = support::scratch();
    let log = folder.path().join("log");
    for (fault, joins) in [("none", false), ("clone3:error=ENOSYS", true)] {
        let mut command = Command::new(&strace);
        command.args(["-f", "-qq", "-e", "trace=clone3,?open,openat,write", "-o"]).arg(&log);
        if joins {
            command.arg("-e").arg(format!("inject={fault}"));
        }
        let name = Name::new("born");
        let args = ["-g", &name, "net", "max", "--", "cat", "/proc/self/cgroup"];
        let ran = run(command.arg(env!("CARGO_BIN_EXE_cgset")).args(args));
        let inside = ran.ok();
        assert!(inside.contains(".born\n"), "{fault}: {inside}");
        let log = fs::read_to_string(&log).expect("strace wrote it");
        let joined = log.lines().any(|line| line.contains("cgroup.procs\", O_WRONLY"));
        assert_eq!(joined, joins, "{log}");
    }
    Ok(())
}

pub fn the_world_is_handed_on_unchanged() -> Test {
    need(&["pids"])?;
    let look = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd | wc -l; umask; pwd; \
        env | sort | grep -v '^_='; echo \"$0\" \"$#\" \"$@\"";
    let command = ["sh", "-c", look, "a b", "", "--", "*"];
    for before in
        ["", "trap '' PIPE TERM; ", "umask 027; cd /tmp; ", "exec </dev/null 7</dev/null; "]
    {
        let script = format!("{before}exec \"$@\"");
        let plain = run(sh(&script).args(command)).silent();
        let mut through = sh(&script);
        through.arg(env!("CARGO_BIN_EXE_cgset")).args(["pids", "50", "--"]).args(command);
        assert_eq!(run(&mut through).silent(), plain, "{before}");
    }
    Ok(())
}

pub fn a_signal_reaches_the_command_and_the_group_goes() -> Test {
    need(&["pids"])?;
    let handles = "trap 'exit 3' TERM HUP; echo ready; while :; do sleep 0.05; done";
    let leaves = "echo ready; while :; do sleep 0.05; done";
    for (script, signal, status) in [
        (handles, Signal::SIGTERM, 3),
        (handles, Signal::SIGHUP, 3),
        (leaves, Signal::SIGTERM, 143),
        (leaves, Signal::SIGINT, 130),
        (leaves, Signal::SIGUSR1, 138),
    ] {
        let mut command = tool();
        command.args(["pids", "50", "--", "sh", "-c", &format!("ulimit -c 0; {script}")]);
        let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says that it is ready");
        let pid = Pid::from_raw(child.id().try_into().expect("a PID"));
        let name = Name::of(pid);
        assert_eq!(name.groups_with("pids").len(), 1);
        kill(pid, signal).expect("our child");
        let ended = wait(&mut child, Duration::from_secs(20));
        let ended = ended.unwrap_or_else(|| panic!("it does not end: {signal} {script}"));
        assert_eq!(ended.code(), Some(status), "{signal} {script}");
        assert!(name.groups().is_empty());
    }
    Ok(())
}

/// cgset is in COMMAND's place, also for whoever kills it. The group is left to `cgset prune`.
pub fn a_killed_cgset_takes_the_command_along() -> Test {
    need(&["pids"])?;
    let script = "echo $$; exec sleep 60";
    let mut command = tool();
    command.args(["pids", "50", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says which it is");
    let inside = Path::new("/proc").join(line.trim()).join("cmdline");
    assert!(inside.exists());
    child.kill().expect("our child");
    child.wait().expect("our child");
    // A zombie has no words any more.
    eventually("COMMAND is gone", || {
        fs::read(&inside).unwrap_or_default().is_empty().then_some(())
    });
    let _alone = pruning();
    cgset(&["prune"]).ok();
    assert!(Name::of(Pid::from_raw(child.id().try_into().expect("a PID"))).groups().is_empty());
    Ok(())
}

/// The limits of a group that is left behind hold no more: with v2, where a new group stands beside
/// the present one, and for a group by name.
pub fn limits_that_are_left_are_noted() -> Test {
    need(&["memory"])?;
    let name = Name::new("left");
    let child = Waiting::idle();
    let dir = PathBuf::from(cgset(&["mem", "90M", "-g", &name, &child.pid()]).ok().trim_end());
    let other = Name::new("other");
    let ran = cgset(&["mem", "80M", "-g", &other, &child.pid()]);
    let wanted =
        format!("process {} is no longer under the limits of {}/", child.pid(), dir.display());
    assert!(ran.status == 0 && ran.stderr.contains(&wanted), "{ran:?}");
    Ok(())
}

/// The first process of each PID namespace is 1, in all of which cgset may run at the same time.
pub fn each_pid_namespace_has_names_of_its_own() -> Test {
    need(&["memory"])?;
    let inside = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "-f", "--mount-proc"]);
        command.arg(env!("CARGO_BIN_EXE_cgset")).args(args);
        command
    };
    let see = "grep -o '/cgset-1.*' /proc/self/cgroup; read -r word";
    let mut one = inside(&["mem", "20M", "--", "sh", "-c", see]);
    one.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut one = one.spawn().expect("it starts");
    let mut name = String::new();
    let stdout = one.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut name).expect("it is in its group");
    let two = run(&mut inside(&["mem", "30M", "--", "sh", "-c", see]));
    let here = groups_called(name.trim().trim_start_matches('/'));
    assert!(!here.is_empty(), "{name}");
    let refused = inside(&["rm", &here[0].display().to_string()]).output().expect("it runs");
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    drop(one.stdin.take());
    let status = wait(&mut one, Duration::from_secs(10)).expect("it ends");
    assert!(two.stdout.starts_with("/cgset-1-") && !two.stdout.contains(&name), "{name} {two:?}");
    assert!(refused.contains("hint: processes of another PID namespace are in it"), "{refused}");
    assert_eq!(status.code(), Some(1), "the end of standard input");
    assert!(here.iter().all(|dir| !dir.exists()));
    Ok(())
}
