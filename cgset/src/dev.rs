//! Rules for device nodes: which device, what may be done with it, and whether that is allowed.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use common::{Failure, Tried, shell};
use nix::sys::stat::{major, minor};

use crate::key::{Key, Setting};
use crate::value::Value;

/// The two kinds of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Block,
    Char,
}

/// Devices, by what is said of them; `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

/// What can be done with a device: a bit for each, as the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u32);

const LETTERS: [(char, u32); 3] = [('r', 2), ('w', 4), ('m', 1)];

/// What is to be known before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A device node.
    Path(String),
    Pattern(Pattern),
}

/// One rule. The last one that matches decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub devices: Pattern,
    pub access: Access,
}

/// What the values of the keys look like.
pub const FORM: &str =
    "all, a device node such as /dev/null, or c:1:3, b:8:*; behind it perhaps :r, :rw, :rwm, ...";

/// Reads what was typed.
pub fn parse(text: &str) -> Result<(Named, Access), &'static str> {
    if text.contains('/') {
        let found = text.rsplit_once(':').and_then(|(path, end)| Some((path, Access::parse(end)?)));
        let (path, access) = found.unwrap_or((text, Access::ALL));
        return Ok((Named::Path(path.to_owned()), access));
    }
    let words: Vec<&str> = text.split([':', ' ']).collect();
    let (devices, access) = match words.as_slice() {
        ["all", access @ ..] => (Pattern::default(), access),
        [kind @ ("c" | "b"), major, minor, access @ ..] => {
            let kind = Some(if *kind == "c" { Kind::Char } else { Kind::Block });
            let major = number(major, 0xfff).ok_or("no major number from 0 to 4095, nor *")?;
            let minor =
                number(minor, 0xf_ffff).ok_or("no minor number from 0 to 1048575, nor *")?;
            (Pattern { kind, major, minor }, access)
        }
        _ => return Err("no device"),
    };
    let access = match access {
        [] => Access::ALL,
        [letters] => {
            Access::parse(letters).ok_or("behind the device are other letters than r, w, m")?
        }
        _ => return Err("more than a device and its letters"),
    };
    Ok((Named::Pattern(devices), access))
}

/// Decimal digits without a leading zero, or `*`, which is none.
#[allow(clippy::option_option, reason = "any number is a number, too")]
fn number(text: &str, most: u32) -> Option<Option<u32>> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "*" => Some(None),
        _ if !digits || (text != "0" && text.starts_with('0')) => None,
        _ => text.parse().ok().filter(|number| *number <= most).map(Some),
    }
}

/// The rules among these settings, in their order.
pub fn rules(settings: &[Setting]) -> Result<Vec<Rule>, Failure> {
    let mut rules = Vec::new();
    for Setting { key, value } in settings {
        if let Value::Device { name, access } = value {
            let allow = *key == Key::DevAllow;
            rules.push(Rule { allow, devices: name.find()?, access: *access });
        }
    }
    Ok(rules)
}

/// As they are typed.
pub fn words(rules: &[Rule]) -> String {
    let words = rules.iter().map(|rule| format!("{} {}", rule.key(), shell::word(rule.typed())));
    words.collect::<Vec<_>>().join(" ")
}

impl Named {
    fn find(&self) -> Result<Pattern, Failure> {
        let path = match self {
            Self::Path(path) => path,
            Self::Pattern(pattern) => return Ok(*pattern),
        };
        let there = fs::metadata(path).tried(|| format!("look at the device {path:?}"))?;
        let kind = match there.file_type() {
            kind if kind.is_char_device() => Kind::Char,
            kind if kind.is_block_device() => Kind::Block,
            _ => {
                return Err(Failure::new(format!(
                    "find the device {path:?}: it is no device node"
                ))
                .hint("ls -l shows a c or b first for one, and its two numbers"));
            }
        };
        let number = |number: u64| u32::try_from(number).ok();
        let (major, minor) = (number(major(there.rdev())), number(minor(there.rdev())));
        Ok(Pattern { kind: Some(kind), major, minor })
    }
}

impl Access {
    pub const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let bit = |c: char| LETTERS.iter().find(|(letter, _)| *letter == c).map(|(_, bit)| *bit);
        let add = |bits: u32, c| bit(c).filter(|bit| bits & bit == 0).map(|bit| bits | bit);
        text.chars().try_fold(0, add).filter(|bits| *bits != 0).map(Self)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Pattern {
    /// Whether all that the other means is meant here too.
    pub fn covers(self, other: Self) -> bool {
        fn part<T: Copy + PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
            ours.is_none() || ours == theirs
        }
        part(self.kind, other.kind)
            && part(self.major, other.major)
            && part(self.minor, other.minor)
    }

    /// Whether some device is meant by both.
    pub fn meets(self, other: Self) -> bool {
        fn part<T: Copy + PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
            ours.is_none() || theirs.is_none() || ours == theirs
        }
        part(self.kind, other.kind)
            && part(self.major, other.major)
            && part(self.minor, other.minor)
    }
}

