//! Layers that come several at a time, into one file without a name, while those before them are
//! extracted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use common::{Failure, Tried, size};
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use super::Blob;
use super::client::lock;
use super::digest::{Digest, compare};
use super::files::{Files, Section};
use super::registry::Registry;
use crate::http::{Answer, Trouble};

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
    file: File,
    parts: Vec<Part>,
    next: AtomicUsize,
    /// What came of each.
    done: Mutex<Vec<Option<Result<(), Failure>>>>,
    changed: Condvar,
}

/// A blob, and its place in the file.
struct Part {
    digest: Digest,
    at: u64,
    size: u64,
}

impl Downloads {
    /// Begins. The sizes are known beforehand, so that each blob has its place.
    pub fn start(
        registry: Registry,
        blobs: &[Blob],
        file: File,
        most: u64,
    ) -> Result<Self, Failure> {
        let (mut parts, mut names, mut at) = (Vec::new(), HashMap::new(), 0u64);
        for blob in blobs {
            let (Some(digest), Some(size)) = (blob.digest, blob.size) else { continue };
            if names.contains_key(&blob.name) {
                continue;
            }
            names.insert(blob.name.clone(), parts.len());
            parts.push(Part { digest, at, size });
            at = at.checked_add(size).filter(|end| *end <= most).ok_or_else(|| {
                let most = size::human(most);
                Failure::new(format!("get the layer {digest}: the layers are larger than {most}"))
                    .hint("--max-size SIZE allows more")
            })?;
        }
        let done = Mutex::new(parts.iter().map(|_| None).collect());
        let (next, changed) = (AtomicUsize::new(0), Condvar::new());
        let shared = Arc::new(Shared { registry, file, parts, next, done, changed });
        for _ in 0..CONNECTIONS.min(shared.parts.len()) {
            let shared = Arc::clone(&shared);
            // They are not waited for: if something fails, the program ends, and they with it.
            thread::Builder::new()
                .spawn(move || shared.work())
                .tried(|| "start a thread for downloads")?;
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
        while done[*at].is_none() {
            done = shared.changed.wait(done).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if let Some(Err(failure)) = done[*at].replace(Ok(())) {
            return Err(failure);
        }
        let Part { at, size, .. } = shared.parts[*at];
        Ok(Box::new(Section { file: &shared.file, at, left: size }))
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let at = self.next.fetch_add(1, Relaxed);
            let Some(part) = self.parts.get(at) else { return };
            let outcome = self.get(part);
            lock(&self.done)[at] = Some(outcome);
            self.changed.notify_all();
        }
    }

    /// A blob, going on where a broken connection has ended.
    fn get(&self, part: &Part) -> Result<(), Failure> {
        let mut patience = self.registry.patience();
        let (mut sum, mut got, mut most) = (Sha256::new(), 0, 0);
        loop {
            let taken = match self.registry.blob(part.digest, got) {
                Ok(answer) => {
                    if !continues(&answer, got) {
                        (sum, got) = (Sha256::new(), 0);
                    }
                    self.take(part, answer, &mut sum, &mut got)?
                }
                Err(trouble) => Err(trouble),
            };
            let Err(trouble) = taken else {
                return compare(sum.into(), part.digest, &format!("the layer {}", part.digest));
            };
            if got > most {
                most = got;
                patience.renew();
            }
            if !patience.another(&trouble) {
                return Err(patience.end(trouble).into());
            }
        }
    }

    /// Takes what comes; the inner trouble is the connection's.
    fn take(
        &self,
        part: &Part,
        answer: Answer,
        sum: &mut Sha256,
        got: &mut u64,
    ) -> Result<Result<(), Trouble>, Failure> {
        let Part { digest, size, .. } = *part;
        let mut body = answer.body;
        let mut piece = vec![0; PIECE];
        loop {
            let read = match body.read(&mut piece) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // How the connection ends does not matter when all is there.
                Ok(_) | Err(_) if *got == size => return Ok(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Ok(Err(self.registry.broken(digest, &error)));
                }
                _ => {
                    return Ok(Err(Trouble::passing(format!(
                        "get the layer {digest}: the registry ends it after {got} of {size} bytes"
                    ))));
                }
            };
            let bytes = &piece[..read];
            if *got + read as u64 > size {
                return Err(Failure::new(format!(
                    "get the layer {digest}: it has more than its {size} bytes"
                )));
            }
            self.file.write_all_at(bytes, part.at + *got).tried(|| "keep a layer").map_err(
                |failure| {
                    failure.hint_if(Errno::ENOSPC, || {
                        "the disk is full: df -h shows where there is room".into()
                    })
                },
            )?;
            sum.update(bytes);
            *got += read as u64;
        }
    }
}

/// Whether the server goes on where it was asked to; if not, it begins anew.
fn continues(answer: &Answer, from: u64) -> bool {
    let range = answer.header("content-range");
    answer.status == 206 && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}
