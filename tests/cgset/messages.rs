//! What cgset says to each refusal of the kernel that people meet: the object, the reason, and what
//! mends it. These are elsewhere:
//!
//! | refusal | test |
//! | --- | --- |
//! | no PID; not a PID; process 1 | `wrong::wrong_usage_is_one_line_with_its_status` |
//! | the process has gone (ESRCH) | `attach::a_pid_that_is_gone_leaves_nothing` |
//! | a thread, one of the kernel's (EINVAL) | `attach::what_is_no_process_of_its_own_is_refused` |
//! | a limit below what is used (EBUSY) | `attach::a_limit_below_what_is_used_is_refused` |
//! | memory above memory and swap (EINVAL) | avoided: `limits::swap_is_limited_beside_memory` |
//! | memory is on v1, the file on v2 | `limits::memory_is_throttled_and_protected_where_…` |
//! | no right, without root (EACCES) | `wrong::without_privileges_it_says_so_and_leaves_nothing` |
//! | mounted read-only (EROFS) | `wrong::a_read_only_mount_is_explained` |
//! | v1 cpuset without memory nodes (ENOSPC) | `raw::a_controller_without_a_key_is_reached` |
//! | no such disk | `io::what_is_no_disk_is_refused_and_leaves_nothing` |
//! | a group with processes is removed | `groups::a_group_with_processes_is_not_removed_unless_…` |

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use support::{Skip, Test, eventually, need_program, private_sh, run, scratch, skip};

use crate::faults::failing;
use crate::io::need_io;
use crate::layout::{
    Holder, Name, Nobody, Waiting, cgset, control, groups_called, members, need, need_v2, tree_of,
    until_it_holds,
};

/// A key that only a v2 group takes here, of a controller that no threaded group has; and a value.
fn v2_only() -> Result<[&'static str; 2], Skip> {
    need_v2()?;
    let keys = [("memory", ["memory.max", "10M"]), ("hugetlb", ["hugetlb.2MB.max", "2M"])];
    let on_v2 = |controller| tree_of(controller).is_ok_and(|tree| is_v2(&tree));
    let found = keys.into_iter().find(|(controller, _)| on_v2(controller));
    found.map(|(_, key)| key).ok_or_else(|| skip("neither memory nor hugetlb is on v2 here"))
}

fn is_v2(dir: &std::path::Path) -> bool {
    dir.join("cgroup.controllers").exists()
}

/// Makes a group in the v2 tree alone.
fn make(group: &str) -> std::path::PathBuf {
    cgset(&["cgroup.max.depth", "9", "-g", group]).silent().trim_end().into()
}

pub fn a_tenth_of_the_limit_held_before_is_noted() -> Test {
    need(&["memory"])?;
    let holder = Holder::start(&mut Command::new("dd"));
    until_it_holds(holder.id());
    let (name, pid) = (Name::new("tenth"), holder.id().to_string());
    cgset(&["--strict", "mem", "1G", "-g", &name, &pid]).silent();
    cgset(&["rm", "--kill", &name]).silent();
    let holder = Holder::start(&mut Command::new("dd"));
    until_it_holds(holder.id());
    let said = cgset(&["mem", "100M", "-g", &name, &holder.id().to_string()]).stderr;
    for part in ["already holds 3", "MiB", "limit of 100 MiB", "from the start: cgset mem"] {
        assert!(said.contains(part), "{said}");
    }
    Ok(())
}

/// A percentage without its sign is as many CPUs.
pub fn more_cpus_than_there_are_are_noted() -> Test {
    need(&["cpu"])?;
    let name = Name::new("cpus");
    for (cpus, noted) in [("50000", true), ("50000%", true), ("1", false)] {
        let ran = cgset(&["cpu", cpus, "-g", &name]);
        let note = "and this machine has";
        assert!(ran.status == 0 && ran.stderr.contains(note) == noted, "{ran:?}");
        assert_eq!(ran.stderr.contains("50% is half of one"), noted, "{ran:?}");
    }
    Ok(())
}

pub fn swap_that_is_not_limited_is_noted() -> Test {
    need(&["memory"])?;
    need_program("unshare")?;
    let (name, folder) = (Name::new("swapping"), scratch());
    let script = "sed 's/^SwapTotal:.*/SwapTotal: 262144 kB/' /proc/meminfo >\"$1\"
        mount --bind \"$1\" /proc/meminfo; shift; exec \"$@\"";
    let with_swap = |args: &[&str]| {
        let mut command = private_sh(script);
        command.arg(folder.path().join("meminfo")).arg(env!("CARGO_BIN_EXE_cgset"));
        run(command.args(args).args(["-g", &name]))
    };
    let note = "256 MiB of swap is active and not limited; add swap 0 for no more than 10 MiB\n";
    assert_eq!(with_swap(&["mem", "10M"]).stderr, format!("cgset: note: {note}"));
    let limited = with_swap(&["-n", "mem", "10M", "swap", "0"]).silent();
    assert!(!limited.contains("swap is active"), "{limited}");
    Ok(())
}

