//! The maps of files with holes: which parts of a file are in the archive. GNU tar writes them in
//! four forms; in pax's headers they are called 0.0, 0.1 and 1.0.
//!
//! A map is all that an archive has of a hole, so a short one can ask for a huge file, and a long
//! one for much memory: the first is for the limit on sizes, the second is refused here.

use std::io::{self, Read};

use super::header::{BLOCK, number};
use crate::entry::Holes;

/// What GNU tar writes of a heavily fragmented file is some thousands.
const MOST: usize = 1 << 16;
/// The blocks that so many parts take in GNU's old form, 21 in each.
const BLOCKS: usize = MOST / 21 + 1;

/// Collects the parts, each behind the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<(u64, u64)>);

impl Map {
    /// `None` where it goes back, beyond what a file can be, or on and on. In pax 0.0 there is a header's
    /// record for each number, OFFSET before SIZE.
    pub fn push(&mut self, start: u64, size: u64) -> Option<()> {
        let after = self.0.last().map_or(0, |(start, size)| start + size);
        let end = start.checked_add(size).filter(|end| i64::try_from(*end).is_ok());
        (start >= after && end.is_some() && self.0.len() < MOST).then(|| self.0.push((start, size)))
    }

    /// As the map of a file of this length, of which so many bytes are in the archive.
    pub fn of(self, length: u64, data: u64) -> Option<Holes> {
        let end = self.0.last().map_or(0, |(start, size)| start + size);
        let sum: u64 = self.0.iter().map(|(_, size)| size).sum();
        (end <= length && sum == data).then_some(Holes { parts: self.0, length })
    }

    /// GNU's old form: four parts in the header, 21 in each block that continues it. The length
    /// is there, too.
    pub fn old(
        header: &[u8; BLOCK],
        mut next: impl FnMut() -> io::Result<[u8; BLOCK]>,
    ) -> io::Result<Option<(Self, u64)>> {
        let at = |field: &[u8]| number(field).and_then(|n| u64::try_from(n).ok());
        let mut map = Self::default();
        let mut add = |fields: &[u8]| {
            let mut parts = fields.chunks_exact(24).filter(|part| part[0] != 0);
            parts.try_for_each(|part| map.push(at(&part[..12])?, at(&part[12..])?))
        };
        let mut sane = add(&header[386..482]);
        let mut more = header[482] != 0;
        for count in 0.. {
            if !more || sane.is_none() {
                break;
            }
            let block = next()?;
            sane = add(&block[..504]).filter(|()| count < BLOCKS);
            more = block[504] != 0;
        }
        Ok(sane.and_then(|()| Some((map, at(&header[483..495])?))))
    }

    /// pax 0.1: `OFFSET,SIZE,OFFSET,SIZE` in a header.
    pub fn listed(text: &[u8]) -> Option<Self> {
        let mut map = Self::default();
        let mut numbers = text.split(|byte| *byte == b',');
        while let Some(start) = numbers.next() {
            map.push(super::pax::decimal(start)?, super::pax::decimal(numbers.next()?)?)?;
        }
        Some(map)
    }

    /// pax 1.0: lines of digits before the data, how many parts first; then the rest of a block.
    /// Says how many bytes that was.
    pub fn before_data(data: &mut impl Read) -> io::Result<Option<(Self, u64)>> {
        let mut read = 0;
        let Some(parts) = line(data, &mut read)?.filter(|parts| *parts <= MOST as u64) else {
            return Ok(None);
        };
        let mut map = Self::default();
        for _ in 0..parts {
            let both = (line(data, &mut read)?, line(data, &mut read)?);
            let (Some(start), Some(size)) = both else { return Ok(None) };
            if map.push(start, size).is_none() {
                return Ok(None);
            }
        }
        let padding = read.next_multiple_of(BLOCK as u64) - read;
        io::copy(&mut data.by_ref().take(padding), &mut io::sink())?;
        Ok(Some((map, read + padding)))
    }
}

/// A number and the end of its line; `None` if it is none.
fn line(data: &mut impl Read, read: &mut u64) -> io::Result<Option<u64>> {
    const DIGITS: usize = 20;
    let mut digits = Vec::with_capacity(DIGITS);
    let mut byte = [0];
    while digits.len() <= DIGITS {
        if data.read(&mut byte)? == 0 {
            return Ok(None);
        }
        *read += 1;
        match byte {
            [b'\n'] => return Ok(super::pax::decimal(&digits)),
            [digit] => digits.push(digit),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn before(text: &[u8]) -> Option<(Map, u64)> {
        Map::before_data(&mut &text[..]).expect("in memory")
    }

    #[test]
    fn the_forms_of_pax() {
        let parts = vec![(0, 512), (4096, 10), (9000, 0)];
        let map = Map::listed(b"0,512,4096,10,9000,0").expect("a map");
        assert_eq!(map.clone().of(9000, 522).map(|holes| holes.parts), Some(parts.clone()));
        assert!(map.clone().of(8999, 522).is_none() && map.of(9000, 521).is_none());
        let mut text = b"3\n0\n512\n4096\n10\n9000\n0\n".to_vec();
        text.resize(600, 0);
        assert_eq!(before(&text), Some((Map(parts), 512)));
        assert_eq!(before(b"0\n"), Some((Map::default(), 512)));
    }

    #[test]
    fn maps_that_make_no_sense_or_are_huge() {
        for text in ["", "1", "1,2,3", "5,1,4,1", "x,1", "-1,1", "9223372036854775807,1", "0,1,,"] {
            assert_eq!(Map::listed(text.as_bytes()), None, "{text:?}");
        }
        for text in
            ["", "\n", "1\n0\n", "99999999\n", "18446744073709551616\n", "1\n0\nx\n", "-1\n"]
        {
            assert_eq!(before(text.as_bytes()), None, "{text:?}");
        }
        let zeroes = b"0,0,".repeat(MOST);
        assert!(Map::listed(&zeroes[..zeroes.len() - 1]).is_some());
        assert_eq!(Map::listed(&[&zeroes[..], b"0,0"].concat()), None);
    }

    #[test]
    fn blocks_of_gnus_old_form_have_an_end() {
        let mut header = [0; BLOCK];
        header[482] = 1;
        let mut count = 0;
        let endless = Map::old(&header, || {
            count += 1;
            let mut block = [0; BLOCK];
            block[504] = 1;
            Ok(block)
        });
        assert_eq!(endless.expect("no error"), None);
        assert!(count <= BLOCKS + 1, "{count}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(gaps in prop::collection::vec((0u64..5000, 0u64..5000), 0..50)) {
            let mut end = 0;
            let mut parts = Vec::new();
            for (gap, size) in gaps {
                parts.push((end + gap, size));
                end += gap + size;
            }
            let numbers: Vec<String> =
                parts.iter().flat_map(|(a, b)| [a.to_string(), b.to_string()]).collect();
            if !parts.is_empty() {
                prop_assert_eq!(Map::listed(numbers.join(",").as_bytes()), Some(Map(parts.clone())));
            }
            let text = format!("{}\n{}\n", parts.len(), numbers.join("\n"));
            let text = if parts.is_empty() { "0\n".to_owned() } else { text };
            let padded = text.len().next_multiple_of(BLOCK);
            let text = [text.as_bytes(), &vec![0; padded - text.len()]].concat();
            prop_assert_eq!(before(&text), Some((Map(parts), padded as u64)));
        }
    }
}
