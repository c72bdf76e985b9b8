//! Which CPUs and memory nodes a group may use. With v1 a new group has none of either, and lets
//! nobody in: it gets those of the group above first.

use std::path::{Path, PathBuf};

use common::file;

use crate::group::{self, Group, inside};
use crate::hierarchy::Version;
use crate::key::{Key, Setting};
use crate::setting::{Write, find};
use crate::value::Value;

const FILES: [(Key, &str); 2] = [(Key::Cpus, "cpuset.cpus"), (Key::Mems, "cpuset.mems")];

/// The files for the settings of CPUs and memory nodes. With v2 an empty list means all that the
/// group above has, and goes on to mean it; but it is refused where there are processes, and with
/// v1. There what the group above has now is written.
pub fn writes(settings: &[Setting], version: Version, dir: &Path) -> Vec<Write> {
    let write = |(key, file)| {
        let text = match (find(settings, key)?, version) {
            (Value::Word(list), _) => list.clone(),
            (_, Version::V1) => above(dir, file),
            (_, Version::V2) if inside(dir).is_empty() => String::new(),
            (_, Version::V2) => above(dir, &format!("{file}.effective")),
        };
        Some(Write::new(dir, file, text))
    };
    FILES.into_iter().filter_map(write).collect()
}

/// What is set in a group: the CPUs, and the memory nodes.
pub fn shown(dirs: &[PathBuf]) -> [(&'static str, Option<String>); 2] {
    [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")].map(|(name, file)| {
        let list = group::file(dirs, &[file]).map(|file| of(&file));
        (name, list.filter(|list| !list.is_empty()))
    })
}

/// What a v1 group and those above it need before a process can be put into it.
pub fn fill(group: &Group) -> Vec<Write> {
    if group.tree.version == Version::V2 || !group.tree.has("cpuset") {
        return Vec::new();
    }
    let mut writes = Vec::new();
    for (_, name) in FILES {
        let mut all = of(&group.tree.mount.join(name));
        for dir in group.above().into_iter().skip(1).chain([group.dir.clone()]) {
            let file = dir.join(name);
            let here = if group.fresh && dir == group.dir { String::new() } else { of(&file) };
            if here.is_empty() {
                writes.push(Write { file, text: all.clone() });
            } else {
                all = here;
            }
        }
    }
    writes
}

/// All that the group above has.
fn above(dir: &Path, name: &str) -> String {
    let files = dir.ancestors().skip(1).map(|dir| of(&dir.join(name)));
    files.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
}

/// What a file shows; nothing where the group is not there yet.
fn of(file: &Path) -> String {
    file::text(file).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::Hierarchy;
    use std::fs;

    #[test]
    fn a_v1_group_gets_what_is_above_from_the_top() {
        let top = support::scratch();
        let tree = Hierarchy {
            version: Version::V1,
            mount: top.path().into(),
            root: "/".into(),
            controllers: vec!["cpuset".into()],
        };
        for (name, text) in [("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n")] {
            fs::write(top.path().join(name), text).expect("ours");
        }
        fs::create_dir(top.path().join("a")).expect("ours");
        fs::write(top.path().join("a/cpuset.cpus"), "1-2\n").expect("ours");
        let group = Group { tree: &tree, dir: top.path().join("a/b"), fresh: false };
        let writes = fill(&group);
        let shown = |write: &Write| {
            let name = write.file.strip_prefix(top.path()).expect("inside");
            format!("{} {}", name.display(), write.text)
        };
        let wanted = ["a/b/cpuset.cpus 1-2", "a/cpuset.mems 0", "a/b/cpuset.mems 0"];
        assert_eq!(writes.iter().map(shown).collect::<Vec<_>>(), wanted);
        assert_eq!(above(&group.dir, "cpuset.cpus"), "1-2");
    }
}
