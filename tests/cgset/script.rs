//! What `--dry-run` prints does the same as the tool, and `--dry-run` itself does nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Ran, Test, eventually, need_program, run, scratch};

use crate::layout::{EAT, Name, Waiting, cgset, need, ten_mib, tool};

fn script(args: &[&str]) -> String {
    let script = run(tool().arg("--dry-run").args(args)).ok();
    assert!(script.starts_with("#!/bin/sh\nset -e\n"), "{script}");
    script
}

fn run_script(text: &str) -> Ran {
    let folder = scratch();
    let file = folder.path().join("script");
    fs::write(&file, text).expect("ours");
    run(std::process::Command::new("sh").arg(file))
}

/// What is set in a group, and how many are in it; its name left out.
fn state(name: &Name) -> Value {
    let text = cgset(&["show", "--json", name]).silent().replace(&**name, "NAME");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    let processes = state["processes"].as_array().map_or(0, Vec::len);
    state["processes"] = processes.into();
    for (part, used) in [
        ("memory", &["current", "peak"][..]),
        ("swap", &["current"]),
        ("cpu", &["usage_us", "throttled_us"]),
    ] {
        for field in used {
            state[part][field] = Value::Null;
        }
    }
    state
}

pub fn the_script_sets_and_attaches_the_same() -> Test {
    need(&["memory", "cpu", "pids"])?;
    for keys in [
        &["mem", "20M", "swap", "max", "cpu", "50%", "pids", "64"][..],
        &["mem", "10000000"],
        &["cpu", "1.5", "cpu.weight", "200"],
    ] {
        let (ours, theirs) = (Waiting::idle(), Waiting::idle());
        let (own, other) = (Name::new("by-tool"), Name::new("by-script"));
        let args = |name: &Name, child: &Waiting| -> Vec<String> {
            let words = keys.iter().map(|word| (*word).to_owned());
            words.chain(["-g".into(), (**name).to_owned(), child.pid()]).collect()
        };
        let path = run(tool().args(args(&own, &ours))).ok();
        let words = args(&other, &theirs);
        let dry = script(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(other.groups().is_empty(), "a dry run makes nothing");
        let printed = run_script(&dry).ok();
        assert_eq!(printed.replace(&*other, "NAME"), path.replace(&*own, "NAME"), "{dry}");
        assert_eq!(state(&own), state(&other), "{dry}");
        // And once more, when the groups are there and have other limits.
        let (own_args, other_args) = (["cpu", "max", "-g", &own], ["cpu", "max", "-g", &other]);
        cgset(&own_args).ok();
        run_script(&script(&other_args)).ok();
        assert_eq!(state(&own), state(&other));
    }
    let (ours, theirs) = (Waiting::idle(), Waiting::idle());
    let (own, other) = (Name::of(ours.pid()), Name::of(theirs.pid()));
    cgset(&["pids", "5", &ours.pid()]).silent();
    run_script(&script(&["pids", "5", &theirs.pid()])).silent();
    assert_eq!(state(&own), state(&other));
    let same = |child: &Waiting| child.groups().replace(&format!("cgset-{}", child.pid()), "NAME");
    assert_eq!(same(&ours), same(&theirs));
    Ok(())
}

pub fn the_script_runs_the_command_the_same() -> Test {
    need(&["memory", "pids"])?;
    let look = "sed 's/cgset-[0-9]*/cgset-N/' /proc/self/cgroup; echo \"$0\" \"$@\"; exit 7";
    let leave = "sleep 300 >/dev/null 2>&1 & exit 0";
    let commands: [&[&str]; 6] = [
        &["sh", "-c", look, "it's", "", "a b", "$$"],
        &["sh", "-c", "kill -TERM $$"],
        &["sh", "-c", leave],
        &EAT,
        &["/nowhere/at/all"],
        &["/proc"],
    ];
    for command in commands {
        let keys = [&ten_mib()[..], &["pids", "50", "--"], command].concat();
        let (own, dry) = (cgset(&keys), script(&keys));
        let group = dry.split("cgset-").nth(1).and_then(|rest| rest.split('/').next());
        let group: String =
            group.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let name = Name::of(group);
        let theirs = run_script(&dry);
        assert_eq!((own.status, &own.stdout), (theirs.status, &theirs.stdout), "{dry}{theirs:?}");
        assert!(name.groups().is_empty(), "{dry}");
    }
    Ok(())
}

pub fn the_script_creates_and_removes_the_same() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let (own, other) = (Name::new("made-by-tool"), Name::new("made-by-script"));
    let path = cgset(&["create", &own]).silent();
    let printed = run_script(&script(&["create", &other])).silent();
    assert_eq!(printed.replace(&*other, "NAME"), path.replace(&*own, "NAME"));
    assert_eq!(state(&own), state(&other));
    assert_eq!(run_script(&script(&["rm", &other])).silent(), "");
    assert!(other.groups().is_empty());
    let child = Waiting::then("sleep 300");
    cgset(&["pids", "9", "-g", &own, &child.pid()]).silent();
    let dry = script(&["rm", "--kill", &own]);
    assert_eq!(run_script(&dry).silent(), "");
    assert!(own.groups().is_empty(), "{dry}");
    let stat = format!("/proc/{}/stat", child.pid());
    eventually("it is killed", || fs::read_to_string(&stat).ok()?.contains(") Z ").then_some(()));
    Ok(())
}

