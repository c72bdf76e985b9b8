//! Which groups there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::Failure;
use serde_json::Value;

use crate::group::{self, inner, is_ours};
use crate::hierarchy::{Hierarchy, Layout};
use crate::plan;

/// The groups in one of this name, or all: by name, each with its path in the first tree that has
/// it.
pub fn find(within: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let layout = Layout::read()?;
    let trees = plan::trees(&layout)?;
    let mut found = Found::new();
    let Some(name) = within else {
        for tree in trees {
            collect(tree, &tree.mount, Path::new(""), &mut found);
        }
        return Ok(found.into_values().collect());
    };
    for group in group::existing("list", name, &layout, &trees)? {
        collect(group.tree, &group.dir, Path::new(""), &mut found);
    }
    Ok(found.into_values().collect())
}

/// Each group by its name.
type Found = BTreeMap<PathBuf, PathBuf>;

/// A group that cgset has named may stand elsewhere in each tree, and is one all the same. Two of
/// such a name in one tree are of two PID namespaces.
fn collect(tree: &Hierarchy, dir: &Path, name: &Path, found: &mut Found) {
    for dir in inner(dir) {
        let last = dir.file_name().unwrap_or_default();
        let of_this_tree = |other: &PathBuf| other.starts_with(&tree.mount);
        let alone = is_ours(&dir) && !found.get(Path::new(last)).is_some_and(of_this_tree);
        let name = if alone { PathBuf::from(last) } else { name.join(last) };
        found.entry(name.clone()).or_insert_with(|| dir.clone());
        collect(tree, &dir, &name, found);
    }
}

/// The same as text or as JSON.
pub fn said(within: Option<&str>, as_json: bool) -> Result<String, Failure> {
    let groups = find(within)?;
    Ok(if as_json { json(&groups) } else { text(&groups) })
}

/// A path on each line.
fn text(groups: &[PathBuf]) -> String {
    groups.iter().fold(String::new(), |text, path| text + &format!("{}\n", path.display()))
}

/// An array of paths.
fn json(groups: &[PathBuf]) -> String {
    let paths: Vec<Value> = groups.iter().map(|path| path.to_string_lossy().into()).collect();
    format!("{:#}\n", Value::from(paths))
}
