//! What may stand behind a key: a parser for each kind of value.
//!
//! The kernel's own take octal, wrap what is too large and ignore what they do not know, so nothing
//! is left to them: what comes out of here is written as plain decimal.

use common::{Failure, size};
use nix::unistd::{SysconfVar, sysconf};

use crate::dev;
use crate::network::Network;
use crate::rate::Unit;

/// A value, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No limit.
    Max,
    /// Bytes, bytes a second, microseconds, or a number of processes.
    Number(u64),
    /// Thousandths of the machine's memory, or of a smaller limit above.
    PerMille(u64),
    /// Microseconds of CPU time in each period of so many microseconds.
    Quota { quota: u64, period: u64 },
    /// One of a few words, or a list of CPUs.
    Word(String),
    /// What is written to a control file.
    Raw { file: String, text: String },
    /// So much a second, from a disk or to it; `None` for no limit.
    Rate { disk: String, unit: Unit, rate: Option<u64> },
    /// A share of a disk, or of those that have none of their own.
    Weight { disk: Option<String>, weight: u64 },
    /// So many bytes of huge pages of a size; `None` for no limit.
    Huge { pages: String, bytes: Option<u64> },
    /// What is allowed or denied.
    Networks(Vec<Network>),
    /// A device, or several, and what may be done with them or not.
    Device { name: dev::Named, access: dev::Access },
}

/// Why a text is no value: a few words, or a failure that says it all.
#[derive(Debug)]
pub enum Wrong {
    Why(&'static str),
    Said(Failure),
}

impl From<&'static str> for Wrong {
    fn from(why: &'static str) -> Self {
        Self::Why(why)
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Said(failure)
    }
}

pub type Read = Result<Value, Wrong>;

/// What the kernel counts memory in.
pub fn page() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
}

/// Decimal digits, no leading zero, no sign.
pub fn number(text: &str) -> Option<u64> {
    is_decimal(text).then(|| text.parse().ok()).flatten()
}

fn is_decimal(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && !text.is_empty() && (text == "0" || !text.starts_with('0'))
}

/// A number that begins with its point.
pub fn pointed(name: &str, text: &str) -> Wrong {
    let failure = Failure::usage(format!("read {name} {text:?}: it does not begin with a digit"));
    Wrong::Said(failure.hint(format!("write 0{text}")))
}

/// A number of processes: no more than the machine could have.
pub fn processes(text: &str) -> Read {
    // PID_MAX_LIMIT in the kernel's include/linux/threads.h.
    const MOST: u64 = 4_194_304;
    if !is_decimal(text) {
        return Err("not a decimal number".into());
    }
    between(text, 0, MOST, "more than 4194304, the most that the kernel takes")
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

/// `10M`, or `50%`; at least `least` bytes.
pub fn memory(text: &str, least: u64) -> Read {
    let Some(percent) = text.strip_suffix('%') else {
        return match size::parse(text)? {
            bytes if bytes < least => Err("less than a page, in which nothing can run".into()),
            bytes => Ok(Value::Number(bytes)),
        };
    };
    let share = thousandths(percent).map(|percent| percent / 100);
    let share = share.filter(|share| (1..=1000).contains(share));
    share.map(Value::PerMille).ok_or(Wrong::Why("no percentage"))
}

/// A number between two.
pub fn between(text: &str, least: u64, most: u64, why: &'static str) -> Read {
    let found = number(text).filter(|number| (least..=most).contains(number));
    found.map(Value::Number).ok_or(Wrong::Why(why))
}

/// One of these words.
pub fn word(text: &str, words: &[&str]) -> Option<Value> {
    words.contains(&text).then(|| Value::Word(text.to_owned()))
}

/// `sda:10M`, `8:0:100iops`. The kernel refuses less than two of anything a second.
pub fn rate(text: &str) -> Read {
    let is_rate = |text: &str| text == "max" || size::parse(text).is_ok();
    let (disk, amount) = match text.rsplit_once(':') {
        Some(both) => both,
        None if is_rate(text.trim_end_matches("iops")) => ("", text),
        None => return Err("it has no rate".into()),
    };
    if disk.is_empty() {
        return Err("no disk is named".into());
    }
    let (unit, rate) = match (amount, amount.strip_suffix("iops")) {
        ("max", _) => (Unit::Bytes, None),
        (_, Some("max")) => (Unit::Operations, None),
        (_, Some(number_of)) => (Unit::Operations, Some(number(number_of).ok_or(NO_RATE)?)),
        (bytes, None) => (Unit::Bytes, Some(size::parse(bytes).map_err(|_| NO_RATE)?)),
    };
    if rate.is_some_and(|rate| rate < 2) {
        return Err("less than 2 a second, which the kernel refuses".into());
    }
    Ok(Value::Rate { disk: disk.to_owned(), unit, rate })
}

const NO_RATE: &str = "no rate";

/// `200`, or `sda:200`; as the kernel has it, `default 200` and `8:0 200`.
pub fn disk_weight(text: &str) -> Read {
    let (disk, weight) = match text.rsplit_once([':', ' ']) {
        Some(("", _)) => return Err("no disk is named".into()),
        Some(("default", weight)) => (None, weight),
        Some((disk, weight)) => (Some(disk.to_owned()), weight),
        None => (None, text),
    };
    let weight = number(weight).filter(|weight| (1..=10_000).contains(weight));
    let weight = weight.ok_or(Wrong::Why("no number from 1 to 10000"))?;
    Ok(Value::Weight { disk, weight })
}

const PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 1_000_000;
/// The kernel refuses a quota under a millisecond.
const LEAST_QUOTA: u64 = 1000;
/// And one that its shares, fractions of 64 bits of which 20 are behind the point, do not hold.
const MOST_QUOTA: u64 = (1 << 44) - 1;

/// `50%` of one CPU, `1.5` CPUs, `20ms/100ms`.
pub fn quota(text: &str) -> Read {
    let (quota, period) = match text.split_once('/') {
        Some(times) => quota_and_period(times)?,
        None => share_of_cpus(text)?,
    };
    if quota > MOST_QUOTA {
        return Err("more than the kernel can count".into());
    }
    Ok(Value::Quota { quota, period })
}

fn quota_and_period((quota, period): (&str, &str)) -> Result<(u64, u64), &'static str> {
    let both = microseconds(quota).zip(microseconds(period));
    let (quota, period) = both.ok_or("a time is as 20ms or 500us")?;
    if quota < LEAST_QUOTA || !(LEAST_QUOTA..=LONGEST_PERIOD).contains(&period) {
        return Err("the quota is 1 ms at least, and the period 1 ms at least and 1 s at most");
    }
    Ok((quota, period))
}

