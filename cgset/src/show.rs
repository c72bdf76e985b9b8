//! What is set in a group, and what is used.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use common::{file, size};
use serde_json::{Value, json};

use crate::net::{self, Direction};
use crate::rate;
use crate::rules;
use crate::run;
use crate::setting::{MEMORY_LIMIT as LIMIT, limit, read_number};
use crate::{bar, bitrate, cpuset, group, huge, memory};

/// A group, in all the trees that have it.
pub struct Shown {
    dirs: Vec<PathBuf>,
    /// Those of them whose processes are the group's: not the top of a tree, where all the rest is.
    members: Vec<PathBuf>,
}

/// `key` of a file of lines `key number`.
fn field(file: &Path, key: &str) -> Option<u64> {
    let text = file::text(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

const BURST: [&str; 2] = ["cpu.max.burst", "cpu.cfs_burst_us"];
pub const CURRENT: [&str; 2] = ["memory.current", "memory.usage_in_bytes"];
const PEAK: [&str; 2] = ["memory.peak", "memory.max_usage_in_bytes"];

impl Shown {
    pub fn new(dirs: Vec<PathBuf>, members: Vec<PathBuf>) -> Self {
        Self { dirs, members }
    }

    /// Its folders.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The first file of one of these names in the group.
    pub fn file(&self, names: &[&str]) -> Option<PathBuf> {
        group::file(&self.dirs, names)
    }

    pub fn number(&self, names: &[&str]) -> Option<u64> {
        read_number(&self.file(names)?).ok()?
    }

    fn limit(&self, names: &[&str]) -> Option<u64> {
        limit(&self.file(names)?).ok()?
    }

    /// What most groups have not set, which the kernel shows as 0.
    fn set(&self, files: &[&str]) -> Option<u64> {
        self.number(files).filter(|number| *number > 0)
    }

    /// Those in it, not those in inner groups.
    pub fn processes(&self) -> Vec<i32> {
        let dirs = if self.members.is_empty() { &self.dirs } else { &self.members };
        let texts = dirs.iter().map(|dir| file::text(dir.join("cgroup.procs")));
        let mut pids: Vec<i32> = texts.flatten().flat_map(|text| numbers(&text)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Limit and use of swap. v1 has only those of memory and swap together.
    pub fn swap(&self) -> (Option<u64>, Option<u64>) {
        if self.file(&["memory.swap.max"]).is_some() {
            return (self.limit(&["memory.swap.max"]), self.number(&["memory.swap.current"]));
        }
        let beside = |both: Option<u64>, memory: Option<u64>| Some(both?.saturating_sub(memory?));
        (
            beside(self.limit(&["memory.memsw.limit_in_bytes"]), self.limit(&LIMIT)),
            beside(self.number(&["memory.memsw.usage_in_bytes"]), self.number(&CURRENT)),
        )
    }

    /// Quota and period in microseconds.
    pub fn cpu(&self) -> (Option<u64>, Option<u64>) {
        match self.file(&["cpu.max"]).and_then(|file| file::text(file).ok()) {
            Some(text) => {
                let mut words = text.split_whitespace().map(|word| word.parse().ok());
                (words.next().flatten(), words.next().flatten())
            }
            None => (self.number(&["cpu.cfs_quota_us"]), self.number(&["cpu.cfs_period_us"])),
        }
    }

    /// Microseconds used, and microseconds in which the quota held it back. v1 has nanoseconds.
    /// Every v2 group has a `cpu.stat`: the one that counts is beside the quota.
    pub fn cpu_use(&self) -> (Option<u64>, Option<u64>) {
        let microseconds = |ns: Option<u64>| ns.map(|ns| ns / 1000);
        let quota = self.file(&["cpu.max", "cpu.cfs_quota_us"]);
        let file = quota.map(|file| file.with_file_name("cpu.stat"));
        let file = file.or_else(|| self.file(&["cpu.stat"]));
        let stat = |key: &str| field(file.as_ref()?, key);
        (
            stat("usage_usec ").or_else(|| microseconds(self.number(&["cpuacct.usage"]))),
            stat("throttled_usec ").or_else(|| microseconds(stat("throttled_time "))),
        )
    }

    /// A name and a value on each line, with one space between.
    fn text(&self) -> String {
        let mut rows: Vec<(&str, Option<String>)> =
            self.dirs.iter().map(|dir| ("path", Some(dir.display().to_string()))).collect();
        rows.push(("processes", Some(list(&self.processes()))));
        rows.extend(self.memory_rows());
        rows.extend(self.cpu_rows());
        if self.file(&["pids.max"]).is_some() {
            rows.push(("pids.limit", or_max(self.number(&["pids.max"]).map(|n| n.to_string()))));
            rows.push(("pids.current", self.number(&["pids.current"]).map(|n| n.to_string())));
        }
        rows.extend(cpuset::shown(&self.dirs));
        rows.extend(huge::rows(&self.dirs));
        rows.extend(rate::rows(&self.dirs));
        rows.extend(self.net_rows());
        rows.extend(rules::rows(&self.members));
        let present = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let line = |text: String, (name, value)| text + &format!("{name:>15} {value}\n");
        present.fold(String::new(), line)
    }

    fn memory_rows(&self) -> Vec<(&'static str, Option<String>)> {
        if self.file(&LIMIT).is_none() {
            return Vec::new();
        }
        let bytes = |bytes: Option<u64>| bytes.map(|n| format!("{n} ({})", size::human(n)));
        let (swap, swapped) = self.swap();
        vec![
            ("memory.limit", or_max(bytes(self.limit(&LIMIT)))),
            ("memory.high", bytes(self.limit(&["memory.high"]))),
            ("memory.low", bytes(self.set(&["memory.low"]))),
            ("memory.min", bytes(self.set(&["memory.min"]))),
            ("memory.current", bytes(self.number(&CURRENT))),
            ("memory.peak", bytes(self.number(&PEAK))),
            ("oom", memory::policy(&self.dirs).filter(|word| *word != "kill").map(str::to_owned)),
            ("oom_kill", Some(run::kills(&self.dirs).to_string())),
            ("swap.limit", swapped.and_then(|_| or_max(bytes(swap)))),
            ("swap.current", bytes(swapped)),
        ]
    }

    fn cpu_rows(&self) -> Vec<(&'static str, Option<String>)> {
        if self.file(&["cpu.max", "cpu.cfs_quota_us"]).is_none() {
            return Vec::new();
        }
        let (quota, period) = self.cpu();
        let (usage, throttled) = self.cpu_use();
        let burst = self.set(&BURST);
        let share = |quota: u64| format!("{quota} us in {} us", period.unwrap_or_default());
        let seconds =
            |us: Option<u64>| us.map(|us| format!("{}.{:03} s", us / 1_000_000, us / 1000 % 1000));
        vec![
            ("cpu.quota", or_max(quota.map(share))),
            ("cpu.burst", burst.map(|us| format!("{us} us"))),
            ("cpu.idle", self.set(&["cpu.idle"]).map(|_| "1".to_owned())),
            ("cpu.weight", self.number(&["cpu.weight"]).map(|n| n.to_string())),
            ("cpu.shares", self.number(&["cpu.shares"]).map(|n| n.to_string())),
            ("cpu.usage", seconds(usage)),
            ("cpu.throttled", seconds(throttled)),
        ]
    }

    /// What holds for network traffic, if anything ever has, and if we may know.
    fn net(&self, direction: Direction) -> Option<net::State> {
        net::state(group::v2(&self.members)?, direction).ok()?
    }

    fn net_rows(&self) -> Vec<(&'static str, Option<String>)> {
        let mut rows = Vec::new();
        for (direction, limit, dropped) in [
            (Direction::In, "net.in.limit", "net.in.dropped"),
            (Direction::Out, "net.out.limit", "net.out.dropped"),
        ] {
            if let Some(state) = self.net(direction) {
                rows.push((limit, or_max(state.rate.map(bitrate::text))));
                rows.push((dropped, Some(format!("{} packets", state.dropped))));
            }
        }
        rows
    }

    fn net_json(&self, direction: Direction) -> Value {
        let state = self.net(direction);
        json!({
            "bytes": state.and_then(|state| state.rate),
            "dropped_packets": state.map(|state| state.dropped),
        })
    }

    /// As text or as JSON; for people with bars.
    pub fn said(&self, as_json: bool) -> String {
        match as_json {
            true => self.json(),
            false if stdout().is_terminal() => bar::beside(&self.text(), &self.bars()),
            false => self.text(),
        }
    }

    /// One object.
    fn json(&self) -> String {
        let (quota, period) = self.cpu();
        let (usage, throttled) = self.cpu_use();
        let (swap, swapped) = self.swap();
        let [(_, cpus), (_, mems)] = cpuset::shown(&self.dirs);
        let paths: Vec<Value> =
            self.dirs.iter().map(|dir| Value::from(dir.to_string_lossy())).collect();
        let object = json!({
            "paths": paths,
            "processes": self.processes(),
            "memory": {
                "limit": self.limit(&LIMIT),
                "current": self.number(&CURRENT),
                "peak": self.number(&PEAK),
                "high": self.limit(&["memory.high"]),
                "low": self.number(&["memory.low"]),
                "min": self.number(&["memory.min"]),
                "oom": memory::policy(&self.dirs),
                "oom_kill": self.file(&LIMIT).map(|_| run::kills(&self.dirs)),
            },
            "swap": { "limit": swap, "current": swapped },
            "cpu": {
                "quota_us": quota,
                "period_us": period,
                "burst_us": self.number(&BURST),
                "idle": self.number(&["cpu.idle"]).map(|idle| idle == 1),
                "weight": self.number(&["cpu.weight"]),
                "shares": self.number(&["cpu.shares"]),
                "usage_us": usage,
                "throttled_us": throttled,
            },
            "pids": {
                "limit": self.number(&["pids.max"]),
                "current": self.number(&["pids.current"]),
            },
            "cpuset": { "cpus": cpus, "mems": mems },
            "hugetlb": huge::json(&self.dirs),
            "io": rate::json(&self.dirs),
            "io_weight": rate::weights(&self.dirs),
            "net": {
                "in": self.net_json(Direction::In),
                "out": self.net_json(Direction::Out),
                "deny": rules::networks(&self.members, false),
                "allow": rules::networks(&self.members, true),
            },
            "devices": rules::devices(&self.members),
        });
        format!("{object:#}\n")
    }
}

fn numbers(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn or_max(limit: Option<String>) -> Option<String> {
    Some(limit.unwrap_or_else(|| "max".into()))
}

/// How many, and which: `2 (41 42)`; of many, the first few.
fn list(pids: &[i32]) -> String {
    const FEW: usize = 8;
    let few: Vec<String> = pids.iter().take(FEW).map(i32::to_string).collect();
    match pids.len() {
        0 => "0".into(),
        count if count > FEW => format!("{count} ({} ...)", few.join(" ")),
        count => format!("{count} ({})", few.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use support::{TempDir, scratch};

    fn group(files: &[(&str, &str)]) -> (TempDir, Shown) {
        let dir = scratch();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("ours");
        }
        let dirs = vec![dir.path().to_owned()];
        (dir, Shown { members: dirs.clone(), dirs })
    }

    fn row<'a>(text: &'a str, name: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(' '))
    }

    #[test]
    fn both_versions_read_the_same() {
        let (_v1, v1) = group(&[
            ("memory.limit_in_bytes", "10485760\n"),
            ("memory.usage_in_bytes", "1048576\n"),
            ("memory.memsw.limit_in_bytes", "11534336\n"),
            ("memory.memsw.usage_in_bytes", "1048576\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            ("cpu.cfs_quota_us", "50000\n"),
            ("cpu.cfs_period_us", "100000\n"),
            ("cpu.stat", "nr_periods 9\nthrottled_time 2500000000\n"),
            ("cpuacct.usage", "1500000000\n"),
            ("pids.max", "max\n"),
            ("cgroup.procs", "42\n41\n"),
        ]);
        let (_v2, v2) = group(&[
            ("memory.max", "10485760\n"),
            ("memory.current", "1048576\n"),
            ("memory.swap.max", "1048576\n"),
            ("memory.swap.current", "0\n"),
            ("memory.events", "max 36\noom 1\noom_kill 1\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpu.stat", "usage_usec 1500000\nthrottled_usec 2500000\n"),
            ("pids.max", "max\n"),
            ("cgroup.procs", "41\n42\n"),
        ]);
        for shown in [v1, v2] {
            let text = shown.text();
            for (name, value) in [
                ("processes", "2 (41 42)"),
                ("memory.limit", "10485760 (10 MiB)"),
                ("oom_kill", "1"),
                ("swap.limit", "1048576 (1 MiB)"),
                ("swap.current", "0 (0 B)"),
                ("cpu.quota", "50000 us in 100000 us"),
                ("cpu.usage", "1.500 s"),
                ("cpu.throttled", "2.500 s"),
                ("pids.limit", "max"),
            ] {
                assert_eq!(row(&text, name), Some(value), "{text}");
            }
            let json: Value = serde_json::from_str(&shown.json()).expect("JSON");
            assert_eq!(json["memory"]["oom_kill"], 1);
            assert_eq!(json["swap"]["limit"], 1 << 20);
            assert_eq!(json["cpu"]["usage_us"], 1_500_000);
            assert_eq!(json["pids"]["limit"], Value::Null);
            assert_eq!(json["processes"], json!([41, 42]));
        }
    }

    #[test]
    fn cpu_time_is_that_of_the_group_with_the_quota() {
        let (_v2, memory) = group(&[("memory.max", "max\n"), ("cpu.stat", "usage_usec 7\n")]);
        let (_v1, cpu) = group(&[
            ("cpu.cfs_quota_us", "-1\n"),
            ("cpu.stat", "throttled_time 0\n"),
            ("cpuacct.usage", "9000\n"),
        ]);
        assert_eq!(memory.cpu_use(), (Some(7), None));
        let both = Shown { dirs: [memory.dirs, cpu.dirs].concat(), members: Vec::new() };
        assert_eq!(both.cpu_use(), (Some(9), Some(0)));
    }

    #[test]
    fn what_is_not_limited_is_max_and_what_is_not_there_is_silent() {
        let (_dir, shown) = group(&[("memory.max", "max\n"), ("memory.current", "0\n")]);
        let text = shown.text();
        assert_eq!(row(&text, "memory.limit"), Some("max"));
        assert!(!text.contains("cpu.") && !text.contains("swap."), "{text}");
    }

    #[test]
    fn of_many_processes_the_first_few_are_named() {
        assert_eq!(list(&[]), "0");
        assert_eq!(list(&(1..=9).collect::<Vec<_>>()), "9 (1 2 3 4 5 6 7 8 ...)");
    }
}
