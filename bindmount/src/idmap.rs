//! Owners seen as others: `X-mount.idmap` of mount(8), `MOUNT_ATTR_IDMAP` of `mount_setattr(2)`.
//!
//! The kernel takes the map from a user namespace. One is made for it by a child, which ends when
//! the mount has it; nothing else is ever in it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::iter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::mountinfo::{self, Mount};
use common::subordinate::{Extent, NOBODY, decimal};
use common::{Failure, Tried, file, idmap, pid, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;

use crate::attach::explain_privilege;
use crate::options::Options;
use crate::overlay::in_user_namespace;
use crate::place;

/// mount(8)'s word for it.
pub const WORD: &str = "X-mount.idmap=";

/// Which owners are seen as which: those inside are on disk, those outside are what is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    users: Vec<Extent>,
    groups: Vec<Extent>,
}

impl IdMap {
    /// Adds ranges as mount(8) has them: `u:0:1000:1 g:0:1000:1`, or `b:` for both.
    pub fn add(&mut self, text: &str) -> Result<(), Failure> {
        if text.split_ascii_whitespace().next().is_none() {
            return Err(wrong(text, "it is empty"));
        }
        text.split_ascii_whitespace().try_for_each(|range| match range.split_once(':') {
            Some(("u", range)) => self.add_users(range),
            Some(("g", range)) => self.add_groups(range),
            Some(("b", range)) => self.add_users(range).and_then(|()| self.add_groups(range)),
            _ => self.add_users(range).and_then(|()| self.add_groups(range)),
        })
    }

    /// Adds `INNER:OUTER:COUNT`.
    pub fn add_users(&mut self, range: &str) -> Result<(), Failure> {
        self.users.push(extent(range)?);
        Ok(())
    }

    /// The same for groups.
    pub fn add_groups(&mut self, range: &str) -> Result<(), Failure> {
        self.groups.push(extent(range)?);
        Ok(())
    }

    /// What mount(8) would be told.
    pub fn words(&self) -> String {
        let word = |kind: char| {
            move |Extent { inside, outside, count }: &Extent| {
                format!("{kind}:{inside}:{outside}:{count}")
            }
        };
        let users = self.users.iter().map(word('u'));
        users.chain(self.groups.iter().map(word('g'))).collect::<Vec<_>>().join(" ")
    }

    /// Gives the map to a detached mount, with `AT_RECURSIVE` to those below it too.
    pub fn set(&self, mount: &OwnedFd, depth: libc::c_int, path: &Path) -> Result<(), Failure> {
        let namespace = self.namespace()?;
        let attr = sys::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            attr_clr: 0,
            propagation: 0,
            userns_fd: u64::from(namespace.as_fd().as_raw_fd().cast_unsigned()),
        };
        sys::mount_setattr(mount, depth, &attr)
            .tried(|| format!("map the owners on the mount for {path:?}"))
            .map_err(explain)
    }

    /// A user namespace with this map.
    fn namespace(&self) -> Result<File, Failure> {
        let failed = || "make a user namespace for the map of owners";
        let (told, tell) = io::pipe().tried(failed)?;
        let (wait, go) = io::pipe().tried(failed)?;
        match sys::fork().tried(failed).map_err(explain_new)? {
            ForkResult::Child => {
                drop((told, go));
                in_child(tell, wait)
            }
            ForkResult::Parent { child } => {
                drop((tell, wait));
                let namespace = self.of_child(told);
                drop(go);
                match waitpid(child, None) {
                    // Where the caller ignores SIGCHLD nothing is left of it, and the kernel has waited.
                    Ok(_) | Err(Errno::ECHILD) => namespace,
                    Err(errno) => Err(Failure::errno(failed(), errno)),
                }
            }
        }
    }

    /// Writes the maps of the child's, and opens it. What is not named stays as it is.
    fn of_child(&self, mut told: PipeReader) -> Result<File, Failure> {
        let mut name = String::new();
        told.read_to_string(&mut name).tried(|| "read what the child says")?;
        let failed = || "make a user namespace for the map of owners";
        let folder = match name.strip_prefix("error ") {
            Some(errno) => {
                let errno = Errno::from_raw(errno.parse().unwrap_or_default());
                return Err(explain_new(Failure::errno(failed(), errno)));
            }
            None => Path::new("/proc").join(name),
        };
        for (file, ranges) in [("uid_map", &self.users), ("gid_map", &self.groups)] {
            let map = match ranges.is_empty() {
                true => as_it_is(file)?,
                false => idmap::text(ranges),
            };
            std::fs::write(folder.join(file), &map)
                .tried(|| format!("map owners by {map:?}"))
                .map_err(explain_map)?;
        }
        File::open(folder.join("ns/user")).tried(failed)
    }
}