/// ENOENT
pub fn a_controller_that_is_not_handed_down_is_named() -> Test {
    let [key, value] = v2_only()?;
    let name = Name::new("handed");
    cgset(&[key, value, "-g", &name]).silent();
    let controller = key.split('.').next().unwrap_or_default();
    let (inner, written) = (format!("{}/inner", &*name), controller.len() + 1);
    // As if somebody had taken the controller away again at once.
    let fault = format!("write:retval={written}");
    let ran = failing(&fault, 1, &[key, value, "-g", &inner])?;
    let hint = format!("hint: {controller} is not handed down to it: echo +{controller} > /");
    ran.fails(1, "cgset", &["read", key, "(ENOENT)", &hint, "cgroup.subtree_control"]);
    let nothing = format!("{controller}.nonsense");
    let ran = cgset(&[&nothing, "1", "-g", &name]);
    ran.fails(1, "cgset", &[&nothing, "(ENOENT)", "hint: this kernel's groups have no such file"]);
    Ok(())
}

pub fn a_controller_without_a_tree_is_looked_for() -> Test {
    need(&[])?;
    let all = [("net_cls", "net_cls.classid"), ("rdma", "rdma.max"), ("misc", "misc.max")];
    let missing = all.into_iter().find(|(controller, _)| tree_of(controller).is_err());
    let (controller, file) = missing.ok_or_else(|| skip("all controllers are there"))?;
    let parts = [&format!("find the {controller} controller: not in /"), "hint: grep"];
    cgset(&[file, "1", "-g", "never-made"]).fails(1, "cgset", &parts);
    assert!(groups_called("never-made").is_empty());
    Ok(())
}

/// EBUSY of `cgroup.subtree_control`, and of `cgroup.procs` the other way round.
pub fn processes_and_inner_groups_do_not_go_together() -> Test {
    let [key, value] = v2_only()?;
    let (name, child) = (Name::new("inner"), Waiting::idle());
    let inner = format!("{}/inner/leaf", &*name);
    cgset(&[key, value, "-g", &name, &child.pid()]).silent();
    let holds = format!("holds processes itself ({} sh)", child.pid());
    cgset(&[key, value, "-g", &inner]).fails(1, "cgset", &[&holds, "hint: "]);
    drop(child);
    cgset(&["wait", "empty", &name]).silent();
    cgset(&[key, value, "-g", &inner]).silent();
    let child = Waiting::idle();
    let before = child.groups();
    let parts = ["(EBUSY)", "hint: ", "attach to one of them", &inner];
    cgset(&["-g", &name, &child.pid()]).fails(1, "cgset", &parts);
    assert_eq!(child.groups(), before);
    Ok(())
}

/// EOPNOTSUPP
pub fn a_threaded_group_above_is_named() -> Test {
    let [key, value] = v2_only()?;
    let (name, child) = (Name::new("threads"), Waiting::idle());
    let (one, two) = (format!("{}/one", &*name), format!("{}/two", &*name));
    fs::write(make(&one).join("cgroup.type"), "threaded").expect("ours");
    assert_eq!(control(&make(&two), &["cgroup.type"]), "domain invalid");
    let parts = ["(EOPNOTSUPP)", "hint: ", "is \"domain invalid\", for ", "\"domain threaded\""];
    let before = child.groups();
    cgset(&["-g", &two, &child.pid()]).fails(1, "cgset", &parts);
    assert_eq!(child.groups(), before);
    let parts = ["cgroup.subtree_control", "hint: the group is threaded"];
    cgset(&[key, value, "-g", &one]).fails(1, "cgset", &parts);
    Ok(())
}

/// EACCES of `cgroup.procs`, which the user may write to.
pub fn the_group_above_both_takes_a_right_too() -> Test {
    need_v2()?;
    if tree_of("memory")? != tree_of("pids")? {
        return Err(skip("memory and pids are not in one tree here"));
    }
    let (name, user) = (Name::new("given"), Nobody::new());
    cgset(&["create", "--delegate", &Nobody::UID.to_string(), &name]).silent();
    let mut command = Command::new("sh");
    command.args(["-c", "read -r word"]).uid(Nobody::UID).gid(Nobody::UID).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a shell");
    let ran = user.cgset(&["-g", &name, &child.id().to_string()]);
    drop(child.stdin.take());
    child.wait().expect("our child");
    let parts = ["(EACCES)", "hint: it comes from \"/", "right to write to \"/", "systemd-run"];
    ran.fails(1, "cgset", &parts);
    Ok(())
}

