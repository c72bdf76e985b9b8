//! From the request to the steps. Looks at the target and, for `host`, at the machine's programs;
//! writes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::cache;
use crate::checksum::{Digest, Kind};
use crate::cli::{Cli, Rules, Source};
use crate::credentials;
use crate::host;
use crate::staging;
use crate::step::{About, Step};
use crate::transfer::Transfer;
use crate::wanted::{Check, Wanted};

/// What fetch-rootfs will do.
pub fn plan(cli: &Cli) -> Result<Vec<Step>, Failure> {
    let ((source, wanted), rules) = (cli.request()?, cli.rules()?);
    let transfer = cli.transfer.transfer()?;
    let Some(dir) = cli.dir.as_ref().filter(|_| !cli.list_entries) else {
        return listing(source, transfer, wanted, rules);
    };
    let dir = target(dir)?;
    let unfinished = unfinished(&dir)?;
    let root = unfinished.join("root");
    let about = cli.json.then(|| about(cli, &source));
    let mut steps = vec![Step::Begin {
        unfinished: unfinished.clone(),
        dir: dir.clone(),
        cache: transfer.cache.clone(),
    }];
    match source {
        Source::Host(programs) => {
            if wanted != Wanted::default() {
                return Err(Failure::usage("verify host: it is no archive"));
            }
            let pieces = host::pieces(&programs)?;
            steps.extend(pieces.into_iter().map(|piece| Step::Place { piece, root: root.clone() }));
        }
        source => steps.extend(archive(source, transfer, wanted, rules, &unfinished, cli.json)?),
    }
    steps.extend([Step::Publish { root, dir: dir.clone() }, Step::Print { dir, json: about }]);
    Ok(steps)
}

/// What is known of the source before it is there.
fn about(cli: &Cli, source: &Source) -> About {
    let url = match source {
        Source::Url(url) => Some(credentials::split_url(url).0),
        _ => None,
    };
    About { source: credentials::split_url(cli.source.as_deref().unwrap_or_default()).0, url }
}

/// What is compared with comes before the archive, and the comparisons after it.
fn archive(
    source: Source,
    transfer: Transfer,
    wanted: Wanted,
    rules: Rules,
    unfinished: &Path,
    digest: bool,
) -> Result<Vec<Step>, Failure> {
    let (mut steps, checks) = beside(&source, &transfer, wanted, unfinished)?;
    let archive = open(source, transfer, &checks, unfinished, (!rules.quiet, digest), &mut steps)?;
    let (root, privileged) = (unfinished.join("root"), geteuid().is_root());
    steps.push(Step::Extract { archive: archive.clone(), root, rules, privileged });
    steps.extend(comparisons(checks, &archive, unfinished));
    Ok(steps)
}

/// The step that opens the archive; gives where it is for a script.
fn open(
    source: Source,
    transfer: Transfer,
    checks: &[Check],
    unfinished: &Path,
    (show, digest): (bool, bool),
    steps: &mut Vec<Step>,
) -> Result<PathBuf, Failure> {
    let source = at_hand(source, &transfer, checks)?;
    let archive = match &source {
        Source::File(file) | Source::Cached { file, .. } => readable(file)?,
        _ => unfinished.join("archive"),
    };
    let checks = checks.to_vec();
    steps.push(Step::Open { source, archive: archive.clone(), transfer, checks, show, digest });
    Ok(archive)
}

fn comparisons(
    checks: Vec<Check>,
    archive: &Path,
    unfinished: &Path,
) -> impl Iterator<Item = Step> {
    let (archive, unfinished) = (archive.to_owned(), unfinished.to_owned());
    checks.into_iter().map(move |check| Step::Verify {
        archive: archive.clone(),
        unfinished: unfinished.clone(),
        check,
    })
}

/// The list of digests and the signature, and what is to be compared. A signature is that of the
/// list if there is one, for that is what makers sign.
fn beside(
    source: &Source,
    transfer: &Transfer,
    wanted: Wanted,
    unfinished: &Path,
) -> Result<(Vec<Step>, Vec<Check>), Failure> {
    let mut steps = Vec::new();
    let ours = match source {
        Source::Url(url) => Some(url.as_str()),
        _ => None,
    };
    let mut get = |from: Source, name: &str| match &from {
        Source::Url(url) => {
            let (transfer, copy) = (transfer.beside(ours, url), unfinished.join(name));
            let source = at_hand(from, &transfer, &[])?;
            steps.push(Step::Get { source, copy: copy.clone(), transfer });
            Ok(copy)
        }
        Source::File(file) => readable(file),
        _ => Err(Failure::new("compare with what is neither a file nor a URL")),
    };
    let mut checks: Vec<Check> = wanted.digests.into_iter().map(Check::Digest).collect();
    let list = match wanted.list {
        Some((from, name)) => {
            let shown = shown(&from);
            Some((get(from, "checksums")?, shown, name))
        }
        None => None,
    };
    let signature = match wanted.signature {
        Some((from, keyring)) => Some((get(from, "signature")?, readable(&keyring)?)),
        None => None,
    };
    match (&list, signature) {
        (Some((list, shown, _)), Some((signature, keyring))) => {
            let (list, shown) = (list.clone(), shown.clone());
            steps.push(Step::VerifyList { list, shown, signature, keyring });
        }
        (None, Some((signature, keyring))) => checks.push(Check::Signed { signature, keyring }),
        (_, None) => {}
    }
    checks.extend(list.map(|(list, shown, name)| Check::Listed { list, shown, name }));
    Ok((steps, checks))
}

