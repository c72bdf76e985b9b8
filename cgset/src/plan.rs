//! From the request to the steps. Reads where the groups are and what is in them; writes nothing.
//!
//! The order is always the same: make the group, set its limits, attach last. So no process is
//! ever in a group without them, and a failure has little to give back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, pid};
use nix::unistd::{AccessFlags, Pid, access, getpid};

use crate::cli::{Cli, Request, Who};
use crate::group::{self, Group, inside_any};
use crate::hierarchy::{Hierarchy, Layout, Version};
use crate::key::{ALL, CONTROLLERS, Setting};
use crate::make::make;
use crate::setting;
use crate::step::Step;
use crate::{
    cpuset, delegate, dev, dev_list, freeze, memory, net, net_filter, note, process, remove,
};

/// What cgset will do. What only looks has no steps, and does not come here.
pub fn plan(cli: &Cli, request: Request) -> Result<Vec<Step>, Failure> {
    let request = match request {
        Request::Set { settings, who: Who::Stdin } => {
            let pids = some(cli.accept(&pid::from_stdin()?)?)?;
            Request::Set { settings, who: Who::Pids(pids) }
        }
        request => request,
    };
    let layout = Layout::read()?;
    match request {
        Request::Create(name) => create(&name, cli, &layout),
        Request::Remove(names) => {
            let step = |(name, dirs): (&String, _)| remove::plan(name, dirs, cli.kill);
            existing("remove", &names, &layout)?.into_iter().map(step).collect()
        }
        Request::Freeze { names, freeze } => {
            let step = |(name, dirs): (&String, Vec<PathBuf>)| {
                remove::spare(if freeze { "freeze" } else { "thaw" }, name, &inside_any(&dirs))?;
                let (file, text) = freeze::switch(name, &dirs, freeze)?;
                Ok(Step::Freeze { file, text })
            };
            existing("freeze", &names, &layout)?.into_iter().map(step).collect()
        }
        Request::Kill(names) => {
            let step = |(name, dirs): (&String, Vec<PathBuf>)| {
                remove::spare("kill", name, &inside_any(&dirs))?;
                Ok(Step::Kill(dirs))
            };
            existing("kill", &names, &layout)?.into_iter().map(step).collect()
        }
        Request::Wait { event, name } => {
            let groups = existing("wait for", std::slice::from_ref(&name), &layout)?;
            Ok(groups.into_iter().map(|(_, dirs)| Step::Wait { event, dirs }).collect())
        }
        Request::Prune => Ok(prune(&layout)?),
        Request::Set { settings, who } => {
            let steps = set(cli, &settings, who, &layout)?;
            match steps.iter().find(|step| matches!(step, Step::Note(_))) {
                Some(Step::Note(text)) if cli.strict => Err(Failure::new(text)
                    .hint("without --strict this would be a note, and all would be done")),
                _ => Ok(steps),
            }
        }
        Request::Show(_) | Request::List(_) | Request::Stat(_) | Request::Watch(_) => {
            Ok(Vec::new())
        }
    }
}

/// The folders of each of these groups, all of which must be there.
fn existing<'a>(
    verb: &str,
    names: &'a [String],
    layout: &Layout,
) -> Result<Vec<(&'a String, Vec<PathBuf>)>, Failure> {
    let trees = trees(layout)?;
    let dirs = |name: &'a String| {
        let groups = group::existing(verb, name, layout, &trees)?;
        Ok((name, groups.into_iter().map(|group| group.dir).collect()))
    };
    names.iter().map(dirs).collect()
}

fn prune(layout: &Layout) -> Result<Vec<Step>, Failure> {
    let dirs = remove::abandoned(&trees(layout)?);
    let steps = dirs
        .into_iter()
        .flat_map(|dir| [Step::Remove { dirs: vec![dir.clone()], kill: false }, Step::Print(dir)]);
    Ok(steps.collect())
}

fn some(pids: Vec<Pid>) -> Result<Vec<Pid>, Failure> {
    if pids.is_empty() {
        return Err(Failure::new("limit the processes on standard input: there are none"));
    }
    Ok(pids)
}

/// The trees that this machine has for these controllers.
fn trees_for<'a>(
    controllers: &[&'static str],
    layout: &'a Layout,
) -> Result<Vec<&'a Hierarchy>, Failure> {
    let present = controllers.iter().copied().filter(|name| layout.with(name).is_ok());
    let trees = layout.with_all(present)?;
    if trees.is_empty() {
        layout.with(controllers[0])?;
    }
    Ok(trees)
}

