//! Several archives on top of each other, and entries that take away.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use common::{Failure, Tried};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use super::{Extractor, clear_inherited, tried};
use crate::cli::Rules;
use crate::entry::{Entry, Kind};
use crate::limits::Entries;
use crate::oci::Target;
use crate::oci::layer::Layer;
use crate::oci::whiteout::Mark;

impl Target for Extractor<'_> {
    fn plain(&mut self, input: impl BufRead) -> Result<(), Failure> {
        clear_inherited(self.root)?;
        self.read(input)?;
        self.set_root_mode()?;
        self.finish()
    }

    fn layer(&mut self, input: impl Read) -> Result<(), Failure> {
        let lowest = self.layer.is_none();
        self.devices.next_layer();
        self.layer = Some(if lowest { Layer::lowest() } else { Layer::default() });
        if lowest {
            clear_inherited(self.root)?;
        }
        self.read(BufReader::with_capacity(1 << 17, input))?;
        if lowest {
            self.set_root_mode()?;
        }
        self.parent = None;
        let root = self.root;
        self.layer.iter_mut().for_each(|layer| layer.restore_times(root));
        if !geteuid().is_root() {
            self.keep_open();
        }
        self.finish()
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.folders = std::mem::take(&mut self.closed).into_values().collect();
        self.finish()
    }

    fn rules(&self) -> &Rules {
        self.rules
    }

    fn counter(&self) -> Entries {
        self.limits.counter()
    }
}

impl Extractor<'_> {
    fn set_root_mode(&self) -> Result<(), Failure> {
        let mode = Mode::from_bits_truncate(0o755);
        fchmod(self.root, mode).tried(|| "set the mode of the root")
    }

    /// A user can't write into a folder of mode 0555: it gets that mode after the last layer.
    fn keep_open(&mut self) {
        const OPEN: u32 = 0o700;
        for folder in &mut self.folders {
            if folder.mode & OPEN == OPEN {
                self.closed.remove(&folder.name);
            } else {
                self.closed.insert(folder.name.clone(), folder.clone());
                folder.mode |= OPEN;
            }
        }
    }

    /// What is from a layer below goes, if the entry says so, or where it is in its way.
    pub(super) fn lower(
        &mut self,
        entry: &Entry,
        mark: Option<&Mark>,
        path: &Path,
        parent: &OwnedFd,
    ) -> Result<(), Failure> {
        let Some(layer) = &mut self.layer else { return Ok(()) };
        match mark {
            Some(mark) => {
                self.devices.take_away(mark, path);
                layer.take_away(mark, path, parent)
            }
            None => layer.enter(path, parent, entry.kind == Kind::Folder),
        }
        .tried(|| tried(entry, "take away what is from a layer below"))
    }
}
