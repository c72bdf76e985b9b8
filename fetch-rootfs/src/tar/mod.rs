//! A strict reader of tar archives: what it can't make certain sense of, it refuses by name.

mod header;
mod pax;

use std::io::{self, Read};

use common::{Failure, Tried};

use header::{BLOCK, Header, number};
pub use header::{Kind, quoted};
use pax::Pax;

/// The longest path that the kernel takes.
const PATH_MAX: usize = 4096;
/// What a file may be long, and a sum of two can't overflow.
const LARGEST: u64 = i64::MAX as u64;
/// More than any archive's extended header has; a name longer than a path is refused by its name.
const EXTENDED_MAX: u64 = 1 << 20;

/// An entry: all of its attributes, from all of its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The bytes that follow in the archive.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub device: (u64, u64),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data of a file with holes belong, and its whole length.
    pub holes: Option<Holes>,
}

/// The parts of a file that are not holes: offset and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holes {
    pub parts: Vec<(u64, u64)>,
    pub length: u64,
}

impl Entry {
    /// A failure that names the entry.
    pub fn failure(&self, why: &str) -> Failure {
        Failure::new(format!("extract {}: {why}", quoted(&self.name)))
    }

    /// How long the file is, holes and all.
    pub fn length(&self) -> u64 {
        self.holes.as_ref().map_or(self.size, |holes| holes.length)
    }
}