impl Rule {
    pub fn key(&self) -> &'static str {
        if self.allow { "dev.allow" } else { "dev.deny" }
    }

    /// Device and access in one word.
    fn typed(&self) -> String {
        let devices = self.devices.to_string().replace(' ', ":");
        if self.access == Access::ALL { devices } else { format!("{devices}:{}", self.access) }
    }

    /// Device and access as the kernel writes them.
    pub fn text(&self) -> String {
        format!("{} {}", self.devices, self.access)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = match self.kind {
            None => return write!(f, "all"),
            Some(Kind::Char) => "c",
            Some(Kind::Block) => "b",
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".into(), |n| n.to_string());
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let letters = LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0);
        write!(f, "{}", letters.map(|(letter, _)| *letter).collect::<String>())
    }
}

/// What rules mean, said as plainly as possible, and rules that are likely to meet.
#[cfg(test)]
pub mod meaning {
    use super::{Access, Kind, Pattern, Rule};
    use proptest::prelude::*;

    /// Whether this may be done with a device of these numbers.
    pub fn allows(rules: &[Rule], device: Pattern, access: Access) -> bool {
        let names =
            |rule: &&Rule| rule.devices.covers(device) && !rule.access.and(access).is_none();
        rules.iter().rev().find(names).is_none_or(|rule| rule.allow)
    }

    pub fn device() -> impl Strategy<Value = Pattern> {
        let kind = prop_oneof![Just(Kind::Char), Just(Kind::Block)];
        (kind, 0u32..2, 0u32..3).prop_map(|(kind, major, minor)| Pattern {
            kind: Some(kind),
            major: Some(major),
            minor: Some(minor),
        })
    }

    pub fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let devices = (0u32..8, device()).prop_map(|(form, device)| match form {
            0 => Pattern::default(),
            1 => Pattern { major: None, minor: None, ..device },
            2 => Pattern { minor: None, ..device },
            _ => device,
        });
        let rule = (any::<bool>(), devices, 1u32..8).prop_map(|(allow, devices, access)| Rule {
            allow,
            devices,
            access: Access(if access > 4 { 7 } else { access }),
        });
        prop::collection::vec(rule, 0..6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        match parse(text).expect("a device").0 {
            Named::Pattern(pattern) => pattern,
            Named::Path(path) => panic!("{path}"),
        }
    }

    #[test]
    fn every_form() {
        for (text, devices, access) in [
            ("all", "all", "rwm"),
            ("all:w", "all", "w"),
            ("c:1:3", "c 1:3", "rwm"),
            ("c 1:3", "c 1:3", "rwm"),
            ("c 1:3 mr", "c 1:3", "rm"),
            ("b:8:*:r", "b 8:*", "r"),
            ("c *:* m", "c *:*", "m"),
        ] {
            let (named, letters) = parse(text).expect(text);
            assert_eq!(named, Named::Pattern(pattern(devices)), "{text}");
            assert_eq!(
                (pattern(text).to_string(), letters.to_string().as_str()),
                (devices.into(), access)
            );
        }
        for (text, path, access) in [
            ("/dev/null", "/dev/null", "rwm"),
            ("/dev/null:r", "/dev/null", "r"),
            ("./a:b", "./a:b", "rwm"),
            ("/dev/a:r:wm", "/dev/a:r", "wm"),
            ("/dev/a:rr", "/dev/a:rr", "rwm"),
        ] {
            let (named, letters) = parse(text).expect(text);
            assert_eq!((named, letters.to_string().as_str()), (Named::Path(path.into()), access));
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in [
            "",
            "null",
            "c",
            "c:1",
            "c:1:",
            "c:01:3",
            "c:1:0x3",
            "c:1:3:",
            "c:1:3:x",
            "c:1:3:rr",
            "c:1:3:r:w",
            "c:4096:0",
            "c:1:1048576",
            "d:1:3",
            "all:",
            "all:*:*",
            "c  1:3",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        let kind = prop_oneof![Just(Kind::Char), Just(Kind::Block)];
        let number = |most: u32| prop::option::of(0..=most);
        prop::option::of((kind, number(4095), number(0xf_ffff))).prop_map(|parts| match parts {
            None => Pattern::default(),
            Some((kind, major, minor)) => Pattern { kind: Some(kind), major, minor },
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in "[acb0-9*:rwm /]{0,16}") {
            let _ = parse(&text);
            let _ = parse(&near);
        }

        #[test]
        fn what_is_shown_is_read_again(devices in any_pattern(), bits in 1u32..8) {
            let rule = Rule { allow: true, devices, access: Access(bits) };
            let wanted = Ok((Named::Pattern(devices), rule.access));
            prop_assert_eq!(parse(&rule.typed()), wanted.clone());
            prop_assert_eq!(parse(&rule.text()), wanted);
        }

        #[test]
        fn what_covers_meets(one in any_pattern(), other in any_pattern()) {
            prop_assert!(one.covers(one) && Pattern::default().covers(one));
            prop_assert!(!one.covers(other) || one.meets(other));
            prop_assert_eq!(one.meets(other), other.meets(one));
        }
    }
}
