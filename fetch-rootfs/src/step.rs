//! What fetch-rootfs does, step by step.

mod entries;
mod lines;
mod sources;
mod summary;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::resident::{self, Side};
use common::{Failure, Flow, Line, report, shell};
use nix::sys::stat::FileStat;

use crate::cache;
use crate::checksum::{self, Digest, Kind};
use crate::cli::{Rules, Source};
use crate::host::Piece;
use crate::idmap::IdMap;
use crate::input::{Fetched, Input};
use crate::list;
use crate::oci::Format;
use crate::oci::reference::Reference;
use crate::outcome::Outcome;
use crate::signature;
use crate::staging::{self, Staging};
use crate::transfer::Transfer;
use crate::wanted::Check;

use entries::{extract, list};
use lines::is_image;
use sources::{get, open, verified_list};
pub use summary::About;
use summary::summary;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A user namespace with the user's subordinate ids.
    Map(IdMap),
    /// A folder beside the target, for the time being.
    Begin { unfinished: PathBuf, dir: PathBuf, cache: Option<PathBuf> },
    /// The archive.
    Open {
        source: Source,
        archive: PathBuf,
        transfer: Transfer,
        checks: Vec<Check>,
        show: bool,
        digest: bool,
    },
    /// A small file that goes with it: a list of digests, a signature.
    Get { source: Source, copy: PathBuf, transfer: Transfer },
    /// That list is its maker's.
    VerifyList { list: PathBuf, shown: String, signature: PathBuf, keyring: PathBuf },
    /// What is in it.
    Extract(Content, Tree),
    /// It is what it should be.
    Verify { archive: PathBuf, unfinished: PathBuf, check: Check },
    /// A folder for what a list needs, in which nothing is kept; perhaps only a script needs it.
    Scratch { unfinished: PathBuf, dir: PathBuf, needed: bool },
    /// The names of what would be extracted; held back until they are verified.
    List { content: Content, tree: Tree, json: bool, hold: bool },
    /// They are.
    PrintList { unfinished: PathBuf },
    /// Something of the machine's own.
    Place { piece: Piece, root: PathBuf },
    /// The finished tree gets its name.
    Publish { root: PathBuf, dir: PathBuf },
    /// The path, or all that is worth telling.
    Print { dir: PathBuf, json: Option<About> },
}

/// What a tree, or a list, is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The entries of an archive; or its layers, if it is an image.
    Archive { archive: PathBuf, format: Option<Format> },
    /// An image from a registry.
    Image {
        reference: Reference,
        transfer: Transfer,
        /// Its files, if they are to be had from the cache alone, and are to be told.
        cached: Vec<PathBuf>,
    },
    /// Archives on top of each other.
    Layers(Vec<PathBuf>),
}

/// Where it grows, and by what rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub unfinished: PathBuf,
    pub rules: Rules,
    pub privileged: bool,
}

