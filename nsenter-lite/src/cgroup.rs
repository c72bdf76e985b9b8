//! The control groups of a process, as files to write one's PID to.

use std::fs;
use std::path::PathBuf;

use common::mountinfo::{self, Mount};
use common::{Failure, Tried, file, shell};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

/// The `cgroup.procs` of each hierarchy that is mounted here, version 1 and 2. See cgroups(7).
pub fn of(pid: Pid) -> Result<Vec<PathBuf>, Failure> {
    let file = format!("/proc/{pid}/cgroup");
    let text = file::text(&file).tried(|| format!("read {file:?}"))?;
    let mounts: Result<Vec<_>, _> = mountinfo::of_kinds(&["cgroup", "cgroup2"])?.collect();
    Ok(files(&text, &mounts?))
}

fn files(text: &str, mounts: &[Mount]) -> Vec<PathBuf> {
    let file = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = |mount: &&Mount| match controllers {
            "" => mount.kind == "cgroup2",
            named => {
                let options: Vec<&str> = mount.super_options.split(',').collect();
                mount.kind == "cgroup" && named.split(',').all(|name| options.contains(&name))
            }
        };
        // Not all of the hierarchy need be mounted.
        let inside = |mount: &Mount| {
            let below = PathBuf::from(path).strip_prefix(&mount.root).ok()?.to_owned();
            Some(mount.target.join(below).join("cgroup.procs"))
        };
        mounts.iter().filter(is_it).find_map(inside)
    };
    text.lines().filter_map(file).collect()
}

/// As a shell does it.
pub fn line(files: &[PathBuf]) -> String {
    let one = |file: &PathBuf| format!("echo $$ >{}", shell::word(file));
    files.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Moves this process into them.
pub fn join(files: &[PathBuf]) -> Result<(), Failure> {
    files.iter().try_for_each(|file| {
        fs::write(file, format!("{}\n", getpid()))
            .tried(|| format!("join the control group of {file:?}"))
            .map_err(|failure| {
                failure.hint_if(Errno::EACCES, || "that takes root, or a group of your own".into())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_has_its_file() {
        let table = b"1 0 0:1 / /cg/unified rw - cgroup2 cgroup2 rw\n\
            2 0 0:2 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
            3 0 0:3 /box /cg/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let mounts = mountinfo::parse(table).expect("a good table");
        let text = "9:name=systemd:/box/in\n8:pids:/gone\n2:cpu,cpuacct:/a\n0::/b:c\n";
        let wanted = [
            "/cg/systemd/in/cgroup.procs",
            "/cg/cpu/a/cgroup.procs",
            "/cg/unified/b:c/cgroup.procs",
        ];
        assert_eq!(files(text, &mounts), wanted.map(PathBuf::from));
    }
}
