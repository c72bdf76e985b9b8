//! Whose namespaces are entered: those of a process, or those that files keep.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, pid, pidfd, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use nix::unistd::Pid;

use crate::hint;
use crate::namespace::{ALL, Kind};

/// The options of nsenter(1) that need a target.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Entering {
    /// Change the working directory to DIR as it is seen inside, after all else
    #[arg(short = 'W', long, value_name = "DIR", requires = "target", conflicts_with = "wd")]
    pub wdns: Option<OsString>,
    /// Give COMMAND the environment that the target was started with, in place of ours
    #[arg(short = 'e', long, requires = "target")]
    pub env: bool,
    /// Move into the target's control groups; with --target this is -c, too
    #[arg(long, requires = "target")]
    pub join_cgroup: bool,
    /// Enter the user namespace that the target's belongs to, instead of the target's
    #[arg(long, requires = "target")]
    pub user_parent: bool,
    /// Enter the network namespace that the target's socket FD is of, instead of the target's
    #[arg(
        short = 'N',
        long,
        value_name = "FD",
        requires = "target",
        conflicts_with = "net",
        value_parser = clap::value_parser!(i32).range(0..)
    )]
    pub net_socket: Option<i32>,
    /// Run COMMAND in the SELinux context of the target
    #[arg(short = 'Z', long, requires = "target")]
    pub follow_context: bool,
}

/// What `--target` names.
#[derive(Debug)]
pub enum Target {
    /// A process, by its number in /proc: it can't come to mean another one while the descriptor is
    /// open.
    Process(Pid, OwnedFd),
    /// A folder of `--persist`.
    Folder(PathBuf),
}