/// Those in which a group may be.
pub fn trees(layout: &Layout) -> Result<Vec<&Hierarchy>, Failure> {
    trees_for(&ALL, layout)
}

/// Those that a group is in, or gets when it is made without any key.
fn trees_of<'a>(below: &Path, layout: &'a Layout) -> Result<Vec<&'a Hierarchy>, Failure> {
    let usual = trees_for(&CONTROLLERS, layout)?;
    let mut all = trees(layout)?;
    all.retain(|tree| usual.contains(tree) || tree.below(below).is_dir());
    Ok(all)
}

/// The v2 tree, if it is not among these anyway: there a group is frozen and killed at once, and
/// told of. But not if that would take a process out of a group that somebody has put it into.
fn joined<'a>(layout: &'a Layout, trees: &[&Hierarchy], movers: &[Pid]) -> Option<&'a Hierarchy> {
    let v2 = layout.v2().filter(|v2| !trees.contains(v2))?;
    let free = |dir: PathBuf| dir == v2.mount || group::owner(&dir).is_some();
    let all = movers.iter().all(|pid| v2.group_of(*pid).is_ok_and(free));
    (all && access(&v2.mount, AccessFlags::W_OK).is_ok()).then_some(v2)
}

fn create(name: &str, cli: &Cli, layout: &Layout) -> Result<Vec<Step>, Failure> {
    let user = cli.delegate.as_deref().map(delegate::user).transpose()?;
    let below = group::parse_name(name, layout)?;
    let mut trees = trees_for(&CONTROLLERS, layout)?;
    trees.extend(joined(layout, &trees, &[]));
    let groups = group::named(&below, &trees);
    if groups.iter().all(|group| group.dir.is_dir()) {
        return Err(Failure::new(format!("create the group {name:?}: it is there already"))
            .hint(format!("cgset show {name}; to remove it: cgset rm {name}")));
    }
    let mut steps = Vec::new();
    for group in &groups {
        steps.extend(make(group, &CONTROLLERS, cli.evacuate.as_deref())?);
        steps.extend(user.map(|user| Step::Delegate { dir: group.dir.clone(), user }));
    }
    steps.extend(print(&groups));
    Ok(steps)
}

fn set(cli: &Cli, settings: &[Setting], who: Who, layout: &Layout) -> Result<Vec<Step>, Failure> {
    let controllers: Vec<&str> = settings.iter().map(Setting::controller).collect();
    let parse = |name: &String| group::parse_name(name, layout);
    let parent = cli.parent.as_ref().map(parse).transpose()?;
    let named = cli.group.as_ref().map(parse).transpose()?;
    let named = named.map(|name| parent.as_ref().map_or(name.clone(), |above| above.join(&name)));
    let mut trees = match &named {
        Some(below) if settings.is_empty() => trees_of(below, layout)?,
        _ => layout.with_all(controllers)?,
    };
    let movers = match &who {
        Who::Pids(pids) => pids.clone(),
        Who::Command(_) => vec![getpid()],
        Who::Nobody | Who::Stdin => Vec::new(),
    };
    trees.extend(joined(layout, &trees, &movers));
    if let Who::Pids(pids) = &who {
        pids.iter().try_for_each(|pid| process::check(*pid))?;
    }
    let groups = match (&named, &who) {
        (Some(below), _) => group::named(below, &trees),
        (None, Who::Pids(pids)) => group::for_process(pids[0], parent.as_deref(), &trees, layout)?,
        (None, _) => group::for_command(getpid(), parent.as_deref(), &trees)?,
    };
    let mut steps = Vec::new();
    for group in &groups {
        steps.extend(limit(group, settings, cli)?);
    }
    steps.extend(note::swap(&groups, settings)?.map(Step::Note));
    steps.extend(note::disks(settings, &trees)?.into_iter().map(Step::Note));
    match who {
        Who::Command(command) => steps.extend(run(&groups, command)?),
        Who::Pids(pids) => {
            for pid in pids {
                steps.extend(attach(pid, &groups, settings)?);
            }
            steps.extend(print(&groups));
        }
        Who::Nobody | Who::Stdin => steps.extend(print(&groups)),
    }
    Ok(steps)
}