pub fn explain_and_dry_run_say_the_same() -> Test {
    need(&["memory", "pids"])?;
    let child = Waiting::idle();
    let (name, pid) = (Name::new("explained"), child.pid());
    let mut keys = ten_mib();
    keys.extend(["pids", "9", "-g", &name]);
    let args = [&keys[..], &[&pid]].concat();
    let dry = script(&args);
    let explained = run(tool().arg("-x").args(&args));
    assert_eq!((explained.status, explained.stdout.lines().count()), (0, 1), "{explained:?}");
    let said = explained.stderr.lines().filter_map(|line| line.strip_prefix("+ "));
    let said = said.fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(format!("#!/bin/sh\nset -e\n{said}"), dry);
    for line in said.lines() {
        assert!(line.contains("  # ") && !line.split("  # ").nth(1).unwrap_or("'").contains('\''));
    }
    Ok(())
}

pub fn a_dry_run_changes_nothing() -> Test {
    need(&["memory", "pids"])?;
    let strace = need_program("strace")?;
    let child = Waiting::idle();
    let name = Name::new("dry");
    cgset(&["create", &name]).silent();
    for args in [
        &["mem", "10M", "pids", "5", &child.pid()][..],
        &["mem", "10M", "-g", &name, &child.pid()],
        &["mem", "10M", "-g", &name, "--", "true"],
        &["create", "never-made"],
        &["rm", &name],
        &["rm", "--kill", &name],
    ] {
        let (calls, _) = traced(&strace, &[&["-n"], args].concat());
        assert!(matches!(calls.as_slice(), [start] if start.contains("execve(")), "{calls:?}");
    }
    Ok(())
}

pub fn nothing_happens_that_was_not_announced() -> Test {
    need(&["memory", "pids"])?;
    let strace = need_program("strace")?;
    let child = Waiting::idle();
    let name = Name::new("announced");
    for args in [
        &["-x", "mem", "100M", "pids", "9", "-g", &name, &child.pid()][..],
        &["-x", "pids", "50", "-g", &format!("{}/inner", &*name), "--", "true"],
        &["-x", "rm", "--kill", &name],
    ] {
        let (calls, ran) = traced(&strace, args);
        let said = ran.stderr;
        let changes = calls
            .iter()
            .filter(|call| ["mkdir(", "rmdir(", "openat("].iter().any(|name| call.contains(name)));
        let paths: Vec<&str> = changes.filter_map(|call| call.split('"').nth(1)).collect();
        assert!(!paths.is_empty(), "{calls:?}");
        for path in paths.into_iter().filter(|path| !path.ends_with("/cgroup.kill")) {
            let announced =
                said.contains(&format!(" {path} ")) || said.contains(&format!(" {path};"));
            assert!(announced, "{path} in {said}");
        }
    }
    assert!(name.groups().is_empty());
    Ok(())
}

/// The calls of cgset that change something, or that may.
fn traced(strace: &Path, args: &[&str]) -> (Vec<String>, Ran) {
    let folder = scratch();
    let log = folder.path().join("log");
    let calls = "trace=mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,mount,umount2,\
        fork,vfork,clone,clone3,execve,kill,tkill,tgkill,pidfd_send_signal,write,pwrite64,open,\
        openat,openat2,ftruncate,fchmodat,fchownat";
    let mut command = std::process::Command::new(strace);
    command.args(["-f", "-e", calls, "-o"]).arg(&log);
    let ran = run(command.arg(env!("CARGO_BIN_EXE_cgset")).args(args));
    assert_eq!(ran.status, 0, "{ran:?}");
    let text = fs::read_to_string(&log).expect("strace wrote it");
    let harmless = |line: &str| line.contains("O_RDONLY") || line.contains("write(1, ");
    let lines = text.lines().filter(|line| line.contains('(') && !harmless(line));
    (lines.map(str::to_owned).collect(), ran)
}
