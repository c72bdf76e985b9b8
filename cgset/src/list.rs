//! Which groups there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::Failure;
use serde_json::Value;

use crate::group::{self, inner};
use crate::hierarchy::{Hierarchy, Layout};
use crate::plan;

/// The groups in one of this name, or all: by name, each with its path in the first tree that has
/// it.
pub fn find(within: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let layout = Layout::read()?;
    let trees = plan::trees(&layout)?;
    let mut found = BTreeMap::new();
    let Some(name) = within else {
        for tree in trees {
            collect(tree, &tree.mount, &mut found);
        }
        return Ok(found.into_values().collect());
    };
    for group in group::existing("list", name, &layout, &trees)? {
        collect(group.tree, &group.dir, &mut found);
    }
    Ok(found.into_values().collect())
}

fn collect(tree: &Hierarchy, dir: &Path, found: &mut BTreeMap<PathBuf, PathBuf>) {
    for dir in inner(dir) {
        if let Ok(name) = dir.strip_prefix(&tree.mount) {
            found.entry(name.to_owned()).or_insert_with(|| dir.clone());
        }
        collect(tree, &dir, found);
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
