//! Images: a root file system as layers, one on top of the other, as OCI and Docker keep it.

pub mod auth;
pub mod challenge;
pub mod client;
pub mod digest;
mod download;
pub mod files;
mod helper;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod platform;
pub mod reference;
mod registry;
pub mod save;
pub mod script;
mod store;
pub mod url;
pub mod whiteout;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, shell};
use nix::errno::Errno;

use crate::archive::{self, Entries as _};
use crate::cli::Rules;
use crate::codec;
use crate::cpio;
use crate::entry::quoted;
use crate::limits::Entries;
use crate::overlap;
use crate::transfer::Transfer;
use digest::{Digest, Verified};
use download::Downloads;
use files::{Archive, Files, Folder};
use manifest::Chosen;
use platform::Platform;
use reference::Reference;
use registry::Registry;

/// Which image is meant, where there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub platform: Option<Platform>,
    pub image: Option<String>,
}

/// A layer, compressed or not: what it is called where it is, and what it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub name: String,
    pub digest: Option<Digest>,
    pub size: Option<u64>,
    /// The digest of the tar archive inside.
    pub diff_id: Digest,
}

/// What a file or a folder is, if it is no archive that GNU tar reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Layout,
    LayoutArchive,
    Saved,
    /// An archive by cpio, or compressed by lz4.
    Other,
}

/// What entries are for: a tree, or a list.
pub trait Target: Send {
    /// A whole archive that is no image.
    fn plain(&mut self, input: impl BufRead) -> Result<(), Failure>;
    /// A layer, on top of those before.
    fn layer(&mut self, input: impl Read) -> Result<(), Failure>;
    /// All layers are there.
    fn end(&mut self) -> Result<(), Failure>;
    fn rules(&self) -> &Rules;
    /// Where entries are counted.
    fn counter(&self) -> Entries;
}

/// As much of an archive as tells what it is: its first entry has one block, or three with an
/// extended header or a long name.
const HEAD: u64 = 8192;

/// Looks into an archive's beginning; gives what it is, if it is an image, and all of it.
fn look<R: BufRead>(mut decoded: R) -> Result<(bool, impl BufRead), Failure> {
    let mut head = Vec::new();
    let read = decoded.by_ref().take(HEAD).read_to_end(&mut head);
    read.map_err(|error| archive::read_failure(&error))?;
    Ok((files::is_image(&head), Cursor::new(head).chain(decoded)))
}

/// What a source on this machine is, told by its content; `None` for a plain archive. A file is
/// looked into only if something is to be said of it: who extracts it sees for itself. Of which kind
/// an image's archive is, only its end may tell.
pub fn recognise(path: &Path, said: bool) -> Result<Option<Format>, Failure> {
    let about = fs::metadata(path)
        .tried(|| format!("open {path:?}"))
        .map_err(|failure| failure.hint_if(Errno::ENOENT, || script::meant(path)))?;
    if about.is_dir() {
        return match path.join("oci-layout").exists() {
            true => Ok(Some(Format::Layout)),
            false => {
                Err(Failure::new(format!("read {path:?}: it is a directory, and no OCI layout"))
                    .hint("a folder of layers, in the order of their names, is layers:DIR"))
            }
        };
    }
    // A pipe can be read but once.
    if !said || !about.is_file() {
        return Ok(None);
    }
    let file = File::open(path).tried(|| format!("open {path:?}"))?;
    // What it is instead is told when it is read.
    let Ok(decoded) = codec::decoder(file) else { return Ok(None) };
    let Ok((image, mut archive)) = look(BufReader::new(decoded)) else { return Ok(None) };
    Ok(match image {
        true if names_layout(&mut archive) => Some(Format::LayoutArchive),
        true => Some(Format::Saved),
        false if !for_tar(path, &mut archive) => Some(Format::Other),
        false => None,
    })
}

/// Whether GNU tar reads it.
fn for_tar(path: &Path, mut archive: impl BufRead) -> bool {
    let lz4 = File::open(path).is_ok_and(codec::is_lz4);
    !lz4 && !archive.fill_buf().is_ok_and(cpio::is_header)
}

/// Goes through an image for the one file that tells its kind.
fn names_layout(archive: impl BufRead) -> bool {
    let mut reader = crate::tar::Reader::new(archive);
    while let Ok(Some(entry)) = reader.next() {
        if matches!(entry.name.as_slice(), b"oci-layout" | b"./oci-layout") {
            return true;
        }
    }
    false
}

