//! Entries become files, all of them below one folder.
//!
//! A name is resolved as the root file system itself will see it, by openat2(2) with that folder
//! for its root: `bin -> /usr/bin` leads to its own usr/bin, and nothing leads out. The last part
//! of a name is never followed: what is there is removed, and the new one made where nothing is.

mod data;
mod devices;
mod filler;
mod layered;
pub mod path;
pub mod place;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::file::is;
use common::{Failure, Tried, inroot};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};

use crate::archive;
use crate::attributes::Attributes;
use crate::cli::Rules;
use crate::entry::{Entry, Kind, quoted};
use crate::limits::{self, Entries, Limits};
use crate::oci::layer::Layer;
use crate::oci::whiteout::{self, Mark};
use crate::outcome::Outcome;

use data::fill;
use devices::Devices;
use filler::Filler;
use path::{inner_path, plain_path};
use place::{clear_inherited, folder_of, in_the_way, is_folder, look, make_way, same};

/// What is known while a tree is being filled.
pub struct Extractor<'a> {
    root: BorrowedFd<'a>,
    rules: &'a Rules,
    attributes: Attributes,
    /// The folder of the entry before, which mostly is that of the next one too.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Folders get their attributes last, for what is made in them changes their times.
    folders: Vec<Entry>,
    limits: Limits,
    /// Nothing has come but the root itself.
    empty: bool,
    devices: Devices,
    /// The present one of several, where an image is extracted.
    layer: Option<Layer>,
    /// Folders that their owner could not write into while there are more layers.
    closed: BTreeMap<Vec<u8>, Entry>,
}

impl<'a> Extractor<'a> {
    pub fn new(root: BorrowedFd<'a>, rules: &'a Rules) -> Self {
        Self {
            root,
            rules,
            attributes: Attributes::new(rules.owner),
            parent: None,
            folders: Vec::new(),
            limits: Limits::default(),
            empty: true,
            devices: Devices::default(),
            layer: None,
            closed: BTreeMap::new(),
        }
    }

    /// Counts the entries where others look, too.
    pub fn counted_in(self, entries: Entries) -> Self {
        Self { limits: Limits::counted_in(entries), ..self }
    }

    fn read(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let mut archive = archive::open(input)?;
        filler::beside(|filler| {
            while let Some(entry) = archive.next()? {
                self.limits.count(&entry, self.rules)?;
                if let Some(entry) = self.rules.names.wanted(entry) {
                    self.limits.add(&entry, self.rules)?;
                    self.one(entry, &mut archive, filler)?;
                }
            }
            Ok(())
        })
        .map_err(full)?;
        archive.drain(self.rules.max_size)
    }

    /// What came of it all.
    pub fn outcome(self) -> Outcome {
        let (attributes, owners) = self.attributes.not_set();
        let lacking =
            if self.rules.skip_devices { Vec::new() } else { self.devices.lacking(self.root) };
        let (entries, names) = (self.limits.entries(), &self.rules.names);
        let nothing = self.empty && (names.strip > 0 || !names.exclude.is_empty());
        Outcome { entries, nothing, devices: lacking, owners, attributes }
    }

    fn one(
        &mut self,
        entry: Entry,
        data: &mut impl BufRead,
        filler: &mut Filler,
    ) -> Result<(), Failure> {
        let path = inner_path(&entry)?;
        limits::depth(&entry, &path, self.rules)?;
        let Some(name) = path.file_name().map(PathBuf::from) else {
            return match entry.kind {
                Kind::Folder => {
                    self.folders.push(Entry { name: b".".to_vec(), ..entry });
                    Ok(())
                }
                _ => Err(entry.failure("the root itself can only be a folder")),
            };
        };
        self.empty = false;
        // Only in a layer has such a name a meaning.
        let mark = self.layer.as_ref().map_or(Ok(None), |_| whiteout::of(&entry, &path))?;
        if mark == Some(Mark::Aufs) {
            return Ok(());
        }
        let parent = self.parent_of(&path, &entry)?;
        self.lower(&entry, mark.as_ref(), &path, &parent)?;
        let made = match mark {
            None => self.make(&entry, &path, &parent, &name, data, filler),
            Some(_) => Ok(()),
        };
        // A link may now stand where the next name leads through.
        if !matches!(entry.kind, Kind::Symlink | Kind::HardLink) {
            self.parent = path.parent().map(|path| (path.to_owned(), parent));
        }
        made?;
        if entry.kind == Kind::Folder {
            self.folders.push(Entry { name: path.as_os_str().as_bytes().to_vec(), ..entry });
        }
        Ok(())
    }

