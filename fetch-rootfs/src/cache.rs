//! What was downloaded once: files under the names of their digests, and for each URL the digest
//! of what it led to and the version that the server called it. An image's documents and layers are
//! such files, the URL of its manifest such a URL.
//!
//! ```text
//! sha256/DIGEST     the bytes
//! url/DIGEST        a few lines about the URL with this digest
//! unfinished/PID    being written, locked as long as its writer lives
//! ```
//!
//! A finished file is given its name by a rename, so that no run ever sees half of one. It is
//! digested again whenever it is read: a name proves nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, report};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use crate::cli::hex;
use crate::credentials;
use crate::download::Version;

const FOLDERS: [&str; 3] = ["sha256", "url", "unfinished"];

/// The cache's folder, which is ours.
#[derive(Clone, Debug)]
pub struct Cache(PathBuf);

/// What is known of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub version: Version,
    pub sha256: [u8; 32],
}

/// Where the cache is if nobody says otherwise: `$XDG_CACHE_HOME`, which counts only if it is
/// absolute, or `~/.cache`. Nowhere, if that is another user's, as where root runs with a user's
/// HOME, or if there is no such home: then the reason is given.
pub fn usual() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(base), _) => base,
        (None, Some(home)) if home.is_dir() => home.join(".cache"),
        (None, Some(home)) => return Err(format!("HOME is {home:?}, which is no directory")),
        (None, None) => return Err("neither HOME nor XDG_CACHE_HOME is an absolute path".into()),
    };
    let place = base.join("container-tools");
    let there = place.ancestors().find_map(|dir| Some((dir, fs::metadata(dir).ok()?)));
    match there {
        Some((dir, about)) if about.uid() != geteuid().as_raw() => {
            Err(format!("{dir:?} is another user's"))
        }
        _ => Ok(place),
    }
}

/// The file with this digest, if the cache at this place has it, and is ours.
pub fn file(place: &Path, sha256: [u8; 32]) -> Option<PathBuf> {
    let file = place.join("sha256").join(hex(&sha256));
    let is_there = fs::symlink_metadata(&file).ok()?.is_file();
    (is_there && refusal(place).is_none()).then_some(file)
}

/// What the cache at this place knows of a URL, and has the file of.
pub fn known(place: &Path, url: &str) -> Option<Known> {
    let text = fs::read_to_string(place.join("url").join(name_of(url))).ok()?;
    let known = Known::read(&text)?;
    file(place, known.sha256).map(|_| known)
}

/// A file of the cache is not what its name says; it goes, unless it is only looked at.
pub fn damaged(file: &Path, sha256: [u8; 32], remove: bool) -> Failure {
    let digits = hex(&sha256);
    let what = format!("read {file:?} of the cache: it is damaged, its SHA-256 is not {digits}");
    Failure::new(match remove.then(|| fs::remove_file(file)) {
        Some(Ok(())) => what + "; it was removed",
        Some(Err(_)) => what + "; it could not be removed",
        None => what,
    })
}

/// Something is wanted from the cache alone.
pub fn missing(what: &str, place: Option<&Path>) -> Failure {
    let Some(place) = place else {
        let why = usual().err().unwrap_or_default();
        return Failure::new(format!("take {what:?} from the cache: there is no cache: {why}"))
            .hint("--cache-dir DIR names one");
    };
    let failed = format!("take {what:?} from the cache {place:?}");
    match refusal(place) {
        Some(why) => Failure::new(format!("{failed}: {why}")).hint(OWN),
        None => {
            Failure::new(format!("{failed}: it is not there")).hint("get it once without --offline")
        }
    }
}

/// A cache that does not work is no reason to fail.
pub fn not_kept(failure: &Failure) {
    report::tell(&failure.lines("fetch-rootfs: note: it is not kept"));
}

const OWN: &str = "--cache-dir DIR takes one that is yours alone";

/// Why a place that is there can't be the cache: nobody else may write to it, for what a URL led to
/// is taken by its word.
fn refusal(place: &Path) -> Option<&'static str> {
    let about = fs::metadata(place).ok()?;
    if !about.is_dir() {
        return Some("it is no directory");
    }
    if about.uid() != geteuid().as_raw() {
        return Some("it is another user's");
    }
    (about.mode() & 0o022 != 0).then_some("others may write to it")
}

fn name_of(url: &str) -> String {
    hex(&Sha256::digest(url.as_bytes()))
}

/// Removes unfinished files whose writers are gone.
pub fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place.join("unfinished")) else { return };
    for entry in entries.flatten() {
        let Ok(file) = File::open(entry.path()) else { continue };
        if let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Its writer may have given it its name meanwhile.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Known {
    pub fn read(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let sha256 = crate::checksum::bytes(&value("sha256:")?)?.try_into().ok()?;
        let version = Version { etag: value("etag:"), modified: value("last-modified:") };
        Some(Self { version, sha256 })
    }

    pub fn text(&self, url: &str) -> String {
        let line = |key: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!("{key}: {value}\n"))
        };
        line("url", Some(&credentials::split_url(url).0))
            + &line("sha256", Some(&hex(&self.sha256)))
            + &line("etag", self.version.etag.as_deref())
            + &line("last-modified", self.version.modified.as_deref())
    }
}

