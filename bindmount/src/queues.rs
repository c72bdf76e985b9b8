//! POSIX message queues as files, see mq_overview(7).

use common::{Failure, Tried, sys};

use crate::attach::{Mounted, explain_privilege};
use crate::place::Place;

/// Those of the IPC namespace that we are in.
pub fn mount(mounted: &mut Mounted, place: &Place) -> Result<(), Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let queues = sys::new_mount(c"mqueue", &[], attrs)
        .tried(|| "make a new mqueue")
        .map_err(explain_privilege)?;
    mounted.attach(queues, place)
}

/// The line of the script.
pub fn line(place: &Place) -> String {
    format!("mount -t mqueue -o nosuid,nodev,noexec mqueue {}", place.word())
}
