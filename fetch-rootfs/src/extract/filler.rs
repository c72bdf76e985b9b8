//! A second thread that fills small files, of which a root file system has thousands.
//!
//! The extractor makes them, one after the other, so that the order of the archive decides what is
//! in the way of what. What then goes into a file goes by its descriptor, and depends on no other:
//! writing, setting the time and closing take as long as making it did, and can be done meanwhile.

use std::fs::File;
use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use common::{Failure, Tried, pid};
use nix::errno::Errno;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::data;
use super::tried_name;
use crate::attributes::times;
use crate::entry::Entry;

/// A larger file costs more to copy once more than to write at once.
const SMALL: u64 = 128 * 1024;
/// A hand-over costs as much as some files do, so that it is done for many. Their descriptors are
/// open until then: at most three batches of them.
const BATCH: usize = 256 * 1024;
const FILES: usize = 16;
const WAITING: usize = 1;

/// The extractor's side of it.
pub struct Filler {
    batch: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

/// Some files and, in a row, all that goes into them.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    files: Vec<Job>,
}

struct Job {
    file: File,
    name: Vec<u8>,
    length: usize,
    times: (TimeSpec, TimeSpec),
}

/// Does `work` with a filler beside it; all files are filled when it returns. An error of the filler
/// comes first, for the files that it has come earlier in the archive.
pub fn beside<T>(work: impl FnOnce(&mut Filler) -> Result<T, Failure>) -> Result<T, Failure> {
    let (full, take) = sync_channel(WAITING);
    let (give, empty) = channel();
    let mut filler = Filler { batch: Batch::default(), full, empty };
    thread::scope(|scope| {
        let named = thread::Builder::new().name("fill".into());
        let thread = named.spawn_scoped(scope, move || fill_all(&take, &give));
        let thread = thread.tried(|| "start a thread").map_err(pid::explain_new)?;
        let outcome = work(&mut filler).and_then(|done| filler.hand_over().map(|()| done));
        drop(filler);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome
    })
}

/// Whether a file is small enough.
pub fn takes(entry: &Entry) -> bool {
    entry.size <= SMALL && entry.holes.is_none()
}

impl Filler {
    /// Takes a new file, and reads from the archive what goes into it.
    pub fn take(
        &mut self,
        entry: &Entry,
        file: File,
        data: &mut impl BufRead,
    ) -> Result<(), Failure> {
        let start = self.batch.bytes.len();
        data::each(entry, data, entry.size, |part| {
            self.batch.bytes.extend_from_slice(part);
            Ok(())
        })?;
        let length = self.batch.bytes.len() - start;
        self.batch.files.push(Job { file, name: entry.name.clone(), length, times: times(entry) });
        if self.batch.files.len() < FILES && self.batch.bytes.len() < BATCH {
            return Ok(());
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), Failure> {
        let next = self.empty.try_recv().unwrap_or_default();
        // Nobody takes it if the filler has failed, and that failure is told.
        self.full
            .send(std::mem::replace(&mut self.batch, next))
            .map_err(|_| Failure::errno("write small files", Errno::ECANCELED))
    }
}

/// The thread's side.
fn fill_all(take: &Receiver<Batch>, give: &Sender<Batch>) -> Result<(), Failure> {
    for mut batch in take {
        let mut rest = &batch.bytes[..];
        for job in batch.files.drain(..) {
            let (bytes, after) = rest.split_at(job.length);
            job.fill(bytes)?;
            rest = after;
        }
        batch.bytes.clear();
        // At the end nobody wants it back.
        let _ = give.send(batch);
    }
    Ok(())
}

impl Job {
    fn fill(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).tried(|| tried_name(&self.name, "write the file"))?;
        let (access, change) = self.times;
        futimens(&self.file, &access, &change).tried(|| tried_name(&self.name, "set its time"))
    }
}