/// Begins a file in the cache at this place.
pub fn begin(place: &Path) -> Result<Pending, Failure> {
    Cache::open(place)?.begin().tried(|| format!("write into the cache {place:?}"))
}

impl Cache {
    /// Makes its folders, and clears away what killed runs have left.
    pub fn open(place: &Path) -> Result<Self, Failure> {
        let checked = || match refusal(place) {
            Some(why) => Err(Failure::new(format!("use the cache {place:?}: {why}")).hint(OWN)),
            None => Ok(()),
        };
        checked()?;
        for folder in FOLDERS {
            let folder = place.join(folder);
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .tried(|| format!("make {folder:?}"))?;
        }
        checked()?; // somebody else may have made it meanwhile
        sweep(place);
        Ok(Self(place.to_owned()))
    }

    /// Begins a file.
    fn begin(&self) -> io::Result<Pending> {
        // Another run's sweep may come between making and locking it.
        for number in 0.. {
            let path = self.0.join("unfinished").join(format!("{}.{number}", std::process::id()));
            let made =
                OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                    continue;
                }
                outcome => outcome?,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if file.metadata()?.nlink() > 0 => {
                    return Ok(Pending { file, path, place: self.0.clone(), named: false });
                }
                _ if number < 100 => {}
                Ok(_) => break,
                Err((_, errno)) => return Err(errno.into()),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Remembers what a URL led to.
    pub fn remember(&self, url: &str, known: &Known) -> io::Result<()> {
        let mut about = self.begin()?;
        about.write_all(known.text(url).as_bytes())?;
        about.rename(&self.0.join("url").join(name_of(url)))
    }
}

/// A file that is being written. It goes away with the value, unless it was kept.
#[derive(Debug)]
pub struct Pending {
    file: Flock<File>,
    path: PathBuf,
    place: PathBuf,
    named: bool,
}

impl Pending {
    /// Gives the file its name, and remembers what the URL led to.
    pub fn keep(mut self, url: &str, known: &Known) -> io::Result<()> {
        self.name(known.sha256)?;
        Cache(self.place.clone()).remember(url, known)
    }

    /// Gives the file its name, which it has to deserve.
    pub fn name(&mut self, sha256: [u8; 32]) -> io::Result<()> {
        self.rename(&self.place.join("sha256").join(hex(&sha256)))
    }

    /// Its old name is then free, and may be another file's at once.
    fn rename(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.named = true;
        Ok(())
    }

    /// The file itself, under whatever name.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_as(etag: &str) -> Known {
        let version = Version { etag: Some(etag.into()), modified: None };
        Known { version, sha256: Sha256::digest(b"bytes").into() }
    }

    #[test]
    fn what_is_known_of_a_url_is_read_back() {
        let known = known_as("\"v 1\"");
        assert_eq!(Known::read(&known.text("https://me:secret@h/x")), Some(known.clone()));
        assert!(!known.text("https://me:secret@h/x").contains("secret"));
        for text in ["", "sha256: 12\n", "etag: x\n"] {
            assert_eq!(Known::read(text), None);
        }
    }

    /// A pull has several threads that begin files and name them.
    #[test]
    fn what_was_named_does_not_take_its_successor_away() {
        let place = std::env::temp_dir().join(format!("fetch-cache-two-{}", std::process::id()));
        let cache = Cache::open(&place).expect("a folder of our own");
        let mut first = cache.begin().expect("room for a file");
        first.name([1; 32]).expect("a rename");
        let mut second = cache.begin().expect("room for a file");
        drop(first);
        second.name([2; 32]).expect("it is still there");
        fs::remove_dir_all(place).expect("our own folder");
    }

    #[test]
    fn a_file_is_there_when_it_is_kept_and_not_before() {
        let place = std::env::temp_dir().join(format!("fetch-cache-{}", std::process::id()));
        let known = known_as("\"a\"");
        let cache = Cache::open(&place).expect("a folder of our own");
        let mut dropped = cache.begin().expect("room for a file");
        dropped.write_all(b"half").expect("room for a file");
        let mut kept = cache.begin().expect("a second one beside it");
        kept.write_all(b"bytes").expect("room for a file");
        sweep(&place);
        assert_eq!(super::known(&place, "u"), None);
        kept.keep("u", &known).expect("a rename");
        assert_eq!(super::known(&place, "u"), Some(known.clone()));
        let unfinished = || fs::read_dir(place.join("unfinished")).expect("a folder").count();
        assert_eq!(unfinished(), 1, "the other one is being written, and was not swept");
        drop(dropped);
        assert_eq!(unfinished(), 0);
        fs::write(place.join("unfinished/1.0"), "left by the dead").expect("a file");
        sweep(&place);
        assert_eq!(unfinished(), 0);
        fs::remove_file(file(&place, known.sha256).expect("it is kept")).expect("our own");
        assert_eq!(super::known(&place, "u"), None);
        fs::remove_dir_all(place).expect("our own folder");
    }
}
