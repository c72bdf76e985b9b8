//! All processes of a group at once: stopped, ended, waited for; and what is left of the dead.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Skip, Test, eventually, run, scratch, wait};

use crate::layout::{EAT, Name, Waiting, cgset, need, pruning, ten_mib, tool, tree_of};

/// Skips a test where nothing freezes: v1 without its freezer.
fn need_freezer() -> Test {
    need(&["pids"])?;
    crate::layout::need_v2().or_else(|_| tree_of("freezer").map(drop))
}

/// A shell of ours in the group, which adds a byte to a file as often as it can, with pauses.
fn busy(name: &Name) -> Result<(Waiting, support::TempDir), Skip> {
    let folder = scratch();
    let file = folder.path().join("progress");
    let script = format!("while :; do printf x >>{}; sleep 0.01; done", file.display());
    let mut child = Waiting::then(&script);
    cgset(&["pids", "50", "-g", name, &child.pid()]).ok();
    // Pure v1: nobody joins the freezer's tree unasked.
    if let (Err(_), Ok(tree)) = (crate::layout::need_v2(), tree_of("freezer")) {
        fs::create_dir(tree.join(&**name)).expect("ours");
        fs::write(tree.join(&**name).join("cgroup.procs"), child.pid()).expect("ours");
    }
    child.start();
    eventually("it makes progress", || (length(&folder) > 3).then_some(()));
    Ok((child, folder))
}

fn length(folder: &support::TempDir) -> u64 {
    fs::metadata(folder.path().join("progress")).map_or(0, |file| file.len())
}

pub fn what_is_frozen_makes_no_progress() -> Test {
    need_freezer()?;
    let name = Name::new("frozen");
    let (_child, folder) = busy(&name)?;
    let mut waiting = start(&["wait", "frozen", &name]);
    assert_eq!(cgset(&["freeze", &name]).silent(), "");
    let stopped = length(&folder);
    sleep(Duration::from_millis(300));
    assert_eq!(length(&folder), stopped);
    assert_eq!(wait(&mut waiting, Duration::from_secs(10)).and_then(|s| s.code()), Some(0));
    cgset(&["freeze", &name]).silent();
    assert_eq!(cgset(&["thaw", &name]).silent(), "");
    eventually("it goes on", || (length(&folder) > stopped + 3).then_some(()));
    Ok(())
}

pub fn kill_works_through_a_freeze() -> Test {
    need_freezer()?;
    let name = Name::new("killed");
    let (child, _folder) = busy(&name)?;
    cgset(&["freeze", &name]).silent();
    assert_eq!(cgset(&["kill", &name]).silent(), "");
    assert!(!name.groups().is_empty(), "the group stays");
    assert!(cgset(&["show", &name]).silent().contains("processes 0\n"));
    let state = fs::read_to_string(format!("/proc/{}/stat", child.pid())).expect("not reaped");
    assert!(state.contains(") Z "), "{state}");
    cgset(&["thaw", &name]).silent();
    assert_eq!(cgset(&["kill", &name]).silent(), "", "nobody is there");
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    Ok(())
}

fn start(args: &[&str]) -> Child {
    tool().args(args).stdout(Stdio::null()).spawn().expect("it starts")
}