/// Makes the namespace, and stays until it is held. `/proc` may be that of another PID namespace, so
/// the number of this process there is asked of it.
fn in_child(mut tell: PipeWriter, mut wait: PipeReader) -> ! {
    let link = || std::fs::read_link("/proc/self");
    let name = unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from).and_then(|()| link());
    let name = name.unwrap_or_else(|error| {
        PathBuf::from(format!("error {}", error.raw_os_error().unwrap_or_default()))
    });
    let _ = tell.write_all(name.as_os_str().as_encoded_bytes());
    drop(tell);
    let _ = wait.read(&mut [0]);
    sys::end(0)
}

/// All owners that there are here, each as itself.
fn as_it_is(file: &str) -> Result<String, Failure> {
    let path = Path::new("/proc/self").join(file);
    let map = file::text(&path).tried(|| format!("read {path:?}"))?;
    Ok(map.lines().fold(String::new(), |map, line| {
        let mut fields = line.split_ascii_whitespace();
        let (first, count) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        map + &format!("{first} {first} {count}\n")
    }))
}

fn extent(text: &str) -> Result<Extent, Failure> {
    let numbers: Result<Vec<u32>, _> = text.split(':').map(decimal).collect();
    let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    let numbers = numbers.ok_or_else(|| wrong(text, "not of the form INNER:OUTER:COUNT"))?;
    Extent::of(numbers)
        .ok_or_else(|| wrong(text, &format!("there are no such ids: they are 0 to {}", NOBODY - 1)))
}

fn wrong(text: &str, why: &str) -> Failure {
    Failure::usage(format!("read the map of owners {text:?}: {why}"))
        .hint("as in 0:1000:1: what is root's on disk is seen as user 1000's")
}

/// A process, or a user namespace, was refused.
fn explain_new(failure: Failure) -> Failure {
    pid::explain_new(explain_privilege(failure)).hint_if(Errno::ENOSPC, || {
        "a limit is reached: sysctl user.max_user_namespaces shows how many there may be, and they \
         are 32 deep at most"
            .into()
    })
}

fn explain_map(failure: Failure) -> Failure {
    explain_in_user_namespace(explain_privilege(failure)).hint_if(Errno::EINVAL, || {
        "no two ranges may have a number in common, on either side".into()
    })
}

fn explain(failure: Failure) -> Failure {
    explain_in_user_namespace(explain_privilege(failure)).hint_if(Errno::EINVAL, || {
        "this file system can't be mapped by this kernel: ext4, xfs and FAT can since Linux 5.12, \
         btrfs 5.15, tmpfs 6.3"
            .into()
    })
}

/// Owners are mapped on all mounts of a tree, or on none, and the kernel does not say which one it has
/// refused: each is tried alone.
pub fn name_the_mount(failure: Failure, src: &Path, options: &Options) -> Failure {
    let (Some(map), Some(Errno::EINVAL | Errno::EPERM)) = (&options.idmap, failure.kernel_said())
    else {
        return failure;
    };
    let (Ok(top), Ok(table)) = (src.canonicalize(), mountinfo::read()) else { return failure };
    let refused = |place: &Path| {
        let at = open(place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let failure = map.set(&sys::copy_of_mount(&at).ok()?, 0, place).err()?;
        let number = place::mount_number(&at);
        let mapped = |mount: &Mount| {
            Some(mount.id) == number && mount.options.split(',').any(|word| word == "idmapped")
        };
        Some(match table.iter().any(mapped) {
            true => failure.hint("it is mapped already: name the place that it is a copy of"),
            false => failure,
        })
    };
    let targets = table.iter().map(|mount| mount.target.as_path());
    let below =
        targets.filter(|target| options.recursive && *target != top && target.starts_with(&top));
    iter::once(top.as_path()).chain(below).find_map(refused).unwrap_or(failure)
}

fn explain_in_user_namespace(failure: Failure) -> Failure {
    match in_user_namespace() {
        true => failure.hint_if(Errno::EPERM, || {
            "in a user namespace only a file system that was mounted in it can be mapped, and only \
             to users that it has: cat /proc/self/uid_map"
                .into()
        }),
        false => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_own_spelling_is_read() {
        let mut map = IdMap::default();
        map.add("u:0:1000:1 g:5:7:2").expect("a map");
        map.add("b:9:10:1").expect("a map");
        assert_eq!(map.words(), "u:0:1000:1 u:9:10:1 g:5:7:2 g:9:10:1");
        for text in ["", "u:", "u:0:1", "x:0:0:1", "0:0:0", "0:0:1:1", "+1:0:1", "1:4294967295:1"] {
            assert!(IdMap::default().add(text).is_err(), "{text:?}");
        }
    }
}
