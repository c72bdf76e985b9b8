//! Control files by the names that the kernel gives them, for all that has no key of its own.

use common::{Failure, size};

use crate::hierarchy::NET;
use crate::key::{ALL, FREEZER, Key, Setting};
use crate::value::Value;

/// Files for which there is a key, which works with either version of the kernel's trees.
const SAME: [(&str, Key); 7] = [
    ("memory.max", Key::Mem),
    ("memory.limit_in_bytes", Key::Mem),
    ("memory.high", Key::MemHigh),
    ("memory.low", Key::MemLow),
    ("memory.min", Key::MemMin),
    ("memory.swap.max", Key::Swap),
    ("pids.max", Key::Pids),
];

/// The key that means the same as this file.
pub fn key(file: &str) -> Option<Key> {
    SAME.iter().find(|(name, _)| *name == file).map(|(_, key)| *key)
}

/// The controller of a file such as `cpu.idle`.
pub fn controller(file: &str) -> Option<&'static str> {
    let (first, rest) = file.split_once('.')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    if rest.is_empty() || !rest.chars().all(plain) {
        return None;
    }
    // Of v2's own, only those that limit: processes are moved otherwise, with checks.
    if first == "cgroup" {
        return rest.starts_with("max.").then_some(NET);
    }
    let name = if first == "blkio" { "io" } else { first };
    let limits = ALL.into_iter().filter(|name| ![NET, FREEZER].contains(name));
    limits.into_iter().find(|known| *known == name)
}

/// A file and what to write to it. Sizes become decimal numbers, for the kernel reads `010` as
/// octal, and of what it does not understand only the beginning.
pub fn parse(file: &str, text: &str) -> Result<Setting, Failure> {
    let fail = |why: &str| {
        Failure::usage(format!("read {file} {text:?}: {why}"))
            .hint("the value is what the kernel takes, on one line; see cgroups(7)")
    };
    if text.trim().is_empty() {
        return Err(fail("it is empty"));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(fail("it is not one line of text"));
    }
    let plain = |one: &str| {
        word(one).map_err(|why| why.unwrap_or_else(|| fail("a number in it is not plain decimal")))
    };
    let words: Result<Vec<String>, Failure> = text.split(' ').map(plain).collect();
    let value = Value::Raw { file: file.to_owned(), text: words?.join(" ") };
    Ok(Setting { key: Key::Raw, value })
}

/// A word such as `max`, `0-3,5`, `8:0` or `95.5` stays what it is; a size, also one behind a `=`,
/// becomes a decimal number.
fn word(word: &str) -> Result<String, Option<Failure>> {
    let is_digit = |c: char| c.is_ascii_digit();
    let value = word.rsplit('=').next().unwrap_or_default();
    let number = value.strip_prefix('-').unwrap_or(value);
    if number.starts_with(['+', '-']) {
        return Err(None);
    }
    let is_list = number.contains(['-', ',', ':', '/']);
    let is_fraction = number.contains('.') && number.ends_with(is_digit);
    if number.starts_with(is_digit) && !is_list && !is_fraction {
        let before = &word[..word.len() - number.len()];
        return Ok(format!("{before}{}", size::parse(number).map_err(Some)?));
    }
    let mut parts = number.split(['-', ',', ':', '/']);
    let starts = |part: &str| part.starts_with(|c| is_digit(c) || c == '+');
    let good = !number.starts_with(is_digit) || parts.all(|part| !starts(part) || is_plain(part));
    if good { Ok(word.to_owned()) } else { Err(None) }
}

/// Decimal digits, perhaps a fraction, and no zero that means octal to some.
fn is_plain(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_have_a_controller() {
        for (file, wanted) in [
            ("cpu.idle", Some("cpu")),
            ("cpuset.cpus.partition", Some("cpuset")),
            ("hugetlb.2MB.max", Some("hugetlb")),
            ("blkio.bfq.weight", Some("io")),
            ("cgroup.max.depth", Some(NET)),
            ("cgroup.procs", None),
            ("cgroup.subtree_control", None),
            ("cpu.", None),
            ("cpu", None),
            ("cpu./../x", None),
            ("memory.max/x", None),
            ("foo.bar", None),
        ] {
            assert_eq!(controller(file), wanted, "{file}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        let text = |text: &str| match parse("cpu.max", text).map(|setting| setting.value) {
            Ok(Value::Raw { text, .. }) => Some(text),
            _ => None,
        };
        for (typed, wanted) in [
            ("50000 100000", Some("50000 100000")),
            ("max", Some("max")),
            ("-1", Some("-1")),
            ("8M", Some("8388608")),
            ("0-1,3", Some("0-1,3")),
            ("8:0 rbps=7", Some("8:0 rbps=7")),
            ("8:0 rbps=1M wbps=max", Some("8:0 rbps=1048576 wbps=max")),
            ("8:0 enable=1 rpct=95.50", Some("8:0 enable=1 rpct=95.50")),
            ("c 1:3 rwm", Some("c 1:3 rwm")),
            ("b *:* m", Some("b *:* m")),
            ("0-7:1/2", Some("0-7:1/2")),
            ("0-N", Some("0-N")),
            ("root", Some("root")),
            ("010", None),
            ("-010", None),
            ("+1", None),
            ("--1", None),
            ("0-0x3", None),
            ("00-3", None),
            ("8:0 rbps=010", None),
            ("8:0 rbps=0x10", None),
            ("8:0 rbps=+1", None),
            ("0x10", None),
            ("5x", None),
            ("", None),
            (" ", None),
            ("1\n2", None),
        ] {
            assert_eq!(text(typed).as_deref(), wanted, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(name: String, text: String) {
            let _ = Setting::parse(&name, &text);
            for (key, _) in SAME {
                let _ = Setting::parse(key, &text);
            }
            for key in ["cpu", "swap", "io.read", "net", "cpu.idle"] {
                let _ = Setting::parse(key, &text);
            }
        }

        #[test]
        fn what_is_written_to_a_file_is_the_number_that_was_typed(number: u64, zeros in 0usize..3) {
            let typed = format!("{}{number}", "0".repeat(zeros));
            match parse("cpu.idle", &typed).map(|setting| setting.value) {
                Ok(Value::Raw { text, .. }) => prop_assert_eq!((text, zeros), (number.to_string(), 0)),
                _ => prop_assert!(zeros > 0),
            }
        }
    }
}
