//! The keys and their values: one table, and a parser for each kind of value.

use common::{Failure, size};
use nix::unistd::{SysconfVar, sysconf};

use crate::hierarchy::NET;
use crate::rate::Unit;
use crate::{bitrate, net, raw};

/// A resource that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Mem,
    MemHigh,
    MemLow,
    MemMin,
    Swap,
    Cpu,
    CpuWeight,
    Pids,
    IoRead,
    IoWrite,
    Net,
    NetIn,
    NetOut,
    /// A control file by its own name.
    Raw,
}

/// Name, controller, and what the values look like.
const KEYS: [(&str, Key, &str, &str); 13] = [
    ("mem", Key::Mem, "memory", MEMORY),
    ("mem.high", Key::MemHigh, "memory", MEMORY),
    ("mem.low", Key::MemLow, "memory", MEMORY),
    ("mem.min", Key::MemMin, "memory", MEMORY),
    ("swap", Key::Swap, "memory", "0, 10M, max"),
    ("cpu", Key::Cpu, "cpu", "50% of one CPU, 1.5 CPUs, 20ms/100ms, max"),
    ("cpu.weight", Key::CpuWeight, "cpu", "1 to 10000, 100 is the usual"),
    ("pids", Key::Pids, "pids", "64, max"),
    ("io.read", Key::IoRead, "io", RATE),
    ("io.write", Key::IoWrite, "io", RATE),
    ("net", Key::Net, NET, TRAFFIC),
    ("net.in", Key::NetIn, NET, TRAFFIC),
    ("net.out", Key::NetOut, NET, TRAFFIC),
];

const MEMORY: &str = "10M, 1.5G, 50% of the machine's or of a smaller limit above, max";

const RATE: &str = "DISK:10M (bytes a second), DISK:100iops, DISK:max or DISK:maxiops; DISK is \
    sda, 8:0, /dev/sda or a path that lies on it";

const TRAFFIC: &str = "a rate with its unit, as 8mbit or 1MB/s (the same), or max";

/// A group that is made without any key is made for these controllers.
pub const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The controllers of all keys and files, and the one that freezes with v1.
pub const ALL: [&str; 14] = [
    "memory", "cpu", "pids", "io", NET, "freezer", "cpuset", "cpuacct", "hugetlb", "rdma", "misc",
    "devices", "net_cls", "net_prio",
];

/// A value, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No limit.
    Max,
    /// Bytes, bytes a second, or a number of processes.
    Number(u64),
    /// Thousandths of the machine's memory, or of a smaller limit above.
    PerMille(u64),
    /// Microseconds of CPU time in each period of so many microseconds.
    Quota { quota: u64, period: u64 },
    /// What is written to a control file.
    Raw { file: String, text: String },
    /// So much a second, from a disk or to it; `None` for no limit.
    Rate { disk: String, unit: Unit, rate: Option<u64> },
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: Key,
    pub value: Value,
}

/// What may stand in the place of the first key.
const COMMANDS: [&str; 9] =
    ["create", "ls", "show", "rm", "freeze", "thaw", "kill", "wait", "prune"];

/// The name that was perhaps meant.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (strsim::jaro_winkler(name, known), known));
    near.filter(|(near, _)| *near > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

impl Key {
    /// The key of this name.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let found = KEYS.iter().find(|(known, ..)| *known == name).map(|(_, key, ..)| *key);
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
            (_, "") => return Err(fail("it is empty")),
            (Key::IoRead | Key::IoWrite, _) => rate(text).map_err(fail)?,
            (Key::CpuWeight, "max") => return Err(fail("a weight has no maximum")),
            (_, "max") => Value::Max,
            (Key::Mem | Key::MemHigh | Key::MemLow | Key::MemMin, _) => {
                memory(text).map_err(|why| why.unwrap_or_else(|| fail("no percentage")))?
            }
            (Key::Net | Key::NetIn | Key::NetOut, _) => {
                Value::Number(bitrate::parse(text).map_err(fail)?)
            }
            (Key::Swap, _) => Value::Number(size::parse(text)?),
            (Key::Cpu, _) => cpu(text).ok_or_else(|| fail("no amount of CPU time"))?,
            (Key::CpuWeight, _) => number(text)
                .filter(|weight| (1..=10_000).contains(weight))
                .map(Value::Number)
                .ok_or_else(|| fail("not a number from 1 to 10000"))?,
            (Key::Pids, _) => {
                number(text).map(Value::Number).ok_or_else(|| fail("not a decimal number"))?
            }
        };
        match (key, &value) {
            (Key::Mem | Key::MemHigh, Value::Number(bytes)) if *bytes < page() => Err(fail(
                &format!("less than a page of {} bytes, in which nothing can run", page()),
            )),
            _ => Ok(Self { key, value }),
        }
    }

    /// Whether both are about the same limit, so that only one of them can hold.
    pub fn contradicts(&self, other: &Self) -> bool {
        let place = |value: &Value| match value {
            Value::Rate { disk, unit, .. } => Some((disk.clone(), Some(*unit))),
            Value::Raw { file, .. } => Some((file.clone(), None)),
            _ => None,
        };
        let ways = net::directions(self.key);
        if ways.iter().any(|way| net::directions(other.key).contains(way)) {
            return true;
        }
        self.key == other.key && place(&self.value) == place(&other.value)
    }
}

