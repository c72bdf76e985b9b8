//! Where a mount goes: a path of the machine's, or one inside a root file system.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, inroot, pid, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::attach::explain_kernel;

/// A mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The machine's own path.
    Host(PathBuf),
    /// A path inside this root file system, which nobody vouches for.
    In { rootfs: PathBuf, path: PathBuf },
}

impl Place {
    /// A place in a root file system.
    pub fn inside(rootfs: &Path, path: impl AsRef<Path>) -> Self {
        Self::In { rootfs: rootfs.to_owned(), path: path.as_ref().to_owned() }
    }

    /// The place to which a path leads as it is seen inside the root: without symbolic links, as
    /// far as it is there.
    pub fn resolved(rootfs: &Path, path: &Path) -> Result<Self, Failure> {
        let root = inroot::open_root(rootfs)?;
        let mut there = path;
        loop {
            if let Ok(found) = inroot::open_in(&root, there, OFlag::O_PATH) {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                let names: PathBuf = name_in(&root, &found)?.iter().chain(rest).collect();
                return Ok(Self::inside(rootfs, names));
            }
            match there.parent() {
                Some(above) if above != Path::new("") => there = above,
                _ => return Ok(Self::inside(rootfs, path)),
            }
        }
    }

    /// The same place in a root that shows this one.
    pub fn seen_in(self, rootfs: &Path) -> Self {
        match self {
            Self::Host(_) => self,
            Self::In { path, .. } => Self::In { rootfs: rootfs.to_owned(), path },
        }
    }

    /// The path as a script has it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Host(path) => path.clone(),
            Self::In { rootfs, path } => rootfs.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// The path as a word of a script.
    pub fn word(&self) -> String {
        shell::operand(self.path())
    }

    /// The folder that it is in.
    pub fn folder(&self) -> Self {
        let above = |path: &Path| match path.parent() {
            Some(above) if above != Path::new("") => above.to_owned(),
            _ => PathBuf::from(if path.is_absolute() { "/" } else { "." }),
        };
        match self {
            Self::Host(path) => Self::Host(above(path)),
            Self::In { rootfs, path } => Self::In { rootfs: rootfs.clone(), path: above(path) },
        }
    }

    /// Whether it is that folder of its root, or below.
    pub fn is_under(&self, folder: &str) -> bool {
        matches!(self, Self::In { path, .. } if path.starts_with(folder))
    }

    /// Opens it. In a root file system no symbolic link is followed: with /dev a link to a folder
    /// of the machine's, the mount would hide that folder, and what is written go there.
    pub fn open(&self) -> Result<OwnedFd, Failure> {
        let failed = || format!("open the mount point {:?}", self.path());
        match self {
            Self::Host(path) => {
                open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).tried(failed)
            }
            Self::In { rootfs, path } => {
                let root = inroot::open_root(rootfs)?;
                inroot::open_plain(root, path, OFlag::O_PATH).tried(failed)
            }
        }
        .map_err(|failure| match self {
            Self::Host(path) if path.is_symlink() => explain_kernel(failure)
                .hint_if(Errno::ENOENT, || {
                    format!("it is a link to what is not there: ls -l {}", self.word())
                }),
            _ => explain(failure, &self.word()),
        })
    }

    /// Looks whether it can be opened, unless it is missing and may be.
    pub fn check(&self, may_be_missing: bool) -> Result<(), Failure> {
        match self.open() {
            Err(failure) if may_be_missing && failure.kernel_said() == Some(Errno::ENOENT) => {
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// Makes it, a folder or an empty file, and the folders above it, and notes what was not there.
    pub fn make(&self, folder: bool, made: &mut Vec<Made>) -> Result<(), Failure> {
        let (top, path) = match self {
            Self::Host(path) if path.is_absolute() => (Path::new("/"), path),
            Self::Host(path) => (Path::new("."), path),
            Self::In { rootfs, path } => (rootfs.as_path(), path),
        };
        let failed = || format!("make the mount point {:?}", self.path());
        let top = inroot::open_root(top)?;
        match self {
            // The machine's own links are followed.
            Self::Host(_) => make_below(top, path, folder, made, |dir, name| {
                openat(dir, name, FOLDER, Mode::empty())
            }),
            Self::In { .. } => make_below(top, path, folder, made, |dir, name| {
                inroot::open_plain(dir, name, FOLDER)
            }),
        }
        .tried(failed)
        .map_err(|failure| failure.hint_if(Errno::ELOOP, explain_link))
    }
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Makes a mount point and the folders above it, from one folder to the next as `enter` opens them.
pub fn make_below(
    top: OwnedFd,
    path: &Path,
    folder: bool,
    made: &mut Vec<Made>,
    enter: impl Fn(&OwnedFd, &Path) -> nix::Result<OwnedFd>,
) -> io::Result<()> {
    let names: Vec<_> = path.strip_prefix("/").unwrap_or(path).iter().collect();
    let Some((last, above)) = names.split_last() else { return Ok(()) };
    let mut dir = top;
    for name in above {
        let name = Path::new(name);
        Made::if_missing(&dir, name, true, made)?;
        dir = enter(&dir, name)?;
    }
    Made::if_missing(&dir, Path::new(last), folder, made)
}

/// What is wrong with a mount point that can't be opened; `path` as a word of a script.
pub fn explain(failure: Failure, path: &str) -> Failure {
    explain_kernel(failure)
        .hint_if(Errno::ENOENT, || {
            format!("add --mkdir, or make it: mkdir {path} (touch {path} for a file)")
        })
        .hint_if(Errno::ELOOP, explain_link)
}

pub fn explain_link() -> String {
    "a symbolic link is on the way, and might lead out of the root file system".into()
}

/// Where in the root an open file is. No path that was given leads there reliably.
pub fn name_in(root: &OwnedFd, file: &OwnedFd) -> Result<PathBuf, Failure> {
    let (root, file) = (name(root)?, name(file)?);
    file.strip_prefix(&root).map(Path::to_owned).map_err(|_| {
        Failure::new(format!("look at {file:?}: it was moved out of the root file system {root:?}"))
    })
}

/// The path of an open file.
pub fn name(file: &OwnedFd) -> Result<PathBuf, Failure> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(&link)
        .tried(|| format!("read {link:?}"))
        .map_err(|failure| failure.hint(pid::NO_PROC))
}

/// The number of the mount that a file is open on; see proc_pid_fdinfo(5).
pub fn mount_number(file: &OwnedFd) -> Option<u64> {
    let info = file::text(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    file::field(&info, "mnt_id:")?.parse().ok()
}

/// A mount point that was made, by its folder and its name in it.
#[derive(Debug)]
pub struct Made {
    dir: OwnedFd,
    name: OsString,
    folder: bool,
}

impl Made {
    /// Makes it, if nothing is there.
    fn if_missing(
        dir: &OwnedFd,
        name: &Path,
        folder: bool,
        made: &mut Vec<Self>,
    ) -> io::Result<()> {
        let note = Self { dir: dir.try_clone()?, name: name.into(), folder };
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let outcome = match folder {
            true => mkdirat(dir, name, Mode::from_bits_truncate(0o777)),
            false => openat(dir, name, flags, Mode::from_bits_truncate(0o666)).map(drop),
        };
        match outcome {
            Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(()) => {
                made.push(note);
                Ok(())
            }
        }
    }

    /// Takes it away again.
    pub fn remove(&self) -> Result<(), Failure> {
        let flag = if self.folder { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        unlinkat(&self.dir, self.name.as_os_str(), flag)
            .tried(|| format!("remove the mount point {:?} again", self.name))
    }
}
