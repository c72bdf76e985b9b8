//! Limits of input and output: one line for each disk, where other limits are one value a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Failure, file, size};
use serde_json::{Value as Json, json};

use crate::device;
use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::setting::Write;
use crate::value::Value;

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Operations,
}

/// What is limited, the word in v2's `io.max`, and the file of v1.
const RATES: [(Key, Unit, &str, &str); 4] = [
    (Key::IoRead, Unit::Bytes, "rbps", "blkio.throttle.read_bps_device"),
    (Key::IoWrite, Unit::Bytes, "wbps", "blkio.throttle.write_bps_device"),
    (Key::IoRead, Unit::Operations, "riops", "blkio.throttle.read_iops_device"),
    (Key::IoWrite, Unit::Operations, "wiops", "blkio.throttle.write_iops_device"),
];

/// The files for the settings of disks.
pub fn writes(settings: &[Setting], version: Version, dir: &Path) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    for Setting { key, value } in settings {
        match value {
            Value::Rate { disk, unit, rate } => {
                let disk = device::find(disk)?.number;
                writes.extend(line(version, (*key, *unit), &disk, *rate));
            }
            Value::Weight { disk, weight } => {
                let disk = disk.as_ref().map(|disk| device::find(disk)).transpose()?;
                writes.push(share(version, disk.map(|disk| disk.number), *weight));
            }
            _ => {}
        }
    }
    if let Some(disk) = twice(&writes) {
        return Err(Failure::usage(format!("limit the disk {disk}: it is named twice")).hint(
            "sda, 8:0, /dev/sda and a path may be the same disk: name it once for each key",
        ));
    }
    Ok(writes.into_iter().map(|(file, text)| Write::new(dir, file, text)).collect())
}

/// The disk for which the same would be set a second time.
fn twice(writes: &[(&str, String)]) -> Option<String> {
    let mut seen = Vec::new();
    for (file, line) in writes {
        let place = line.rsplit_once(['=', ' ']).map_or("", |(place, _)| place);
        if seen.contains(&(file, place)) {
            return place.split(' ').next().map(str::to_owned);
        }
        seen.push((file, place));
    }
    None
}

/// The file, and the line that gives a disk this weight, or all that have none of their own. v1 has
/// weights only where the bfq scheduler divides a disk.
fn share(version: Version, disk: Option<String>, weight: u64) -> (&'static str, String) {
    match (version, disk) {
        (Version::V1, None) => ("blkio.bfq.weight", weight.to_string()),
        (Version::V1, Some(disk)) => ("blkio.bfq.weight_device", format!("{disk} {weight}")),
        (Version::V2, disk) => {
            ("io.weight", format!("{} {weight}", disk.as_deref().unwrap_or("default")))
        }
    }
}

/// The file, and the line that sets this rate for a disk.
fn line(
    version: Version,
    (key, unit): (Key, Unit),
    disk: &str,
    rate: Option<u64>,
) -> Option<(&'static str, String)> {
    let (.., word, file) = RATES.iter().find(|row| (row.0, row.1) == (key, unit))?;
    Some(match version {
        Version::V1 => (*file, format!("{disk} {}", rate.unwrap_or(0))),
        Version::V2 => {
            let rate = rate.map_or_else(|| "max".into(), |rate| rate.to_string());
            ("io.max", format!("{disk} {word}={rate}"))
        }
    })
}

/// Whether a file has a line for each disk.
pub fn is_by_disk(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    ["io.max", "io.weight", "blkio.bfq.weight_device"].contains(&&*name)
        || name.starts_with("blkio.throttle.")
}

/// Whether a file that shows this has what was written; a rate that is not limited is not shown.
pub fn agrees(Write { file, text }: &Write, shown: &str) -> bool {
    now(file, text, shown).is_some_and(|now| now == *text)
}

/// The line that sets for the same disk what a file shows.
pub fn now(file: &Path, written: &str, shown: &str) -> Option<String> {
    let none = if file.to_string_lossy().contains("weight") { "default" } else { "0" };
    let (disk, change) = written.split_once(' ')?;
    let rates = shown.lines().find_map(|line| line.strip_prefix(disk)?.strip_prefix(' '));
    if !change.contains('=') {
        return Some(format!("{disk} {}", rates.unwrap_or(none)));
    }
    let now = |change: &str| {
        let word = change.split('=').next().unwrap_or_default();
        let rate = rates.and_then(|rates| of_word(rates, word)).unwrap_or("max");
        format!(" {word}={rate}")
    };
    Some(disk.to_owned() + &change.split(' ').map(now).collect::<String>())
}

fn of_word<'a>(rates: &'a str, word: &str) -> Option<&'a str> {
    rates.split(' ').find_map(|rate| rate.strip_prefix(word)?.strip_prefix('='))
}

/// A line for each disk that is limited, and for each share that is not the usual one.
pub fn rows(dirs: &[PathBuf]) -> Vec<(&'static str, Option<String>)> {
    let words = ["read", "write", "read", "write"];
    let row = |(disk, rates): (&String, &[Option<u64>; 4])| {
        let rates = rates.iter().enumerate().filter_map(|(n, rate)| Some((n, (*rate)?)));
        let shown = rates.map(|(n, rate)| match n {
            0 | 1 => format!(" {} {rate} ({}) a second", words[n], size::human(rate)),
            _ => format!(" {} {rate} iops", words[n]),
        });
        ("io.limit", Some(format!("{disk}{}", shown.collect::<Vec<_>>().join(","))))
    };
    let weights = weights(dirs).into_iter().filter(|(_, weight)| *weight != 100);
    let weights = weights.map(|(disk, weight)| ("io.weight", Some(format!("{disk} {weight}"))));
    limits(dirs).iter().map(row).chain(weights).collect()
}

