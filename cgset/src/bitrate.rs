//! Rates of network traffic: `8mbit` and `1MB/s` are the same. A number without a unit is
//! refused, for half of the readers take it for bits, and the other half for bytes.

/// As many bytes a second as one may ask for: 1 Tbit/s.
const MOST: u64 = 125_000_000_000;
/// A packet of the usual size takes 12 seconds with less.
const LEAST: u64 = 125;

/// What each unit is in bits a second, as tc(8) has them; those of bytes end in `/s`.
const UNITS: [(&str, u64); 11] = [
    ("kbit", 1_000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
    ("tbit", 1_000_000_000_000),
    ("bit", 1),
    ("kb/s", 8_000),
    ("mb/s", 8_000_000),
    ("gb/s", 8_000_000_000),
    ("kib/s", 8 << 10),
    ("mib/s", 8 << 20),
    ("gib/s", 8 << 30),
];

/// Reads a rate; gives bytes a second.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if unit.is_empty() {
        return Err("it has no unit, and might mean bits or bytes");
    }
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix("bit/s").map(|prefix| format!("{prefix}bit")).unwrap_or(unit);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or("it has no unit of a rate")?;
    let bits = scaled(number, factor).ok_or("it is no number of whole bits")?;
    match bits / 8 {
        bytes if bits % 8 == 0 && (LEAST..=MOST).contains(&bytes) => Ok(bytes),
        _ => Err("the rate is from 1kbit to 1tbit, in whole bytes a second"),
    }
}

/// A decimal number times a factor, if that is whole.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let octal = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || octal || number.ends_with('.') || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    let parts =
        parts.checked_add(if fraction.is_empty() { 0 } else { fraction.parse().ok()? })?;
    let product = parts.checked_mul(u128::from(factor))?;
    (product % scale == 0).then(|| u64::try_from(product / scale).ok()).flatten()
}

/// The same as it is typed, in the largest unit in which it is whole.
pub fn text(bytes: u64) -> String {
    let bits = u128::from(bytes) * 8;
    let whole = UNITS[..5].iter().rev().filter(|(_, factor)| bits % u128::from(*factor) == 0);
    let (name, factor) = whole.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("bit", 1));
    format!("{}{name}", bits / u128::from(factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_and_bytes() {
        for (text, bytes) in [
            ("8mbit", 1_000_000),
            ("8Mbit/s", 1_000_000),
            ("1MB/s", 1_000_000),
            ("1MiB/s", 1 << 20),
            ("1.5gbit", 187_500_000),
            ("1kbit", 125),
            ("1000bit", 125),
            ("1tbit", MOST),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            "8",
            "8m",
            "8M",
            "8MB",
            "8mbps",
            "mbit",
            "-8mbit",
            "+8mbit",
            "08mbit",
            "0mbit",
            "8 mbit",
            "8.mbit",
            ".8mbit",
            "1.2.3mbit",
            "0x8mbit",
            "8mbit/",
            "2tbit",
            "999bit",
            "1001bit",
            "99999999999999999999999999999999999999mbit",
            "1e3mbit",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn each_rate_comes_back(bytes in LEAST..=MOST) {
            prop_assert_eq!(parse(&text(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
