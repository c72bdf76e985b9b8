//! What the kernel and the loader read of a program or a library, see `elf(5)`.
//!
//! Only what they read: the program headers, never the sections, which a file can do without.
//! Every number in the file may be a lie, so each is taken as far as the file itself bears it
//! out, and the sizes are bounded by what real files need.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

const LONGEST_NAME: usize = 4096; // PATH_MAX: a longer one can't be opened
const LONGEST_SEARCH_PATH: usize = 64 << 10;
const LARGEST_TABLE: u64 = 1 << 20;
const MOST_LIBRARIES: usize = 4096;

/// Word size, byte order and processor: a program and its libraries agree in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    wide: bool,
    big_endian: bool,
    machine: u16,
}

/// What an ELF file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// What it can be loaded together with.
    pub kind: Kind,
    /// The loader: `PT_INTERP`.
    pub interpreter: Option<PathBuf>,
    /// The libraries, as they are named: `DT_NEEDED`.
    pub needed: Vec<OsString>,
    /// Folders to search, for what it loads and what that loads: `DT_RPATH`.
    pub rpath: Option<OsString>,
    /// Folders to search, for what it loads itself: `DT_RUNPATH`.
    pub runpath: Option<OsString>,
}

/// Reads a file's headers. `None`: it is no ELF file.
pub fn read(file: &impl FileExt) -> io::Result<Option<Elf>> {
    let mut ident = [0; 20];
    match file.read_exact_at(&mut ident, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if !ident.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let (wide, big_endian) = match (ident[4], ident[5]) {
        (class @ (1 | 2), order @ (1 | 2)) => (class == 2, order == 2),
        _ => return Err(lie("it has an unknown word size or byte order")),
    };
    let machine = [ident[18], ident[19]];
    let machine =
        if big_endian { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    Image { file, kind: Kind { wide, big_endian, machine } }.read().map(Some)
}

/// A part of the file, and where it is when it has been loaded.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

struct Image<'a, F> {
    file: &'a F,
    kind: Kind,
}

impl<F: FileExt> Image<'_, F> {
    fn read(&self) -> io::Result<Elf> {
        let segments = self.segments()?;
        let find = |kind| segments.iter().find(|segment| segment.kind == kind);
        let mut elf = Elf {
            kind: self.kind,
            interpreter: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
        };
        if let Some(segment) = find(PT_INTERP) {
            elf.interpreter = Some(self.text(segment.offset, LONGEST_NAME)?.into());
        }
        if let Some(segment) = find(PT_DYNAMIC) {
            self.dynamic(segment, &segments, &mut elf)?;
        }
        Ok(elf)
    }

    fn segments(&self) -> io::Result<Vec<Segment>> {
        let header = self.bytes(0, if self.kind.wide { 64 } else { 52 })?;
        let (table, size, count) = if self.kind.wide {
            (self.number(&header, 32, 8), self.number(&header, 54, 2), self.number(&header, 56, 2))
        } else {
            (self.number(&header, 28, 4), self.number(&header, 42, 2), self.number(&header, 44, 2))
        };
        if count > 0 && size != if self.kind.wide { 56 } else { 32 } {
            return Err(lie("its program headers have an unknown size"));
        }
        let table = self.bytes(table, size * count)?;
        let size = usize::try_from(size.max(1)).map_err(|_| lie("too large"))?;
        Ok(table.chunks_exact(size).map(|header| self.segment(header)).collect())
    }

    fn segment(&self, header: &[u8]) -> Segment {
        let field = |narrow, wide| {
            if self.kind.wide {
                self.number(header, wide, 8)
            } else {
                self.number(header, narrow, 4)
            }
        };
        Segment {
            kind: self.number(header, 0, 4),
            offset: field(4, 8),
            address: field(8, 16),
            size: field(16, 32),
        }
    }

    /// The table of what the loader has to know. Its strings are given by their place in a string
    /// table, which is given by its address in memory.
    fn dynamic(&self, table: &Segment, segments: &[Segment], elf: &mut Elf) -> io::Result<()> {
        let word = if self.kind.wide { 8 } else { 4 };
        let bytes = self.bytes(table.offset, table.size)?;
        let entries: Vec<(u64, u64)> = bytes
            .chunks_exact(2 * word)
            .map(|entry| (self.number(entry, 0, word), self.number(entry, word, word)))
            .take_while(|(tag, _)| *tag != DT_NULL)
            .collect();
        let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB);
        let string = |place: u64, longest| {
            let (_, table) = strings.ok_or_else(|| lie("it names strings and has none"))?;
            let address = table.checked_add(place).ok_or_else(|| lie("a string lies nowhere"))?;
            self.text(offset(segments, address)?, longest)
        };
        for (tag, value) in &entries {
            match *tag {
                DT_NEEDED if elf.needed.len() == MOST_LIBRARIES => {
                    return Err(lie("it asks for too many libraries"));
                }
                DT_NEEDED => elf.needed.push(string(*value, LONGEST_NAME)?),
                DT_RPATH => elf.rpath = Some(string(*value, LONGEST_SEARCH_PATH)?),
                DT_RUNPATH => elf.runpath = Some(string(*value, LONGEST_SEARCH_PATH)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// The text from here to the next NUL byte.
    fn text(&self, at: u64, longest: usize) -> io::Result<OsString> {
        let mut text = Vec::new();
        let mut part = [0; 256];
        while text.len() < longest {
            let at = at.checked_add(text.len() as u64).ok_or_else(|| lie("a text lies nowhere"))?;
            let part = match self.file.read_at(&mut part, place(at)?)? {
                0 => return Err(lie("it ends within a text")),
                size => &part[..size],
            };
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                text.extend(&part[..end]);
                return Ok(OsString::from_vec(text));
            }
            text.extend(part);
        }
        Err(lie("a text in it has no end"))
    }

    fn bytes(&self, at: u64, size: u64) -> io::Result<Vec<u8>> {
        if size > LARGEST_TABLE {
            return Err(lie("a table in it has an unlikely size"));
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| lie("too large"))?];
        self.file.read_exact_at(&mut bytes, place(at)?).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => lie("it ends before what its headers promise"),
            _ => error,
        })?;
        Ok(bytes)
    }

    /// The number of `size` bytes at a place that the caller has read.
    fn number(&self, bytes: &[u8], at: usize, size: usize) -> u64 {
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let field = bytes[at..at + size].iter();
        if self.kind.big_endian { field.fold(0, join) } else { field.rev().fold(0, join) }
    }
}