/// EINVAL of `cgroup.procs`
pub fn a_real_time_process_is_told_from_others() -> Test {
    need(&["cpu"])?;
    let chrt = need_program("chrt")?;
    if !tree_of("cpu")?.join("cpu.rt_runtime_us").exists() {
        return Err(skip("this kernel does not count real time by groups"));
    }
    let child = Waiting::idle();
    let (name, pid) = (Name::of(child.pid()), child.pid());
    run(Command::new(&chrt).args(["--fifo", "--pid", "1", &pid])).silent();
    let before = child.groups();
    let parts = ["(EINVAL)", "is a real-time process", "chrt --other --pid 0", "cpu.rt_runtime_us"];
    cgset(&["cpu", "50%", &pid]).fails(1, "cgset", &parts);
    assert_eq!((child.groups(), name.groups().len()), (before, 0));
    let mut command = Command::new(&chrt);
    command.args(["--fifo", "1", env!("CARGO_BIN_EXE_cgset"), "cpu", "50%", "--", "true"]);
    run(&mut command).fails(125, "cgset", &parts);
    run(Command::new(&chrt).args(["--other", "--pid", "0", &pid])).silent();
    cgset(&["cpu", "50%", &pid]).silent();
    Ok(())
}

/// EINVAL of a process that has only just been started, and ENOMEM of old kernels.
pub fn a_new_process_is_tried_again() -> Test {
    need(&["pids"])?;
    let strace = need_program("strace")?;
    let (name, child) = (Name::new("young"), Waiting::idle());
    cgset(&["create", &name]).silent();
    let args = ["-g", &*name, &child.pid()];
    let ran = failing("write:error=ENOMEM", 1, &args)?;
    ran.fails(1, "cgset", &["cgroup.procs", "(ENOMEM)", "hint: ", "does not fit"]);
    let always = ["-qq", "-o", "/dev/null", "-e", "inject=write:error=EINVAL:when=1..6"];
    let mut command = Command::new(strace);
    let ran = run(command.args(always).arg(env!("CARGO_BIN_EXE_cgset")).args(args));
    ran.fails(1, "cgset", &["cgroup.procs", "(EINVAL)", "hint: ", "a thread of the kernel?"]);
    assert!(name.groups().iter().all(|dir| members(dir).is_empty()));
    failing("write:error=EINVAL", 1, &args)?.silent();
    assert!(name.groups().iter().all(|dir| members(dir).len() == 1));
    Ok(())
}

/// ERANGE, EINVAL, EACCES and EBUSY of `cpuset.cpus`
pub fn cpus_that_are_not_there_are_refused_with_those_that_are() -> Test {
    need(&["cpuset"])?;
    let name = Name::new("cpus");
    let online = fs::read_to_string("/sys/devices/system/cpu/online").expect("sysfs");
    let hint = format!("hint: the CPUs that are there: {}; a list is as", online.trim());
    let fails = |args: &[&str], group: &str, parts: &[&str]| {
        cgset(&[args, &["-g", group]].concat()).fails(1, "cgset", parts);
    };
    fails(&["cpuset.cpus", "8191"], &name, &["\"8191\"", "cpuset.cpus", "(ERANGE)", &hint]);
    fails(&["cpuset.cpus", "3-1"], &name, &["\"3-1\"", "(EINVAL)", &hint]);
    fails(&["cpuset.mems", "1023"], &name, &["cpuset.mems", "hint: the memory nodes that are"]);
    assert!(name.groups().is_empty());
    if is_v2(&tree_of("cpuset")?) || online.trim() == "0" {
        return Ok(());
    }
    let inner = format!("{}/a", &*name);
    cgset(&["cpuset.cpus", "0", "-g", &name]).silent();
    fails(&["cpuset.cpus", "0-1"], &inner, &["(EACCES)", "hint: ", "only of the group above"]);
    cgset(&["cpuset.cpus", "0-1", "-g", &name]).silent();
    cgset(&["cpuset.cpus", "0-1", "-g", &inner]).silent();
    fails(&["cpuset.cpus", "0"], &name, &["(EBUSY)", "hint: a group below has CPUs"]);
    Ok(())
}

