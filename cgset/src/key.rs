//! The keys: one table of what can be limited, and by what values.

use common::{Failure, size};

use crate::hierarchy::{DEV, NET};
use crate::network;
use crate::value::{self, Value, Wrong, page};
use crate::{bitrate, dev, net, raw};

/// A resource that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Mem,
    MemHigh,
    MemLow,
    MemMin,
    Swap,
    Oom,
    Cpu,
    CpuWeight,
    CpuShares,
    CpuBurst,
    Cpus,
    Mems,
    Pids,
    IoRead,
    IoWrite,
    IoWeight,
    Huge,
    HugeReserved,
    Net,
    NetIn,
    NetOut,
    NetDeny,
    NetAllow,
    DevDeny,
    DevAllow,
    /// A control file by its own name.
    Raw,
}

/// Name, controller, and what the values look like.
const KEYS: [(&str, Key, &str, &str); 25] = [
    ("mem", Key::Mem, "memory", MEMORY),
    ("mem.high", Key::MemHigh, "memory", MEMORY),
    ("mem.low", Key::MemLow, "memory", MEMORY),
    ("mem.min", Key::MemMin, "memory", MEMORY),
    ("swap", Key::Swap, "memory", "0, 10M, max"),
    (
        "oom",
        Key::Oom,
        "memory",
        "kill, group (v2: all of the group at once), off (v1: none, they hang)",
    ),
    ("cpu", Key::Cpu, "cpu", "50% of one CPU, 1.5 CPUs, 20ms/100ms, max"),
    ("cpu.weight", Key::CpuWeight, "cpu", "1 to 10000, 100 is the usual; idle"),
    ("cpu.shares", Key::CpuShares, "cpu", "2 to 262144, 1024 is the usual"),
    ("cpu.burst", Key::CpuBurst, "cpu", "20ms, 500us, 0; no more than the quota"),
    ("cpus", Key::Cpus, "cpuset", "0-3,5, max"),
    ("mems", Key::Mems, "cpuset", "0, 0-1, max"),
    ("pids", Key::Pids, "pids", "64, max"),
    ("io.read", Key::IoRead, "io", RATE),
    ("io.write", Key::IoWrite, "io", RATE),
    ("io.weight", Key::IoWeight, "io", "1 to 10000, 100 is the usual; DISK:200"),
    ("huge.2MB", Key::Huge, "hugetlb", HUGE),
    ("huge.2MB.rsvd", Key::HugeReserved, "hugetlb", HUGE),
    ("net", Key::Net, NET, TRAFFIC),
    ("net.in", Key::NetIn, NET, TRAFFIC),
    ("net.out", Key::NetOut, NET, TRAFFIC),
    ("net.deny", Key::NetDeny, NET, NETWORK),
    ("net.allow", Key::NetAllow, NET, NETWORK),
    ("dev.deny", Key::DevDeny, DEV, dev::FORM),
    ("dev.allow", Key::DevAllow, DEV, dev::FORM),
];

const MEMORY: &str = "10M, 1.5G, 50% of the machine's or of a smaller limit above, max";

const RATE: &str = "DISK:10M (bytes a second), DISK:100iops, DISK:max or DISK:maxiops; DISK is \
    sda, 8:0, /dev/sda or a path that lies on it";

const HUGE: &str = "10M, max; ls /sys/kernel/mm/hugepages shows the sizes of pages there are";

const TRAFFIC: &str = "a rate with its unit, as 8mbit or 1MB/s (the same), or max";

const NETWORK: &str = "10.0.0.0/8, fe80::/10, an address, or any";

/// A group that is made without any key is made for these controllers.
pub const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The one that freezes with v1, and limits nothing.
pub const FREEZER: &str = "freezer";

/// The controllers of all keys and files, and that one.
pub const ALL: [&str; 14] = [
    "memory", "cpu", "pids", "io", NET, FREEZER, "cpuset", "cpuacct", "hugetlb", "rdma", "misc",
    "devices", "net_cls", "net_prio",
];

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: Key,
    pub value: Value,
}

