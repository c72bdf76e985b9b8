//! Device nodes that are in the archive and not in the tree: left out as asked for, or refused by
//! the kernel, which lets only root make them, and not in a user namespace.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::place::{folder_of, look};
use crate::entry::{Entry, Kind};
use crate::oci::whiteout::Mark;
use crate::outcome::Device;

/// Those of all layers.
#[derive(Default)]
pub struct Devices {
    missing: BTreeMap<PathBuf, Missing>,
    /// What layers above have taken away, and the highest that did.
    gone: HashMap<PathBuf, usize>,
    layer: usize,
}

#[derive(Clone, Copy)]
struct Missing {
    kind: char,
    number: (u64, u64),
    layer: usize,
}

impl Devices {
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    pub fn leave_out(&mut self, path: &Path, entry: &Entry) {
        let kind = if entry.kind == Kind::CharDevice { 'c' } else { 'b' };
        let missing = Missing { kind, number: entry.device, layer: self.layer };
        self.missing.insert(path.to_owned(), missing);
    }

    /// A second name of one that is not there: it can't be there either.
    pub fn leave_out_link(&mut self, root: BorrowedFd, path: &Path, target: &Path) -> bool {
        let known = self.missing.get(target).copied();
        let Some(missing) = known.filter(|_| is_free(root, target)) else { return false };
        self.missing.insert(path.to_owned(), Missing { layer: self.layer, ..missing });
        true
    }

    /// A whiteout in this layer takes away what those below would have had.
    pub fn take_away(&mut self, mark: &Mark, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let gone = match mark {
            _ if self.missing.is_empty() => return,
            Mark::Opaque => folder.to_owned(),
            Mark::Gone(name) => folder.join(name),
            Mark::Aufs => return,
        };
        self.gone.insert(gone, self.layer);
    }

    /// Those that the finished tree lacks.
    pub fn lacking(&self, root: BorrowedFd) -> Vec<Device> {
        let lacks = |path: &Path, missing: &Missing| {
            let taken = |path| self.gone.get(path).is_some_and(|layer| *layer > missing.layer);
            !path.ancestors().any(taken) && is_free(root, path)
        };
        let lacking = self.missing.iter().filter(|(path, missing)| lacks(path, missing));
        lacking
            .map(|(path, missing)| Device {
                name: String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned(),
                kind: missing.kind,
                major: missing.number.0,
                minor: missing.number.1,
            })
            .collect()
    }
}

/// Whether its folder is there, and nothing else has taken its place since.
fn is_free(root: BorrowedFd, path: &Path) -> bool {
    let name = path.file_name().map_or(Path::new(""), Path::new);
    folder_of(root, path)
        .is_ok_and(|folder| matches!(look(folder, name), Ok(None) | Err(Errno::ENOENT)))
}
