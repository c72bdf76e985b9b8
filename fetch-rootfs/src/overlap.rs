//! Decoding and writing at the same time: this thread decodes, another one takes what comes out,
//! in pieces of which there are only so many.
//!
//! The process has forked before, and forks no more: threads are fine from here on.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use common::{Failure, Tried, pid};

use crate::archive::{read_buffered, read_failure};
use crate::codec;

/// A piece is small enough for the processor's cache, and large enough that a hand-over costs
/// nothing beside it.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;
/// As a program's first thread has it.
const STACK: usize = 8 << 20;
/// So much may come out of anything.
const UNSUSPICIOUS: u64 = 64 << 20;

/// Decodes a source for another thread, which does `work`; at most `ratio` times its size.
pub fn decoded<T: Send>(
    source: impl Read,
    ratio: u64,
    work: impl FnOnce(Pieces) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let taken = Cell::new(0);
    let mut decoder = codec::decoder(Counted { source, taken: &taken })?;
    let (full, take) = sync_channel(PIECES);
    let (give, empty) = channel();
    let pieces = Pieces { take, give, piece: Piece::default(), at: 0 };
    thread::scope(|scope| {
        let named = thread::Builder::new().name("write".into()).stack_size(STACK);
        let thread = named.spawn_scoped(scope, || work(pieces)).tried(|| "start a thread");
        let thread = thread.map_err(pid::explain_new)?;
        let fed = feed(&mut decoder, &full, &empty, ratio.max(1), &taken);
        drop(full);
        let outcome = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (fed, &outcome) {
            (Ok(false), _) => Err(Failure::new(format!(
                "read the archive: it becomes more than {ratio} times as large as it is"
            ))
            .hint("--max-ratio N allows more, if you trust its maker")),
            // What makes no sense in there is not its maker's doing; a full disk is another matter.
            (Err(damage), Err(failure)) if failure.kernel_said().is_none() => Err(damage),
            _ => outcome,
        }
    })
}

/// The decoder's complaint.
fn damaged(error: &io::Error) -> Failure {
    let failure = read_failure(error);
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::OutOfMemory => failure,
        _ if error.raw_os_error().is_some() => failure,
        _ => failure.hint("it is damaged: fetch it again, and compare its --sha256"),
    }
}

/// Decodes on where nobody takes it any more. The sum of a bzip2 block, of which there are up to 900 kB,
/// comes after it: what was wrong in it may have been why nobody does. What is not compressed has none.
fn rest(decoder: &mut impl Read) -> Result<(), Failure> {
    const BLOCK: u64 = 1 << 20;
    let read = io::copy(&mut decoder.take(BLOCK), &mut io::sink());
    read.map(drop).map_err(|error| damaged(&error))
}

/// Says whether all went in, or more than is allowed came out, or that it can't be decoded.
fn feed(
    decoder: &mut impl Read,
    full: &SyncSender<io::Result<Piece>>,
    empty: &Receiver<Vec<u8>>,
    ratio: u64,
    taken: &Cell<u64>,
) -> Result<bool, Failure> {
    let mut given = 0;
    loop {
        let mut bytes = empty.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
        let read = match decoder.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let failure = damaged(&error);
                // Where nobody takes it, there is an error already.
                let _ = full.send(Err(error));
                return Err(failure);
            }
            Ok(read) => read,
        };
        given += read as u64;
        if read == 0 || given > UNSUSPICIOUS && given / ratio > taken.get() {
            return Ok(read == 0);
        }
        if full.send(Ok(Piece { bytes, length: read })).is_err() {
            return if given > taken.get() { rest(decoder).map(|()| true) } else { Ok(true) };
        }
    }
}

/// A buffer, and how much of it is filled.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    length: usize,
}

/// What comes out, in the other thread.
pub struct Pieces {
    take: Receiver<io::Result<Piece>>,
    give: Sender<Vec<u8>>,
    piece: Piece,
    at: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.length {
            let Ok(next) = self.take.recv() else { return Ok(&[]) };
            let done = std::mem::replace(&mut self.piece, next?);
            self.at = 0;
            if !done.bytes.is_empty() {
                // At the end nobody wants it back.
                let _ = self.give.send(done.bytes);
            }
        }
        Ok(&self.piece.bytes[self.at..self.piece.length])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

struct Counted<'a, R> {
    source: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(length: usize) -> Vec<u8> {
        vec![0; length]
    }

    #[test]
    fn all_of_it_comes_out_in_order() {
        let length = decoded(&tar(3_000_000)[..], 1, |mut pieces| {
            let mut all = Vec::new();
            pieces.read_to_end(&mut all).tried(|| "read")?;
            Ok(all.len())
        });
        assert_eq!(length.expect("no error"), 3_000_000);
    }

    #[test]
    fn a_worker_that_stops_early_stops_it_all() {
        let start = tar(1024);
        let failure = decoded(start.chain(io::repeat(0)), 1, |mut pieces| -> Result<(), Failure> {
            pieces.read_exact(&mut [0; 10]).tried(|| "read")?;
            Err(Failure::new("enough"))
        });
        assert!(failure.expect_err("it failed").lines("t").contains("enough"));
    }

    /// A slow server's, of which more comes when nobody takes it any more.
    struct Slow<'a> {
        start: &'a [u8],
        refused: Receiver<()>,
        more: &'a Cell<usize>,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.start.is_empty() {
                let _ = self.refused.recv();
                self.more.set(self.more.get() + buffer.len());
                return Ok(buffer.len());
            }
            self.start.read(buffer)
        }
    }

    /// Only behind what is compressed is there a sum that could say why.
    #[test]
    fn what_is_refused_is_not_waited_for() {
        let (more, tar) = (Cell::new(0), tar(PIECE));
        let (refuse, refused) = channel();
        let slow = Slow { start: &tar, refused, more: &more };
        let failure = decoded(slow, 1, move |mut pieces| -> Result<(), Failure> {
            pieces.read_exact(&mut [0; 10]).tried(|| "read")?;
            drop((pieces, refuse));
            Err(Failure::new("enough"))
        });
        assert!(failure.expect_err("it failed").lines("t").contains("enough"));
        assert!(more.get() <= 2 * PIECE, "{more:?}");
    }

    #[test]
    fn what_grows_too_much_is_stopped() {
        let zeroes = zstd::encode_all(io::repeat(0).take(UNSUSPICIOUS * 2), 1).expect("in memory");
        let read = |ratio| {
            decoded(&zeroes[..], ratio, |mut pieces| {
                io::copy(&mut pieces, &mut io::sink()).tried(|| "read")
            })
        };
        assert!(read(100).expect_err("a bomb").lines("t").contains("hint: --max-ratio"));
        assert_eq!(read(u64::MAX).expect("it is allowed"), UNSUSPICIOUS * 2);
    }
}
