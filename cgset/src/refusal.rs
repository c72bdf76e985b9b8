//! Why the kernel refuses a limit or a group, as far as the groups around it show that: its answer
//! is a number that stands for several reasons.

use std::path::Path;

use common::{Failure, file, shell, size};
use nix::errno::Errno;

use crate::setting::{Write, read_number};

/// What the kernel takes for CPU time and its period, in microseconds.
const LEAST: u64 = 1000;
const LONGEST_PERIOD: u64 = 1_000_000;

/// Adds to a refused limit what stands behind it.
pub fn of_limit(failure: Failure, wanted: &Write) -> Failure {
    let name = wanted.file.file_name().unwrap_or_default().to_string_lossy();
    let controller = name.split('.').next().unwrap_or_default();
    let hint = match (failure.kernel_said(), controller) {
        (Some(Errno::EBUSY), "memory") => Some(in_use(wanted)),
        (Some(Errno::EINVAL), "memory") if name.ends_with("limit_in_bytes") => Some(
            "with cgroup v1 memory may not be limited above memory and swap together: set both"
                .into(),
        ),
        (Some(Errno::EINVAL), "cpu") => cpu(wanted, &name),
        (Some(errno), "cpuset") => cpuset(errno, wanted, &name),
        (Some(Errno::ENODEV), _) => {
            Some("the kernel limits whole disks that are there: lsblk --nodeps lists them".into())
        }
        _ => None,
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn in_use(wanted: &Write) -> String {
    let file = wanted.file.with_file_name("memory.usage_in_bytes");
    let used = read_number(&file).ok().flatten().map_or_else(|| "more".into(), size::human);
    format!(
        "the group uses {used}, which cgroup v1 does not take back; a limit from the start holds: \
         cgset mem {} -- COMMAND",
        wanted.text
    )
}

fn cpu(wanted: &Write, file: &str) -> Option<String> {
    let dir = wanted.file.parent()?;
    let number = |name: &str| read_number(&dir.join(name)).ok().flatten();
    let group = shell::operand(dir);
    match file {
        "cpu.shares" | "cpu.weight" | "cpu.weight.nice" if number("cpu.idle") == Some(1) => {
            Some(format!(
                "cpu.idle is 1 in this group, so that it has no weight: cgset cpu.idle 0 --group \
                 {group}"
            ))
        }
        "cpu.cfs_burst_us" | "cpu.max.burst" => {
            let quota = quota(dir).map_or_else(|| "none is set".into(), |(q, _)| format!("{q} us"));
            Some(format!("a burst is not longer than the quota, here {quota}: cgset cpu N% first"))
        }
        "cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max" => Some(share(wanted, dir)),
        _ => None,
    }
}

/// Why a part of the CPU is refused.
fn share(wanted: &Write, dir: &Path) -> String {
    let new: Vec<u64> = wanted.text.split(' ').filter_map(|word| word.parse().ok()).collect();
    let is_quota = !wanted.file.ends_with("cpu.cfs_period_us");
    let period = new.get(usize::from(is_quota));
    if new.iter().any(|time| *time < LEAST) || period > Some(&LONGEST_PERIOD) {
        return format!(
            "quota and period are in microseconds, each of them at least {LEAST}, and the period \
             at most {LONGEST_PERIOD}"
        );
    }
    let longer = |name: &&str| {
        let burst = read_number(&dir.join(name)).ok().flatten();
        is_quota && new.first().is_some_and(|quota| burst.is_some_and(|burst| burst > *quota))
    };
    if ["cpu.cfs_burst_us", "cpu.max.burst"].iter().any(longer) {
        let group = shell::operand(dir);
        return format!(
            "the quota is not shorter than the burst: cgset cpu.burst 0 --group {group}"
        );
    }
    let above = dir.ancestors().skip(1).find_map(|above| Some((above, quota(above)?)));
    let above = above.map(|(above, (q, p))| format!(": {above:?} has {q} us in {p} us"));
    format!(
        "with cgroup v1 a group gets no larger part of the CPU than the one above it{}",
        above.unwrap_or_else(|| ", and one below this has more".into())
    )
}

/// The quota and the period in force in a group.
fn quota(dir: &Path) -> Option<(u64, u64)> {
    let v2 = file::text(dir.join("cpu.max")).ok();
    let v1 = || {
        let read = |name: &str| file::text(dir.join(name)).ok();
        Some(format!("{} {}", read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?))
    };
    let both = v2.or_else(v1)?;
    let (quota, period) = both.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

fn cpuset(errno: Errno, wanted: &Write, file: &str) -> Option<String> {
    let cpus = file.starts_with("cpuset.cpus");
    let (what, online) = if cpus {
        ("CPUs", "/sys/devices/system/cpu/online")
    } else {
        ("memory nodes", "/sys/devices/system/node/online")
    };
    let above = wanted.file.parent()?.parent()?.join(file);
    match errno {
        Errno::ERANGE | Errno::EINVAL if ["cpuset.cpus", "cpuset.mems"].contains(&file) => {
            let online = file::text(online).unwrap_or_else(|_| "0".into());
            Some(format!("the {what} that are there: {}; a list is as 0,2-3", online.trim()))
        }
        Errno::EACCES => Some(format!(
            "with cgroup v1 a group has {what} only of the group above: cat {}",
            shell::operand(&above)
        )),
        Errno::EBUSY => Some(format!("a group below has {what} that are not in the list")),
        Errno::ENOSPC => Some(format!("processes are in the group, and need {what}")),
        _ => None,
    }
}

/// Adds to a group that could not be made which one above limits that.
pub fn of_making(failure: Failure, dir: &Path) -> Failure {
    match (failure.kernel_said(), full(dir)) {
        (Some(Errno::EAGAIN), Some(hint)) => failure.hint(hint),
        _ => failure,
    }
}

fn full(dir: &Path) -> Option<String> {
    dir.ancestors().skip(1).zip(0u64..).find_map(|(above, depth)| {
        let stat = file::text(above.join("cgroup.stat")).ok()?;
        let below = stat.lines().find_map(|line| line.strip_prefix("nr_descendants "))?;
        [("cgroup.max.descendants", below.parse().ok()?), ("cgroup.max.depth", depth)]
            .into_iter()
            .find_map(|(name, now): (_, u64)| {
                let most = read_number(&above.join(name)).ok()??;
                let group = shell::operand(above);
                (now >= most).then(|| {
                    format!("{above:?} has {name} {most}, which is reached: cgset {name} {} --group {group}", most + 1)
                })
            })
    })
}

/// Why a control file can't be read: the group lacks it, or it is one that is only written to.
pub fn of_reading(failure: Failure, file: &Path) -> Failure {
    let only_written = || {
        "what is only written to can't be read back, nor taken back: dev.deny and dev.allow do that \
         for devices; else echo VALUE > FILE"
            .into()
    };
    failure.hint_if(Errno::EINVAL, only_written).hint_if(Errno::ENOENT, || {
        not_handed_down(file).unwrap_or_else(|| {
            "this kernel's groups have no such file; v1 and v2 call files differently: cgroups(7)"
                .into()
        })
    })
}

/// A v2 group has a controller's files if the group above hands it down; a threaded one never has
/// those of memory.
fn not_handed_down(file: &Path) -> Option<String> {
    let (dir, name) = (file.parent()?, file.file_name()?.to_string_lossy().into_owned());
    let controller = name.split('.').next()?;
    let here = file::text(dir.join("cgroup.controllers")).ok()?;
    if controller == "cgroup" || here.split_whitespace().any(|there| there == controller) {
        return None;
    }
    let kind = file::text(dir.join("cgroup.type")).unwrap_or_default();
    if kind.trim() == "threaded" {
        return Some(format!("the group is threaded (cgroup.type), and has no {controller}"));
    }
    let above = dir.parent()?.join("cgroup.subtree_control");
    Some(format!(
        "{controller} is not handed down to it: echo +{controller} > {}",
        shell::operand(&above)
    ))
}
