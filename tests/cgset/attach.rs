//! Processes that run already, and the group that they get.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use support::{Test, eventually, need_program, run, run_with_input, skip};

use crate::layout::{
    Holder, MEMORY, Name, Waiting, cgset, control, members, need, ten_mib, tool, tree_of,
    until_it_holds,
};

pub fn two_calls_meet_in_one_group() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let (child, other) = (Waiting::idle(), Waiting::idle());
    let (pid, name) = (child.pid(), Name::of(child.pid()));
    let _none = Name::of(other.pid());
    let number: i32 = pid.parse().expect("a PID");
    let memory = PathBuf::from(cgset(&["mem", "100M", &pid, &other.pid()]).ok().trim_end());
    let cpu = PathBuf::from(cgset(&["cpu", "50%", &pid]).silent().trim_end());
    let pids = PathBuf::from(cgset(&["pids", "5", &pid]).silent().trim_end());
    let again = PathBuf::from(cgset(&["mem", "90M", &pid]).ok().trim_end());
    assert_eq!(memory, again);
    for dir in [&memory, &cpu, &pids] {
        assert_eq!(dir.file_name().and_then(|dir| dir.to_str()), Some(&*name));
        assert!(members(dir).contains(&number), "{dir:?}");
    }
    let one_tree = tree_of("memory")? == tree_of("cpu")?;
    assert_eq!(one_tree, memory == cpu);
    let shown = cgset(&["show", &name]).silent();
    for row in ["memory.limit 94371840 (90 MiB)\n", "cpu.quota 50000 us in", "pids.limit 5\n"] {
        assert!(shown.contains(row), "{row} in {shown}");
    }
    // The other process has this group's name in one tree, so it gets no other name elsewhere.
    let shared = PathBuf::from(cgset(&["pids", "6", &other.pid()]).silent().trim_end());
    assert_eq!(shared, pids);
    drop((child, other));
    eventually("its processes have left it", || {
        name.groups().iter().all(|dir| members(dir).is_empty()).then_some(())
    });
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn pids_come_from_standard_input() -> Test {
    need(&["pids"])?;
    let (one, two) = (Waiting::idle(), Waiting::idle());
    let name = Name::of(one.pid());
    let input = format!("\n {}\t{}\n{}\n\n", one.pid(), two.pid(), one.pid());
    let path = run_with_input(tool().args(["pids", "9", "-"]), input.as_bytes()).silent();
    let mut inside = members(path.trim_end().as_ref());
    inside.sort_unstable();
    let mut wanted = [one.pid(), two.pid()].map(|pid| pid.parse::<i32>().expect("a PID"));
    wanted.sort_unstable();
    assert_eq!(inside, wanted);
    assert_eq!(name.groups_with("pids").len(), 1);
    for (input, status, part) in
        [("", 1, "there are none"), ("12 0x1", 2, "\"0x1\""), ("1", 2, "--force")]
    {
        let ran = run_with_input(tool().args(["-n", "pids", "9", "-"]), input.as_bytes());
        ran.fails(status, "cgset", &[part]);
    }
    Ok(())
}

/// What pgrep(1) has listed may be over before it is read.
pub fn of_a_list_those_that_have_ended_are_left_out() -> Test {
    need(&["pids"])?;
    let (one, mut over) = (Waiting::idle(), Waiting::idle());
    let (gone, name) = (over.pid(), Name::new("listed"));
    over.go();
    let input = format!("{gone}\n{}\n", one.pid());
    let cgset = |options: &[&str], input: &str| {
        let args = [options, &["pids", "9", "-g", &name, "-"]].concat();
        run_with_input(tool().args(args), input.as_bytes())
    };
    let left_out = format!("left out, for they have ended: {gone}\n");
    cgset(&["--strict"], &input).fails(1, "cgset", &[left_out.trim_end(), "hint: "]);
    cgset(&[], &gone).fails(1, "cgset", &["all of them have ended"]);
    assert!(name.groups().is_empty());
    let ran = cgset(&[], &input);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, &*format!("cgset: note: {left_out}")));
    assert_eq!(members(ran.stdout.trim_end().as_ref()), [one.pid().parse::<i32>().expect("a PID")]);
    Ok(())
}

/// Between two looks at it, too: cgset is held up before the second one, and before the move.
pub fn one_of_a_list_may_end_while_it_is_looked_at() -> Test {
    need(&["pids", "memory"])?;
    let strace = need_program("strace")?;
    for delayed in ["openat", "pidfd_open"] {
        for options in [&[][..], &["-q"], &["--strict"]] {
            let (one, mut over) = (Waiting::idle(), Waiting::idle());
            let (gone, name) = (over.pid(), Name::new("listed"));
            let mut command = Command::new(&strace);
            command.args(["-qq", "-o", "/dev/null"]);
            command.args(["-e", &format!("inject={delayed}:delay_enter=300ms")]);
            if delayed == "openat" {
                command.arg("-P").arg(format!("/proc/{gone}/cgroup"));
            }
            command.arg(env!("CARGO_BIN_EXE_cgset")).args(options);
            command.args(["pids", "9", "mem", "100M", "-g", &name, "-"]);
            let input = format!("{gone}\n{}\n", one.pid());
            let ran = thread::scope(|scope| {
                let ran = scope.spawn(|| run_with_input(&mut command, input.as_bytes()));
                thread::sleep(Duration::from_millis(150));
                over.go();
                ran.join().expect("it ends")
            });
            match options {
                ["--strict"] => {
                    ran.fails(1, "cgset", &[&gone]);
                    assert!(name.groups().is_empty(), "{delayed}");
                    continue;
                }
                ["-q"] => assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{delayed}"),
                _ => {
                    let note = format!("cgset: note: left out, for they have ended: {gone}\n");
                    assert_eq!((ran.status, ran.stderr), (0, note), "{delayed}");
                }
            }
            let there = one.pid().parse::<i32>().expect("a PID");
            assert_eq!(members(ran.stdout.trim_end().as_ref()), [there], "{delayed}");
        }
    }
    Ok(())
}

