//! From a setting to the files of a group, in the words of its tree's version.

use std::path::{Path, PathBuf};

use common::{Failure, Tried, file};

use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::value::{Value, page, page_size};
use crate::{cpu, cpuset, huge, memory, rate};

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
    let mut writes = Vec::new();
    let mut done = Vec::new();
    for setting in settings {
        let controller = setting.controller();
        if done.contains(&controller) {
            continue;
        }
        done.push(controller);
        writes.extend(match controller {
            "memory" => memory::writes(settings, version, dir)?,
            "cpu" => cpu::writes(settings, version, dir)?,
            "cpuset" => cpuset::writes(settings, version, dir),
            "io" => rate::writes(settings, version, dir)?,
            "hugetlb" => settings.iter().filter_map(|s| huge::write(s, version, dir)).collect(),
            "pids" => pids(settings, dir),
            _ => Vec::new(),
        });
    }
    let raw = settings.iter().filter_map(|setting| match &setting.value {
        Value::Raw { file, text } => Some(Write::new(dir, file, text.clone())),
        _ => None,
    });
    writes.extend(raw);
    Ok(writes)
}

/// The value of a key, if it is among these.
pub fn find(settings: &[Setting], key: Key) -> Option<&Value> {
    settings.iter().find(|setting| setting.key == key).map(|setting| &setting.value)
}

fn pids(settings: &[Setting], dir: &Path) -> Vec<Write> {
    let text = match find(settings, Key::Pids) {
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => "max".into(),
        None => return Vec::new(),
    };
    vec![Write::new(dir, "pids.max", text)]
}

/// Where v1 says whether the kernel kills when memory runs out, and what has come of it.
pub const OOM: &str = "memory.oom_control";

/// What v1 shows for "no limit" is a little less than 2^63.
const UNLIMITED: u64 = 1 << 62;

/// A number in a control file; `None` where the file is not there yet, or says `max`.
pub fn read_number(file: &Path) -> Result<Option<u64>, Failure> {
    match file::text(file) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).tried(|| format!("read {file:?}")),
    }
}

/// A limit in bytes; `None` for none.
pub fn limit(file: &Path) -> Result<Option<u64>, Failure> {
    Ok(read_number(file)?.filter(|bytes| *bytes < UNLIMITED))
}

impl Write {
    pub fn new(dir: &Path, name: &str, text: impl Into<String>) -> Self {
        Self { file: dir.join(name), text: text.into() }
    }

    /// Whether what the kernel shows is what was written. It rounds bytes down to whole pages, and
    /// shows "no limit" in its own way.
    pub fn agrees(&self, shown: &str) -> bool {
        if rate::is_by_disk(&self.file) {
            return rate::agrees(self, shown);
        }
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        match (self.grain(), self.text.parse::<u64>(), shown.parse::<u64>()) {
            (Some(page), Ok(wanted), Ok(shown)) => shown <= wanted && wanted - shown < page,
            (Some(_), Err(_), Ok(shown)) => {
                ["-1", "max"].contains(&self.text.as_str()) && shown >= UNLIMITED
            }
            // No list at all: all that the group above has.
            _ if self.text.is_empty() => shown.is_empty(),
            // Some files show a line for each of several things, or more than was written.
            _ => shown.lines().any(|line| {
                let rest = line.strip_prefix(&self.text);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                    || (name == OOM && line == format!("oom_kill_disable {}", self.text))
            }),
        }
    }

    /// The pages in which the kernel counts what is limited here.
    fn grain(&self) -> Option<u64> {
        let name = self.file.file_name()?.to_string_lossy();
        let limits = [".max", ".high", ".low", ".min", "limit_in_bytes"];
        if !limits.iter().any(|end| name.ends_with(end)) {
            return None;
        }
        let mut parts = name.split('.');
        match (parts.next()?, parts.next()?) {
            ("memory", _) => Some(page()),
            ("hugetlb", size) => page_size(size),
            _ => None,
        }
    }

