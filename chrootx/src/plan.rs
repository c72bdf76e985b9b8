//! From the request to the steps. Reads the new root's account files; writes nothing.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, inroot};
use nix::errno::Errno;
use nix::sys::stat::{fstat, stat};
use nix::unistd::geteuid;

use crate::account::Accounts;
use crate::capability::{self, Set};
use crate::cli::Cli;
use crate::engine::{self, Search};
use crate::identity::Identity;
use crate::landlock::Rules;
use crate::limit::Limit;
use crate::root::Attributes;
use crate::seccomp::Filter;
use crate::step::{Hands, Step};
use crate::variable::Variable;

/// What chrootx will do, with the new root in hand.
pub fn plan(mut cli: Cli, hands: &mut Hands) -> Result<Vec<Step>, Failure> {
    let gone = gone(&cli)?;
    if cli.print_seccomp {
        return Ok(vec![Step::PrintFilter(Filter::standard(gone.unwrap_or(Set::NONE))?)]);
    }
    let (place, command) = cli.take_words();
    let root = &*hands.root.insert(inroot::open_root(&place)?);
    let is_ours = is_ours(root, &place)?;
    if cli.skip_chdir && !is_ours {
        return Err(Failure::usage(format!(
            "stay where we are with --skip-chdir: {place:?} is another root"
        ))
        .hint("only with / can the working directory stay; else it is /, or --workdir"));
    }
    let identity = match (&cli.user, &cli.groups) {
        (None, None) => Identity::default(),
        (spec, list) => {
            let text = |word: &OsString| text(word).map(str::to_owned);
            let spec = spec.as_ref().map(text).transpose()?;
            let list = list.as_ref().map(text).transpose()?;
            accounts(root)?.identity(spec.as_deref(), list.as_deref())?
        }
    };
    let command = match command.is_empty() {
        true => {
            hands.is_default = true;
            vec![shell(root, &identity)?]
        }
        false => command,
    };
    let mut variables = match (&identity.user, identity.uid) {
        (Some(user), _) => Variable::of(user),
        (None, Some(uid)) => Variable::of_number(uid),
        (None, None) => vec![],
    };
    for text in &cli.env {
        variables.extend(Variable::parse(text)?);
    }
    let limits: Result<Vec<_>, _> = cli.rlimit.iter().map(|text| Limit::parse(text)).collect();
    let filter = cli.seccomp.map(|name| filter(name, gone)).transpose()?;
    let mut rules = Rules::join(&cli.landlock)?;
    if let Some(rules) = &mut rules {
        hands.allowed = rules.open(root)?;
    }
    let umask = cli.umask.as_deref().map(mask).transpose()?;

    let keep: BTreeSet<u32> = cli.keep_fd.into_iter().collect();
    if let Some(outside) = cli.in_place.filter(|outside| keep.contains(outside)) {
        return Err(Failure::usage(format!(
            "leave {outside} open by --keep-fd: it is the mount namespace outside, a way out"
        ))
        .hint("leave --keep-fd out, or --in-place"));
    }
    let ready = cli.ready.as_deref().and_then(engine::number);
    // What a shell has a digit for, and nobody uses.
    let mut digits = (3..10).rev().filter(|digit| !keep.contains(digit) && ready != Some(*digit));
    let mut digit = || digits.next().unwrap_or(9);
    let (hold_digit, ready_digit) = (digit(), ready.unwrap_or_else(&mut digit));

    let mut steps = Vec::from_iter(cli.in_place.map(Step::InPlace));
    steps.push(Step::Descriptors { keep: keep.clone(), ready });
    steps.extend(cli.hold.clone().map(|path| Step::OpenHold(path, hold_digit)));
    let opened = cli.ready.clone().filter(|_| ready.is_none());
    steps.extend(opened.map(|path| Step::OpenReady(path, ready_digit)));
    let terminal = cli.console_socket.is_some();
    steps.extend(cli.console_socket.map(Step::Connect));
    steps.extend((!cli.skip_chdir).then_some(Step::Enter(place)));
    steps.extend((!cli.chroot && cli.in_place.is_none()).then_some(Step::OwnMounts));
    // What is the root already needs no mount of its own, and has nothing outside.
    let pivot = !cli.chroot && !is_ours;
    hands.place = if cli.chroot && !is_ours { "." } else { "/" };
    steps.extend(pivot.then_some(Step::MountOnItself));
    let mount = if is_ours { "/" } else { "." };
    let attributes = Attributes { read_only: cli.read_only, nodev: cli.nodev };
    steps.extend(
        (attributes != Attributes::default()).then_some(Step::Attributes(mount, attributes)),
    );
    steps.extend(cli.new_keyring.then_some(Step::Keyring));
    let no_new_privs = cli.no_new_privs || filter.is_some() || rules.is_some();
    steps.extend(no_new_privs.then_some(Step::NoNewPrivileges));
    steps.extend(cli.clear_env.then_some(Step::ClearEnvironment));
    steps.extend(pivot.then_some(Step::Pivot));
    let path = variables.iter().rev().find_map(Variable::search_path).map(OsStr::to_owned);
    let (soon, late): (Vec<_>, _) = variables.into_iter().partition(Variable::is_for_export);
    steps.extend((!soon.is_empty()).then_some(Step::Environment(soon)));
    steps.extend(limits?.into_iter().map(Step::Limit));
    steps.extend(umask.map(Step::Umask));
    steps.extend(terminal.then_some(Step::Terminal(identity.uid)));
    if cli.ready.is_some() {
        let here = cli.skip_chdir.then(|| env::current_dir().ok()).flatten();
        let workdir = cli.workdir.clone().or(here).unwrap_or("/".into());
        let command = command[0].clone(); // there is one, the shell at least
        let root = if cli.skip_chdir { "/" } else { "." };
        steps.push(Step::Ready(Search { command, workdir, path, root }, ready_digit));
    }
    steps.extend(cli.hold.map(|_| Step::Hold(hold_digit)));
    steps.push(Step::Chroot { stay: cli.skip_chdir, identity, gone });
    steps.extend(cli.workdir.map(Step::Workdir));
    steps.extend(rules.map(Step::Landlock));
    steps.extend(filter);
    steps.extend((!late.is_empty()).then_some(Step::LateEnvironment(late)));
    steps.push(Step::Exec(command));
    Ok(steps)
}

