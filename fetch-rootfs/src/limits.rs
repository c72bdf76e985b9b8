//! What an archive may ask of this machine: each limit can be raised by an option, which is named
//! where it is met.

use std::path::Path;

use common::{Failure, size};

use crate::cli::Rules;
use crate::entry::Entry;

/// What has been extracted so far.
#[derive(Debug, Default)]
pub struct Limits {
    entries: u64,
    bytes: u64,
}

impl Limits {
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Another entry, wanted or not.
    pub fn count(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Failure> {
        self.entries += 1;
        if self.entries > rules.max_entries {
            return Err(entry
                .failure(&format!("it has more than {} entries", rules.max_entries))
                .hint("--max-entries N allows more"));
        }
        Ok(())
    }

    /// A folder that the archive has forgotten: two thousand may be in one name.
    pub fn forgotten(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Failure> {
        self.count(entry, rules)
    }

    /// What is going to be written of it, holes and all.
    pub fn add(&mut self, entry: &Entry, rules: &Rules) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(entry.length());
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
    if path.iter().count() > rules.max_depth {
        return Err(entry
            .failure(&format!("its name has more than {} parts", rules.max_depth))
            .hint("--max-depth N allows more"));
    }
    Ok(())
}
