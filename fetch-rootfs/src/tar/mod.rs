//! A strict reader of tar archives, as GNU, pax, ustar and old V7 write them: what it can't make
//! certain sense of, it refuses by name.

mod header;
pub mod libarchive;
pub mod pax;
mod sparse;

use std::io::{self, BufRead, Read};

use common::Failure;

use crate::archive::{Data, Entries, read_failure};
use crate::entry::{Entry, Holes, Kind, quoted};
use header::{BLOCK, Header, Role};
use pax::{Pax, Sparse};
use sparse::Map;

/// What a file may be long, and a sum of two can't overflow.
const LARGEST: u64 = i64::MAX as u64;
/// Data are followed by nothing up to the next of these.
const UNIT: u64 = BLOCK as u64;
/// More than any archive's extended header has; a name longer than a path is refused by its name.
const EXTENDED_MAX: u64 = 1 << 20;

/// Reads the entries of an archive one after the other.
pub struct Reader<R> {
    data: Data<R>,
    /// What global headers said.
    global: Pax,
    /// An extended header has come.
    extended: bool,
}

/// What headers said of the entry that comes after them.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { data: Data::new(input), global: Pax::default(), extended: false }
    }

    /// The entry that a header is of, and all that was said before it.
    fn entry(
        &mut self,
        header: Header,
        block: &[u8; BLOCK],
        before: Before,
    ) -> Result<Entry, Failure> {
        let mut pax = self.global.clone();
        pax.overridden(before.pax.unwrap_or_default())?;
        let sparse = pax.sparse.take();
        let named = pax.path.is_some() || sparse.as_ref().is_some_and(|s| s.name.is_some());
        if before.name.is_some() && named {
            return Err(failure(&header.name, "GNU's and pax's headers are mixed"));
        }
        let size = match (header.role, pax.size) {
            (_, Some(size)) => size,
            // Of old, a folder had its own size there, a link its file's: no data follow. But a link
            // of pax may have data, if a program holds that this is pax: bsdtar does, GNU tar not.
            (Role::Entry(Kind::Folder), None) => 0,
            (Role::Entry(Kind::HardLink), None) if !self.extended => 0,
            (_, None) => header.size,
        };
        if size > LARGEST {
            return Err(failure(&header.name, "its size is no size"));
        }
        let (kind, holes, size) = self.content(&header, block, sparse, size, &mut pax.path)?;
        let name = pax.path.take().or(before.name).unwrap_or_else(|| header.name.clone());
        // As of old; of a long name the header has only the beginning, which may end so, too.
        let kind = match kind {
            Kind::File if name.ends_with(b"/") => Kind::Folder,
            kind => kind,
        };
        let link = pax.link.take().or(before.link);
        let role = header.role;
        let entry = Entry { kind, size, holes, ..entry(header, name, link, pax)? }.checked()?;
        if size > 0 && kind != Kind::File && role != Role::Listing {
            // Programs disagree on whether data follow, and so on what the next entry is.
            return Err(failure(&entry.name, "it has a size, which only a file can have"));
        }
        self.data.expect(size, UNIT);
        Ok(entry)
    }

    /// What it is, its holes, and how much of its data is left after their map.
    fn content(
        &mut self,
        header: &Header,
        block: &[u8; BLOCK],
        sparse: Option<Sparse>,
        size: u64,
        path: &mut Option<Vec<u8>>,
    ) -> Result<(Kind, Option<Holes>, u64), Failure> {
        Ok(match (header.role, sparse) {
            (Role::Sparse, None) => (Kind::File, Some(self.old_holes(block, size)?), size),
            (Role::Entry(Kind::File), Some(sparse)) => {
                self.data.expect(size, UNIT);
                let (holes, length) = self.holes(sparse, size, path)?;
                (Kind::File, Some(holes), size - length)
            }
            (Role::Listing, None) => (Kind::Folder, None, size),
            (Role::Entry(kind), None) => (kind, None, size),
            _ => return Err(failure(&header.name, "it has a map of holes, but is no file")),
        })
    }

    fn old_holes(&mut self, block: &[u8; BLOCK], size: u64) -> Result<Holes, Failure> {
        let read = Map::old(block, || {
            let mut block = [0; BLOCK];
            self.data.input.read_exact(&mut block).map(|()| block)
        });
        let map = read.map_err(|error| read_failure(&error))?;
        map.and_then(|(map, length)| map.of(length, size)).ok_or_else(no_map)
    }

    /// The holes as pax's headers have them; and how many bytes of the data were their map.
    fn holes(
        &mut self,
        sparse: Sparse,
        size: u64,
        path: &mut Option<Vec<u8>>,
    ) -> Result<(Holes, u64), Failure> {
        // Where the headers have its name, what else is called so is a name for older programs.
        *path = sparse.name.or(path.take());
        let (map, taken) = match (sparse.version, sparse.map) {
            ((0, 0 | 1), map) => (map.unwrap_or_default(), 0),
            ((1, 0), None) => {
                let map = Map::before_data(&mut self.data).map_err(|error| read_failure(&error))?;
                map.ok_or_else(no_map)?
            }
            _ => return Err(no_map()),
        };
        let length = sparse.length.ok_or_else(no_map)?;
        let data = size.checked_sub(taken).ok_or_else(no_map)?;
        map.of(length, data).map(|holes| (holes, taken)).ok_or_else(no_map)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Failure> {
        let mut block = [0; BLOCK];
        self.data.input.read_exact(&mut block).map_err(|error| read_failure(&error))?;
        Ok(block)
    }

    /// The data of a header that is about the next one.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, Failure> {
        if header.size > EXTENDED_MAX {
            return Err(failure(&header.name, "its extended header is huge"));
        }
        let mut data = Vec::new();
        self.data.read_to_end(&mut data).map_err(|error| read_failure(&error))?;
        Ok(data)
    }

    /// The same, as a name that ends at its NUL.
    fn text(&mut self, header: &Header) -> Result<Vec<u8>, Failure> {
        let mut name = self.extended(header)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }
}

