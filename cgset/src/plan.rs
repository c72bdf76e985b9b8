//! From the request to the steps. Reads where the groups are and what is in them; writes nothing.

use std::path::{Path, PathBuf};

use common::{Failure, pid};
use nix::unistd::{AccessFlags, Pid, access};

use crate::attach::Ended;
use crate::cli::{Cli, Request, Who};
use crate::group::{self, inside_any};
use crate::hierarchy::{Hierarchy, Layout, Membership};
use crate::key::{ALL, CONTROLLERS, Setting};
use crate::make::make;
use crate::process::has_ended;
use crate::set::{print, set};
use crate::step::Step;
use crate::{delegate, freeze, remove};

/// What cgset will do. What only looks has no steps, and does not come here.
pub fn plan(cli: &Cli, request: Request) -> Result<Vec<Step>, Failure> {
    // Whoever is before us in a pipe may wait for us to read.
    let listed = match &request {
        Request::Set { who: Who::Stdin, .. } => cli.accept(&pid::from_stdin()?)?,
        _ => Vec::new(),
    };
    let layout = Layout::read()?;
    cli.evacuate.as_deref().map_or(Ok(()), |name| check_refuge(name, &layout))?;
    match request {
        Request::Create(name) => create(&name, cli, &layout),
        Request::Remove(names) => {
            let step = |(name, dirs): (&String, _)| remove::plan(name, dirs, cli.kill);
            existing("remove", &names, &layout)?.into_iter().map(step).collect()
        }
        Request::Freeze { names, freeze } => {
            let verb = freeze::verb(freeze);
            let step = |(name, dirs): (&String, Vec<PathBuf>)| {
                remove::spare(verb, name, &inside_any(&dirs))?;
                let (file, text) = freeze::switch(name, &dirs, freeze)?;
                Ok(Step::Freeze { file, text })
            };
            existing(verb, &names, &layout)?.into_iter().map(step).collect()
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
            let mut steps = match who {
                Who::Stdin => set_listed(cli, &settings, &listed, &layout)?,
                who => set(cli, &settings, who, &layout)?,
            };
            let note = steps.iter().find_map(|step| match step {
                Step::Note(text) => Some(text),
                _ => None,
            });
            if let (true, Some(note)) = (cli.strict, note) {
                return Err(Failure::new(note)
                    .hint("without --strict this would be a note, and all would be done"));
            }
            steps.retain(|step| !(cli.quiet && matches!(step, Step::Note(_))));
            Ok(steps)
        }
        Request::Show(_) | Request::List(_) | Request::Stat(_) | Request::Watch(_) => {
            Ok(Vec::new())
        }
    }
}

/// Processes go out of the way into an inner group, not into one that is elsewhere.
fn check_refuge(name: &str, layout: &Layout) -> Result<(), Failure> {
    let below = group::parse_name(name, layout)?;
    if below.components().count() == 1 && below == Path::new(name) {
        return Ok(());
    }
    Err(Failure::usage(format!("evacuate into {name:?}: it is more than one name"))
        .hint("a plain name for a group in the one that holds processes: --evacuate init"))
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

/// The steps for those of a list that are still there, and a note of the others: whoever has made
/// the list, has made it earlier.
fn set_listed(
    cli: &Cli,
    settings: &[Setting],
    listed: &[Pid],
    layout: &Layout,
) -> Result<Vec<Step>, Failure> {
    let ended = match (cli.strict, cli.quiet) {
        (true, _) => Ended::Fails,
        (_, true) => Ended::IsIgnored,
        _ => Ended::IsNoted,
    };
    loop {
        let (over, there): (Vec<Pid>, Vec<Pid>) = listed.iter().partition(|pid| has_ended(**pid));
        if there.is_empty() {
            let why = if over.is_empty() { "there are none" } else { "all of them have ended" };
            return Err(Failure::new(format!("limit the processes on standard input: {why}")));
        }
        let note = (!over.is_empty()).then(|| Step::Note(left_out(&over)));
        match set(cli, settings, Who::Pids(there.clone(), ended), layout) {
            // One has ended since, and those that are there are fewer now.
            Err(_) if there.into_iter().any(has_ended) => {}
            steps => return Ok(note.into_iter().chain(steps?).collect()),
        }
    }
}

/// What is said of processes of a list.
pub fn left_out(over: &[Pid]) -> String {
    let list = over.iter().map(Pid::to_string).collect::<Vec<_>>().join(", ");
    format!("left out, for they have ended: {list}")
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
pub fn trees_of<'a>(below: &Path, layout: &'a Layout) -> Result<Vec<&'a Hierarchy>, Failure> {
    let usual = trees_for(&CONTROLLERS, layout)?;
    let mut all = trees(layout)?;
    all.retain(|tree| usual.contains(tree) || tree.below(below).is_dir());
    Ok(all)
}

/// The v2 tree, if it is not among these anyway: there a group is frozen and killed at once, and
/// told of. But not if that would take a process out of a group that somebody has put it into.
pub fn joined<'a>(
    layout: &'a Layout,
    trees: &[&Hierarchy],
    movers: &[Membership],
) -> Option<&'a Hierarchy> {
    let v2 = layout.v2().filter(|v2| !trees.contains(v2))?;
    let free = |dir: PathBuf| dir == v2.mount || group::is_ours(&dir);
    let all = movers.iter().all(|process| v2.group_of(process).is_ok_and(free));
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;

    use crate::hierarchy::Version;

    use support::{TempDir, scratch};

    /// A machine with memory on v2 and cpu and pids on v1, of plain folders.
    pub fn mixed() -> (TempDir, Layout) {
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

    pub fn lines(top: &TempDir, steps: &[Step]) -> String {
        use common::{Line, Step as _};
        let line = |step: &Step| match step.line() {
            Line::Run(text) | Line::Exec(text) | Line::Within(text) | Line::Whole(text) => text,
        };
        let lines: Vec<String> = steps.iter().map(line).collect();
        lines.join("\n").replace(&format!("{}/", top.path().display()), "")
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
}
