//! From the request to the steps. Reads the new root's account files; writes nothing.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use common::{Failure, inroot};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::account::{Accounts, Identity};
use crate::cli::Cli;
use crate::step::Step;

/// What chrootx will do.
pub fn plan(cli: Cli) -> Result<Vec<Step>, Failure> {
    let root = inroot::open_root(&cli.root)?;
    let identity = match &cli.user {
        Some(spec) => {
            let list = cli.groups.as_deref().map(text).transpose()?;
            Some(accounts(&root)?.identity(text(spec)?, list)?)
        }
        None => None,
    };
    let command = match cli.command {
        command if command.is_empty() => vec![shell(&root, identity.as_ref())?],
        command => command,
    };
    let mut steps = Vec::new();
    if !cli.chroot {
        steps.extend([Step::OwnMounts, Step::MountOnItself(cli.root.clone())]);
    }
    steps.push(Step::Enter(cli.root));
    if !cli.chroot {
        steps.push(Step::Pivot);
    }
    steps.extend(identity.as_ref().and_then(|who| who.user.clone()).map(Step::Environment));
    steps.push(Step::Chroot(identity));
    steps.extend(cli.workdir.map(Step::Workdir));
    steps.push(Step::Exec(command));
    Ok(steps)
}

fn text(argument: &OsStr) -> Result<&str, Failure> {
    argument.to_str().ok_or_else(|| {
        Failure::usage(format!("read a user or group from {argument:?}: not UTF-8 text"))
    })
}

/// Reads passwd and group; a root without them has no names, which is no error yet.
fn accounts(root: impl std::os::fd::AsFd) -> Result<Accounts, Failure> {
    let read = |file: &str| match inroot::read_in(&root, Path::new(file)) {
        Err(failure) if failure.kernel_said() == Some(Errno::ENOENT) => Ok(String::new()),
        outcome => outcome,
    };
    Ok(Accounts::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// The shell of whoever COMMAND would run as.
fn shell(root: impl std::os::fd::AsFd, who: Option<&Identity>) -> Result<OsString, Failure> {
    let user = match who {
        Some(Identity { uid: Some(_), user, .. }) => user.clone(),
        _ => accounts(root)?.by_uid(geteuid().as_raw()).cloned(),
    };
    let shell = user.map(|user| user.shell).filter(|shell| !shell.is_empty());
    Ok(shell.map_or_else(|| OsStr::new("/bin/sh").to_owned(), OsString::from))
}
