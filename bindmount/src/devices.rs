//! A small /dev: what every program may expect, and nothing by which the machine can be harmed.
//!
//! It lies in memory, and its nodes are new ones: bound, they would be the machine's, and a chmod
//! inside would reach it. In a user namespace mknod(2) is refused; there the machine's are bound
//! read-only, which hinders no writing to the device and every change of the node.

use std::io::stdin;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::terminal::{DEVPTS, TTY, has_tty, new_devpts};
use common::{Failure, Tried, file, mountinfo, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat, stat, umask};
use nix::unistd::symlinkat;

use crate::attach::{Mounted, attach_below, copy, explain_privilege};
use crate::memory;
use crate::options::Options;
use crate::place::Place;

/// A step towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The file system in memory; all else is in it and goes with it.
    Memory,
    Nodes,
    Links,
    /// devpts; with the group that terminals have, if there is one here.
    Terminals {
        tty: bool,
    },
    /// The devpts in which nsenter-lite has made the terminal that we have: moved, not copied, so that
    /// the terminal has its name inside.
    OwnTerminal,
    /// What `shm_open(3)` makes.
    Shared,
}

/// A character device that is the same in every container.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    name: &'static str,
    major: u64,
    minor: u64,
}

/// The one that is also used to hide files.
pub const NULL: Node = Node { name: "null", major: 1, minor: 3 };

const NODES: [Node; 6] = [
    NULL,
    Node { name: "zero", major: 1, minor: 5 },
    Node { name: "full", major: 1, minor: 7 },
    Node { name: "random", major: 1, minor: 8 },
    Node { name: "urandom", major: 1, minor: 9 },
    Node { name: "tty", major: 5, minor: 0 },
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Where a process has its terminals.
const PTS: &str = "/dev/pts";

/// The steps, in their order.
pub fn parts() -> [Part; 5] {
    let tty = has_tty();
    let terminals = if has_own_terminal() { Part::OwnTerminal } else { Part::Terminals { tty } };
    [Part::Memory, Part::Nodes, Part::Links, terminals, Part::Shared]
}

/// The mount table is long, and read only if standard input is a terminal of our `/dev/pts`.
fn has_own_terminal() -> bool {
    let same = fstat(stdin()).is_ok_and(|input| {
        let is_device = file::is(&input, SFlag::S_IFCHR);
        is_device && stat(PTS).is_ok_and(|pts| pts.st_dev == input.st_dev)
    });
    same && mountinfo::read().is_ok_and(|table| {
        let last = table.iter().rfind(|mount| mount.target == Path::new(PTS));
        last.is_some_and(|mount| {
            mount.kind == "devpts" && mount.source.as_bytes() == DEVPTS.to_bytes()
        })
    })
}

impl Part {
    /// The line of the script.
    pub fn line(self, place: &Place) -> String {
        let dev = place.word();
        match self {
            Self::Memory => {
                format!("mount -t tmpfs -o nosuid,noexec,mode=0755,size=1m tmpfs {dev}")
            }
            Self::Nodes => {
                let node = |node: &Node| format!("'{} {} {}'", node.name, node.major, node.minor);
                let nodes = NODES.iter().map(node).collect::<Vec<_>>().join(" ");
                let words = Options::of_node().words();
                format!(
                    "for n in {nodes}; do (set -- $n; mknod -m 666 {dev}/$1 c $2 $3 2>/dev/null || \
                     {{ touch {dev}/$1; mount --bind /dev/$1 {dev}/$1; \
                     mount -o remount,bind,{words} {dev}/$1; }}); done"
                )
            }
            Self::Links => {
                let link = |(to, name): &(&str, &str)| format!("ln -s {to} {dev}/{name}");
                LINKS.iter().map(link).collect::<Vec<_>>().join("; ")
            }
            Self::Terminals { tty } => {
                let gid = if tty { format!(",gid={TTY}") } else { String::new() };
                format!(
                    "mkdir -m 755 {dev}/pts; mount -t devpts -o \
                     nosuid,noexec,newinstance,ptmxmode=0666,mode=0620{gid} devpts {dev}/pts"
                )
            }
            Self::OwnTerminal => {
                format!("mkdir -m 755 {dev}/pts; mount --move {PTS} {dev}/pts")
            }
            Self::Shared => format!(
                "mkdir -m 755 {dev}/shm; mount -t tmpfs -o \
                 nosuid,nodev,noexec,mode=1777,size=64m tmpfs {dev}/shm"
            ),
        }
    }

    /// The reason.
    pub fn why(self) -> &'static str {
        match self {
            Self::Memory => "a dev in memory, without the machine's disks; tmpfs(5)",
            Self::Nodes => {
                "new nodes, for a chmod of the machine's would reach it; where mknod(2) is \
                 refused, the machine's read-only; null(4), random(4), tty(4)"
            }
            Self::Links => "names that shells and programs use; proc_pid_fd(5)",
            Self::Terminals { .. } => "terminals of its own, numbered from 0; pts(4)",
            Self::OwnTerminal => "the terminals that ours is one of, by the same names; pts(4)",
            Self::Shared => "shared memory of its own; shm_overview(7)",
        }
    }

    /// Does it: in the mount that was made last, but for the first, which makes it at `place`.
    pub fn act(self, mounted: &mut Mounted, place: &Place) -> Result<(), Failure> {
        match self {
            Self::Memory => new(mounted, place),
            Self::Nodes => nodes(mounted.last()?),
            Self::Links => links(mounted.last()?),
            Self::Terminals { tty } => terminals(mounted.last()?, tty),
            Self::OwnTerminal => own_terminal(mounted.last()?),
            Self::Shared => shared(mounted),
        }
    }
}