/// The limits as JSON.
pub fn json(dirs: &[PathBuf]) -> Json {
    let disk = |(disk, [read, write, reads, writes]): (String, [Option<u64>; 4])| {
        let rates = json!({
            "read_bytes": read,
            "write_bytes": write,
            "read_operations": reads,
            "write_operations": writes,
        });
        (disk, rates)
    };
    limits(dirs).into_iter().map(disk).collect()
}

/// The shares: of disks that have one, and of the others, which is called default.
pub fn weights(dirs: &[PathBuf]) -> BTreeMap<String, u64> {
    let files = ["io.weight", "blkio.bfq.weight", "blkio.bfq.weight_device"];
    let texts = dirs.iter().flat_map(|dir| files.map(|file| file::text(dir.join(file))));
    let texts: String = texts.flatten().collect();
    let weight = |line: &str| {
        // v1 shows that of the others as a number alone.
        let (disk, weight) = line.split_once(' ').unwrap_or(("default", line));
        Some((disk.to_owned(), weight.parse().ok()?))
    };
    texts.lines().filter_map(weight).collect()
}

/// The limits in these groups: for each disk bytes read and written, then operations, a second.
pub fn limits(dirs: &[PathBuf]) -> BTreeMap<String, [Option<u64>; 4]> {
    let mut limits: BTreeMap<String, [Option<u64>; 4]> = BTreeMap::new();
    for dir in dirs {
        let read = |file: &str| file::text(dir.join(file)).unwrap_or_default();
        let v2 = read("io.max");
        for (n, (.., word, file)) in RATES.iter().enumerate() {
            let v1 = read(file);
            let v1 = v1.lines().filter_map(|line| line.split_once(' '));
            let v2 = v2.lines().filter_map(|line| line.split_once(' '));
            let v2 = v2.filter_map(|(disk, rates)| Some((disk, of_word(rates, word)?)));
            for (disk, rate) in v1.chain(v2) {
                if let Ok(rate) = rate.parse() {
                    limits.entry(disk.to_owned()).or_default()[n] = Some(rate);
                }
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_line_is_found_and_put_back() {
        let v2 = "8:0 rbps=1048576 wbps=max riops=max wiops=100\n8:16 rbps=2 wbps=max\n";
        let v1 = "8:0 1048576\n8:16 2\n";
        let weights = "default 100\n8:0 200\n";
        for (file, written, shown, before) in [
            ("io.max", "8:0 rbps=7", v2, "8:0 rbps=1048576"),
            ("io.max", "8:0 wbps=7", v2, "8:0 wbps=max"),
            ("io.max", "8:16 rbps=max", v2, "8:16 rbps=2"),
            ("io.max", "8:1 rbps=7", v2, "8:1 rbps=max"),
            ("io.max", "8:0 rbps=7 wiops=max", v2, "8:0 rbps=1048576 wiops=100"),
            ("blkio.throttle.read_bps_device", "8:0 7", v1, "8:0 1048576"),
            ("blkio.throttle.read_bps_device", "8:1 7", v1, "8:1 0"),
            ("io.weight", "default 7", weights, "default 100"),
            ("io.weight", "8:0 7", weights, "8:0 200"),
            ("io.weight", "8:16 7", weights, "8:16 default"),
        ] {
            assert_eq!(now(Path::new(file), written, shown).as_deref(), Some(before), "{written}");
        }
        let agrees = |file: &str, written: &str, shown| {
            agrees(&Write::new(Path::new("/g"), file, written), shown)
        };
        let v1_file = "blkio.throttle.read_bps_device";
        assert!(agrees("io.max", "8:0 rbps=1048576", v2));
        assert!(!agrees("io.max", "8:0 rbps=1048577", v2));
        assert!(agrees("io.max", "8:0 wiops=100 wbps=max", v2));
        assert!(!agrees("io.max", "8:0 wiops=100 wbps=7", v2));
        assert!(agrees("io.max", "8:1 rbps=max", v2));
        assert!(agrees(v1_file, "8:1 0", v1) && !agrees(v1_file, "8:0 0", v1));
        assert!(agrees("io.weight", "8:0 200", weights) && !agrees("io.weight", "8:0 7", weights));
    }

    #[test]
    fn both_versions_are_read_alike() {
        let (v1, v2) = (support::scratch(), support::scratch());
        fs::write(v1.path().join("blkio.throttle.write_bps_device"), "8:0 5\n").expect("ours");
        fs::write(v1.path().join("blkio.throttle.read_iops_device"), "8:0 9\n").expect("ours");
        let line = "8:0 rbps=max wbps=5 riops=9 wiops=max\n";
        fs::write(v2.path().join("io.max"), line).expect("ours");
        for dir in [v1, v2] {
            let limits = limits(&[dir.path().to_owned()]);
            assert_eq!(limits["8:0"], [None, Some(5), Some(9), None]);
            assert_eq!(limits.len(), 1);
        }
        for (file, text) in [("io.weight", "default 200\n8:0 50\n"), ("blkio.bfq.weight", "200\n")]
        {
            let dir = support::scratch();
            fs::write(dir.path().join(file), text).expect("ours");
            assert_eq!(weights(&[dir.path().to_owned()])["default"], 200, "{file}");
        }
    }
}
