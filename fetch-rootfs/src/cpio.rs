//! A strict reader of cpio archives in the form that the kernel's initramfs has: "newc", with or
//! without a sum of each file's bytes. See the kernel's initramfs buffer format.
//!
//! Several archives may stand one behind the other, zeroes between them, and the last may be
//! compressed where those before it are not: so it is when a processor's microcode comes first.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read};

use common::Failure;

use crate::archive::{Bytes, Data, Entries, read_buffered, read_failure, truncated};
use crate::codec;
use crate::entry::{Entry, Kind, quoted};

/// A magic number and 13 numbers of eight hexadecimal digits.
pub const HEADER: usize = 110;
const UNIT: u64 = 4;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Names, and targets of symbolic links.
const PATH_MAX: u64 = 4096;
/// Names that wait for the one of them that has the file's data.
const WAITING: usize = 1 << 16;
/// Compressed archives behind one another, each in what the one before decompresses to.
const NESTED: u32 = 4;

/// Reads the entries of an archive one after the other.
pub struct Reader<'a> {
    data: Data<Bytes<'a>>,
    /// What names have the same file, by its device and number.
    links: HashMap<Id, Links>,
    ready: VecDeque<Entry>,
    waiting: usize,
    /// Its end has not come yet.
    open: bool,
    nested: u32,
    sum: Option<Sum>,
}

type Id = [u32; 3];

/// One file's names.
enum Links {
    /// The first of them that has the data, or that could do without.
    Made(Vec<u8>),
    Waiting(Vec<Entry>),
}

/// What a file's bytes have to sum up to.
struct Sum {
    name: Vec<u8>,
    wanted: u32,
    found: u32,
    left: u64,
}

/// Whether these are the first bytes of an archive.
pub fn is_header(head: &[u8]) -> bool {
    let magic = head.starts_with(b"070701") || head.starts_with(b"070702");
    magic && head.len() >= HEADER && head[..HEADER].iter().all(u8::is_ascii_hexdigit)
}

/// A header's numbers, in their order.
struct Header {
    summed: bool,
    numbers: [u32; 13],
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let mut numbers = [0; 13];
        for (number, digits) in numbers.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            *number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        is_header(bytes).then_some(Self { summed: bytes[5] == b'2', numbers })
    }

    fn mode(&self) -> u32 {
        self.numbers[1]
    }

    fn size(&self) -> u64 {
        self.numbers[6].into()
    }

    fn id(&self) -> Id {
        [self.numbers[7], self.numbers[8], self.numbers[0]]
    }

    fn kind(&self) -> Option<Kind> {
        Some(match self.mode() & 0o170_000 {
            0o100_000 => Kind::File,
            0o120_000 => Kind::Symlink,
            0o040_000 => Kind::Folder,
            0o020_000 => Kind::CharDevice,
            0o060_000 => Kind::BlockDevice,
            0o010_000 => Kind::Fifo,
            _ => return None,
        })
    }

    fn entry(&self, kind: Kind, name: Vec<u8>) -> Entry {
        let [_, mode, uid, gid, _, mtime, _, _, _, major, minor, ..] = self.numbers;
        Entry {
            name,
            mode: mode & 0o7777,
            uid,
            gid,
            size: if kind == Kind::File { self.size() } else { 0 },
            mtime: (mtime.into(), 0),
            device: (major.into(), minor.into()),
            ..Entry::of_kind(kind)
        }
    }
}

impl<'a> Reader<'a> {
    pub fn new(input: Bytes<'a>) -> Self {
        Self {
            data: Data::new(input),
            links: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            open: false,
            nested: 0,
            sum: None,
        }
    }

    /// The rest of the data; they have to be read where they are to be summed up.
    fn pass_over(&mut self) -> Result<(), Failure> {
        if self.sum.is_some() {
            io::copy(self, &mut io::sink()).map_err(|error| read_failure(&error))?;
        }
        self.sum = None;
        self.data.skip()
    }

