//! A PID 1 of our own, `--init`: this very program, forked, before COMMAND is PID 2.
//!
//! Both are children of the process outside. So that one passes signals on to COMMAND, sees it stop
//! and learns its status at first hand, and what is left for PID 1 is what only PID 1 can do: to adopt
//! orphans, and to end the namespace when its work is over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use common::sys::signal::{self, Arrived};
use common::sys::{self, power};
use common::{Failure, Tried};
use nix::errno::Errno;
use nix::libc::{SI_QUEUE, SIGKILL, SIGPIPE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{get_dumpable, set_dumpable, set_name, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, chdir, setpgid};

/// COMMAND, as PID 1 sees it: nothing else is born before it, and the kernel never gives a low number
/// a second time.
const COMMAND: Pid = Pid::from_raw(2);

/// The PID 1 that runs. It ends when this process does, whatever that dies of.
#[derive(Debug)]
pub struct Init(Pid);

impl Init {
    /// Ends it, and with it the namespace and all that is left there.
    pub fn end(self) {
        let _ = signal::send(self.0, SIGKILL);
        // It is gone when all others in the namespace are.
        let _ = waitpid(self.0, None);
    }
}

/// Forks it into the PID namespace that was just made. It is `None` in that process.
///
/// What may fail is done before the fork, so that there is one process to tell of it.
pub fn fork() -> Result<Option<Init>, Failure> {
    let what = || "protect PID 1 from COMMAND";
    let dumpable = get_dumpable().tried(what)?;
    // From its first instruction on: no ptrace(2), and nothing to be had from its /proc folder.
    set_dumpable(false).tried(what)?;
    let side = sys::fork().tried(|| "fork PID 1").map_err(crate::hint::for_fork)?;
    let ForkResult::Parent { child } = side else { return Ok(None) };
    set_dumpable(dumpable).tried(|| "let COMMAND be traced")?;
    Ok(Some(Init(child)))
}

/// Is PID 1 until the process `outside` is dead. COMMAND gets the signal `tie` then, and PID 1 stays
/// as long as that leaves COMMAND alive.
pub fn run(signals: BorrowedFd<'_>, outside: BorrowedFd<'_>, tie: Option<Signal>) {
    settle([signals, outside], tie);
    let mut command = None;
    loop {
        let lasting = command.as_ref().map_or(outside, OwnedFd::as_fd);
        let mut fds = [signals, lasting].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let is_over = fds[1].any().unwrap_or(false);
        while let Ok(arrived) = signal::read(signals) {
            pass_on(arrived);
        }
        if is_over {
            if command.is_some() || tie == Some(Signal::SIGKILL) {
                return;
            }
            let Ok(opened) = sys::pidfd_open(COMMAND) else { return };
            command = Some(opened);
            tie.map(|tie| signal::send(COMMAND, tie as i32));
        }
    }
}

/// Gives up what PID 1 needn't hold. Nothing of it may fail for a reason that COMMAND has to do with.
fn settle(keep: [BorrowedFd<'_>; 2], tie: Option<Signal>) {
    if tie == Some(Signal::SIGKILL) {
        // The kernel is faster than we, and does it also while we are stopped.
        let _ = set_pdeathsig(Signal::SIGKILL);
    }
    // The kernel itself reaps the children of who ignores their end.
    sys::ignore(Signal::SIGCHLD);
    if !sys::caller_ignores(SIGPIPE) {
        sys::reset(Signal::SIGPIPE);
    }
    // What is sent to the group of the process outside, that one passes on.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = chdir("/");
    power::close_all_but(keep);
    let _ = set_name(c"init");
}

/// Sent to PID 1, and meant for COMMAND.
fn pass_on(arrived: Arrived) {
    if sys::caller_ignores(arrived.signal) {
        return;
    }
    if arrived.code != SI_QUEUE || signal::queue(COMMAND, arrived.signal, arrived.value).is_err() {
        let _ = signal::send(COMMAND, arrived.signal);
    }
}
