//! POSIX message queues as files, see mq_overview(7).

use common::{Failure, Tried, sys};
use nix::errno::Errno;

use crate::attach::{Mounted, Root, explain_privilege};
use crate::place::Place;

/// Those of the IPC namespace that we are in.
pub fn mount(mounted: &mut Mounted, place: &Place) -> Result<(), Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let queues =
        sys::new_mount(c"mqueue", &[], attrs).tried(|| "make a new mqueue").map_err(explain)?;
    mounted.attach(queues, place)
}

fn explain(failure: Failure) -> Failure {
    let failure = explain_privilege(failure);
    match Root::are_we() {
        Root::OfAUserNamespace => failure.hint_if(Errno::EPERM, || {
            "in a user namespace that takes an IPC namespace that belongs to it: nsenter-lite --ipc"
                .into()
        }),
        _ => failure,
    }
}

/// The line of the script.
pub fn line(place: &Place) -> String {
    format!("mount -t mqueue -o nosuid,nodev,noexec mqueue {}", place.word())
}
