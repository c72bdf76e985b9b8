//! What a file holds.

use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};

use common::{Failure, Tried};

use super::tried;
use crate::archive::INCOMPLETE;
use crate::entry::{Entry, quoted};

/// Copies the data; where they have holes, so has the file.
pub fn fill(entry: &Entry, file: &mut File, data: &mut impl BufRead) -> Result<(), Failure> {
    let Some(holes) = &entry.holes else { return copy(entry, file, data, entry.size) };
    let failed = || tried(entry, "write the file");
    for (start, size) in holes.parts.iter().filter(|(_, size)| *size > 0) {
        file.seek(SeekFrom::Start(*start)).tried(failed)?;
        copy(entry, file, data, *size)?;
    }
    file.set_len(holes.length).tried(failed)
}

fn copy(entry: &Entry, file: &mut File, data: &mut impl BufRead, size: u64) -> Result<(), Failure> {
    each(entry, data, size, |part| file.write_all(part).tried(|| tried(entry, "write the file")))
}

/// Gives so many bytes of an entry to `take`, part by part as they are there.
pub fn each(
    entry: &Entry,
    data: &mut impl BufRead,
    mut size: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while size > 0 {
        let there = match data.fill_buf() {
            Ok(there) if !there.is_empty() => there,
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(error).tried(|| format!("extract {}", quoted(&entry.name)));
            }
            _ => return Err(entry.failure("the archive ends too early").hint(INCOMPLETE)),
        };
        let most = usize::try_from(size).unwrap_or(usize::MAX).min(there.len());
        take(&there[..most])?;
        data.consume(most);
        size -= most as u64;
    }
    Ok(())
}
