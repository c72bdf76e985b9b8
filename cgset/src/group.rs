//! Groups by name: where a group of that name lies in each tree, and which one a process gets.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use common::{Failure, file, pid, shell};
use nix::unistd::{AccessFlags, Pid, access};

use crate::hierarchy::{Hierarchy, Layout, Membership, NET, Version};
use crate::key::ALL;
use crate::plan;

/// What the groups that cgset names itself start with.
const OURS: &str = "cgset-";

/// A group in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub tree: &'a Hierarchy,
    pub dir: PathBuf,
    /// What may be there of this name is left from a process that had the same number once.
    pub fresh: bool,
}

/// Reads a name such as `a/b`, or a path as cgset prints it; gives the path below a mount point.
///
/// `..` would lead to another group than the one that was named, and in the end out of the tree.
pub fn parse_name(name: &str, layout: &Layout) -> Result<PathBuf, Failure> {
    let fail = |why: &str| {
        Failure::usage(format!("read the group name {name:?}: {why}"))
            .hint("a name is as box or box/inner, or a path that cgset has printed")
    };
    if let Some(path) = libcgroup(name) {
        let hint = format!("the name alone: --group {}", shell::word(path));
        return Err(fail("which controllers, say the KEYs, not the name").hint(hint));
    }
    let path = Path::new(name);
    let below = if path.is_absolute() {
        let trees = layout.0.iter().filter_map(|tree| path.strip_prefix(&tree.mount).ok());
        let below = trees.min_by_key(|below| below.as_os_str().len());
        below.or_else(|| from_the_top(path)).ok_or_else(|| fail("no such tree"))?
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
    // Without what has no meaning, as in a//b/, so that a group has one path.
    Ok(below.components().collect())
}

/// The path in `memory,cpu:box`, as libcgroup names a group, or in `*:box`.
fn libcgroup(name: &str) -> Option<&str> {
    let (controllers, path) = name.split_once(':')?;
    let known = |name: &str| name == "blkio" || (name != NET && ALL.contains(&name));
    let all = controllers == "*" || controllers.split(',').all(known);
    all.then(|| path.trim_start_matches('/'))
}

/// Engines start a name with a slash: `/docker/ID` lies at the top of a tree. What starts like a
/// path of this machine does not.
fn from_the_top(path: &Path) -> Option<&Path> {
    let below = path.strip_prefix("/").ok()?;
    let first = below.components().next()?;
    (!Path::new("/").join(first).exists()).then_some(below)
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
    trees.iter().map(|tree| Group { tree, dir: dir(tree), fresh: false }).collect()
}

/// Those of this name that are there; `verb` says what they are looked for for.
pub fn existing<'a>(
    verb: &str,
    name: &str,
    layout: &Layout,
    trees: &[&'a Hierarchy],
) -> Result<Vec<Group<'a>>, Failure> {
    let mut groups = named(&parse_name(name, layout)?, trees);
    groups.retain(|group| group.dir.is_dir());
    if groups.is_empty() {
        return Err(Failure::new(format!("{verb} the group {name:?}: there is none of this name"))
            .hint("cgset ls lists them"));
    }
    Ok(groups)
}

/// Whether cgset has named it after a process, of whichever PID namespace.
pub fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix(OURS));
    name.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    })
}

/// The process that a group is named after, if it is one of this [`namespace`]: whether one of
/// another is there, can't be seen from here.
pub fn owner(dir: &Path, namespace: &str) -> Option<Pid> {
    let name = dir.file_name()?.to_str()?;
    pid::parse(name.strip_prefix(OURS)?.strip_suffix(namespace)?).ok()
}

/// What stands behind the PID in the names of our PID namespace: nothing for the machine's first
/// one, else its number, for the same PID is another process in each.
pub fn namespace() -> String {
    // PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h.
    const FIRST: u64 = 0xEFFF_FFFC;
    match fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino()) {
        Ok(number) if number != FIRST => format!("-{number}"),
        _ => String::new(),
    }
}

/// The folder of this name below another.
fn find(dir: &Path, name: &OsStr) -> Option<PathBuf> {
    let folders = inner(dir);
    let here = folders.iter().find(|folder| folder.file_name() == Some(name)).cloned();
    here.or_else(|| folders.iter().find_map(|folder| find(folder, name)))
}

/// The groups that a process gets: in each tree the one that it has from us already, else a new
/// one, of the name that it has elsewhere, so that what belongs together is called the same.
pub fn for_process<'a>(
    process: &Membership,
    parent: Option<&Path>,
    trees: &[&'a Hierarchy],
    layout: &Layout,
) -> Result<Vec<Group<'a>>, Failure> {
    let present = layout.0.iter().filter_map(|tree| tree.group_of(process).ok());
    let name =
        present.filter(|dir| is_ours(dir)).find_map(|dir| dir.file_name().map(OsStr::to_owned));
    let name = name.unwrap_or_else(|| name_for(process.pid));
    let group = |tree: &&'a Hierarchy| {
        let now = tree.group_of(process)?;
        let parent = parent.map(|parent| tree.below(parent));
        if is_ours(&now) && parent.as_ref().is_none_or(|parent| now.starts_with(parent)) {
            return Ok(Group { tree, dir: now, fresh: false });
        }
        let dir = parent.unwrap_or_else(|| place(&now, tree).to_owned()).join(&name);
        let fresh = inside(&dir).is_empty();
        Ok(Group { tree, dir, fresh })
    };
    trees.iter().map(group).collect()
}