    fn header(&mut self) -> Result<Option<(Header, Vec<u8>)>, Failure> {
        if !self.another()? {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.data.input.read_exact(&mut bytes).map_err(|error| read_failure(&error))?;
        let fail = |why| Failure::new(format!("read the archive: {why}"));
        let header = Header::parse(&bytes).ok_or_else(no_entry)?;
        self.open = true;
        let length = u64::from(header.numbers[11]);
        if !(1..=PATH_MAX).contains(&length) {
            return Err(fail("a name is empty, or longer than a path may be"));
        }
        // Header and name together are padded.
        let before = HEADER as u64 % UNIT;
        self.data.expect(length, 1);
        let mut name = self.all()?;
        self.data.expect((before + length).next_multiple_of(UNIT) - before - length, 1);
        self.data.skip()?;
        if name.pop() != Some(0) {
            return Err(fail(&format!("the name {} does not end", quoted(&name))));
        }
        Ok(Some((header, name)))
    }

    fn all(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.data.read_to_end(&mut bytes).map_err(|error| read_failure(&error))?;
        Ok(bytes)
    }

    /// Whether another header comes: of this archive, or, after zeroes, of one behind it.
    fn another(&mut self) -> Result<bool, Failure> {
        loop {
            let there = self.data.input.fill_buf().map_err(|error| read_failure(&error))?;
            let zeroes = there.iter().take_while(|byte| **byte == 0).count();
            match there.get(zeroes).copied() {
                None if there.is_empty() && self.open => return Err(truncated()),
                None if there.is_empty() => return Ok(false),
                first => {
                    self.data.input.consume(zeroes);
                    match first {
                        None => {}
                        Some(b'0') => return Ok(true),
                        Some(_) if self.open => return Err(no_entry()),
                        Some(_) => self.decompress()?,
                    }
                }
            }
        }
    }

    /// What comes now is compressed, or nothing that is known.
    fn decompress(&mut self) -> Result<(), Failure> {
        self.nested += 1;
        if self.nested > NESTED {
            return Err(Failure::new("read the archive: too many are compressed in one another"));
        }
        let input = std::mem::replace(&mut self.data.input, Box::new(io::empty()));
        self.data.input = Box::new(BufReader::with_capacity(1 << 17, codec::decoder(input)?));
        Ok(())
    }

    /// `None` for a name of a file whose data come with a later one.
    fn entry(&mut self, header: &Header, name: Vec<u8>) -> Result<Option<Entry>, Failure> {
        let fail = |name, why| Err(Failure::new(format!("read the entry {}: {why}", quoted(name))));
        let Some(kind) = header.kind() else {
            return fail(&name, "nothing is known of its type");
        };
        let mut entry = header.entry(kind, name);
        if kind == Kind::Symlink {
            if header.size() >= PATH_MAX {
                return fail(&entry.name, "its target is longer than a path may be (4095 bytes)");
            }
            self.data.expect(header.size(), UNIT);
            entry.link = self.all()?;
            return entry.checked().map(Some);
        }
        if kind != Kind::File && header.size() > 0 {
            return fail(&entry.name, "it has a size, which only a file can have");
        }
        self.data.expect(header.size(), UNIT);
        self.sum = header.summed.then(|| Sum {
            name: entry.name.clone(),
            wanted: header.numbers[12],
            found: 0,
            left: header.size(),
        });
        let entry = entry.checked()?;
        match kind == Kind::File && header.numbers[4] > 1 {
            true => self.linked(header.id(), entry),
            false => Ok(Some(entry)),
        }
    }

    /// A file with several names has its data with one of them, mostly the last.
    fn linked(&mut self, id: Id, entry: Entry) -> Result<Option<Entry>, Failure> {
        match self.links.get_mut(&id) {
            Some(Links::Made(first)) if entry.size == 0 => Ok(Some(link(entry, first))),
            Some(Links::Made(_)) => Err(entry.failure("data come with two names of one file")),
            Some(Links::Waiting(names)) if entry.size > 0 => {
                let links = std::mem::take(names).into_iter().map(|name| link(name, &entry.name));
                self.waiting -= links.len();
                self.ready.extend(links);
                self.links.insert(id, Links::Made(entry.name.clone()));
                Ok(Some(entry))
            }
            None if entry.size > 0 => {
                self.links.insert(id, Links::Made(entry.name.clone()));
                Ok(Some(entry))
            }
            _ if self.waiting == WAITING => {
                Err(entry.failure("too many names wait for their data"))
            }
            Some(Links::Waiting(names)) => {
                self.waiting += 1;
                names.push(entry);
                Ok(None)
            }
            None => {
                self.waiting += 1;
                self.links.insert(id, Links::Waiting(vec![entry]));
                Ok(None)
            }
        }
    }

    /// At an archive's end, the names that still wait are of empty files. The next one counts its
    /// files anew.
    fn end(&mut self) {
        self.open = false;
        let mut rest: Vec<Vec<Entry>> = std::mem::take(&mut self.links)
            .into_values()
            .filter_map(|links| match links {
                Links::Waiting(names) => Some(names),
                Links::Made(_) => None,
            })
            .collect();
        rest.sort_by(|a, b| a[0].name.cmp(&b[0].name));
        for names in rest {
            let mut names = names.into_iter();
            let Some(first) = names.next() else { continue };
            let name = first.name.clone();
            self.ready.push_back(first);
            self.ready.extend(names.map(|entry| link(entry, &name)));
        }
        self.waiting = 0;
    }
}

fn no_entry() -> Failure {
    Failure::new("read the archive: no entry of a cpio archive is where one should be")
}

fn link(entry: Entry, target: &[u8]) -> Entry {
    Entry { kind: Kind::HardLink, link: target.to_vec(), size: 0, ..entry }
}

impl Entries for Reader<'_> {
    fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            self.pass_over()?;
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            let Some((header, name)) = self.header()? else { return Ok(None) };
            if name == TRAILER {
                self.end();
            } else if let Some(entry) = self.entry(&header, name)? {
                return Ok(Some(entry));
            }
        }
    }

    fn input(&mut self) -> &mut dyn BufRead {
        &mut self.data.input
    }
}

/// The data of the present entry.
impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &self.sum {
            Some(sum) if sum.left == 0 && sum.found != sum.wanted => {
                Err(io::Error::other(format!(
                    "the sum of the bytes of {} is {:x}, not {:x}",
                    quoted(&sum.name),
                    sum.found,
                    sum.wanted
                )))
            }
            _ => self.data.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let (Some(sum), Ok(there)) = (&mut self.sum, self.data.fill_buf()) {
            let bytes = there.iter().take(amount).map(|byte| u32::from(*byte));
            sum.found = bytes.fold(sum.found, u32::wrapping_add);
            sum.left = sum.left.saturating_sub(amount as u64);
        }
        self.data.consume(amount);
    }
}
