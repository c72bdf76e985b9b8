//! Capabilities: what is left of root's power.

use common::sys::power::{self, Capabilities};
use common::{Failure, Tried};
use nix::errno::Errno;

/// In the order of their numbers, see capabilities(7).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[allow(clippy::cast_possible_truncation, reason = "there are 64 bits for them")]
const OURS: u32 = NAMES.len() as u32;

/// What Podman leaves to a container: enough for a package manager and a server, and nothing with
/// which to reach the machine.
const DEFAULT: [&str; 11] = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "net_bind_service",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

/// With these, root walks out of a chroot: by the double chroot, by the disk's own device, by a
/// file's handle, by a mount.
const WAYS_OUT: [&str; 4] = ["sys_chroot", "mknod", "dac_read_search", "sys_admin"];

/// A set of them, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    pub const NONE: Self = Self(0);

    /// `all`, `none`, or names with commas between, as `chown` or `CAP_CHOWN`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut words = text.split(',').filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            return Err(Failure::usage(format!("read capabilities from {text:?}: it names none"))
                .hint("is a shell variable empty? The word for no capability is none"));
        }
        words.map(one).try_fold(Self(0), |set, bits| Ok(Self(set.0 | bits?)))
    }

    /// What is to go: all that a container does not get, if it is one, and after chroot(2) the ways
    /// out, and `drop`; but never `keep`.
    pub fn to_go(
        container: bool,
        chroot: bool,
        drop: &[String],
        keep: &[String],
    ) -> Result<Self, Failure> {
        let listed = |lists: &[String]| -> Result<Self, Failure> {
            let mut sets = lists.iter().map(|list| Self::parse(list));
            sets.try_fold(Self::NONE, |all, set| Ok(Self(all.0 | set?.0)))
        };
        let start = if container { !named(&DEFAULT) } else { 0 };
        let out = if chroot { named(&WAYS_OUT) } else { 0 };
        Ok(Self((start | out | listed(drop)?.0) & !listed(keep)?.0))
    }

    /// Those of them that this kernel has: it numbers them without a gap. It has most likely as many as
    /// this program knows of, so their end is looked for from there on.
    pub fn known(self) -> Result<Self, Failure> {
        let is_known = |number| bound(number).map(|bound| bound.is_some());
        let mut end = OURS;
        while end < u64::BITS && is_known(end)? {
            end += 1;
        }
        while end > 0 && end <= OURS && !is_known(end - 1)? {
            end -= 1;
        }
        let all = 1_u64.checked_shl(end).map_or(u64::MAX, |bit| bit - 1);
        Ok(Self(self.0 & all))
    }

    /// Whether the one of this name is in it.
    pub fn has(self, name: &str) -> bool {
        self.0 & named(&[name]) != 0
    }

    /// As capsh(1) names them.
    pub fn names(self) -> String {
        self.numbers().map(|number| format!("cap_{}", name(number))).collect::<Vec<_>>().join(",")
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.0 >> number & 1 == 1)
    }

    /// No program can get them from here on. It takes CAP_SETPCAP, so it is done before the user
    /// changes.
    pub fn take_from_bounding_set(self) -> Result<(), Failure> {
        self.numbers().try_for_each(|number| match power::drop_bound(number) {
            // Who may not drop it, perhaps does not have it.
            Err(Errno::EPERM) if bound(number)? != Some(true) => Ok(()),
            outcome => outcome.tried(|| format!("drop the capability {}", name(number))).map_err(
                |failure| {
                    failure.hint_if(Errno::EPERM, || {
                        "that takes root (CAP_SETPCAP), perhaps of a user namespace".into()
                    })
                },
            ),
        })
    }

    /// Has them no more, and hands on nothing but by the bounding set: an empty inheritable set
    /// empties the ambient one.
    pub fn give_up(self) -> Result<(), Failure> {
        let held = power::capabilities().tried(|| "read the capabilities")?;
        power::set_capabilities(Capabilities {
            effective: held.effective & !self.0,
            permitted: held.permitted & !self.0,
            inheritable: 0,
        })
        .tried(|| "reduce the capabilities")
    }
}

/// Whether a program could get what it should not: bash and its like never have.
pub fn are_inheritable() -> bool {
    power::capabilities().is_ok_and(|held| held.inheritable != 0)
}

fn bound(number: u32) -> Result<Option<bool>, Failure> {
    power::is_bound(number).tried(|| "read the bounding set of capabilities")
}

/// One that is newer than this program has a number for its name, as with capsh(1).
fn name(number: u32) -> String {
    NAMES.get(number as usize).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn named(names: &[&str]) -> u64 {
    let number = |name: &&str| NAMES.iter().position(|known| known == name);
    names.iter().filter_map(number).fold(0, |set, number| set | 1 << number)
}

fn one(word: &str) -> Result<u64, Failure> {
    let lower = word.to_ascii_lowercase();
    match lower.strip_prefix("cap_").unwrap_or(&lower) {
        "all" => Ok(u64::MAX),
        "none" => Ok(0),
        name if NAMES.contains(&name) => Ok(named(&[name])),
        _ => Err(Failure::usage(format!("read a capability from {word:?}: there is none of that name"))
            .hint("names are those of capabilities(7), as chown or CAP_CHOWN; all and none are known, too")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_go(container: bool, chroot: bool, drop: &str, keep: &str) -> u64 {
        let lists = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Set::to_go(container, chroot, &lists(drop), &lists(keep)).expect("good names").0
    }

    #[test]
    fn names_are_numbers_of_the_kernel() {
        for (name, number) in [("chown", 0), ("sys_chroot", 18), ("mknod", 27), ("bpf", 39)] {
            assert_eq!(named(&[name]), 1 << number, "{name}");
        }
        assert_eq!(named(&DEFAULT).count_ones(), 11);
        assert_eq!(named(&WAYS_OUT).count_ones(), 4);
    }

    #[test]
    fn what_is_to_go() {
        let set = |text| Set::parse(text).expect("good names").0;
        assert_eq!(set("CAP_CHOWN,kill,,Setuid"), 1 | 1 << 5 | 1 << 7);
        assert_eq!(to_go(false, false, "", ""), 0);
        assert_eq!(to_go(false, false, "all", "kill"), !set("kill"));
        assert_eq!(to_go(true, false, "", ""), !named(&DEFAULT));
        assert_eq!(to_go(false, true, "", "mknod"), named(&WAYS_OUT) & !set("mknod"));
        let gone = to_go(true, true, "chown kill", "mknod,kill");
        assert_eq!(gone, !named(&DEFAULT) & !set("mknod") | set("chown,sys_chroot"));
    }

    #[test]
    fn an_empty_list_is_a_mistake() {
        for text in ["", ",", ",,"] {
            let lines = Set::parse(text).expect_err("no name").lines("chrootx");
            assert!(lines.contains("it names none"), "{text}: {lines}");
        }
        assert_eq!(Set::parse("none").expect("a word"), Set::NONE);
    }

    #[test]
    fn no_name_is_guessed() {
        for text in ["sys", "cap_", "chown+ep", "18", "CAP-CHOWN", "chown kill"] {
            let lines = Set::parse(text).expect_err("no such name").lines("chrootx");
            assert!(lines.contains("there is none of that name"), "{text}: {lines}");
        }
    }
}