impl Target {
    /// `PID`, `PID:INODE`, `fd:N`, `/proc/self/fd/N`, or a folder.
    pub fn find(text: &str) -> Result<Self, Failure> {
        let path = Path::new(text);
        // Who means a folder of that name writes ./42.
        if path.is_dir() && !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let namespaces = path.join("ns");
            if namespaces.is_dir() {
                return Err(Failure::usage(format!("enter {text:?}: it keeps no namespaces"))
                    .hint(format!("if it is a process: -t PID, or -t {namespaces:?}")));
            }
            return Ok(Self::Folder(path.into()));
        }
        let number = ["fd:", "/proc/self/fd/", "/dev/fd/"]
            .into_iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        if let Some(number) = number {
            return inherited(text, number);
        }
        let is_number = text.is_empty() || text.starts_with(|first: char| first.is_ascii_digit());
        if text.contains('/') || !is_number {
            return Err(Failure::usage(format!("enter {text:?}: no such folder"))
                .hint("nsenter-lite --persist DIR ... keeps namespaces in a folder"));
        }
        let (digits, inode) = match text.split_once(':') {
            Some((digits, inode)) => (digits, Some(inode)),
            None => (text, None),
        };
        let target = pid::parse(digits)?;
        let what = || format!("find process {target}");
        let pidfd = pidfd::open(target, what).map_err(hint::for_target)?;
        if let Some(inode) = inode {
            same_inode(target, &pidfd, inode)?;
        }
        let target = pidfd::pid_in_proc(&pidfd, what).map_err(hint::for_target)?;
        Ok(Self::Process(target, pidfd))
    }

    /// The process, for what only a process has.
    pub fn process(&self, option: &str) -> Result<Pid, Failure> {
        match self {
            Self::Process(pid, _) => Ok(*pid),
            Self::Folder(dir) => {
                Err(Failure::usage(format!("use {option} with {dir:?}: it is that of a process"))
                    .hint("-t PID enters those of a process"))
            }
        }
    }

    /// Where the namespace of a kind is to be found.
    pub fn path(&self, kind: Kind) -> PathBuf {
        match self {
            Self::Process(pid, _) => PathBuf::from(format!("/proc/{pid}/ns/{}", kind.link())),
            Self::Folder(dir) => dir.join(kind.link()),
        }
    }

    /// The kinds in which the target lives elsewhere than we do, and those asked for by letter. To
    /// enter the user namespace that one is in is an error to the kernel, so `--all` leaves it out.
    pub fn differing(&self, asked: &[Kind]) -> Result<Vec<Kind>, Failure> {
        let mut kinds = Vec::new();
        for kind in ALL {
            let ours = match place_of(&PathBuf::from(format!("/proc/self/ns/{}", kind.link()))) {
                // The kernel has not this kind.
                Err(Errno::ENOENT) => continue,
                ours => ours.map_err(|errno| self.unseen(errno))?,
            };
            let theirs = match (place_of(&self.path(kind)), self) {
                // A folder has those that were made.
                (Err(Errno::ENOENT), Self::Folder(_)) => continue,
                (theirs, _) => theirs.map_err(|errno| self.unseen(errno))?,
            };
            if ours != theirs || asked.contains(&kind) {
                kinds.push(kind);
            }
        }
        match self {
            Self::Folder(dir) if !ALL.iter().any(|kind| self.path(*kind).exists()) => {
                Err(Failure::new(format!("enter {dir:?}: there are no namespaces in it"))
                    .hint(format!("nsenter-lite --persist {dir:?} ... keeps some there")))
            }
            _ => Ok(kinds),
        }
    }

    fn unseen(&self, errno: Errno) -> Failure {
        let whose = match self {
            Self::Process(pid, _) => format!("of process {pid}"),
            Self::Folder(dir) => format!("in {dir:?}"),
        };
        let failure = Failure::errno(format!("look at the namespaces {whose}"), errno);
        hint::for_looking(failure).hint_if(Errno::ENOENT, || {
            "the process has ended, and waits for its parent; or /proc hides those of others \
             (hidepid)"
                .into()
        })
    }

    /// The owner of a namespace, or the parent of the target's user namespace.
    pub fn user_parent(&self, kinds: &[Kind]) -> Result<OwnedFd, Failure> {
        let other = kinds.iter().find(|kind| **kind != Kind::User);
        let of =
            if kinds.contains(&Kind::User) { Kind::User } else { *other.unwrap_or(&Kind::User) };
        let file = self.path(of);
        let namespace =
            File::open(&file).tried(|| format!("open {file:?}")).map_err(hint::for_looking)?;
        let found = if of == Kind::User {
            sys::namespace::parent(&namespace)
        } else {
            sys::namespace::owner(&namespace)
        };
        found.tried(|| format!("find the user namespace above {file:?}")).map_err(|failure| {
            failure.hint_if(Errno::EPERM, || "one sees no user namespace above one's own".into())
        })
    }
}

/// The network namespace of a socket of another process, which may be another than the process's:
/// a socket stays in the one that it was made in.
pub fn net_of_socket(pid: Pid, pidfd: impl AsFd, number: i32) -> Result<OwnedFd, Failure> {
    let list = || format!("ls -l /proc/{pid}/fd lists its descriptors");
    let socket = sys::pidfd_getfd(pidfd, number)
        .tried(|| format!("look at descriptor {number} of process {pid}"))
        .map_err(|failure| {
            failure
                .hint_if(Errno::EBADF, list)
                .hint_if(Errno::EPERM, || "that takes root, or a process of your own".into())
                .hint_if(Errno::ENOSYS, || "that takes Linux 5.6".into())
        })?;
    sys::namespace::of_socket(socket)
        .tried(|| format!("find the network namespace of descriptor {number} of process {pid}"))
        .map_err(|failure| {
            failure.hint_if(Errno::ENOTSOCK, list).hint_if(Errno::EPERM, || {
                "that takes CAP_NET_ADMIN there: root, or the owner of its user namespace".into()
            })
        })
}

/// What SELinux calls what the process may do.
pub fn context(pid: Pid) -> Result<Vec<u8>, Failure> {
    let what = || format!("follow the SELinux context of process {pid}");
    // Where there is another security module, the file has that one's name for it.
    let kinds = file::text("/proc/filesystems").tried(what)?;
    if kinds.lines().all(|line| line != "nodev\tselinuxfs") {
        return Err(Failure::new(format!("{}: this kernel has SELinux not enabled", what()))
            .hint("leave --follow-context out"));
    }
    file::bytes(format!("/proc/{pid}/attr/current")).tried(what)
}

