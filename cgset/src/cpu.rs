//! CPU time: a quota, what of it may be saved up, and a share where it is short.

use std::path::Path;

use common::Failure;

use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::setting::{Write, find, read_number};
use crate::value::Value;

/// What is to stand in a file, by its name.
type Pair = (&'static str, String);

/// The files for the settings of CPU time.
pub fn writes(settings: &[Setting], version: Version, dir: &Path) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    if let Some(value) = find(settings, Key::Cpu) {
        writes.extend(quota(value, version, dir)?);
    }
    if let Some(Value::Number(burst)) = find(settings, Key::CpuBurst) {
        let file = match version {
            Version::V1 => "cpu.cfs_burst_us",
            Version::V2 => "cpu.max.burst",
        };
        // It may never be more than the quota, so that the one that gets smaller gives way first.
        let before = read_number(&dir.join(file))?.unwrap_or(0);
        let place = if *burst <= before { 0 } else { writes.len() };
        writes.insert(place, (file, burst.to_string()));
    }
    let share = find(settings, Key::CpuWeight).or_else(|| find(settings, Key::CpuShares));
    match share {
        Some(Value::Word(_)) => writes.push(("cpu.idle", "1".into())),
        Some(Value::Number(number)) => {
            // The kernel refuses a weight for what gets only what nobody else wants.
            if read_number(&dir.join("cpu.idle"))? == Some(1) {
                writes.push(("cpu.idle", "0".into()));
            }
            let shares = find(settings, Key::CpuShares).is_some();
            writes.push(match version {
                Version::V1 if shares => ("cpu.shares", number.to_string()),
                Version::V1 => ("cpu.shares", self::shares(*number).to_string()),
                Version::V2 if shares => ("cpu.weight", weight(*number).to_string()),
                Version::V2 => ("cpu.weight", number.to_string()),
            });
        }
        _ => {}
    }
    Ok(writes.into_iter().map(|(file, text)| Write::new(dir, file, text)).collect())
}

fn quota(value: &Value, version: Version, dir: &Path) -> Result<Vec<Pair>, Failure> {
    let quota = match value {
        Value::Quota { quota, period } => Some((quota.to_string(), period.to_string())),
        _ => None,
    };
    if version == Version::V2 {
        let text = quota.map_or_else(|| "max".into(), |(quota, period)| quota + " " + &period);
        return Ok(vec![("cpu.max", text)]);
    }
    let (file, none) = ("cpu.cfs_quota_us", || "-1".to_owned());
    let mut writes = Vec::new();
    // With no quota in force any period will do, so the two can't contradict.
    if read_number(&dir.join(file))?.is_some() || quota.is_none() {
        writes.push((file, none()));
    }
    let (quota, period) = quota.unwrap_or_else(|| (none(), "100000".into()));
    writes.push(("cpu.cfs_period_us", period));
    if quota != none() {
        writes.push((file, quota));
    }
    Ok(writes)
}

/// cgroup v1's `cpu.shares` for a v2 weight: the inverse of [`weight`], by which 1024 shares and a
/// weight of 100, the two defaults, mean the same.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "1 to 10000 comes in, 2 to 262144 goes out"
)]
fn shares(weight: u64) -> u64 {
    if weight == 100 {
        return 1024;
    }
    let log = (weight as f64).log10();
    let l = f64::midpoint(-125.0, (15625.0 + 4.0 * (612.0 * log + 126.0)).sqrt());
    (l.exp2() + 1e-9).floor() as u64
}

/// The v2 weight for `cpu.shares`, by the conversion that runtimes agreed on in 2025.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "2 to 262144 comes in, 1 to 10000 goes out"
)]
fn weight(shares: u64) -> u64 {
    if shares == 1024 {
        return 100;
    }
    let l = (shares as f64).log2();
    let weight = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
    (weight.ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_what_the_weights_mean() {
        for (weight, wanted) in [(1, 2), (100, 1024), (10_000, 262_144)] {
            assert_eq!(shares(weight), wanted);
        }
        let all: Vec<u64> = (1..=10_000).map(shares).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]), "more weight, not fewer shares");
        assert!((1..=10_000).all(|w| weight(shares(w)) == w));
    }

    /// The values that runtimes test theirs with.
    #[test]
    fn weights_are_what_runtimes_make_of_shares() {
        for (shares, wanted) in [
            (2, 1),
            (3, 2),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2000, 170),
            (10_240, 639),
            (262_144, 10_000),
        ] {
            assert_eq!(weight(shares), wanted, "{shares}");
        }
    }

    fn texts(version: Version, dir: &Path, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let settings: Vec<Setting> = pairs
            .iter()
            .map(|(key, value)| Setting::parse(key, value).expect("a good setting"))
            .collect();
        let name = |file: &Path| file.strip_prefix(dir).expect("inside").display().to_string();
        let writes = writes(&settings, version, dir).expect("good settings");
        writes.into_iter().map(|write| (name(&write.file), write.text)).collect()
    }

    #[test]
    fn a_burst_never_exceeds_the_quota_on_the_way() {
        let dir = support::scratch();
        let set = |pairs: &[(&str, &str)]| {
            let writes = texts(Version::V2, dir.path(), pairs);
            writes.into_iter().map(|(file, _)| file).collect::<Vec<_>>()
        };
        let both = [("cpu", "50%"), ("cpu.burst", "20ms")];
        assert_eq!(set(&both), ["cpu.max", "cpu.max.burst"]);
        std::fs::write(dir.path().join("cpu.max.burst"), "40000\n").expect("ours");
        assert_eq!(set(&both), ["cpu.max.burst", "cpu.max"]);
    }

    #[test]
    fn a_weight_ends_idleness() {
        let dir = support::scratch();
        for (version, file, text) in
            [(Version::V1, "cpu.shares", "1024"), (Version::V2, "cpu.weight", "100")]
        {
            let set = |pairs: &[(&str, &str)]| texts(version, dir.path(), pairs);
            let wanted = vec![(file.to_owned(), text.to_owned())];
            assert_eq!(set(&[("cpu.weight", "100")]), wanted);
            assert_eq!(set(&[("cpu.shares", "1024")]), wanted);
            let idle = vec![("cpu.idle".to_owned(), "1".to_owned())];
            assert_eq!(set(&[("cpu.weight", "idle")]), idle);
            std::fs::write(dir.path().join("cpu.idle"), "1\n").expect("ours");
            let both = [vec![("cpu.idle".to_owned(), "0".to_owned())], wanted].concat();
            assert_eq!(set(&[("cpu.weight", "100")]), both);
            std::fs::remove_file(dir.path().join("cpu.idle")).expect("ours");
        }
    }
}
