//! Waiting for what happens to a group: that all have left it, that they are held up.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use support::{Skip, TempDir, Test, run, scratch, skip, wait};

use crate::layout::{Name, Waiting, cgset, need, need_v2, tool, tree_of};

fn start(command: &mut Command) -> Child {
    let quiet = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    quiet.stderr(Stdio::piped()).spawn().expect("it starts")
}

/// Its status and what it has said, if it ends in half a minute: on a busy machine it takes a while
/// until a group is held up.
#[track_caller]
fn end(mut child: Child) -> (Option<i32>, String) {
    let status = wait(&mut child, Duration::from_secs(30)).expect("it ends");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    std::io::Read::read_to_string(&mut stderr, &mut said).expect("text");
    (status.code(), said)
}

/// The group's folder in the v2 tree, if the kernel counts pressure there.
fn counted(name: &Name) -> Result<PathBuf, Skip> {
    let v2 = name.groups().into_iter().find(|dir| dir.join("cgroup.controllers").exists());
    let v2 = v2.ok_or_else(|| skip("the group is in no cgroup v2 tree"))?;
    match v2.join("memory.pressure").exists() {
        true => Ok(v2),
        false => Err(skip("the kernel counts no pressure: psi=1 is not set")),
    }
}

/// Has a group held up for want of memory, for some seconds: with v2 by more than its high limit;
/// with v1 by a file larger than its limit, read again and again.
struct Squeezed(Child, #[expect(dead_code, reason = "removed with it")] TempDir);

impl Squeezed {
    fn start(name: &Name) -> Result<Self, Skip> {
        let folder = scratch();
        let (limit, script) = match tree_of("memory")?.join("cgroup.controllers").exists() {
            true => (["mem.high", "4M"], "exec timeout 8 dd if=/dev/zero of=/dev/null bs=32M"),
            false => (
                ["mem", "8M"],
                "dd if=/dev/zero of=\"$0\" bs=1M count=40 conv=fsync
                exec timeout 8 sh -c 'while :; do dd if=\"$0\" of=/dev/null bs=64k; done' \"$0\"",
            ),
        };
        let kind = statfs(folder.path()).expect("ours").filesystem_type();
        if limit[0] == "mem" && kind == TMPFS_MAGIC {
            return Err(skip("needs a temporary folder on a disk"));
        }
        let mut command = tool();
        command.args(limit).args(["-g", name, "--", "sh", "-c", script]);
        Ok(Self(start(command.arg(folder.path().join("file"))), folder))
    }
}

impl Drop for Squeezed {
    fn drop(&mut self) {
        support::send(&self.0, support::Signal::SIGTERM, false);
        let _ = self.0.wait();
    }
}

pub fn pressure_is_told_of_and_its_script_waits_for_the_same() -> Test {
    need(&["memory"])?;
    need_v2()?;
    let (name, calm) = (Name::new("pressed"), Name::new("calm"));
    for name in [&name, &calm] {
        cgset(&["create", name]).silent();
    }
    counted(&name)?;
    // A fast disk, and a file read by one reader: held up a tenth of the time, or a bit less.
    let ask = |name: &Name| start(tool().args(["wait", "psi", "memory", "10ms/1s", name]));
    let (mut waiting, mut other) = (ask(&name), ask(&calm));
    let script = run(tool().args(["-n", "wait", "psi", "memory", "full", "5ms/1s", &name])).ok();
    let mut by_script = start(Command::new("sh").args(["-c", &script]));
    sleep(Duration::from_millis(1500));
    for child in [&mut waiting, &mut other, &mut by_script] {
        assert!(child.try_wait().expect("ours").is_none(), "nobody is held up yet");
    }
    let _squeezed = Squeezed::start(&name)?;
    let (status, said) = end(waiting);
    // Without CAP_SYS_RESOURCE, as here perhaps, the window is another.
    let note = "cgset: note: without CAP_SYS_RESOURCE";
    assert!(status == Some(0) && (said.is_empty() || said.starts_with(note)), "{said}");
    assert_eq!(end(by_script), (Some(0), String::new()));
    assert!(other.try_wait().expect("ours").is_none(), "the other group is not held up");
    cgset(&["rm", &calm]).silent();
    let (status, said) = end(other);
    assert!(status == Some(1) && said.contains("the group is gone"), "{said}");
    Ok(())
}

pub fn pressure_that_is_not_counted_says_what_is_missing() -> Test {
    need(&["memory"])?;
    let name = Name::new("uncounted");
    cgset(&["create", &name]).silent();
    let ask = ["wait", "psi", "memory", "100ms/2s", &name];
    let Ok(dir) = counted(&name) else {
        cgset(&ask).fails(1, "cgset", &["wait for pressure of memory: ", "hint: "]);
        return Ok(());
    };
    let switch = dir.join("cgroup.pressure");
    if fs::write(&switch, "0").is_err() {
        return Err(skip("needs Linux 6.1, where pressure of a group is switched off"));
    }
    cgset(&ask).fails(
        1,
        "cgset",
        &["it is switched off", &format!("echo 1 > {switch:?}").replace('"', "")],
    );
    fs::write(&switch, "1").expect("it was just written");
    let removed = fs::remove_dir(&dir);
    removed.expect("nobody is inside");
    if name.groups().is_empty() {
        cgset(&ask).fails(1, "cgset", &["there is none of this name"]);
    } else {
        cgset(&ask).fails(1, "cgset", &["the group is in no cgroup v2 tree", "hint: "]);
    }
    Ok(())
}

pub fn a_group_is_empty_too_when_its_process_has_gone_elsewhere() -> Test {
    need(&["pids"])?;
    need_v2()?;
    let name = Name::new("left");
    let child = Waiting::idle();
    cgset(&["pids", "50", "-g", &name, &child.pid()]).silent();
    let mut waiting = start(tool().args(["wait", "empty", &name]));
    sleep(Duration::from_millis(200));
    assert!(waiting.try_wait().expect("ours").is_none(), "it is still inside");
    for dir in name.groups() {
        let above = dir.parent().expect("the top of a tree").join("cgroup.procs");
        fs::write(above, child.pid()).expect("a process of ours");
    }
    assert_eq!(end(waiting), (Some(0), String::new()));
    Ok(())
}

/// The kernel wakes nobody who waits for a file of a group that is removed.
pub fn a_group_that_is_removed_is_waited_for_no_more() -> Test {
    need(&["memory"])?;
    need_v2()?;
    for event in ["frozen", "oom"] {
        let name = Name::new("removed");
        cgset(&["mem", "20M", "-g", &name]).silent();
        let waiting = start(tool().args(["wait", event, &name]));
        sleep(Duration::from_millis(200));
        cgset(&["rm", &name]).silent();
        let (status, said) = end(waiting);
        assert_eq!(status, Some(1), "{event}: {said}");
        assert!(said.contains("the group is gone\nhint: "), "{event}: {said}");
    }
    Ok(())
}
