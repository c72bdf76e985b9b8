//! The bytes of a source as they come: each is counted, digested, shown to gpgv and kept in the
//! cache while it is on its way to the decoder.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use common::{Failure, Tried};

use crate::cache::{self, Known, Pending};
use crate::checksum::{Digest, Digester, Kind};
use crate::cli::Source;
use crate::download::Download;
use crate::limits::Entries;
use crate::progress::Progress;
use crate::signature::Verifier;
use crate::transfer::Transfer;

/// Where the bytes are from.
enum Origin {
    /// A file or a pipe.
    Plain(Box<dyn Read + Send>),
    /// A file of the cache, which must have this digest.
    Cached {
        file: File,
        path: PathBuf,
        sha256: [u8; 32],
    },
    Url {
        download: Box<Download>,
        url: String,
        cache: Option<Pending>,
    },
}

impl Read for Origin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(read) => read.read(buffer),
            Self::Cached { file, .. } => file.read(buffer),
            Self::Url { download, .. } => download.read(buffer),
        }
    }
}

/// A source that is being read.
pub struct Input {
    origin: Origin,
    digester: Digester,
    verifier: Option<Verifier>,
    progress: Option<Progress>,
    bytes: u64,
}

/// A source that was read to its end.
#[derive(Default)]
pub struct Fetched {
    pub digests: Vec<Digest>,
    pub verifier: Option<Verifier>,
    pub bytes: u64,
    keep: Option<(Pending, String, Known)>,
}

impl Input {
    /// Opens it. Digests of these kinds are made, and a verifier sees all.
    pub fn open(
        source: &Source,
        transfer: &Transfer,
        kinds: &[Kind],
        verifier: Option<Verifier>,
        show: bool,
    ) -> Result<Self, Failure> {
        let (origin, length) = open(source, transfer)?;
        let mut kinds = kinds.to_vec();
        match origin {
            Origin::Url { .. } => kinds.retain(|kind| *kind != Kind::Sha256), // the download has it
            Origin::Cached { .. } => kinds.push(Kind::Sha256),
            Origin::Plain(_) => {}
        }
        let show = show && io::stderr().is_terminal();
        Ok(Self {
            origin,
            digester: Digester::new(&kinds, length)?,
            verifier,
            progress: show.then(|| Progress::new(length)),
            bytes: 0,
        })
    }

    /// Where the progress bar looks for their number.
    pub fn entries(&self) -> Entries {
        self.progress.as_ref().map(Progress::entries).unwrap_or_default()
    }

    /// Reads what no decoder wanted, and gives what came of it all.
    pub fn finish(mut self) -> Result<Fetched, Failure> {
        if let Err(error) = io::copy(&mut self, &mut io::sink()) {
            let failure = Err(error).tried(|| "read the source to its end");
            return failure.map_err(|failure| self.blame(failure));
        }
        let mut digests = self.digester.finish();
        let keep = match self.origin {
            Origin::Plain(_) => None,
            Origin::Cached { path, sha256, .. } => {
                is_whole(&digests, &path, sha256).map(|()| None)?
            }
            Origin::Url { download, url, cache } => {
                let sha256 = download.sha256();
                digests.push(Digest { kind: Kind::Sha256, bytes: sha256.to_vec() });
                let known = Known { version: download.version().clone(), sha256 };
                cache.map(|cache| (cache, url, known))
            }
        };
        Ok(Fetched { digests, verifier: self.verifier, bytes: self.bytes, keep })
    }

    /// What went wrong, if reading failed before what was made of it did.
    pub fn blame(mut self, failure: Failure) -> Failure {
        if let Origin::Url { download, .. } = &mut self.origin {
            return download.failure().unwrap_or(failure);
        }
        let whole = matches!(self.origin, Origin::Cached { .. })
            .then(|| io::copy(&mut self, &mut io::sink()));
        match (&self.origin, whole) {
            (Origin::Cached { path, sha256, .. }, Some(Ok(_))) => {
                is_whole(&self.digester.finish(), path, *sha256).err().unwrap_or(failure)
            }
            _ => failure,
        }
    }
}

