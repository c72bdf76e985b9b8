//! Layers that come several at a time, into the cache or one file without a name, while those before
//! them are extracted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use common::{Failure, Tried, pid, size};
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use super::Blob;
use super::client::lock;
use super::digest::{Digest, compare};
use super::files::{Files, Section};
use super::registry::{BlobDownload, Registry};
use crate::download::content_range;
use crate::http::{Answer, Trouble};
use crate::limits::Entries;
use crate::progress::Progress;

/// How many at a time: more don't make a line faster, and registries count them.
const CONNECTIONS: usize = 3;
const PIECE: usize = 128 * 1024;

/// Downloads that go on by themselves.
pub struct Downloads {
    shared: Arc<Shared>,
    names: HashMap<String, usize>,
}

struct Shared {
    registry: Registry,
    /// What it has for all that is not in the cache.
    scratch: Arc<File>,
    parts: Vec<Part>,
    next: AtomicUsize,
    /// What came of each.
    done: Mutex<Vec<Option<Result<Place, Failure>>>>,
    changed: Condvar,
    progress: Mutex<Option<Progress>>,
}

/// A blob, and its place in the file without a name.
struct Part {
    digest: Digest,
    at: u64,
    size: u64,
    cached: bool,
}

/// Where a blob is.
struct Place {
    file: Arc<File>,
    at: u64,
}

impl Downloads {
    /// Begins. The sizes are known beforehand, so that each blob has its place. What has come is shown
    /// beside the number of entries, if there is one.
    pub fn start(
        registry: Registry,
        blobs: &[Blob],
        scratch: File,
        most: u64,
        shown: Option<Entries>,
    ) -> Result<Self, Failure> {
        let (mut parts, mut names, mut at) = (Vec::new(), HashMap::new(), 0u64);
        for blob in blobs {
            let (Some(digest), Some(size)) = (blob.digest, blob.size) else { continue };
            if names.contains_key(&blob.name) {
                continue;
            }
            names.insert(blob.name.clone(), parts.len());
            let cached = registry.store.path(digest).is_some();
            parts.push(Part { digest, at, size, cached });
            at = at.checked_add(size).filter(|end| *end <= most).ok_or_else(|| {
                let most = size::human(most);
                Failure::new(format!("get the layer {digest}: the layers are larger than {most}"))
                    .hint("--max-size SIZE allows more")
            })?;
        }
        let done = Mutex::new(parts.iter().map(|_| None).collect());
        let (next, changed) = (AtomicUsize::new(0), Condvar::new());
        let scratch = Arc::new(scratch);
        let coming = parts.iter().filter(|part| !part.cached).map(|part| part.size).sum();
        let progress = shown.map(|entries| Progress::new(Some(coming)).with_entries(entries));
        let progress = Mutex::new(progress);
        let shared = Arc::new(Shared { registry, scratch, parts, next, done, changed, progress });
        for _ in 0..CONNECTIONS.min(shared.parts.len()) {
            let shared = Arc::clone(&shared);
            // They are not waited for: if something fails, the program ends, and they with it.
            thread::Builder::new()
                .spawn(move || shared.work())
                .tried(|| "start a thread for downloads")
                .map_err(pid::explain_new)?;
        }
        Ok(Self { shared, names })
    }
}

impl Files for Downloads {
    /// Waits until it is there.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Failure> {
        let shared = &*self.shared;
        let Some(at) = self.names.get(name) else {
            return Err(Failure::new(format!("open {name:?} of the image: there is no such file")));
        };
        let mut done = lock(&shared.done);
        loop {
            match done[*at].take() {
                None => {
                    done = shared.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Ok(place)) => {
                    let (file, left) = (Arc::clone(&place.file), shared.parts[*at].size);
                    let section = Section { file, at: place.at, left };
                    done[*at] = Some(Ok(place));
                    return Ok(Box::new(Shown { section, shared }));
                }
                Some(Err(failure)) => return Err(failure),
            }
        }
    }
}

impl Drop for Downloads {
    /// Its line on the terminal goes: threads that still wait for a server keep all else.
    fn drop(&mut self) {
        drop(lock(&self.shared.progress).take());
    }
}

/// What has come, being read: there are more entries.
struct Shown<'a> {
    section: Section<Arc<File>>,
    shared: &'a Shared,
}

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shared.show(|progress| progress.add(0));
        self.section.read(buffer)
    }
}

