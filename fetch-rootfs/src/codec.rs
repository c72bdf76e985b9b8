//! How an archive is compressed: told by its first bytes, for a name says nothing for sure, and a
//! pipe has none.

use std::io::{BufReader, Cursor, Read};

use bzip2::bufread::BzDecoder;
use common::{Failure, Tried};

use crate::cpio;
use crate::members::{Lz4, Members, Xz, Zstd};

const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// The decoders read from the source in pieces of this size.
const PIECE: usize = 128 * 1024;
/// A tar header. The magic numbers are in its first bytes; old tars have only its sum to tell them.
const HEAD: u64 = 512;

/// Wraps the source in its decoder.
pub fn decoder<'a>(mut source: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Failure> {
    // One read(2) of a pipe gives what is in it, which may be a single byte.
    let mut head = Vec::new();
    source.by_ref().take(HEAD).read_to_end(&mut head).tried(|| "read the source")?;
    let source = Cursor::new(head.clone()).chain(BufReader::with_capacity(PIECE, source));
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(Members::<flate2::bufread::GzDecoder<_>>::of(source)?),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(Members::<Xz<_>>::of(source)?),
        head if head.starts_with(&LZ4) => Box::new(Members::<Lz4<_>>::of(source)?),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Members::<Zstd<_>>::of(source)?)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(Members::<BzDecoder<_>>::of(source)?),
        head if is_tar(head) || cpio::is_header(head) => Box::new(source),
        head => return Err(unknown(head)),
    })
}

pub fn is_lz4(mut source: impl Read) -> bool {
    let mut head = [0; 4];
    source.read_exact(&mut head).is_ok() && head == LZ4
}

/// ustar and GNU have a magic number; what old tars write has but a checksum, which the reader
/// checks, and a name that is text.
fn is_tar(head: &[u8]) -> bool {
    let magic = head.get(257..262) == Some(b"ustar");
    let old =
        head.len() == 512 && head[148..156].iter().all(|b| matches!(b, b'0'..=b'7' | b' ' | 0));
    let end = head.len() == 512 && head.iter().all(|byte| *byte == 0);
    magic || end || old && head[0] != 0 && head[148..156].iter().any(u8::is_ascii_digit)
}

