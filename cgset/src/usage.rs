//! What a group uses at a moment, and what holds it back.

use std::path::Path;

use serde_json::{Value, json};

use crate::bar;
use crate::pressure::{self, Pressure, RESOURCES};
use crate::run::kills;
use crate::setting::{MEMORY_LIMIT, limit};
use crate::show::{CURRENT, Shown};

/// Something of which there may be a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    pub current: Option<u64>,
    /// The group's own limit.
    pub limit: Option<u64>,
    /// The smallest of this one and those above, which the kernel holds to.
    pub effective: Option<u64>,
    /// Whether the group has a file for the limit, if only to say that there is none.
    pub counted: bool,
}

impl Use {
    /// What is used of the limit that counts.
    pub fn bar(self, width: usize) -> Option<String> {
        Some(bar::drawn(self.current?, self.effective?, width))
    }

    fn percent(self) -> Option<u128> {
        Some(u128::from(self.current?) * 100 / u128::from(self.effective?.max(1)))
    }

    fn json(self) -> Value {
        json!({ "current": self.current, "limit": self.limit, "effective_limit": self.effective })
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    pub memory: Use,
    pub pids: Use,
    /// Microseconds.
    pub cpu: Option<u64>,
    pub throttled: Option<u64>,
    pub quota: Option<f64>,
    /// Whether there can be a quota.
    pub has_quota: bool,
    /// In the order of [`RESOURCES`].
    pub pressure: [Option<Pressure>; 3],
    pub kills: Option<u64>,
}

impl Shown {
    /// Looks at it now.
    pub fn look(&self) -> Look {
        let (cpu, throttled) = self.cpu_use();
        let (quota, period) = self.cpu();
        let stalls = |resource: &str| {
            let file = self.file(&[&format!("{resource}.pressure")])?;
            pressure::read(&file)
        };
        Look {
            memory: self.used(&MEMORY_LIMIT, &CURRENT),
            pids: self.used(&["pids.max"], &["pids.current"]),
            cpu,
            throttled,
            quota: quota.zip(period).map(|(quota, period)| percent(quota, period)),
            has_quota: self.file(&["cpu.max", "cpu.cfs_quota_us"]).is_some(),
            pressure: RESOURCES.map(stalls),
            kills: self.file(&MEMORY_LIMIT).map(|_| kills(self.dirs())),
        }
    }

    fn used(&self, limits: &[&str], currents: &[&str]) -> Use {
        let file = self.file(limits);
        Use {
            current: self.number(currents),
            limit: file.as_ref().and_then(|file| limit(file).ok()?),
            effective: file.as_ref().and_then(|file| smallest(file)),
            counted: file.is_some(),
        }
    }

    /// Those of the lines of `show`.
    pub fn bars(&self) -> Vec<(&'static str, String)> {
        let (swap, swapped) = self.swap();
        let swap = Use { current: swapped, effective: swap, ..Use::default() };
        [
            ("memory.current", self.used(&MEMORY_LIMIT, &CURRENT)),
            ("swap.current", swap),
            ("pids.current", self.used(&["pids.max"], &["pids.current"])),
        ]
        .into_iter()
        .filter_map(|(name, used)| Some((name, format!("{} {}%", used.bar(20)?, used.percent()?))))
        .collect()
    }
}

/// The smallest limit of this name in the group and in those above it.
fn smallest(file: &Path) -> Option<u64> {
    let (dir, name) = (file.parent()?, file.file_name()?);
    let files = dir.ancestors().map(|dir| dir.join(name)).take_while(|file| file.exists());
    files.filter_map(|file| limit(&file).ok()?).min()
}

/// So much of so much.
#[allow(clippy::cast_precision_loss, reason = "microseconds: a double holds centuries of them")]
pub fn percent(part: u64, whole: u64) -> f64 {
    let thousandths = part as f64 * 100_000.0 / whole.max(1) as f64;
    thousandths.round() / 1000.0
}

impl Look {
    /// One object; `cpu` is the percentage since the look before.
    pub fn json(&self, cpu: Option<f64>) -> Value {
        let pressure: serde_json::Map<String, Value> = RESOURCES
            .iter()
            .zip(&self.pressure)
            .map(|(name, pressure)| {
                ((*name).to_owned(), pressure.map_or(Value::Null, Pressure::json))
            })
            .collect();
        let mut memory = self.memory.json();
        memory["oom_kill"] = self.kills.into();
        json!({
            "memory": memory,
            "cpu": {
                "usage_us": self.cpu,
                "throttled_us": self.throttled,
                "quota_percent": self.quota,
                "percent": cpu,
            },
            "pids": self.pids.json(),
            "pressure": pressure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_smallest_limit_above_counts() {
        let top = support::scratch();
        let inner = top.path().join("a/b");
        fs::create_dir_all(&inner).expect("ours");
        for (dir, text) in [("", "max"), ("a", "4096"), ("a/b", "8192")] {
            fs::write(top.path().join(dir).join("memory.max"), text).expect("ours");
        }
        assert_eq!(smallest(&inner.join("memory.max")), Some(4096));
        fs::write(top.path().join("a/memory.max"), "max").expect("ours");
        assert_eq!(smallest(&inner.join("memory.max")), Some(8192));
        assert_eq!(smallest(&top.path().join("memory.max")), None);
    }

    #[test]
    fn without_any_limit_there_is_no_bar() {
        let used = Use { current: Some(5), effective: Some(10), ..Use::default() };
        assert_eq!(used.bar(4).as_deref(), Some("[##--]"));
        assert_eq!(Use { effective: None, ..used }.bar(4), None);
        assert_eq!(Use { current: None, ..used }.bar(4), None);
    }

    #[test]
    fn a_percentage_has_three_decimals() {
        for (part, whole, shown) in [(50_000, 100_000, "50"), (1, 3, "33.333"), (3, 0, "300")] {
            assert_eq!(percent(part, whole).to_string(), shown);
        }
    }
}