fn open(source: &Source, transfer: &Transfer) -> Result<(Origin, Option<u64>), Failure> {
    match source {
        Source::Url(url) => open_url(url, transfer),
        Source::Cached { file: path, sha256 } => open_cached(path.clone(), *sha256),
        Source::File(path) => {
            let (file, length) = open_file(path)?;
            Ok((Origin::Plain(Box::new(file)), length))
        }
        Source::Stdin | Source::Host(_) | Source::Layers(_) | Source::Registry(_) => {
            let failed = || "read standard input";
            let file = File::from(io::stdin().as_fd().try_clone_to_owned().tried(failed)?);
            if file.is_terminal() {
                return Err(Failure::new("read standard input: it is a terminal")
                    .hint("curl URL | fetch-rootfs - DIR, or FILE in place of -"));
            }
            let length = length(&file).tried(failed)?;
            Ok((Origin::Plain(Box::new(file)), length))
        }
    }
}

fn open_file(path: &std::path::Path) -> Result<(File, Option<u64>), Failure> {
    let file = File::open(path).tried(|| format!("open {path:?}"))?;
    let length = length(&file).tried(|| format!("look at {path:?}"))?;
    Ok((file, length))
}

/// What is left of a file: of standard input something may have been read.
fn length(mut file: &File) -> io::Result<Option<u64>> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(None);
    }
    Ok(Some(about.len().saturating_sub(file.stream_position()?)))
}

fn open_cached(path: PathBuf, sha256: [u8; 32]) -> Result<(Origin, Option<u64>), Failure> {
    let (file, length) = open_file(&path)?;
    Ok((Origin::Cached { file, path, sha256 }, length))
}

/// Asks whether what the cache has is still what the server has.
fn open_url(url: &str, transfer: &Transfer) -> Result<(Origin, Option<u64>), Failure> {
    let place = transfer.cache.as_deref();
    let known = place.and_then(|place| cache::known(place, url));
    let version = known.as_ref().map(|known| &known.version);
    let download =
        Download::open(transfer.client(), url, transfer.retries, version).map_err(|failure| {
            match &known {
                Some(_) => failure.hint("--offline takes what is in the cache"),
                None => failure,
            }
        })?;
    let Some(download) = download else {
        let cached = place.zip(known).and_then(|(place, known)| {
            cache::file(place, known.sha256).map(|path| (path, known.sha256))
        });
        let (path, sha256) = cached
            .ok_or_else(|| Failure::new(format!("take {url:?} from the cache: it is gone")))?;
        return open_cached(path, sha256);
    };
    let cache = place.and_then(|place| cache::begin(place).inspect_err(cache::not_kept).ok());
    let length = download.length();
    Ok((Origin::Url { download: Box::new(download), url: url.to_owned(), cache }, length))
}

/// Whether a file of the cache is what its name says. One that is not is removed.
fn is_whole(digests: &[Digest], path: &std::path::Path, sha256: [u8; 32]) -> Result<(), Failure> {
    if digests.iter().any(|one| one.kind == Kind::Sha256 && one.bytes == sha256) {
        return Ok(());
    }
    Err(cache::damaged(path, sha256, true)
        .hint("run it again, without --offline: it is then downloaded anew"))
}

impl Fetched {
    /// All is well: the cache gets it.
    pub fn keep(&mut self) {
        let Some((pending, url, known)) = self.keep.take() else { return };
        if let Err(failure) = pending.keep(&url, &known).tried(|| "write into the cache") {
            cache::not_kept(&failure);
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            match self.origin.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        let bytes = &buffer[..read];
        self.digester.update(bytes);
        self.bytes += read as u64;
        if let Some(verifier) = &mut self.verifier {
            verifier.write_all(bytes)?;
        }
        if let Origin::Url { cache, .. } = &mut self.origin
            && let Some(Err(error)) = cache.as_mut().map(|cache| cache.write_all(bytes))
        {
            drop(cache.take()); // its room may be what the tree needs
            if let Err(failure) = Err::<(), _>(error).tried(|| "write into the cache") {
                cache::not_kept(&failure);
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.add(read as u64);
        }
        Ok(read)
    }
}
