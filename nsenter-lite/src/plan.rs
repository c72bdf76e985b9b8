//! From the request to the steps. Looks at the target's namespaces; changes nothing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use common::{Failure, Mode, Tried, exec, pid, sys};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getegid, geteuid};

use crate::child::Child;
use crate::cli::{Cli, Propagation, Setgroups};
use crate::create::{Creation, IdMap};
use crate::descriptor::Passed;
use crate::enter::Entry;
use crate::hint;
use crate::join;
use crate::namespace::{ALL, Kind};
use crate::pidfile::Place;
use crate::report::Herald;
use crate::step::{Hands, Step};

/// What nsenter-lite will do, and what it holds for that.
pub fn plan(cli: Cli) -> Result<(Vec<Step>, Hands), Failure> {
    let (reports, mode) = (cli.reports, cli.mode());
    reports.check(&cli.joins.fd)?;
    // The caller's descriptors are taken before we open any of our own.
    let mut herald = match mode {
        Mode::DryRun => {
            check_script(&cli)?;
            Herald::default()
        }
        Mode::Act | Mode::Explain => reports.herald()?,
    };
    let (steps, hands) = prepare(cli, &mut herald).inspect_err(|failure| herald.failed(failure))?;
    Ok((steps, Hands { herald, ..hands }))
}

/// Refuses a script of what no shell can do.
fn check_script(cli: &Cli) -> Result<(), Failure> {
    cli.reports.check_script()?;
    cli.joins.fd.iter().try_for_each(Passed::check_script)?;
    if cli.joins.outside_command {
        return Err(Failure::new(
            "write a script of this: no shell runs a program by its descriptor; leave \
             --outside-command out",
        ));
    }
    Ok(())
}

/// What COMMAND is to get is placed before we open anything of our own, so that no number is ours.
fn prepare(cli: Cli, herald: &mut Herald) -> Result<(Vec<Step>, Hands), Failure> {
    if cli.mode() != Mode::DryRun {
        cli.joins.fd.iter().try_for_each(Passed::open)?;
        herald.look_at_proc()?;
    }
    whole(cli)
}

fn whole(mut cli: Cli) -> Result<(Vec<Step>, Hands), Failure> {
    let (reports, joins, mode) = (cli.reports, cli.joins.clone(), cli.mode());
    let command = match std::mem::take(&mut cli.command) {
        command if command.is_empty() => vec![shell()],
        command => command,
    };
    let (mut pid_place, mut program) = (None, None);
    if mode != Mode::DryRun {
        pid_place = cli.pid_file.as_deref().map(Place::find).transpose()?;
        program = joins.outside_command.then(|| exec::open(&command)).transpose()?;
    }
    let (next, mut hands) = if let Some(target) = &cli.target {
        enter(&cli, pid::parse(target)?)?
    } else {
        let steps = create(cli, (geteuid().as_raw(), getegid().as_raw()))?;
        let joined = match steps.first() {
            Some(Step::Join(joined)) if mode != Mode::DryRun => join::open_all(joined)?,
            _ => Vec::new(),
        };
        (steps, Hands { joined, ..Hands::default() })
    };
    (hands.pid_place, hands.program) = (pid_place, program);
    let mut steps: Vec<_> = joins.fd.into_iter().map(Step::Fd).chain(next).collect();
    steps.extend(reports.block_fd.map(Step::Block));
    steps.extend(reports.ready_fd.map(Step::Ready));
    steps.push(match joins.outside_command {
        true => Step::ExecOpened(command),
        false => Step::Exec(command),
    });
    Ok((steps, hands))
}

