//! The table of namespace kinds: how unshare(1), `/proc/PID/ns` and clone(2) call each of them.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::sched::CloneFlags;

use crate::cli::Namespaces;

/// One of the eight kinds of namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    User,
    Mount,
    Uts,
    Ipc,
    Net,
    Cgroup,
    Pid,
    Time,
}

/// In the order in which they are entered: the user namespace gives the right to the others.
pub const ALL: [Kind; 8] =
    [Kind::User, Kind::Mount, Kind::Uts, Kind::Ipc, Kind::Net, Kind::Cgroup, Kind::Pid, Kind::Time];

impl Kind {
    /// The long option of unshare(1) and nsenter(1).
    pub fn option(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::Mount => "--mount",
            Self::Uts => "--uts",
            Self::Ipc => "--ipc",
            Self::Net => "--net",
            Self::Cgroup => "--cgroup",
            Self::Pid => "--pid",
            Self::Time => "--time",
        }
    }

    /// What there is a view of.
    pub fn what(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Mount => "mounts",
            Self::Uts => "host name",
            Self::Ipc => "IPC",
            Self::Net => "network",
            Self::Cgroup => "control groups",
            Self::Pid => "processes",
            Self::Time => "clocks",
        }
    }

    /// The link in `/proc/PID/ns`.
    pub fn link(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            other => &other.option()[2..],
        }
    }

    /// The flag for unshare(2) and setns(2).
    pub fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Time => common::sys::CLONE_NEWTIME_FLAG,
        }
    }
}

impl Namespaces {
    /// The kinds asked for, in the order of [`ALL`].
    pub fn kinds(&self) -> Vec<Kind> {
        ALL.into_iter().filter(|kind| self.file(*kind).is_some()).collect()
    }

    /// Those for which a file is named.
    pub fn files(&self) -> Vec<(Kind, PathBuf)> {
        let named = |kind| self.file(kind).filter(|file| !file.is_empty());
        ALL.into_iter().filter_map(|kind| Some((kind, named(kind)?.into()))).collect()
    }

    /// An empty one, if the kind is asked for without.
    fn file(&self, kind: Kind) -> Option<&OsString> {
        match kind {
            Kind::User => &self.user,
            Kind::Mount => &self.mount,
            Kind::Uts => &self.uts,
            Kind::Ipc => &self.ipc,
            Kind::Net => &self.net,
            Kind::Cgroup => &self.cgroup,
            Kind::Pid => &self.pid,
            Kind::Time => &self.time,
        }
        .as_ref()
    }
}

/// The flags of several kinds together.
pub fn flags(kinds: &[Kind]) -> CloneFlags {
    kinds.iter().map(|kind| kind.flag()).collect()
}

/// Their options, as they stand on a command line.
pub fn options(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.option()).collect::<Vec<_>>().join(" ")
}