/// What may stand in the place of the first key.
const COMMANDS: [&str; 11] =
    ["create", "ls", "show", "stat", "watch", "rm", "freeze", "thaw", "kill", "wait", "prune"];

/// The name that was perhaps meant.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (strsim::jaro_winkler(name, known), known));
    near.filter(|(near, _)| *near > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

impl Key {
    /// The key of this name.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let found = KEYS.iter().find(|(known, ..)| *known == name).map(|(_, key, ..)| *key);
        let found = found.or_else(|| huge_pages(name).map(|(key, _)| key));
        let raw = || raw::controller(name).map(|_| Self::Raw);
        found.or_else(|| raw::key(name)).or_else(raw).ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|(name, ..)| *name).collect();
            let meant = similar(name, names.iter().copied().chain(COMMANDS));
            let meant = meant.map(|name| format!("is {name} meant? ")).unwrap_or_default();
            Failure::usage(format!("read the key {name:?}: there is none of this name")).hint(
                format!(
                    "{meant}keys are {}, and files such as cpu.idle; a PID is a decimal number",
                    names.join(", ")
                ),
            )
        })
    }

    /// Its name, its controller, and what its values look like.
    fn row(self) -> (&'static str, &'static str, &'static str) {
        let row = KEYS.iter().find(|(_, key, ..)| *key == self);
        row.map_or(("", "", ""), |(name, _, controller, form)| (name, controller, form))
    }

    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether it can be lifted altogether.
    fn is_limit(self) -> bool {
        !matches!(
            self,
            Self::Oom | Self::CpuWeight | Self::CpuShares | Self::CpuBurst | Self::IoWeight
        )
    }
}

/// The pages of `huge.2MB` and `huge.1GB.rsvd`.
fn huge_pages(name: &str) -> Option<(Key, &str)> {
    let pages = name.strip_prefix("huge.")?;
    let (key, pages) = match pages.strip_suffix(".rsvd") {
        Some(pages) => (Key::HugeReserved, pages),
        None => (Key::Huge, pages),
    };
    value::page_size(pages).map(|_| (key, pages))
}

fn huge(name: &str, text: &str) -> value::Read {
    let (_, pages) = huge_pages(name).ok_or("no such size of pages")?;
    let bytes = if text == "max" { None } else { Some(size::parse(text)?) };
    if bytes.is_some_and(|bytes| bytes > 0 && Some(bytes) < value::page_size(pages)) {
        return Err("less than one page, of which there would be none".into());
    }
    Ok(Value::Huge { pages: pages.to_owned(), bytes })
}