pub fn waiting_ends_when_it_happens() -> Test {
    need(&["pids"])?;
    let name = Name::new("waited");
    let (mut one, mut two) = (Waiting::idle(), Waiting::idle());
    cgset(&["pids", "50", "-g", &name, &one.pid(), &two.pid()]).silent();
    let mut waiting = start(&["wait", "empty", &name]);
    one.go();
    sleep(Duration::from_millis(100));
    assert!(waiting.try_wait().expect("ours").is_none(), "one is still there");
    let told = Instant::now();
    two.go();
    let status = wait(&mut waiting, Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    cgset(&["wait", "empty", &name]).silent();
    // Whoever waits can be ended.
    let three = Waiting::idle();
    cgset(&["-g", &name, &three.pid()]).silent();
    let mut waiting = start(&["wait", "empty", &name]);
    sleep(Duration::from_millis(100));
    kill(Pid::from_raw(waiting.id().try_into().expect("a PID")), Signal::SIGTERM).expect("ours");
    let status = wait(&mut waiting, Duration::from_secs(10)).expect("it ends");
    assert_eq!(status.code(), None, "{status}");
    cgset(&["wait", "rain", &name]).fails(2, "cgset", &["\"rain\"", "empty|frozen|oom"]);
    cgset(&["wait", "empty", "none-such"]).fails(1, "cgset", &["there is none of this name"]);
    Ok(())
}

pub fn oom_is_told_of() -> Test {
    need(&["memory"])?;
    let name = Name::new("oom");
    let mut child = Waiting::then(&EAT.join(" "));
    cgset(&[&ten_mib()[..], &["-g", &name, &child.pid()]].concat()).ok();
    let mut waiting = start(&["wait", "oom", &name]);
    sleep(Duration::from_millis(200));
    assert!(waiting.try_wait().expect("ours").is_none(), "nobody was killed yet");
    child.go();
    let status = wait(&mut waiting, Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    Ok(())
}

pub fn abandoned_groups_are_pruned() -> Test {
    need(&["pids"])?;
    let _alone = pruning();
    // A cgset that is killed takes COMMAND along, and can't remove its group; a process that ends
    // does not.
    let mut command = tool();
    command.args(["pids", "50", "--", "sleep", "300"]).stdout(Stdio::null());
    let mut killed = command.spawn().expect("it starts");
    let left = Name::of(killed.id());
    eventually("COMMAND runs", || {
        left.groups().iter().flat_map(|dir| crate::layout::members(dir)).next()
    });
    let mut child = Waiting::idle();
    let ended = Name::of(child.pid());
    cgset(&["pids", "50", &child.pid()]).silent();
    let alive = Waiting::idle();
    cgset(&["pids", "50", &alive.pid()]).silent();
    killed.kill().and_then(|()| killed.wait()).expect("our child");
    child.go();
    drop(child);
    let here = [&left, &ended].map(Name::groups).concat();
    assert!(here.len() >= 2);
    eventually("they are empty", || {
        here.iter().all(|dir| crate::layout::members(dir).is_empty()).then_some(())
    });
    let dry = run(tool().args(["-n", "prune"])).ok();
    let said = cgset(&["prune"]).silent();
    for dir in here {
        let dir = dir.display().to_string();
        assert!(said.lines().any(|line| line == dir) && dry.contains(&dir), "{dir} in {said}");
    }
    assert!(left.groups().is_empty() && ended.groups().is_empty());
    assert!(!Name::of(alive.pid()).groups().is_empty());
    Ok(())
}

pub fn this_very_process_is_neither_frozen_nor_killed() -> Test {
    need_freezer()?;
    let name = Name::new("self");
    for verb in ["freeze", "thaw", "kill"] {
        let own = format!("exec {} {verb} {}", env!("CARGO_BIN_EXE_cgset"), &*name);
        let ran = cgset(&["pids", "50", "-g", &name, "--", "sh", "-c", &own]);
        ran.fails(1, "cgset", &["this very cgset is in it", "hint: "]);
        cgset(&[verb]).fails(2, "cgset", &["takes a GROUP"]);
        cgset(&[verb, "none-such"]).fails(1, "cgset", &["there is none of this name"]);
    }
    Ok(())
}

/// A group that is frozen itself, or by one above, stops all that comes into it.
pub fn a_frozen_group_is_noted() -> Test {
    need(&["pids"])?;
    crate::layout::need_v2()?;
    let name = Name::new("cold");
    let inner = format!("{}/inner", &*name);
    cgset(&["pids", "50", "-g", &inner]).silent();
    cgset(&["freeze", &name]).silent();
    let child = Waiting::idle();
    for group in [&*name, &*inner] {
        let wanted = format!("is frozen: nothing in it runs until cgset thaw {}", &*name);
        for args in [&[&*child.pid()][..], &["--", "true"]] {
            let args = [&["-n", "pids", "40", "-g", group], args].concat();
            let ran = cgset(&args);
            assert!(ran.status == 0 && ran.stdout.contains(&wanted), "{args:?}: {ran:?}");
            let strict = [&["--strict"], &args[..]].concat();
            let status = if args.contains(&"--") { 125 } else { 1 };
            cgset(&strict).fails(status, "cgset", &[&wanted, "hint: "]);
        }
        // Nobody is stopped by a limit alone.
        cgset(&["pids", "40", "-g", group]).silent();
    }
    cgset(&["thaw", &name]).silent();
    cgset(&["pids", "40", "-g", &inner, "--", "true"]).silent();
    Ok(())
}