/// What the kernel counts memory in.
pub fn page() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
}

/// Decimal digits, no leading zero, no sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

/// A decimal number in thousandths: `1.5` is 1500.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = [100, 10, 1][fraction.len() - 1];
    number(whole)?.checked_mul(1000)?.checked_add(fraction.parse::<u64>().ok()? * scale)
}

fn memory(text: &str) -> Result<Value, Option<Failure>> {
    let Some(percent) = text.strip_suffix('%') else {
        return size::parse(text).map(Value::Number).map_err(Some);
    };
    let share = thousandths(percent).map(|percent| percent / 100);
    share.filter(|share| (1..=1000).contains(share)).map(Value::PerMille).ok_or(None)
}

/// The kernel refuses less than two of anything a second.
fn rate(text: &str) -> Result<Value, &'static str> {
    let (disk, amount) = text.rsplit_once(':').ok_or("no disk is named")?;
    if disk.is_empty() {
        return Err("no disk is named");
    }
    let (unit, rate) = match (amount, amount.strip_suffix("iops")) {
        ("max", _) => (Unit::Bytes, None),
        (_, Some("max")) => (Unit::Operations, None),
        (_, Some(number_of)) => (Unit::Operations, Some(number(number_of).ok_or(NO_RATE)?)),
        (bytes, None) => (Unit::Bytes, Some(size::parse(bytes).map_err(|_| NO_RATE)?)),
    };
    if rate.is_some_and(|rate| rate < 2) {
        return Err("less than 2 a second, which the kernel refuses");
    }
    Ok(Value::Rate { disk: disk.to_owned(), unit, rate })
}

const NO_RATE: &str = "no rate";

const PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 1_000_000;
/// The kernel refuses a quota under a millisecond.
const LEAST_QUOTA: u64 = 1000;

fn cpu(text: &str) -> Option<Value> {
    if let Some((quota, period)) = text.split_once('/') {
        let (quota, period) = (microseconds(quota)?, microseconds(period)?);
        let good = quota >= LEAST_QUOTA && (LEAST_QUOTA..=LONGEST_PERIOD).contains(&period);
        return good.then_some(Value::Quota { quota, period });
    }
    // In units of a thousandth of a CPU, times a hundred for a percentage.
    let parts = match text.strip_suffix('%') {
        Some(percent) => thousandths(percent)?,
        None => thousandths(text)?.checked_mul(100)?,
    };
    let of = |period: u64| Some(parts.checked_mul(period)? / 100_000);
    let period = if of(PERIOD)? < LEAST_QUOTA { LONGEST_PERIOD } else { PERIOD };
    let quota = of(period)?;
    (quota >= LEAST_QUOTA).then_some(Value::Quota { quota, period })
}

fn microseconds(text: &str) -> Option<u64> {
    let (text, factor) = match (text.strip_suffix("ms"), text.strip_suffix("us")) {
        (Some(text), _) => (text, 1000),
        (None, Some(text)) => (text, 1),
        (None, None) => return None,
    };
    number(text)?.checked_mul(factor)
}

/// cgroup v1's `cpu.shares` for a v2 weight: the inverse of the conversion that runtimes agreed
/// on in 2025, by which 1024 shares and a weight of 100, the two defaults, mean the same.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "1 to 10000 comes in, 2 to 262144 goes out"
)]
pub fn shares(weight: u64) -> u64 {
    if weight == 100 {
        return 1024;
    }
    let log = (weight as f64).log10();
    let l = f64::midpoint(-125.0, (15625.0 + 4.0 * (612.0 * log + 126.0)).sqrt());
    (l.exp2() + 1e-9).floor() as u64
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "1 to 10000 comes in, 2 to 262144 goes out"
)]
mod tests {
    use super::*;

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
    fn shares_are_what_the_weights_mean() {
        for (weight, wanted) in [(1, 2), (100, 1024), (10_000, 262_144)] {
            assert_eq!(shares(weight), wanted);
        }
        let all: Vec<u64> = (1..=10_000).map(shares).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]), "more weight, not fewer shares");
        // The way back, as runtimes compute it.
        let weight = |shares: u64| {
            let l = (shares as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        };
        assert!((2..10_000).all(|w| w == 100 || weight(shares(w)) == w));
    }

    #[test]
    fn a_near_miss_is_recognised() {
        for (typed, meant) in [
            ("memory", Some("mem")),
            ("memory.max", Some("mem")),
            ("cpus", Some("cpu")),
            ("cpu.wieght", Some("cpu.weight")),
            ("pid", Some("pids")),
            ("delete", None),
        ] {
            let names = KEYS.iter().map(|(name, ..)| *name).chain(COMMANDS);
            assert_eq!(similar(typed, names), meant, "{typed}");
        }
    }
}
