//! What is set in a group, and what is used.

use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, pid, size};
use serde_json::{Value, json};

use crate::group::{self, Group};
use crate::hierarchy::{Layout, gone};
use crate::plan;
use crate::run;
use crate::setting::{limit, read_number};

/// A group, in all the trees that have it.
pub struct Shown {
    dirs: Vec<PathBuf>,
}

/// Finds the group of this name, or the groups that a process is in.
pub fn find(what: &str) -> Result<Shown, Failure> {
    let layout = Layout::read()?;
    let trees = plan::trees(&layout);
    let is_pid = what.bytes().all(|byte| byte.is_ascii_digit()) && !what.is_empty();
    if is_pid {
        let pid = pid::parse(what)?;
        if !pid::exists(pid) {
            return Err(gone(pid));
        }
        let dirs: Result<Vec<PathBuf>, Failure> =
            trees.iter().map(|tree| Ok(tree.mount.join(tree.group_of(pid)?))).collect();
        return Ok(Shown { dirs: dirs? });
    }
    let below = group::parse_name(what, &layout)?;
    let groups = group::named(&below, &layout.0.iter().collect::<Vec<_>>());
    let dirs = groups.into_iter().map(|Group { dir, .. }| dir).filter(|dir| dir.is_dir());
    let mut dirs: Vec<PathBuf> = dirs.collect();
    let first = trees.first().map(|tree| tree.mount.join(&below));
    dirs.sort_by_key(|dir| Some(dir) != first.as_ref());
    if dirs.is_empty() {
        return Err(Failure::new(format!("show the group {what:?}: there is none of this name"))
            .hint(format!("make it: cgset create {what}")));
    }
    Ok(Shown { dirs })
}

/// `key` of a file of lines `key number`.
fn field(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

impl Shown {
    /// The first file of one of these names in the group.
    fn file(&self, names: &[&str]) -> Option<PathBuf> {
        let files = self.dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        files.into_iter().find(|file| file.exists())
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        read_number(&self.file(names)?).ok()?
    }

    fn processes(&self) -> Vec<i32> {
        let texts = self.dirs.iter().map(|dir| fs::read_to_string(dir.join("cgroup.procs")));
        let mut pids: Vec<i32> = texts.flatten().flat_map(|text| numbers(&text)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Quota and period in microseconds.
    fn cpu(&self) -> (Option<u64>, Option<u64>) {
        match self.file(&["cpu.max"]).and_then(|file| fs::read_to_string(file).ok()) {
            Some(text) => {
                let mut words = text.split_whitespace().map(|word| word.parse().ok());
                (words.next().flatten(), words.next().flatten())
            }
            None => (self.number(&["cpu.cfs_quota_us"]), self.number(&["cpu.cfs_period_us"])),
        }
    }

    /// Microseconds used, and microseconds in which the quota held it back. v1 has nanoseconds.
    fn cpu_use(&self) -> (Option<u64>, Option<u64>) {
        let Some(stat) = self.file(&["cpu.stat"]) else { return (None, None) };
        let nanoseconds = |ns: Option<u64>| ns.map(|ns| ns / 1000);
        let usage =
            field(&stat, "usage_usec ").or_else(|| nanoseconds(self.number(&["cpuacct.usage"])));
        let throttled = field(&stat, "throttled_usec ")
            .or_else(|| nanoseconds(field(&stat, "throttled_time ")));
        (usage, throttled)
    }

    fn memory_limit(&self) -> Option<u64> {
        limit(&self.file(&["memory.max", "memory.limit_in_bytes"])?).ok()?
    }

    /// Lines of a name and a value.
    pub fn text(&self) -> String {
        let (quota, period) = self.cpu();
        let (usage, throttled) = self.cpu_use();
        let bytes = |bytes: Option<u64>| bytes.map(|n| format!("{n} ({})", size::human(n)));
        let seconds =
            |us: Option<u64>| us.map(|us| format!("{}.{:03} s", us / 1_000_000, us / 1000 % 1000));
        let count = |number: Option<u64>| number.map(|number| number.to_string());
        let max = |text: Option<String>| Some(text.unwrap_or_else(|| "max".into()));
        let share = |quota: u64| format!("{quota} us in {} us", period.unwrap_or_default());
        let mut rows: Vec<(&str, Option<String>)> =
            self.dirs.iter().map(|dir| ("path", Some(dir.display().to_string()))).collect();
        rows.push(("processes", Some(self.processes().len().to_string())));
        if self.file(&["memory.max", "memory.limit_in_bytes"]).is_some() {
            rows.push(("memory.limit", max(bytes(self.memory_limit()))));
            rows.push(("memory.current", bytes(self.number(&CURRENT))));
            rows.push(("memory.peak", bytes(self.number(&PEAK))));
            rows.push(("oom_kill", Some(run::kills(&self.dirs).to_string())));
        }
        if self.file(&["cpu.max", "cpu.cfs_quota_us"]).is_some() {
            rows.push(("cpu.quota", max(quota.map(share))));
            rows.push(("cpu.weight", count(self.number(&["cpu.weight"]))));
            rows.push(("cpu.shares", count(self.number(&["cpu.shares"]))));
            rows.push(("cpu.usage", seconds(usage)));
            rows.push(("cpu.throttled", seconds(throttled)));
        }
        if self.file(&["pids.max"]).is_some() {
            rows.push(("pids.limit", max(count(self.number(&["pids.max"])))));
            rows.push(("pids.current", count(self.number(&["pids.current"]))));
        }
        let present = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        present.fold(String::new(), |text, (name, value)| text + &format!("{name:<15} {value}\n"))
    }

    /// One object.
    pub fn json(&self) -> String {
        let (quota, period) = self.cpu();
        let (usage, throttled) = self.cpu_use();
        let paths: Vec<Value> =
            self.dirs.iter().map(|dir| Value::from(dir.to_string_lossy())).collect();
        let object = json!({
            "paths": paths,
            "processes": self.processes(),
            "memory": {
                "limit": self.memory_limit(),
                "current": self.number(&CURRENT),
                "peak": self.number(&PEAK),
                "oom_kill": run::kills(&self.dirs),
            },
            "cpu": {
                "quota_us": quota,
                "period_us": period,
                "weight": self.number(&["cpu.weight"]),
                "shares": self.number(&["cpu.shares"]),
                "usage_us": usage,
                "throttled_us": throttled,
            },
            "pids": {
                "limit": self.number(&["pids.max"]),
                "current": self.number(&["pids.current"]),
            },
        });
        format!("{object:#}\n")
    }
}

const CURRENT: [&str; 2] = ["memory.current", "memory.usage_in_bytes"];
const PEAK: [&str; 2] = ["memory.peak", "memory.max_usage_in_bytes"];

fn numbers(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
