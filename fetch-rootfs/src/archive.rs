//! An archive that has been decompressed: tar or cpio, told by its first bytes.

use std::io::{self, BufRead, Cursor, Read};

use common::{Failure, Tried};
use nix::errno::Errno;

use crate::entry::Entry;
use crate::{cpio, tar};

/// A source of bytes.
pub type Bytes<'a> = Box<dyn BufRead + 'a>;

/// The entries of an archive one after the other; reading from it gives an entry's data.
pub trait Entries: BufRead {
    /// The next entry; `None` after the last. What was not read of the one before is passed over.
    fn next(&mut self) -> Result<Option<Entry>, Failure>;

    /// All that comes, whatever it is.
    fn input(&mut self) -> &mut dyn BufRead;

    /// What comes after the archive's end: nothing that matters, but it has to be read.
    fn drain(&mut self, most: u64) -> Result<(), Failure> {
        let read = io::copy(&mut self.input().take(most), &mut io::sink());
        if read.tried(|| "read the archive to its end")? == most {
            return Err(Failure::new("read the archive to its end: far too much comes after it"));
        }
        Ok(())
    }
}

pub fn open<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn Entries + 'a>, Failure> {
    let mut head = Vec::new();
    let enough = cpio::HEADER as u64;
    input.by_ref().take(enough).read_to_end(&mut head).map_err(|error| read_failure(&error))?;
    let cpio = cpio::is_header(&head);
    let whole: Bytes = Box::new(Cursor::new(head).chain(input));
    Ok(match cpio {
        true => Box::new(cpio::Reader::new(whole)),
        false => Box::new(tar::Reader::new(whole)),
    })
}

/// `read` of what has a buffer of its own.
pub fn read_buffered(source: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let there = source.fill_buf()?;
    let read = there.len().min(buffer.len());
    buffer[..read].copy_from_slice(&there[..read]);
    source.consume(read);
    Ok(read)
}

/// The data of one entry, and the padding behind them.
pub struct Data<R> {
    pub input: R,
    left: u64,
    padding: u64,
}

impl<R: BufRead> Data<R> {
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0 }
    }

    /// So many bytes, and nothing up to the next multiple of `unit`.
    pub fn expect(&mut self, size: u64, unit: u64) {
        (self.left, self.padding) = (size, size.next_multiple_of(unit) - size);
    }

    /// Passes over what was not read.
    pub fn skip(&mut self) -> Result<(), Failure> {
        let mut size = self.left + self.padding;
        while size > 0 {
            let there = self.input.fill_buf().map_err(|error| read_failure(&error))?.len();
            if there == 0 {
                return Err(truncated());
            }
            let step = usize::try_from(size).unwrap_or(usize::MAX).min(there);
            self.input.consume(step);
            size -= step as u64;
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: BufRead> Read for Data<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl<R: BufRead> BufRead for Data<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let there = self.input.fill_buf()?;
        match usize::try_from(self.left).unwrap_or(usize::MAX).min(there.len()) {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            most => Ok(&there[..most]),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.left -= amount as u64;
    }
}

pub const INCOMPLETE: &str = "it is incomplete: fetch it again, and compare its --sha256";

/// It is shorter than it says.
pub fn truncated() -> Failure {
    Failure::new("read the archive: it ends too early").hint(INCOMPLETE)
}

/// A source that ends where more was promised, or a decoder's complaint.
pub fn read_failure(error: &io::Error) -> Failure {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof, _) => truncated(),
        (_, Some(number)) => Failure::errno("read the archive", Errno::from_raw(number)),
        (io::ErrorKind::OutOfMemory, _) => Failure::new(format!("read the archive: {error}"))
            .hint("xz -dc FILE | fetch-rootfs - DIR, if you trust its maker"),
        _ => Failure::new(format!("read the archive: {error}")),
    }
}
