//! Mount options by mount(8)'s words.

use common::{Failure, sys};
use nix::mount::MsFlags;

/// How a bind mount is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub recursive: bool,
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub propagation: Option<Propagation>,
}

/// Whether mounts and unmounts below are passed on to and from other places of the same tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    word: &'static str,
    flag: MsFlags,
    /// For the mounts below too.
    pub all: bool,
}

const PROPAGATION: [(&str, MsFlags); 3] = [
    ("private", MsFlags::MS_PRIVATE),
    ("slave", MsFlags::MS_SLAVE),
    ("shared", MsFlags::MS_SHARED),
];

impl Propagation {
    /// Mounts made here are not seen elsewhere; those made elsewhere are seen here.
    pub const SLAVE: Self = Self { word: "slave", flag: MsFlags::MS_SLAVE, all: true };

    fn parse(word: &str) -> Option<Self> {
        let (all, name) = word.strip_prefix('r').map_or((false, word), |name| (true, name));
        let (word, flag) = PROPAGATION.into_iter().find(|(known, _)| *known == name)?;
        Some(Self { word, flag, all })
    }
}

impl Options {
    /// Reads a list such as `ro,nosuid`.
    pub fn parse(list: &str) -> Result<Self, Failure> {
        let mut options = Self::default();
        for word in list.split(',').filter(|_| !list.is_empty()) {
            match word {
                "bind" | "rw" | "suid" | "dev" | "exec" => {}
                "rbind" => options.recursive = true,
                "ro" => options.read_only = true,
                "nosuid" => options.nosuid = true,
                "nodev" => options.nodev = true,
                "noexec" => options.noexec = true,
                _ => options.propagation = Some(Propagation::parse(word).ok_or_else(|| no(word))?),
            }
        }
        Ok(options)
    }

    fn attributes(self) -> [(bool, &'static str, u64); 4] {
        [
            (self.read_only, "ro", sys::MOUNT_ATTR_RDONLY),
            (self.nosuid, "nosuid", sys::MOUNT_ATTR_NOSUID),
            (self.nodev, "nodev", sys::MOUNT_ATTR_NODEV),
            (self.noexec, "noexec", sys::MOUNT_ATTR_NOEXEC),
        ]
    }

    /// What is set on the mount, as mount(8) has it: `ro,nosuid`; empty for nothing.
    pub fn words(self) -> String {
        let set = self.attributes().into_iter().filter(|(set, ..)| *set);
        set.map(|(_, word, _)| word).collect::<Vec<_>>().join(",")
    }

    /// mount(8)'s option for the propagation: `--make-rslave`.
    pub fn make(self) -> Option<String> {
        let propagation = self.propagation?;
        let r = if propagation.all { "r" } else { "" };
        Some(format!("--make-{r}{}", propagation.word))
    }

    /// What is set on the mount, for `mount_setattr(2)`; `None` for nothing.
    pub fn attr(self) -> Option<sys::mount_attr> {
        let set = self.attributes().into_iter().filter(|(set, ..)| *set);
        let attr_set = set.fold(0, |sum, (_, _, flag)| sum | flag);
        (attr_set != 0).then_some(sys::mount_attr { attr_set, ..NOTHING })
    }

    /// The propagation, for the same call.
    pub fn propagation_attr(self) -> Option<(bool, sys::mount_attr)> {
        let Propagation { flag, all, .. } = self.propagation?;
        Some((all, sys::mount_attr { propagation: flag.bits(), ..NOTHING }))
    }
}

const NOTHING: sys::mount_attr =
    sys::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

fn no(word: &str) -> Failure {
    Failure::usage(format!("read the mount options: no option is called {word:?}"))
        .hint("there are ro, nosuid, nodev, noexec, rbind, private, slave, shared")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_own_words() {
        let options = Options::parse("rbind,ro,nodev,rslave").expect("known words");
        assert!(options.recursive && options.read_only && options.nodev && !options.noexec);
        assert_eq!(options.words(), "ro,nodev");
        assert_eq!(options.make().as_deref(), Some("--make-rslave"));
        let attr = options.attr().expect("something is set");
        assert_eq!(attr.attr_set, sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NODEV);
        let (all, attr) = options.propagation_attr().expect("rslave is set");
        assert!(all && attr.propagation == MsFlags::MS_SLAVE.bits());
        let plain = Options::parse("bind,rw").expect("known words");
        assert_eq!(plain, Options::parse("").expect("nothing"));
        assert!(plain.attr().is_none() && plain.make().is_none());
    }
}