/// Extracts an archive: if it is an image its layers, else what is in it. `scratch` makes the file
/// that an image is kept in meanwhile.
pub fn extract(
    decoded: impl BufRead,
    scratch: impl FnOnce() -> Result<File, Failure>,
    most: u64,
    choice: &Choice,
    target: &mut impl Target,
) -> Result<(), Failure> {
    let (is_image, archive) = look(decoded)?;
    if !is_image {
        return match choice {
            Choice { platform: None, image: None } => target.plain(archive),
            _ => Err(Failure::new("choose an image by --image or --platform: it is no image")
                .hint("a plain archive has but one root file system: leave the option out")),
        };
    }
    let archive = Archive::new(archive, scratch()?, most).map_err(|failure| {
        failure.hint_if(Errno::ENOSPC, || {
            "an image is copied beside the target first, and the disk is full: df -h".into()
        })
    })?;
    let layers = if archive.has("oci-layout") {
        layout::layers(&archive, choice)?
    } else if archive.has("manifest.json") {
        save::layers(&archive, choice)?
    } else {
        return Err(Failure::new("read the image: it has no oci-layout and no manifest.json")
            .hint("it begins as an image does; is it complete?"));
    };
    apply(&archive, &layers, target)
}

/// Extracts an image from a layout in a folder.
pub fn extract_folder(
    path: &Path,
    choice: &Choice,
    target: &mut impl Target,
) -> Result<(), Failure> {
    let folder = Folder::open(path)?;
    let layers = layout::layers(&folder, choice)?;
    apply(&folder, &layers, target)
}

/// Extracts an image from a registry; `scratch` is where its layers are kept meanwhile.
pub fn pull(
    reference: &Reference,
    rules: &Rules,
    transfer: &Transfer,
    scratch: File,
    target: &mut impl Target,
) -> Result<(), Failure> {
    let registry = Registry::new(reference, transfer, rules.plain_http)?;
    let layers = registry.choose(&rules.choice)?.layers;
    let entries = (!rules.quiet && io::stderr().is_terminal()).then(|| target.counter());
    let downloads = Downloads::start(registry, &layers, scratch, rules.max_size, entries)?;
    apply(&downloads, &layers, target)
}

/// The files of an image that is to be had from the cache alone: manifest, configuration, layers.
/// They are looked at, and nothing is done to them.
pub fn cached(
    reference: &Reference,
    transfer: &Transfer,
    rules: &Rules,
) -> Result<Vec<PathBuf>, Failure> {
    let mut registry = Registry::new(reference, transfer, rules.plain_http)?;
    registry.store.tidy = false;
    let Chosen { manifest, config, layers } = registry.choose(&rules.choice)?;
    let digests = layers.iter().filter_map(|layer| layer.digest);
    let file = |digest: Digest| {
        registry.store.path(digest).ok_or_else(|| registry.store.missing(&digest.to_string()))
    };
    [manifest, config].into_iter().chain(digests).map(file).collect()
}

/// Layers, the lowest first; each is held against its digests.
fn apply(files: &dyn Files, layers: &[Blob], target: &mut impl Target) -> Result<(), Failure> {
    for blob in layers {
        apply_one(files, blob, target)?;
    }
    target.end()
}

/// One thread decodes it, another extracts what comes out.
fn apply_one(files: &dyn Files, blob: &Blob, target: &mut impl Target) -> Result<(), Failure> {
    let layer = format!("the layer {}", quoted(&blob.name));
    let mut packed = Verified::new(files.open(&blob.name)?, blob.size);
    let outcome = overlap::decoded(&mut packed, target.rules().max_ratio, |pieces| {
        let mut content = Verified::new(pieces, None);
        target.layer(&mut content)?;
        content.finish(Some(blob.diff_id), &format!("the archive in {layer}"))
    });
    // What is wrong inside matters only if these are the right bytes.
    packed.finish(blob.digest, &layer)?;
    outcome
}

/// The archives of a folder, in the order of their names.
pub fn layers_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = || format!("look for layers in {folder:?}");
    let mut layers = Vec::new();
    for entry in fs::read_dir(folder).tried(failed)? {
        let path = entry.tried(failed)?.path();
        if !fs::metadata(&path).tried(|| format!("look at {path:?}"))?.is_file() {
            return Err(Failure::new(format!("{}: {path:?} is no file", failed()))
                .hint("only the layers' archives may be in it, named in their order"));
        }
        layers.push(path);
    }
    layers.sort();
    if layers.is_empty() {
        return Err(Failure::new(format!("{}: it is empty", failed())));
    }
    Ok(layers)
}

/// Extracts archives on top of each other.
pub fn extract_layers(layers: &[PathBuf], target: &mut impl Target) -> Result<(), Failure> {
    for path in layers {
        let file = File::open(path).tried(|| format!("open {path:?}"))?;
        overlap::decoded(file, target.rules().max_ratio, |pieces| target.layer(pieces))
            .map_err(|failure| failure.of(format!("take the layer {path:?}")))?;
    }
    target.end()
}

fn several(names: &[String]) -> Failure {
    let first = names.first().map_or("NAME", String::as_str);
    Failure::new(format!("choose an image: there are {}", list(names)))
        .hint(format!("--image {}", shell::word(first)))
}

fn none_named(wanted: &str, names: &[String]) -> Failure {
    Failure::new(format!("find the image {wanted:?}: there is {}", list(names)))
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(quoted).collect();
    match shown.is_empty() {
        true => "none with a name".into(),
        false => shown.join(", ").replace('"', ""),
    }
}
