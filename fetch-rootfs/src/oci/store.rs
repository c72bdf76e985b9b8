//! What the cache has of images: each document and layer under its digest, which it has to have
//! when it is used again; and what the names of manifests led to.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::{Failure, Tried, report};

use super::digest::{Digest, Verified};
use super::manifest::LARGEST;
use crate::cache::{self, Cache, Known, Pending};
use crate::download::Version;

/// The cache, if there is one.
pub struct Store {
    place: Option<PathBuf>,
    /// What is damaged goes.
    pub tidy: bool,
    /// It was told that something is not kept.
    told: AtomicBool,
}

impl Store {
    pub fn new(place: Option<PathBuf>) -> Self {
        Self { place, tidy: true, told: AtomicBool::new(false) }
    }

    /// Where a file of this digest is, whatever is in it.
    pub fn path(&self, digest: Digest) -> Option<PathBuf> {
        cache::file(self.place.as_deref()?, digest.bytes())
    }

    /// What a URL led to when it was last asked for.
    pub fn known(&self, url: &str) -> Option<Digest> {
        Some(cache::known(self.place.as_deref()?, url)?.sha256.into())
    }

    /// A manifest or a configuration.
    pub fn document(&self, digest: Digest) -> Option<Vec<u8>> {
        let length = fs::metadata(self.path(digest)?).ok()?.len();
        let mut bytes = Vec::new();
        (length <= LARGEST).then(|| self.verified(digest, &mut bytes))??;
        Some(bytes)
    }

    /// A layer, to be read at any place.
    pub fn layer(&self, digest: Digest) -> Option<File> {
        self.verified(digest, &mut io::sink())
    }

    /// A file that is what its name says; one that is not is told, and goes.
    fn verified(&self, digest: Digest, into: &mut impl Write) -> Option<File> {
        let path = self.path(digest)?;
        let read = File::open(&path).and_then(|file| {
            let mut read = Verified::new(BufReader::with_capacity(1 << 17, &file), None);
            io::copy(&mut read, into)?;
            Ok((read.digest(), file))
        });
        match read.tried(|| format!("read {path:?} of the cache")) {
            Ok((found, file)) if found == digest => return Some(file),
            Ok(_) => note(&cache::damaged(&path, digest.bytes(), self.tidy)),
            Err(failure) => note(&failure),
        }
        None
    }

    /// Begins a file, if the cache works.
    pub fn begin(&self) -> Option<Pending> {
        let begun = cache::begin(self.place.as_deref()?);
        begun.inspect_err(|failure| self.not_kept(failure)).ok()
    }

    /// A file that was written is what it should be.
    pub fn keep(&self, mut pending: Pending, digest: Digest) {
        if let Err(failure) = pending.name(digest.bytes()).tried(|| "write into the cache") {
            self.not_kept(&failure);
        }
    }

    pub fn keep_document(&self, digest: Digest, bytes: &[u8]) {
        let Some(mut pending) = self.begin() else { return };
        match pending.write_all(bytes).tried(|| "write into the cache") {
            Ok(()) => self.keep(pending, digest),
            Err(failure) => self.not_kept(&failure),
        }
    }

    /// Remembers what a URL leads to.
    pub fn remember(&self, url: &str, digest: Digest) {
        let Some(place) = &self.place else { return };
        let known = Known { version: Version::default(), sha256: digest.bytes() };
        let kept = Cache::open(place)
            .and_then(|cache| cache.remember(url, &known).tried(|| "write into the cache"));
        if let Err(failure) = kept {
            self.not_kept(&failure);
        }
    }

    /// Said once: what holds for one layer holds for the next.
    pub fn not_kept(&self, failure: &Failure) {
        if !self.told.swap(true, Relaxed) {
            cache::not_kept(failure);
        }
    }

    /// It is to be had from here, and is not.
    pub fn missing(&self, what: &str) -> Failure {
        cache::missing(what, self.place.as_deref())
    }
}

fn note(failure: &Failure) {
    report::tell(&failure.lines("fetch-rootfs: note"));
}
