//! A PID 1 of our own, `--init`: this very program, forked, with COMMAND for its child.
//!
//! It adopts orphans, and its end is the end of all that is in the namespace.

use std::os::fd::OwnedFd;

use common::resident::{Beside, Group, Post};
use common::sys::signal::{self, Arrived, Change};
use common::sys::{self, power};
use common::{Failure, Flow, Tried};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{SI_QUEUE, SIGCHLD, SIGKILL, SIGPIPE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_dumpable, set_name, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, chdir, pipe2, read, setpgid};

use crate::child::{Child, Held};
use crate::hint;
use crate::pty::Counter;
use crate::step::Hands;
use crate::wire::{self, Inside, Outside};

/// COMMAND, as PID 1 sees it: in a namespace of our own making nothing else is born before it.
const COMMAND: Pid = Pid::from_raw(2);

/// How many signals are passed on before PID 1 looks for who has ended.
const AT_ONCE: usize = 64;

/// The status of a PID 1 that has not seen the end of COMMAND.
const FAILED: u8 = 125;

/// The PID 1 that runs, and what it tells. It ends when this process does, whatever that dies of.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    pub wire: Outside,
}

impl Init {
    /// Ends it, and with it the namespace and all that is left there.
    pub fn end(self) {
        let _ = signal::send(self.pid, SIGKILL);
        // It is gone when all others in the namespace are.
        let _ = signal::wait(self.pid);
    }

    /// Leaves it to whoever adopts it, with COMMAND.
    pub fn leave(self) {
        self.wire.leave();
    }

    /// Waits for its end, which is that of COMMAND; or it was killed, and has taken COMMAND along.
    pub fn wait(self) -> Result<Change, Failure> {
        signal::wait(self.pid).tried(|| "wait for PID 1")
    }
}

/// Forks PID 1 into the PID namespace that was just made, which calls `first`, and COMMAND from it.
pub fn fork(
    asked: Child,
    hands: &mut Hands,
    words: Option<(OwnedFd, OwnedFd)>,
    first: impl FnOnce() -> Result<(), Failure>,
) -> Result<Flow, Failure> {
    let post = Post::new()?;
    let counter = asked.pty.map(|_| Counter::open()).transpose()?;
    let group = if counter.is_some() { Group::Session } else { Group::Own };
    // Whom we leave gets no terminal that nobody would take back.
    let waited_for = if asked.tie.is_none() { Group::Shared } else { group };
    let (outside, inside) = wire::pair()?;
    let traceable = power::is_traceable().tried(|| "see whether this process can be traced")?;
    // From its first instruction on: no ptrace(2), and nothing to be had from its /proc folder.
    set_dumpable(false).tried(|| "protect PID 1 from COMMAND")?;
    let side = sys::fork().tried(|| "fork PID 1").map_err(hint::for_fork)?;
    if let ForkResult::Parent { child } = side {
        drop(inside);
        let listener = hands.reporter.listener(words.map(|(reader, _)| reader));
        let init = Init { pid: child, wire: outside };
        let mut held = Held::new(Some(init), listener);
        let status = set_dumpable(traceable)
            .tried(|| "let this process be traced again")
            .and_then(|()| held.get_terminal(counter))
            .and_then(|()| held.wait(post, waited_for, hands.callers_terminal.take()));
        // Before the wire is cut: then COMMAND has nothing to tell of that.
        held.end(true);
        return status.and_then(|status| held.told(status).map(|()| Flow::Done(status)));
    }
    drop(outside);
    first()?;
    // PID 1 has the one end until it has let go of everything.
    let (let_go, holding) = pipe2(OFlag::O_CLOEXEC).tried(|| "make a pipe to PID 1")?;
    match sys::fork().tried(|| "fork the command").map_err(hint::for_fork)? {
        ForkResult::Parent { .. } => run(&post, &inside, asked.tie),
        ForkResult::Child => {
            drop(holding);
            set_dumpable(traceable).tried(|| "let the command be traced")?;
            if group == Group::Own {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))
                    .tried(|| "make a process group for the command")?;
            }
            post.leave()?;
            hands.terminal = asked.make_terminal(counter)?;
            read(&let_go, &mut [0]).tried(|| "wait for PID 1")?;
            hands.outer_pid = Some(inside.meet()?);
            hands.reporter.speak_by(words.map(|(_, writer)| writer));
            Ok(Flow::Next)
        }
    }
}

/// Is PID 1 until COMMAND has ended, or the process outside. In that case COMMAND gets the signal
/// `tie`, and PID 1 stays as long as that leaves COMMAND alive. Without a `tie` it stays if the
/// process outside has said that it leaves. Ends with COMMAND's status.
fn run(post: &Post, wire: &Inside, tie: Option<Signal>) -> ! {
    settle(post, wire, tie);
    let mut alone = false;
    loop {
        let mut fds = vec![PollFd::new(post.signals(), PollFlags::POLLIN)];
        if !alone {
            // That it hangs up is told unasked.
            fds.push(PollFd::new(wire.fd(), PollFlags::empty()));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => sys::end(FAILED),
        }
        let hung_up = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        // Who is flooded with signals has an end to see to, too.
        for _ in 0..AT_ONCE {
            let Ok(arrived) = signal::read(post.signals()) else { break };
            match arrived.signal {
                SIGCHLD if arrived.code > 0 => {}
                _ => pass_on(arrived),
            }
        }
        if let Some(status) = reap(wire) {
            sys::end(status);
        }
        if hung_up {
            alone = true;
            match tie {
                None if wire.was_left() => {}
                None | Some(Signal::SIGKILL) => sys::end(FAILED),
                Some(tie) => drop(signal::send(COMMAND, tie as i32)),
            }
        }
    }
}

/// Reaps all that have ended; gives COMMAND's status if it is among them.
fn reap(wire: &Inside) -> Option<u8> {
    while let Ok(Some((child, change))) = signal::try_wait_any() {
        if child == COMMAND {
            wire.report(change);
            match change {
                Change::Stopped(_) => {}
                end => return Some(end.status()),
            }
        }
    }
    None
}

/// Gives up what PID 1 needn't hold: COMMAND might look into it. What fails here leaves it as good a
/// PID 1.
fn settle(post: &Post, wire: &Inside, tie: Option<Signal>) {
    let _ = set_name(c"init");
    if tie == Some(Signal::SIGKILL) {
        // The kernel is faster than we, and does it also while we are stopped.
        let _ = set_pdeathsig(Signal::SIGKILL);
    }
    if !sys::caller_ignores(SIGPIPE) {
        sys::reset(Signal::SIGPIPE);
    }
    // What is sent to the group of the process outside, that one passes on.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = chdir("/");
    sys::erase_env();
    power::close_all_but([post.signals(), wire.fd()]);
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