/// The group's path in the tree of the first key.
fn print(groups: &[Group]) -> Option<Step> {
    groups.first().map(|group| Step::Print(group.dir.clone()))
}

/// The steps that make a group and set those limits that belong into its tree.
fn limit(group: &Group, settings: &[Setting], cli: &Cli) -> Result<Vec<Step>, Failure> {
    let here = settings.iter().filter(|setting| group.tree.has(setting.controller()));
    let here: Vec<Setting> = here.cloned().collect();
    let controllers: Vec<&str> = here.iter().map(Setting::controller).collect();
    let mut steps = make(group, &controllers, cli.evacuate.as_deref())?;
    steps.extend(cpuset::fill(group).into_iter().map(Step::Write));
    let writes = setting::writes(&here, group.tree.version, &group.dir)?;
    for write in &writes {
        memory::check_use(write, cli.force)?;
    }
    for write in writes {
        let note = note::rounded(&write);
        steps.push(Step::Write(write));
        steps.extend(note.map(Step::Note));
    }
    let net = net::limits(&here).into_iter();
    steps.extend(net.map(|limit| Step::Net { dir: group.dir.clone(), limit }));
    let rules = net_filter::rules(&here);
    let filter = (!rules.is_empty()).then(|| Step::NetFilter { dir: group.dir.clone(), rules });
    steps.extend(filter);
    steps.extend(devices(group, dev::rules(&here)?)?);
    Ok(steps)
}

/// The steps that add rules for devices.
fn devices(group: &Group, rules: Vec<dev::Rule>) -> Result<Vec<Step>, Failure> {
    let dir = group.dir.clone();
    match group.tree.version {
        _ if rules.is_empty() => Ok(Vec::new()),
        Version::V1 => dev_list::steps(group, &rules),
        Version::V2 => Ok(vec![Step::Devices { dir, rules }]),
    }
}

fn attach(pid: Pid, groups: &[Group], settings: &[Setting]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for group in groups {
        let from = group.tree.group_of(pid)?;
        if from == group.dir {
            continue;
        }
        let note = note::left(&format!("process {pid}"), &from, group);
        steps.push(Step::Attach { pid, from, to: group.dir.clone() });
        steps.extend(note.map(Step::Note));
    }
    if !steps.is_empty() {
        steps.extend(note::held(pid, groups, settings)?.map(Step::Note));
        steps.extend(note::sockets(pid, settings).map(Step::Note));
    }
    Ok(steps)
}

/// COMMAND's run, and what follows it.
fn run(groups: &[Group], command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for group in groups {
        let from = group.tree.group_of(getpid())?;
        steps.extend(note::left("COMMAND", &from, group).map(Step::Note));
    }
    let dirs: Vec<PathBuf> = groups.iter().map(|group| group.dir.clone()).collect();
    steps.push(Step::Run { command, dirs });
    steps.extend(end(groups));
    Ok(steps)
}