impl<R: BufRead> Entries for Reader<R> {
    fn next(&mut self) -> Result<Option<Entry>, Failure> {
        let mut before = Before::default();
        loop {
            self.data.skip()?;
            let block = self.block()?;
            let Some(header) = Header::parse(&block)? else { return before.end().map(|()| None) };
            let fail = |why: &str| Err(failure(&header.name, why));
            self.data.expect(header.size, UNIT);
            self.extended |= matches!(header.role, Role::Pax | Role::PaxGlobal);
            match header.role {
                Role::LongName if before.name.is_some() => return fail("it has two long names"),
                Role::LongName => before.name = Some(self.text(&header)?),
                Role::LongLink => before.link = Some(self.text(&header)?),
                Role::Pax if before.pax.is_some() => return fail("it has two extended headers"),
                Role::Pax => before.pax = Some(pax::parse(&self.extended(&header)?)?),
                Role::PaxGlobal => {
                    let all = pax::parse(&self.extended(&header)?)?;
                    if !all.is_for_all() {
                        return fail("a global header gives all entries one name or one size");
                    }
                    self.global.overridden(all)?;
                }
                Role::Label => {}
                _ => return self.entry(header, &block, before).map(Some),
            }
        }
    }

    fn input(&mut self) -> &mut dyn BufRead {
        &mut self.data.input
    }
}

/// The data of the present entry.
impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.data.read(buffer)
    }
}

impl<R: BufRead> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.data.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.data.consume(amount);
    }
}

impl Before {
    /// The archive ends here.
    fn end(&self) -> Result<(), Failure> {
        match self.name.is_some() || self.link.is_some() || self.pax.is_some() {
            true => Err(Failure::new("read the archive: a header belongs to no entry")),
            false => Ok(()),
        }
    }
}

fn failure(name: &[u8], why: &str) -> Failure {
    Failure::new(format!("read the entry {}: {why}", quoted(name)))
}

fn no_map() -> Failure {
    Failure::new("read the map of a sparse file: it makes no sense")
}

fn entry(header: Header, name: Vec<u8>, link: Option<Vec<u8>>, pax: Pax) -> Result<Entry, Failure> {
    let id = |id: u64| u32::try_from(id).ok();
    let owner = (id(pax.uid.unwrap_or(header.uid)), id(pax.gid.unwrap_or(header.gid)));
    let (Some(uid), Some(gid)) = owner else {
        return Err(failure(&name, "its owner is no user or group"));
    };
    Ok(Entry {
        name,
        link: link.unwrap_or(header.link),
        mode: header.mode & 0o7777,
        uid,
        gid,
        mtime: pax.mtime.unwrap_or((header.mtime, 0)),
        atime: pax.atime,
        device: header.device,
        xattrs: pax.xattrs,
        foreign: pax.foreign,
        ..Entry::of_kind(Kind::File)
    })
}
