//! From the request to the steps. Reads the new root's account files; writes nothing.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use common::{Failure, inroot};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::account::{Accounts, Identity};
use crate::capability::{self, Set};
use crate::cli::Cli;
use crate::limit::Limit;
use crate::seccomp::Filter;
use crate::step::Step;
use crate::variable::Variable;

/// What chrootx will do.
pub fn plan(cli: Cli) -> Result<Vec<Step>, Failure> {
    let gone = gone(&cli)?;
    if cli.print_seccomp {
        return Ok(vec![Step::PrintFilter(Filter::standard(gone.unwrap_or(Set::NONE)))]);
    }
    let place = cli.root.unwrap_or_default(); // clap has asked for it
    let root = inroot::open_root(&place)?;
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
    let mut variables =
        identity.as_ref().and_then(|who| who.user.as_ref()).map_or(vec![], Variable::of);
    for text in &cli.env {
        variables.extend(Variable::parse(text)?);
    }
    let limits: Result<Vec<_>, _> = cli.rlimit.iter().map(|text| Limit::parse(text)).collect();
    let filter = cli.seccomp.map(|name| filter(name, gone)).transpose()?;
    let umask = cli.umask.as_deref().map(mask).transpose()?;

    let mut steps = vec![Step::Descriptors(cli.keep_fd.into_iter().collect())];
    if !cli.chroot {
        steps.extend([Step::OwnMounts, Step::MountOnItself(place.clone())]);
    }
    steps.extend(cli.read_only.then(|| Step::ReadOnly(place.clone())));
    steps.extend(cli.new_keyring.then_some(Step::Keyring));
    let no_new_privs = cli.no_new_privs || filter.is_some();
    steps.extend(no_new_privs.then_some(Step::NoNewPrivileges));
    steps.extend(cli.clear_env.then_some(Step::ClearEnvironment));
    steps.push(Step::Enter(place));
    if !cli.chroot {
        steps.push(Step::Pivot);
    }
    if !variables.is_empty() {
        steps.push(Step::Environment(variables));
    }
    steps.extend(limits?.into_iter().map(Step::Limit));
    steps.extend(umask.map(Step::Umask));
    steps.push(Step::Chroot { identity, gone });
    steps.extend(cli.workdir.map(Step::Workdir));
    steps.extend(filter);
    steps.push(Step::Exec(command));
    Ok(steps)
}

/// The capabilities that are to go, if there is anything to do about them.
fn gone(cli: &Cli) -> Result<Option<Set>, Failure> {
    let set = Set::to_go(cli.cap_default, cli.chroot, &cli.cap_drop, &cli.cap_keep)?.known()?;
    Ok((set != Set::NONE || capability::are_inheritable()).then_some(set))
}

fn filter(name: PathBuf, gone: Option<Set>) -> Result<Step, Failure> {
    Ok(match name == Path::new("default") {
        true => {
            let filter = Filter::standard(gone.unwrap_or(Set::NONE));
            Step::Filter { name: "default.bpf".into(), filter }
        }
        false => Step::Filter { filter: Filter::read(&name)?, name },
    })
}

fn mask(text: &str) -> Result<u32, Failure> {
    u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777).ok_or_else(|| {
        Failure::usage(format!("read a umask from {text:?}: no octal number up to 777"))
            .hint("022 is usual: nobody else may write")
    })
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
    use std::collections::BTreeSet;
    use std::fs;

    fn planned(args: &[&str]) -> Result<Vec<Step>, Failure> {
        plan(Cli::try_parse_from([&["chrootx"], args].concat()).expect("a good command line"))
    }

    #[test]
    fn the_default_pivots_in_a_mount_namespace_of_its_own() {
        let root = PathBuf::from("/usr");
        assert_eq!(
            planned(&["/usr", "sh", "-c", "x", "--help"]).expect("/usr is there"),
            [
                Step::Descriptors(BTreeSet::new()),
                Step::OwnMounts,
                Step::MountOnItself(root.clone()),
                Step::Enter(root),
                Step::Pivot,
                Step::Chroot { identity: None, gone: None },
                Step::Exec(["sh", "-c", "x", "--help"].map(OsString::from).into()),
            ]
        );
    }

    #[test]
    fn chroot_is_the_plain_call() {
        let ways_out = Set::to_go(false, true, &[], &[]).expect("no names");
        let steps =
            planned(&["--chroot", "--keep-fd", "7", "-w", "/tmp", "/usr"]).expect("/usr is there");
        assert_eq!(
            steps,
            [
                Step::Descriptors([7].into()),
                Step::Enter("/usr".into()),
                Step::Chroot { identity: None, gone: Some(ways_out) },
                Step::Workdir("/tmp".into()),
                Step::Exec(vec!["/bin/sh".into()]),
            ]
        );
        let script = script(&steps);
        assert!(script.contains("\ncd /usr  # "), "{script}");
        assert!(script.contains("\nexec capsh --chroot=. --inh= --noamb --drop=cap_"), "{script}");
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