/// What is held while the steps are done.
#[derive(Default)]
pub struct Hands {
    staging: Option<Staging>,
    /// The empty folder in whose place the tree is.
    replaced: Option<FileStat>,
    input: Option<Input>,
    /// The list of digests, if it was signed.
    list: Option<Vec<u8>>,
    listed: Vec<Digest>,
    fetched: Fetched,
    kept: Vec<Fetched>,
    /// What waits to be printed.
    waiting: Option<File>,
    outcome: Option<Outcome>,
    start: Option<Instant>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        let word = |path: &PathBuf| shell::operand(path);
        Line::Run(match self {
            Self::Map(map) => return Line::Within(map.line()),
            Self::Begin { unfinished, .. } => {
                format!("{}; mkdir {}/root", scratch_line(unfinished), word(unfinished))
            }
            Self::Open { source: Source::Url(url), archive: to, transfer, .. }
            | Self::Get { source: Source::Url(url), copy: to, transfer } => {
                transfer.line(url, &word(to))
            }
            Self::Get {
                source: Source::Cached { file, .. } | Source::File(file), copy, ..
            } => {
                format!("cp {} {}", word(file), word(copy))
            }
            Self::Get { copy, .. } => format!("cat >{}", word(copy)),
            Self::VerifyList { list, signature, keyring, .. } => {
                signature::line(keyring, signature, &word(list))
            }
            Self::Open { source: Source::Cached { file, .. } | Source::File(file), .. } => {
                format!("test -r {}", word(file))
            }
            Self::Open { archive, .. } => format!("cat >{}", word(archive)),
            Self::Extract(content, tree) => tree.line(content),
            Self::Verify { archive, unfinished, check } => check.line(archive, unfinished),
            Self::Scratch { unfinished, .. } => scratch_line(unfinished),
            Self::List { content, tree, hold, .. } => tree.list_line(content, *hold),
            Self::PrintList { unfinished } => format!("cat {}", word(&unfinished.join("list"))),
            Self::Place { piece, root } => piece.line(root),
            Self::Publish { root, dir } => format!("mv -T {} {}", word(root), word(dir)),
            Self::Print { dir, json: None } => format!("echo {}", word(dir)),
            Self::Print { dir, json: Some(about) } => {
                format!("echo {}", shell::quote(&summary(dir, about, None).to_string()))
            }
        })
    }

    fn why(&self) -> String {
        match self {
            Self::Map(_) => "0 is you there, 1 and up are your subordinate ids; subuid(5)",
            Self::Begin { .. } => {
                "it grows beside its place, and goes again if anything fails; \
                mkdir(2)"
            }
            Self::Open { source: Source::Cached { .. }, .. } => "it is in the cache; test(1)",
            Self::Open {
                source: Source::Url(_),
                transfer: Transfer { cache: Some(cache), .. },
                ..
            } => {
                return format!("the archive; fetch-rootfs keeps a copy in {cache:?}; curl(1)");
            }
            Self::Open { .. } => "the archive; curl(1), cat(1)",
            Self::Get { .. } => "what it is compared with; curl(1), cp(1)",
            Self::VerifyList { .. } => "by a key of the keyring; gpgv(1)",
            Self::Extract(content, _) => return content.why(),
            Self::Scratch { .. } => "what is needed meanwhile; mkdir(2)",
            Self::List { json: true, .. } => "what is in it, here but the names; tar(1), find(1)",
            Self::List { .. } => "what is in it; tar(1), find(1)",
            Self::PrintList { .. } => "it is verified",
            Self::Verify { check, .. } => check.why(),
            Self::Place { piece, .. } => return piece.why(),
            Self::Publish { .. } => "all of it appears at once; rename(2)",
            Self::Print { .. } => "for the next program",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Map(map) => map.enter()?,
            Self::Begin { dir, cache, .. } => return begin(dir, cache.as_deref(), true, hands),
            Self::Scratch { dir, needed: true, .. } => return begin(dir, None, false, hands),
            Self::Scratch { .. } => {}
            Self::Open { source, transfer, checks, show, digest, .. } => {
                let kinds = if *digest { vec![Kind::Sha256] } else { Vec::new() };
                hands.input = Some(open(source, transfer, checks, kinds, *show, hands)?);
            }
            Self::Get { source, copy, transfer } => get(source, copy, transfer, hands)?,
            Self::VerifyList { list, shown, signature, keyring } => {
                hands.list = Some(verified_list(list, shown, signature, keyring)?);
            }
            Self::Extract(content, tree) => extract(content, &tree.rules, hands)?,
            Self::List { content, tree, json, hold } => {
                list(content, &tree.rules, *json, *hold, hands)?;
            }
            Self::PrintList { .. } => {
                hands.waiting.take().map_or(Ok(()), |list| list::print(&list))?;
            }
            Self::Verify { check, .. } => verify(check, hands)?,
            Self::Place { piece, .. } => piece.place(hands.staging()?.tree().as_fd())?,
            Self::Publish { dir, .. } => publish(dir, hands)?,
            Self::Print { dir, json: None } => {
                report::print_bytes(&[dir.as_os_str().as_bytes(), b"\n"].concat())?;
            }
            Self::Print { dir, json: Some(about) } => {
                report::print(&format!("{}\n", summary(dir, about, Some(hands))))?;
            }
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Publish { dir, .. } => hands.staging()?.take_back(dir, hands.replaced),
            Self::Begin { .. } => hands.staging()?.discard(),
            _ => Ok(()),
        }
    }
}

impl Step {
    /// Whether a script keeps something in that folder to list what is in it.
    pub fn script_needs(&self, folder: &Path) -> bool {
        match self {
            Self::List { content: Content::Archive { archive, format }, .. } => {
                is_image(*format) || archive.starts_with(folder)
            }
            step => matches!(step, Self::List { .. }),
        }
    }
}

/// A folder of the script's own, which goes with it. dash(1) does not heed EXIT where a signal ends it.
fn scratch_line(folder: &Path) -> String {
    let folder = shell::operand(folder);
    let removed = shell::quote(&format!("rm -rf {folder}"));
    format!("mkdir -m 700 {folder}; trap 'exit 130' INT; trap 'exit 143' TERM; trap {removed} EXIT")
}

impl Hands {
    fn staging(&self) -> Result<&Staging, Failure> {
        self.staging.as_ref().ok_or_else(|| Failure::new("go on without a folder to work in"))
    }
}

/// A child does all the rest: whatever ends it, a signal or a full disk, its parent is there to
/// clear up. If the parent is killed, so is the child, and the next run clears up.
fn begin(dir: &Path, cache: Option<&Path>, keep: bool, hands: &mut Hands) -> Result<Flow, Failure> {
    hands.start = Some(Instant::now());
    let staging = Staging::new(dir)?;
    let forked = resident::fork(true).inspect_err(|_| staging.abandon());
    match forked? {
        Side::Child => {
            staging::without_umask();
            hands.staging = Some(staging);
            Ok(Flow::Next)
        }
        Side::Parent(child) => {
            let status = child.wait()?;
            if status != 0 || !keep {
                staging.discard()?;
            }
            if status != 0 {
                cache.into_iter().for_each(cache::sweep);
            }
            Ok(Flow::Done(status))
        }
    }
}

fn verify(check: &Check, hands: &mut Hands) -> Result<(), Failure> {
    let made = &hands.fetched.digests;
    match check {
        Check::Digest(wanted) => checksum::verify(wanted, made),
        Check::Listed { .. } => {
            hands.listed.iter().try_for_each(|wanted| checksum::verify(wanted, made))
        }
        Check::Signed { .. } => match hands.fetched.verifier.take() {
            Some(verifier) => verifier.finish("the archive"),
            None => Err(Failure::new("verify the archive: nobody has looked at its signature")),
        },
    }
}

fn publish(dir: &Path, hands: &mut Hands) -> Result<(), Failure> {
    hands.replaced = hands.staging()?.publish(dir)?;
    hands.fetched.keep();
    hands.kept.iter_mut().for_each(Fetched::keep);
    hands.outcome.iter().for_each(Outcome::tell);
    Ok(())
}
