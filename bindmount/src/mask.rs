//! What a root file system's /proc and /sys do not show, and what can only be read there.
//!
//! The paths are those that container engines agree on. They are opened below the descriptor of the
//! mount that was just made: that this is proc, and no folder that looks like it, is so by
//! construction, and fstatfs(2) need not be asked. No link may be on the way, so no path of the root
//! file system's leads there, and none leads out.

use std::os::fd::OwnedFd;
use std::path::Path;

use common::{Failure, Tried, file, inroot};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use crate::attach::{Mounted, attach_below, copy, explain_kernel};
use crate::options::Options;
use crate::place::Place;
use crate::{devices, memory};

/// A kind of mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What tells of the machine's memory, keys, and doings.
    Hidden,
    /// What changes the machine.
    ReadOnly,
    /// The same as hidden, in sys, all of which is read-only.
    HiddenInSys,
    /// What is mounted in sys.
    MountedInSys,
}

const HIDDEN: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const HIDDEN_IN_SYS: [&str; 2] = ["devices/virtual/powercap", "firmware"];
/// The file systems that are mounted in it, but for fs/cgroup: each is another interface to the kernel
/// of the whole machine, and in containers their places are empty. To libselinux a selinuxfs that can
/// only be read is as good as none. Places where nothing is mounted are covered, too: the copy of /sys
/// is a slave, in which later mounts of the machine appear, and the kernel puts those below a cover.
const MOUNTED_IN_SYS: [&str; 9] = [
    "fs/bpf",
    "fs/fuse/connections",
    "fs/pstore",
    "fs/selinux",
    "fs/smackfs",
    "kernel/config",
    "kernel/debug",
    "kernel/security",
    "kernel/tracing",
];

impl Part {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Hidden => &HIDDEN,
            Self::ReadOnly => &READ_ONLY,
            Self::HiddenInSys => &HIDDEN_IN_SYS,
            Self::MountedInSys => &MOUNTED_IN_SYS,
        }
    }

    /// The line of the script.
    pub fn line(self, place: &Place) -> String {
        let (node, text) = (Options::of_node().words(), Options::of_resolver().words());
        let cover = match self {
            Self::ReadOnly => format!(
                "[ ! -e \"$f\" ] || {{ mount --bind \"$f\" \"$f\"; \
                 mount -o remount,bind,{text} \"$f\"; }}"
            ),
            Self::Hidden | Self::HiddenInSys | Self::MountedInSys => format!(
                "if [ -d \"$f\" ]; then mount -t tmpfs -o {text},mode=0555 tmpfs \"$f\"; \
                 elif [ -e \"$f\" ]; then mount --bind /dev/null \"$f\"; \
                 mount -o remount,bind,{node} \"$f\"; fi"
            ),
        };
        let (names, top) = (self.names().join(" "), place.word());
        format!("for f in {names}; do f={top}/$f; {cover}; done")
    }

    /// The reason.
    pub fn why(self) -> &'static str {
        match self {
            Self::Hidden => {
                "what tells of the machine is empty: /dev/null on files, an empty folder on \
                 folders; open_tree(2), move_mount(2)"
            }
            Self::ReadOnly => {
                "what changes the machine can only be read, also by root; mount_setattr(2)"
            }
            Self::HiddenInSys => "what tells of the machine's firmware is empty; sysfs(5)",
            Self::MountedInSys => {
                "what is mounted in sys to look into the kernel is empty; sysfs(5)"
            }
        }
    }

    /// Does it to the mount that was made last. It is taken away with that one.
    pub fn act(self, mounted: &Mounted) -> Result<(), Failure> {
        let top = mounted.last()?;
        for name in self.names() {
            let Some(at) = Self::open(top, name)? else { continue };
            let cover = match self {
                Self::ReadOnly => copy(&at, name, &Options::of_resolver())?,
                Self::Hidden | Self::HiddenInSys | Self::MountedInSys => empty(&at)?,
            };
            attach_below(cover, &at, name)?;
        }
        Ok(())
    }

    /// `None` for what this kernel does not have.
    fn open(top: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Failure> {
        match inroot::open_plain(top, Path::new(name), OFlag::O_PATH) {
            Err(Errno::ENOENT) => Ok(None),
            opened => opened.map(Some).tried(|| format!("open {name:?} in the new mount")),
        }
        .map_err(explain_kernel)
    }
}

/// Something empty of the same kind.
fn empty(at: &OwnedFd) -> Result<OwnedFd, Failure> {
    let stat = fstat(at).tried(|| "look at what is to be hidden")?;
    if !file::is(&stat, SFlag::S_IFDIR) {
        let null = devices::NULL.of_the_machine()?;
        return copy(&null, "/dev/null", &Options::of_node());
    }
    memory::empty()
}