    /// What the kernel makes of a number of bytes that is not one of whole pages, and of which pages.
    pub fn rounded(&self) -> Option<(u64, u64)> {
        let (grain, wanted) = (self.grain()?, self.text.parse::<u64>().ok()?);
        (wanted % grain != 0).then_some((wanted / grain * grain, grain))
    }

    /// What sets again what the file shows.
    pub fn restores(&self, shown: &str) -> String {
        if self.file.ends_with(OOM) {
            let off = shown.lines().find_map(|line| line.strip_prefix("oom_kill_disable "));
            return off.unwrap_or(shown).to_owned();
        }
        let by_disk = rate::is_by_disk(&self.file);
        let line = by_disk.then(|| rate::now(&self.file, &self.text, shown)).flatten();
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
            ("memory.limit_in_bytes", "10485760"),
            ("memory.memsw.limit_in_bytes", "11534336"),
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("pids.max", "64"),
        ];
        assert_eq!(texts(Version::V1, &settings), pairs(&wanted));
        assert_eq!(
            texts(Version::V1, &[("mem", "max"), ("cpu", "max")]),
            pairs(&[
                ("memory.limit_in_bytes", "-1"),
                ("cpu.cfs_quota_us", "-1"),
                ("cpu.cfs_period_us", "100000"),
            ])
        );
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
    fn keys_of_both_versions() {
        for (key, value, v1, v2) in [
            ("oom", "kill", ("memory.oom_control", "0"), ("memory.oom.group", "0")),
            ("cpu.shares", "2", ("cpu.shares", "2"), ("cpu.weight", "1")),
            ("cpu.weight", "idle", ("cpu.idle", "1"), ("cpu.idle", "1")),
            ("cpu.burst", "2ms", ("cpu.cfs_burst_us", "2000"), ("cpu.max.burst", "2000")),
            ("cpus", "1,0", ("cpuset.cpus", "0-1"), ("cpuset.cpus", "0-1")),
            ("mems", "max", ("cpuset.mems", ""), ("cpuset.mems", "")),
            ("io.weight", "200", ("blkio.bfq.weight", "200"), ("io.weight", "default 200")),
            (
                "huge.2MB",
                "4M",
                ("hugetlb.2MB.limit_in_bytes", "4194304"),
                ("hugetlb.2MB.max", "4194304"),
            ),
            (
                "huge.1GB.rsvd",
                "max",
                ("hugetlb.1GB.rsvd.limit_in_bytes", "-1"),
                ("hugetlb.1GB.rsvd.max", "max"),
            ),
        ] {
            assert_eq!(texts(Version::V1, &[(key, value)]), pairs(&[v1]), "{key} {value}");
            assert_eq!(texts(Version::V2, &[(key, value)]), pairs(&[v2]), "{key} {value}");
        }
        for (version, value) in [(Version::V1, "group"), (Version::V2, "off")] {
            let oom = [Setting::parse("oom", value).expect("a good setting")];
            assert!(writes(&oom, version, Path::new("/no/group")).is_err(), "{value}");
        }
    }

    #[test]
    fn the_kernel_rounds_to_pages_and_no_further() {
        let write = |file: &str, text: &str| Write { file: file.into(), text: text.into() };
        let mem = write("/g/memory.max", "10000000");
        assert!(mem.agrees("9998336") && !mem.agrees("9994240") && !mem.agrees("0"));
        assert!(write("/g/memory.limit_in_bytes", "-1").agrees("9223372036854771712"));
        assert!(write("/g/cpu.max", "max").agrees("max 100000"));
        assert!(!write("/g/pids.max", "64").agrees("65"));
        assert!(write("/g/hugetlb.2MB.max", "3145728").agrees("2097152"));
        assert!(!write("/g/memory.swappiness", "60").agrees("59"));
        assert_eq!(write("/g/memory.oom_control", "1").rounded(), None);
        assert_eq!(write("/g/memory.max", "5000").rounded(), Some((4096, page())));
        assert!(!write("/g/hugetlb.2MB.max", "4194304").agrees("2097152"));
        assert!(write("/g/cpuset.cpus", "").agrees("") && !write("/g/cpuset.cpus", "").agrees("0"));
    }
}