/// New groups for what this process starts: below `parent`, or under the limits that it is under
/// itself.
pub fn for_command<'a>(
    this: &Membership,
    parent: Option<&Path>,
    trees: &[&'a Hierarchy],
) -> Result<Vec<Group<'a>>, Failure> {
    let name = name_for(this.pid);
    let group = |tree: &&'a Hierarchy| {
        let parent = match parent {
            Some(parent) => tree.below(parent),
            None => place(&tree.group_of(this)?, tree).to_owned(),
        };
        let dir = parent.join(&name);
        Ok(Group { tree, dir, fresh: true })
    };
    trees.iter().map(group).collect()
}

/// The places of COMMAND's group in the trees that it is not in, where a cgset that COMMAND runs
/// would make it, as [`for_process`] does. What is there already is not COMMAND's.
pub fn elsewhere(
    this: &Membership,
    parent: Option<&Path>,
    groups: &[Group],
    layout: &Layout,
) -> Result<Vec<PathBuf>, Failure> {
    let Some(name) = groups.first().and_then(|group| group.dir.file_name()) else {
        return Ok(Vec::new());
    };
    let mut trees = plan::trees(layout)?;
    trees.retain(|tree| !groups.iter().any(|group| group.tree == *tree));
    let mut dirs = Vec::new();
    for tree in trees {
        // Where the group that we are in is not seen, nobody makes one beside it.
        let now = tree.group_of(this).ok();
        let beside = now.map(|now| place(&now, tree).join(name));
        dirs.extend(beside.into_iter().chain(parent.map(|above| tree.below(above).join(name))));
    }
    dirs.retain(|dir| !dir.exists());
    Ok(dirs)
}

fn name_for(pid: Pid) -> OsString {
    format!("{OURS}{pid}{}", namespace()).into()
}

/// Where a new group for a process goes that is in the group `now`.
///
/// A v2 group that has processes can't have inner groups with controllers; so there the new group
/// stands beside the present one, unless that is the root, which is exempt.
fn place<'a>(now: &'a Path, tree: &Hierarchy) -> &'a Path {
    match tree.version {
        Version::V2 if now != tree.mount => now.parent().unwrap_or(now),
        _ => now,
    }
}

/// The processes in a group itself.
pub fn members(dir: &Path) -> Vec<Pid> {
    let text = file::text(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| pid::parse(line).ok()).collect()
}

/// The processes in a group and those in it.
pub fn inside(dir: &Path) -> Vec<Pid> {
    let here = members(dir).into_iter();
    here.chain(inner(dir).iter().flat_map(|dir| inside(dir))).collect()
}

/// Those in any of these folders, which are one group in several trees.
pub fn inside_any(dirs: &[PathBuf]) -> Vec<Pid> {
    dirs.iter().flat_map(|dir| inside(dir)).collect()
}

/// The first file of one of these names in them.
pub fn file(dirs: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let mut files = dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
    files.find(|file| file.exists())
}

/// The one of them that is in a v2 tree.
pub fn v2(dirs: &[PathBuf]) -> Option<&PathBuf> {
    dirs.iter().find(|dir| dir.join("cgroup.controllers").exists())
}

/// The groups in a group.
pub fn inner(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

impl Group<'_> {
    /// The file by which a process joins that has a single thread and writes its own number there.
    ///
    /// For a whole process the kernel first waits until nobody forks or ends, a grace period of RCU,
    /// which takes 12 ms on a machine that has nothing else to do. For a thread that moves itself
    /// it needs not, and v1 has a file for that.
    pub fn door(&self) -> PathBuf {
        let tasks = self.dir.join("tasks");
        let may = || self.fresh || !self.dir.exists() || access(&tasks, AccessFlags::W_OK).is_ok();
        match self.tree.version {
            Version::V1 if may() => tasks,
            _ => self.dir.join("cgroup.procs"),
        }
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
        for name in ["a/b", "/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/a/b", "a//b/", "/a/b"] {
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
    fn a_name_tells_its_process_and_pid_namespace() {
        for (name, ours, here, there) in [
            ("cgset-7", true, Some(7), None),
            ("cgset-7-4026532288", true, None, Some(7)),
            ("cgset-7-4026532289", true, None, None),
            ("cgset-", false, None, None),
            ("cgset-x", false, None, None),
            ("x-7", false, None, None),
        ] {
            let dir = Path::new("/g").join(name);
            let owner = |namespace| owner(&dir, namespace).map(Pid::as_raw);
            assert_eq!((is_ours(&dir), owner("")), (ours, here), "{name}");
            assert_eq!(owner("-4026532288"), there, "{name}");
        }
    }

    #[test]
    fn above_starts_at_the_top() {
        let layout = layout();
        let group = &named(Path::new("a/b"), &[&layout.0[0]])[0];
        let top = Path::new("/sys/fs/cgroup/memory");
        assert_eq!(group.above(), [top.to_owned(), top.join("a")]);
    }

    #[test]
    fn a_new_group_is_inside_with_v1_and_beside_with_v2() {
        let layout = layout();
        let (v1, v2) = (&layout.0[0], &layout.0[1]);
        for (tree, now, above) in [
            (v1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"),
            (v1, "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/a"),
            (v2, "/sys/fs/cgroup", "/sys/fs/cgroup"),
            (v2, "/sys/fs/cgroup/a", "/sys/fs/cgroup"),
            (v2, "/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a"),
        ] {
            assert_eq!(place(Path::new(now), tree), Path::new(above), "{now}");
        }
    }
}