fn shown(source: &Source) -> String {
    match source {
        Source::Url(url) => credentials::split_url(url).0,
        Source::File(file) => file.display().to_string(),
        _ => String::new(),
    }
}

fn readable(file: &Path) -> Result<PathBuf, Failure> {
    drop(File::open(file).tried(|| format!("open {file:?}"))?);
    Ok(file.to_owned())
}

/// A URL that needs no network: its digest is wanted and in the cache, or it is to be taken from
/// there whatever the server has meanwhile.
fn at_hand(source: Source, transfer: &Transfer, checks: &[Check]) -> Result<Source, Failure> {
    let Source::Url(url) = &source else { return Ok(source) };
    let given = checks.iter().find_map(|check| match check {
        Check::Digest(Digest { kind: Kind::Sha256, bytes }) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    let place = transfer.cache.as_deref();
    let known = place.filter(|_| transfer.offline).and_then(|place| cache::known(place, url));
    let cached = given
        .into_iter()
        .chain(known.map(|known| known.sha256))
        .find_map(|sha256| Some(Source::Cached { file: cache::file(place?, sha256)?, sha256 }));
    match (cached, transfer.offline) {
        (Some(cached), _) => Ok(cached),
        (None, false) => Ok(source),
        (None, true) => {
            let place = place.map_or_else(|| "none".into(), |place| format!("{place:?}"));
            let url = credentials::split_url(url).0;
            Err(Failure::new(format!("take {url:?} from the cache, {place}: it is not there"))
                .hint("get it once without --offline"))
        }
    }
}

/// The names in an archive: nothing is made.
fn listing(
    source: Source,
    transfer: Transfer,
    wanted: Wanted,
    rules: Rules,
) -> Result<Vec<Step>, Failure> {
    if matches!(source, Source::Host(_)) {
        return Err(Failure::usage("list the entries of host: it is no archive"));
    }
    let scratch = std::env::temp_dir().join(format!("fetch-rootfs-{}", std::process::id()));
    let (beside, checks) = beside(&source, &transfer, wanted, &scratch)?;
    if beside.iter().any(|step| matches!(step, Step::Get { .. })) {
        return Err(Failure::usage("list the entries and verify them by what a URL has")
            .hint("get the checksums or the signature first, and name the file"));
    }
    let mut steps = beside;
    let archive = open(source, transfer, &checks, &scratch, (!rules.quiet, false), &mut steps)?;
    if archive.starts_with(&scratch) {
        steps.insert(0, Step::Scratch(scratch.clone()));
    }
    steps.push(Step::List { archive: archive.clone(), rules });
    steps.extend(comparisons(checks, &archive, &scratch));
    Ok(steps)
}

/// The target's absolute path, if it may be made.
fn target(dir: &Path) -> Result<PathBuf, Failure> {
    let (parent, name) = staging::split(dir)?;
    let parent = fs::canonicalize(&parent)
        .tried(|| format!("make {dir:?}: look at {parent:?}"))
        .map_err(|f| {
            f.hint_if(Errno::ENOENT, || format!("mkdir -p {}", common::shell::operand(&parent)))
        })?;
    let dir = parent.join(name);
    let failed = || format!("make {dir:?}");
    match fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(dir),
        Err(error) => return Err(error).tried(failed),
        Ok(about) if !about.is_dir() => {
            return Err(Failure::errno(failed(), Errno::EEXIST)
                .hint("it is there, and no directory: choose another name"));
        }
        Ok(_) => {}
    }
    match fs::read_dir(&dir).tried(failed)?.next() {
        None => Ok(dir),
        Some(_) => Err(Failure::errno(failed(), Errno::ENOTEMPTY)
            .hint("it has something in it: choose another name, or remove it first")),
    }
}

/// Where the tree grows, as it is called in messages and scripts.
fn unfinished(dir: &Path) -> Result<PathBuf, Failure> {
    let (parent, name) = staging::split(dir)?;
    let mut unfinished = staging::prefix(&name);
    unfinished.push(std::process::id().to_string());
    Ok(parent.join(unfinished))
}
