//! Groups by name: where a group of that name lies in each tree, and which one a process gets.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use common::Failure;
use nix::unistd::Pid;

use crate::hierarchy::{Hierarchy, Layout, Version};

/// What the groups that cgset names itself start with.
const OURS: &str = "cgset-";

/// A group in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub tree: &'a Hierarchy,
    pub dir: PathBuf,
}

/// Reads a name such as `a/b`, or a path as cgset prints it; gives the path below a mount point.
///
/// `..` would lead to another group than the one that was named, and in the end out of the tree.
pub fn parse_name(name: &str, layout: &Layout) -> Result<PathBuf, Failure> {
    let fail = |why: &str| {
        Failure::usage(format!("read the group name {name:?}: {why}"))
            .hint("a name is as box or box/inner, or a path that cgset has printed")
    };
    let path = Path::new(name);
    let below = if path.is_absolute() {
        let trees = layout.0.iter().filter_map(|tree| path.strip_prefix(&tree.mount).ok());
        trees.min_by_key(|below| below.as_os_str().len()).ok_or_else(|| fail("no such tree"))?
    } else {
        path
    };
    if below.as_os_str().is_empty() {
        return Err(fail("it names no group"));
    }
    let plain = |part: Component| matches!(part, Component::Normal(_));
    if !below.components().all(plain) || name.split('/').any(|part| part == ".") {
        return Err(fail("a group can't be called . or .."));
    }
    if name.contains(['\0', '\n']) {
        return Err(fail("a name is one line of text"));
    }
    Ok(below.to_owned())
}

/// The group of that name in each of the trees.
///
/// One that cgset named itself stands where its process was, which may be elsewhere in each tree;
/// as the name is a process's, it is found by that alone.
pub fn named<'a>(below: &Path, trees: &[&'a Hierarchy]) -> Vec<Group<'a>> {
    let dir = |tree: &Hierarchy| {
        let dir = tree.mount.join(below);
        let search = is_ours(below) && !dir.exists();
        search.then(|| find(&tree.mount, below.file_name()?)).flatten().unwrap_or(dir)
    };
    trees.iter().map(|tree| Group { tree, dir: dir(tree) }).collect()
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OURS))
}

/// The folder of this name below another.
fn find(dir: &Path, name: &OsStr) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    let here = folders.iter().find(|folder| folder.file_name() == Some(name)).cloned();
    here.or_else(|| folders.iter().find_map(|folder| find(folder, name)))
}

/// The group that a process gets: the one that it has from us already, else a new one.
pub fn for_process(pid: Pid, tree: &Hierarchy) -> Result<Group<'_>, Failure> {
    let now = tree.group_of(pid)?;
    if is_ours(&now) { Ok(Group { tree, dir: tree.mount.join(now) }) } else { new_for(pid, tree) }
}

/// A new group, named after the process, which keeps it under the limits of those above.
///
/// A v2 group that has processes can't have inner groups with controllers; so there the new group
/// stands beside the present one, unless that is the root, which is exempt.
pub fn new_for(pid: Pid, tree: &Hierarchy) -> Result<Group<'_>, Failure> {
    let now = tree.group_of(pid)?;
    let above = match tree.version {
        Version::V1 => now.as_path(),
        Version::V2 => now.parent().unwrap_or(Path::new("")),
    };
    Ok(Group { tree, dir: tree.mount.join(above).join(format!("{OURS}{pid}")) })
}

impl Group<'_> {
    /// The folders to be made, from above.
    pub fn missing(&self) -> Vec<PathBuf> {
        let mut missing: Vec<PathBuf> = self
            .dir
            .ancestors()
            .take_while(|dir| *dir != self.tree.mount && !dir.exists())
            .map(Path::to_owned)
            .collect();
        missing.reverse();
        missing
    }

    /// The groups above it, from the top of the tree.
    pub fn above(&self) -> Vec<PathBuf> {
        let above =
            self.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.tree.mount));
        let mut above: Vec<PathBuf> = above.map(Path::to_owned).collect();
        above.reverse();
        above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let tree = |version, mount: &str| Hierarchy {
            version,
            mount: mount.into(),
            root: "/".into(),
            controllers: vec!["memory".into()],
        };
        Layout(vec![
            tree(Version::V1, "/sys/fs/cgroup/memory"),
            tree(Version::V2, "/sys/fs/cgroup"),
        ])
    }

    #[test]
    fn names_and_printed_paths_are_the_same_group() {
        for name in ["a/b", "/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/a/b", "a//b/"] {
            assert_eq!(parse_name(name, &layout()).expect(name), Path::new("a/b"), "{name}");
        }
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for name in
            ["", "..", "../..", "a/../b", ".", "./a", "a/.", "/", "/etc", "/sys/fs/cgroup", "a\nb"]
        {
            assert!(parse_name(name, &layout()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn above_starts_at_the_top() {
        let layout = layout();
        let group = &named(Path::new("a/b"), &[&layout.0[0]])[0];
        let top = Path::new("/sys/fs/cgroup/memory");
        assert_eq!(group.above(), [top.to_owned(), top.join("a")]);
    }
}
