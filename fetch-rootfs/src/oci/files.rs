//! Where an image's files are: in a folder, or one behind the other in a tar archive.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, inroot};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::digest::{Digest, Verified};
use super::manifest::LARGEST;
use crate::archive::{Entries, read_buffered, read_failure};
use crate::entry::Kind;
use crate::tar::Reader;

/// An image's files, by name.
pub trait Files {
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Failure>;
}

/// Reads a small one whole, and verifies it.
pub fn document(
    files: &dyn Files,
    name: &str,
    digest: Option<Digest>,
    size: Option<u64>,
) -> Result<Vec<u8>, Failure> {
    if size.is_some_and(|size| size > LARGEST) {
        return Err(huge(name));
    }
    let mut bytes = Vec::new();
    let mut read = Verified::new(files.open(name)?.take(LARGEST + 1), size);
    let outcome = read.read_to_end(&mut bytes);
    if bytes.len() as u64 > LARGEST {
        return Err(huge(name));
    }
    read.finish(digest, &format!("{name:?}"))?;
    outcome.tried(|| format!("read {name:?} of the image"))?;
    Ok(bytes)
}

pub fn huge(name: &str) -> Failure {
    let most = common::size::human(LARGEST);
    Failure::new(format!("read {name:?} of the image: it is larger than {most}"))
}

/// A folder; links in it are followed as long as they stay in it.
pub struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).tried(|| format!("open {path:?}"))?;
        Ok(Self { path: path.to_owned(), fd })
    }
}

impl Files for Folder {
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Failure> {
        let failed = || format!("open {:?}", self.path.join(name));
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = inroot::open_beneath(&self.fd, Path::new(name), flags);
        let file = file.tried(failed).map_err(|failure| {
            failure
                .hint_if(Errno::EXDEV, || {
                    "it is a link out of the image, to no business of it".into()
                })
                .hint_if(Errno::ENOENT, || "the image is not complete: fetch it again".into())
        })?;
        let file = File::from(file);
        if !file.metadata().tried(failed)?.is_file() {
            return Err(Failure::new(format!("{}: it is no regular file", failed())));
        }
        Ok(Box::new(file))
    }
}

/// A part of a file, read at its own offset: several readers don't disturb each other.
pub struct Section<F> {
    pub file: F,
    pub at: u64,
    pub left: u64,
}

impl<F: Borrow<File>> Read for Section<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.borrow().read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A tar archive: copied, decoded, into a file without a name, and where in it everything is.
pub struct Archive {
    file: File,
    members: HashMap<String, Member>,
}

enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

/// More files than an image of the most layers has.
const MOST_MEMBERS: usize = 10_000;

impl Archive {
    pub fn new(input: impl BufRead, file: File, most: u64) -> Result<Self, Failure> {
        let (at, mut members) = (Cell::new(0), HashMap::new());
        let mut copy = Copy {
            input,
            file: BufWriter::with_capacity(1 << 17, &file),
            at: &at,
            most,
            failed: None,
        };
        let mut reader = Reader::new(&mut copy);
        while let Some(entry) = reader.next()? {
            let name = plain(&String::from_utf8_lossy(&entry.name));
            let link = String::from_utf8_lossy(&entry.link).into_owned();
            let member = match entry.kind {
                Kind::File if entry.holes.is_some() => {
                    return Err(entry.failure("an image has no files with holes"));
                }
                Kind::File => Member::File { at: at.get(), size: entry.size },
                Kind::HardLink => Member::Link(plain(&link)),
                Kind::Symlink => Member::Link(join(&name, &link)),
                Kind::Folder => continue,
                _ => return Err(entry.failure("an image has nothing but files")),
            };
            members.insert(name, member);
            if members.len() > MOST_MEMBERS {
                return Err(entry.failure(&format!("the image has more than {MOST_MEMBERS} files")));
            }
        }
        let left = io::copy(reader.input(), &mut io::sink());
        left.map_err(|error| read_failure(&error))?;
        copy.file.flush().tried(|| "write the image's temporary file")?;
        drop(copy);
        Ok(Self { file, members })
    }

    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Failure> {
        const MOST_LINKS: usize = 8;
        let fail = |why| Err(Failure::new(format!("open {name:?} of the image: {why}")));
        let mut member = self.members.get(name);
        for _ in 0..MOST_LINKS {
            match member {
                None => return fail("there is no such file"),
                Some(Member::Link(to)) => member = self.members.get(to),
                Some(Member::File { at, size }) => {
                    return Ok(Box::new(Section { file: &self.file, at: *at, left: *size }));
                }
            }
        }
        fail("links lead to links")
    }
}

/// A name without `./` before and `/` behind it: a word to look up, never a path to open.
fn plain(name: &str) -> String {
    let parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

/// Where a symbolic link of that name leads, within the archive.
fn join(name: &str, link: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads, and writes what was read into the file; counts it.
struct Copy<'a, R> {
    input: R,
    file: BufWriter<&'a File>,
    at: &'a Cell<u64>,
    most: u64,
    failed: Option<io::Error>,
}

impl<R: BufRead> Read for Copy<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl<R: BufRead> BufRead for Copy<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.at.get() > self.most {
            let most = common::size::human(self.most);
            return Err(io::Error::other(format!("it is larger than {most}: see --max-size")));
        }
        self.input.fill_buf()
    }

    /// What is taken is copied; that it could not be is said when more is asked for.
    fn consume(&mut self, amount: usize) {
        let copied = self.input.fill_buf().and_then(|there| self.file.write_all(&there[..amount]));
        self.failed = copied.err().or(self.failed.take());
        self.input.consume(amount);
        self.at.set(self.at.get() + amount as u64);
    }
}

/// What an archive's first entry tells: `blobs/`, `index.json`, or a name that is a digest, stand
/// at the start of an image and of no root file system.
pub fn is_image(head: &[u8]) -> bool {
    let mut reader = Reader::new(head);
    while let Ok(Some(entry)) = reader.next() {
        let name = plain(&String::from_utf8_lossy(&entry.name));
        let first = name.split('/').next().unwrap_or_default();
        let stem = first.split('.').next().unwrap_or_default();
        let digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
        let known = ["oci-layout", "index.json", "manifest.json", "repositories", "blobs"];
        match first {
            "" => {}
            first => return digest || known.contains(&first),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_within_the_archive() {
        assert_eq!(plain("./blobs//sha256/"), "blobs/sha256");
        assert_eq!(join("a/layer.tar", "../b.tar"), "b.tar");
        assert_eq!(join("a/layer.tar", "../../../etc/passwd"), "etc/passwd");
        assert_eq!(join("x", "y"), "y");
    }
}
