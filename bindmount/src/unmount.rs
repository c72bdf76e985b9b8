//! Mounts taken away, each before what it lies on.

use std::os::fd::AsFd;
use std::path::Path;

use common::mountinfo::{self, Mount};
use common::{Failure, Tried, inroot, shell};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use crate::attach::Root;
use crate::overlay::in_user_namespace;
use crate::step::Step;
use crate::{place, table};

/// The steps that take away the mount at `target`, or all at and under it.
pub fn plan(target: &Path, recursive: bool, lazy: bool) -> Result<Vec<Step>, Failure> {
    let dir = table::real(target)?;
    if dir == Path::new("/") {
        return Err(Failure::new(r#"unmount "/": it is the root of this process"#).hint(
            "is a shell variable empty? name the folder (umount(2) would make the file system of / \
             read-only, for all who use it)",
        ));
    }
    let mounts = mountinfo::read()?;
    let reached = if recursive { None } else { reached(&mounts, &dir) };
    let mounts = table::at_and_under(mounts, &dir);
    let mut order = order(&mounts, recursive && lazy);
    if !recursive {
        order.retain(|mount| mount.target == dir);
        order.truncate(1);
    }
    let none = |what: &str| Failure::new(format!("unmount {target:?}: {what}"));
    let list = || format!("see what there is: bindmount --list {}", shell::operand(target));
    match (order.as_slice(), reached) {
        ([], _) if recursive => {
            return Err(none("nothing is mounted at or under it").hint(list()));
        }
        ([], _) => return Err(none("not a mount point").hint(list())),
        ([top], Some(cover)) if cover.id != top.id => {
            return Err(none("not a mount point: another mount covers the one that was there")
                .hint(format!("first bindmount -u {}", shell::operand(cover.target))));
        }
        _ => {}
    }
    let step = |(at, mount): (usize, &&Mount)| {
        let again = order[..at].iter().any(|other| {
            let tags = &mount.propagation;
            other.target == mount.target || other.propagation.iter().any(|tag| tags.contains(tag))
        });
        Step::Unmount { id: mount.id, target: mount.target.clone(), lazy, again }
    };
    Ok(order.iter().enumerate().map(step).collect())
}

/// The mount that a path leads to.
fn reached(mounts: &[Mount], dir: &Path) -> Option<Mount> {
    let file = open(dir, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let number = place::mount_number(&file)?;
    mounts.iter().find(|mount| mount.id == number).cloned()
}

/// The mounts in an order in which each is reached by its path when its turn comes. With
/// `whole_trees` only those are named that take the ones below along.
fn order(mounts: &[Mount], whole_trees: bool) -> Vec<&Mount> {
    let is_top = |mount: &&Mount| mounts.iter().all(|other| other.id != mount.parent);
    let mut order = Vec::new();
    after_what_hides_it(mounts.iter().filter(is_top).collect(), mounts, whole_trees, &mut order);
    order
}

/// Of two mounts on the same one, the shorter path hides what is below it; and a mount on another
/// one's own root hides all of that.
fn after_what_hides_it<'a>(
    mut siblings: Vec<&'a Mount>,
    mounts: &'a [Mount],
    whole_trees: bool,
    order: &mut Vec<&'a Mount>,
) {
    siblings.sort_by_key(|mount| &mount.target);
    for mount in siblings {
        let on_it = mounts.iter().filter(|other| {
            other.parent == mount.id && (!whole_trees || other.target == mount.target)
        });
        after_what_hides_it(on_it.collect(), mounts, whole_trees, order);
        order.push(mount);
    }
}

/// In shell. What is shared has perhaps gone with its twin.
pub fn line(id: u64, target: &Path, lazy: bool, again: bool) -> String {
    let lazy = if lazy { "--lazy " } else { "" };
    let gone = match again {
        true => format!(" || ! grep -q '^{id} ' /proc/self/mountinfo"),
        false => String::new(),
    };
    format!("umount {lazy}{}{gone}", shell::operand(target))
}

