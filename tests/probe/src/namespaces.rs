//! What a user namespace of one's own gives, with all capabilities in it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, getegid, geteuid};

use crate::devices::errno;
use crate::files::first_of;
use crate::findings::{Findings, REFUSALS};
use crate::mounts::{make_writable, table, take_away};

const NONE: Option<&str> = None;

/// Root in a user namespace, with these others; `None`, and found out, if that is refused.
fn nest(others: CloneFlags, findings: &mut Findings) -> Option<()> {
    let (user, group) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWUSER | others) {
        Ok(()) => {}
        // ENOSPC: none are allowed here.
        Err(errno) if REFUSALS.contains(&errno) || errno == Errno::ENOSPC => {
            findings.held(format!("unshare {errno:?}"));
            return None;
        }
        Err(errno) => {
            findings.unclear(format!("unshare {errno:?}"));
            return None;
        }
    }
    let maps = [
        ("/proc/self/setgroups", "deny".to_string()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ];
    for (file, text) in maps {
        // To map 0 takes more than to make the namespace: CAP_SETFCAP.
        if let Err(error) = fs::write(file, text).map_err(errno) {
            findings.refused::<()>(format!("write {file}"), Err(error), &REFUSALS);
            return None;
        }
    }
    Some(())
}

/// As [`crate::mounts::peel`], with the capabilities for it: the mounts that came along are locked.
pub fn peel(_: &[String], findings: &mut Findings) {
    if nest(CloneFlags::CLONE_NEWNS, findings).is_none() {
        return;
    }
    let mounts = table();
    let by = [REFUSALS.as_slice(), &[Errno::EINVAL]].concat();
    make_writable(&mounts, findings, &by);
    take_away(&mounts, findings, &by);
    // A copy of a mount without those on it would show what they hide.
    for (place, _) in has_mounts_below(&mounts) {
        let done = mount(Some(&place), "/tmp", NONE, MsFlags::MS_BIND, NONE);
        findings.refused(format!("mount --bind {} alone", place.display()), done, &by);
    }
}

fn has_mounts_below(mounts: &[(PathBuf, bool)]) -> Vec<(PathBuf, bool)> {
    let above = |(place, _): &&(PathBuf, bool)| {
        mounts.iter().any(|(other, _)| other != place && other.starts_with(place))
    };
    mounts.iter().filter(above).cloned().collect()
}

/// A proc of one's own, without the masks of the one that is there.
#[allow(clippy::exit, reason = "the child has said all")]
pub fn fresh_proc(_: &[String], findings: &mut Findings) {
    if nest(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID, findings).is_none() {
        return;
    }
    // The child is in the new PID namespace, and speaks for both.
    match common::sys::fork() {
        Ok(ForkResult::Child) => mount_proc(findings),
        Ok(ForkResult::Parent { child }) => {
            let status = match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, status)) => status,
                _ => 2,
            };
            process::exit(status)
        }
        Err(errno) => findings.unclear(format!("fork {errno:?}")),
    }
}

fn mount_proc(findings: &mut Findings) {
    let hidden: Vec<_> = ["keys", "timer_list", "kcore"]
        .into_iter()
        .filter(|name| first_of(&format!("/proc/{name}")) != Ok(true))
        .collect();
    for place in ["/proc", "/tmp"].into_iter().filter(|place| Path::new(place).is_dir()) {
        match mount(Some("proc"), place, Some("proc"), MsFlags::empty(), NONE) {
            Ok(()) => {
                for name in &hidden {
                    let seen = first_of(&format!("{place}/{name}")) == Ok(true);
                    findings.holds(!seen, format!("{place}/{name} in a new proc"));
                }
                findings.held("a new proc shows no more than the old one");
            }
            Err(errno) if REFUSALS.contains(&errno) => {
                findings.held(format!("mount proc {errno:?}"));
            }
            Err(errno) => findings.unclear(format!("mount proc {errno:?}")),
        }
    }
}

/// Not a way out: a program that needs a user namespace gets one. chroot(2) would refuse it.
pub fn needs_one(_: &[String], findings: &mut Findings) {
    match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        Ok(()) => findings.held("unshare works"),
        Err(errno) => findings.escaped(format!("unshare {errno:?}")),
    }
}

/// The program that the kernel runs, as the machine's root, when a v1 control group is empty.
pub fn release_agent(_: &[String], findings: &mut Findings) {
    let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for folder in groups.map(|entry| entry.path()) {
        agent_of(&folder, findings);
    }
    mount_groups("in these namespaces", findings);
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    if nest(namespaces, findings).is_some() {
        mount_groups("in new ones", findings);
    }
}

fn mount_groups(which: &str, findings: &mut Findings) {
    let Some(place) = ["/mnt", "/tmp"].into_iter().find(|place| Path::new(place).is_dir()) else {
        return findings.unclear("there is no folder to mount on");
    };
    // Hierarchies that machines have; one that this one has not is EINVAL or, in v2, EBUSY.
    for controllers in
        ["rdma", "pids", "memory", "freezer", "net_cls,net_prio", "none,name=systemd"]
    {
        let flags = MsFlags::empty();
        match mount(Some("cgroup"), place, Some("cgroup"), flags, Some(controllers)) {
            Ok(()) => agent_of(Path::new(place), findings),
            Err(errno @ (Errno::EINVAL | Errno::EBUSY | Errno::ENOENT | Errno::ENODEV)) => {
                findings.held(format!("{controllers} {which} {errno:?}"));
            }
            Err(errno) => {
                findings.refused::<()>(
                    format!("mount cgroup {controllers} {which}"),
                    Err(errno),
                    &REFUSALS,
                );
            }
        }
    }
}

fn agent_of(folder: &Path, findings: &mut Findings) {
    let file = folder.join("release_agent");
    let Ok(text) = fs::read(&file) else { return };
    let done = OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|mut opened| std::io::Write::write_all(&mut opened, &text));
    findings.refused(format!("write {}", file.display()), done.map_err(errno), &REFUSALS);
}
