//! What an archive may ask of this machine: each limit can be raised by an option, which is named
//! where it is met.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Failure, size};

use crate::cli::Rules;
use crate::entry::Entry;

/// How many there have been; a progress bar, of another thread, looks at it.
pub type Entries = Arc<AtomicU64>;

/// What has been extracted so far.
#[derive(Debug, Default)]
pub struct Limits {
    entries: Entries,
    bytes: u64,
}

impl Limits {
    pub fn counted_in(entries: Entries) -> Self {
        Self { entries, bytes: 0 }
    }

    pub fn counter(&self) -> Entries {
        Arc::clone(&self.entries)
    }

    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Another entry, wanted or not; or a folder that the archive has forgotten, for two thousand may be
    /// in one name.
    pub fn count(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Failure> {
        let entries = self.entries.fetch_add(1, Ordering::Relaxed) + 1;
        if entries > rules.max_entries {
            return Err(entry
                .failure(&format!("it has more than {} entries", rules.max_entries))
                .hint("--max-entries N allows more"));
        }
        Ok(())
    }

    /// What is going to be written of it, holes, attributes and all.
    pub fn add(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Failure> {
        let attributes = entry.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64);
        self.bytes = self.bytes.saturating_add(entry.length()).saturating_add(attributes.sum());
        if self.bytes > rules.max_size {
            let most = size::human(rules.max_size);
            return Err(entry
                .failure(&format!("its files are larger than {most} together"))
                .hint("--max-size SIZE allows more"));
        }
        Ok(())
    }
}

/// How deep it is.
pub fn depth(entry: &Entry, path: &Path, rules: &Rules) -> Result<(), Failure> {
    match path.iter().count() > rules.max_depth {
        true => Err(too_deep(entry, rules)),
        false => Ok(()),
    }
}

pub fn too_deep(entry: &Entry, rules: &Rules) -> Failure {
    entry
        .failure(&format!("its name has more than {} parts", rules.max_depth))
        .hint("--max-depth N allows more")
}
