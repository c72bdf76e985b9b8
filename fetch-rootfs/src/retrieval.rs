//! The steps of getting an archive: what it is compared with, the archive, the comparisons.

use std::fs::File;
use std::path::{Path, PathBuf};

use common::{Failure, Tried};

use crate::cache;
use crate::checksum::{Digest, Kind};
use crate::cli::Source;
use crate::credentials;
use crate::step::Step;
use crate::transfer::Transfer;
use crate::wanted::{Check, Wanted};

/// An archive that is to be got. Files are looked at, and the cache; nothing is written.
pub struct Retrieval<'a> {
    source: Source,
    transfer: Transfer,
    unfinished: &'a Path,
    /// Its SHA-256 is told, even if there is none to compare with.
    tell: bool,
    steps: Vec<Step>,
    checks: Vec<Check>,
}

impl<'a> Retrieval<'a> {
    pub fn new(source: Source, transfer: Transfer, unfinished: &'a Path, tell: bool) -> Self {
        Self { source, transfer, unfinished, tell, steps: Vec::new(), checks: Vec::new() }
    }

    /// The steps, of which `work` is done with the archive while it comes.
    pub fn steps(
        mut self,
        wanted: Wanted,
        show: bool,
        work: impl FnOnce(PathBuf) -> Step,
    ) -> Result<Vec<Step>, Failure> {
        self.checks.extend(wanted.digests.into_iter().map(Check::Digest));
        let list = wanted.list.map(|(from, name)| self.list(from, name)).transpose()?;
        if let Some((from, keyring)) = wanted.signature {
            let signature = self.beside(from, "signature")?;
            self.signed(list.as_ref(), signature, readable(&keyring)?);
        }
        self.checks.extend(list);
        self.archive(show, work)?;
        Ok(self.steps)
    }

    fn list(&mut self, from: Source, name: String) -> Result<Check, Failure> {
        let shown = match &from {
            Source::Url(url) => credentials::split_url(url).0,
            Source::File(file) => file.display().to_string(),
            _ => String::new(),
        };
        Ok(Check::Listed { list: self.beside(from, "checksums")?, shown, name })
    }

    /// A signature is that of the list if there is one, for that is what makers sign.
    fn signed(&mut self, list: Option<&Check>, signature: PathBuf, keyring: PathBuf) {
        match list {
            Some(Check::Listed { list, shown, .. }) => {
                let (list, shown) = (list.clone(), shown.clone());
                self.steps.push(Step::VerifyList { list, shown, signature, keyring });
            }
            _ => self.checks.push(Check::Signed { signature, keyring }),
        }
    }

    /// The place of a small file that goes with the archive, perhaps after it was got.
    fn beside(&mut self, from: Source, name: &str) -> Result<PathBuf, Failure> {
        match &from {
            Source::Url(url) => {
                let transfer = self.transfer.beside(&self.source, url);
                let copy = self.unfinished.join(name);
                let source = at_hand(from, &transfer, &[])?;
                self.steps.push(Step::Get { source, copy: copy.clone(), transfer });
                Ok(copy)
            }
            Source::File(file) => readable(file),
            _ => Err(Failure::new("compare with what is neither a file nor a URL")),
        }
    }

    fn archive(&mut self, show: bool, work: impl FnOnce(PathBuf) -> Step) -> Result<(), Failure> {
        let source = at_hand(self.source.clone(), &self.transfer, &self.checks)?;
        let archive = match &source {
            Source::File(file) | Source::Cached { file, .. } => readable(file)?,
            _ => self.unfinished.join("archive"),
        };
        self.steps.push(Step::Open {
            source,
            archive: archive.clone(),
            transfer: self.transfer.clone(),
            checks: self.checks.clone(),
            show,
            digest: self.tell,
        });
        self.steps.push(work(archive.clone()));
        let unfinished = || self.unfinished.to_owned();
        self.steps.extend(self.checks.drain(..).map(|check| Step::Verify {
            archive: archive.clone(),
            unfinished: unfinished(),
            check,
        }));
        Ok(())
    }
}

fn readable(file: &Path) -> Result<PathBuf, Failure> {
    drop(File::open(file).tried(|| format!("open {file:?}"))?);
    Ok(file.to_owned())
}

/// A URL that needs no network: its digest is wanted and in the cache, or it is to be taken from
/// there whatever the server has meanwhile.
fn at_hand(source: Source, transfer: &Transfer, checks: &[Check]) -> Result<Source, Failure> {
    let Source::Url(url) = &source else { return Ok(source) };
    let given = checks.iter().find_map(|check| match check {
        Check::Digest(Digest { kind: Kind::Sha256, bytes }) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    let place = transfer.cache.as_deref();
    let known = place.filter(|_| transfer.offline).and_then(|place| cache::known(place, url));
    let cached = given
        .into_iter()
        .chain(known.map(|known| known.sha256))
        .find_map(|sha256| Some(Source::Cached { file: cache::file(place?, sha256)?, sha256 }));
    match (cached, transfer.offline) {
        (Some(cached), _) => Ok(cached),
        (None, false) => Ok(source),
        (None, true) => Err(cache::missing(&credentials::split_url(url).0, place)),
    }
}
