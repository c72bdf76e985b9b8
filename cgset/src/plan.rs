//! From the request to the steps. Reads where the groups are and what is in them; writes nothing.
//!
//! The order is always the same: make the group, set its limits, attach last. So no process is
//! ever in a group without them, and a failure has nothing to give back but folders.

use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, pid, size};
use nix::unistd::{Pid, getpid};

use crate::cli::{Cli, Request, Who};
use crate::group::{self, Group};
use crate::hierarchy::{Hierarchy, Layout, Version};
use crate::key::{Key, Setting};
use crate::remove;
use crate::setting::{self, Write};
use crate::step::Step;

/// The controllers that `create` makes a group for, and `show` looks at.
pub const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// What cgset will do. `show` has no steps, and does not come here.
pub fn plan(cli: &Cli, request: Request) -> Result<Vec<Step>, Failure> {
    let layout = Layout::read()?;
    match request {
        Request::Create(name) => create(&name, &layout),
        Request::Remove(names) => {
            let plans: Result<Vec<_>, _> =
                names.iter().map(|name| remove::plan(name, &layout, cli.kill)).collect();
            Ok(plans?.concat())
        }
        Request::Set { settings, who } => set(cli, &settings, who, &layout),
        Request::Show(_) => Ok(Vec::new()),
    }
}

/// The trees of [`CONTROLLERS`] that this machine has.
pub fn trees(layout: &Layout) -> Vec<&Hierarchy> {
    let present = CONTROLLERS.into_iter().filter(|name| layout.with(name).is_ok());
    layout.with_all(present).unwrap_or_default()
}

fn create(name: &str, layout: &Layout) -> Result<Vec<Step>, Failure> {
    let below = group::parse_name(name, layout)?;
    let groups = group::named(&below, &trees(layout));
    let mut steps = Vec::new();
    for group in &groups {
        steps.extend(make(group, &CONTROLLERS)?);
    }
    if !steps.iter().any(|step| matches!(step, Step::Make(_))) {
        return Err(Failure::new(format!("create the group {name:?}: it is there already"))
            .hint(format!("cgset show {name}; to remove it: cgset rm {name}")));
    }
    steps.extend(groups.first().map(|group| Step::Print(group.dir.clone())));
    Ok(steps)
}

fn set(cli: &Cli, settings: &[Setting], who: Who, layout: &Layout) -> Result<Vec<Step>, Failure> {
    let who = match who {
        Who::Stdin => Who::Pids(some(pid::from_stdin()?)?),
        who => who,
    };
    let controllers: Vec<&str> = settings.iter().map(|setting| setting.key.controller()).collect();
    let trees = if settings.is_empty() { trees(layout) } else { layout.with_all(controllers)? };
    let groups = groups(cli, &who, &trees, layout)?;
    let mut steps = Vec::new();
    for group in &groups {
        let here: Vec<Setting> = settings
            .iter()
            .filter(|s| group.tree.controllers.iter().any(|name| name == s.key.controller()))
            .copied()
            .collect();
        let names: Vec<&str> = here.iter().map(|setting| setting.key.controller()).collect();
        steps.extend(make(group, &names)?);
        let writes = setting::writes(&here, group.tree.version, &group.dir)?;
        for write in &writes {
            check_use(write, group.tree.version, cli.force)?;
        }
        steps.extend(writes.into_iter().map(Step::Write));
    }
    steps.extend(swap_note(settings)?);
    match who {
        Who::Command(command) => steps.extend(run(&groups, command)),
        Who::Pids(pids) => {
            for pid in &pids {
                steps.extend(attach(*pid, &groups, settings)?);
            }
            steps.extend(groups.first().map(|group| Step::Print(group.dir.clone())));
        }
        Who::Nobody | Who::Stdin => {
            steps.extend(groups.first().map(|group| Step::Print(group.dir.clone())));
        }
    }
    Ok(steps)
}

fn some(pids: Vec<Pid>) -> Result<Vec<Pid>, Failure> {
    if pids.is_empty() {
        return Err(Failure::new("limit the processes on standard input: there are none"));
    }
    Ok(pids)
}

fn groups<'a>(
    cli: &Cli,
    who: &Who,
    trees: &[&'a Hierarchy],
    layout: &Layout,
) -> Result<Vec<Group<'a>>, Failure> {
    if let Some(name) = &cli.group {
        return Ok(group::named(&group::parse_name(name, layout)?, trees));
    }
    let process = |tree: &&'a Hierarchy| match who {
        Who::Pids(pids) if !pids.is_empty() => group::for_process(pids[0], tree),
        _ => group::new_for(getpid(), tree),
    };
    trees.iter().map(process).collect()
}