    fn make(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &Path,
        data: &mut impl BufRead,
        filler: &mut Filler,
    ) -> Result<(), Failure> {
        match entry.kind {
            Kind::Folder => self.folder(entry, path, parent, name),
            Kind::File => self.file(entry, parent, name, data, filler),
            Kind::HardLink => self.hard_link(entry, path, parent, name),
            Kind::Symlink => {
                let link = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
                in_the_way(entry, parent, name, || symlinkat(link, parent, name))?
                    .tried(|| tried(entry, "make the symbolic link"))?;
                self.attributes.set_by_name(entry, parent, name)
            }
            Kind::CharDevice | Kind::BlockDevice => self.device(entry, path, parent, name),
            Kind::Fifo => {
                make_way(entry, parent, name)?;
                mknodat(parent, name, SFlag::S_IFIFO, Mode::S_IRUSR, 0)
                    .tried(|| tried(entry, "make the FIFO"))?;
                self.attributes.set_by_name(entry, parent, name)
            }
        }
    }

    /// The folder that an entry goes into; it is made if the archive has forgotten it.
    fn parent_of(&mut self, path: &Path, entry: &Entry) -> Result<OwnedFd, Failure> {
        let folder = path.parent().unwrap_or(Path::new(""));
        match self.parent.take() {
            Some((known, fd)) if known == folder => Ok(fd),
            _ => self.open_folder(folder, entry),
        }
    }

    fn open_folder(&mut self, folder: &Path, entry: &Entry) -> Result<OwnedFd, Failure> {
        let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let failed =
            || tried(entry, &format!("enter its folder {}", quoted(folder.as_os_str().as_bytes())));
        match (inroot::open_in(self.root, path, flags), folder.file_name()) {
            (Err(Errno::ENOENT), Some(name)) => {
                let above = self.open_folder(folder.parent().unwrap_or(Path::new("")), entry)?;
                self.limits.count(entry, self.rules)?;
                mkdirat(&above, name, Mode::from_bits_truncate(0o755)).tried(failed)?;
                inroot::open_in(above, Path::new(name), flags).tried(failed)
            }
            (outcome, _) => outcome.tried(failed),
        }
    }

    fn folder(
        &self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        let failed = || tried(entry, "make the folder");
        let make = || mkdirat(parent, name, Mode::S_IRWXU);
        if let Err(errno) = make() {
            match (errno, look(parent, name).tried(failed)?) {
                (Errno::EEXIST, Some(stat)) if is(&stat, SFlag::S_IFDIR) => {}
                // bin -> usr/bin stays, if it leads to a folder: that is where its files belong.
                (Errno::EEXIST, Some(stat))
                    if is(&stat, SFlag::S_IFLNK) && self.leads_to_folder(path) => {}
                (Errno::EEXIST, _) => {
                    make_way(entry, parent, name)?;
                    make().tried(failed)?;
                }
                _ => return Err(Failure::errno(failed(), errno)),
            }
        }
        Ok(())
    }

    fn leads_to_folder(&self, path: &Path) -> bool {
        inroot::open_in(self.root, path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok()
    }

    fn file(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &Path,
        data: &mut impl BufRead,
        filler: &mut Filler,
    ) -> Result<(), Failure> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = self.attributes.mode_at_first(entry).unwrap_or(Mode::S_IRUSR | Mode::S_IWUSR);
        let file = in_the_way(entry, parent, name, || openat(parent, name, flags, mode))?;
        let mut file = File::from(file.tried(|| tried(entry, "make the file"))?);
        if filler::takes(entry) && self.attributes.set_but_time(entry, &file)? {
            return filler.take(entry, file, data);
        }
        fill(entry, &mut file, data)?;
        self.attributes.set(entry, &file)
    }

