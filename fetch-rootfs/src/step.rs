//! What fetch-rootfs does, step by step.

use std::os::fd::AsFd;
use std::path::PathBuf;

use common::resident::{self, Side};
use common::{Failure, Flow, Line, report, shell};

use crate::cli::{Rules, Source, hex};
use crate::codec;
use crate::extract::Extractor;
use crate::host::Piece;
use crate::input::Input;
use crate::staging::{self, Staging};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A folder beside the target, for the time being.
    Begin { unfinished: PathBuf, dir: PathBuf },
    /// The archive.
    Open { source: Source, archive: PathBuf, rules: Rules },
    /// Its entries.
    Extract { archive: PathBuf, root: PathBuf, rules: Rules, privileged: bool },
    /// Its digest.
    Verify { archive: PathBuf, sha256: [u8; 32] },
    /// Something of the machine's own.
    Place { piece: Piece, root: PathBuf },
    /// The finished tree gets its name.
    Publish { root: PathBuf, dir: PathBuf },
    /// The path.
    Print(PathBuf),
}

/// What is held while the steps are done.
#[derive(Default)]
pub struct Hands {
    staging: Option<Staging>,
    input: Option<Input>,
    digest: Option<[u8; 32]>,
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        let word = |path: &PathBuf| shell::operand(path);
        Line::Run(match self {
            Self::Begin { unfinished, .. } => {
                let unfinished = word(unfinished);
                format!(
                    "mkdir -m 700 {unfinished}; trap 'exit 130' INT; trap 'exit 143' TERM; \
                     trap {} EXIT; mkdir {unfinished}/root",
                    shell::quote(&format!("rm -rf {unfinished}"))
                )
            }
            Self::Open { source: Source::Url(url), archive, .. } => {
                format!("curl -fsSL -o {} {}", word(archive), shell::word(url))
            }
            Self::Open { source: Source::File(file), .. } => format!("test -r {}", word(file)),
            Self::Open { archive, .. } => format!("cat >{}", word(archive)),
            Self::Extract { archive, root, rules, privileged } => {
                extract_line(&word(archive), &word(root), rules, *privileged)
            }
            Self::Verify { archive, sha256 } => {
                format!("echo {}'  '{} | sha256sum --check --quiet", hex(sha256), word(archive))
            }
            Self::Place { piece, root } => piece.line(root),
            Self::Publish { root, dir } => format!("mv -T {} {}", word(root), word(dir)),
            Self::Print(dir) => format!("echo {}", word(dir)),
        })
    }

    fn why(&self) -> String {
        match self {
            Self::Begin { .. } => {
                "it grows beside its place, and goes again if anything fails; \
                mkdir(2)"
            }
            Self::Open { .. } => "the archive; curl(1), cat(1)",
            Self::Extract { .. } => "owners by number, exact modes, all attributes; tar(1)",
            Self::Verify { .. } => "before it gets its name; sha256sum(1)",
            Self::Place { piece, .. } => return piece.why(),
            Self::Publish { .. } => "all of it appears at once; rename(2)",
            Self::Print(_) => "for the next program",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Begin { dir, .. } => return begin(dir, hands),
            Self::Open { source, rules, .. } => hands.input = Some(Input::open(source, rules)?),
            Self::Extract { rules, .. } => hands.digest = extract(rules, hands)?,
            Self::Verify { sha256, .. } => verify(*sha256, hands.digest)?,
            Self::Place { piece, .. } => piece.place(hands.staging()?.tree().as_fd())?,
            Self::Publish { dir, .. } => hands.staging()?.publish(dir)?,
            Self::Print(dir) => report::print(&format!("{}\n", dir.display()))?,
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Begin { .. } => hands.staging()?.discard(),
            _ => Ok(()),
        }
    }
}

impl Hands {
    fn staging(&self) -> Result<&Staging, Failure> {
        self.staging.as_ref().ok_or_else(|| Failure::new("go on without a folder to work in"))
    }
}

/// A child does all the rest: whatever ends it, a signal or a full disk, its parent is there to
/// clear up. If the parent is killed, so is the child, and the next run clears up.
fn begin(dir: &std::path::Path, hands: &mut Hands) -> Result<Flow, Failure> {
    let staging = Staging::new(dir)?;
    match resident::fork(true).inspect_err(|_| drop(staging.discard()))? {
        Side::Child => {
            staging::without_umask();
            hands.staging = Some(staging);
            Ok(Flow::Next)
        }
        Side::Parent(child) => {
            let status = child.wait()?;
            if status != 0 {
                staging.discard()?;
            }
            Ok(Flow::Done(status))
        }
    }
}

fn extract_line(archive: &str, root: &str, rules: &Rules, privileged: bool) -> String {
    let mut commands = vec![format!(
        "tar --extract --file {archive} --directory {root} --preserve-permissions --numeric-owner \
         --xattrs --xattrs-include='*'"
    )];
    if !privileged {
        commands.push(format!("find {root} -type f -perm /6000 -exec chmod ug-s {{}} +"));
    }
    if rules.skip_devices {
        commands.push(format!("find {root} '(' -type b -o -type c ')' -exec rm {{}} +"));
    }
    commands.join(" && ")
}

/// Reads, decodes and extracts in one pass; then reads what is left, for the digest is of all.
fn extract(rules: &Rules, hands: &mut Hands) -> Result<Option<[u8; 32]>, Failure> {
    let mut input = hands.input.take().ok_or_else(|| Failure::new("extract without an archive"))?;
    let staging = hands.staging()?;
    Extractor::new(staging.tree().as_fd(), rules).all(codec::decoder(&mut input)?)?;
    input.finish()
}

fn verify(wanted: [u8; 32], digest: Option<[u8; 32]>) -> Result<(), Failure> {
    if digest == Some(wanted) {
        return Ok(());
    }
    let found = digest.map_or_else(|| "unknown".into(), |digest| hex(&digest));
    Err(Failure::new(format!("verify the archive: its SHA-256 is {found}, not {}", hex(&wanted)))
        .hint("it is damaged, or another version, or not what its maker published: do not use it"))
}
