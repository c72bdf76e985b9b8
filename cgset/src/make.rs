//! Groups made: the folder, and with v2 the controllers that each group above hands down.

use std::fs;
use std::path::Path;

use common::{Failure, file};

use crate::group::{self, Group};
use crate::hierarchy::{DEV, NET, Version};
use crate::process;
use crate::step::Step;

/// The steps that make a group and give it these controllers. With v2 each group above has to
/// hand them down, which one that holds processes must not: they go into its inner group `refuge`.
pub fn make(
    group: &Group,
    controllers: &[&str],
    refuge: Option<&str>,
) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for dir in group.above() {
        steps.extend(missing_folder(&dir)?);
        if group.tree.version == Version::V2 {
            let handed = |name: &&str| ![NET, DEV].contains(name) && group.tree.has(name);
            let here = controllers.iter().copied().filter(handed);
            steps.extend(enable(&dir, here, refuge)?);
        }
    }
    let missing = missing_folder(&group.dir)?;
    if group.fresh && missing.is_none() {
        steps.push(Step::Remove { dirs: vec![group.dir.clone()], kill: false });
        steps.push(Step::Make(group.dir.clone()));
    }
    steps.extend(missing);
    Ok(steps)
}

fn missing_folder(dir: &Path) -> Result<Option<Step>, Failure> {
    match fs::metadata(dir) {
        Err(_) => Ok(Some(Step::Make(dir.to_owned()))),
        Ok(there) if there.is_dir() => Ok(None),
        Ok(_) => {
            let what = format!("make the group {dir:?}: a control file has this name");
            Err(Failure::usage(what).hint("give the group another name"))
        }
    }
}

fn enable<'a>(
    dir: &Path,
    controllers: impl Iterator<Item = &'a str>,
    refuge: Option<&str>,
) -> Result<Vec<Step>, Failure> {
    let file = dir.join("cgroup.subtree_control");
    let enabled = file::text(&file).unwrap_or_default();
    let mut missing: Vec<String> = Vec::new();
    for name in controllers.map(|name| format!("+{name}")) {
        if !enabled.split_whitespace().any(|there| there == &name[1..]) && !missing.contains(&name)
        {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let text = missing.join(" ");
    let (true, Some(refuge)) = (holds_processes(dir), refuge) else {
        check_empty(dir, &text)?;
        return Ok(vec![Step::Enable { file, text, evacuated: false }]);
    };
    let to = dir.join(refuge);
    let mut steps: Vec<Step> = missing_folder(&to)?.into_iter().collect();
    steps.push(Step::Evacuate { from: dir.to_owned(), to });
    steps.push(Step::Enable { file, text, evacuated: true });
    Ok(steps)
}

/// Whether it has processes of its own, and is not the top of the tree, which may have them.
fn holds_processes(dir: &Path) -> bool {
    let procs = file::text(dir.join("cgroup.procs")).unwrap_or_default();
    dir.join("cgroup.type").exists() && !procs.is_empty()
}

/// The kernel refuses memory here, and takes cpu and pids with an effect that nobody wants: the
/// group becomes threaded, and processes can't be put into the inner ones any more.
fn check_empty(dir: &Path, controllers: &str) -> Result<(), Failure> {
    if !holds_processes(dir) {
        return Ok(());
    }
    let pids = group::members(dir);
    Err(Failure::new(format!(
        "write {controllers:?} to {:?}: the group holds processes itself ({}), and cgroup v2 \
         limits only groups without inner ones",
        dir.join("cgroup.subtree_control"),
        process::list(&pids)
    ))
    .hint(
        "name a group elsewhere: --group or --parent GROUP; or move them into an inner group first: \
         --evacuate init; or start in a delegated one: systemd-run --user --scope -p Delegate=yes sh",
    ))
}
