//! The names in an archive, for the next program: one a line, as `tar --list` writes them.

use std::io::{self, BufRead, Write};

use common::{Failure, Tried};

use crate::archive::Archive;
use crate::cli::Rules;
use crate::limits::Limits;

/// Prints them as they come; what is left out is not among them.
pub fn list(input: impl BufRead, rules: &Rules) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut archive, mut limits) = (Archive::open(input)?, Limits::default());
    while let Some(entry) = archive.next()? {
        limits.count(&entry, rules)?;
        limits.add(&entry, rules)?;
        if !rules.names.excludes(&entry.name) {
            written(out.write_all(&escaped(&entry.name)))?;
        }
    }
    archive.drain(rules.max_size)?;
    written(out.flush())
}

/// A reader that has gone away is no failure, and the archive is still read to its end.
fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).tried(|| "write to standard output")
        }
        _ => Ok(()),
    }
}

/// A line: a backslash before itself and before what would be something else on a terminal.
fn escaped(name: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len() + 1);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let letter = match character {
                '\\' => Some('\\'),
                '\x07' => Some('a'),
                '\x08' => Some('b'),
                '\t' => Some('t'),
                '\n' => Some('n'),
                '\x0b' => Some('v'),
                '\x0c' => Some('f'),
                '\r' => Some('r'),
                _ => None,
            };
            match letter {
                Some(letter) => line.extend([b'\\', letter as u8]),
                None if character.is_control() => {
                    octal(character.to_string().as_bytes(), &mut line);
                }
                None => line.extend(character.to_string().into_bytes()),
            }
        }
        octal(chunk.invalid(), &mut line);
    }
    line.push(b'\n');
    line
}

fn octal(bytes: &[u8], line: &mut Vec<u8>) {
    for byte in bytes {
        line.extend(format!("\\{byte:03o}").into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line() {
        for (name, line) in [
            (&b"etc/passwd"[..], &b"etc/passwd\n"[..]),
            (b"a\nb\\c\x1b[2J\x7f", b"a\\nb\\\\c\\033[2J\\177\n"),
            (b"\xc3\xa9\xff", b"\xc3\xa9\\377\n"),
            (b"\xc2\x9b", b"\\302\\233\n"),
        ] {
            assert_eq!(escaped(name), line, "{:?}", String::from_utf8_lossy(name));
        }
    }
}