    /// Links name their target by its path in the archive, as they do in a root: from its top.
    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        let to = plain_path(&entry.link).ok_or_else(|| {
            entry.failure(&format!("its target {} leads outside", quoted(&entry.link)))
        })?;
        let target = to.file_name().map(Path::new);
        let target = target.ok_or_else(|| entry.failure("a folder can't be linked"))?;
        if self.devices.leave_out_link(self.root, path, &to) {
            return make_way(entry, parent, name);
        }
        let failed = || tried(entry, &format!("link it to {}", quoted(&entry.link)));
        let opened;
        let folder = if to.parent() == path.parent() {
            parent
        } else {
            opened = folder_of(self.root, &to).tried(failed).map_err(not_yet)?;
            &opened
        };
        let link = || linkat(folder, target, parent, name, AtFlags::empty());
        match link() {
            Err(Errno::EEXIST) if same(folder, target, parent, name).tried(failed)? => Ok(()),
            Err(Errno::EPERM) if is_folder(folder, target) => {
                Err(entry.failure("a folder can't be linked"))
            }
            Err(Errno::EEXIST) => {
                // It is not removed for a link that can't be.
                match look(folder, target).tried(failed)? {
                    None => return Err(not_yet(Failure::errno(failed(), Errno::ENOENT))),
                    Some(stat) if is(&stat, SFlag::S_IFDIR) => {
                        return Err(entry.failure("a folder can't be linked"));
                    }
                    Some(_) => make_way(entry, parent, name)?,
                }
                link().tried(failed)
            }
            outcome => outcome.tried(failed).map_err(not_yet),
        }
    }

    /// One that can't be made is left out, and told of at the end: whatever else was put in its
    /// place would be taken for what it is not.
    fn device(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        if self.rules.skip_devices {
            self.devices.leave_out(path, entry);
            return Ok(());
        }
        let kind = match entry.kind {
            Kind::CharDevice => SFlag::S_IFCHR,
            _ => SFlag::S_IFBLK,
        };
        make_way(entry, parent, name)?;
        match mknodat(parent, name, kind, Mode::S_IRUSR, makedev(entry.device.0, entry.device.1)) {
            Err(Errno::EPERM) => {
                self.devices.leave_out(path, entry);
                Ok(())
            }
            outcome => {
                outcome.tried(|| tried(entry, "make the device node"))?;
                self.attributes.set_by_name(entry, parent, name)
            }
        }
    }

    /// Folders, the deepest first.
    fn finish(&mut self) -> Result<(), Failure> {
        let mut folders = std::mem::take(&mut self.folders);
        let depth = |entry: &Entry| entry.name.split(|byte| *byte == b'/').count();
        folders.sort_by_key(|entry| std::cmp::Reverse((entry.name != b".", depth(entry))));
        for entry in folders {
            let path = Path::new(std::ffi::OsStr::from_bytes(&entry.name));
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            match inroot::open_in(self.root, path, flags) {
                Ok(folder) => self.attributes.set(&entry, &File::from(folder))?,
                // Another entry has taken its place since, or it is a link that stayed.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => return Err(Failure::errno(tried(&entry, "open the folder"), errno)),
            }
        }
        Ok(())
    }
}

fn full(failure: Failure) -> Failure {
    failure.hint_if(Errno::ENOSPC, || {
        "the disk is full: df -h shows where there is room, df -i where files can be".into()
    })
}

fn not_yet(failure: Failure) -> Failure {
    failure.hint_if(Errno::ENOENT, || {
        "a hard link must come after what it links to, which must not be left out".into()
    })
}

pub fn tried(entry: &Entry, what: &str) -> String {
    tried_name(&entry.name, what)
}

fn tried_name(name: &[u8], what: &str) -> String {
    format!("extract {}: {what}", quoted(name))
}
