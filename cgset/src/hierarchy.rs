//! Where the controllers are. With cgroup v1 each may have a tree of its own; with v2 they share
//! one; and a machine may have both, some controllers here and some there.

use std::path::{Component, Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::{Failure, Tried, file};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use crate::process::or_gone;

/// Network traffic is limited in the v2 tree. It has no controller: nobody hands it down.
pub const NET: &str = "net";

/// Rules for devices are kept in one tree: the v2 tree if there is one, where programs tell them
/// again and undo them; else that of v1's devices controller, which lists no denials.
pub const DEV: &str = "dev";

/// The two kinds of trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// A mounted tree of control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group that is seen there: `/`, unless only a part is mounted.
    pub root: PathBuf,
    pub controllers: Vec<String>,
}

/// What the kernel says of the groups that a process is in, one in each tree.
#[derive(Clone, Debug)]
pub struct Membership {
    pub pid: Pid,
    text: String,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<Hierarchy>);

impl Layout {
    /// Reads the mount table, and from the v2 tree which controllers it has.
    pub fn read() -> Result<Self, Failure> {
        // A line for each tree that there is, mounted or not.
        let all = file::text("/proc/self/cgroup").map_or(usize::MAX, |text| text.lines().count());
        let mounts = mountinfo::of_kinds(&["cgroup", "cgroup2"])?;
        let visible = mounts.filter(|mount| mount.as_ref().map_or(true, is_visible));
        Self::from_mounts(visible, all, |mount| {
            let file = mount.join("cgroup.controllers");
            file::text(&file).tried(|| format!("read {file:?}"))
        })
    }

