//! The 512 bytes before each entry of a tar archive, as POSIX (ustar), GNU and old V7 write them.

use common::Failure;

use crate::entry::{Kind, quoted};

/// An archive is made of blocks of this size.
pub const BLOCK: usize = 512;

/// What a header is of, by its type flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Entry(Kind),
    /// A folder, with a list of what was in it: for incremental backups by GNU tar.
    Listing,
    /// GNU's old form of a file with holes.
    Sparse,
    /// The next entry's name, or link target, which is too long for its header.
    LongName,
    LongLink,
    /// Attributes of the next entry, or of all that follow.
    Pax,
    PaxGlobal,
    /// A label for the volume: nothing to extract.
    Label,
}

/// A header, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub role: Role,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: i64,
    pub device: (u64, u64),
}

impl Header {
    /// Reads a block; `None` for one of zeroes, which ends an archive.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, Failure> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let name = text(&block[..100]);
        let fail = |what: &str| Failure::new(format!("read the entry {}: {what}", quoted(name)));
        let sum = octal(&block[148..156]).and_then(|sum| i64::try_from(sum).ok());
        if sum.is_none_or(|sum| !sums(block).contains(&sum)) {
            return Err(fail("its checksum is wrong").hint(
                "it is damaged, or no tar archive: fetch it again, and compare its --sha256",
            ));
        }
        let field = |from: usize, to: usize, what: &str| {
            number(&block[from..to]).ok_or_else(|| fail(&format!("its {what} is no number")))
        };
        let positive = |from, to, what: &str| {
            u64::try_from(field(from, to, what)?)
                .map_err(|_| fail(&format!("its {what} is negative")))
        };
        // Without a magic number, as of old, what follows the link's target means nothing.
        let v7 = &block[257..262] != b"ustar";
        let ustar = &block[257..263] == b"ustar\0";
        let prefix = if ustar { text(&block[345..500]) } else { b"" };
        let mut full = Vec::with_capacity(256);
        if !prefix.is_empty() {
            full.extend_from_slice(prefix);
            full.push(b'/');
        }
        full.extend_from_slice(name);
        let flag = block[156];
        Ok(Some(Self {
            role: role(flag).ok_or_else(|| {
                fail(&format!("nothing is known of its type {:?}", char::from(flag)))
            })?,
            name: full,
            link: text(&block[157..257]).to_vec(),
            mode: u32::try_from(positive(100, 108, "mode")?)
                .map_err(|_| fail("its mode is too large"))?,
            uid: positive(108, 116, "user")?,
            gid: positive(116, 124, "group")?,
            size: positive(124, 136, "size")?,
            mtime: field(136, 148, "time")?,
            device: match v7 {
                true => (0, 0),
                false => (positive(329, 337, "device")?, positive(337, 345, "device")?),
            },
        }))
    }
}

fn role(flag: u8) -> Option<Role> {
    Some(match flag {
        0 | b'0' | b'7' => Role::Entry(Kind::File),
        b'1' => Role::Entry(Kind::HardLink),
        b'2' => Role::Entry(Kind::Symlink),
        b'3' => Role::Entry(Kind::CharDevice),
        b'4' => Role::Entry(Kind::BlockDevice),
        b'5' => Role::Entry(Kind::Folder),
        b'6' => Role::Entry(Kind::Fifo),
        b'D' => Role::Listing,
        b'S' => Role::Sparse,
        b'L' => Role::LongName,
        b'K' => Role::LongLink,
        // Solaris wrote the second before there was a standard.
        b'x' | b'X' => Role::Pax,
        b'g' => Role::PaxGlobal,
        b'V' => Role::Label,
        _ => return None,
    })
}

/// The sum of a header's bytes, its own field taken as spaces; and as some old programs made it,
/// for which a byte had a sign.
fn sums(block: &[u8; BLOCK]) -> [i64; 2] {
    let bytes = || {
        let field = 148..156;
        block
            .iter()
            .enumerate()
            .map(move |(at, byte)| if field.contains(&at) { b' ' } else { *byte })
    };
    [bytes().map(i64::from).sum(), bytes().map(|byte| i64::from(byte.cast_signed())).sum()]
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and NULs; an empty field is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let rest = &field[start..];
    let end = rest.iter().position(padding).unwrap_or(rest.len());
    rest[end..].iter().all(padding).then_some(())?;
    rest[..end].iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        sum.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

/// Octal digits, or GNU's big-endian two's complement for what does not fit, told by the top bit.
pub fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 == 0 {
        return i64::try_from(octal(field)?).ok();
    }
    let negative = first & 0x40 != 0;
    let start = if negative { -1 } else { 0 };
    let first = if negative { first | 0x80 } else { first & 0x7f };
    let start = i128::from(start) << 8 | i128::from(first);
    let value = rest
        .iter()
        .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i128::from(*byte)))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        for (field, wanted) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\0", Some(-512)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12x4", None),
            (b"1 2 ", None),
            (b"9", None),
            (b"", None),
        ] {
            assert_eq!(number(field), wanted, "{field:?}");
        }
    }

    #[test]
    fn zeroes_end_an_archive_and_rubbish_is_refused() {
        assert_eq!(Header::parse(&[0; BLOCK]).expect("zeroes are fine"), None);
        let lines = Header::parse(&[b'x'; BLOCK]).expect_err("no header").lines("t");
        assert!(lines.contains("its checksum is wrong\nhint: it is damaged"), "{lines}");
    }
}