/// The groups that were not there before go, from below, and COMMAND's status is ours.
fn end(groups: &[Group]) -> Vec<Step> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for group in groups {
        let above = group.above();
        let new_above = above.into_iter().filter(|dir| !dir.exists());
        let new = (group.fresh || !group.dir.exists()).then(|| group.dir.clone());
        dirs.extend(new_above.chain(new).rev());
    }
    let remove = (!dirs.is_empty()).then_some(Step::Remove { dirs, kill: true });
    remove.into_iter().chain([Step::End]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use support::{TempDir, scratch};

    /// A machine with memory on v2 and cpu and pids on v1, of plain folders.
    fn mixed() -> (TempDir, Layout) {
        let top = scratch();
        let tree = |version, name: &str, controllers: &[&str]| {
            let mount = top.path().join(name);
            fs::create_dir(&mount).expect("ours");
            let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
            Hierarchy { version, mount, root: "/".into(), controllers }
        };
        let layout = Layout(vec![
            tree(Version::V1, "cpu", &["cpu", "cpuacct"]),
            tree(Version::V1, "pids", &["pids"]),
            tree(Version::V2, "unified", &["memory", "io"]),
        ]);
        (top, layout)
    }

    fn lines(top: &TempDir, steps: &[Step]) -> String {
        use common::Step as _;
        let line = |step: &Step| match step.line() {
            common::Line::Run(text) | common::Line::Exec(text) | common::Line::Within(text) => text,
        };
        let lines: Vec<String> = steps.iter().map(line).collect();
        lines.join("\n").replace(&format!("{}/", top.path().display()), "")
    }

    fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
        pairs.iter().map(|(k, v)| Setting::parse(k, v).expect("a good setting")).collect()
    }

    fn named(name: &str) -> Cli {
        Cli { group: Some(name.into()), ..Cli::default() }
    }

    #[test]
    fn each_limit_goes_where_its_controller_is() {
        let (top, layout) = mixed();
        let settings = settings(&[("mem", "10M"), ("pids", "5")]);
        let steps = set(&named("a/b"), &settings, Who::Nobody, &layout).expect("a plan");
        assert_eq!(
            lines(&top, &steps),
            "echo +memory > unified/cgroup.subtree_control\n\
             mkdir unified/a\n\
             echo +memory > unified/a/cgroup.subtree_control\n\
             mkdir unified/a/b\n\
             echo 10485760 > unified/a/b/memory.max\n\
             mkdir pids/a\n\
             mkdir pids/a/b\n\
             echo 5 > pids/a/b/pids.max\n\
             echo unified/a/b"
        );
    }

    #[test]
    fn a_command_s_groups_go_when_it_ends_and_those_of_before_stay() {
        let (top, layout) = mixed();
        fs::create_dir(top.path().join("pids/a")).expect("ours");
        let group = |tree: usize, name: &str| Group {
            tree: &layout.0[tree],
            dir: layout.0[tree].mount.join(name),
            fresh: false,
        };
        let remove = |dirs: &[&str]| Step::Remove {
            dirs: dirs.iter().map(|dir| top.path().join(dir)).collect(),
            kill: true,
        };
        let (old, new) = (group(1, "a"), group(0, "a/b"));
        assert_eq!(end(std::slice::from_ref(&old)), [Step::End]);
        assert_eq!(end(&[new]), [remove(&["cpu/a/b", "cpu/a"]), Step::End]);
        assert_eq!(end(&[Group { fresh: true, ..old }]), [remove(&["pids/a"]), Step::End]);
    }

    #[test]
    fn create_makes_it_for_every_controller_and_once() {
        let (top, layout) = mixed();
        let steps = create("box", &Cli::default(), &layout).expect("a plan");
        assert_eq!(
            lines(&top, &steps),
            "echo +memory > unified/cgroup.subtree_control\n\
             mkdir unified/box\nmkdir cpu/box\nmkdir pids/box\necho unified/box"
        );
        for tree in &layout.0 {
            fs::create_dir(tree.mount.join("box")).expect("ours");
        }
        let lines =
            create("box", &Cli::default(), &layout).expect_err("it is there").lines("cgset");
        assert!(lines.contains("it is there already"), "{lines}");
        fs::write(layout.0[0].mount.join("cpu.shares"), "").expect("ours");
        assert!(create("cpu.shares", &Cli::default(), &layout).is_err());
    }

    #[test]
    fn a_v2_group_with_processes_hands_nothing_down() {
        let (_top, layout) = mixed();
        let dir = layout.0[2].mount.join("a");
        fs::create_dir(&dir).expect("ours");
        fs::write(dir.join("cgroup.type"), "domain\n").expect("ours");
        fs::write(dir.join("cgroup.procs"), "42\n").expect("ours");
        let plan = set(&named("a/b"), &settings(&[("mem", "10M")]), Who::Nobody, &layout);
        let lines = plan.expect_err("refused").lines("cgset");
        assert!(lines.contains("holds processes itself (42"), "{lines}");
    }

    #[test]
    fn v2_is_not_asked_to_kill_by_accident() {
        let (_top, layout) = mixed();
        let dir = layout.0[2].mount.join("a");
        fs::create_dir(&dir).expect("ours");
        fs::write(dir.join("memory.current"), "20971520\n").expect("ours");
        let mem = settings(&[("mem", "10M")]);
        let lines =
            set(&named("a"), &mem, Who::Nobody, &layout).expect_err("refused").lines("cgset");
        assert!(lines.contains("the group uses 20 MiB"), "{lines}");
        let force = Cli { force: true, ..named("a") };
        assert!(set(&force, &mem, Who::Nobody, &layout).is_ok());
    }
}
