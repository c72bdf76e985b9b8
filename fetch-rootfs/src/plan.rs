//! From the request to the steps. Looks at the target and, for `host`, at the machine's programs;
//! writes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use common::step::Mode;
use common::{Failure, Tried};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::cli::{Cli, Owner, Source};
use crate::credentials;
use crate::host;
use crate::idmap::IdMap;
use crate::oci::{self, Format};
use crate::retrieval::Retrieval;
use crate::staging;
use crate::step::{About, Content, Step, Tree};
use crate::transfer::Transfer;
use crate::wanted::Wanted;

/// What fetch-rootfs will do.
pub fn plan(cli: &Cli) -> Result<Vec<Step>, Failure> {
    let (source, wanted) = cli.request()?;
    let transfer = cli.transfer.transfer()?;
    let Some(dir) = &cli.dir else {
        return listing(cli, source, transfer, wanted);
    };
    let dir = target(dir)?;
    let unfinished = unfinished(&dir)?;
    let root = unfinished.join("root");
    let about = cli.json.then(|| about(cli, &source));
    let map = (cli.owner == Some(Owner::Map)).then(IdMap::of_user).transpose()?;
    let mut steps: Vec<Step> = map.into_iter().map(Step::Map).collect();
    steps.push(Step::Begin {
        unfinished: unfinished.clone(),
        dir: dir.clone(),
        cache: transfer.cache.clone(),
    });
    match source {
        Source::Host(programs) => {
            refuse_to_verify(&wanted, "host")?;
            let pieces = host::pieces(&programs)?;
            steps.extend(pieces.into_iter().map(|piece| Step::Place { piece, root: root.clone() }));
        }
        source => steps.extend(tree(cli, source, transfer, wanted, &unfinished, Step::Extract)?),
    }
    steps.extend([Step::Publish { root, dir: dir.clone() }, Step::Print { dir, json: about }]);
    Ok(steps)
}

/// The steps that make the tree of what is no host's; the one that does it is handed on.
fn tree(
    cli: &Cli,
    source: Source,
    transfer: Transfer,
    wanted: Wanted,
    unfinished: &Path,
    work: impl FnOnce(Content, Tree) -> Step,
) -> Result<Vec<Step>, Failure> {
    let rules = cli.rules()?;
    let mapped = rules.owner == Owner::Map && !cli.list_entries;
    let privileged = geteuid().is_root() || mapped;
    let tree = Tree { unfinished: unfinished.to_owned(), rules, privileged };
    let rules = &tree.rules;
    match source {
        Source::Registry(reference) => {
            refuse_to_verify(&wanted, "an image in a registry").map_err(|failure| {
                failure.hint("its own digest is part of its name: NAME@sha256:DIGITS")
            })?;
            if rules.choice.image.is_some() {
                return Err(Failure::usage(
                    "choose by --image in a registry: it is part of the name",
                )
                .hint("docker://NAME:TAG"));
            }
            if !transfer.headers.is_empty() {
                return Err(Failure::usage(
                    "send a --header to a registry: it is for a URL's server",
                )
                .hint(
                    "a registry knows people by skopeo login; REGISTRY_AUTH_FILE names its file",
                ));
            }
            let cached = match transfer.offline && cli.narration.mode() != Mode::Act {
                true => oci::cached(&reference, &transfer, rules)?,
                false => Vec::new(),
            };
            Ok(vec![work(Content::Image { reference, transfer, cached }, tree)])
        }
        Source::Layers(folder) => {
            refuse_to_verify(&wanted, "a folder of layers")?;
            Ok(vec![work(Content::Layers(oci::layers_in(&folder)?), tree)])
        }
        source => {
            let format = match &source {
                Source::File(path) => oci::recognise(path, cli.narration.mode() != Mode::Act)?,
                _ => None,
            };
            let show = !rules.quiet;
            let extract = |archive| work(Content::Archive { archive, format }, tree);
            match (source, format) {
                (Source::File(folder), Some(Format::Layout)) => {
                    refuse_to_verify(&wanted, "a folder")?;
                    Ok(vec![extract(folder)])
                }
                (source, _) => {
                    let tell = cli.json && !cli.list_entries;
                    let retrieval = Retrieval::new(source, transfer, unfinished, tell);
                    retrieval.steps(wanted, show, extract)
                }
            }
        }
    }
}

/// What is known of the source before it is there.
fn about(cli: &Cli, source: &Source) -> About {
    let url = match source {
        Source::Url(url) => Some(credentials::split_url(url).0),
        _ => None,
    };
    About { source: credentials::split_url(cli.source.as_deref().unwrap_or_default()).0, url }
}

/// The names in an archive: nothing is made, but for the time being. Where something is to be
/// verified, nothing is printed before it is.
fn listing(
    cli: &Cli,
    source: Source,
    transfer: Transfer,
    wanted: Wanted,
) -> Result<Vec<Step>, Failure> {
    if matches!(source, Source::Host(_)) {
        return Err(Failure::usage("list the entries of host: it is no archive"));
    }
    let (json, hold) = (cli.json, wanted != Wanted::default());
    let dir = std::env::temp_dir().join("fetch-rootfs");
    let unfinished = unfinished(&dir)?;
    let list = |content, tree| Step::List { content, tree, json, hold };
    let mut steps = tree(cli, source, transfer, wanted, &unfinished, list)?;
    let beside = steps.iter().any(|step| matches!(step, Step::Get { .. }));
    let for_script = steps.iter().any(|step| step.script_needs(&unfinished));
    if hold {
        steps.push(Step::PrintList { unfinished: unfinished.clone() });
    }
    if beside || hold || for_script {
        steps.insert(0, Step::Scratch { unfinished, dir, needed: beside });
    }
    Ok(steps)
}

fn refuse_to_verify(wanted: &Wanted, what: &str) -> Result<(), Failure> {
    match *wanted == Wanted::default() {
        true => Ok(()),
        false => {
            Err(Failure::usage(format!("verify {what} by --sha256 or its like: it is no archive")))
        }
    }
}

/// The target's absolute path, if it may be made.
fn target(dir: &Path) -> Result<PathBuf, Failure> {
    let (parent, name) = staging::split(dir)?;
    let parent = fs::canonicalize(&parent)
        .tried(|| format!("make {dir:?}: look at {parent:?}"))
        .map_err(|f| {
            f.hint_if(Errno::ENOENT, || match std::env::current_dir() {
                Err(_) if parent.is_relative() => {
                    "this working directory was removed: cd to one that is there".into()
                }
                _ => format!("mkdir -p {}", common::shell::operand(&parent)),
            })
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
