//! Where a tree grows until all of it is there: a folder beside the target, on its file system, so
//! that a rename makes it appear at once.
//!
//! It is locked as long as its maker lives. One that is not locked is left from a run that was
//! killed, and the next run to the same target clears it away.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use common::{Failure, Tried, file, shell, sys};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, geteuid, unlink, unlinkat};

use crate::extract::place::look;
use crate::removal::remove_tree;

/// The tree inside the staging folder, which gets the target's name.
const TREE: &str = "root";

/// How often it is made again, if others clear it away.
const TRIES: usize = 100;

/// A staging folder that is ours.
#[derive(Debug)]
pub struct Staging {
    parent: OwnedFd,
    name: OsString,
    folder: Flock<File>,
    tree: OwnedFd,
}

/// The target's folder and name.
pub fn split(dir: &Path) -> Result<(PathBuf, OsString), Failure> {
    let name = dir.file_name().ok_or_else(|| {
        Failure::usage(format!("make {dir:?}: it has no name of its own"))
            .hint("name a directory that is not there yet, as ./rootfs")
    })?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((parent.to_owned(), name.to_owned()))
}

/// What the staging folders for a target start with. A name has 255 bytes at most, so that of a long
/// one there is but the beginning, whole characters.
pub fn prefix(name: &OsStr) -> OsString {
    const MOST: usize = 200;
    let mut name = name.as_bytes();
    if name.len() > MOST {
        let inside = |byte: &u8| byte & 0xc0 == 0x80;
        let end = name[..=MOST].iter().rposition(|byte| !inside(byte)).unwrap_or(MOST);
        name = &name[..end];
    }
    OsStr::from_bytes(&[b".", name, b".fetch-"].concat()).to_owned()
}

impl Staging {
    /// Makes one beside the target, and clears away those that dead runs have left.
    pub fn new(dir: &Path) -> Result<Self, Failure> {
        let (path, name) = split(dir)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let parent = open(&path, flags, Mode::empty()).tried(|| format!("open {path:?}"))?;
        let prefix = prefix(&name);
        clear_dead(&parent, &path, &prefix)?;
        let mut name = prefix;
        name.push(std::process::id().to_string());
        let failed = || format!("make {:?} for the time being", path.join(&name));
        let make = || mkdirat(&parent, name.as_os_str(), Mode::S_IRWXU);
        make().tried(failed).map_err(|failure| {
            failure.hint_if(Errno::EACCES, || {
                format!("you may not write to {path:?}: make it elsewhere, or as root")
            })
        })?;
        let fill = || {
            let folder = openat(&parent, name.as_os_str(), flags, Mode::empty())?;
            let folder = lock(folder).ok_or(Errno::EAGAIN)?;
            mkdirat(&*folder, TREE, Mode::S_IRWXU)?;
            let tree = openat(&*folder, TREE, flags, Mode::empty())?;
            Ok::<_, Errno>((folder, tree))
        };
        let mut filled = fill();
        // Until it is locked, another run takes it for one that is dead, and clears it away.
        for _ in 0..TRIES {
            if !matches!(filled, Err(Errno::ENOENT | Errno::EAGAIN)) {
                break;
            }
            sleep(Duration::from_millis(1));
            filled = match make() {
                Ok(()) | Err(Errno::EEXIST) => fill(),
                Err(errno) => Err(errno),
            };
        }
        let filled = filled.inspect_err(|_| remove_empty(&parent, &name));
        let (folder, tree) = filled.tried(failed)?;
        Ok(Self { parent, name, folder, tree })
    }

    /// Removes it where nothing has been done in it yet.
    pub fn abandon(&self) {
        remove_empty(&self.parent, &self.name);
    }

    /// The top of the tree.
    pub fn tree(&self) -> &OwnedFd {
        &self.tree
    }

    /// A file for the time being, on the tree's file system; it has no name, and goes when closed.
    pub fn scratch(&self) -> Result<File, Failure> {
        const NAME: &str = "scratch";
        let failed = || "make a temporary file";
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&*self.folder, NAME, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = file.tried(failed)?;
        unlinkat(&*self.folder, NAME, UnlinkatFlags::NoRemoveDir).tried(failed)?;
        Ok(file.into())
    }

