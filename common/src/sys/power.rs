//! What a process may do, and what it gives up before it hands over: capabilities, descriptors,
//! system calls, keys.

use std::ffi::{c_int, c_uint, c_ulong};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

/// Of the calling thread, a bit each: see `capabilities(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What the kernel looks at.
    pub effective: u64,
    /// What can become effective.
    pub permitted: u64,
    /// What a program with inheritable file capabilities gets.
    pub inheritable: u64,
}

/// The kernel's `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

const HEADER: Header = Header { version: 0x2008_0522, pid: 0 };

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// See `capget(2)`.
pub fn capabilities() -> nix::Result<Capabilities> {
    let (mut header, mut words) = (HEADER, [Word::default(); 2]);
    // SAFETY: both are of the form that this version of the call wants, and ours to write to.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    Errno::result(done)?;
    let whole =
        |part: fn(&Word) -> u32| u64::from(part(&words[1])) << 32 | u64::from(part(&words[0]));
    Ok(Capabilities {
        effective: whole(|word| word.effective),
        permitted: whole(|word| word.permitted),
        inheritable: whole(|word| word.inheritable),
    })
}

/// See `capset(2)`.
pub fn set_capabilities(set: Capabilities) -> nix::Result<()> {
    let mut header = HEADER;
    let (effective, permitted) = (halves(set.effective), halves(set.permitted));
    let inheritable = halves(set.inheritable);
    let word = |half: usize| Word {
        effective: effective[half],
        permitted: permitted[half],
        inheritable: inheritable[half],
    };
    let words = [word(0), word(1)];
    // SAFETY: both are of the form that this version of the call wants.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    Errno::result(done).map(drop)
}

/// The lower one first.
fn halves(set: u64) -> [u32; 2] {
    [set & u64::from(u32::MAX), set >> 32].map(|half| u32::try_from(half).unwrap_or_default())
}

/// Whether a capability is in the bounding set, the most that a program can get; `None` if this
/// kernel does not know it.
pub fn is_bound(capability: u32) -> nix::Result<Option<bool>> {
    match prctl(libc::PR_CAPBSET_READ, capability.into()) {
        Ok(set) => Ok(Some(set == 1)),
        Err(Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether whoever has our user may trace us: 2, "by root alone", is what fs.suid_dumpable may make of
/// a process that has changed its user, and it can't be set. See `PR_GET_DUMPABLE(2const)`.
pub fn is_traceable() -> nix::Result<bool> {
    prctl(libc::PR_GET_DUMPABLE, 0).map(|dumpable| dumpable == 1)
}

/// Takes a capability out of the bounding set, for good. See `PR_CAPBSET_DROP(2const)`.
pub fn drop_bound(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into()).map(drop)
}

/// Has a program that is not root's, and has no file capabilities, keep this one. It must be
/// permitted and inheritable. See `PR_CAP_AMBIENT(2const)`, Linux 4.3.
pub fn raise_ambient(capability: u32) -> nix::Result<()> {
    const RAISE: c_ulong = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
    const ZERO: c_ulong = 0;
    // SAFETY: the option takes numbers, and no pointer.
    let done =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, RAISE, c_ulong::from(capability), ZERO, ZERO) };
    Errno::result(done).map(drop)
}

fn prctl(option: c_int, argument: c_ulong) -> nix::Result<c_int> {
    // SAFETY: these options take a number, and no pointer.
    Errno::result(unsafe { libc::prctl(option, argument, 0, 0, 0) })
}

/// Has exec close the descriptors from `start` to `end`, this one too; without an `end` to the last. See `close_range(2)`, Linux 5.11.
pub fn close_on_exec(start: u32, end: Option<u32>) -> nix::Result<()> {
    let end = end.unwrap_or(c_uint::MAX);
    // SAFETY: the call takes three integers. What is marked stays open until the program changes.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, start, end, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(done).map(drop)
}

/// Closes every descriptor but two, whoever thinks to own it: for a process that goes on without
/// anything else of what it was.
pub fn close_all_but(keep: [BorrowedFd<'_>; 2]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd().cast_unsigned());
    keep.sort_unstable();
    let [first, second] = keep;
    for (start, end) in
        [(0, first.wrapping_sub(1)), (first + 1, second - 1), (second + 1, u32::MAX)]
    {
        // From 0 to one before it there is nothing: `end` has wrapped around.
        if start > end || (start == 0 && first == 0) {
            continue;
        }
        // SAFETY: the call takes three integers; nobody uses what it closes.
        if unsafe { libc::syscall(libc::SYS_close_range, start, end, 0 as c_uint) } == 0 {
            continue;
        }
        // Under a filter that does not know it.
        // SAFETY: the call takes an integer.
        let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        for fd in start..=end.min(u32::try_from(most).unwrap_or(1 << 16)) {
            // SAFETY: as above.
            let _ = unsafe { libc::close(fd.cast_signed()) };
        }
    }
}

/// Has exec close one. A descriptor that is not open is no error.
pub fn close_one_on_exec(fd: u32) -> nix::Result<()> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: F_SETFD takes no pointer.
    match Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }) {
        Ok(_) | Err(Errno::EBADF) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A session keyring of our own, with no name and no keys. See `keyctl_join_session_keyring(3)`.
pub fn new_session_keyring() -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    let nameless = ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for a keyring without one.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nameless) };
    Errno::result(done).map(drop)
}

/// Every system call from here on goes through this program. See `seccomp(2)`.
pub fn filter_calls(program: &[libc::sock_filter]) -> nix::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let flags: c_uint = 0;
    // SAFETY: the kernel reads as many instructions as there are, and writes none.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    Errno::result(done).map(drop)
}
