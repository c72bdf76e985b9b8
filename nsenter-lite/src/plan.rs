//! From the request to the steps. Reads `/proc`; changes nothing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use common::{Failure, pid};
use nix::errno::Errno;
use nix::unistd::{Pid, getegid, geteuid};

use crate::cli::{Cli, Propagation};
use crate::namespace::{ALL, Kind};
use crate::step::{Child, IdMap, Step};

/// What nsenter-lite will do.
pub fn plan(mut cli: Cli) -> Result<Vec<Step>, Failure> {
    let command = match std::mem::take(&mut cli.command) {
        command if command.is_empty() => vec![shell()],
        command => command,
    };
    let mut steps = if cli.target.is_some() { enter(&cli)? } else { create(&mut cli)? };
    steps.push(Step::Exec(command));
    Ok(steps)
}

fn shell() -> OsString {
    env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

fn create(cli: &mut Cli) -> Result<Vec<Step>, Failure> {
    let wanted = &mut cli.namespaces;
    wanted.user |= cli.map_root_user || cli.map_current_user;
    wanted.mount |= cli.mount_proc.is_some();
    wanted.uts |= cli.hostname.is_some();
    let kinds = wanted.kinds();
    if kinds.is_empty() && !cli.fork && cli.pid_file.is_none() {
        return Err(Failure::usage("no namespace asked for")
            .hint("say which, as nsenter-lite --pid --mount; nsenter-lite --help lists them"));
    }
    let mut steps = Vec::new();
    if kinds.contains(&Kind::User) {
        steps.push(Step::OwnUser(id_map(cli)));
    }
    let (for_children, own): (Vec<Kind>, Vec<Kind>) =
        kinds.iter().filter(|kind| **kind != Kind::User).partition(|kind| kind.is_for_children());
    if !own.is_empty() {
        let propagation = own.contains(&Kind::Mount).then_some(cli.propagation);
        steps.push(Step::Own { kinds: own, propagation });
    }
    if cli.fork || !for_children.is_empty() {
        let tied = cli.kill_child || for_children.contains(&Kind::Pid);
        steps.push(Step::Born { kinds: for_children, child: Child { tied } });
    }
    steps.extend(cli.pid_file.take().map(Step::PidFile));
    steps.extend(cli.mount_proc.take().map(Step::Proc));
    steps.extend(cli.hostname.take().map(Step::Hostname));
    Ok(steps)
}

fn id_map(cli: &Cli) -> Option<IdMap> {
    let outside = (geteuid().as_raw(), getegid().as_raw());
    let inside = match cli {
        Cli { map_root_user: true, .. } => (0, 0),
        Cli { map_current_user: true, .. } => outside,
        _ => return None,
    };
    Some(IdMap { inside, outside })
}

fn enter(cli: &Cli) -> Result<Vec<Step>, Failure> {
    cli.check_target()?;
    let target = pid::parse(cli.target.as_deref().unwrap_or_default())?;
    if !pid::exists(target) {
        return Err(Failure::new(format!(
            "enter the namespaces of process {target}: no such process"
        ))
        .hint("ps -e lists the processes"));
    }
    let asked = cli.namespaces.kinds();
    let kinds = if cli.all { differing(target, &asked)? } else { asked };
    if kinds.is_empty() && !cli.all {
        return Err(Failure::usage("no namespace of the target asked for")
            .hint(format!("nsenter-lite -t {target} -a enters all of them")));
    }
    let forks = kinds.contains(&Kind::Pid) || cli.fork;
    Ok(vec![Step::Enter {
        target,
        be_root: kinds.contains(&Kind::User) && !cli.preserve_credentials,
        child: forks.then_some(Child { tied: cli.kill_child }),
        kinds,
    }])
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
                .hint_if(Errno::EACCES, || "that takes root, or a process of your own".into()));
            }
        }
    }
    Ok(kinds)
}

fn link(process: impl std::fmt::Display, kind: Kind) -> Result<PathBuf, Errno> {
    fs::read_link(format!("/proc/{process}/ns/{}", kind.link()))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// The word of unshare(1) for it.
pub fn propagation_word(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::Slave => "slave",
        Propagation::Shared => "shared",
        Propagation::Unchanged => "unchanged",
    }
}