    /// Gives the tree its name; all of it, or nothing, appears. An empty folder is replaced: what
    /// it was is given.
    pub fn publish(&self, dir: &Path) -> Result<Option<FileStat>, Failure> {
        let (_, name) = split(dir)?;
        let failed = || format!("rename the finished tree to {dir:?}");
        let rename =
            |flags| sys::rename(&*self.folder, TREE, &self.parent, name.as_os_str(), flags);
        let before = match rename(sys::RENAME_NOREPLACE) {
            // rename(2) replaces an empty folder, and refuses one that has something in it.
            Err(Errno::EEXIST | Errno::EINVAL) => {
                let before = look(&self.parent, Path::new(&name)).ok().flatten();
                rename(0).tried(failed).map_err(|failure| {
                    failure.hint_if(Errno::ENOTEMPTY, || "somebody else made it meanwhile".into())
                })?;
                before
            }
            outcome => outcome.map(|()| None).tried(failed)?,
        };
        self.discard()?; // what was only needed meanwhile
        Ok(before)
    }

    /// The tree, published already, gets the name of the staging folder, to be discarded with it. The
    /// empty folder that it replaced is made again.
    pub fn take_back(&self, dir: &Path, before: Option<FileStat>) -> Result<(), Failure> {
        let (_, name) = split(dir)?;
        let failed = || format!("take {dir:?} back");
        if !is_called(&self.parent, &name, &self.tree).tried(failed)? {
            return Ok(()); // somebody else has moved it
        }
        sys::rename(&self.parent, name.as_os_str(), &self.parent, self.name.as_os_str(), 0)
            .tried(failed)?;
        let Some(before) = before else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(before.st_uid), Gid::from_raw(before.st_gid));
        mkdirat(&self.parent, name.as_os_str(), Mode::from_bits_truncate(before.st_mode))
            .and_then(|()| {
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                fchownat(&self.parent, name.as_os_str(), Some(uid), Some(gid), flags)
            })
            .tried(|| format!("make the empty {dir:?} again"))
    }

    /// Removes it with all that is in it.
    pub fn discard(&self) -> Result<(), Failure> {
        match remove_tree(&self.parent, self.name.as_os_str()) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Failure::errno(format!("remove {:?}", self.name), errno)),
        }
    }
}

/// A file for the time being where there is no staging folder. Not every file system makes one
/// without a name (`O_TMPFILE`), so it has one for a moment.
pub fn nameless() -> Result<File, Failure> {
    let folder = std::env::temp_dir();
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut number = 0;
    loop {
        let path = folder.join(format!(".fetch-rootfs.{}.{number}", std::process::id()));
        match open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            // In a folder that is everybody's, somebody else may have taken it.
            Err(Errno::EEXIST) if number < 100 => number += 1,
            file => {
                let failed = || format!("make the temporary file {path:?}");
                let file = file.tried(failed)?;
                unlink(&path).tried(failed)?;
                return Ok(file.into());
            }
        }
    }
}

/// By name alone, for there may be no descriptor left to be had.
fn remove_empty(parent: &OwnedFd, name: &OsStr) {
    for folder in [&Path::new(name).join(TREE), Path::new(name)] {
        let _ = unlinkat(parent, folder, UnlinkatFlags::RemoveDir);
    }
}

fn is_called(parent: &OwnedFd, name: &OsStr, folder: impl AsFd) -> nix::Result<bool> {
    let (ours, there) = (fstat(folder)?, look(parent, Path::new(name))?);
    Ok(there.is_some_and(|there| file::same(&there, &ours)))
}

fn lock(folder: OwnedFd) -> Option<Flock<File>> {
    Flock::lock(File::from(folder), FlockArg::LockExclusiveNonblock).ok()
}

