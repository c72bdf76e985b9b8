//! Limits set and processes attached, or COMMAND run.
//!
//! The order is always the same: make the group, set its limits, attach last. So no process is
//! ever in a group without them, and a failure has little to give back.

use std::ffi::OsString;
use std::path::PathBuf;

use common::Failure;
use nix::unistd::getpid;

use crate::attach::Ended;
use crate::cli::{Cli, Who};
use crate::group::{self, Group};
use crate::hierarchy::{Layout, Membership, Version};
use crate::key::Setting;
use crate::make::make;
use crate::plan::{joined, trees_of};
use crate::setting;
use crate::step::Step;
use crate::{cpuset, dev, dev_list, memory, net, net_filter, note, process};

/// The steps for these settings and these processes.
pub fn set(
    cli: &Cli,
    settings: &[Setting],
    who: Who,
    layout: &Layout,
) -> Result<Vec<Step>, Failure> {
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
        Who::Pids(pids, _) => pids.iter().map(|pid| Membership::of(*pid)).collect(),
        Who::Command(_) => Membership::of(getpid()).map(|this| vec![this]),
        Who::Nobody | Who::Stdin => Ok(Vec::new()),
    }?;
    trees.extend(joined(layout, &trees, &movers));
    if let Who::Pids(pids, _) = &who {
        pids.iter().try_for_each(|pid| process::check(*pid))?;
    }
    let groups = match (&named, &who) {
        (Some(below), _) => group::named(below, &trees),
        (None, Who::Pids(..)) => group::for_process(&movers[0], parent.as_deref(), &trees, layout)?,
        (None, Who::Command(_)) => group::for_command(&movers[0], parent.as_deref(), &trees)?,
        // To be refused, if the command line had not been.
        (None, Who::Nobody | Who::Stdin) => Vec::new(),
    };
    let mut steps = Vec::new();
    for group in &groups {
        steps.extend(limit(group, settings, cli)?);
    }
    steps.extend(note::swap(&groups, settings)?.map(Step::Note));
    steps.extend(note::cpus(settings)?.map(Step::Note));
    steps.extend(note::disks(settings, &trees)?.into_iter().map(Step::Note));
    match who {
        Who::Command(command) => {
            let elsewhere = match &named {
                Some(_) => Vec::new(),
                None => group::elsewhere(&movers[0], parent.as_deref(), &groups, layout)?,
            };
            let made = made(&steps);
            steps.extend(run(&movers[0], &groups, command)?);
            steps.extend(end([elsewhere, made].concat()));
        }
        Who::Pids(_, ended) => {
            for process in &movers {
                steps.extend(attach(process, ended, &groups, settings, &steps)?);
            }
            if steps.iter().any(|step| matches!(step, Step::Attach { .. })) {
                steps.extend(groups.iter().filter_map(note::frozen).map(Step::Note));
            }
            steps.extend(print(&groups));
        }
        Who::Nobody | Who::Stdin => steps.extend(print(&groups)),
    }
    Ok(steps)
}

/// The group's path in the tree of the first key.
pub fn print(groups: &[Group]) -> Option<Step> {
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

fn attach(
    process: &Membership,
    ended: Ended,
    groups: &[Group],
    settings: &[Setting],
    before: &[Step],
) -> Result<Vec<Step>, Failure> {
    let pid = process.pid;
    let mut steps = Vec::new();
    for group in groups {
        let from = evacuated(group.tree.group_of(process)?, before);
        if from == group.dir {
            continue;
        }
        let note = note::left(&format!("process {pid}"), &from, group);
        steps.push(Step::Attach { pid, from, to: group.dir.clone(), ended });
        steps.extend(note.map(Step::Note));
    }
    if !steps.is_empty() {
        steps.extend(note::held(pid, groups, settings)?.map(Step::Note));
        steps.extend(note::sockets(pid, settings).map(Step::Note));
    }
    Ok(steps)
}

/// Where a process is that is in this group now, when these steps have been done.
fn evacuated(now: PathBuf, steps: &[Step]) -> PathBuf {
    let moved = steps.iter().find_map(|step| match step {
        Step::Evacuate { from, to } if *from == now => Some(to.clone()),
        _ => None,
    });
    moved.unwrap_or(now)
}

/// COMMAND's run.
fn run(this: &Membership, groups: &[Group], command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for group in groups {
        let from = group.tree.group_of(this)?;
        steps.extend(note::left("COMMAND", &from, group).map(Step::Note));
        steps.extend(note::frozen(group).map(Step::Note));
    }
    steps.push(Step::Run { command, doors: groups.iter().map(Group::door).collect() });
    Ok(steps)
}

/// The groups that these steps make, from below; but not one that processes are evacuated into.
fn made(steps: &[Step]) -> Vec<PathBuf> {
    let is_refuge = |dir: &PathBuf| {
        steps.iter().any(|step| matches!(step, Step::Evacuate { to, .. } if to == dir))
    };
    let made = steps.iter().rev().filter_map(|step| match step {
        Step::Make(dir) => Some(dir.clone()),
        _ => None,
    });
    made.filter(|dir| !is_refuge(dir)).collect()
}

/// After COMMAND these go, and its status is ours.
fn end(dirs: Vec<PathBuf>) -> Vec<Step> {
    let remove = (!dirs.is_empty()).then_some(Step::Remove { dirs, kill: true });
    remove.into_iter().chain([Step::End]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::plan::tests::{lines, mixed};
    use crate::setting::Write;

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
        let (make, dir) = (|name: &str| Step::Make(name.into()), |name: &str| PathBuf::from(name));
        let evacuate = Step::Evacuate { from: dir("/a"), to: dir("/a/init") };
        let write = Step::Write(Write::new(&dir("/a/b"), "pids.max", "5"));
        let steps = [make("/a/init"), evacuate, make("/a/b"), write, make("/c/a"), make("/c/a/b")];
        assert_eq!(made(&steps), ["/c/a/b", "/c/a", "/a/b"].map(PathBuf::from));
        assert_eq!(end(Vec::new()), [Step::End]);
        let dirs = vec![dir("/a")];
        assert_eq!(end(dirs.clone()), [Step::Remove { dirs, kill: true }, Step::End]);
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
