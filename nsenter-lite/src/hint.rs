//! What stands behind an errno of unshare(2), setns(2), fork(2) and mount(2), found by looking.

use std::fs;
use std::path::Path;

use common::{Failure, file, mountinfo, pid, userns};
use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};

use crate::namespace::Kind;

/// New namespaces were refused.
pub fn for_new(failure: Failure, kinds: &[Kind]) -> Failure {
    let user = kinds.contains(&Kind::User);
    failure
        .hint_if(Errno::EPERM, || eperm(user))
        .hint_if(Errno::EACCES, || eperm(user))
        .hint_if(Errno::EINVAL, || {
            "this kernel lacks one of these kinds (time came with Linux 5.6), or this process has \
             threads"
                .into()
        })
        .hint_if(Errno::ENOSPC, || limit(kinds))
}

/// A file of this process in /proc was refused, as `uid_map`.
pub fn for_own_file(failure: Failure) -> Failure {
    for_new(failure, &[Kind::User]).hint_if(Errno::ENOENT, || pid::NO_PROC.into()).hint_if(
        Errno::EINVAL,
        || {
            "no id may be mapped twice, inside or outside, and there may be 340 parts at most"
                .into()
        },
    )
}

/// `/` is a mount only for who is not in a chroot(2).
pub fn for_propagation(failure: Failure) -> Failure {
    failure.hint_if(Errno::EINVAL, || {
        "the root here is no mount, as in a chroot: mount --bind ROOT ROOT before the chroot, or \
         add --propagation unchanged"
            .into()
    })
}

/// Each user namespace has a limit of its own for what is made in it, and in those below.
fn limit(kinds: &[Kind]) -> String {
    let names = kinds.iter().map(|kind| format!("user.max_{}_namespaces", kind.link()));
    let names: Vec<String> = names.collect();
    let none = names.iter().find(|name| {
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        file::text(file).is_ok_and(|limit| limit.trim() == "0")
    });
    match none {
        Some(name) => format!("this system allows none, as root: sysctl {name}=1000"),
        None => format!(
            "a limit is reached, not a disk full: sysctl {} shows how many there may be, and user \
             namespaces are 32 deep at most",
            names.join(" ")
        ),
    }
}

fn eperm(user: bool) -> String {
    if let Some(hint) = userns::refusal() {
        return hint;
    }
    if user && is_in_chroot() {
        return "the kernel makes no user namespace in a chroot; chrootx pivots, and there it does"
            .into();
    }
    if user {
        return "does a seccomp filter deny it, as in a container? grep Seccomp /proc/self/status"
            .into();
    }
    if geteuid().is_root() {
        return "root lacks CAP_SYS_ADMIN here, as in a container".into();
    }
    "that takes root; as yourself add --map-root-user".into()
}

/// Whose root is no mount sees none at `/`.
fn is_in_chroot() -> bool {
    mountinfo::read().is_ok_and(|mounts| mounts.iter().all(|mount| mount.target != Path::new("/")))
}

/// Namespaces that are there were refused.
pub fn for_entering(failure: Failure, target: Option<Pid>, kinds: &[Kind]) -> Failure {
    let all = || match target {
        Some(target) => format!("nsenter-lite -t {target} -a"),
        None => "nsenter-lite -t DIR -a".into(),
    };
    failure
        .hint_if(Errno::EPERM, || {
            if kinds.contains(&Kind::User) {
                return "that takes root, or being the owner of the user namespace".into();
            }
            format!(
                "that takes root; if it is in a user namespace of yours, enter that too: {}",
                all()
            )
        })
        .hint_if(Errno::EINVAL, || {
            if kinds.contains(&Kind::User) {
                return format!(
                    "--user can't enter the user namespace one is in; -a leaves out what is ours \
                    already: {}",
                    all()
                );
            }
            "the file keeps a namespace of another kind, or one of PIDs that is above ours".into()
        })
        .hint_if(Errno::ESRCH, || "the process has ended".into())
}

/// In a PID namespace whose init is dead the kernel refuses a fork with an errno that misleads.
pub fn for_fork(failure: Failure) -> Failure {
    pid::explain_new(failure).hint_if(Errno::ENOMEM, || {
        "if no memory is short, PID 1 of that PID namespace has ended, and nothing can start in it"
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
    failure
        .hint_if(Errno::ENOENT, || match dir.starts_with("/proc") {
            true => "is /proc mounted? and as root: modprobe binfmt_misc".into(),
            false => format!("make the mount point: mkdir {dir:?}"),
        })
        .hint_if(Errno::ENOTDIR, || {
            if is_link {
                return "a symbolic link may lead out of the root file system: name the folder \
                    itself"
                    .into();
            }
            "proc is mounted on a folder".into()
        })
}

/// The file of a namespace was refused.
pub fn for_looking(failure: Failure) -> Failure {
    failure.hint_if(Errno::EACCES, || match geteuid().is_root() {
        true => "that takes CAP_SYS_PTRACE there, and a security module that lets it".into(),
        false => "that takes root, or a process of your own".into(),
    })
}

/// There is no such process, or it is none.
pub fn for_target(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::ESRCH, || "ps -e lists the processes that are there".into())
        .hint_if(Errno::EINVAL, || "that is a thread; ps -e lists the processes".into())
}

/// Nobody has this number in the user namespace, or one may not be somebody else.
pub fn for_identity(failure: Failure, id: u32) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || {
            format!(
                "nobody is mapped to {id} there: cat /proc/self/uid_map; --map-auto maps more than \
                 one, and with --target --preserve-credentials keeps user and group"
            )
        })
        .hint_if(Errno::EPERM, || {
            "that takes root, or a user namespace: --map-auto maps more than one user".into()
        })
}

/// The root directory was refused.
pub fn for_root(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || "that takes root; as yourself add --map-root-user".into())
        .hint_if(Errno::ENOENT, || "make one: fetch-rootfs host DIR".into())
        .hint_if(Errno::ENOTDIR, || "if it is an archive: fetch-rootfs ARCHIVE DIR".into())
}

/// A namespace could not be mounted on a file.
pub fn for_keeping(failure: Failure, file: &Path) -> Failure {
    let folder = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for_keeping_in_folder(failure).hint_if(Errno::EINVAL, || {
        format!(
            "a mount namespace is kept only where mounts are private: mount --bind {folder:?} \
             {folder:?}; mount --make-private {folder:?}; and only in an older one"
        )
    })
}

/// The same in a folder of ours, whose mounts are private.
pub fn for_keeping_in_folder(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "that takes root where the file is: as yourself, in a user and a mount namespace of yours"
            .into()
    })
}

/// A folder for binfmt_misc, or the file system itself.
pub fn for_binfmt(failure: Failure) -> Failure {
    failure.hint_if(Errno::EPERM, || {
        "in a user namespace that takes Linux 6.7: uname -r shows which this is".into()
    })
}

/// What was written to binfmt_misc's `register`.
pub fn for_interpreter(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EINVAL, || {
            "write :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS, as :py:E::py::/usr/bin/python3: \
             for files that end in .py"
                .into()
        })
        .hint_if(Errno::EACCES, || "that takes root inside: add --map-root-user".into())
        .hint_if(Errno::ENOENT, || "with the flag F the interpreter must be there, outside".into())
}

/// The host name, or the domain name, was refused.
pub fn for_hostname(failure: Failure) -> Failure {
    failure.hint_if(Errno::EINVAL, || "such a name has at most 64 bytes".into())
}
