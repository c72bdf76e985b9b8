//! A root file system as it will be when an overlay covers it, which nobody can look at before: the
//! folders that it will be made of, the topmost first. Without an overlay it is the one folder.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use common::{Failure, inroot};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::inside::Tree;
use crate::place::{self, Place};

/// The root, and what it is made of.
pub struct Seen {
    /// What it is called.
    pub rootfs: PathBuf,
    /// Whether the overlay covers the folder that we are in.
    pub from_within: bool,
    /// Whether an overlay keeps changes apart, or can only be read; `None` without one.
    pub keeps_changes: Option<bool>,
    layers: Vec<PathBuf>,
}

impl Seen {
    /// `.` would go on to lead to the folder below the overlay, so its name is used.
    pub fn new(tree: &Tree, rootfs: &Path, root: &OwnedFd) -> Result<Self, Failure> {
        Ok(match tree.overlays.iter().find(|(at, _)| at.is_none()) {
            None => Self {
                rootfs: rootfs.to_owned(),
                from_within: false,
                keeps_changes: None,
                layers: vec![rootfs.to_owned()],
            },
            Some((_, layers)) => Self {
                rootfs: place::name(root)?,
                keeps_changes: Some(layers.keeps_changes()),
                from_within: rootfs.components().all(|name| name == Component::CurDir),
                layers: layers.check()?,
            },
        })
    }

    /// The layer that shows what is at a path, or is next to it. A link counts as what it is.
    pub fn layer(&self, path: &Path) -> &Path {
        let path = path.strip_prefix("/").unwrap_or(path);
        let has = |layer: &&PathBuf, path: &Path| {
            inroot::open_root(layer).is_ok_and(|root| {
                inroot::open_plain(root, path, OFlag::O_PATH).err() != Some(Errno::ENOENT)
            })
        };
        let mut names = path.ancestors().filter(|path| *path != Path::new(""));
        let [_, _, ..] = self.layers.as_slice() else { return &self.layers[0] };
        names
            .find_map(|path| self.layers.iter().find(|layer| has(layer, path)))
            .unwrap_or(&self.layers[0])
    }

    /// A place where it is now.
    pub fn place(&self, path: &str) -> Place {
        Place::inside(self.layer(Path::new(path)), path)
    }

    /// A mount point that somebody has named.
    pub fn point(&self, dst: &Path) -> Result<Place, Failure> {
        self.shown(Place::resolved(self.layer(dst), dst)?)
    }

    /// What was found in one layer, where another one may lie over it. What is missing may be in a
    /// mount that an earlier step makes.
    pub fn shown(&self, found: Place) -> Result<Place, Failure> {
        let shown = found.seen_in(&self.rootfs);
        match &shown {
            Place::In { path, .. } => Place::inside(self.layer(path), path).check(true)?,
            Place::Host(_) => {}
        }
        Ok(shown)
    }
}