fn share_of_cpus(text: &str) -> Result<(u64, u64), &'static str> {
    // In units of a thousandth of a CPU, times a hundred for a percentage.
    let (number, factor) = text.strip_suffix('%').map_or((text, 100), |percent| (percent, 1));
    let parts = thousandths(number).ok_or("no amount of CPU time")?.saturating_mul(factor);
    let of = |period: u64| parts.saturating_mul(period) / 100_000;
    let period = if of(PERIOD) < LEAST_QUOTA { LONGEST_PERIOD } else { PERIOD };
    if of(period) < LEAST_QUOTA {
        return Err("less than 0.1% of a CPU, the least that the kernel takes");
    }
    Ok((of(period), period))
}

/// `20ms`, `2500us`.
pub fn microseconds(text: &str) -> Option<u64> {
    let (text, factor) = match (text.strip_suffix("ms"), text.strip_suffix("us")) {
        (Some(text), _) => (text, 1000),
        (None, Some(text)) => (text, 1),
        (None, None) => return None,
    };
    number(text)?.checked_mul(factor)
}

/// `0-3,5`, as the kernel shows it: in order, each number once, neighbours as a range.
pub fn list(text: &str) -> Option<Value> {
    const MOST: u64 = 65_535;
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > MOST {
            return None;
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, before)) if first <= *before + 1 => *before = last.max(*before),
            _ => joined.push((first, last)),
        }
    }
    let range = |(first, last)| match first == last {
        true => format!("{first}"),
        false => format!("{first}-{last}"),
    };
    let parts: Vec<String> = joined.into_iter().map(range).collect();
    Some(Value::Word(parts.join(",")))
}

/// The bytes of a size of pages as the kernel spells it: `2MB` and `1GB` mean powers of two.
pub fn page_size(name: &str) -> Option<u64> {
    let (digits, unit) = name.split_at_checked(name.len().checked_sub(2)?)?;
    let shift = match unit {
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    number(digits)?.checked_mul(1 << shift).filter(|bytes| bytes.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_as_the_kernel_shows_them() {
        for (typed, wanted) in [
            ("0", Some("0")),
            ("0-3,5", Some("0-3,5")),
            ("3,1,2", Some("1-3")),
            ("0,0-1,1-4", Some("0-4")),
            ("0-9,2-3,5", Some("0-9")),
            ("", None),
            ("3-1", None),
            ("0-", None),
            ("0x1", None),
            ("01", None),
            ("0 1", None),
            ("99999", None),
        ] {
            let wanted = wanted.map(|text| Value::Word(text.into()));
            assert_eq!(list(typed), wanted, "{typed:?}");
        }
    }

    #[test]
    fn sizes_of_huge_pages() {
        for (name, wanted) in [
            ("2MB", Some(2 << 20)),
            ("1GB", Some(1 << 30)),
            ("64KB", Some(64 << 10)),
            ("3MB", None),
            ("MB", None),
            ("2M", None),
            ("", None),
            ("02MB", None),
        ] {
            assert_eq!(page_size(name), wanted, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_list_read_again_is_the_same(numbers in prop::collection::vec(0u64..300, 1..20)) {
            let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let Some(Value::Word(once)) = list(&text.join(",")) else { panic!("a list") };
            prop_assert_eq!(list(&once), Some(Value::Word(once.clone())));
            let mut all = Vec::new();
            for part in once.split(',') {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let end = last.parse::<u64>().expect("decimal");
                all.extend(first.parse::<u64>().expect("decimal")..=end);
            }
            let mut numbers = numbers;
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(all, numbers);
        }
    }
}
