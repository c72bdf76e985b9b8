//! Sizes as GNU coreutils has them: `10M` and `10MiB` are 10 × 1024², `10MB` is 10 × 1000².

use crate::report::Failure;

/// Reads a number of bytes: decimal digits, perhaps a fraction, perhaps a unit.
///
/// The kernel would take `010M` for octal, wrap what is too large, and ignore what it does not
/// know, so nothing is left to it: what comes out of here is written as plain decimal.
pub fn parse(text: &str) -> Result<u64, Failure> {
    let fail = |why: &str| {
        Failure::usage(format!("read a size from {text:?}: {why}"))
            .hint("write 10M or 10MiB for 10 x 1024 x 1024 bytes, 10MB for 10 x 1000 x 1000")
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(fail("it does not start with a number"));
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(fail("a leading 0 means octal to some, decimal to others"));
    }
    let Some(factor) = factor(unit) else {
        return Err(fail(&format!("no unit is called {unit:?}")));
    };
    let too_large = || fail("that is more than 64 bits hold");
    let bytes: u64 = whole.parse().map_err(|_| too_large())?;
    let bytes = bytes.checked_mul(factor).ok_or_else(too_large)?;
    let part = part(fraction, factor).ok_or_else(|| fail("the fraction has too many digits"))?;
    bytes.checked_add(part).ok_or_else(too_large)
}

/// The bytes of `.5` in `1.5G`, rounded down.
fn part(fraction: &str, factor: u64) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits: u128 = fraction.parse().ok()?;
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    u64::try_from(digits.checked_mul(u128::from(factor))? / scale).ok()
}

fn factor(unit: &str) -> Option<u64> {
    let mut letters = unit.chars();
    let Some(letter) = letters.next() else { return Some(1) };
    let power = 1 + "KMGTPE".find(letter.to_ascii_uppercase())?;
    let base: u64 = match letters.as_str() {
        "" | "iB" => 1024,
        "B" => 1000,
        _ => return None,
    };
    base.checked_pow(u32::try_from(power).ok()?)
}

/// A size for people: `10 MiB`, `9.5 MiB`, `512 B`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = usize::try_from(bytes.max(1).ilog2() / 10).unwrap_or_default();
    let unit = 1u128 << (10 * power);
    let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[power]),
        tenth => format!("{}.{tenth} {}", tenths / 10, UNITS[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_those_of_coreutils() {
        for (text, bytes) in [
            ("0", 0),
            ("10000000", 10_000_000),
            ("10M", 10 << 20),
            ("10m", 10 << 20),
            ("10MiB", 10 << 20),
            ("10MB", 10_000_000),
            ("512k", 512 << 10),
            ("1.5G", 3 << 29),
            ("0.1K", 102),
            ("15E", 15 << 60),
        ] {
            assert_eq!(parse(text).expect("a size"), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "010M",
            "00",
            "0x10",
            "10X",
            "10 M",
            "10Mi",
            "10MBs",
            "1.",
            ".5",
            "1.2.3",
            "16E",
            "18446744073709551616",
            "99999999999999999999",
            "1e3",
            "10M ",
            "max",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn people_read_short_numbers() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (10 << 20, "10 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn plain_numbers_come_back(bytes: u64) {
            prop_assert_eq!(parse(&bytes.to_string()).expect("decimal digits"), bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