/// EINVAL of the quota, the burst and the weight.
pub fn each_reason_to_refuse_cpu_time_is_told_from_the_others() -> Test {
    need(&["cpu"])?;
    let name = Name::new("reasons");
    let v2 = is_v2(&tree_of("cpu")?);
    let (burst, quota) =
        if v2 { ("cpu.max.burst", "cpu.max") } else { ("cpu.cfs_burst_us", "cpu.cfs_quota_us") };
    let inner = format!("{}/a", &*name);
    let fails = |args: &[&str], group: &str, parts: &[&str]| {
        let parts = [&["(EINVAL)", "hint: "], parts].concat();
        cgset(&[args, &["-g", group]].concat()).fails(1, "cgset", &parts);
    };
    cgset(&["cpu", "50%", "-g", &name]).silent();
    fails(&[quota, "500"], &name, &["\"500\"", "each of them at least 1000"]);
    let long = if v2 { ["cpu.max", "9000 2000000"] } else { ["cpu.cfs_period_us", "2000000"] };
    fails(&long, &name, &["2000000\"", "the period at most 1000000"]);
    fails(&[burst, "60000"], &name, &["a burst is not longer than the quota, here 50000 us"]);
    if !v2 {
        let part = ["no larger part of the CPU", &*name, "\" has 50000 us in 100000 us"];
        fails(&["cpu", "60%"], &inner, &part);
        cgset(&["cpu", "40%", "-g", &inner]).silent();
        fails(&["cpu", "30%"], &name, &["no larger part of the CPU", "one below this has more"]);
        cgset(&["rm", &inner]).silent();
    }
    cgset(&[burst, "20000", "-g", &name]).silent();
    fails(&["cpu", "10%"], &name, &["not shorter than the burst", "cgset cpu.burst 0"]);
    cgset(&["cpu.idle", "1", "-g", &name]).silent();
    if v2 {
        let idle = ["cpu.idle is 1", "cgset cpu.idle 0 --group /"];
        fails(&["cpu.weight.nice", "7"], &name, &idle);
    }
    // A key of cgset's own ends idleness by itself.
    cgset(&["cpu.weight", "7", "-g", &name]).silent();
    Ok(())
}

/// ENODEV
pub fn a_disk_that_the_kernel_does_not_know_is_refused() -> Test {
    need_io()?;
    let name = Name::new("disk");
    let v2 = tree_of("io").is_ok();
    let [file, line] = if v2 {
        ["io.max", "511:99 rbps=1000000"]
    } else {
        ["blkio.throttle.read_bps_device", "511:99 1000000"]
    };
    cgset(&[file, line, "-g", &name]).fails(
        1,
        "cgset",
        &[line, file, "(ENODEV)", "hint: ", "lsblk"],
    );
    assert!(name.groups().is_empty());
    Ok(())
}

/// EBUSY of rmdir: a process came after it was looked whether there is one.
pub fn a_group_that_stays_busy_is_listed() -> Test {
    need(&["pids"])?;
    let strace = need_program("strace")?;
    let (name, folder, child) = (Name::new("busy"), scratch(), Waiting::idle());
    cgset(&["create", &name]).silent();
    let log = folder.path().join("log");
    let mut command = Command::new(strace);
    command.args(["-qq", "-e", "trace=rmdir", "-e", "inject=rmdir:error=EBUSY", "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_cgset")).args(["rm", &name]);
    let ran = std::thread::spawn(move || run(&mut command));
    eventually("it has tried", || fs::read_to_string(&log).ok()?.contains("EBUSY").then_some(()));
    cgset(&["-g", &name, &child.pid()]).silent();
    let ran = ran.join().expect("the thread");
    let hint = format!("hint: processes are in it: {} sh\n", child.pid());
    ran.fails(1, "cgset", &["remove the group \"/", "(EBUSY)", &hint]);
    Ok(())
}

/// EAGAIN of mkdir
pub fn the_group_that_limits_the_number_of_groups_is_named() -> Test {
    need_v2()?;
    let (wide, deep) = (Name::new("wide"), Name::new("deep"));
    let full = |name: &Name, what: &str, group: &str| {
        let hint =
            format!("{}\" has {what} 1, which is reached: cgset {what} 2 --group /", &**name);
        let args = ["cgroup.max.depth", "9", "-g", group];
        cgset(&args).fails(1, "cgset", &["make the group", "(EAGAIN)", "hint: \"/", &hint]);
    };
    cgset(&["cgroup.max.descendants", "1", "-g", &wide]).silent();
    make(&format!("{}/a", &*wide));
    full(&wide, "cgroup.max.descendants", &format!("{}/b", &*wide));
    cgset(&["cgroup.max.depth", "1", "-g", &deep]).silent();
    make(&format!("{}/a", &*deep));
    full(&deep, "cgroup.max.depth", &format!("{}/a/b", &*deep));
    Ok(())
}

/// EPERM and EINVAL of bpf(2)
pub fn what_network_limits_take_is_said() -> Test {
    need_v2()?;
    let name = Name::new("bpf");
    for (errno, hint) in [("EPERM", "CAP_BPF and CAP_NET_ADMIN"), ("EINVAL", "CONFIG_CGROUP_BPF")] {
        let ran = failing(&format!("bpf:error={errno}"), 1, &["net", "8mbit", "-g", &name])?;
        ran.fails(1, "cgset", &["net.", &format!("({errno})"), "hint: ", hint]);
        assert!(name.groups().is_empty());
    }
    Ok(())
}