fn shell() -> OsString {
    env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

/// `outside` are the user and the group who ask.
fn create(cli: Cli, outside: (u32, u32)) -> Result<Vec<Step>, Failure> {
    let mut wanted = cli.namespaces;
    wanted.user |= cli.map_root_user || cli.map_current_user;
    let names = cli.hostname.is_some() || cli.domainname.is_some();
    // What an option implies is made, unless one is joined.
    wanted.mount |= cli.mount_proc.is_some() && !cli.joins.has(Kind::Mount);
    wanted.uts |= names && !cli.joins.has(Kind::Uts);
    wanted.net |= cli.network.wanted() && !cli.joins.has(Kind::Net);
    let joined = cli.joins.ordered(&wanted.kinds())?;
    let born = wanted.pid || wanted.time || cli.joins.has(Kind::Pid) || cli.joins.has(Kind::Time);
    let tie = cli.kill_child.or((wanted.pid && !cli.reports.detach).then_some(Signal::SIGKILL));
    let forks = cli.fork || born || tie.is_some() || cli.reports.forks();
    let ids = id_map(&cli, outside);
    check_user(&cli, wanted.user, ids)?;
    let creation = Creation {
        kinds: wanted.kinds(),
        ids,
        setgroups: cli.setgroups,
        propagation: cli.propagation,
        child: forks.then_some(Child { tie }),
    };
    let mut steps = Vec::from_iter((!joined.is_empty()).then_some(Step::Join(joined)));
    if !creation.kinds.is_empty() || forks {
        steps.push(Step::Create(creation));
    }
    steps.extend(cli.pid_file.map(Step::PidFile));
    let shared = matches!(cli.propagation, Propagation::Shared | Propagation::Unchanged);
    steps.extend(cli.mount_proc.map(|dir| Step::Proc { dir, shared }));
    steps.extend(cli.hostname.map(Step::Hostname));
    steps.extend(cli.domainname.map(Step::Domainname));
    steps.extend(cli.network.loopback.then_some(Step::Loopback));
    steps.extend(cli.network.ping.map(Step::Ping));
    if steps.is_empty() {
        return Err(Failure::usage("no namespace asked for")
            .hint("say which, as nsenter-lite --pid --mount; nsenter-lite --help lists them"));
    }
    Ok(steps)
}

fn id_map(cli: &Cli, outside: (u32, u32)) -> Option<IdMap> {
    let inside = match cli {
        Cli { map_root_user: true, .. } => (0, 0),
        Cli { map_current_user: true, .. } => outside,
        _ => return None,
    };
    Some(IdMap { inside, outside })
}

/// Options about users that don't go together.
fn check_user(cli: &Cli, has_user: bool, ids: Option<IdMap>) -> Result<(), Failure> {
    if cli.setgroups.is_some() && !has_user {
        return Err(Failure::usage("use --setgroups without a user namespace").hint("add --user"));
    }
    if cli.setgroups == Some(Setgroups::Allow) && ids.is_some() {
        return Err(Failure::usage("allow setgroups while mapping oneself")
            .hint("the kernel maps a group for an ordinary user only where setgroups is denied"));
    }
    let rootless = has_user && ids.is_none_or(|map| map.inside.0 != 0);
    let needs_root = cli.mount_proc.is_some()
        || cli.hostname.is_some()
        || cli.domainname.is_some()
        || cli.network.wanted();
    if rootless && needs_root && cli.mode() == Mode::DryRun {
        // Who is not root in a user namespace loses its capabilities by the first execve(2): the
        // tool mounts before that, and a shell can't.
        return Err(Failure::new(
            "write a script of this: no shell can mount, or set the host \
            name or up a network, in a user namespace in which it is not root",
        )
        .hint("add --map-root-user"));
    }
    Ok(())
}

fn enter(cli: &Cli, target: Pid) -> Result<(Vec<Step>, Hands), Failure> {
    cli.check_target()?;
    let pidfd = sys::pidfd_open(target)
        .tried(|| format!("find process {target}"))
        .map_err(hint::for_target)?;
    let hands = Hands { target: Some(pidfd), ..Hands::default() };
    let asked = cli.namespaces.kinds();
    let kinds = if cli.all { differing(target, &asked)? } else { asked };
    if kinds.is_empty() && !cli.all {
        return Err(Failure::usage("no namespace of the target asked for")
            .hint(format!("nsenter-lite -t {target} -a enters all of them")));
    }
    let forks =
        kinds.contains(&Kind::Pid) || cli.fork || cli.kill_child.is_some() || cli.reports.forks();
    let entry = Entry {
        target,
        preserve_credentials: cli.preserve_credentials,
        child: (forks && !cli.no_fork).then_some(Child { tie: cli.kill_child }),
        kinds,
    };
    // Where all are ours already there is nothing to enter.
    let enters = !entry.kinds.is_empty() || entry.child.is_some();
    let mut steps = Vec::from_iter(enters.then_some(Step::Enter(entry)));
    steps.extend(cli.pid_file.clone().map(Step::PidFile));
    Ok((steps, hands))
}

/// The kinds in which the target lives elsewhere than we do, and those asked for by letter. To
/// enter the user namespace that one is in is an error to the kernel, so `--all` leaves it out.
fn differing(target: Pid, asked: &[Kind]) -> Result<Vec<Kind>, Failure> {
    let mut kinds = Vec::new();
    for kind in ALL {
        let (ours, theirs) = (link("self", kind), link(target, kind));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs && !asked.contains(&kind) => {}
            (Ok(_), Ok(_)) => kinds.push(kind),
            // A kernel without this kind has no such link.
            (Err(Errno::ENOENT), _) => {}
            (_, Err(errno)) | (Err(errno), _) => {
                return Err(Failure::errno(
                    format!("look at the namespaces of process {target}"),
                    errno,
                )
                .hint_if(Errno::EACCES, || "that takes root, or a process of your own".into())
                .hint_if(Errno::ENOENT, || {
                    "the process has ended, and waits for its parent".into()
                }));
            }
        }
    }
    Ok(kinds)
}

