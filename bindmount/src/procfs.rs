//! A new proc: the processes of this PID namespace, and much of the kernel.

use std::path::Path;

use common::{Failure, Tried, mountinfo, report, sys};
use nix::errno::Errno;

use crate::attach::{Mounted, explain_privilege};
use crate::place::Place;

const ATTRS: u64 = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;

/// Mounts one.
///
/// In a user namespace the kernel gives none that shows more than the one that is there: where mounts
/// cover parts of that (a container's masks), it says EPERM ("Mount too revealing" in its log). With
/// the processes alone there is nothing left to reveal, which not every kernel sees.
pub fn mount(mounted: &mut Mounted, place: &Place, user: bool) -> Result<(), Failure> {
    let proc = match sys::new_mount(c"proc", &[], ATTRS) {
        Err(Errno::EPERM) if user => processes_alone().ok_or(Errno::EPERM),
        whole => whole,
    };
    mounted.attach(proc.tried(|| "make a new proc").map_err(explain)?, place)
}

fn processes_alone() -> Option<std::os::fd::OwnedFd> {
    let proc = sys::new_mount(c"proc", &[(c"subset", c"pid")], ATTRS).ok()?;
    report::tell(
        "bindmount: note: /proc shows the processes alone (subset=pid): this kernel gives no other \
         where mounts cover parts of /proc\n",
    );
    Some(proc)
}

/// The line of the script.
pub fn line(place: &Place, user: bool) -> String {
    let (mount, place) = ("mount -t proc -o nosuid,nodev,noexec", place.word());
    match user {
        true => format!("{mount} proc {place} || {mount},subset=pid proc {place}"),
        false => format!("{mount} proc {place}"),
    }
}

fn explain(failure: Failure) -> Failure {
    explain_privilege(failure).hint_if(Errno::EPERM, || match cover() {
        Some(cover) => format!(
            "{cover:?} is covered by a mount, and in a user namespace a new proc would uncover it; \
             show the one that is there: bindmount -R /proc ROOTFS/proc, or make the container \
             outside of this one"
        ),
        None => "that takes root; in a user namespace it takes a PID namespace of its own, and a \
             /proc that no other mount covers in part: findmnt -R /proc"
            .into(),
    })
}

/// What a mount hides of /proc. On folders that are always empty mounts hide nothing.
fn cover() -> Option<std::path::PathBuf> {
    const EMPTY: [&str; 3] = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/xen"];
    let hides = |path: &Path| {
        path.strip_prefix("/proc").is_ok_and(|rest| rest != Path::new(""))
            && EMPTY.iter().all(|empty| path != Path::new(empty))
    };
    let mounts = mountinfo::read().ok()?;
    mounts.into_iter().map(|mount| mount.target).find(|target| hides(target))
}
