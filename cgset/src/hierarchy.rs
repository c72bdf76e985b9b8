//! Where the controllers are. With cgroup v1 each may have a tree of its own; with v2 they share
//! one; and a machine may have both, some controllers here and some there.

use std::fs;
use std::path::{Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::{Failure, Tried};
use nix::errno::Errno;
use nix::unistd::Pid;

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

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<Hierarchy>);

impl Layout {
    /// Reads the mount table, and from the v2 tree which controllers it has.
    pub fn read() -> Result<Self, Failure> {
        Self::from_mounts(&mountinfo::read()?, |mount| {
            let file = mount.join("cgroup.controllers");
            fs::read_to_string(&file).tried(|| format!("read {file:?}"))
        })
    }

    fn from_mounts(
        mounts: &[Mount],
        v2_controllers: impl Fn(&Path) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let mut found: Vec<Hierarchy> = Vec::new();
        for mount in mounts {
            let (version, controllers) = match mount.kind.as_str() {
                "cgroup" => (Version::V1, mount.super_options.clone()),
                "cgroup2" => (Version::V2, v2_controllers(&mount.target)?.replace(' ', ",")),
                _ => continue,
            };
            let controllers: Vec<String> =
                controllers.trim().split(',').map(str::to_owned).collect();
            // A tree may be mounted a second time, or in part: the first is the machine's own.
            if found.iter().all(|h| (h.version, &h.controllers) != (version, &controllers)) {
                let (mount, root) = (mount.target.clone(), mount.root.clone());
                found.push(Hierarchy { version, mount, root, controllers });
            }
        }
        if found.is_empty() {
            return Err(Failure::new("find the control groups: none are mounted here")
                .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup"));
        }
        Ok(Self(found))
    }

    /// The tree that has this controller.
    pub fn with(&self, controller: &str) -> Result<&Hierarchy, Failure> {
        let found = self.0.iter().find(|h| h.controllers.iter().any(|name| name == controller));
        found.ok_or_else(|| {
            let places: Vec<String> =
                self.0.iter().map(|h| format!("{}", h.mount.display())).collect();
            Failure::new(format!(
                "find the {controller} controller: not in {}",
                places.join(", ")
            ))
            .hint(format!(
                "grep {controller} /proc/cgroups shows whether the kernel has it; the boot option \
                 cgroup_disable may turn it off"
            ))
        })
    }

    /// The trees of these controllers, each once, in this order.
    pub fn with_all<'a>(
        &self,
        controllers: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<&Hierarchy>, Failure> {
        let mut trees: Vec<&Hierarchy> = Vec::new();
        for controller in controllers {
            let tree = self.with(controller)?;
            if !trees.contains(&tree) {
                trees.push(tree);
            }
        }
        Ok(trees)
    }
}

impl Hierarchy {
    /// The group that a process is in, as a path below the mount point.
    pub fn group_of(&self, pid: Pid) -> Result<PathBuf, Failure> {
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(file).tried(|| format!("look at process {pid}"));
        let text = text.map_err(|failure| match failure.kernel_said() {
            Some(Errno::ENOENT | Errno::ESRCH) => gone(pid),
            _ => failure,
        })?;
        let group = text.lines().find_map(|line| self.on_line(line)).ok_or_else(|| {
            Failure::new(format!("find the group of process {pid}: not in {:?}", self.mount))
        })?;
        // What is mounted is perhaps only a part, and the process may be outside of it.
        group.strip_prefix(&self.root).map(Path::to_owned).map_err(|_| {
            Failure::new(format!(
                "find the group of process {pid}: {group:?} is outside of what is mounted on {:?}",
                self.mount
            ))
        })
    }

    /// `4:memory:/a/b` or `0::/a/b`
    fn on_line(&self, line: &str) -> Option<PathBuf> {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match self.version {
            Version::V1 => names
                .split(',')
                .any(|name| !name.is_empty() && self.controllers.iter().any(|ours| ours == name)),
            Version::V2 => names.is_empty(),
        };
        ours.then(|| PathBuf::from(path))
    }
}

/// A process that is not there.
pub fn gone(pid: Pid) -> Failure {
    Failure::new(format!("find process {pid}: it does not exist (any more)"))
        .hint("ps -e lists the processes")
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
        Layout::from_mounts(&mounts, |_| Ok(v2.to_owned()))
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
