//! What a limit does to a process.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{Test, eventually, skip};

use crate::layout::{
    EAT, MEMORY, Name, Waiting, cgset, control, groups_called, members, need, run_known, ten_mib,
    tool, tree_of,
};

const KILLED: &str = "cgset: killed by the memory limit: 10 MiB, peak 10 MiB (1 OOM kill)\n";

pub fn what_eats_more_than_its_memory_is_killed() -> Test {
    need(&["memory"])?;
    let args = [&ten_mib()[..], &["--"], &EAT].concat();
    let (pid, ran) = run_known(&args);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (137, "", KILLED));
    assert!(groups_called(&Name::of(pid)).is_empty());
    let small = ["--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=64", "status=none"];
    let (pid, ran) = run_known(&[&ten_mib()[..], &small].concat());
    assert_eq!(ran.silent(), "");
    assert!(groups_called(&Name::of(pid)).is_empty());
    Ok(())
}

pub fn a_child_that_eats_more_is_killed_and_its_parent_goes_on() -> Test {
    need(&["memory"])?;
    let script = format!("{} 2>/dev/null; echo \"status $?\"", EAT.join(" "));
    let ran = cgset(&[&ten_mib()[..], &["--", "sh", "-c", &script]].concat());
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "status 137\n"));
    assert!(ran.stderr.ends_with(KILLED), "{ran:?}");
    Ok(())
}