/// Reads the entries of an archive one after the other.
pub struct Reader<R> {
    input: R,
    /// What is left of the present entry's data, and its padding.
    left: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0 }
    }

    /// The next entry; `None` after the last. What was not read of the one before is passed over.
    pub fn next(&mut self) -> Result<Option<Entry>, Failure> {
        let (mut long_name, mut long_link, mut extended) = (None, None, None::<Pax>);
        loop {
            self.skip()?;
            let Some((header, holes)) = self.header()? else {
                let dangling = long_name.is_some() || long_link.is_some() || extended.is_some();
                return match dangling {
                    true => Err(Failure::new("read the archive: a header belongs to no entry")),
                    false => Ok(None),
                };
            };
            let fail = |why: &str| {
                Err(Failure::new(format!("read the entry {}: {why}", quoted(&header.name))))
            };
            self.expect(header.size);
            match header.kind {
                Kind::LongName if long_name.is_some() => return fail("it has two long names"),
                Kind::LongName => long_name = Some(self.text(&header)?),
                Kind::LongLink => long_link = Some(self.text(&header)?),
                Kind::Pax if extended.is_some() => return fail("it has two extended headers"),
                Kind::Pax => extended = Some(pax::parse(&self.data(&header)?)?),
                // What it says of all entries, readers disagree on; mostly it is a comment.
                Kind::PaxGlobal => {
                    let all = pax::parse(&self.data(&header)?)?;
                    if all != Pax::default() {
                        return fail("a global header that changes all entries is not understood");
                    }
                }
                Kind::Label => {}
                _ => {
                    let pax = extended.unwrap_or_default();
                    if (long_name.is_some() && pax.path.is_some()) || pax.sparse {
                        return fail(
                            "GNU's and pax's headers are mixed, or it is sparse in pax's \
                            form, which is not understood",
                        );
                    }
                    let size = pax.size.unwrap_or(header.size);
                    if size > LARGEST {
                        return fail("its size is no size");
                    }
                    self.expect(size);
                    return entry(header, pax, long_name, long_link, size, holes).map(Some);
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip(&mut self) -> Result<(), Failure> {
        let size = self.left + self.padding;
        let read = io::copy(&mut self.input.by_ref().take(size), &mut io::sink());
        if read.tried(|| "read the archive")? < size {
            return Err(truncated());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Failure> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => read_failure(&error),
        })?;
        Ok(block)
    }

    fn header(&mut self) -> Result<Option<(Header, Option<Holes>)>, Failure> {
        let block = self.block()?;
        let Some(header) = Header::parse(&block)? else { return Ok(None) };
        let holes = (header.kind == Kind::Sparse).then(|| self.holes(&block)).transpose()?;
        Ok(Some((header, holes)))
    }

    /// GNU's map of a sparse file: four parts in the header, 21 in each block that continues it.
    fn holes(&mut self, block: &[u8; BLOCK]) -> Result<Holes, Failure> {
        const MOST: usize = 1 << 16;
        let fail = || Failure::new("read the map of a sparse file: it makes no sense");
        let at = |field: &[u8]| number(field).and_then(|n| u64::try_from(n).ok());
        let length = at(&block[483..495]).ok_or_else(fail)?;
        let mut parts = Vec::new();
        let mut add = |map: &[u8]| {
            for part in map.chunks_exact(24).filter(|part| part[0] != 0) {
                let both = (at(&part[..12]), at(&part[12..]));
                let (Some(start), Some(size)) = both else { return Err(fail()) };
                let after = parts.last().map_or(0, |(start, size)| start + size);
                let end = start.checked_add(size).filter(|end| *end <= length && start >= after);
                if end.is_none() || parts.len() == MOST {
                    return Err(fail());
                }
                parts.push((start, size));
            }
            Ok(())
        };
        add(&block[386..482])?;
        let mut more = block[482] != 0;
        while more {
            let block = self.block()?;
            add(&block[..504])?;
            more = block[504] != 0;
        }
        Ok(Holes { parts, length })
    }

    /// The data of a header that is about the next one.
    fn data(&mut self, header: &Header) -> Result<Vec<u8>, Failure> {
        if header.size > EXTENDED_MAX {
            let name = quoted(&header.name);
            return Err(Failure::new(format!(
                "read the entry {name}: its extended header is huge"
            )));
        }
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(|error| read_failure(&error))?;
        Ok(data)
    }

    /// The same, as a name that ends at its NUL.
    fn text(&mut self, header: &Header) -> Result<Vec<u8>, Failure> {
        let mut name = self.data(header)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// What comes after the archive's end: nothing that matters, but it has to be read.
    pub fn drain(mut self, most: u64) -> Result<(), Failure> {
        let read = io::copy(&mut self.input.by_ref().take(most), &mut io::sink());
        if read.tried(|| "read the archive to its end")? == most {
            return Err(Failure::new("read the archive to its end: far too much comes after it"));
        }
        Ok(())
    }
}

/// The data of the present entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.input.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED)),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

const TRUNCATED: &str = "it ends too early";

fn truncated() -> Failure {
    Failure::new(format!("read the archive: {TRUNCATED}"))
        .hint("it is incomplete: fetch it again, and compare its --sha256")
}

fn read_failure(error: &io::Error) -> Failure {
    Failure::new(format!("read the archive: {error}"))
}

fn entry(
    header: Header,
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    size: u64,
    holes: Option<Holes>,
) -> Result<Entry, Failure> {
    let name = pax.path.or(long_name).unwrap_or(header.name);
    let link = pax.link.or(long_link).unwrap_or(header.link);
    let fail = |why: &str| Err(Failure::new(format!("read the entry {}: {why}", quoted(&name))));
    if name.is_empty() {
        return fail("it has no name");
    }
    if name.len() >= PATH_MAX || link.len() >= PATH_MAX {
        return fail("its name or its target is longer than a path may be (4095 bytes)");
    }
    if name.contains(&0) || link.contains(&0) {
        return fail("a NUL byte is in its name");
    }
    let data: u64 = holes.iter().flat_map(|holes| &holes.parts).map(|(_, size)| size).sum();
    if holes.is_some() && data != size {
        return fail("its map of holes is not about its data");
    }
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let owner = (id(pax.uid.unwrap_or(header.uid)), id(pax.gid.unwrap_or(header.gid)));
    let (Some(uid), Some(gid)) = owner else { return fail("its owner is no user or group") };
    Ok(Entry {
        kind: header.kind,
        link,
        mode: header.mode & 0o7777,
        uid,
        gid,
        size,
        mtime: pax.mtime.unwrap_or((header.mtime, 0)),
        device: header.device,
        xattrs: pax.xattrs,
        holes,
        name,
    })
}