/// The steps that make a group and give it these controllers. With v2 each group above has to
/// hand them down.
fn make(group: &Group, controllers: &[&str]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    if group.tree.version == Version::V2 {
        for dir in group.above() {
            let (file, enabled) = subtree_control(&dir);
            let missing: Vec<&str> = controllers
                .iter()
                .filter(|name| group.tree.controllers.iter().any(|ours| ours == *name))
                .filter(|name| !enabled.split_whitespace().any(|there| there == **name))
                .copied()
                .collect();
            if let (false, true) = (missing.is_empty(), dir.exists()) {
                check_empty(&dir, &missing)?;
            }
            steps.extend(missing_dir(&dir));
            let text = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
            steps.extend((!text.is_empty()).then_some(Step::Enable { file, text }));
        }
        steps.extend(missing_dir(&group.dir));
        return Ok(steps);
    }
    steps.extend(group.missing().into_iter().map(Step::Make));
    Ok(steps)
}

fn missing_dir(dir: &Path) -> Option<Step> {
    (!dir.exists()).then(|| Step::Make(dir.to_owned()))
}

fn subtree_control(dir: &Path) -> (PathBuf, String) {
    let file = dir.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    (file, enabled)
}

/// The kernel refuses memory here, and takes cpu and pids with an effect that nobody wants: the
/// group becomes threaded, and processes can't be put into the inner ones any more.
fn check_empty(dir: &Path, controllers: &[&str]) -> Result<(), Failure> {
    let is_root = !dir.join("cgroup.type").exists();
    let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    if is_root || pids.is_empty() {
        return Ok(());
    }
    let pids: Vec<&str> = pids.lines().take(5).collect();
    Err(Failure::new(format!(
        "limit {} below {dir:?}: it holds processes itself ({} ...), and cgroup v2 limits only \
         groups without inner ones",
        controllers.join(", "),
        pids.join(" ")
    ))
    .hint(
        "name a group elsewhere: --group GROUP; or start in one: systemd-run --user --scope -p \
        Delegate=yes",
    ))
}

/// v1 refuses a limit below what is used; v2 takes it, and kills at once.
fn check_use(write: &Write, version: Version, force: bool) -> Result<(), Failure> {
    if version == Version::V1 || force || !write.file.ends_with("memory.max") {
        return Ok(());
    }
    let current = setting::read_number(&write.file.with_file_name("memory.current"))?;
    match (current, write.text.parse()) {
        (Some(current), Ok(limit)) if current > limit => Err(Failure::new(format!(
            "set {:?} to {}: the group uses {}, and the kernel would kill now",
            write.file,
            write.human(),
            size::human(current)
        ))
        .hint("add --force if that is what you want")),
        _ => Ok(()),
    }
}

fn attach(pid: Pid, groups: &[Group], settings: &[Setting]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for group in groups {
        let from = group.tree.mount.join(group.tree.group_of(pid)?);
        steps.extend((from != group.dir).then(|| Step::Attach {
            pid,
            from,
            to: group.dir.clone(),
        }));
    }
    if steps.is_empty() {
        return Ok(steps);
    }
    let limits = setting::memory_limit(settings)?;
    if let (Some(limit), Some(held)) = (limits, held(pid))
        && held > limit / 10
    {
        steps.push(Step::Note(format!(
            "process {pid} already holds {}, which the kernel does not count against {}; to \
                 limit from the start: cgset mem ... -- COMMAND",
            size::human(held),
            size::human(limit)
        )));
    }
    Ok(steps)
}

/// The memory that only this process holds and that would have to be counted: VmRSS less files.
fn held(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// With swap, a process that needs more than its memory limit is not killed but slowed down.
fn swap_note(settings: &[Setting]) -> Result<Option<Step>, Failure> {
    let limited = settings.iter().any(|setting| setting.key == Key::Swap);
    let limit = setting::memory_limit(settings)?.filter(|_| !limited);
    let swap = setting::machine("SwapTotal:")?;
    Ok(limit.filter(|_| swap > 0).map(|limit| {
        let (swap, limit) = (size::human(swap), size::human(limit));
        Step::Note(format!(
            "{swap} of swap is active and not limited; add swap 0 for no more than {limit} in all"
        ))
    }))
}

fn run(groups: &[Group], command: Vec<std::ffi::OsString>) -> Vec<Step> {
    let dirs: Vec<PathBuf> = groups.iter().map(|group| group.dir.clone()).collect();
    let mut steps = vec![Step::Run { command, dirs }];
    for group in groups {
        steps.extend(group.missing().into_iter().rev().map(|dir| Step::Remove { dir, kill: true }));
    }
    steps.push(Step::End);
    steps
}
