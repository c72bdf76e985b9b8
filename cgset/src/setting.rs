//! From a setting to the files of a group, in the words of its tree's version.

use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, size};

use crate::hierarchy::Version;
use crate::key::{self, Key, Setting, Value, page};
use crate::{device, rate};

/// The file that limits the memory of a group, with v2 and with v1.
pub const MEMORY_LIMIT: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// One control file and what is to stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub file: PathBuf,
    pub text: String,
}

/// The files for these settings, in the order in which the kernel takes them.
pub fn writes(settings: &[Setting], version: Version, dir: &Path) -> Result<Vec<Write>, Failure> {
    let (mut writes, mut raw) = (Vec::new(), Vec::new());
    for Setting { key, value } in settings {
        match (key, version) {
            (Key::Raw, _) => raw.extend(raw_write(value, dir)),
            // The first two are below, for v1 ties them together; the others are no files.
            (Key::Mem | Key::Swap, Version::V1) | (Key::Net | Key::NetIn | Key::NetOut, _) => {}
            (Key::MemHigh | Key::MemLow | Key::MemMin, Version::V1) => return Err(only_v2(*key)),
            (
                Key::Mem | Key::MemHigh | Key::MemLow | Key::MemMin | Key::Swap | Key::Pids,
                Version::V2,
            ) => writes.push((v2_file(*key), bytes(value, "max", dir)?)),
            (Key::Cpu, Version::V1) => {
                let (quota, period) = match value {
                    Value::Quota { quota, period } => (quota.to_string(), period.to_string()),
                    _ => ("-1".into(), "100000".into()),
                };
                // With no quota in force any period will do, so the two can't contradict.
                if read_number(&dir.join("cpu.cfs_quota_us"))?.is_some() || quota == "-1" {
                    writes.push(("cpu.cfs_quota_us", "-1".into()));
                }
                writes.push(("cpu.cfs_period_us", period));
                if quota != "-1" {
                    writes.push(("cpu.cfs_quota_us", quota));
                }
            }
            (Key::Cpu, Version::V2) => writes.push(("cpu.max", quota(value))),
            (Key::CpuWeight, Version::V1) => {
                writes.push(("cpu.shares", key::shares(number(value)).to_string()));
            }
            (Key::CpuWeight, Version::V2) => {
                writes.push(("cpu.weight", number(value).to_string()));
            }
            (Key::Pids, Version::V1) => writes.push(("pids.max", bytes(value, "max", dir)?)),
            (Key::IoRead | Key::IoWrite, _) => {
                if let Value::Rate { disk, unit, rate } = value {
                    let disk = device::find(disk)?.number;
                    writes.extend(rate::line(version, (*key, *unit), &disk, *rate));
                }
            }
        }
    }
    if let Some(disk) = twice(&writes) {
        return Err(Failure::usage(format!("limit the disk {disk}: it is named twice")).hint(
            "sda, 8:0, /dev/sda and a path may be the same disk: name it once for each key",
        ));
    }
    if version == Version::V1 {
        writes.extend(v1_memory(settings, dir)?);
    }
    let writes = writes.into_iter().map(|(file, text)| Write { file: dir.join(file), text });
    Ok(writes.chain(raw).collect())
}

/// The disk for which the same rate would be set a second time.
fn twice(writes: &[(&str, String)]) -> Option<String> {
    let rates = writes.iter().filter(|(file, _)| rate::is_by_disk(Path::new(file)));
    let mut seen = Vec::new();
    for (file, line) in rates {
        let (place, _) = line.rsplit_once(['=', ' '])?;
        if seen.contains(&(file, place)) {
            return place.split(' ').next().map(str::to_owned);
        }
        seen.push((file, place));
    }
    None
}

fn raw_write(value: &Value, dir: &Path) -> Option<Write> {
    let Value::Raw { file, text } = value else { return None };
    Some(Write { file: dir.join(file), text: text.clone() })
}

