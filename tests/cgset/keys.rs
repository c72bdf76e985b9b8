//! What the keys beside memory, CPU time, processes, disks and traffic do.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use support::{Test, eventually, run, skip};

use crate::layout::{
    EAT, Name, Waiting, cgset, control, members, need, run_known, ten_mib, tool, tree_of,
};

/// The folder of a group that is set so.
fn set(args: &[&str], name: &Name) -> PathBuf {
    let path = cgset(&[args, &["-g", name]].concat()).silent();
    PathBuf::from(path.trim_end())
}

/// The CPUs or memory nodes that a process may use, as the kernel has it.
fn allowed(pid: &str, what: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.expect("the kernel tells").trim().to_owned()
}

/// With v1 a new group has no CPU at all, and would let nobody in.
pub fn a_group_has_the_cpus_that_it_is_given() -> Test {
    need(&["cpuset"])?;
    let child = Waiting::idle();
    let name = Name::of(child.pid());
    let before = allowed(&child.pid(), "Cpus_allowed_list:");
    let first = before.split([',', '-']).next().expect("there is one").to_owned();
    let path = cgset(&["cpus", &first, &child.pid()]).silent();
    assert_eq!(allowed(&child.pid(), "Cpus_allowed_list:"), first);
    cgset(&["cpus", "max", "mems", "max", &child.pid()]).silent();
    assert_eq!(allowed(&child.pid(), "Cpus_allowed_list:"), before);
    assert_eq!(members(Path::new(path.trim_end())).len(), 1);
    let (_, ran) =
        run_known(&["cpus", &first, "--", "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(ran.silent().split_whitespace().last(), Some(first.as_str()));
    drop(name);
    // Groups in a new group, each of which gets what is above.
    let outer = Name::new("cpuset");
    let inner = format!("{}/a/b", &*outer);
    let child = Waiting::idle();
    cgset(&["mems", "0", "-g", &inner, &child.pid()]).silent();
    assert!(child.groups().contains("/a/b"), "{}", child.groups());
    assert_eq!(allowed(&child.pid(), "Mems_allowed_list:"), "0");
    let shown = cgset(&["show", "--json", &inner]).silent();
    assert!(shown.contains("\"mems\": \"0\""), "{shown}");
    cgset(&["cpus", "9999", "-g", &outer]).fails(
        1,
        "cgset",
        &["cpuset.cpus", "(ERANGE)", "hint: the CPUs that are there"],
    );
    Ok(())
}

pub fn shares_weight_and_idleness_are_one_thing() -> Test {
    need(&["cpu"])?;
    let name = Name::new("weight");
    let dir = set(&["cpu.shares", "512"], &name);
    let file = if dir.join("cpu.weight").exists() { "cpu.weight" } else { "cpu.shares" };
    let wanted = |v2: &'static str, v1: &'static str| if file == "cpu.weight" { v2 } else { v1 };
    assert_eq!(control(&dir, &[file]), wanted("59", "512"));
    set(&["cpu.weight", "100"], &name);
    assert_eq!(control(&dir, &[file]), wanted("100", "1024"));
    if !dir.join("cpu.idle").exists() {
        return Err(skip("this kernel has no cpu.idle"));
    }
    set(&["cpu.weight", "idle"], &name);
    assert_eq!(control(&dir, &["cpu.idle"]), "1");
    set(&["cpu.shares", "2"], &name);
    assert_eq!(control(&dir, &["cpu.idle"]), "0");
    assert_eq!(control(&dir, &[file]), wanted("1", "2"));
    cgset(&["cpu.weight", "5", "cpu.shares", "5", "-g", &name]).fails(2, "cgset", &["given twice"]);
    Ok(())
}

const BURST: [&str; 2] = ["cpu.max.burst", "cpu.cfs_burst_us"];

pub fn a_burst_is_no_more_than_the_quota() -> Test {
    need(&["cpu"])?;
    let name = Name::new("burst");
    let dir = set(&["cpu", "50%", "cpu.burst", "40ms"], &name);
    assert_eq!(control(&dir, &BURST), "40000");
    assert!(cgset(&["show", &name]).silent().contains("cpu.burst 40000 us\n"));
    // Both smaller: the burst has to go first.
    set(&["cpu", "20%", "cpu.burst", "10ms"], &name);
    assert_eq!(control(&dir, &BURST), "10000");
    // Both larger: the quota.
    set(&["cpu.burst", "90ms", "cpu", "100%"], &name);
    assert_eq!(control(&dir, &BURST), "90000");
    let ran = cgset(&["cpu.burst", "200ms", "-g", &name]);
    ran.fails(1, "cgset", &["(EINVAL)", "hint: a burst is not longer than the quota"]);
    let ran = cgset(&["cpu", "10%", "-g", &name]);
    ran.fails(1, "cgset", &["(EINVAL)", "hint: ", "cgset cpu.burst 0"]);
    assert_eq!(control(&dir, &BURST), "90000");
    Ok(())
}

/// With v2 all of a group can be killed at once; with v1 none, and what needs more waits for it.
pub fn what_follows_when_memory_is_used_up_can_be_chosen() -> Test {
    need(&["memory"])?;
    let eat = EAT.join(" ");
    if tree_of("memory")?.join("cgroup.controllers").exists() {
        let script = format!("sleep 30 & {eat}; echo survived");
        let args = [&ten_mib()[..], &["oom", "group", "--", "sh", "-c", &script]].concat();
        let ran = cgset(&args);
        assert_eq!((ran.status, ran.stdout.as_str()), (137, ""), "{ran:?}");
        let ran = cgset(&["oom", "off", "mem", "10M", "--", "true"]);
        ran.fails(125, "cgset", &["set oom off", "v2", "hint: "]);
        return Ok(());
    }
    // It waits only in a page fault of its own: a system call that meets the limit is cut short, as
    // read(2) is for dd, which then ends, if it has room for that.
    let mut child = Waiting::then(
        "exec awk 'BEGIN { text = \"x\"; while (length(text) < 33554432) text = text text }'",
    );
    let name = Name::of(child.pid());
    let path = cgset(&[&ten_mib()[..], &["oom", "off", &child.pid()]].concat()).silent();
    let dir = PathBuf::from(path.trim_end());
    assert!(cgset(&["show", &name]).silent().contains(" oom off\n"));
    child.start();
    eventually("it hangs", || {
        control(&dir, &["memory.oom_control"]).contains("under_oom 1").then_some(())
    });
    cgset(&["mem", "max", "-g", &name]).silent();
    assert_eq!(child.end().signal(), None, "with more memory it goes on to its end");
    assert!(control(&dir, &["memory.oom_control"]).contains("oom_kill 0"));
    let ran = run(tool().args(["oom", "group", "-g", &name]));
    ran.fails(1, "cgset", &["set oom group", "v1", "hint: "]);
    Ok(())
}

const HUGE: [&str; 2] = ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"];
const RESERVED: [&str; 2] = ["hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.limit_in_bytes"];

pub fn huge_pages_are_limited_in_whole_pages() -> Test {
    need(&["hugetlb"])?;
    let name = Name::new("huge");
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    if !sizes.into_iter().any(|entry| entry.file_name() == "hugepages-2048kB") {
        return Err(skip("no huge pages of 2 MiB here"));
    }
    let dir = set(&["huge.2MB", "4M", "huge.2MB.rsvd", "4M"], &name);
    let ran = cgset(&["huge.2MB", "5M", "-g", &name]);
    let note =
        "cgset: note: 5242880 bytes are 4194304 for the kernel, which counts in pages of 2 MiB\n";
    assert_eq!((ran.status, ran.stderr.as_str()), (0, note));
    cgset(&["--strict", "huge.2MB", "5M", "-g", &name]).fails(1, "cgset", &["pages of 2 MiB"]);
    assert_eq!(control(&dir, &HUGE), "4194304");
    assert!(cgset(&["show", &name]).silent().contains("huge.limit 2MB 4194304 (4 MiB)\n"));
    assert_eq!(control(&dir, &RESERVED), "4194304");
    set(&["huge.2MB", "max"], &name);
    assert_ne!(control(&dir, &HUGE), "4194304");
    cgset(&["huge.64KB", "1M", "-g", &name]).fails(1, "cgset", &["hugetlb.64KB", "hint: "]);
    Ok(())
}

pub fn a_share_of_the_disks_is_set_where_the_kernel_has_one() -> Test {
    need(&[])?;
    let io = tree_of("io").or_else(|_| tree_of("blkio"))?;
    let name = Name::new("share");
    let ran = cgset(&["io.weight", "200", "-g", &name]);
    if ran.status != 0 {
        ran.fails(1, "cgset", &["weight", "(ENOENT)", "hint: "]);
        assert!(name.groups().is_empty(), "{io:?}");
        return Err(skip("this kernel has neither io.weight nor bfq"));
    }
    let dir = PathBuf::from(ran.silent().trim_end());
    let shown = control(&dir, &["io.weight", "blkio.bfq.weight"]);
    assert!(cgset(&["show", &name]).silent().contains("io.weight default 200\n"));
    assert!(["default 200", "200"].contains(&shown.lines().next().expect("a line")), "{shown}");
    Ok(())
}
