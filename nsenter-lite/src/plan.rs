//! From the request to the steps. Looks at the target's namespaces; changes nothing.

mod entering;

use std::env;
use std::ffi::OsString;
use std::path::Path;

use common::idmap::{By, IdMap};
use common::terminal::Terminal;
use common::{Failure, Mode, exec};
use nix::sys::signal::Signal;

use crate::child::{Child, Leads};
use crate::cli::{BINFMT, Cli};
use crate::create::Creation;
use crate::descriptor::Passed;
use crate::join;
use crate::namespace::{ALL, Kind};
use crate::persist::Keep;
use crate::pidfile;
use crate::place::{Inside, Place};
use crate::procfs::Folder;
use crate::pty::Devpts;
use crate::report::Reporter;
use crate::step::{Hands, Step};
use crate::target::Target;
use crate::users::{Known, Mapping, Setgroups};

/// What nsenter-lite will do, and what it holds for that.
pub fn plan(cli: Cli) -> Result<(Vec<Step>, Hands), Failure> {
    let (reports, mode) = (cli.reports, cli.mode());
    if reports.detach && cli.life.pty {
        return Err(Failure::usage(
            "leave COMMAND by --detach with a terminal of its own: somebody has to pass on what is \
             typed there",
        )
        .hint("leave --detach out and run nsenter-lite in the background, or --pty out"));
    }
    reports.check(&cli.joins.fd)?;
    // The caller's descriptors are taken before we open any of our own.
    let mut reporter = match mode {
        Mode::DryRun => {
            check_script(&cli)?;
            Reporter::default()
        }
        Mode::Act | Mode::Explain => reports.reporter()?,
    };
    let (steps, hands) =
        prepare(cli, &mut reporter).inspect_err(|failure| reporter.failed(failure))?;
    Ok((steps, Hands { reporter, ..hands }))
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
    let keeps = cli.persist.is_some() || !cli.namespaces.files().is_empty();
    if cli.owning.owner.is_some() && keeps {
        return Err(Failure::new(
            "write a script of this: unshare(1) would mount the namespaces on files as their owner, \
             who can't; leave --owner out, or what keeps them",
        ));
    }
    Ok(())
}

/// What COMMAND is to get is placed before we open anything of our own, so that no number is ours.
fn prepare(cli: Cli, reporter: &mut Reporter) -> Result<(Vec<Step>, Hands), Failure> {
    if cli.mode() != Mode::DryRun {
        cli.joins.fd.iter().try_for_each(Passed::open)?;
        reporter.look_at_proc()?;
    }
    whole(cli)
}

fn whole(mut cli: Cli) -> Result<(Vec<Step>, Hands), Failure> {
    let (reports, joins, mode) = (cli.reports, cli.joins.clone(), cli.mode());
    let clear_env = cli.clear_env;
    let command = match std::mem::take(&mut cli.command) {
        command if command.is_empty() => vec![shell()],
        command => command,
    };
    let (mut pid_place, mut program) = (None, None);
    if mode != Mode::DryRun {
        pid_place = cli.pid_file.as_deref().map(pidfile::Place::find).transpose()?;
        program = joins.outside_command.then(|| exec::open(&command)).transpose()?;
    }
    let (next, mut hands) = if let Some(target) = &cli.target {
        entering::enter(&cli, &Target::find(target)?)?
    } else {
        let known = Known::of_this_process(&cli.users);
        let steps = create(cli, &known)?;
        let joined = match steps.first() {
            Some(Step::Join { joined, .. }) if mode != Mode::DryRun => join::open_all(joined)?,
            _ => Vec::new(),
        };
        (steps, Hands { joined, ..Hands::default() })
    };
    (hands.pid_place, hands.program) = (pid_place, program);
    if mode != Mode::DryRun && next.iter().any(Step::forks) {
        hands.callers_terminal = Terminal::of_session();
    }
    let mut steps: Vec<_> = joins.fd.into_iter().map(Step::Fd).chain(next).collect();
    steps.extend(reports.block_fd.map(Step::Block));
    steps.extend(reports.ready_fd.map(Step::Ready));
    steps.extend(clear_env.then_some(Step::ClearEnv));
    steps.push(match joins.outside_command {
        true => Step::ExecOpened(command),
        false => Step::Exec(command),
    });
    Ok((steps, hands))
}