fn clear_dead(parent: &OwnedFd, path: &Path, prefix: &OsStr) -> Result<(), Failure> {
    let failed = || "look for what a killed run has left";
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(parent, c".", OFlag::O_RDONLY, Mode::empty()).tried(failed)?;
    let ours = |name: &[u8]| {
        name.strip_prefix(prefix.as_bytes())
            .is_some_and(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))
    };
    for entry in entries.iter() {
        let entry = entry.tried(failed)?;
        let name = entry.file_name();
        if !ours(name.to_bytes()) {
            continue;
        }
        // Not to be opened or locked: somebody else's, or alive.
        let Ok(folder) = openat(parent.as_fd(), name, flags, Mode::empty()) else { continue };
        if fstat(&folder).is_ok_and(|about| about.st_uid != geteuid().as_raw()) {
            continue;
        }
        let Some(held) = lock(folder) else { continue };
        let called = OsStr::from_bytes(name.to_bytes());
        // It may have been cleared away before it was locked, and be made anew.
        if is_called(parent, called, &*held).unwrap_or(false) {
            let left = path.join(called);
            remove_tree(parent, name)
                .tried(|| format!("remove {left:?}, left by a killed run"))
                .map_err(|failure| foreign(failure, &left))?;
        }
    }
    Ok(())
}

/// What a run with --owner map has left is of subordinate ids, too.
fn foreign(failure: Failure, left: &Path) -> Failure {
    let hint = || {
        format!(
            "are subordinate ids its owners? unshare --map-root-user --map-auto rm -rf {}; or run \
             this with --owner map",
            shell::operand(left)
        )
    };
    failure.hint_if(Errno::EACCES, hint).hint_if(Errno::EPERM, hint)
}

/// Files get the modes that are asked for, whatever the caller's umask.
pub fn without_umask() {
    nix::sys::stat::umask(Mode::empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_long_name_leaves_room_for_more() {
        let prefix = |name: &str| prefix(OsStr::new(name)).into_string().expect("whole characters");
        assert_eq!(prefix("a"), ".a.fetch-");
        assert_eq!(prefix(&"x".repeat(200)), format!(".{}.fetch-", "x".repeat(200)));
        assert_eq!(prefix(&"x".repeat(255)), format!(".{}.fetch-", "x".repeat(200)));
        assert_eq!(prefix(&"é".repeat(120)), format!(".{}.fetch-", "é".repeat(100)));
        assert_eq!(prefix(&format!("x{}", "é".repeat(120))).len(), 1 + 199 + 7);
    }

    /// Each of two runs takes the folder of the other for a dead one's until it is locked.
    #[test]
    fn what_others_clear_away_is_made_again() {
        let top = support::scratch();
        let dir = top.path().join("rootfs");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let parent = File::open(top.path()).expect("ours").into();
                let prefix = prefix(OsStr::new("rootfs"));
                while !done.load(Ordering::Relaxed) {
                    clear_dead(&parent, top.path(), &prefix).expect("all is ours");
                }
            });
            let made: Vec<_> = (0..300)
                .map(|_| {
                    let staging = Staging::new(&dir)?;
                    let tree = fstat(staging.tree()).tried(|| "look at the tree")?;
                    let there = look(&staging.parent, &Path::new(&staging.name).join(TREE));
                    let there = there.tried(|| "look at its name")?;
                    staging.discard()?;
                    Ok::<_, Failure>(there.is_some_and(|there| file::same(&there, &tree)))
                })
                .collect();
            done.store(true, Ordering::Relaxed);
            assert!(made.iter().all(|made| made.as_ref().is_ok_and(|made| *made)), "{made:?}");
        });
    }

    #[test]
    fn a_target_has_a_folder_and_a_name() {
        let split = |dir: &str| split(Path::new(dir)).ok();
        assert_eq!(split("rootfs"), Some((".".into(), "rootfs".into())));
        assert_eq!(split("a/b/"), Some(("a".into(), "b".into())));
        assert_eq!(split("/x"), Some(("/".into(), "x".into())));
        assert!(split("/").is_none() && split("a/..").is_none() && split("..").is_none());
    }
}