/// The file of a limit that is one number.
fn v2_file(key: Key) -> &'static str {
    match key {
        Key::MemHigh => "memory.high",
        Key::MemLow => "memory.low",
        Key::MemMin => "memory.min",
        Key::Swap => "memory.swap.max",
        Key::Pids => "pids.max",
        _ => "memory.max",
    }
}

/// v1 has a soft limit too, but what tools take it for differs, and the kernel hardly heeds it.
fn only_v2(key: Key) -> Failure {
    Failure::new(format!(
        "set {}: memory is on cgroup v1 here, which knows no such limit",
        key.name()
    ))
    .hint("mem is the limit that both versions have; mem.high, mem.low and mem.min take v2")
}

/// v1 limits memory, and memory with swap; the second may never be less than the first.
fn v1_memory(settings: &[Setting], dir: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    const MEM: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let value = |wanted| settings.iter().find(|s| s.key == wanted).map(|s| &s.value);
    let (old_mem, old_both) = (limit(&dir.join(MEM))?, limit(&dir.join(BOTH))?);
    let mem = value(Key::Mem).map(|value| bytes(value, "-1", dir)).transpose()?;
    let new_mem = mem.as_ref().map_or(old_mem, |text| text.parse().ok());
    // A limit of swap alone stays what it is when that of memory changes.
    let swap = match (value(Key::Swap), &mem, old_mem, old_both) {
        (Some(Value::Number(swap)), ..) => Some(*swap),
        (None, Some(_), Some(mem), Some(both)) => Some(both.saturating_sub(mem)),
        (None, ..) if old_both.is_none() => {
            return Ok(mem.map(|mem| (MEM, mem)).into_iter().collect());
        }
        (None, None, ..) => return Ok(Vec::new()),
        _ => None,
    };
    let both = match (new_mem, swap) {
        (Some(mem), Some(swap)) => mem.saturating_add(swap).to_string(),
        (None, Some(_)) if value(Key::Swap).is_some() => {
            return Err(Failure::usage("limit swap: cgroup v1 counts it together with memory")
                .hint("limit memory too: mem 10M swap 0"));
        }
        _ => "-1".into(),
    };
    // Whichever way the limits move, the larger one must give way first.
    let raises = both.parse().map_or(true, |new: u64| old_both.is_some_and(|old| new >= old));
    let (mem, both) = (mem.map(|mem| (MEM, mem)), Some((BOTH, both)));
    Ok(if raises { [both, mem] } else { [mem, both] }.into_iter().flatten().collect())
}

/// Where v1 says whether the kernel kills when memory runs out, and what has come of it.
const OOM: &str = "memory.oom_control";

/// What v1 shows for "no limit" is a little less than 2^63.
const UNLIMITED: u64 = 1 << 62;

/// A number in a control file; `None` where the file is not there yet, or says `max`.
pub fn read_number(file: &Path) -> Result<Option<u64>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).tried(|| format!("read {file:?}")),
    }
}

/// A limit in bytes; `None` for none.
pub fn limit(file: &Path) -> Result<Option<u64>, Failure> {
    Ok(read_number(file)?.filter(|bytes| *bytes < UNLIMITED))
}

/// The memory limit among these settings for this group, in bytes.
pub fn memory_limit(settings: &[Setting], dir: &Path) -> Result<Option<u64>, Failure> {
    match settings.iter().find(|setting| setting.key == Key::Mem) {
        Some(setting) => Ok(bytes(&setting.value, "max", dir)?.parse().ok()),
        None => Ok(None),
    }
}

/// v1 refuses a limit below what is used; v2 takes it, and kills at once.
pub fn check_use(write: &Write, force: bool) -> Result<(), Failure> {
    if force || !write.file.ends_with("memory.max") {
        return Ok(());
    }
    let current = read_number(&write.file.with_file_name("memory.current"))?;
    match (current, write.text.parse()) {
        (Some(current), Ok(limit)) if current > limit => Err(Failure::new(format!(
            "write {:?} to {:?}: the group uses {}, and the kernel would kill now",
            write.text,
            write.file,
            size::human(current)
        ))
        .hint("add --force if that is what you want")),
        _ => Ok(()),
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Number(number) => *number,
        _ => 0,
    }
}