impl Shared {
    fn show(&self, what: impl FnOnce(&mut Progress)) {
        if let Some(progress) = lock(&self.progress).as_mut() {
            what(progress);
        }
    }

    fn work(&self) {
        loop {
            let at = self.next.fetch_add(1, Relaxed);
            let Some(part) = self.parts.get(at) else { return };
            let outcome = self.get(part);
            lock(&self.done)[at] = Some(outcome);
            self.changed.notify_all();
        }
    }

    /// A blob, from the cache or the registry.
    fn get(&self, part: &Part) -> Result<Place, Failure> {
        let Part { digest, at, .. } = *part;
        let store = &self.registry.store;
        if let Some(file) = store.layer(digest) {
            return Ok(Place { file: Arc::new(file), at: 0 });
        }
        let mut download = self.registry.download(digest)?;
        if part.cached {
            self.show(|progress| progress.expect(part.size));
        }
        if let Some(pending) = store.begin() {
            let file = pending.file().try_clone().tried(|| "write into the cache")?;
            let place = Place { file: Arc::new(file), at: 0 };
            match self.fill(part, &place, &mut download) {
                Ok(()) => {
                    store.keep(pending, digest);
                    return Ok(place);
                }
                Err(Stop::Write(failure)) => store.not_kept(&failure),
                Err(stop) => return Err(stop.into()),
            }
        }
        let place = Place { file: Arc::clone(&self.scratch), at };
        self.fill(part, &place, &mut download)?;
        Ok(place)
    }

    /// Writes it there, going on where a broken connection has ended.
    fn fill(&self, part: &Part, to: &Place, download: &mut BlobDownload) -> Result<(), Stop> {
        let (mut sum, mut got, mut most) = (Sha256::new(), 0, 0);
        loop {
            let outcome = download.begin(got).map_err(Stop::Passing).and_then(|answer| {
                if !continues(&answer, got) {
                    self.show(|progress| progress.lose(got));
                    (sum, got) = (Sha256::new(), 0);
                }
                self.take(answer, part, to, download, &mut sum, &mut got)
            });
            let Err(Stop::Passing(trouble)) = outcome else {
                outcome?;
                let what = format!("the layer {}", part.digest);
                return compare(sum.into(), part.digest, &what).map_err(Stop::Wrong);
            };
            if got > most {
                most = got;
                download.patience.renew();
            }
            if !download.patience.another(&trouble) {
                return Err(Stop::Wrong(download.patience.end(trouble).into()));
            }
        }
    }

    /// Takes what comes.
    fn take(
        &self,
        mut answer: Answer,
        part: &Part,
        to: &Place,
        download: &BlobDownload,
        sum: &mut Sha256,
        got: &mut u64,
    ) -> Result<(), Stop> {
        let Part { digest, size, .. } = *part;
        let mut piece = vec![0; PIECE];
        loop {
            let read = match answer.body.read(&mut piece) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // How the connection ends does not matter when all is there.
                Ok(_) | Err(_) if *got == size => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(Stop::Passing(download.broken(&error)));
                }
                _ => {
                    return Err(Stop::Passing(Trouble::passing(format!(
                        "get the layer {digest}: the registry ends it after {got} of {size} bytes"
                    ))));
                }
            };
            let bytes = &piece[..read];
            if *got + read as u64 > size {
                let what = format!("get the layer {digest}: it has more than its {size} bytes");
                return Err(Stop::Wrong(Failure::new(what)));
            }
            to.file.write_all_at(bytes, to.at + *got).tried(|| "keep a layer").map_err(
                |failure| {
                    Stop::Write(failure.hint_if(Errno::ENOSPC, || {
                        "the disk is full: df -h shows where there is room".into()
                    }))
                },
            )?;
            sum.update(bytes);
            *got += read as u64;
            self.show(|progress| progress.add(read as u64));
        }
    }
}

/// Why a blob is not there.
enum Stop {
    Passing(Trouble),
    /// It can't be written there.
    Write(Failure),
    Wrong(Failure),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Passing(trouble) => trouble.into(),
            Stop::Write(failure) | Stop::Wrong(failure) => failure,
        }
    }
}

/// Whether the server goes on where it was asked to; if not, it begins anew.
fn continues(answer: &Answer, from: u64) -> bool {
    let range = answer.header("content-range").and_then(content_range);
    answer.status == 206 && range.is_some_and(|(start, _)| start == from)
}