/// Takes a mount away.
pub fn unmount(id: u64, target: &Path, lazy: bool) -> Result<(), Failure> {
    let root = inroot::open_root(Path::new("/"))?;
    match by_folder(root, target, lazy) {
        // What is shared goes with its twin.
        Err(_) if mountinfo::read()?.iter().all(|mount| mount.id != id) => Ok(()),
        outcome => outcome
            .tried(|| format!("unmount {target:?}"))
            .map_err(|failure| explain(failure, target, lazy)),
    }
}

/// Takes away what is mounted at a path of this root. Its folder is opened without symbolic links, in
/// case somebody has put one there meanwhile, and entered, for umount(2) takes no descriptor. The
/// mount itself must not be open: it would be busy.
pub fn by_folder(root: impl AsFd, target: &Path, lazy: bool) -> nix::Result<()> {
    let lazy = if lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    let folder = Path::new("/").join(target.parent().unwrap_or(target));
    let name = target.file_name().unwrap_or(target.as_os_str());
    fchdir(inroot::open_plain(root, &folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?)?;
    umount2(name, MntFlags::UMOUNT_NOFOLLOW | lazy)
}

fn explain(failure: Failure, target: &Path, lazy: bool) -> Failure {
    let target = shell::operand(target);
    failure
        .hint_if(Errno::EPERM, || {
            match Root::are_we() {
                Root::OfTheMachine => {
                    "root may do that, so a filter (seccomp) or a security module denies it, or \
                     CAP_SYS_ADMIN is missing"
                }
                Root::OfAUserNamespace => {
                    "root of a user namespace may do that in a mount namespace that belongs to it; \
                     what is mounted outside takes root there (sudo)"
                }
                Root::No => "that takes root (sudo)",
            }
            .into()
        })
        .hint_if(Errno::EBUSY, || {
            format!(
                "a process is in it: ls -l /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd/* \
                 2>/dev/null | grep -F {target}; or a mount is below: bindmount -u -R {target}; -l \
                 takes it away all the same"
            )
        })
        .hint_if(Errno::EINVAL, || match (in_user_namespace(), lazy) {
            (true, false) => {
                "in a user namespace mounts of outside stay together: add --lazy, and name the \
                 folder where the tree of them begins"
                    .into()
            }
            (true, true) => {
                "in a user namespace mounts of outside stay together: name the folder where the \
                 tree of them begins"
                    .into()
            }
            (false, _) => format!("see what there is: bindmount --list {target}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, parents and targets of mounts; those on mount 1 are on the machine's root.
    fn targets(mounts: &[(u64, u64, &str)], whole_trees: bool) -> Vec<u64> {
        let line = |(id, parent, target): &(u64, u64, &str)| {
            format!("{id} {parent} 0:1 / {target} rw - tmpfs tmpfs rw\n")
        };
        let text: String = mounts.iter().map(line).collect();
        let mounts = mountinfo::parse(text.as_bytes()).expect("a good table");
        order(&mounts, whole_trees).into_iter().map(|mount| mount.id).collect()
    }

    #[test]
    fn what_lies_on_a_mount_goes_first() {
        let moved = [(10, 11, "/r/a/b"), (11, 1, "/r/a"), (12, 10, "/r/a/b/c")];
        assert_eq!(targets(&moved, false), [12, 10, 11], "whatever was mounted first");
        assert_eq!(targets(&moved, true), [11]);
        let stacked = [(10, 1, "/r/a"), (11, 10, "/r/a/b"), (12, 10, "/r/a"), (13, 12, "/r/a/b")];
        assert_eq!(targets(&stacked, false), [13, 12, 11, 10], "11 is hidden by 12");
        assert_eq!(targets(&stacked, true), [12, 10]);
        let hidden = [(10, 1, "/r/a/b"), (11, 10, "/r/a/b/c"), (12, 1, "/r/a")];
        assert_eq!(targets(&hidden, false), [12, 11, 10], "12 hides both");
    }
}