fn shell() -> OsString {
    env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

/// `known` is the machine, and who asks.
fn create(mut cli: Cli, known: &Known) -> Result<Vec<Step>, Failure> {
    if cli.load_interp.is_some() {
        cli.mount_binfmt.get_or_insert_with(|| BINFMT.into());
    }
    // Another root has that folder only in a proc.
    if cli.place.root.is_some() && cli.mount_binfmt.as_deref() == Some(Path::new(BINFMT)) {
        cli.mount_proc.get_or_insert_with(|| "/proc".into());
    }
    if cli.life.init && cli.joins.has(Kind::Pid) {
        return Err(Failure::usage("use --init in a PID namespace that is joined: it has a PID 1")
            .hint("leave --init out; --kill-child ends the command with nsenter-lite"));
    }
    let (kinds, tie) = (kinds(&cli), tie(&cli));
    let leads = Leads::choose(&cli, kinds.contains(&Kind::Pid), cli.joins.has(Kind::Pid));
    let pty = cli.life.pty.then(|| Devpts::choose(kinds.contains(&Kind::Mount)));
    let joined = cli.joins.ordered(&kinds)?;
    let born = |kind| kinds.contains(&kind) || cli.joins.has(kind);
    let forks = cli.fork
        || cli.forward_signals
        || cli.reports.forks()
        || born(Kind::Pid)
        || born(Kind::Time)
        || tie.is_some()
        || pty.is_some();
    let owner = cli.owning.owner;
    let mut mapping = cli.users.mapping(known)?;
    if owner.is_some() && mapping.map != IdMap::default() {
        // Whoever we are inside, it is not us any more whose ids are mapped.
        mapping.by = mapping.by.or(Some(By::Itself));
    }
    check_user(&cli, &kinds)?;
    let denied = cli.users.setgroups == Some(Setgroups::Deny)
        || mapping.by.is_none() && !mapping.map.groups.is_empty();
    let keep = keep(&cli, &kinds)?;
    let mut creation = Creation {
        files: keep.all(),
        kinds,
        owner,
        caller: (known.uid, known.gid),
        setgroups: cli.users.setgroups,
        clocks: cli.clocks,
        propagation: cli.propagation,
        child: forks.then_some(Child { tie, init: cli.life.init, pty, leads }),
        ..Creation::default()
    };
    let mut inside = inside(&cli, denied)?;
    let maker = owner.map_or(known.uid, |owner| owner.user);
    let rights = Rights::needed(&cli, &inside);
    let has_rights = !creation.kinds.contains(&Kind::User) || mapping.has_root(maker);
    if cli.mode() == Mode::DryRun && !has_rights && rights.in_script(&mapping)? {
        creation.script_keeps = true;
        inside.script_drops = !inside.keep_caps;
    }
    let between = cli.pid_file.is_some() || rights.before || keep.user().is_some();
    let preserve_credentials = cli.preserve_credentials;
    let join = (!joined.is_empty()).then_some(Step::Join { joined, preserve_credentials });
    let mut steps = Vec::from_iter(join);
    if keep != Keep::default() {
        steps.push(Step::Keep(keep));
    }
    if mapping.by.is_some() {
        steps.push(Step::Mapper(mapping.clone()));
    }
    if inside != Inside::default() && !between && mapping.by.is_none() {
        creation.inside = Some(std::mem::take(&mut inside));
    }
    creation.mapping = mapping;
    if !creation.kinds.is_empty() || forks || creation.inside.is_some() {
        steps.push(Step::Create(creation));
    }
    steps.extend(cli.pid_file.take().map(Step::PidFile));
    let shared = cli.propagation.leads_out();
    steps.extend(furnish(cli));
    steps.extend(pty.into_iter().flat_map(|devpts| terminal(devpts, shared)));
    if inside != Inside::default() {
        steps.push(Step::Inside(inside));
    }
    if steps.is_empty() {
        return Err(Failure::usage("no namespace asked for")
            .hint("say which, as nsenter-lite --pid --mount; nsenter-lite --help lists them"));
    }
    Ok(steps)
}

/// What is mounted and set in the namespaces that were made.
fn furnish(cli: Cli) -> impl Iterator<Item = Step> {
    let shared = cli.propagation.leads_out();
    let root = cli.place.root;
    let at = |dir| Folder::new(root.as_ref(), dir);
    let proc = cli.mount_proc.map(|dir| Step::Proc { at: at(dir), shared });
    let interpreter = cli.load_interp;
    let binfmt = cli.mount_binfmt.map(|dir| Step::Binfmt { at: at(dir), interpreter });
    let steps = [
        proc,
        binfmt,
        cli.hostname.map(Step::Hostname),
        cli.domainname.map(Step::Domainname),
        cli.network.loopback.then_some(Step::Loopback),
        cli.network.ping.map(Step::Ping),
    ];
    steps.into_iter().flatten()
}

/// The steps of `--pty`, the last before COMMAND.
fn terminal(devpts: Devpts, shared: bool) -> impl Iterator<Item = Step> {
    let mount = (devpts == Devpts::New).then_some(Step::Devpts { shared });
    mount.into_iter().chain([Step::Terminal])
}

/// Those asked for, and those that other options imply.
fn kinds(cli: &Cli) -> Vec<Kind> {
    let implied = [
        (Kind::User, cli.users.ask() || cli.owning.owner.is_some() || cli.mount_binfmt.is_some()),
        (Kind::Mount, cli.mount_proc.is_some() || cli.mount_binfmt.is_some()),
        (Kind::Uts, cli.hostname.is_some() || cli.domainname.is_some()),
        (Kind::Net, cli.network.wanted()),
        (Kind::Time, cli.clocks.ask()),
        (Kind::Pid, cli.life.init),
    ];
    let asked = cli.namespaces.kinds();
    // What an option implies is made, unless one is joined.
    let is_implied = |kind: &Kind| implied.contains(&(*kind, true)) && !cli.joins.has(*kind);
    let is_wanted = |kind: &Kind| asked.contains(kind) || is_implied(kind);
    ALL.into_iter().filter(is_wanted).collect()
}

fn tie(cli: &Cli) -> Option<Signal> {
    let pid = cli.namespaces.pid.is_some() || cli.joins.has(Kind::Pid) || cli.life.init;
    cli.kill_child.or((pid && !cli.reports.detach).then_some(Signal::SIGKILL))
}

fn keep(cli: &Cli, kinds: &[Kind]) -> Result<Keep, Failure> {
    let files = cli.namespaces.files();
    let Some(dir) = cli.persist.clone() else { return Ok(Keep { files, dir: None }) };
    let left: Vec<Kind> =
        kinds.iter().copied().filter(|kind| files.iter().all(|(named, _)| named != kind)).collect();
    if left.is_empty() {
        return Err(Failure::usage("keep namespaces: none is made that has no file of its own")
            .hint("say which, as nsenter-lite --net --uts --persist DIR"));
    }
    Ok(Keep { files, dir: Some((dir, left)) })
}

/// `denied` tells that nobody there can leave a group.
fn inside(cli: &Cli, denied: bool) -> Result<Inside, Failure> {
    let (uid, gid) = cli.place.numbers()?;
    let Place { root, wd, keep_caps, .. } = cli.place.clone();
    if [&root, &wd].into_iter().flatten().any(|dir| dir.is_empty()) {
        return Err(Failure::usage("change the directory to \"\": it is empty")
            .hint("is a shell variable empty?"));
    }
    Ok(Inside {
        root,
        wd,
        uid,
        gid,
        keep_caps,
        groups_stay: denied && gid.is_some(),
        script_drops: false,
    })
}

/// Capabilities that are needed after the namespaces are made.
#[derive(Clone, Copy)]
struct Rights {
    /// To mount, or to set a name.
    before: bool,
    /// To change the root.
    root: bool,
    /// To be somebody else.
    identity: bool,
}

impl Rights {
    fn needed(cli: &Cli, inside: &Inside) -> Self {
        Self {
            before: cli.mount_proc.is_some()
                || cli.mount_binfmt.is_some()
                || cli.hostname.is_some()
                || cli.domainname.is_some()
                || cli.network.wanted(),
            root: inside.root.is_some(),
            identity: inside.uid.is_some() || inside.gid.is_some(),
        }
    }

    /// Whether a script has to keep them. Who is not root in a user namespace loses its
    /// capabilities by the first execve(2): the tool mounts before that, and a shell can't.
    fn in_script(self, mapping: &Mapping) -> Result<bool, Failure> {
        let later = mapping.by.is_some() && (self.root || self.identity);
        if self.before && mapping.by.is_none() || self.root && mapping.by.is_some() {
            return Err(Failure::new(
                "write a script of this: no shell can mount, set the host name or change the \
                root, in a user namespace in which it is not root",
            )
            .hint("add --map-root-user"));
        }
        Ok(self.before || later)
    }
}

/// Options about users that have no user namespace to be about.
fn check_user(cli: &Cli, kinds: &[Kind]) -> Result<(), Failure> {
    let needs = [
        ("--setgroups", cli.users.setgroups.is_some()),
        ("--keep-caps", cli.place.keep_caps),
        ("--owner", cli.owning.owner.is_some()),
    ];
    if cli.preserve_credentials && !cli.joins.has(Kind::User) {
        return Err(Failure::usage(
            "use --preserve-credentials where no user namespace is entered",
        )
        .hint("add --target PID, or --join user=FILE"));
    }
    if cli.owning.owner.is_some() {
        check_owner(cli)?;
    }
    match needs.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if !kinds.contains(&Kind::User) => {
            Err(Failure::usage(format!("use {option} without a user namespace")).hint("add --user"))
        }
        _ => Ok(()),
    }
}

/// What is set by a file of this process in /proc: it is root's as long as the owner can't trace us.
fn check_owner(cli: &Cli) -> Result<(), Failure> {
    let hints = [
        ("--setgroups", cli.users.setgroups.is_some(), "leave one of the two out"),
        (
            "--monotonic or --boottime",
            cli.clocks.ask(),
            "set clocks by another nsenter-lite, as the COMMAND of this one",
        ),
    ];
    match hints.into_iter().find(|(_, given, _)| *given) {
        None => Ok(()),
        Some((option, _, hint)) => Err(Failure::usage(format!(
            "use {option} with --owner: the owner may not write the file in /proc that it takes"
        ))
        .hint(hint)),
    }
}

#[cfg(test)]
mod tests;
