//! Where a mount goes: a path of the machine's, or one inside a root file system.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, inroot, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, mkdirat};

/// A mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The machine's own path.
    Host(PathBuf),
    /// A path inside this root file system, which nobody vouches for.
    In { rootfs: PathBuf, path: PathBuf },
}

impl Place {
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
        .map_err(|failure| {
            failure
                .hint_if(Errno::ENOENT, || {
                    let path = self.word();
                    format!("add --mkdir, or make it: mkdir {path} (touch {path} for a file)")
                })
                .hint_if(Errno::ELOOP, || {
                    "a symbolic link is on the way, and might lead out of the root file system"
                        .into()
                })
        })
    }

    /// Makes it, a folder or an empty file, and the folders above it. Nothing happens if it is
    /// there.
    pub fn make(&self, folder: bool) -> Result<(), Failure> {
        let (top, path) = match self {
            Self::Host(path) if path.is_absolute() => (Path::new("/"), path),
            Self::Host(path) => (Path::new("."), path),
            Self::In { rootfs, path } => (rootfs.as_path(), path),
        };
        let failed = || format!("make the mount point {:?}", self.path());
        let mut dir = inroot::open_root(top)?;
        let names: Vec<_> = path.strip_prefix("/").unwrap_or(path).iter().collect();
        let Some((last, above)) = names.split_last() else { return Ok(()) };
        for name in above {
            make_folder(&dir, Path::new(name)).tried(failed)?;
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            dir = inroot::open_plain(&dir, Path::new(name), flags).tried(failed)?;
        }
        let last = Path::new(last);
        if folder {
            return make_folder(&dir, last).tried(failed);
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        match nix::fcntl::openat(&dir, last, flags, Mode::from_bits_truncate(0o644)) {
            Ok(_) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(Failure::errno(failed(), errno)),
        }
    }
}

fn make_folder(dir: impl AsFd, name: &Path) -> nix::Result<()> {
    match mkdirat(dir, name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => Ok(()),
        outcome => outcome,
    }
}
