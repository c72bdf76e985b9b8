//! What is in an archive, for the next program: its names one a line, as `tar --list` writes them,
//! or an object of JSON for each. Of an image it is what its layers come to.

mod tree;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Failure, Tried};
use serde_json::{Map, Value, json};

use crate::archive;
use crate::cli::Rules;
use crate::entry::{Entry, Kind};
use crate::limits::{Entries, Limits};
use crate::oci::Target;
use tree::Tree;

/// Writes entries: to standard output, or to where they wait until the archive is verified.
pub struct List<'a> {
    out: BufWriter<Box<dyn Write + Send>>,
    rules: &'a Rules,
    json: bool,
    limits: Limits,
    tree: Tree,
}

impl<'a> List<'a> {
    pub fn new(to: Option<File>, rules: &'a Rules, json: bool) -> Self {
        let out: Box<dyn Write + Send> = match to {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout()),
        };
        let (limits, tree) = (Limits::default(), Tree::default());
        Self { out: BufWriter::new(out), rules, json, limits, tree }
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Failure> {
        let line = match self.json {
            true => format!("{}\n", object(entry)).into_bytes(),
            false => escaped(&entry.name),
        };
        written(self.out.write_all(&line))
    }
}

impl Target for List<'_> {
    /// Entries are told as they come; what is left out is not among them.
    fn plain(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let mut archive = archive::open(input)?;
        while let Some(entry) = archive.next()? {
            self.limits.count(&entry, self.rules)?;
            self.limits.add(&entry, self.rules)?;
            if !self.rules.names.excludes(&entry.name) {
                self.write(&entry)?;
            }
        }
        archive.drain(self.rules.max_size)?;
        written(self.out.flush())
    }

    fn layer(&mut self, input: impl Read) -> Result<(), Failure> {
        self.tree.next_layer();
        let mut archive = archive::open(BufReader::with_capacity(1 << 17, input))?;
        while let Some(entry) = archive.next()? {
            self.limits.count(&entry, self.rules)?;
            if let Some(entry) = self.rules.names.wanted(entry) {
                self.limits.add(&entry, self.rules)?;
                self.tree.take(entry, self.rules, &mut self.limits)?;
            }
        }
        archive.drain(self.rules.max_size)
    }

    fn end(&mut self) -> Result<(), Failure> {
        std::mem::take(&mut self.tree).each(|entry| self.write(&entry))?;
        written(self.out.flush())
    }

    fn rules(&self) -> &Rules {
        self.rules
    }

    fn counter(&self) -> Entries {
        self.limits.counter()
    }
}

/// What waited: all of it was verified.
pub fn print(mut waiting: &File) -> Result<(), Failure> {
    use std::io::Seek;
    waiting.rewind().tried(|| "read the list again")?;
    written(io::copy(&mut waiting, &mut io::stdout()).map(drop))
}

/// All that an archive says of an entry but its attributes. The mode is octal, as chmod(1) has it.
fn object(entry: &Entry) -> Value {
    let mut object = Map::new();
    let mut text = |key: &str, bytes: &[u8]| {
        object.insert(key.into(), String::from_utf8_lossy(bytes).into());
        if std::str::from_utf8(bytes).is_err() {
            object.insert(format!("{key}_base64"), STANDARD.encode(bytes).into());
        }
    };
    text("name", &entry.name);
    if matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
        text("link", &entry.link);
    }
    let mut more = |key: &str, value: Value| drop(object.insert(key.into(), value));
    more("type", kind(entry.kind).into());
    more("mode", format!("{:04o}", entry.mode & 0o7777).into());
    more("uid", entry.uid.into());
    more("gid", entry.gid.into());
    more("size", entry.length().into());
    more("mtime", entry.mtime.0.into());
    more("mtime_nsec", entry.mtime.1.into());
    if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
        more("device", json!([entry.device.0, entry.device.1]));
    }
    Value::Object(object)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::HardLink => "hard link",
        Kind::Symlink => "symbolic link",
        Kind::CharDevice => "character device",
        Kind::BlockDevice => "block device",
        Kind::Folder => "directory",
        Kind::Fifo => "fifo",
    }
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