/// Whether it is the root that we have. Another mount of the same folder is not.
fn is_ours(root: &OwnedFd, place: &Path) -> Result<bool, Failure> {
    let what = || format!("look at the root file system {place:?}");
    let same = file::same(&fstat(root).tried(what)?, &stat("/").tried(what)?);
    Ok(same && place.canonicalize().tried(what)? == Path::new("/"))
}

/// The capabilities that are to go, if there is anything to do about them.
fn gone(cli: &Cli) -> Result<Option<Set>, Failure> {
    let set = Set::to_go(cli.cap_default, cli.chroot, &cli.cap_drop, &cli.cap_keep)?.known()?;
    Ok((set != Set::NONE || capability::are_inheritable()).then_some(set))
}

fn filter(name: PathBuf, gone: Option<Set>) -> Result<Step, Failure> {
    Ok(match name == Path::new("default") {
        true => {
            let filter = Filter::standard(gone.unwrap_or(Set::NONE))?;
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
fn accounts(root: impl AsFd) -> Result<Accounts, Failure> {
    let read = |file: &str| match inroot::read_in(&root, Path::new(file)) {
        Err(failure) if failure.kernel_said() == Some(Errno::ENOENT) => Ok(String::new()),
        outcome => outcome,
    };
    Ok(Accounts::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// The shell of whoever COMMAND would run as.
fn shell(root: impl AsFd, who: &Identity) -> Result<OsString, Failure> {
    let user = match who.uid {
        Some(_) => who.user.clone(),
        None => accounts(root)?.by_uid(geteuid().as_raw()).cloned(),
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

    fn planned(args: &[&str]) -> Result<Vec<Step>, Failure> {
        let cli = Cli::try_parse_from([&["chrootx"], args].concat()).expect("a good command line");
        plan(cli, &mut Hands::default())
    }

    #[test]
    fn the_default_pivots_in_a_mount_namespace_of_its_own() {
        assert_eq!(
            planned(&["/usr", "sh", "-c", "x", "--help"]).expect("/usr is there"),
            [
                Step::Descriptors { keep: BTreeSet::new(), ready: None },
                Step::Enter("/usr".into()),
                Step::OwnMounts,
                Step::MountOnItself,
                Step::Pivot,
                Step::Chroot { stay: false, identity: Identity::default(), gone: None },
                Step::Exec(["sh", "-c", "x", "--help"].map(OsString::from).into()),
            ]
        );
    }

    #[test]
    fn options_end_at_the_root() {
        let command = |args: &[&str]| planned(args).expect("/usr is there").pop();
        for words in [
            &["--seccomp", "allow", "unshare", "-U"][..],
            &["-u", "nobody", "id"],
            &["--help"],
            &["-n"],
        ] {
            let wanted = Step::Exec(words.iter().map(OsString::from).collect());
            let args = [&["--umask", "022", "/usr"], words].concat();
            assert_eq!(command(&args), Some(wanted.clone()), "{args:?}");
            let args = [&["--umask", "022", "--", "/usr"], words].concat();
            assert_eq!(command(&args), Some(wanted), "{args:?}");
        }
    }

    #[test]
    fn chroot_is_the_plain_call() {
        let ways_out = Set::to_go(false, true, &[], &[]).expect("no names");
        let steps =
            planned(&["--chroot", "--keep-fd", "7", "-w", "/tmp", "/usr"]).expect("/usr is there");
        assert_eq!(
            steps,
            [
                Step::Descriptors { keep: [7].into(), ready: None },
                Step::Enter("/usr".into()),
                Step::Chroot { stay: false, identity: Identity::default(), gone: Some(ways_out) },
                Step::Workdir("/tmp".into()),
                Step::Exec(vec!["/bin/sh".into()]),
            ]
        );
        let script = script(&steps);
        assert!(script.contains("\ncd -P /usr  # "), "{script}");
        assert!(script.contains("\nexec capsh --chroot=. --inh= --noamb --drop=cap_"), "{script}");
    }

    #[test]
    fn the_shell_and_the_identity_are_the_roots() {
        let root = env::temp_dir().join(format!("chrootx-plan-{}", std::process::id()));
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