pub fn what_is_held_already_is_noted() -> Test {
    need(&["memory"])?;
    let holder = Holder::start(&mut Command::new("dd"));
    until_it_holds(holder.id());
    let name = Name::of(holder.id());
    let ran = cgset(&[&ten_mib()[..], &[&holder.id().to_string()]].concat());
    let note = format!("cgset: note: process {} already holds 3", holder.id());
    assert!(ran.status == 0 && ran.stderr.starts_with(&note), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let dir = PathBuf::from(ran.stdout.trim_end());
    assert_eq!((name.groups_with("memory"), members(&dir).len()), (vec![dir], 1));
    let other = Name::new("quiet");
    let pid = holder.id().to_string();
    let args = [&ten_mib()[..], &["-q", "-g", &other, &pid]].concat();
    cgset(&args).silent();
    cgset(&[&args[..], &["--strict"]].concat()).fails(2, "cgset", &["--strict"]);
    Ok(())
}

pub fn a_limit_below_what_is_used_is_refused() -> Test {
    need(&["memory"])?;
    let name = Name::new("used");
    // Made before, so that it stays when all in it have been killed.
    cgset(&["mem", "100M", "-g", &name]).ok();
    let mut inside = tool();
    let _holder = Holder::start(inside.args(["-g", &name, "--", "dd"]));
    let pid = eventually("it has started", || {
        name.groups_with("memory").first().and_then(|dir| members(dir).first().copied())
    });
    until_it_holds(pid);
    let dir = name.groups_with("memory").remove(0);
    let args = [&ten_mib()[..], &["-g", &name]].concat();
    let mends = if dir.join("memory.max").exists() { "mem.high slows" } else { "-- COMMAND" };
    cgset(&args).fails(1, "cgset", &["the group uses 3", "hint: ", mends]);
    assert_eq!(
        (control(&dir, &MEMORY).as_str(), members(&dir).as_slice()),
        ("104857600", &[pid][..])
    );
    if dir.join("memory.max").exists() {
        cgset(&[&args[..], &["--force"]].concat()).ok();
        eventually("the kernel kills it", || members(&dir).is_empty().then_some(()));
    }
    Ok(())
}

pub fn a_pid_that_is_gone_leaves_nothing() -> Test {
    need(&["memory", "pids"])?;
    let child = Waiting::idle();
    let (name, before) = (Name::of(child.pid()), child.groups());
    let mut ended = Waiting::idle();
    let gone = ended.pid();
    ended.go();
    let none = Name::of(&gone);
    let hint = format!("process {gone} does not exist");
    cgset(&["mem", "10M", "pids", "5", &gone]).fails(1, "cgset", &[&hint, "hint: "]);
    cgset(&["mem", "10M", "pids", "5", &child.pid(), &gone]).fails(1, "cgset", &[&hint]);
    cgset(&["show", &gone]).fails(1, "cgset", &[&hint]);
    assert_eq!((name.groups().len(), none.groups().len()), (0, 0));
    assert_eq!(child.groups(), before);
    Ok(())
}

pub fn what_is_no_process_of_its_own_is_refused() -> Test {
    need(&["pids"])?;
    // Always as a dry run: if one of these were not refused, nothing must happen.
    let refused = |pid: &str, part: &str| {
        cgset(&["-n", "pids", "9", pid]).fails(1, "cgset", &[part]);
    };
    let own = std::process::id().to_string();
    let threads = fs::read_dir("/proc/self/task").expect("our threads").flatten();
    let names = threads.map(|task| task.file_name().to_string_lossy().into_owned());
    // The test runs in a thread that is not the first.
    if let Some(thread) = names.into_iter().find(|tid| *tid != own) {
        refused(&thread, &format!("it is a thread of {own}"));
    }
    let mut zombie = Command::new("true").spawn().expect("it starts");
    let stat = format!("/proc/{}/stat", zombie.id());
    eventually("it has ended", || fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(()));
    refused(&zombie.id().to_string(), "does not exist");
    zombie.wait().expect("our child");
    let kernel = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if kernel.trim() != "kthreadd" {
        return Err(skip("no kernel threads are visible here"));
    }
    refused("2", "it is a thread of the kernel");
    cgset(&["-n", "pids", "9", "1"]).fails(2, "cgset", &["process 1", "--force"]);
    Ok(())
}

pub fn a_stale_group_is_made_anew() -> Test {
    need(&["pids"])?;
    let child = Waiting::idle();
    let name = Name::of(child.pid());
    let dir = PathBuf::from(cgset(&["pids", "1", &child.pid()]).silent().trim_end());
    // As if the process had ended and its number come back: it is in the group no more.
    let top = tree_of("pids")?;
    fs::write(top.join("cgroup.procs"), child.pid()).expect("our child");
    let again = PathBuf::from(cgset(&["pids", "7", &child.pid()]).silent().trim_end());
    assert_eq!((again.file_name(), control(&again, &["pids.max"])), (dir.file_name(), "7".into()));
    fs::write(top.join("cgroup.procs"), child.pid()).expect("our child");
    let stale = name.groups();
    let script = run(tool().args(["-n", "pids", "7", &child.pid()])).silent();
    let removed = script.lines().any(|line| line.starts_with("find ") && line.contains(&*name));
    assert_eq!(removed, stale.contains(&again), "{script}");
    Ok(())
}