pub fn what_grows_after_it_was_attached_is_killed() -> Test {
    need(&["memory"])?;
    let mut child = Waiting::then(&format!("exec {}", EAT.join(" ")));
    let name = Name::of(child.pid());
    let path = cgset(&[&ten_mib()[..], &[&child.pid()]].concat()).silent();
    let dir = PathBuf::from(path.trim_end());
    assert_eq!(name.groups_with("memory"), std::slice::from_ref(&dir));
    assert_eq!(control(&dir, &MEMORY), "10485760");
    assert!(child.groups().contains(&*name), "{}", child.groups());
    assert_eq!(child.go().signal(), Some(9));
    let shown = cgset(&["show", &name]).silent();
    assert!(shown.contains("oom_kill 1\n"), "{shown}");
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn memory_is_what_was_asked_for_in_whole_pages() -> Test {
    need(&["memory"])?;
    let name = Name::new("sizes");
    for (value, wanted) in [
        ("10M", "10485760"),
        ("10MiB", "10485760"),
        ("10000000", "9998336"),
        ("10MB", "9998336"),
        ("1.5G", "1610612736"),
        ("4096", "4096"),
    ] {
        let ran = cgset(&["mem", value, "-g", &name]);
        assert_eq!((ran.status, ran.stdout.lines().count()), (0, 1), "{value}: {ran:?}");
        let dir = PathBuf::from(ran.stdout.trim_end());
        assert_eq!(control(&dir, &MEMORY), wanted, "{value}");
    }
    let dir = PathBuf::from(cgset(&["mem", "max", "-g", &name]).silent().trim_end());
    let unlimited = control(&dir, &MEMORY);
    assert!(["max", "9223372036854771712"].contains(&unlimited.as_str()), "{unlimited}");
    cgset(&["mem", "50%", "-g", &name]).ok();
    let half: u64 = control(&dir, &MEMORY).parse().expect("a number");
    let meminfo = fs::read_to_string("/proc/meminfo").expect("the kernel says");
    let total = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let total = total.expect("MemTotal is first") * 1024;
    assert!(half.abs_diff(total / 2) < 1 << 20, "{half} of {total}");
    Ok(())
}

pub fn swap_is_limited_beside_memory() -> Test {
    need(&["memory"])?;
    let name = Name::new("swap");
    let dir = PathBuf::from(cgset(&["mem", "10M", "-g", &name]).ok().trim_end());
    let files = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    if !files.iter().any(|file| dir.join(file).exists()) {
        return Err(skip("this kernel does not count swap"));
    }
    let with_memory = dir.join(files[1]).exists();
    for (args, memory, swap) in [
        (&["swap", "0"][..], 10u64 << 20, 0u64),
        (&["mem", "20M"], 20 << 20, 0),
        (&["mem", "5M", "swap", "1M"], 5 << 20, 1 << 20),
        (&["mem", "10M"], 10 << 20, 1 << 20),
    ] {
        cgset(&[args, &["-g", &name]].concat()).ok();
        let wanted = if with_memory { memory + swap } else { swap };
        assert_eq!(control(&dir, &files), wanted.to_string(), "{args:?}");
        assert_eq!(control(&dir, &MEMORY), memory.to_string(), "{args:?}");
    }
    cgset(&["swap", "max", "-g", &name]).ok();
    let shown = cgset(&["show", &name]).silent();
    assert!(shown.contains("swap.limit max\n"), "{shown}");
    Ok(())
}

pub fn more_processes_than_the_limit_are_refused() -> Test {
    need(&["pids"])?;
    let three = "sleep 9 & sleep 9 & sleep 9 & echo three";
    let (pid, ran) = run_known(&["pids", "5", "--", "sh", "-c", three]);
    assert_eq!(ran.silent(), "three\n");
    assert!(groups_called(&Name::of(pid)).is_empty());
    let seven = "for n in 1 2 3 4 5 6 7; do sleep 9 & done; echo seven";
    let (pid, ran) = run_known(&["pids", "5", "--", "sh", "-c", seven]);
    assert!(ran.status != 0 && ran.stdout.is_empty() && ran.stderr.contains("fork"), "{ran:?}");
    assert!(groups_called(&Name::of(pid)).is_empty());
    Ok(())
}

pub fn cpu_time_is_what_the_quota_says() -> Test {
    need(&["cpu"])?;
    let name = Name::new("busy");
    let mut busy = tool();
    busy.args(["cpu", "20%", "-g", &name, "--", "sh", "-c", "while :; do :; done"]);
    let mut child = busy.stdin(Stdio::null()).spawn().expect("it starts");
    let pid = eventually("it is busy", || {
        let groups = name.groups();
        groups.iter().find_map(|dir| members(dir).first().copied())
    });
    // Nanoseconds on a CPU; see proc_pid_schedstat in the kernel's scheduler documentation.
    let used = || -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    sleep(Duration::from_millis(300));
    let share = || -> Option<u64> {
        let (start, before) = (Instant::now(), used()?);
        sleep(Duration::from_secs(1));
        let (wall, after) = (start.elapsed(), used()?);
        Some((after - before) * 1000 / u64::try_from(wall.as_nanos()).expect("a second"))
    };
    // It may get less where the machine has other work to do; more, never.
    let mut shares = Vec::new();
    while shares.len() < 5 && shares.last().is_none_or(|share| *share < 180) {
        let Some(share) = share() else { break };
        shares.push(share);
    }
    cgset(&["rm", "--kill", &name]).silent();
    assert_eq!(child.wait().expect("our child").code(), Some(137));
    let Some(last) = shares.last() else {
        return Err(skip("this kernel does not say how long a process ran"));
    };
    let more = shares.iter().any(|share| *share > 220);
    assert!(!more && *last >= 180, "thousandths of a CPU: {shares:?}");
    Ok(())
}

pub fn cpu_quota_and_weight_are_set_and_taken_back() -> Test {
    need(&["cpu"])?;
    let name = Name::new("quota");
    let set =
        |args: &[&str]| PathBuf::from(cgset(&[args, &["-g", &name]].concat()).silent().trim_end());
    for (value, quota, period) in [
        ("50%", "50000", "100000"),
        ("1.5", "150000", "100000"),
        ("20ms/50ms", "20000", "50000"),
        ("0.5%", "5000", "1000000"),
        ("200%", "200000", "100000"),
    ] {
        let dir = set(&["cpu", value]);
        if dir.join("cpu.max").exists() {
            assert_eq!(control(&dir, &["cpu.max"]), format!("{quota} {period}"), "{value}");
        } else {
            assert_eq!(control(&dir, &["cpu.cfs_quota_us"]), quota, "{value}");
            assert_eq!(control(&dir, &["cpu.cfs_period_us"]), period, "{value}");
        }
    }
    let dir = set(&["cpu", "max", "cpu.weight", "200"]);
    assert!(["max 100000", "-1"].contains(&&*control(&dir, &["cpu.max", "cpu.cfs_quota_us"])));
    let weight = control(&dir, &["cpu.weight", "cpu.shares"]);
    let wanted = if dir.join("cpu.weight").exists() { "200" } else { "2451" };
    assert_eq!(weight, wanted);
    Ok(())
}

pub fn a_percentage_is_of_the_smallest_limit_above() -> Test {
    need(&["memory"])?;
    let name = Name::new("percent");
    cgset(&["mem", "100M", "-g", &name]).ok();
    cgset(&["mem", "200M", "-g", &format!("{}/a", &*name)]).ok();
    let inner = format!("{}/a/b", &*name);
    let path = cgset(&["mem", "50%", "-g", &inner]).ok();
    let limit: u64 = control(path.trim_end().as_ref(), &MEMORY).parse().expect("a number");
    assert!((52_428_800 - 8192..=52_428_800).contains(&limit), "{limit}");
    Ok(())
}

pub fn memory_is_throttled_and_protected_where_v2_counts_it() -> Test {
    need(&["memory"])?;
    let name = Name::new("levels");
    let keys = ["mem.high", "8M", "mem.low", "4M", "mem.min", "1M", "-g", &name];
    let ran = cgset(&keys);
    if tree_of("memory")?.join("cgroup.controllers").exists() {
        let dir = PathBuf::from(ran.ok().trim_end());
        let set = ["memory.high", "memory.low", "memory.min"].map(|file| control(&dir, &[file]));
        assert_eq!(set, ["8388608", "4194304", "1048576"]);
        let shown = cgset(&["show", &name]).silent();
        assert!(shown.contains("memory.high 8388608 (8 MiB)\n"), "{shown}");
        // What eats more is held up by the kernel, and not killed.
        let mut eat = Waiting::then(&format!("exec {}", EAT.join(" ")));
        cgset(&["-g", &name, &eat.pid()]).silent();
        eat.start();
        eventually("it is held up", || {
            let events = control(&dir, &["memory.events"]);
            assert!(events.contains("oom_kill 0\n"), "{events}");
            (!events.contains("high 0\n")).then_some(())
        });
        sleep(Duration::from_secs(1));
        assert!(control(&dir, &["memory.events"]).contains("oom_kill 0\n"));
        assert_eq!(members(&dir).len(), 1, "a second is not enough for it now");
    } else {
        let group = format!("\"{}/", tree_of("memory")?.display());
        ran.fails(1, "cgset", &["mem.high: memory is on cgroup v1", &group, "hint: mem is"]);
        assert!(name.groups().is_empty());
    }
    Ok(())
}
