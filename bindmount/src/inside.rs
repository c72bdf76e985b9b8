//! What is mounted into a root file system: all that programs expect, or what is named.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use common::Failure;

use crate::cli::wrong;
use crate::layers::{self, Layers};
use crate::memory::Memory;
use crate::options::Options;
use crate::spec::{Spec, parts, place_inside, spec};

/// The options for it.
#[derive(Args, Debug, Default)]
pub struct Inside {
    /// Mount /dev, /proc, /sys and resolv.conf into a root file system
    #[arg(
        long,
        value_name = "ROOTFS",
        group = "inside",
        conflicts_with_all = ["recursive", "read_only", "writable", "options", "map_users", "map_groups"]
    )]
    std: Option<PathBuf>,
    /// Mount only what is named into a root file system
    #[arg(
        long,
        value_name = "ROOTFS",
        group = "inside",
        conflicts_with_all = ["std", "recursive", "read_only", "writable", "options", "map_users", "map_groups"]
    )]
    root: Option<PathBuf>,
    /// A /dev; with --std: what it has
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "minimal",
        requires = "inside"
    )]
    dev: Option<Dev>,
    /// A /proc; with --std: how much of the machine it and /sys show
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "masked",
        requires = "inside"
    )]
    proc: Option<Proc>,
    /// With --root: the machine's /sys, read-only
    #[arg(long, requires = "root")]
    sys: bool,
    /// With --root: an /etc/resolv.conf, a copy of the machine's
    #[arg(long, requires = "root")]
    resolv_conf: bool,
    /// An /etc/resolv.conf with this name server; any number of times
    #[arg(long, value_name = "ADDRESS", requires = "inside")]
    dns: Vec<IpAddr>,
    /// POSIX message queues of this IPC namespace at /dev/mqueue
    #[arg(long, requires = "inside")]
    mqueue: bool,
    /// LOWER seen as ROOTFS itself, or at DST of it: changes go to UPPER, LOWER stays as it is
    ///
    /// LOWER can be ROOTFS. UPPER and WORK are two folders on one mount, WORK for the kernel alone. Of
    /// several LOWER the topmost is first; with UPPER and WORK empty, as in a,b::, they can only be
    /// read. A colon or comma in a path is written \: or \,.
    #[arg(long, value_name = "LOWER[,LOWER]...:UPPER:WORK[:DST[:OPTIONS]]", requires = "inside")]
    overlay: Vec<OsString>,
    /// A folder in memory at DST, with \: for a colon of it; its OPTIONS are also size=64M, mode=1777
    #[arg(long, value_name = "DST[:OPTIONS]", requires = "inside")]
    tmpfs: Vec<OsString>,
    /// Mount SRC, too, at DST of ROOTFS; any number of times
    #[arg(short, long, value_name = "SRC:DST[:OPTIONS]", requires = "inside")]
    bind: Vec<OsString>,
}

/// What a root file system gets for its /dev.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dev {
    /// null, zero, full, random, urandom, tty; terminals (pts) and shared memory (shm) of its own,
    /// where the caller's terminal is /dev/tty and has no other name, but for that of
    /// nsenter-lite --pty
    #[default]
    Minimal,
    /// the machine's own, with its disks and terminals
    Machine,
}

/// How much its /proc and /sys show of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Proc {
    /// without keys, kcore, timer_list and the like, and in /sys firmware, debug, tracing and what
    /// else looks into the kernel, which are empty; sys, bus, fs, irq and sysrq-trigger are read-only
    #[default]
    Masked,
    /// all that the kernel has; root can write to it (/sys stays read-only)
    Plain,
}

/// The options, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub rootfs: PathBuf,
    pub dev: Option<Dev>,
    pub proc: Option<Proc>,
    pub sys: bool,
    /// The servers for resolv.conf; the machine's if none is named.
    pub resolver: Option<Vec<IpAddr>>,
    pub mqueue: bool,
    pub overlays: Vec<layers::Asked>,
    pub memory: Vec<(PathBuf, Memory)>,
    pub binds: Vec<Spec>,
}

impl Inside {
    /// The root file system, if one is named.
    pub fn root(&self) -> Option<&PathBuf> {
        self.std.as_ref().or(self.root.as_ref())
    }

    /// What is asked for; `words` are more mounts.
    pub fn tree(&self, words: &[&OsStr]) -> Result<Tree, Failure> {
        let std = self.std.is_some();
        let rootfs = self.root().cloned().unwrap_or_default();
        let named = std || self.resolv_conf || !self.dns.is_empty();
        let words = self.bind.iter().map(OsString::as_os_str).chain(words.iter().copied());
        let binds = words.map(|text| spec(text, &Options::default(), true));
        let tree = Tree {
            rootfs: rootfs.clone(),
            dev: self.dev.or(std.then(Dev::default)),
            proc: self.proc.or(std.then(Proc::default)),
            sys: std || self.sys,
            resolver: named.then(|| self.dns.clone()),
            mqueue: self.mqueue,
            overlays: Layers::parse_all(&self.overlay)?,
            memory: self.tmpfs.iter().map(|text| memory(text)).collect::<Result<_, _>>()?,
            binds: binds.collect::<Result<_, _>>()?,
        };
        if tree == (Tree { rootfs, ..Tree::default() }) {
            return Err(wrong("nothing is named to be mounted into ROOTFS; --std mounts all"));
        }
        Ok(tree)
    }
}

fn memory(text: &OsStr) -> Result<(PathBuf, Memory), Failure> {
    let parts = parts(text, 2);
    let dst = parts.first().map(OsString::as_os_str).unwrap_or_default();
    let options = parts.get(1).map_or(Some(""), |options| options.to_str());
    let memory = Memory::parse(options.unwrap_or("?"))?;
    Ok((place_inside(dst, text)?, memory))
}