/// Where in the file that is which will be loaded at an address.
fn offset(segments: &[Segment], address: u64) -> io::Result<u64> {
    segments
        .iter()
        .filter(|segment| segment.kind == PT_LOAD)
        .find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.size).then(|| segment.offset.checked_add(within))?
        })
        .ok_or_else(|| lie("its string table is in no part that is loaded"))
}

/// pread(2) takes its offset as a signed number.
fn place(at: u64) -> io::Result<u64> {
    if i64::try_from(at).is_ok() { Ok(at) } else { Err(lie("a table in it lies nowhere")) }
}

fn lie(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::{self, File};
    use std::sync::LazyLock;

    /// A file in memory.
    struct Bytes<'a>(&'a [u8]);

    impl FileExt for Bytes<'_> {
        fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
            let size = rest.len().min(buffer.len());
            buffer[..size].copy_from_slice(&rest[..size]);
            Ok(size)
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// A program with every kind of entry: headers at 0, the table at 0x200, strings at 0x300.
    fn program(wide: bool, big_endian: bool) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        let mut put = |at: usize, size: usize, value: u64| {
            for index in 0..size {
                let byte = if big_endian { size - 1 - index } else { index };
                file[at + index] = value.to_le_bytes()[byte];
            }
        };
        let word = if wide { 8 } else { 4 };
        let (table, header) = if wide { (64, 56) } else { (52, 32) };
        let [phoff, phentsize, phnum] = if wide { [32, 54, 56] } else { [28, 42, 44] };
        put(18, 2, 62);
        put(phoff, word, table as u64);
        put(phentsize, 2, header as u64);
        put(phnum, 2, 3);
        let [offset, address, size] = if wide { [8, 16, 32] } else { [4, 8, 16] };
        let parts = [(PT_LOAD, 0, 0x1000, 0x400), (PT_INTERP, 0x300, 0x1300, 8)];
        let parts = parts.into_iter().chain([(PT_DYNAMIC, 0x200, 0x1200, 0x100)]);
        for (index, (kind, at, loaded, length)) in parts.enumerate() {
            let start = table + index * header;
            put(start, 4, kind);
            put(start + offset, word, at);
            put(start + address, word, loaded);
            put(start + size, word, length);
        }
        let entries = [(DT_NEEDED, 8), (DT_RPATH, 16), (DT_RUNPATH, 24), (DT_NEEDED, 32)];
        for (index, (tag, value)) in entries.into_iter().chain([(DT_STRTAB, 0x1300)]).enumerate() {
            put(0x200 + index * 2 * word, word, tag);
            put(0x200 + index * 2 * word + word, word, value);
        }
        file[..4].copy_from_slice(b"\x7fELF");
        file[4..6].copy_from_slice(&[1 + u8::from(wide), 1 + u8::from(big_endian)]);
        for (index, text) in ["/ld.so", "liba", "/r", "/run", "libb"].iter().enumerate() {
            file[0x300 + 8 * index..][..text.len()].copy_from_slice(text.as_bytes());
        }
        file
    }

    #[test]
    fn all_four_layouts() {
        for (wide, big_endian) in [(true, false), (true, true), (false, false), (false, true)] {
            let file = program(wide, big_endian);
            let elf = read(&Bytes(&file)).expect("a good file").expect("an ELF file");
            assert_eq!(elf.kind, Kind { wide, big_endian, machine: 62 });
            assert_eq!(elf.interpreter, Some("/ld.so".into()));
            assert_eq!(elf.needed, ["liba", "libb"]);
            assert_eq!((elf.rpath, elf.runpath), (Some("/r".into()), Some("/run".into())));
        }
    }

    #[test]
    fn the_running_program() {
        let this = File::open(std::env::current_exe().expect("a path")).expect("a readable file");
        let elf = read(&this).expect("a good file").expect("an ELF file");
        assert!(elf.interpreter.expect("it is linked dynamically").is_absolute());
        assert!(elf.needed.iter().any(|name| name.to_string_lossy().starts_with("libc.")));
    }

    #[test]
    fn what_is_not_elf_is_no_error_and_what_lies_is() {
        assert_eq!(read(&Bytes(b"")).expect("no ELF file"), None);
        assert_eq!(read(&Bytes(b"#!/bin/sh\necho hello, world\n")).expect("no ELF file"), None);
        let whole = program(true, false);
        let lies: [(usize, &[u8], &str); 6] = [
            (4, &[9], "unknown word size"),
            (54, &[1, 0], "unknown size"),
            (56, &[0xff, 0xff], "unlikely size"),
            (32, &[0xff; 8], "lies nowhere"),
            (32, &[0, 4], "it ends before"),
            (0x248, &[0, 0, 0xff], "in no part that is loaded"),
        ];
        for (at, bytes, why) in lies {
            let mut file = whole.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            let error = read(&Bytes(&file)).expect_err("it lies");
            assert!(error.to_string().contains(why), "{at}: {error}, not {why}");
        }
        let error = read(&Bytes(&whole[..0x302])).expect_err("it is cut off");
        assert!(error.to_string().contains("ends within a text"), "{error}");
    }

    static SHELL: LazyLock<Vec<u8>> =
        LazyLock::new(|| fs::read("/bin/sh").expect("a machine with a shell"));

    proptest! {
        /// No panic, no endless loop, no memory beyond bounds: whatever comes out is fine.
        #[test]
        fn any_lie_is_survived(
            which in 0..5usize,
            changes in proptest::collection::vec((0..0x400usize, any::<u8>()), 1..12),
            end in 0..0x800usize,
        ) {
            let layouts = [(true, false), (true, true), (false, false), (false, true)];
            let mut file = layouts.get(which).map_or_else(|| SHELL.clone(), |l| program(l.0, l.1));
            for (at, byte) in changes {
                file[at] = byte;
            }
            let _ = read(&Bytes(&file));
            let _ = read(&Bytes(&file[..end.min(file.len())]));
        }
    }
}