fn new(mounted: &mut Mounted, place: &Place) -> Result<(), Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC;
    mounted.attach(memory::new(c"0755", c"1m", attrs)?, place)
}

/// They are for all, whatever the umask is.
fn nodes(dev: &OwnedFd) -> Result<(), Failure> {
    let callers = umask(Mode::empty());
    let made = NODES.iter().try_for_each(|node| node.make(dev));
    umask(callers);
    made
}

fn links(dev: &OwnedFd) -> Result<(), Failure> {
    LINKS.iter().try_for_each(|(to, name)| {
        symlinkat(*to, dev, *name).tried(|| format!("make the link {name:?} in memory"))
    })
}

fn terminals(dev: &OwnedFd, tty: bool) -> Result<(), Failure> {
    let terminals =
        new_devpts(c"devpts", tty).tried(|| "make a new devpts").map_err(explain_privilege)?;
    attach_below(terminals, &memory::folder(dev, "pts")?, "pts")
}

fn own_terminal(dev: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let terminals = open(PTS, flags, Mode::empty()).tried(|| format!("open {PTS:?}"))?;
    attach_below(terminals, &memory::folder(dev, "pts")?, "pts")
}

fn shared(mounted: &mut Mounted) -> Result<(), Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let below = memory::folder(mounted.last()?, "shm")?;
    attach_below(memory::new(c"1777", c"64m", attrs)?, &below, "shm")?;
    mounted.hidden = Some(below);
    Ok(())
}

impl Node {
    /// Makes it, or binds the machine's.
    fn make(&self, dev: &OwnedFd) -> Result<(), Failure> {
        let for_all = Mode::from_bits_truncate(0o666);
        let number = makedev(self.major, self.minor);
        match mknodat(dev, self.name, SFlag::S_IFCHR, for_all, number) {
            Err(Errno::EPERM) => self.bind(dev),
            made => made.tried(|| format!("make the node {:?} in memory", self.name)),
        }
    }

    fn bind(&self, dev: &OwnedFd) -> Result<(), Failure> {
        let node = copy(&self.of_the_machine()?, self.name, &Options::of_node())?;
        let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(dev, self.name, flags, Mode::from_bits_truncate(0o666))
            .tried(|| format!("make the file {:?} in memory", self.name))?;
        attach_below(node, &file, self.name)
    }

    /// The machine's own, if it is what its name says: what is not is bound nowhere.
    pub fn of_the_machine(&self) -> Result<OwnedFd, Failure> {
        let path = Path::new("/dev").join(self.name);
        let failed = || format!("look at the machine's {path:?}");
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let node = open(&path, flags, Mode::empty()).tried(failed)?;
        let stat = fstat(&node).tried(failed)?;
        if file::is(&stat, SFlag::S_IFCHR) && stat.st_rdev == makedev(self.major, self.minor) {
            return Ok(node);
        }
        let (major, minor) = (self.major, self.minor);
        Err(Failure::new(format!("{}: not the character device {major}:{minor}", failed()))
            .hint(format!("see what it is: ls -l {}", path.display())))
    }
}
