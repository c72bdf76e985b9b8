//! Mount options by mount(8)'s words.

use common::{Failure, sys};
use nix::libc;
use nix::mount::MsFlags;

use crate::idmap::{self, IdMap};

/// How a bind mount is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The mounts below come along.
    pub recursive: bool,
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
    /// Whose the files are seen to be.
    pub idmap: Option<IdMap>,
}

/// Whether mounts and unmounts below are passed on to and from other places of the same tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Propagation {
    word: &'static str,
    flag: MsFlags,
    /// For the mounts below too.
    all: bool,
}

const PROPAGATION: [(&str, MsFlags); 4] = [
    ("private", MsFlags::MS_PRIVATE),
    ("slave", MsFlags::MS_SLAVE),
    ("shared", MsFlags::MS_SHARED),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

/// A word, what it sets, and what it clears: the times of access are one field of three values.
const WORDS: [(&str, u64, u64); 15] = [
    ("ro", libc::MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("noatime", libc::MOUNT_ATTR_NOATIME, libc::MOUNT_ATTR__ATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME),
    ("relatime", libc::MOUNT_ATTR_RELATIME, libc::MOUNT_ATTR__ATIME),
];

impl Options {
    /// Everything below comes along (/dev/pts, /dev/shm), and an unmount does not reach back.
    pub fn of_dev() -> Self {
        let slave = Propagation { word: "slave", flag: MsFlags::MS_SLAVE, all: true };
        Self { recursive: true, propagation: Some(slave), ..Self::default() }
    }

    /// To look at, not to change the machine by. What is mounted there later, here or on the machine,
    /// is seen in one place: it would be a mount of its own, which can be written to.
    pub fn to_read() -> Self {
        let set = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
        let private = Propagation { word: "private", flag: MsFlags::MS_PRIVATE, all: true };
        let set = set | sys::MOUNT_ATTR_RDONLY;
        Self { set, propagation: Some(private), ..Self::default() }
    }

    /// With what is mounted on it.
    pub fn to_read_all() -> Self {
        Self { recursive: true, ..Self::to_read() }
    }

    /// What is asked for by --tmpfs.
    pub fn of_memory() -> Self {
        Self { set: sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV, ..Self::default() }
    }

    /// A device: what writes to it needs no writable mount, what changes its inode does.
    pub fn of_node() -> Self {
        let set = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC | sys::MOUNT_ATTR_RDONLY;
        Self { set, ..Self::default() }
    }

    /// Reads a list such as `ro,nosuid`.
    pub fn parse(list: &str) -> Result<Self, Failure> {
        Self::default().and(list)
    }

    /// These, and what else the list says.
    pub fn and(self, list: &str) -> Result<Self, Failure> {
        let mut options = self;
        for word in list.split(',').filter(|_| !list.is_empty()) {
            options.add(word)?;
        }
        Ok(options)
    }

    /// Adds a word; the last one said is the one that counts. To mount(8) an empty one is none, and
    /// `defaults` sets nothing.
    pub fn add(&mut self, word: &str) -> Result<(), Failure> {
        if let Some(map) = word.strip_prefix(idmap::WORD) {
            return self.idmap.get_or_insert_default().add(map);
        }
        match WORDS.iter().find(|(known, ..)| *known == word) {
            Some((_, set, clear)) => {
                self.set = self.set & !clear | set;
                self.clear |= clear;
            }
            None if matches!(word, "" | "bind" | "defaults") => {}
            None if word == "rbind" => self.recursive = true,
            None => self.propagation = Some(Propagation::parse(word).ok_or_else(|| no(word))?),
        }
        Ok(())
    }

    /// What is set on the mount, as mount(8) has it: `ro,nosuid`; empty for nothing.
    pub fn words(&self) -> String {
        let said = |set: u64, clear: u64| match set {
            0 => self.clear & clear == clear && self.set & clear == 0,
            _ => self.set & set == set,
        };
        let words = WORDS.iter().filter(|(_, set, clear)| said(*set, *clear));
        words.map(|(word, ..)| *word).collect::<Vec<_>>().join(",")
    }

    /// mount(8)'s option for the propagation: `--make-rslave`.
    pub fn make(&self) -> Option<String> {
        let propagation = self.propagation?;
        let r = if propagation.all { "r" } else { "" };
        Some(format!("--make-{r}{}", propagation.word))
    }

    /// What is set on the mount, for `mount_setattr(2)`; `None` for nothing.
    pub fn attr(&self) -> Option<sys::mount_attr> {
        let attr = sys::mount_attr { attr_set: self.set, attr_clr: self.clear, ..NOTHING };
        (self.set | self.clear != 0).then_some(attr)
    }

    /// The propagation, for the same call, and whether the mounts below get it too.
    pub fn propagation_attr(&self) -> Option<(bool, sys::mount_attr)> {
        let Propagation { flag, all, .. } = self.propagation?;
        Some((all, sys::mount_attr { propagation: flag.bits(), ..NOTHING }))
    }
}

impl Propagation {
    fn parse(word: &str) -> Option<Self> {
        let (all, name) = word.strip_prefix('r').map_or((false, word), |name| (true, name));
        let (word, flag) = PROPAGATION.into_iter().find(|(known, _)| *known == name)?;
        Some(Self { word, flag, all })
    }
}

const NOTHING: sys::mount_attr =
    sys::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

fn no(word: &str) -> Failure {
    Failure::usage(format!("read the mount options: no option is called {word:?}")).hint(
        "there are ro, nosuid, nodev, noexec, nosymfollow, noatime, nodiratime, strictatime, \
         their opposites, rbind, private, slave, shared, unbindable, X-mount.idmap=",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Options {
        Options::parse(list).expect("known words")
    }

    #[test]
    fn mounts_own_words() {
        let options = parse("rbind,ro,nodev,rslave");
        assert!(options.recursive);
        assert_eq!(options.words(), "ro,nodev");
        assert_eq!(options.make().as_deref(), Some("--make-rslave"));
        let attr = options.attr().expect("something is set");
        assert_eq!(attr.attr_set, sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NODEV);
        let (all, attr) = options.propagation_attr().expect("rslave is set");
        assert!(all && attr.propagation == MsFlags::MS_SLAVE.bits());
        let plain = parse("bind");
        assert_eq!(plain, parse(""));
        assert_eq!(parse("defaults,ro,"), parse("ro"));
        assert!(plain.attr().is_none() && plain.make().is_none());
    }

    #[test]
    fn the_last_word_counts() {
        for (list, words) in [
            ("ro,rw", "rw"),
            ("rw,ro", "ro"),
            ("noatime,relatime", "relatime"),
            ("relatime,noatime", "noatime"),
            ("strictatime,noatime,nodiratime", "nodiratime,noatime"),
            ("noexec,suid,exec", "suid,exec"),
        ] {
            assert_eq!(parse(list).words(), words, "{list}");
        }
        let attr = parse("strictatime").attr().expect("something is set");
        assert_eq!(
            (attr.attr_set, attr.attr_clr),
            (libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME)
        );
    }
}
