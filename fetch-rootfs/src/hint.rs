//! What stands behind an errno that more than one step may meet.

use common::Failure;
use nix::errno::Errno;

/// Whatever opens a file.
pub fn for_all(failure: Failure) -> Failure {
    failure.hint_if(Errno::EMFILE, || {
        "this process may have no more files open: ulimit -n shows the limit, ulimit -n 256 sets it"
            .into()
    })
}

/// A thread, or another process.
pub fn for_thread(failure: Failure) -> Failure {
    failure.hint_if(Errno::EAGAIN, || {
        "a limit on processes and threads is reached: ulimit -u, or pids.max of a control group above"
            .into()
    })
}
