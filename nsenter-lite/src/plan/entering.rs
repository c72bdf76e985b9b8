//! The steps into the namespaces of a target.

use std::ffi::OsString;
use std::path::PathBuf;

use common::{Failure, Tried, pidfd};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat;

use super::terminal;
use crate::cgroup;
use crate::child::{Child, Leads};
use crate::cli::Cli;
use crate::enter::{Entry, Held};
use crate::namespace::Kind;
use crate::pty::Devpts;
use crate::step::{Hands, Step};
use crate::target::{self, Target};

pub fn enter(cli: &Cli, target: &Target) -> Result<(Vec<Step>, Hands), Failure> {
    cli.check_target()?;
    let files = cli.namespaces.files();
    let named: Vec<Kind> = files.iter().map(|(kind, _)| *kind).collect();
    let mut asked = cli.namespaces.kinds();
    if cli.all {
        asked = target.differing(&asked)?;
    }
    let parent = cli.entering.user_parent;
    asked.retain(|kind| !named.contains(kind));
    let user_parent = parent.then(|| target.user_parent(&asked)).transpose()?;
    let user_parent = user_parent.filter(|namespace| !cli.all || !target::is_our_user(namespace));
    let net_socket = cli.entering.net_socket;
    asked.retain(|kind| match kind {
        Kind::User => !parent,
        Kind::Net => net_socket.is_none(),
        _ => true,
    });
    let mut entry = Entry {
        files,
        user_parent: user_parent.is_some(),
        net_socket,
        follow_context: cli.entering.follow_context,
        root: cli.place.root.clone(),
        wd: cli.place.wd.clone(),
        wdns: cli.entering.wdns.clone(),
        env: cli.entering.env,
        uid: cli.place.setuid,
        gid: cli.place.setgid,
        keep_caps: cli.place.keep_caps,
        preserve_credentials: cli.preserve_credentials,
        ..Entry::default()
    };
    match target {
        Target::Process(pid, _) => (entry.target, entry.kinds) = (Some(*pid), asked),
        Target::Folder(_) => {
            entry.files.extend(asked.into_iter().map(|kind| (kind, target.path(kind))));
        }
    }
    let kinds = entry.all();
    entry.keep_caps &= kinds.contains(&Kind::User);
    // With --all it is what differs that counts.
    if cli.place.keep_caps && !entry.keep_caps && !cli.all {
        return Err(Failure::usage("use --keep-caps where no user namespace is entered")
            .hint("add --user, if the target's is another than this one"));
    }
    let elsewhere = entry.root.is_some() || entry.wd.is_some() || entry.wdns.is_some();
    let other = elsewhere || entry.env || cli.entering.join_cgroup || cli.entering.follow_context;
    if kinds.is_empty() && !cli.all && !other {
        let name = cli.target.as_deref().unwrap_or_default();
        return Err(Failure::usage("no namespace of the target asked for")
            .hint(format!("nsenter-lite -t {name} -a enters all of them")));
    }
    let pty = cli.life.pty.then_some(Devpts::Here);
    let forks = kinds.contains(&Kind::Pid)
        || cli.fork
        || cli.kill_child.is_some()
        || cli.reports.forks()
        || pty.is_some();
    let leads = Leads::choose(cli, false, kinds.contains(&Kind::Pid));
    // What ends our group by SIGKILL does not reach it.
    let tie = cli.kill_child.or((leads == Leads::Always).then_some(Signal::SIGKILL));
    let child = Child { tie, init: false, pty, leads };
    entry.child = (forks && !cli.no_fork).then_some(child);
    let mut steps = Vec::new();
    if cli.entering.join_cgroup {
        steps.push(Step::Cgroup(cgroup::of(target.process("--join-cgroup")?)?));
    }
    let held = Held { user_parent, ..hold(&entry, target)? };
    // Where all are ours already there is nothing to enter.
    let nothing = Entry { target: entry.target, ..Entry::default() };
    if entry != nothing {
        steps.push(Step::Enter(entry));
    }
    steps.extend(cli.pid_file.clone().map(Step::PidFile));
    steps.extend(pty.into_iter().flat_map(|devpts| terminal(devpts, false)));
    Ok((steps, Hands { target: Some(held), ..Hands::default() }))
}

/// What is found now can't be exchanged for something else.
fn hold(entry: &Entry, target: &Target) -> Result<Held, Failure> {
    let folder = |dir: &Option<OsString>, option: &str, link: &str| {
        let Some(dir) = dir else { return Ok(None) };
        let dir = match dir.is_empty() {
            true => PathBuf::from(format!("/proc/{}/{link}", target.process(option)?)),
            false => PathBuf::from(dir),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(&dir, flags, stat::Mode::empty())
            .tried(|| format!("open the folder {dir:?}"))
            .map(Some)
    };
    let file = |(kind, file): &(Kind, PathBuf)| Ok((*kind, target::open_file(file)?));
    let mut files = entry.files.iter().map(file).collect::<Result<Vec<_>, Failure>>()?;
    let mut process = None;
    if let Target::Process(pid, pidfd) = target {
        process = Some(pidfd.try_clone().tried(|| "hold the target")?);
        if let Some(number) = entry.net_socket {
            files.push((Kind::Net, target::net_of_socket(*pid, pidfd, number)?));
        }
    } else if entry.net_socket.is_some() {
        target.process("--net-socket")?;
    }
    let held = Held {
        process,
        files,
        user_parent: None,
        context: match entry.follow_context {
            true => Some(target::context(target.process("--follow-context")?)?),
            false => None,
        },
        identity: match entry.follows() {
            true => folder(&Some(OsString::new()), "--setuid follow", "")?,
            false => None,
        },
        root: folder(&entry.root, "--root", "root")?,
        wd: folder(&entry.wd, "--wd", "cwd")?,
        env: match entry.env {
            true => target::environment(target.process("--env")?)?,
            false => Vec::new(),
        },
    };
    // If it is there still, nobody else can have had its PID meanwhile.
    match &held.process {
        Some(pidfd) if pidfd::has_ended(pidfd).tried(|| "look at the process")? => {
            Err(Failure::errno("look at the target", Errno::ESRCH).hint("the process has ended"))
        }
        _ => Ok(held),
    }
}
