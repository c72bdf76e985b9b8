//! From a word to a group that is looked at.

use std::path::PathBuf;

use common::{Failure, pid};

use crate::group;
use crate::hierarchy::{Hierarchy, Layout, Membership};
use crate::plan;
use crate::process::gone;
use crate::show::Shown;

/// Finds the group of this name, or the groups that a process is in.
pub fn find(what: &str) -> Result<Shown, Failure> {
    let layout = Layout::read()?;
    find_in("show", what, &layout, &plan::trees(&layout)?)
}

/// Whether a word is a process and no group.
pub fn is_pid(what: &str) -> bool {
    what.bytes().all(|byte| byte.is_ascii_digit()) && !what.is_empty()
}

/// The same where the trees are known; `verb` says what it is looked for for.
pub fn find_in(
    verb: &str,
    what: &str,
    layout: &Layout,
    trees: &[&Hierarchy],
) -> Result<Shown, Failure> {
    if is_pid(what) {
        let pid = pid::parse(what)?;
        if !pid::exists(pid) {
            return Err(gone(pid));
        }
        let now = Membership::of(pid)?;
        let dirs: Result<Vec<_>, _> = trees.iter().map(|tree| tree.group_of(&now)).collect();
        let (dirs, top) = (dirs?, |dir: &PathBuf| trees.iter().any(|tree| tree.mount == *dir));
        let members = dirs.iter().filter(|dir| !top(dir)).cloned().collect();
        return Ok(Shown::new(dirs, members));
    }
    let groups = group::existing(verb, what, layout, trees)?;
    let dirs: Vec<PathBuf> = groups.into_iter().map(|group| group.dir).collect();
    Ok(Shown::new(dirs.clone(), dirs))
}
