//! Control files by the names that the kernel gives them.

use std::path::PathBuf;

use support::Test;

use crate::layout::{MEMORY, Name, cgset, control, need, tree_of};

pub fn kernel_names_are_set_read_back_and_taken_back() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let name = Name::new("raw");
    let dir = |path: String| PathBuf::from(path.trim_end());
    // One name means the same with either version.
    for file in ["memory.max", "memory.limit_in_bytes"] {
        let memory = dir(cgset(&["-r", &format!("{file}=20M"), &name]).ok());
        assert_eq!(control(&memory, &MEMORY), "20971520");
        cgset(&["mem", "30M", "-g", &name]).ok();
    }
    // No limit, as v1 has it; only under the name that v1 has.
    let memory = dir(cgset(&["-r", "memory.limit_in_bytes=-1", &name]).ok());
    assert!(["max", "9223372036854771712"].contains(&control(&memory, &MEMORY).as_str()));
    cgset(&["-r", "memory.max=-1", &name]).fails(2, "cgset", &["\"-1\"", "hint: "]);
    let cpu = dir(cgset(&["cpu.idle", "1", "-g", &name]).silent());
    assert_eq!(control(&cpu, &["cpu.idle"]), "1");
    // The second fails; the first is as it was.
    let both = ["cpu.idle", "0", "pids.nonsense", "7", "-g", &*name];
    cgset(&both).fails(1, "cgset", &["pids.nonsense", "(ENOENT)", "hint: this kernel's groups"]);
    assert_eq!(control(&cpu, &["cpu.idle"]), "1");
    cgset(&["cpu.idle", "5", "-g", &name]).fails(1, "cgset", &["\"5\"", "cpu.idle", "(EINVAL)"]);
    cgset(&["cpu.idle", "01", "-g", &name]).fails(2, "cgset", &["\"01\"", "octal"]);
    assert_eq!(control(&cpu, &["cpu.idle"]), "1");
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn a_controller_without_a_key_is_reached() -> Test {
    need(&["cpuset"])?;
    let name = Name::new("cpuset");
    let path = cgset(&["cpuset.cpus", "0", "cpuset.mems", "0", "-g", &name]).silent();
    let dir = PathBuf::from(path.trim_end());
    assert_eq!(control(&dir, &["cpuset.cpus"]), "0");
    let child = crate::layout::Waiting::idle();
    if dir.join("cpuset.memory_migrate").exists() {
        let half = Name::new("half");
        let args = ["cpuset.cpus", "0", "-g", &*half, &child.pid()];
        let path = cgset(&args).silent();
        let mems = control(&PathBuf::from(path.trim_end()), &["cpuset.mems"]);
        assert_eq!(mems, control(&tree_of("cpuset")?, &["cpuset.mems"]));
        assert!(child.groups().contains(&*half), "{}", child.groups());
    }
    // What a shell would take for more than a word is quoted.
    let dry = cgset(&["-n", "cpuset.cpus", "all;$(id)", "-g", &name]).ok();
    assert!(dry.contains("echo 'all;$(id)' > "), "{dry}");
    let cpus = ["-g", &name, "--", "grep", "Cpus_allowed_list", "/proc/self/status"];
    assert_eq!(cgset(&cpus).silent(), "Cpus_allowed_list:\t0\n");
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

/// What can't be read, can't be read back either.
pub fn a_file_that_is_only_written_to_is_refused() -> Test {
    let tree = tree_of("devices")?;
    need(&["devices"])?;
    let name = Name::new("written");
    let refused = cgset(&["-r", "devices.deny=a", &name]);
    refused.fails(1, "cgset", &["(EINVAL)", "hint: ", "dev.deny", "echo"]);
    assert!(!tree.join(&*name).exists());
    Ok(())
}
