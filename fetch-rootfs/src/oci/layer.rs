//! A layer that is put on top of others: what is of its own making, and what was there before.
//!
//! A whiteout takes away only what is of the layers below, wherever in its layer it stands. So
//! each name that the layer makes is noted with the folder it is in, and what is not noted goes.
//! A folder that has been gone through once holds nothing from below any more, and is not looked
//! at again: any number of whiteouts takes linear time.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::inroot;
use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::whiteout::Mark;
use crate::extract::place::look;
use crate::removal::{open, remove_file, remove_tree};

/// A folder: device and inode.
type Place = (u64, u64);

/// What is known of a layer while it is being applied.
#[derive(Default)]
pub struct Layer {
    /// There is none below: nothing can be taken away, and nothing has to be noted.
    lowest: bool,
    made: HashMap<Place, HashSet<OsString>>,
    clean: HashSet<Place>,
    /// The times of folders that were there before: what changes in them does not count as a
    /// change of the folder, unless the layer says so.
    times: HashMap<Place, (PathBuf, TimeSpec)>,
}

/// A folder on the way down.
struct Level {
    name: CString,
    place: Place,
    time: TimeSpec,
    /// Those in it that are still to be gone through.
    folders: Vec<CString>,
    /// Something of this layer is in it.
    kept: bool,
}

impl Layer {
    pub fn lowest() -> Self {
        Self { lowest: true, ..Self::default() }
    }

    /// An entry is about to be made: what it can't simply replace makes way.
    pub fn enter(&mut self, path: &Path, parent: &OwnedFd, folder: bool) -> nix::Result<()> {
        let Some(name) = path.file_name().filter(|_| !self.lowest) else { return Ok(()) };
        let place = self.note_time(path, parent)?;
        self.made.entry(place).or_default().insert(name.to_owned());
        match kind(parent, name)? {
            Some(SFlag::S_IFDIR) if !folder => remove_tree(parent, name),
            Some(SFlag::S_IFLNK) if folder => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir),
            _ => Ok(()),
        }
    }

    /// Takes away what the mark in this folder says.
    pub fn take_away(&mut self, mark: &Mark, path: &Path, parent: &OwnedFd) -> nix::Result<()> {
        if self.lowest {
            return Ok(());
        }
        let place = self.note_time(path, parent)?;
        match mark {
            Mark::Opaque => {
                let folder = open(parent, c".")?;
                let level = self.level(&folder, c".".to_owned())?;
                self.prune(folder, level)
            }
            Mark::Gone(name) if !self.clean.contains(&place) => {
                self.take_away_one(name, place, parent)
            }
            Mark::Gone(_) | Mark::Aufs => Ok(()),
        }
    }

    fn take_away_one(&mut self, name: &OsStr, at: Place, parent: &OwnedFd) -> nix::Result<()> {
        match kind(parent, name)? {
            None => Ok(()),
            Some(SFlag::S_IFDIR) => {
                let (folder, folders) =
                    (open(parent, c".")?, vec![CString::new(name.as_bytes()).unwrap_or_default()]);
                let about = fstat(&folder)?;
                let level = Level::new(c".".to_owned(), &about, folders, true);
                self.prune(folder, level)
            }
            Some(_) if self.has_made(at, name) => Ok(()),
            Some(_) => remove_file(parent, name),
        }
    }

    fn note_time(&mut self, path: &Path, parent: &OwnedFd) -> nix::Result<Place> {
        let about = fstat(parent)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        self.times.entry(place(&about)).or_insert_with(|| (folder.to_owned(), time(&about)));
        Ok(place(&about))
    }

    fn has_made(&self, at: Place, name: &OsStr) -> bool {
        self.made.get(&at).is_some_and(|names| names.contains(name))
    }

    /// Goes through the folders of a level, down and up by one descriptor, as a removal does.
    fn prune(&mut self, mut at: OwnedFd, level: Level) -> nix::Result<()> {
        let mut levels = vec![level];
        while let Some(level) = levels.last_mut() {
            if let Some(folder) = level.folders.pop() {
                at = open(&at, folder.as_c_str())?;
                levels.push(self.level(&at, folder)?);
                continue;
            }
            let Some(done) = levels.pop() else { break };
            futimens(&at, &TimeSpec::UTIME_OMIT, &done.time)?;
            let Some(above) = levels.last_mut() else { break };
            at = open(&at, c"..")?;
            if done.kept || self.has_made(above.place, OsStr::from_bytes(done.name.to_bytes())) {
                above.kept = true;
            } else {
                unlinkat(&at, done.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
            }
        }
        Ok(())
    }

    /// Looks into a folder: what is no folder goes, if it is from below.
    fn level(&mut self, folder: &OwnedFd, name: CString) -> nix::Result<Level> {
        let about = fstat(folder)?;
        let mut level = Level::new(name, &about, Vec::new(), false);
        if !self.clean.insert(level.place) {
            return Ok(Level { kept: true, ..level });
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut entries = Dir::openat(folder, c".", flags, Mode::empty())?;
        for entry in entries.iter() {
            let entry = entry?;
            let name = entry.file_name();
            match entry.file_type() {
                _ if name == c"." || name == c".." => {}
                Some(Type::Directory) => level.folders.push(name.to_owned()),
                _ if self.has_made(level.place, OsStr::from_bytes(name.to_bytes())) => {
                    level.kept = true;
                }
                _ => remove_file(folder, name)?,
            }
        }
        Ok(level)
    }

    /// Gives folders their times back; those that the layer itself says follow.
    pub fn restore_times(&mut self, root: impl AsFd + Copy) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        for (at, (path, time)) in self.times.drain() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path.as_path() };
            // It may be gone since, or another one by now.
            let Ok(folder) = inroot::open_in(root, path, flags) else { continue };
            if fstat(&folder).is_ok_and(|about| place(&about) == at) {
                let _ = futimens(&folder, &TimeSpec::UTIME_OMIT, &time);
            }
        }
    }
}

impl Level {
    fn new(name: CString, about: &FileStat, folders: Vec<CString>, kept: bool) -> Self {
        Self { name, place: place(about), time: time(about), folders, kept }
    }
}

fn place(about: &FileStat) -> Place {
    (about.st_dev, about.st_ino)
}

fn time(about: &FileStat) -> TimeSpec {
    TimeSpec::new(about.st_mtime, about.st_mtime_nsec)
}

fn kind(folder: impl AsFd, name: &OsStr) -> nix::Result<Option<SFlag>> {
    let about = look(folder, Path::new(name))?;
    Ok(about.map(|about| SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT))
}
