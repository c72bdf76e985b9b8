//! What a new network namespace lacks: a loopback device that is up, and groups that may ping.

use std::fs;
use std::str::FromStr;

use common::{Failure, Line, Tried, file, sys};
use nix::errno::Errno;

const RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";

/// Where they stand in the help.
const HEADING: &str = "A new network namespace";

/// The options for it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Network {
    /// Bring its loopback device up, which is down in a new one (implies --net)
    #[arg(long, help_heading = HEADING)]
    pub loopback: bool,
    /// Let groups FIRST to LAST of it ping, or all that are mapped; in a new one none may (implies --net)
    ///
    /// It is the sysctl net.ipv4.ping_group_range: whose group is in it may send ICMP echo
    /// requests without CAP_NET_RAW. It holds only while both ends are mapped in the user
    /// namespace.
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "FIRST-LAST",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "mapped"
    )]
    pub ping: Option<Groups>,
}

/// What `--ping` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// From the lowest to the highest that the user namespace knows.
    Mapped,
    Range(u32, u32),
}

impl FromStr for Groups {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "mapped" {
            return Ok(Self::Mapped);
        }
        let range = text.split_once('-').and_then(|(first, last)| {
            let number = |text: &str| {
                text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            };
            Some((number(first)?, number(last)?))
        });
        match range {
            Some((first, last)) if first <= last && last <= HIGHEST => Ok(Self::Range(first, last)),
            _ => Err(format!("two group IDs are wanted, as 0-{HIGHEST}")),
        }
    }
}

/// The kernel takes no greater one for this.
const HIGHEST: u32 = i32::MAX.cast_unsigned();

impl Network {
    /// Whether it takes a new network namespace.
    pub fn wanted(self) -> bool {
        self.loopback || self.ping.is_some()
    }
}

/// As ip(8) has it.
pub fn loopback_line() -> Line {
    Line::Run("ip link set lo up".into())
}

/// Brings it up, by which it gets 127.0.0.1 and ::1.
pub fn loopback_up() -> Result<(), Failure> {
    sys::network::device_up(c"lo").tried(|| "bring the loopback device up")
}

impl Groups {
    /// As sysctl(8) has it.
    pub fn line(self) -> Line {
        let range = match self {
            Self::Range(first, last) => format!("{first} {last}"),
            Self::Mapped => format!(
                "$(awk '{{ l = $1 + $3 - 1; if (NR == 1 || $1 < a) a = $1; if (l > b) b = l }} \
                 END {{ print a, (b > {HIGHEST} ? {HIGHEST} : b + 0) }}' /proc/self/gid_map)"
            ),
        };
        Line::Run(format!("sysctl -qw net.ipv4.ping_group_range=\"{range}\""))
    }

    /// Lets them ping.
    pub fn allow(self) -> Result<(), Failure> {
        let (first, last) = match self {
            Self::Range(first, last) => (first, last),
            Self::Mapped => {
                mapped(&file::text("/proc/self/gid_map").tried(|| "read which groups there are")?)
                    .ok_or_else(|| {
                    Failure::new("let groups ping: the user namespace has none")
                        .hint("add --map-root-user")
                })?
            }
        };
        let what = || format!("write \"{first} {last}\" to {RANGE:?}");
        fs::write(RANGE, format!("{first} {last}\n")).tried(what).map_err(|failure| {
            failure
                .hint_if(Errno::EINVAL, || {
                    "both groups must be mapped in the user namespace: cat /proc/self/gid_map"
                        .into()
                })
                .hint_if(Errno::EROFS, || {
                    "/proc/sys can only be read here, as in a container; without --ping it takes \
                     CAP_NET_RAW to ping"
                        .into()
                })
        })?;
        // Where the last group outside has a lower number than the first one, the kernel takes the
        // range for an empty one, and says nothing.
        let is = file::text(RANGE).tried(|| format!("read {RANGE:?}"))?;
        if is.split_whitespace().eq([first.to_string(), last.to_string()]) {
            return Ok(());
        }
        Err(Failure::new(format!("{}: it reads back as {:?}", what(), is.trim_end()))
            .hint("name groups that follow each other outside, too: --ping=FIRST-LAST"))
    }
}

/// The lowest and the highest group of a `gid_map`.
fn mapped(map: &str) -> Option<(u32, u32)> {
    let extent = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some((first, first + count.checked_sub(1)?))
    };
    let extents: Vec<_> = map.lines().filter_map(extent).collect();
    let first = extents.iter().map(|extent| extent.0).min()?;
    let last = extents.iter().map(|extent| extent.1).max()?;
    Some((u32::try_from(first).ok()?, u32::try_from(last).unwrap_or(HIGHEST).min(HIGHEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_all_that_is_mapped() {
        assert_eq!(mapped("         0          0 4294967295\n"), Some((0, HIGHEST)));
        assert_eq!(mapped("0 1000 1\n"), Some((0, 0)));
        assert_eq!(mapped("1 100000 65536\n0 1000 1\n"), Some((0, 65536)));
        assert_eq!(mapped(""), None);
    }

    #[test]
    fn groups_are_two_numbers_in_order() {
        assert_eq!("0-65535".parse(), Ok(Groups::Range(0, 65535)));
        for text in ["", "0", "-", "5-4", "0-2147483648", "+0-1", "0-", "a-b"] {
            assert!(text.parse::<Groups>().is_err(), "{text}");
        }
    }
}