fn quota(value: &Value) -> String {
    match value {
        Value::Quota { quota, period } => format!("{quota} {period}"),
        _ => "max".into(),
    }
}

fn bytes(value: &Value, max: &str, dir: &Path) -> Result<String, Failure> {
    match value {
        Value::Number(bytes) => Ok(bytes.to_string()),
        Value::PerMille(share) => {
            Ok((available(dir)? / 1000 * share / page() * page()).to_string())
        }
        _ => Ok(max.into()),
    }
}

/// What this group could have at most: the machine's memory, or what a group above may use.
fn available(dir: &Path) -> Result<u64, Failure> {
    let above = dir.ancestors().skip(1).flat_map(|dir| MEMORY_LIMIT.map(|name| dir.join(name)));
    let least = above.filter_map(|file| limit(&file).ok().flatten()).min();
    let machine = machine("MemTotal:")?;
    Ok(least.map_or(machine, |least| least.min(machine)))
}

/// A line of /proc/meminfo, in bytes.
pub fn machine(name: &str) -> Result<u64, Failure> {
    let file = "/proc/meminfo";
    let text = fs::read_to_string(file).tried(|| format!("read {file:?}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| Failure::new(format!("read {file:?}: no {name}")))
}

impl Write {
    /// Whether what the kernel shows is what was written. It rounds bytes down to whole pages, and
    /// shows "no limit" in its own way.
    pub fn agrees(&self, shown: &str) -> bool {
        if rate::is_by_disk(&self.file) {
            return rate::agrees(&self.text, shown);
        }
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let pages = match name.split('.').next() {
            Some("memory") => Some(page()),
            Some("hugetlb") => Some(1 << 30),
            _ => None,
        };
        match (pages, self.text.parse::<u64>(), shown.parse::<u64>()) {
            (Some(page), Ok(wanted), Ok(shown)) => shown <= wanted && wanted - shown < page,
            (Some(_), Err(_), Ok(shown)) => {
                ["-1", "max"].contains(&self.text.as_str()) && shown >= UNLIMITED
            }
            // Some files show a line for each of several things, or more than was written.
            _ => shown.lines().any(|line| {
                let rest = line.strip_prefix(&self.text);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                    || (name == OOM && line == format!("oom_kill_disable {}", self.text))
            }),
        }
    }

    /// What sets again what the file shows.
    pub fn restores(&self, shown: &str) -> String {
        if self.file.ends_with(OOM) {
            let off = shown.lines().find_map(|line| line.strip_prefix("oom_kill_disable "));
            return off.unwrap_or(shown).to_owned();
        }
        let line = rate::is_by_disk(&self.file).then(|| rate::now(&self.text, shown)).flatten();
        line.unwrap_or_else(|| shown.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(version: Version, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let settings: Vec<Setting> = pairs
            .iter()
            .map(|(key, value)| Setting::parse(key, value).expect("a good setting"))
            .collect();
        let name = |file: &Path| file.strip_prefix("/no/group").map(|f| f.display().to_string());
        writes(&settings, version, Path::new("/no/group"))
            .expect("good settings")
            .into_iter()
            .map(|write| (name(&write.file).expect("a file of the group"), write.text))
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn v2_files() {
        let settings =
            [("mem", "10M"), ("swap", "0"), ("cpu", "50%"), ("cpu.weight", "7"), ("pids", "max")];
        let wanted = [
            ("memory.max", "10485760"),
            ("memory.swap.max", "0"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "7"),
            ("pids.max", "max"),
        ];
        assert_eq!(texts(Version::V2, &settings), pairs(&wanted));
    }

    #[test]
    fn v1_files() {
        let settings = [("mem", "10M"), ("swap", "1M"), ("cpu", "1.5"), ("pids", "64")];
        let wanted = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("pids.max", "64"),
            ("memory.limit_in_bytes", "10485760"),
            ("memory.memsw.limit_in_bytes", "11534336"),
        ];
        assert_eq!(texts(Version::V1, &settings), pairs(&wanted));
        assert_eq!(
            texts(Version::V1, &[("mem", "max"), ("cpu", "max")]),
            pairs(&[
                ("cpu.cfs_quota_us", "-1"),
                ("cpu.cfs_period_us", "100000"),
                ("memory.limit_in_bytes", "-1"),
            ])
        );
    }

    /// The v1 memory files of a group that has these limits already.
    fn v1_changes(mem: &str, both: &str, settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let dir = support::scratch();
        fs::write(dir.path().join("memory.limit_in_bytes"), mem).expect("ours");
        fs::write(dir.path().join("memory.memsw.limit_in_bytes"), both).expect("ours");
        let settings: Vec<Setting> = settings
            .iter()
            .map(|(key, value)| Setting::parse(key, value).expect("a good setting"))
            .collect();
        let changes = v1_memory(&settings, dir.path()).expect("good settings");
        changes.into_iter().map(|(file, text)| (file.replace("_in_bytes", ""), text)).collect()
    }

    #[test]
    fn v1_memory_and_both_never_cross() {
        const NONE: &str = "9223372036854771712\n";
        let (mem, both) = ("memory.limit", "memory.memsw.limit");
        let ten = ("10485760\n", "10485760\n");
        for (old, settings, wanted) in [
            (ten, &[("mem", "20M")][..], &[(both, "20971520"), (mem, "20971520")][..]),
            (ten, &[("mem", "5M")], &[(mem, "5242880"), (both, "5242880")]),
            (ten, &[("swap", "1M")], &[(both, "11534336")]),
            (ten, &[("mem", "max")], &[(both, "-1"), (mem, "-1")]),
            (ten, &[("mem", "5M"), ("swap", "max")], &[(both, "-1"), (mem, "5242880")]),
            (("10485760\n", NONE), &[("mem", "20M")], &[(mem, "20971520")]),
            (
                (NONE, NONE),
                &[("mem", "10M"), ("swap", "0")],
                &[(mem, "10485760"), (both, "10485760")],
            ),
            (ten, &[("pids", "5")], &[]),
        ] {
            assert_eq!(v1_changes(old.0, old.1, settings), pairs(wanted), "{old:?} {settings:?}");
        }
    }

    #[test]
    fn what_only_v2_knows_is_not_set_with_v1() {
        let high = [Setting::parse("mem.high", "8M").expect("a good setting")];
        let lines = writes(&high, Version::V1, Path::new("/no/group")).expect_err("v1");
        assert!(lines.lines("cgset").contains("set mem.high: memory is on cgroup v1"));
        let both = [("mem.high", "8M"), ("mem.min", "max"), ("mem.low", "0")];
        let wanted = [("memory.high", "8388608"), ("memory.min", "max"), ("memory.low", "0")];
        assert_eq!(texts(Version::V2, &both), pairs(&wanted));
    }

    #[test]
    fn v1_swap_alone_can_not_be_counted() {
        let swap = [Setting::parse("swap", "0").expect("a good setting")];
        assert!(v1_memory(&swap, Path::new("/no/group")).is_err());
    }

    #[test]
    fn the_kernel_rounds_to_pages_and_no_further() {
        let write = |file: &str, text: &str| Write { file: file.into(), text: text.into() };
        let mem = write("/g/memory.max", "10000000");
        assert!(mem.agrees("9998336") && !mem.agrees("9994240") && !mem.agrees("0"));
        assert!(write("/g/memory.limit_in_bytes", "-1").agrees("9223372036854771712"));
        assert!(write("/g/cpu.max", "max").agrees("max 100000"));
        assert!(!write("/g/pids.max", "64").agrees("65"));
    }
}
