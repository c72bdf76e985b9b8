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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use common::step::script;
    use std::fs;
    use std::path::PathBuf;

    fn planned(args: &[&str]) -> Result<Vec<Step>, Failure> {
        plan(Cli::try_parse_from([&["chrootx"], args].concat()).expect("a good command line"))
    }

    #[test]
    fn the_default_pivots_in_a_mount_namespace_of_its_own() {
        let root = PathBuf::from("/usr");
        assert_eq!(
            planned(&["/usr", "sh", "-c", "x", "--help"]).expect("/usr is there"),
            [
                Step::OwnMounts,
                Step::MountOnItself(root.clone()),
                Step::Enter(root),
                Step::Pivot,
                Step::Chroot(None),
                Step::Exec(["sh", "-c", "x", "--help"].map(OsString::from).into()),
            ]
        );
    }

    #[test]
    fn chroot_is_the_plain_call() {
        let steps = planned(&["--chroot", "-w", "/tmp", "/usr"]).expect("/usr is there");
        assert_eq!(
            steps,
            [
                Step::Enter("/usr".into()),
                Step::Chroot(None),
                Step::Workdir("/tmp".into()),
                Step::Exec(vec!["/bin/sh".into()]),
            ]
        );
        let script = script(&steps);
        assert!(script.starts_with("#!/bin/sh\nset -e\ncd /usr  # "), "{script}");
        assert!(script.contains("\nexec chroot . sh -e -c '"), "{script}");
    }

    #[test]
    fn the_shell_and_the_identity_are_the_roots() {
        let root = std::env::temp_dir().join(format!("chrootx-plan-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).expect("a temporary folder");
        fs::write(root.join("etc/passwd"), "ann:x:7:8::/a:/bin/annsh\n").expect("a new file");
        let steps = planned(&["-u", "ann", root.to_str().expect("a plain name")]);
        fs::remove_dir_all(&root).expect("it was just made");
        let steps = steps.expect("ann is known");
        assert!(steps.contains(&Step::Exec(vec!["/bin/annsh".into()])), "{steps:?}");
        let line = "exec chroot --userspec=7:8 --groups=8 . /bin/annsh  # ";
        assert!(script(&steps).contains(line), "{steps:?}");
    }
}