impl Setting {
    pub fn controller(&self) -> &'static str {
        match &self.value {
            Value::Raw { file, .. } => raw::controller(file).unwrap_or_default(),
            _ => self.key.row().1,
        }
    }

    /// A key and its value, as typed.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let key = Key::parse(name)?;
        let fail = |why: &str| {
            Failure::usage(format!("read {name} {text:?}: {why}"))
                .hint(format!("{name} takes {}", key.row().2))
        };
        let value = match (key, text) {
            (Key::Raw, _) => return raw::parse(name, text),
            (_, "") => Err(Wrong::Why("it is empty")),
            (Key::Huge | Key::HugeReserved, _) => huge(name, text),
            (Key::DevDeny | Key::DevAllow, _) => dev::parse(text)
                .map(|(name, access)| Value::Device { name, access })
                .map_err(Wrong::Why),
            (Key::NetDeny | Key::NetAllow, _) => {
                network::parse(name, text).map(Value::Networks).map_err(Wrong::Said)
            }
            (_, "max") if !key.is_limit() => Err(Wrong::Why("it has no maximum")),
            (Key::IoRead | Key::IoWrite, _) => value::rate(text),
            (Key::IoWeight, _) => value::disk_weight(text),
            (_, "max") => Ok(Value::Max),
            (Key::Mem, "-1") if name.ends_with("_in_bytes") => Ok(Value::Max), // as v1 has it
            (_, "-1") if key.is_limit() => Err(Wrong::Why("no limit is called max")),
            _ if text.starts_with('.') => Err(value::pointed(name, text)),
            (Key::Mem | Key::MemHigh, _) => value::memory(text, page()),
            (Key::MemLow | Key::MemMin, _) => value::memory(text, 0),
            (Key::Net | Key::NetIn | Key::NetOut, _) => {
                bitrate::parse(text).map(Value::Number).map_err(Wrong::Why)
            }
            (Key::Swap, _) => size::parse(text).map(Value::Number).map_err(Wrong::Said),
            (Key::Oom, _) => {
                value::word(text, &["kill", "group", "off"]).ok_or(Wrong::Why("no such word"))
            }
            (Key::Cpu, _) => value::quota(text),
            (Key::CpuWeight, "idle") => Ok(Value::Word("idle".into())),
            (Key::CpuWeight, _) => {
                value::between(text, 1, 10_000, "not a number from 1 to 10000, nor idle")
            }
            (Key::CpuShares, _) => {
                value::between(text, 2, 262_144, "not a number from 2 to 262144")
            }
            (Key::CpuBurst, "0") => Ok(Value::Number(0)),
            (Key::CpuBurst, _) => {
                value::microseconds(text).map(Value::Number).ok_or(Wrong::Why("no time"))
            }
            (Key::Cpus | Key::Mems, _) => value::list(text).ok_or(Wrong::Why("no list of numbers")),
            (Key::Pids, _) => value::processes(text),
        };
        match value {
            Ok(value) => Ok(Self { key, value }),
            Err(Wrong::Why(why)) => Err(fail(why)),
            Err(Wrong::Said(failure)) => Err(failure),
        }
    }

    /// Whether both are about the same limit, so that only one of them can hold.
    pub fn contradicts(&self, other: &Self) -> bool {
        let place = |value: &Value| match value {
            Value::Rate { disk, unit, .. } => Some((disk.clone(), Some(*unit))),
            Value::Raw { file, .. } => Some((file.clone(), None)),
            Value::Weight { disk, .. } => Some((disk.clone().unwrap_or_default(), None)),
            Value::Huge { pages, .. } => Some((pages.clone(), None)),
            _ => None,
        };
        let share = |key: Key| matches!(key, Key::CpuWeight | Key::CpuShares);
        if let (Value::Networks(ours), Value::Networks(theirs)) = (&self.value, &other.value) {
            return ours.iter().any(|network| theirs.contains(network));
        }
        // Of these the last one counts.
        if matches!(self.value, Value::Device { .. }) {
            return false;
        }
        let ways = net::directions(self.key);
        if ways.iter().any(|way| net::directions(other.key).contains(way)) {
            return true;
        }
        (self.key == other.key && place(&self.value) == place(&other.value))
            || (share(self.key) && share(other.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Unit;

    fn value(key: &str, text: &str) -> Result<Value, String> {
        Setting::parse(key, text)
            .map(|setting| setting.value)
            .map_err(|failure| failure.lines("cgset"))
    }

    #[test]
    fn every_kind_of_value() {
        let quota = |quota, period| Value::Quota { quota, period };
        let rate = |disk: &str, unit, rate| Value::Rate { disk: disk.into(), unit, rate };
        for (key, text, wanted) in [
            ("mem", "10M", Value::Number(10 << 20)),
            ("mem", "10MB", Value::Number(10_000_000)),
            ("mem", "max", Value::Max),
            ("memory.limit_in_bytes", "-1", Value::Max),
            ("mem", "12.5%", Value::PerMille(125)),
            ("mem.high", "8M", Value::Number(8 << 20)),
            ("mem.low", "0", Value::Number(0)),
            ("mem.min", "25%", Value::PerMille(250)),
            ("swap", "0", Value::Number(0)),
            ("cpu", "50%", quota(50_000, 100_000)),
            ("cpu", "1.5", quota(150_000, 100_000)),
            ("cpu", "200%", quota(200_000, 100_000)),
            ("cpu", "0.5%", quota(5_000, 1_000_000)),
            ("cpu", "20ms/100ms", quota(20_000, 100_000)),
            ("cpu", "2500us/50ms", quota(2_500, 50_000)),
            ("cpu.weight", "100", Value::Number(100)),
            ("cpu.weight", "idle", Value::Word("idle".into())),
            ("cpu.shares", "2", Value::Number(2)),
            ("cpu.burst", "20ms", Value::Number(20_000)),
            ("cpu.burst", "0", Value::Number(0)),
            ("cpus", "3,0-2", Value::Word("0-3".into())),
            ("mems", "max", Value::Max),
            ("oom", "group", Value::Word("group".into())),
            ("io.weight", "200", Value::Weight { disk: None, weight: 200 }),
            ("io.weight", "8:0:5", Value::Weight { disk: Some("8:0".into()), weight: 5 }),
            ("io.weight", "default 200", Value::Weight { disk: None, weight: 200 }),
            ("io.weight", "8:0 5", Value::Weight { disk: Some("8:0".into()), weight: 5 }),
            ("huge.2MB", "4M", Value::Huge { pages: "2MB".into(), bytes: Some(4 << 20) }),
            ("huge.1GB.rsvd", "max", Value::Huge { pages: "1GB".into(), bytes: None }),
            ("pids", "0", Value::Number(0)),
            ("pids", "max", Value::Max),
            ("io.read", "sda:10M", rate("sda", Unit::Bytes, Some(10 << 20))),
            ("io.write", "8:0:100iops", rate("8:0", Unit::Operations, Some(100))),
            ("io.write", "/dev/sda:max", rate("/dev/sda", Unit::Bytes, None)),
            ("io.read", "/a:b:maxiops", rate("/a:b", Unit::Operations, None)),
        ] {
            assert_eq!(value(key, text), Ok(wanted), "{key} {text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_the_key_takes() {
        for (key, text) in [
            ("mem", ""),
            ("mem", "010M"),
            ("mem", "10X"),
            ("mem", "100"),
            ("mem", "0%"),
            ("mem", "-1"),
            ("memory.max", "-1"),
            ("mem", "101%"),
            ("mem.high", "0"),
            ("mem.low", "-1"),
            ("swap", "-1"),
            ("cpu", "0"),
            ("cpu", "0.05%"),
            ("cpu", "10/100"),
            ("cpu", "1ms/2s"),
            ("cpu", "0x1"),
            ("cpu.weight", "0"),
            ("cpu.weight", "10001"),
            ("cpu.weight", "max"),
            ("cpu.shares", "1"),
            ("cpu.shares", "262145"),
            ("cpu.burst", "20"),
            ("cpu.burst", "max"),
            ("cpus", "0x1"),
            ("cpus", "3-0"),
            ("mems", ""),
            ("oom", "max"),
            ("oom", "1"),
            ("io.weight", "0"),
            ("io.weight", ":5"),
            ("io.weight", "sda:max"),
            ("huge.2MB", "-1"),
            ("huge.3MB", "1"),
            ("pids", "-1"),
            ("pids", "064"),
            ("pids", "1k"),
            ("memory", "1"),
            ("io.read", "10M"),
            ("io.read", "max"),
            ("io.read", ":10M"),
            ("io.read", "sda:"),
            ("io.read", "sda:0"),
            ("io.read", "sda:1"),
            ("io.write", "sda:010M"),
            ("io.write", "sda:iops"),
            ("io.write", "sda:-5iops"),
        ] {
            let error = value(key, text).expect_err("no value");
            assert!(error.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn a_near_miss_is_recognised() {
        for (typed, meant) in [
            ("memory", Some("mem")),
            ("memory.max", Some("mem")),
            ("cpu.wieght", Some("cpu.weight")),
            ("pid", Some("pids")),
            ("delete", None),
        ] {
            let names = KEYS.iter().map(|(name, ..)| *name).chain(COMMANDS);
            assert_eq!(similar(typed, names), meant, "{typed}");
        }
    }
}
