//! From the request to the steps. Looks at the target and, for `host`, at the machine's programs;
//! writes nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::cli::{Cli, Source};
use crate::host;
use crate::staging;
use crate::step::Step;

/// What fetch-rootfs will do.
pub fn plan(cli: &Cli) -> Result<Vec<Step>, Failure> {
    let (source, rules) = (cli.source()?, cli.rules()?);
    let dir = target(&cli.dir)?;
    let unfinished = unfinished(&dir)?;
    let root = unfinished.join("root");
    let mut steps = vec![Step::Begin { unfinished: unfinished.clone(), dir: dir.clone() }];
    match source {
        Source::Host(programs) => {
            if rules.sha256.is_some() {
                return Err(Failure::usage("verify host by --sha256: it is no archive"));
            }
            let pieces = host::pieces(&programs)?;
            steps.extend(pieces.into_iter().map(|piece| Step::Place { piece, root: root.clone() }));
        }
        source => {
            let archive = match &source {
                Source::File(path) => {
                    drop(File::open(path).tried(|| format!("open {path:?}"))?);
                    path.clone()
                }
                _ => unfinished.join("archive"),
            };
            let privileged = geteuid().is_root();
            let sha256 = rules.sha256;
            steps.push(Step::Open { source, archive: archive.clone(), rules: rules.clone() });
            steps.push(Step::Extract {
                archive: archive.clone(),
                root: root.clone(),
                rules,
                privileged,
            });
            steps.extend(sha256.map(|sha256| Step::Verify { archive, sha256 }));
        }
    }
    steps.extend([Step::Publish { root, dir: dir.clone() }, Step::Print(dir)]);
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