/// User and group of the process of a folder in /proc, by the numbers that they have in the user
/// namespace that we are in by now: the kernel looks at who opens the file.
pub fn ids(folder: impl AsFd) -> Result<(u32, u32), Failure> {
    let what = || "see who the target is";
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut status = File::from(openat(folder, "status", flags, Mode::empty()).tried(what)?);
    let mut text = String::new();
    status.read_to_string(&mut text).tried(what)?;
    let effective = |name| file::field(&text, name)?.split_ascii_whitespace().nth(1)?.parse().ok();
    effective("Uid:")
        .zip(effective("Gid:"))
        .ok_or_else(|| Failure::new(format!("{}: its status has no line for it", what())))
}

/// Opens a file that keeps a namespace.
pub fn open_file(file: &Path) -> Result<OwnedFd, Failure> {
    let what = || format!("enter the namespace {file:?}");
    let fd = open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
        .tried(what)
        .map_err(hint::for_looking)?;
    let kind = fstatfs(&fd).tried(what)?.filesystem_type();
    if kind != NSFS_MAGIC {
        return Err(Failure::new(format!("{}: it is an ordinary file", what()))
            .hint("a namespace is a mount on a file: findmnt -t nsfs lists them"));
    }
    Ok(fd)
}

/// Two files are the same namespace if they have the same number.
pub fn place_of(path: &Path) -> Result<(u64, u64), Errno> {
    let found = fs::metadata(path);
    let found = found.map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok((found.dev(), found.ino()))
}

/// Whether this is the user namespace that we are in, which the kernel lets nobody enter again.
pub fn is_our_user(namespace: impl AsFd) -> bool {
    let ours = place_of(Path::new("/proc/self/ns/user"));
    fstat(namespace).is_ok_and(|found| ours == Ok((found.st_dev, found.st_ino)))
}

/// A pidfd that was handed on to us.
fn inherited(text: &str, number: &str) -> Result<Target, Failure> {
    let what = || format!("use the descriptor {text:?}");
    let number: u32 = number
        .parse()
        .map_err(|_| Failure::usage(format!("{}: it has no number", what())).hint("write fd:3"))?;
    let pidfd = sys::inherited(number).tried(what).map_err(|failure| {
        failure.hint_if(Errno::EBADF, || "the caller has no such descriptor open".into())
    })?;
    let target = pidfd::pid_in_proc(&pidfd, what).map_err(hint::for_target)?;
    Ok(Target::Process(target, pidfd))
}

/// As nsenter(1) of util-linux 2.42 has it: the inode of a pidfd is that of one process for ever.
fn same_inode(pid: Pid, pidfd: impl AsFd, wanted: &str) -> Result<(), Failure> {
    let wanted: u64 = wanted.parse().map_err(|_| {
        Failure::usage(format!("read an inode from {wanted:?}: not a decimal number"))
    })?;
    let found = fstat(pidfd).tried(|| format!("look at process {pid}"))?.st_ino;
    if found == wanted {
        return Ok(());
    }
    Err(Failure::new(format!("enter process {pid}: its inode is {found}, not {wanted}"))
        .hint("the process that was meant has ended, and another one has its PID"))
}

/// The environment that a process was started with, see `proc_pid_environ(5)`. What has no name, as
/// `=x` and `x`, is no variable that the C library could set.
pub fn environment(pid: Pid) -> Result<Vec<(OsString, OsString)>, Failure> {
    let file = format!("/proc/{pid}/environ");
    let text = file::bytes(&file).tried(|| format!("read {file:?}"))?;
    let variable = |text: &[u8]| {
        let at = text.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((word(&text[..at]), word(&text[at + 1..])))
    };
    Ok(text.split(|byte| *byte == 0).filter_map(variable).collect())
}
