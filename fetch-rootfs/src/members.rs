//! Compressed streams one behind the other, as cat makes them of several files: all of them
//! together are one archive. Zeroes may follow, for tapes and some disks want whole blocks.

use std::io::{self, BufRead, Read};
use std::thread;

use liblzma::stream::MtStreamBuilder;

use common::{Failure, Tried};

/// What xz may take to decode: enough for xz -9 (64 MiB of dictionary), not for a bomb.
const XZ_MEMORY: u64 = 256 << 20;
/// What it may take to decode several blocks at once; otherwise it is one after the other. Two of
/// xz -6 take 120 MB.
const XZ_PARALLEL: u64 = 384 << 20;

/// zstd's window, as a power of two: its largest, of which only as much is used as is filled.
const ZSTD_WINDOW: u32 = 31;

/// A decoder of one stream, which leaves alone what is behind it.
pub trait Member: Read + Sized {
    type Input: BufRead;
    /// Whether one starts with this byte.
    fn starts(byte: u8) -> bool;
    fn start(input: Self::Input) -> io::Result<Self>;
    fn end(self) -> Self::Input;
}

/// One decoder after the other.
pub struct Members<D> {
    decoder: Option<D>,
}

impl<D: Member> Members<D> {
    pub fn of(input: D::Input) -> Result<Self, Failure> {
        let decoder = D::start(input).tried(|| "decode the archive")?;
        Ok(Self { decoder: Some(decoder) })
    }

    /// The decoder of what follows; `None` at the end.
    fn after(ended: D) -> io::Result<Option<D>> {
        let mut input = ended.end();
        loop {
            let there = input.fill_buf()?;
            let zeroes = there.iter().take_while(|byte| **byte == 0).count();
            match there.get(zeroes) {
                Some(first) if D::starts(*first) => {
                    input.consume(zeroes);
                    return D::start(input).map(Some);
                }
                Some(_) => return Err(io::Error::other("what follows its end is not compressed")),
                None if zeroes == 0 => return Ok(None),
                None => input.consume(zeroes),
            }
        }
    }
}

impl<D: Member> Read for Members<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.decoder = self.decoder.take().map_or(Ok(None), Self::after)?;
        }
        Ok(0)
    }
}

impl<R: BufRead> Member for flate2::bufread::GzDecoder<R> {
    type Input = R;

    fn starts(byte: u8) -> bool {
        byte == 0x1f
    }

    fn start(input: R) -> io::Result<Self> {
        Ok(Self::new(input))
    }

    fn end(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> Member for bzip2::bufread::BzDecoder<R> {
    type Input = R;

    fn starts(byte: u8) -> bool {
        byte == b'B'
    }

    fn start(input: R) -> io::Result<Self> {
        Ok(Self::new(input))
    }

    fn end(self) -> R {
        self.into_inner()
    }
}

/// Blocks of which the header says how long they are are decoded by several threads.
pub struct Xz<R>(liblzma::bufread::XzDecoder<R>);

impl<R: BufRead> Member for Xz<R> {
    type Input = R;

    fn starts(byte: u8) -> bool {
        byte == 0xfd
    }

    fn start(input: R) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        let stream = MtStreamBuilder::new()
            .threads(u32::try_from(threads).unwrap_or(1))
            .memlimit_threading(XZ_PARALLEL)
            .memlimit_stop(XZ_MEMORY)
            .decoder()?;
        Ok(Self(liblzma::bufread::XzDecoder::new_stream(input, stream)))
    }

    fn end(self) -> R {
        self.0.into_inner()
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            match inner {
                Some(liblzma::stream::Error::MemLimit) => {
                    let most = common::size::human(XZ_MEMORY);
                    let why = format!("it takes more than {most} of memory to decode");
                    io::Error::new(io::ErrorKind::OutOfMemory, why)
                }
                _ => error,
            }
        })
    }
}

/// A frame of lz4.
pub struct Lz4<R: BufRead>(lz4_flex::frame::FrameDecoder<Whole<R>>);

/// For the crate's decoder, a frame that is cut off between two blocks just ends; so its input
/// never ends, and to ask for more is an error.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::Error::other("it ends too early")),
            read => Ok(read),
        }
    }
}

impl<R: BufRead> Member for Lz4<R> {
    type Input = R;

    fn starts(byte: u8) -> bool {
        byte == 0x04
    }

    fn start(input: R) -> io::Result<Self> {
        Ok(Self(lz4_flex::frame::FrameDecoder::new(Whole(input))))
    }

    fn end(self) -> R {
        self.0.into_inner().0
    }
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A frame of zstd, or one that is to be passed over, as pzstd puts it before each.
pub struct Zstd<R: BufRead>(zstd::stream::read::Decoder<'static, R>);

impl<R: BufRead> Member for Zstd<R> {
    type Input = R;

    fn starts(byte: u8) -> bool {
        matches!(byte, 0x28 | 0x50..=0x5f)
    }

    fn start(input: R) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(ZSTD_WINDOW)?;
        Ok(Self(decoder))
    }

    fn end(self) -> R {
        self.0.finish()
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
