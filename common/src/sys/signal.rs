//! Signals by their numbers, all 64: the crates name 31, and leave out those that libc keeps for its
//! threads. Nothing of libc's is used here that would leave them out again.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

/// A bit for each signal, the lowest for signal 1. SIGKILL and SIGSTOP in it mean nothing to the
/// kernel.
pub type Set = u64;

/// Every signal.
pub const ALL: Set = Set::MAX;

/// The set of this one, of 1 to 64.
pub const fn set(signal: c_int) -> Set {
    1 << (signal - 1)
}

/// Which signals wait instead of arriving; gives those that did before. See `sigprocmask(2)`.
pub fn block(set: Set) -> nix::Result<Set> {
    let mut before = 0;
    // SAFETY: both sets are of the size that is given, and the second is ours to write to.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            &raw mut before,
            size_of::<Set>(),
        )
    };
    Errno::result(done).map(|_| before)
}

/// Which signals wait now, of those that were sent to this process. See `sigpending(2)`.
pub fn waiting() -> nix::Result<Set> {
    let mut waiting = 0;
    // SAFETY: the set is of the size that is given, and ours to write to.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut waiting, size_of::<Set>()) };
    Errno::result(done).map(|_| waiting)
}

/// A descriptor from which signals that wait are read. See `signalfd(2)`.
pub fn descriptor(set: Set) -> nix::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    let none: c_int = -1;
    // SAFETY: the set is of the size that is given, and is read only.
    super::owned(unsafe {
        libc::syscall(libc::SYS_signalfd4, none, &raw const set, size_of::<Set>(), flags)
    })
}

/// A signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: c_int,
    /// Above 0 it comes from the kernel: the terminal's Ctrl-C, a child's end.
    pub code: c_int,
    /// The PID of who sent it; 0 of one who is in no PID namespace of ours, or below.
    pub from: u32,
    /// What sigqueue(3) has sent along.
    pub value: u64,
}

/// The next one; EAGAIN if there is none. Those of the process that reads, whoever opened it.
pub fn read(descriptor: impl AsFd) -> nix::Result<Arrived> {
    // SAFETY: all zeroes is a valid signalfd_siginfo.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: at most `size` bytes are written to `info`, which is as large and ours.
    let got = unsafe { libc::read(descriptor.as_fd().as_raw_fd(), (&raw mut info).cast(), size) };
    Errno::result(got)?;
    let signal = c_int::try_from(info.ssi_signo).unwrap_or_default();
    Ok(Arrived { signal, code: info.ssi_code, from: info.ssi_pid, value: info.ssi_ptr })
}

/// Takes back one of these signals if it waits; says whether it did.
pub fn take_back(set: Set) -> bool {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let no_info = ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: a null info is allowed; the set and the time are read only, the set in its size.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            no_info,
            &raw const now,
            size_of::<Set>(),
        )
    };
    taken > 0
}

/// Sends a signal to a process, or to a process group by its negative number. See `kill(2)`.
pub fn send(to: Pid, signal: c_int) -> nix::Result<()> {
    // SAFETY: the call takes two integers.
    Errno::result(unsafe { libc::kill(to.as_raw(), signal) }).map(drop)
}

/// What the kernel reads for `SI_QUEUE`: the first fields of a `siginfo_t`, and the room of the rest.
#[repr(C)]
struct Queued {
    signal: c_int,
    errno: c_int,
    code: c_int,
    sender: Sender,
    rest: [u64; 13],
}

#[repr(C)]
struct Sender {
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: *mut c_void,
}

impl Queued {
    fn new(signal: c_int, value: u64) -> Self {
        let value = ptr::without_provenance_mut(usize::try_from(value).unwrap_or_default());
        // SAFETY: the call takes nothing, and never fails.
        let uid = unsafe { libc::getuid() };
        let sender = Sender { pid: getpid().as_raw(), uid, value };
        Self { signal, errno: 0, code: libc::SI_QUEUE, sender, rest: [0; 13] }
    }
}

/// Sends a signal to a process with a value, as its sender did. See `sigqueue(3)`.
pub fn queue(to: Pid, signal: c_int, value: u64) -> nix::Result<()> {
    let info = Queued::new(signal, value);
    // SAFETY: the kernel reads a siginfo_t, and `info` is not smaller. The value is a number to it.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, to.as_raw(), signal, &raw const info) };
    Errno::result(done).map(drop)
}

/// Sends a signal, perhaps with a value, to exactly that process. See `pidfd_send_signal(2)`, Linux
/// 5.1.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: c_int, value: Option<u64>) -> nix::Result<()> {
    let info = value.map(|value| Queued::new(signal, value));
    let info = info.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (fd, flags) = (pidfd.as_fd().as_raw_fd(), 0);
    // SAFETY: a null info is allowed, and asks for what kill(2) would send; else as above.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    Errno::result(done).map(drop)
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended by itself, with this status.
    Exited(u8),
    /// This signal has ended it.
    Killed(c_int),
    /// This signal has stopped it.
    Stopped(c_int),
}

impl Change {
    /// As a shell has it: 128+N for signal N.
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(by) | Self::Stopped(by) => u8::try_from(128 + by).unwrap_or(u8::MAX),
        }
    }
}

/// What is new of a child, without waiting for it. A child that has ended is gone then.
pub fn try_wait(child: Pid) -> nix::Result<Option<Change>> {
    Ok(wait_by(child, libc::WNOHANG | libc::WUNTRACED)?.map(|(_, change)| change))
}

/// The same of any child.
pub fn try_wait_any() -> nix::Result<Option<(Pid, Change)>> {
    wait_by(Pid::from_raw(-1), libc::WNOHANG | libc::WUNTRACED)
}

/// Waits for its end.
pub fn wait(child: Pid) -> nix::Result<Change> {
    wait_by(child, 0)?.map(|(_, change)| change).ok_or(Errno::ECHILD)
}

fn wait_by(child: Pid, flags: c_int) -> nix::Result<Option<(Pid, Change)>> {
    let mut status = 0;
    // SAFETY: the status is ours to write to.
    let found = unsafe { libc::waitpid(child.as_raw(), &raw mut status, flags) };
    let found = Errno::result(found)?;
    let change = if libc::WIFSTOPPED(status) {
        Change::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFSIGNALED(status) {
        Change::Killed(libc::WTERMSIG(status))
    } else {
        Change::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    };
    Ok((found != 0).then_some((Pid::from_raw(found), change)))
}
