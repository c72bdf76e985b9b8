//! What stands behind an errno of unshare(2), setns(2), fork(2) and mount(2), found by looking.

use std::fs;
use std::path::Path;

use common::{Failure, userns};
use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};

use crate::namespace::Kind;

/// New namespaces were refused.
pub fn for_new(failure: Failure, kinds: &[Kind]) -> Failure {
    let user = kinds == [Kind::User];
    failure
        .hint_if(Errno::EPERM, || eperm(user))
        .hint_if(Errno::EACCES, || eperm(user))
        .hint_if(Errno::EINVAL, || {
            "this kernel lacks one of these kinds (time came with Linux 5.6), or this process has \
             threads"
                .into()
        })
        .hint_if(Errno::ENOSPC, || {
            "a limit is reached, not a disk full: sysctl user | grep namespaces shows how many \
             there may be"
                .into()
        })
}

fn eperm(user: bool) -> String {
    if let Some(hint) = userns::refusal() {
        return hint;
    }
    if user {
        return "is this process in a chroot, or under a seccomp filter, as in a container?".into();
    }
    if geteuid().is_root() {
        return "root lacks CAP_SYS_ADMIN here, as in a container".into();
    }
    "that takes root; as yourself add --map-root-user".into()
}

/// Namespaces that are there were refused.
pub fn for_entering(failure: Failure, target: Pid, kinds: &[Kind]) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            if kinds.contains(&Kind::User) {
                return "that takes root, or being the owner of the user namespace".into();
            }
            format!(
                "that takes root; if it is in a user namespace of yours, enter that too: \
                 nsenter-lite -t {target} -a"
            )
        })
        .hint_if(Errno::EINVAL, || {
            format!(
                "--user can't enter the user namespace one is in; -a leaves out what is ours \
                already: nsenter-lite -t {target} -a"
            )
        })
        .hint_if(Errno::ESRCH, || "the process has ended".into())
}

/// In a PID namespace whose init is dead the kernel refuses a fork with an errno that misleads.
pub fn for_fork(failure: Failure) -> Failure {
    failure.hint_if(Errno::ENOMEM, || {
        "no memory is short: PID 1 of that PID namespace has ended, and nothing can start in it"
            .into()
    })
}

/// A new proc was refused.
pub fn for_proc(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "in a user namespace it takes --pid too, and a /proc outside of which nothing is covered \
         by another mount: findmnt -R /proc"
            .into()
    })
}

/// The folder for a new proc is no good.
pub fn for_mount_point(failure: Failure, dir: &Path) -> Failure {
    let is_link = fs::symlink_metadata(dir.components().as_path())
        .is_ok_and(|found| found.file_type().is_symlink());
    failure.hint_if(Errno::ENOENT, || format!("make the mount point: mkdir {dir:?}")).hint_if(
        Errno::ENOTDIR,
        || {
            if is_link {
                return "a symbolic link may lead out of the root file system: name the folder \
                    itself"
                    .into();
            }
            "proc is mounted on a folder".into()
        },
    )
}

/// There is no such process, or it is none.
pub fn for_target(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::ESRCH, || "ps -e lists the processes that are there".into())
        .hint_if(Errno::EINVAL, || "that is a thread; ps -e lists the processes".into())
}

/// The user namespace that was entered has no root.
pub fn for_identity(failure: Failure) -> Failure {
    failure.hint_if(Errno::EINVAL, || {
        "nobody is mapped to 0 there; --preserve-credentials keeps user and group".into()
    })
}

/// The host name, or the domain name, was refused.
pub fn for_hostname(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || "such a name has at most 64 bytes".into())
        .hint_if(Errno::ENAMETOOLONG, || "such a name has at most 64 bytes".into())
}
