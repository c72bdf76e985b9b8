//! What is true, and often overlooked.

use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, shell, size};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::group::Group;
use crate::hierarchy::{Hierarchy, Version};
use crate::key::{FREEZER, Key, Setting};
use crate::setting::{MEMORY_LIMIT, Write, find, limit, read_number};
use crate::value::Value;
use crate::{device, memory, net, process};

/// The limit counts only what is allocated in the group: what a process brings along stays where
/// it was counted. From a tenth of the limit on, that is worth a word.
pub fn held(pid: Pid, groups: &[Group], settings: &[Setting]) -> Result<Option<String>, Failure> {
    let there = || groups.iter().find_map(|group| memory_limit(&group.dir));
    let allowed = asked(groups, settings)?.or_else(there);
    let (Some(allowed), Some(held)) = (allowed, process::memory(pid)) else { return Ok(None) };
    Ok((held >= allowed / 10).then(|| {
        format!(
            "process {pid} already holds {}, which the kernel does not count against the limit of \
             {}, only what it takes from now on; to limit from the start: cgset mem SIZE -- COMMAND",
            size::human(held),
            size::human(allowed)
        )
    }))
}

/// The memory limit that is asked for.
fn asked(groups: &[Group], settings: &[Setting]) -> Result<Option<u64>, Failure> {
    let group = groups.iter().find(|group| group.tree.has("memory"));
    group.map_or(Ok(None), |group| memory::asked(settings, &group.dir))
}

/// A socket stays in the group in which it was made.
pub fn sockets(pid: Pid, settings: &[Setting]) -> Option<String> {
    let filters = |setting: &Setting| matches!(setting.value, Value::Networks(_));
    let limits = |setting: &Setting| !net::directions(setting.key).is_empty() || filters(setting);
    let limited = settings.iter().any(limits);
    let sockets = if limited { process::sockets(pid) } else { 0 };
    let plural = if sockets == 1 { "" } else { "s" };
    (sockets > 0).then(|| {
        format!(
            "process {pid} has {sockets} socket{plural} already, for which the limit of the network \
             does not hold, only for what it opens from now on; to limit from the start: cgset KEY \
             VALUE -- COMMAND"
        )
    })
}

/// With swap, a process that needs more than its memory limit is not killed but slowed down.
pub fn swap(groups: &[Group], settings: &[Setting]) -> Result<Option<String>, Failure> {
    let limited = settings.iter().any(|setting| setting.key == Key::Swap);
    let Some(allowed) = asked(groups, settings)?.filter(|_| !limited) else { return Ok(None) };
    let swap = memory::machine("SwapTotal:")?;
    Ok((swap > 0).then(|| {
        let (swap, allowed) = (size::human(swap), size::human(allowed));
        format!("{swap} of swap is active and not limited; add swap 0 for no more than {allowed}")
    }))
}

/// The kernel counts in pages, which may be large. A thousandth more or less is not worth a word.
pub fn rounded(write: &Write) -> Option<String> {
    let (kept, page) = write.rounded()?;
    let wanted: u64 = write.text.parse().ok()?;
    (wanted - kept > wanted / 1000).then(|| {
        format!(
            "{wanted} bytes are {kept} for the kernel, which counts in pages of {}",
            size::human(page)
        )
    })
}

/// A rate holds for the disk of a partition; and v1 does not know who has written what goes to the
/// disk later, as most writing does.
pub fn disks(settings: &[Setting], trees: &[&Hierarchy]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for Setting { key, value } in settings {
        let Value::Rate { disk, rate: Some(_), .. } = value else { continue };
        let found = device::find(disk)?;
        if found.in_part {
            notes.push(format!(
                "{disk} is part of a disk, or on one: the limit is for all of {}",
                found.number
            ));
        }
        let v1 = trees.iter().any(|tree| tree.version == Version::V1 && tree.has("io"));
        if *key == Key::IoWrite && v1 {
            notes.push(
                "cgroup v1 limits only what is written straight to the disk (O_DIRECT, O_SYNC), not \
                 what the kernel writes later"
                    .into(),
            );
        }
    }
    notes.dedup();
    Ok(notes)
}

/// In a group elsewhere, the limits of those that a process was in hold for it no more.
pub fn left(who: &str, from: &Path, group: &Group) -> Option<String> {
    let left = from.ancestors().take_while(|dir| !group.dir.starts_with(dir));
    let left: Vec<PathBuf> = left.filter_map(a_limit).collect();
    let files: Vec<String> = left.iter().map(|file| format!("{}", file.display())).collect();
    (!files.is_empty())
        .then(|| format!("{who} is no longer under the limits of {}", files.join(" and ")))
}

/// A line that is for larger machines, too, may say as many CPUs; more may be a percentage without its
/// sign.
const FEW_CPUS: u64 = 7;