    /// `all` is how many trees there are: who has found them, needs to look no further.
    fn from_mounts(
        mounts: impl IntoIterator<Item = Result<Mount, Failure>>,
        all: usize,
        v2_controllers: impl Fn(&Path) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let mut found: Vec<Hierarchy> = Vec::new();
        for mount in mounts {
            let mount = mount?;
            let (version, controllers) = match mount.kind.as_str() {
                "cgroup" => (Version::V1, mount.super_options),
                "cgroup2" => (Version::V2, v2_controllers(&mount.target)?.replace(' ', ",")),
                _ => continue,
            };
            let controllers: Vec<String> =
                controllers.trim().split(',').map(str::to_owned).collect();
            let tree = Hierarchy { version, mount: mount.target, root: mount.root, controllers };
            // A tree may be mounted a second time, or in part: the first whole one is the best.
            let same = |h: &&mut Hierarchy| {
                (h.version, &h.controllers) == (tree.version, &tree.controllers)
            };
            match found.iter_mut().find(same) {
                None => found.push(tree),
                Some(part) if !part.is_whole() && tree.is_whole() => *part = tree,
                Some(_) => {}
            }
            if found.iter().filter(|tree| tree.is_whole()).count() == all {
                break;
            }
        }
        if found.is_empty() {
            return Err(Failure::new("find the control groups: none are mounted here")
                .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup"));
        }
        let has_devices = |tree: &Hierarchy| tree.has("devices");
        let v2 = found.iter().position(|tree| tree.version == Version::V2);
        if let Some(place) = v2.or_else(|| found.iter().position(has_devices)) {
            found[place].controllers.push(DEV.to_owned());
        }
        Ok(Self(found))
    }

    /// The tree that has this controller.
    pub fn with(&self, controller: &str) -> Result<&Hierarchy, Failure> {
        let found = self.0.iter().find(|tree| tree.has(controller));
        found.ok_or_else(|| {
            if controller == NET {
                return Failure::new("limit network traffic: no cgroup v2 is mounted here")
                    .hint("it can be beside v1: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
            }
            if controller == DEV {
                return Failure::new(
                    "limit devices: neither cgroup v2 nor v1's devices is mounted",
                )
                .hint("either will do: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
            }
            let places: Vec<String> =
                self.0.iter().map(|h| h.mount.display().to_string()).collect();
            Failure::new(format!(
                "find the {controller} controller: not in {}",
                places.join(", ")
            ))
            .hint(format!(
                "grep {name} /proc/cgroups shows whether the kernel has it; if it does, mount it: \
                 mount -t cgroup -o {name} cgroup DIR",
                name = name_in(Version::V1, controller)
            ))
        })
    }

    /// The trees of these controllers, each once, in this order.
    ///
    /// v1 limits CPU time by one controller and counts it by another, which may have a tree of its
    /// own: then that follows.
    pub fn with_all<'a>(
        &self,
        controllers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<&Hierarchy>, Failure> {
        let mut trees: Vec<&Hierarchy> = Vec::new();
        for controller in controllers {
            let tree = self.with(controller)?;
            let counting = (controller, tree.version) == ("cpu", Version::V1);
            let counting = counting.then(|| self.with("cpuacct").ok()).flatten();
            for tree in [Some(tree), counting].into_iter().flatten() {
                if !trees.contains(&tree) {
                    trees.push(tree);
                }
            }
        }
        Ok(trees)
    }

    /// The v2 tree, beside v1 trees perhaps: there groups are frozen and killed at once.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|tree| tree.version == Version::V2)
    }
}

impl Membership {
    /// Reads it.
    pub fn of(pid: Pid) -> Result<Self, Failure> {
        let text = file::text(format!("/proc/{pid}/cgroup"));
        let text = text.tried(|| format!("look at process {pid}")).map_err(or_gone(pid))?;
        Ok(Self { pid, text })
    }
}

impl Hierarchy {
    /// The folder of the group that a process is in.
    pub fn group_of(&self, Membership { pid, text }: &Membership) -> Result<PathBuf, Failure> {
        let group = text.lines().find_map(|line| self.on_line(line)).ok_or_else(|| {
            Failure::new(format!("find the group of process {pid}: not in {:?}", self.mount))
        })?;
        self.folder(&group).ok_or_else(|| {
            let failure = Failure::new(format!(
                "find the group of process {pid}: {group:?} is outside of what {:?} shows, which \
                 is {:?}",
                self.mount, self.root
            ));
            if self.root.starts_with("/..") {
                return failure
                    .hint("it was mounted outside of this cgroup namespace: mount it anew");
            }
            failure.hint(
                "is this a container? run cgset outside of it, or name a group: --group GROUP",
            )
        })
    }

    /// Where a group is seen. What is mounted is perhaps only a part; and both the part and the
    /// group are told from the root of our cgroup namespace, so that a way up starts with `..`.
    fn folder(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        let up = below.components().any(|part| part == Component::ParentDir);
        (!up).then(|| self.below(below))
    }

    /// The folder of a group that is named from the mount point.
    pub fn below(&self, name: &Path) -> PathBuf {
        // Joined with nothing, a path gets a slash at its end.
        if name.as_os_str().is_empty() { self.mount.clone() } else { self.mount.join(name) }
    }

    fn is_whole(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Whether limits of this controller are set here.
    pub fn has(&self, controller: &str) -> bool {
        if controller == NET {
            return self.version == Version::V2;
        }
        let name = name_in(self.version, controller);
        self.controllers.iter().any(|there| there == name)
    }

    /// `4:memory:/a/b` or `0::/a/b`
    fn on_line(&self, line: &str) -> Option<PathBuf> {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match self.version {
            Version::V1 => names.split(',').any(|name| !name.is_empty() && self.has(name)),
            Version::V2 => names.is_empty(),
        };
        ours.then(|| PathBuf::from(path))
    }
}

/// What v2 calls io is blkio with v1.
fn name_in(version: Version, controller: &str) -> &str {
    match (version, controller) {
        (Version::V1, "io") => "blkio",
        _ => controller,
    }
}

/// Whether a mount is what one sees at its place: another may have been mounted over it.
fn is_visible(mount: &Mount) -> bool {
    let magic = match mount.kind.as_str() {
        "cgroup" => CGROUP_SUPER_MAGIC,
        "cgroup2" => CGROUP2_SUPER_MAGIC,
        _ => return false,
    };
    statfs(&mount.target).is_ok_and(|there| there.filesystem_type() == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
        47 43 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        52 47 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        53 47 0:34 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        54 47 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        55 47 0:33 / /elsewhere rw - cgroup cgroup rw,memory\n";

    fn layout(table: &[u8], v2: &str) -> Result<Layout, Failure> {
        let mounts = mountinfo::parse(table).expect("a good table");
        Layout::from_mounts(mounts.into_iter().map(Ok), usize::MAX, |_| Ok(v2.to_owned()))
    }

    #[test]
    fn each_controller_has_its_own_place() {
        let layout = layout(HYBRID, "pids hugetlb\n").expect("there are some");
        let place = |name| layout.with(name).map(|h| h.mount.clone());
        assert_eq!(place("memory").expect("v1"), Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(place("cpu").expect("v1"), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(place("pids").expect("v2"), Path::new("/sys/fs/cgroup/unified"));
        assert!(place("io").is_err());
        let all = layout.with_all(["cpu", "memory", "cpu"]).expect("all are there");
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn the_whole_tree_is_better_than_a_part() {
        let table = b"\
            52 47 0:33 /docker/x /part rw - cgroup cgroup rw,memory\n\
            53 47 0:33 / /whole rw - cgroup cgroup rw,memory\n";
        let layout = layout(table, "").expect("there is one");
        assert_eq!(layout.0.len(), 1);
        assert_eq!(layout.0[0].mount, Path::new("/whole"));
    }

    #[test]
    fn who_has_found_all_trees_looks_no_further() {
        let mounts = mountinfo::parse(HYBRID).expect("a good table");
        let mut left = mounts.into_iter();
        let taken = left.by_ref().map(Ok);
        let layout = Layout::from_mounts(taken, 3, |_| Ok("pids\n".to_owned()));
        assert_eq!(layout.expect("there are some").0.len(), 3);
        assert_eq!(left.len(), 1, "of memory there was one already");
    }

    #[test]
    fn cpu_time_is_counted_beside() {
        let table = b"\
            52 47 0:33 / /c/cpu rw - cgroup cgroup rw,cpu\n\
            53 47 0:34 / /c/cpuacct rw - cgroup cgroup rw,cpuacct\n";
        let layout = layout(table, "").expect("there are two");
        assert_eq!(layout.with_all(["cpu"]).expect("it is there").len(), 2);
    }

    #[test]
    fn a_part_of_a_tree_shows_the_groups_in_it() {
        let tree = |root: &str| Hierarchy {
            version: Version::V2,
            mount: "/m".into(),
            root: root.into(),
            controllers: Vec::new(),
        };
        for (root, group, folder) in [
            ("/", "/", Some("/m")),
            ("/", "/a/b", Some("/m/a/b")),
            ("/", "/../x", None),
            ("/a", "/a/b", Some("/m/b")),
            ("/a", "/c", None),
            ("/..", "/", None),
            ("/..", "/../x", Some("/m/x")),
        ] {
            assert_eq!(
                tree(root).folder(Path::new(group)),
                folder.map(PathBuf::from),
                "{root} {group}"
            );
        }
    }

    #[test]
    fn nothing_mounted_says_how_to_mount_it() {
        let lines = layout(b"", "").expect_err("nothing is there").lines("cgset");
        assert!(lines.contains("hint: mount -t cgroup2"), "{lines}");
    }

    #[test]
    fn the_line_of_a_process_for_each_tree() {
        let layout = layout(HYBRID, "pids\n").expect("there are some");
        let find = |name: &str, line: &str| layout.with(name).expect("it is there").on_line(line);
        assert_eq!(find("cpu", "3:cpu,cpuacct:/a:b"), Some("/a:b".into()));
        assert_eq!(find("cpu", "0::/x"), None);
        assert_eq!(find("pids", "0::/x"), Some("/x".into()));
        assert_eq!(find("memory", "9:name=systemd:/x"), None);
    }
}
