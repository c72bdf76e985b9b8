//! Memory: the hard limit, those that slow down and protect, swap, and what happens when it is
//! used up.

use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, size};

use crate::group;
use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::setting::{MEMORY_LIMIT, OOM, Write, find, limit, read_number};
use crate::value::{Value, page};

/// What of v2 is one number in a file of its own.
const V2: [(Key, &str); 5] = [
    (Key::Mem, "memory.max"),
    (Key::MemHigh, "memory.high"),
    (Key::MemLow, "memory.low"),
    (Key::MemMin, "memory.min"),
    (Key::Swap, "memory.swap.max"),
];

/// The files for the settings of memory.
pub fn writes(settings: &[Setting], version: Version, dir: &Path) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    match version {
        Version::V1 => {
            let unknown = [Key::MemHigh, Key::MemLow, Key::MemMin];
            if let Some(key) = unknown.into_iter().find(|key| find(settings, *key).is_some()) {
                return Err(only_v2(key, dir));
            }
            writes.extend(v1_limits(settings, dir)?);
        }
        Version::V2 => {
            for Setting { key, value } in settings {
                if let Some((_, file)) = V2.iter().find(|(known, _)| known == key) {
                    writes.push((*file, bytes(value, "max", dir)?));
                }
            }
        }
    }
    if let Some(Value::Word(word)) = find(settings, Key::Oom) {
        writes.push(oom(word, version)?);
    }
    Ok(writes.into_iter().map(|(file, text)| Write::new(dir, file, text)).collect())
}

/// What happens when memory is used up. That nobody is killed is what v1 alone can do, and that all
/// of the group are, v2.
fn oom(word: &str, version: Version) -> Result<(&'static str, String), Failure> {
    let fail = |why: &str, hint: &str| {
        Err(Failure::new(format!("set oom {word}: memory is on cgroup {why}")).hint(hint))
    };
    match (word, version) {
        ("group", Version::V1) => {
            fail("v1 here, which kills one process at a time", "oom kill is what both versions do")
        }
        ("off", Version::V2) => fail(
            "v2 here, which always kills",
            "mem.high slows down and does not kill; or wait oom tells of it",
        ),
        (word, Version::V1) => Ok((OOM, u8::from(word == "off").to_string())),
        (word, Version::V2) => Ok(("memory.oom.group", u8::from(word == "group").to_string())),
    }
}

/// What happens in this group when memory is used up.
pub fn policy(dirs: &[PathBuf]) -> Option<&'static str> {
    let text = |name| file::text(group::file(dirs, &[name])?).ok();
    if let Some(control) = text(OOM) {
        return Some(if control.contains("oom_kill_disable 1") { "off" } else { "kill" });
    }
    Some(if text("memory.oom.group")?.trim() == "1" { "group" } else { "kill" })
}

/// v1 has a soft limit too, but what tools take it for differs, and the kernel hardly heeds it.
fn only_v2(key: Key, dir: &Path) -> Failure {
    Failure::new(format!(
        "set {}: memory is on cgroup v1 here, and {dir:?} has no such limit",
        key.name()
    ))
    .hint("mem is the limit that both versions have; mem.high, mem.low and mem.min take v2")
}

/// v1 limits memory, and memory with swap; the second may never be less than the first.
fn v1_limits(settings: &[Setting], dir: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    const MEM: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let value = |key| find(settings, key);
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

/// The memory limit among these settings for this group, in bytes.
pub fn asked(settings: &[Setting], dir: &Path) -> Result<Option<u64>, Failure> {
    match find(settings, Key::Mem) {
        Some(value) => Ok(bytes(value, "max", dir)?.parse().ok()),
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
        .hint("mem.high slows processes down instead; --force if they may be killed")),
        _ => Ok(()),
    }
}

fn bytes(value: &Value, max: &str, dir: &Path) -> Result<String, Failure> {
    match value {
        Value::Number(bytes) => Ok(bytes.to_string()),
        Value::PerMille(share) => {
            let part = u128::from(available(dir)?) * u128::from(*share) / 1000;
            let page = u128::from(page());
            Ok((part / page * page).to_string())
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
    let text = file::text(file).tried(|| format!("read {file:?}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| Failure::new(format!("read {file:?}: no {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
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
        let changes = v1_limits(&settings, dir.path()).expect("good settings");
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
    fn all_of_a_limit_is_the_limit() {
        let dir = support::scratch();
        fs::write(dir.path().join("memory.max"), (2560 * page()).to_string()).expect("ours");
        let share = |share| bytes(&Value::PerMille(share), "max", &dir.path().join("box"));
        for (thousandths, pages) in [(1000, 2560), (500, 1280), (999, 2557)] {
            let wanted = (pages * page()).to_string();
            assert_eq!(share(thousandths).ok(), Some(wanted), "{thousandths}");
        }
    }

    #[test]
    fn v1_swap_alone_can_not_be_counted() {
        let swap = [Setting::parse("swap", "0").expect("a good setting")];
        assert!(v1_limits(&swap, Path::new("/no/group")).is_err());
    }
}
