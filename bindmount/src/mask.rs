//! What a root file system's /proc and /sys do not show, and what can only be read there.
//!
//! The paths are those that container engines agree on. They are opened below the descriptor of the
//! mount that was just made: that this is proc, and no folder that looks like it, is so by
//! construction, and fstatfs(2) need not be asked. No link may be on the way, so no path of the root
//! file system's leads there, and none leads out.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::{Failure, Tried, file, inroot, shell};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use crate::attach::{Mounted, attach_below, copy, explain_kernel};
use crate::options::Options;
use crate::place::Place;
use crate::{devices, memory};

/// A kind of mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What tells of the machine's memory, keys, and doings.
    Hidden,
    /// What changes the machine.
    ReadOnly,
    /// The same as hidden, in sys, all of which is read-only.
    HiddenInSys,
    /// What is mounted in sys, by the names there.
    MountedInSys(Vec<PathBuf>),
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

impl Part {
    /// The file systems that are mounted in it, but for fs/cgroup: each is another interface to the
    /// kernel of the whole machine, and in containers their places are empty. To libselinux a
    /// selinuxfs that can only be read is as good as none.
    pub fn mounted_in_sys() -> Result<Self, Failure> {
        let below = |mount: Mount| mount.target.strip_prefix("/sys").ok().map(Path::to_owned);
        let mut names: Vec<_> = mountinfo::read()?.into_iter().filter_map(below).collect();
        names.retain(|name| name != Path::new("") && !name.starts_with("fs/cgroup"));
        // What is mounted below another one is covered with that.
        names.sort();
        names.dedup();
        Ok(Self::MountedInSys(names))
    }

    fn names(&self) -> Vec<&Path> {
        let all = |names: &'static [&str]| names.iter().map(Path::new).collect();
        match self {
            Self::Hidden => all(&HIDDEN),
            Self::ReadOnly => all(&READ_ONLY),
            Self::HiddenInSys => all(&HIDDEN_IN_SYS),
            Self::MountedInSys(names) => names.iter().map(PathBuf::as_path).collect(),
        }
    }

    /// The line of the script.
    pub fn line(&self, place: &Place) -> String {
        let (node, text) = (Options::of_node().words(), Options::to_read().words());
        let cover = match self {
            Self::ReadOnly => format!(
                "[ ! -e \"$f\" ] || {{ mount --bind \"$f\" \"$f\"; \
                 mount -o remount,bind,{text} \"$f\"; }}"
            ),
            Self::Hidden | Self::HiddenInSys | Self::MountedInSys(_) => format!(
                "if [ -d \"$f\" ]; then mount -t tmpfs -o {text},mode=0555 tmpfs \"$f\"; \
                 elif [ -e \"$f\" ]; then mount --bind /dev/null \"$f\"; \
                 mount -o remount,bind,{node} \"$f\"; fi"
            ),
        };
        let names: Vec<String> = self.names().into_iter().map(shell::word).collect();
        let (names, top) = (names.join(" "), place.word());
        format!("for f in {names}; do f={top}/$f; {cover}; done")
    }

    /// The reason.
    pub fn why(&self) -> &'static str {
        match self {
            Self::Hidden => {
                "what tells of the machine is empty: /dev/null on files, an empty folder on \
                 folders; open_tree(2), move_mount(2)"
            }
            Self::ReadOnly => {
                "what changes the machine can only be read, also by root; mount_setattr(2)"
            }
            Self::HiddenInSys => "what tells of the machine's firmware is empty; sysfs(5)",
            Self::MountedInSys(_) => {
                "what is mounted in sys to look into the kernel is empty; sysfs(5)"
            }
        }
    }

    /// Does it to the mount that was made last. It is taken away with that one.
    pub fn act(&self, mounted: &Mounted) -> Result<(), Failure> {
        let top = mounted.last()?;
        for name in self.names() {
            let Some(at) = Self::open(top, name)? else { continue };
            let cover = match self {
                Self::ReadOnly => copy(&at, name, &Options::to_read())?,
                Self::Hidden | Self::HiddenInSys | Self::MountedInSys(_) => empty(&at)?,
            };
            attach_below(cover, &at, name)?;
        }
        Ok(())
    }

    /// `None` for what this kernel does not have.
    fn open(top: &OwnedFd, name: &Path) -> Result<Option<OwnedFd>, Failure> {
        match inroot::open_plain(top, name, OFlag::O_PATH) {
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