fn unknown(head: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(head).trim_start().to_lowercase();
    let what = if head.is_empty() {
        "it is empty"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "it is a web page"
    } else if text.starts_with("version https://git-lfs") {
        "it is a pointer of git-lfs, not the file itself"
    } else if head.starts_with(b"PK\x03\x04") {
        "it is a zip archive"
    } else if head.starts_with(b"070707") || head.starts_with(&[0xc7, 0x71]) {
        "it is a cpio archive in its old form (newc is the one that can be read)"
    } else {
        "it is no tar archive (nor cpio, newc), plain or by gzip, xz, zstd, bzip2 or lz4"
    };
    Failure::new(format!("read the archive: {what}"))
        .hint("see what it is: head -c 300 FILE; a URL must lead to the archive itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        decoder(bytes).err().expect("no archive").lines("t")
    }

    #[test]
    fn what_is_no_archive_is_told_by_what_it_is() {
        for (bytes, why) in [
            (&b""[..], "it is empty"),
            (b"\n<!DOCTYPE html><html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
            (b"PK\x03\x04", "a zip archive"),
            (b"hello", "no tar archive"),
        ] {
            assert!(refused(bytes).contains(why), "{}", refused(bytes));
        }
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut encoder, bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn read(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(bytes).expect("an archive").read_to_end(&mut out).map(|_| out)
    }

    /// As a slow pipe gives it: one piece, and what is left with the next read.
    struct Split<'a>(&'a [u8], &'a [u8]);

    impl Read for Split<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                self.0 = std::mem::take(&mut self.1);
            }
            self.0.read(buffer)
        }
    }

    #[test]
    fn the_first_piece_may_be_of_any_size() {
        let tar = [&[b'a'; 100][..], &[0; 157], b"ustar", &[0; 762]].concat();
        let gzip = {
            let mut packed = Vec::new();
            let level = flate2::Compression::fast();
            flate2::read::GzEncoder::new(&tar[..], level)
                .read_to_end(&mut packed)
                .expect("in memory");
            packed
        };
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&tar[..], 1).read_to_end(&mut xz).expect("in memory");
        let mut bzip2 = Vec::new();
        let best = bzip2::Compression::best();
        bzip2::read::BzEncoder::new(&tar[..], best).read_to_end(&mut bzip2).expect("in memory");
        let zstd = zstd::encode_all(&tar[..], 1).expect("in memory");
        for bytes in [tar.clone(), gzip, xz, bzip2, zstd, lz4(&tar)] {
            for cut in [1, 2, 3, 5, 100, 511, 512, 513].into_iter().filter(|cut| *cut < bytes.len())
            {
                let mut out = Vec::new();
                let (first, rest) = bytes.split_at(cut);
                let decoded = decoder(Split(first, rest));
                let decoded = decoded.map_err(|failure| failure.lines("t"));
                let mut decoded = decoded.unwrap_or_else(|why| panic!("cut at {cut}: {why}"));
                decoded.read_to_end(&mut out).expect("it is whole");
                assert!(out == tar, "{:?} cut at {cut}", &bytes[..2]);
            }
        }
    }

    #[test]
    fn one_behind_the_other_zeroes_at_the_end_and_what_is_cut_off() {
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&[1u8; 1024][..], 1).read_to_end(&mut xz).expect("in memory");
        let mut gzip = Vec::new();
        let level = flate2::Compression::fast();
        flate2::read::GzEncoder::new(&[1u8; 1024][..], level)
            .read_to_end(&mut gzip)
            .expect("in memory");
        let zstd = zstd::encode_all(&[1u8; 1024][..], 1).expect("in memory");
        let mut bzip2 = Vec::new();
        bzip2::read::BzEncoder::new(&[1u8; 1024][..], bzip2::Compression::fast())
            .read_to_end(&mut bzip2)
            .expect("in memory");
        for one in [xz, gzip, zstd, bzip2, lz4(&[1; 1024])] {
            let two = [&one[..], &one, &[0; 700]].concat();
            assert_eq!(read(&two).expect("whole"), [1; 2048], "{:?}", &one[..2]);
            for cut in 8..one.len() {
                assert!(read(&one[..cut]).is_err(), "{:?} cut at {cut}", &one[..2]);
            }
            assert!(read(&[&one[..], b"rubbish"].concat()).is_err(), "{:?}", &one[..2]);
        }
    }

    /// The size of a block's dictionary is a byte of its header: a few bytes ask for a gigabyte.
    #[test]
    fn a_dictionary_has_an_end_and_the_way_round_it_is_told() {
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&[1u8; 1024][..], 1).read_to_end(&mut xz).expect("in memory");
        let header = 12..12 + (usize::from(xz[12]) + 1) * 4 - 4;
        assert_eq!(xz[14..16], [0x21, 1], "LZMA2 and a byte");
        for (byte, read) in [(30, true), (36, false), (40, false)] {
            xz[16] = byte;
            let mut crc = flate2::Crc::new();
            crc.update(&xz[header.clone()]);
            xz[header.end..header.end + 4].copy_from_slice(&crc.sum().to_le_bytes());
            match self::read(&xz) {
                Ok(bytes) => assert!(read && bytes == [1; 1024], "{byte}"),
                Err(error) => {
                    let lines = crate::archive::read_failure(&error).lines("t");
                    assert!(!read && lines.contains("more than 256 MiB"), "{byte}: {lines}");
                    assert!(lines.contains("\nhint: xz -dc "), "{lines}");
                }
            }
        }
    }

    #[test]
    fn the_formats_are_told_by_content() {
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&[0u8; 1024][..], 1).read_to_end(&mut xz).expect("in memory");
        let zstd = zstd::encode_all(&[0u8; 1024][..], 1).expect("in memory");
        let lz4 = lz4(&[0; 1024]);
        for bytes in [xz, zstd, lz4, vec![0; 1024]] {
            let mut out = Vec::new();
            decoder(&bytes[..]).expect("an archive").read_to_end(&mut out).expect("it is whole");
            assert_eq!(out, [0; 1024]);
        }
    }
}
