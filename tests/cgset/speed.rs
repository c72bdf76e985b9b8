//! What cgset costs, in system calls: their number is the same on a busy machine, and in a debug
//! build. `scripts/bench-cgset` measures the times, beside the shell and libcgroup.

use std::fs;
use std::process::Command;

use support::{Skip, Test, need_program, run, scratch};

use crate::layout::{Name, Waiting, cgset, need, tree_of};

/// The names of the system calls that cgset makes, in their order, with those of its children.
fn calls(args: &[&str]) -> Result<Vec<String>, Skip> {
    let strace = need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let mut command = Command::new(strace);
    // Cargo names folders to the loader, which looks for each library in each of them.
    command.env_remove("LD_LIBRARY_PATH");
    command.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&log);
    run(command.arg(env!("CARGO_BIN_EXE_cgset")).args(args)).ok();
    let log = fs::read_to_string(&log).expect("strace wrote it");
    let name = |line: &str| {
        let call = line.split_once('(')?.0;
        call.split_whitespace().nth(1).map(str::to_owned)
    };
    Ok(log.lines().filter_map(name).collect())
}

/// The shell's `mkdir; echo; echo` is two processes and 218 calls, libcgroup's three commands are
/// four and 429; here a static release build makes 118, and a debug build 176.
pub fn one_call_is_one_process_and_writes_each_thing_once() -> Test {
    need(&["memory"])?;
    let child = Waiting::idle();
    let name = Name::of(child.pid());
    // With v2 the first call may have to have the controller handed down.
    let first = Name::new("first");
    cgset(&["mem", "20M", "-g", &first]).silent();
    let calls = calls(&["mem", "20M", &child.pid()])?;
    let count = |names: &[&str]| calls.iter().filter(|call| names.contains(&&***call)).count();
    let groups = name.groups().len();
    assert_eq!(count(&["execve", "execveat"]), 1, "{calls:?}");
    assert_eq!(count(&["fork", "vfork", "clone", "clone3"]), 0, "{calls:?}");
    assert_eq!(count(&["mkdir", "mkdirat"]), groups, "{calls:?}");
    // The limit, the process in each tree, and the path to standard output.
    assert_eq!(count(&["write"]), 1 + groups + 1, "{calls:?}");
    assert_eq!(count(&["nanosleep", "clock_nanosleep"]), 0, "{calls:?}");
    assert!(calls.len() < 250, "{}: {calls:?}", calls.len());
    Ok(())
}

pub fn each_group_more_costs_ls_the_same_few_calls() -> Test {
    need(&["memory"])?;
    let name = Name::new("many");
    let dir = tree_of("memory")?.join(&*name);
    fs::create_dir(&dir).expect("ours");
    let mut counts = Vec::new();
    for ten in 0..4 {
        counts.push(calls(&["ls", &name])?.len());
        for one in 0..10 {
            fs::create_dir(dir.join(format!("{ten}{one}"))).expect("ours");
        }
    }
    let more: Vec<usize> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // For each: open, look, read, read that nothing more comes, close; and now and then memory. By
    // musl each descriptor is told once more that it ends with the exec.
    let most = if cfg!(target_env = "musl") { 75 } else { 60 };
    assert!(more.iter().all(|more| (50..=most).contains(more)), "{counts:?}");
    assert!(more[2] <= more[0] + 10, "not more with more groups: {counts:?}");
    Ok(())
}