fn link(process: impl std::fmt::Display, kind: Kind) -> Result<PathBuf, Errno> {
    fs::read_link(format!("/proc/{process}/ns/{}", kind.link()))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const ORDINARY: (u32, u32) = (1000, 100);

    fn steps(words: &str) -> Result<Vec<Step>, Failure> {
        let words = ["nsenter-lite"].into_iter().chain(words.split_whitespace());
        create(Cli::try_parse_from(words).expect("a good command line"), ORDINARY)
    }

    fn creation(words: &str) -> Creation {
        match steps(words).expect("a plan").swap_remove(0) {
            Step::Create(creation) => creation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_are_unshares_own() {
        for (words, line) in [
            ("--mount", "unshare --mount"),
            ("-p", "unshare --pid --fork --kill-child"),
            ("-fp", "unshare --pid --fork --kill-child"),
            ("-p --kill-child=TERM", "unshare --pid --fork --kill-child=SIGTERM"),
            ("-f", "unshare --fork"),
            ("-T", "unshare --time --fork"),
            ("-r", "unshare --user --map-root-user"),
            ("-c", "unshare --user --map-current-user"),
            ("-U --setgroups deny", "unshare --user --setgroups deny"),
            ("-m --propagation slave", "unshare --mount --propagation slave"),
            ("-u --propagation slave", "unshare --uts"),
            ("-muinC", "unshare --mount --uts --ipc --net --cgroup"),
        ] {
            assert_eq!(creation(words).line(), line, "{words}");
        }
    }

    #[test]
    fn options_imply_their_namespaces() {
        assert_eq!(creation("--mount-proc").kinds, [Kind::Mount]);
        assert_eq!(creation("--hostname box").kinds, [Kind::Uts]);
        assert_eq!(creation("-r").ids, Some(IdMap { inside: (0, 0), outside: ORDINARY }));
        assert_eq!(creation("-c").ids, Some(IdMap { inside: ORDINARY, outside: ORDINARY }));
    }

    #[test]
    fn the_pid_is_written_while_proc_is_still_the_one_of_outside() {
        let steps = steps("-p --hostname box --mount-proc=d --pid-file f").expect("a plan");
        let proc = Step::Proc { dir: "d".into(), shared: false };
        assert_eq!(steps[1..], [Step::PidFile("f".into()), proc, Step::Hostname("box".into())]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in ["", "--setgroups deny -m", "-r --setgroups allow"] {
            let failure = steps(words).expect_err("no plan");
            assert_eq!(failure.status(common::Form::Plain), 2, "{words}");
        }
        let lost = "--user --hostname box --dry-run";
        assert!(steps(lost).is_err(), "a shell would have lost its capabilities");
    }
}
