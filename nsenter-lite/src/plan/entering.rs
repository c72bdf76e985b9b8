//! The steps into the namespaces of a target.

use std::ffi::OsString;
use std::path::PathBuf;

use common::{Failure, Tried};
use nix::fcntl::{OFlag, open};
use nix::sys::stat;

use super::terminal;
use crate::cgroup;
use crate::child::Child;
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
    asked.retain(|kind| !(parent && *kind == Kind::User));
    let mut entry = Entry {
        files,
        user_parent: parent,
        root: cli.place.root.clone(),
        wd: cli.place.wd.clone(),
        wdns: cli.entering.wdns.clone(),
        env: cli.entering.env,
        uid: cli.place.setuid,
        gid: cli.place.setgid,
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
    let elsewhere = entry.root.is_some() || entry.wd.is_some() || entry.wdns.is_some();
    let other = elsewhere || entry.env || cli.entering.join_cgroup;
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
    let child = Child { tie: cli.kill_child, init: false, pty };
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
    steps.extend(pty.into_iter().flat_map(terminal));
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
    Ok(Held {
        process: match target {
            Target::Process(_, pidfd) => Some(pidfd.try_clone().tried(|| "hold the target")?),
            Target::Folder(_) => None,
        },
        files: entry.files.iter().map(file).collect::<Result<_, Failure>>()?,
        user_parent: None,
        root: folder(&entry.root, "--root", "root")?,
        wd: folder(&entry.wd, "--wd", "cwd")?,
        env: match entry.env {
            true => target::environment(target.process("--env")?)?,
            false => Vec::new(),
        },
    })
}
