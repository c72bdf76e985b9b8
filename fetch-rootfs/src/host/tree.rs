//! The root as it grows: each piece once, in an order in which it can be made.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::machine::{self, Machine, Trail};
use super::piece::Piece;

const ON_THE_WAY: &str = "a folder on the way to a file; mkdir(1)";

/// Pieces by path. In the order of paths a folder comes before what is in it.
pub struct Tree<'a> {
    machine: &'a Machine,
    pieces: BTreeMap<PathBuf, Entry>,
}

struct Entry {
    piece: Piece,
    /// Device and inode number of a file that has more names than one on the machine.
    shared: Option<(u64, u64)>,
}

impl<'a> Tree<'a> {
    /// An empty root for files of this machine.
    pub fn of(machine: &'a Machine) -> Self {
        Self { machine, pieces: BTreeMap::new() }
    }

    /// Takes a file of the machine over, and the links and folders on the way to it.
    pub fn take(&mut self, trail: &Trail, why: &'static str) {
        self.way(trail);
        if !trail.metadata.is_file() {
            return;
        }
        let (from, to) = (self.machine.file(&trail.real), trail.real.clone());
        let mode = machine::mode(&trail.metadata);
        let shared = trail.metadata.nlink() > 1;
        let shared = shared.then(|| (trail.metadata.dev(), trail.metadata.ino()));
        self.add(trail.real.clone(), Piece::Copy { from, to, mode, why }, shared);
    }

    /// Takes a file or folder over if the machine has it.
    pub fn take_if_there(&mut self, path: &Path, why: &'static str) {
        if let Ok(trail) = self.machine.walk(path) {
            self.take(&trail, why);
        }
    }

    /// A folder that the root is to have. If the machine has a link in its place, so has the root.
    pub fn folder(&mut self, path: &Path, mode: u32, why: &'static str) -> io::Result<()> {
        let path = self.place_of(path)?;
        let piece = Piece::Folder { path: path.clone(), mode, why };
        self.pieces.insert(path, Entry { piece, shared: None });
        Ok(())
    }

    /// A file that is written for the root. The folder is the machine's, the file is not.
    pub fn text(
        &mut self,
        path: &Path,
        content: &'static str,
        why: &'static str,
    ) -> io::Result<()> {
        let folder = self.place_of(path.parent().unwrap_or(Path::new("")))?;
        let path = folder.join(path.file_name().unwrap_or_default());
        let piece = Piece::Text { path: path.clone(), mode: 0o644, content, why };
        self.pieces.insert(path, Entry { piece, shared: None });
        Ok(())
    }

    /// The paths in the root whose last names begin so.
    pub fn named(&self, start: &str) -> Vec<PathBuf> {
        let begins = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(start.as_bytes()))
        };
        self.pieces.keys().filter(begins).cloned().collect()
    }

    /// The pieces, folders before what is in them, a file before its second name.
    pub fn into_pieces(self) -> Vec<Piece> {
        let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (path, Entry { piece, shared }) in self.pieces {
            let target = shared.and_then(|id| first.get(&id).cloned());
            if let (Some(id), None) = (shared, &target) {
                first.insert(id, path.clone());
            }
            pieces.push(match target {
                Some(target) => Piece::HardLink { target, path },
                None => piece,
            });
        }
        pieces
    }

    /// The real path that a folder has, or would have if it were there.
    fn place_of(&mut self, path: &Path) -> io::Result<PathBuf> {
        match self.machine.walk(path) {
            Ok(trail) if trail.metadata.is_dir() => {
                self.way(&trail);
                Ok(trail.real)
            }
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(error);
                };
                Ok(self.place_of(parent)?.join(name))
            }
            Err(error) => Err(error),
        }
    }

    fn way(&mut self, trail: &Trail) {
        for folder in &trail.folders {
            let (path, why) = (folder.clone(), ON_THE_WAY);
            self.add(folder.clone(), Piece::Folder { path, mode: 0o755, why }, None);
        }
        for (path, target) in &trail.links {
            let piece = Piece::Link { target: target.clone(), path: path.clone() };
            self.add(path.clone(), piece, None);
        }
    }

    fn add(&mut self, path: PathBuf, piece: Piece, shared: Option<(u64, u64)>) {
        self.pieces.entry(path).or_insert(Entry { piece, shared });
    }
}
