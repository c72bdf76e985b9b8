//! What stands behind an errno that more than one step may meet.

use common::Failure;
use nix::errno::Errno;

/// A thread, or another process.
pub fn for_thread(failure: Failure) -> Failure {
    failure.hint_if(Errno::EAGAIN, || {
        "a limit on processes and threads is reached: ulimit -u, or pids.max of a control group above"
            .into()
    })
}
