//! What an archive says of one file, whatever its format.

use common::Failure;

/// The longest path that the kernel takes.
const PATH_MAX: usize = 4096;

/// What an entry becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Folder,
    Fifo,
}

/// Seconds and nanoseconds since 1970.
pub type Time = (i64, i64);

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
    pub mtime: Time,
    /// Few archives have it.
    pub atime: Option<Time>,
    pub device: (u64, u64),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Attributes that the archive has in a form that is of another machine.
    pub foreign: Vec<&'static str>,
    /// Where the data of a file with holes belong, and its whole length.
    pub holes: Option<Holes>,
}

/// The parts of a file that are not holes: offset and length, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holes {
    pub parts: Vec<(u64, u64)>,
    pub length: u64,
}

impl Entry {
    /// One of which nothing else is known.
    pub fn of_kind(kind: Kind) -> Self {
        Self {
            kind,
            name: Vec::new(),
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            atime: None,
            device: (0, 0),
            xattrs: Vec::new(),
            foreign: Vec::new(),
            holes: None,
        }
    }

    /// A failure that names the entry.
    pub fn failure(&self, why: &str) -> Failure {
        Failure::new(format!("extract {}: {why}", quoted(&self.name)))
    }

    /// What holds of every entry, in every format.
    pub fn checked(self) -> Result<Self, Failure> {
        let fail = |why| Err(Failure::new(format!("read the entry {}: {why}", quoted(&self.name))));
        if self.name.is_empty() {
            return fail("it has no name");
        }
        if self.name.len() >= PATH_MAX || self.link.len() >= PATH_MAX {
            return fail("its name or its target is longer than a path may be (4095 bytes)");
        }
        if self.name.contains(&0) || self.link.contains(&0) {
            return fail("a NUL byte is in its name");
        }
        // To chown(2) it means to change nothing.
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return fail("its owner is no user or group");
        }
        Ok(self)
    }

    /// How long the file is, holes and all.
    pub fn length(&self) -> u64 {
        self.holes.as_ref().map_or(self.size, |holes| holes.length)
    }
}

/// A name for a message: between quotes, control characters escaped, cut when very long.
pub fn quoted(name: impl AsRef<[u8]>) -> String {
    const ENOUGH: usize = 120;
    let name = name.as_ref();
    let text = String::from_utf8_lossy(&name[..name.len().min(ENOUGH)]).into_owned();
    if name.len() > ENOUGH { format!("{text:?}...") } else { format!("{text:?}") }
}