/// More CPUs than there are are no limit.
pub fn cpus(settings: &[Setting]) -> Result<Option<String>, Failure> {
    let Some(Value::Quota { quota, period }) = find(settings, Key::Cpu) else { return Ok(None) };
    let there = sysconf(SysconfVar::_NPROCESSORS_ONLN).tried(|| "count the CPUs")?;
    let there = there.and_then(|there| u64::try_from(there).ok()).unwrap_or(u64::MAX);
    Ok((*quota > period.saturating_mul(there.max(FEW_CPUS))).then(|| {
        let percent = quota.saturating_mul(100) / period;
        let plural = if there == 1 { "" } else { "s" };
        format!(
            "{percent}% of a CPU are asked for, and this machine has {there} CPU{plural}; 50% is half \
             of one"
        )
    }))
}

/// What comes into a frozen group stops, and what is started there waits; no signal but SIGKILL
/// reaches it. With both versions a group is stopped by those above it, too.
pub fn frozen(group: &Group) -> Option<String> {
    let file = match group.tree.version {
        Version::V2 => "cgroup.freeze",
        Version::V1 if group.tree.has(FREEZER) => "freezer.self_freezing",
        Version::V1 => return None,
    };
    let stops = |dir: &PathBuf| matches!(read_number(&dir.join(file)), Ok(Some(1)));
    let name = |dir: PathBuf| dir.strip_prefix(&group.tree.mount).ok().map(shell::operand);
    let all = group.above().into_iter().chain((!group.fresh).then(|| group.dir.clone()));
    let names: Vec<String> = all.filter(stops).filter_map(name).collect();
    (!names.is_empty()).then(|| {
        let dir = group.dir.display();
        format!("{dir} is frozen: nothing in it runs until cgset thaw {}", names.join(" "))
    })
}

/// A file that limits memory or CPU time in this group.
fn a_limit(dir: &Path) -> Option<PathBuf> {
    let number = |name: &str, sets: fn(&str) -> bool| {
        let file = dir.join(name);
        let text = file::text(&file).ok()?;
        sets(&text).then_some(file)
    };
    let memory = MEMORY_LIMIT.map(|name| dir.join(name));
    let memory = memory.into_iter().find(|file| limit(file).is_ok_and(|limit| limit.is_some()));
    memory
        .or_else(|| number("cpu.max", |text| !text.starts_with("max")))
        .or_else(|| number("cpu.cfs_quota_us", |text| !text.starts_with('-')))
}

fn memory_limit(dir: &Path) -> Option<u64> {
    MEMORY_LIMIT.iter().find_map(|name| limit(&dir.join(name)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_group_is_frozen_by_its_own_file_or_one_above() {
        for (version, name, file) in [
            (Version::V2, "memory", "cgroup.freeze"),
            (Version::V1, FREEZER, "freezer.self_freezing"),
        ] {
            let top = support::scratch();
            let tree = Hierarchy {
                version,
                mount: top.path().into(),
                root: "/".into(),
                controllers: vec![name.to_owned()],
            };
            fs::create_dir_all(tree.mount.join("a b/c")).expect("ours");
            let group = Group { tree: &tree, dir: tree.mount.join("a b/c"), fresh: false };
            assert_eq!(frozen(&group), None);
            fs::write(tree.mount.join("a b/c").join(file), "0\n").expect("ours");
            fs::write(tree.mount.join("a b").join(file), "1\n").expect("ours");
            let note = frozen(&group).expect("it is stopped from above");
            assert!(note.ends_with("a b/c is frozen: nothing in it runs until cgset thaw 'a b'"));
        }
    }

    #[test]
    fn limits_that_are_left_behind_are_named() {
        let top = support::scratch();
        let tree = Hierarchy {
            version: Version::V2,
            mount: top.path().into(),
            root: "/".into(),
            controllers: Vec::new(),
        };
        let dir = |name: &str| tree.mount.join(name);
        fs::create_dir_all(dir("a/b")).expect("ours");
        fs::write(dir("a/memory.max"), "1048576\n").expect("ours");
        fs::write(dir("a/b/memory.max"), "max\n").expect("ours");
        fs::write(dir("a/b/cpu.max"), "max 100000\n").expect("ours");
        let group = |name: &str| Group { tree: &tree, dir: dir(name), fresh: false };
        let note = left("process 42", &dir("a/b"), &group("box")).expect("a limit is left");
        assert!(note.ends_with("/a/memory.max"), "{note}");
        assert_eq!(left("process 42", &dir("a/b"), &group("a/box")), None);
        fs::write(dir("a/b/cpu.max"), "50000 100000\n").expect("ours");
        let note = left("process 42", &dir("a/b"), &group("a/box")).expect("a limit is left");
        assert!(note.ends_with("/a/b/cpu.max"), "{note}");
    }
}
