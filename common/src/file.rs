//! What a file is, and what is in it, if the kernel makes that up as it is read: such a file says that
//! it is empty, from which Rust's own `read_to_string` concludes that a few bytes at a time will do.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag};

/// Whether it is a folder (`S_IFDIR`), a link (`S_IFLNK`) or whatever is asked.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

/// Whether both are one file.
pub fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// What fits into this is read at once.
const USUAL: usize = 4096;

/// The whole text of a file.
pub fn text(file: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(USUAL);
    endless(file)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The whole of a file that is perhaps no text.
pub fn bytes(file: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    endless(file)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What stands in a line behind its name, as `NSpid:`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// A file that is not asked for its size.
fn endless(file: impl AsRef<Path>) -> io::Result<impl Read> {
    Ok(File::open(file)?.take(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_files_are_read_to_their_end() {
        for size in [0, 1, USUAL - 1, USUAL, USUAL + 1, 40 * USUAL] {
            let file = std::env::temp_dir().join(format!("file-{}", std::process::id()));
            std::fs::write(&file, vec![b'x'; size]).expect("a temporary file");
            let (text, bytes) = (text(&file), bytes(&file));
            std::fs::remove_file(&file).expect("it was just made");
            assert_eq!((text.expect("text").len(), bytes.expect("bytes").len()), (size, size));
        }
        assert_eq!(text("/proc/self/comm").expect("proc").lines().count(), 1);
    }
}
