//! The system calls that have no safe wrapper elsewhere, and what Rust's start-up does to a
//! process behind its back. All of the project's `unsafe` is in this module.
#![allow(unsafe_code, reason = "the one module that may; each block says why it is sound")]

pub mod bpf;
pub mod descriptor;
pub mod filesystem;
mod heap;
pub mod landlock;
pub mod namespace;
pub mod network;
pub mod power;
pub mod signal;
pub mod tty;

use std::ffi::{CStr, OsStr, c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use nix::NixPath;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::{ForkResult, Pid};

use libc::{AT_EMPTY_PATH, CLONE_NEWTIME, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH};
pub use libc::{
    AT_RECURSIVE, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE, RENAME_EXCHANGE, RENAME_NOREPLACE, mount_attr,
};

// What was so when the program started. Rust's runtime ignores SIGPIPE and opens /dev/null on
// standard descriptors that were closed, before main; both would be passed on to COMMAND.
static CALLER: AtomicU8 = AtomicU8::new(0);
const SIGPIPE_WAS_IGNORED: u8 = 1 << 7;
const SIGXFSZ_WAS_IGNORED: u8 = 1 << 6;

/// The dynamic loader and static start-up code alike call what stands in this section, with C's
/// environment set up and before Rust's runtime.
#[used]
// SAFETY: the section holds pointers to functions of this very type.
#[unsafe(link_section = ".init_array")]
static NOTE_AT_START: extern "C" fn() = note_what_the_caller_had;

extern "C" fn note_what_the_caller_had() {
    let mut seen = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD takes no pointer, and a closed descriptor is only an error to it.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            seen |= 1 << fd;
        }
    }
    if ignores(Signal::SIGPIPE) {
        seen |= SIGPIPE_WAS_IGNORED;
    }
    if ignores(Signal::SIGXFSZ) {
        seen |= SIGXFSZ_WAS_IGNORED;
    }
    CALLER.store(seen, Relaxed);
}

/// From here on a write beyond the limit on files (`ulimit -f`) is an error, EFBIG, and not our death
/// in the middle of something.
pub fn outlive_the_limit_on_files() {
    ignore(Signal::SIGXFSZ);
}

/// Gives SIGPIPE, SIGXFSZ and the standard descriptors back the state in which the caller left them.
pub fn restore_what_the_runtime_changed() {
    let seen = CALLER.load(Relaxed);
    for (signal, was_ignored) in
        [(Signal::SIGPIPE, SIGPIPE_WAS_IGNORED), (Signal::SIGXFSZ, SIGXFSZ_WAS_IGNORED)]
    {
        if seen & was_ignored == 0 {
            reset(signal);
        }
    }
    for fd in (0..3).filter(|fd| seen & (1 << fd) != 0) {
        // SAFETY: F_SETFD takes no pointer. Closed only by a successful exec: until then our own
        // error message has somewhere to go to.
        let _ = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// From here on the standard descriptors are not those of the caller, and none is closed for COMMAND.
pub fn standard_descriptors_are_ours() {
    CALLER.fetch_and(SIGPIPE_WAS_IGNORED | SIGXFSZ_WAS_IGNORED, Relaxed);
}

/// Whether the caller had us ignore a signal: also one that Rust's runtime ignores, or we do.
pub fn caller_ignores(signal: c_int) -> bool {
    match signal {
        libc::SIGPIPE => CALLER.load(Relaxed) & SIGPIPE_WAS_IGNORED != 0,
        libc::SIGXFSZ => CALLER.load(Relaxed) & SIGXFSZ_WAS_IGNORED != 0,
        other => ignores_number(other),
    }
}

/// Whether this process ignores a signal.
pub fn ignores(signal: Signal) -> bool {
    ignores_number(signal as c_int)
}

fn ignores_number(signal: c_int) -> bool {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer asks for the present action alone, which is written to `action`.
    let told = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    told == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Ignores a signal.
pub fn ignore(signal: Signal) {
    // SAFETY: to ignore it runs no code of ours.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) };
}

/// Gives a signal its default action.
pub fn reset(signal: Signal) {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
}

/// Rows and columns of a terminal, if it knows them.
pub fn window(terminal: impl AsFd) -> Option<(usize, usize)> {
    let size = tty::size(terminal).ok()?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then(|| (size.ws_row.into(), size.ws_col.into()))
}

/// A copy of a descriptor that the caller has left open, by its number.
pub fn inherited(fd: u32) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: F_DUPFD_CLOEXEC takes a number; a closed descriptor is only an error to it.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }.into())
}

/// fork(2). The tools are single-threaded, so that the child may do whatever the parent may.
pub fn fork() -> nix::Result<ForkResult> {
    debug_assert_eq!(threads(), 1, "a fork copies one thread only");
    // SAFETY: there is no other thread that could hold a lock at this moment.
    unsafe { nix::unistd::fork() }
}

/// [`fork`], with a child that is in this v2 control group before it does anything. See `clone3(2)`,
/// Linux 5.7.
pub fn fork_into(group: impl AsFd) -> nix::Result<ForkResult> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    debug_assert_eq!(threads(), 1, "a fork copies one thread only");
    // SAFETY: all zeroes is a valid clone_args: no flag is set, and no address given.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    args.cgroup = u64::from(group.as_fd().as_raw_fd().cast_unsigned());
    // SAFETY: without CLONE_VM and a stack it returns twice, as fork(2) does. What libc does beside
    // that is for threads, of which there are none, for handlers, which nobody has set, and for
    // abort(3), which is not called in the child.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    let pid = libc::pid_t::try_from(Errno::result(pid)?).map_err(|_| Errno::EOVERFLOW)?;
    Ok(match pid {
        0 => {
            // musl would send SIGABRT to the thread that it takes for this one, which is the parent.
            std::panic::set_hook(Box::new(|why| {
                eprintln!("{why}");
                end(134);
            }));
            ForkResult::Child
        }
        pid => ForkResult::Parent { child: Pid::from_raw(pid) },
    })
}

/// Ends this process here and now, with nothing put in order: its descriptors are not its own any
/// more, and what else it has the kernel takes back.
pub fn end(status: u8) -> ! {
    // SAFETY: it does not return, so that nobody sees what was left as it is.
    unsafe { libc::_exit(status.into()) }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// A descriptor for a process: it can't come to mean another one. See `pidfd_open(2)`, Linux 5.3.
pub fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0 as c_uint) })
}

/// A copy of the descriptor that another process has at a number. See `pidfd_getfd(2)`, Linux 5.6.
pub fn pidfd_getfd(pidfd: impl AsFd, number: RawFd) -> nix::Result<OwnedFd> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0 as c_uint) })
}

/// rename(2) with flags such as `RENAME_NOREPLACE`, which nix has for glibc alone. See
/// `renameat2(2)`, Linux 3.15.
pub fn rename(
    from_dir: impl AsFd,
    from: &(impl NixPath + ?Sized),
    to_dir: impl AsFd,
    to: &(impl NixPath + ?Sized),
    flags: c_uint,
) -> nix::Result<()> {
    let (from_dir, to_dir) = (from_dir.as_fd().as_raw_fd(), to_dir.as_fd().as_raw_fd());
    let done = from.with_nix_path(|from| {
        to.with_nix_path(|to| {
            let (from, to) = (from.as_ptr(), to.as_ptr());
            // SAFETY: both paths are NUL-terminated strings that outlive the call.
            unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, flags) }
        })
    })??;
    Errno::result(done).map(drop)
}

/// Opens the mount at a path, or a detached copy of it. See `open_tree(2)`, Linux 5.2.
pub fn open_tree(dir: BorrowedFd<'_>, path: &Path, flags: c_uint) -> nix::Result<OwnedFd> {
    owned(path.with_nix_path(|path| {
        // SAFETY: `path` is a NUL-terminated string that outlives the call.
        unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) }
    })?)
}

/// A detached copy of the mount that a descriptor is open on, from there down; what is mounted below
/// stays behind.
pub fn copy_of_mount(at: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH.cast_unsigned();
    open_tree(at.as_fd(), Path::new(""), flags)
}

/// The same with what is mounted below.
pub fn copy_of_tree(at: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = AT_EMPTY_PATH | AT_RECURSIVE;
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags.cast_unsigned();
    open_tree(at.as_fd(), Path::new(""), flags)
}

/// Attaches the mount `from` on `to`, both by descriptor. See `move_mount(2)`, Linux 5.2.
pub fn move_mount(from: impl AsFd, to: impl AsFd) -> nix::Result<()> {
    const EMPTY: &CStr = c"";
    // SAFETY: both strings are static and NUL-terminated.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_fd().as_raw_fd(),
            EMPTY.as_ptr(),
            to.as_fd().as_raw_fd(),
            EMPTY.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(done).map(drop)
}

/// Changes a mount, with `AT_RECURSIVE` those below it too. See `mount_setattr(2)`, Linux 5.12.
pub fn mount_setattr(mount: impl AsFd, flags: c_int, attr: &mount_attr) -> nix::Result<()> {
    // SAFETY: the string is static, `attr` is read for the size that is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags | AT_EMPTY_PATH,
            ptr::from_ref(attr),
            size_of::<mount_attr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// A new instance of a file system such as `proc`, mounted nowhere yet. An option that takes no
/// value has an empty one. See `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, Linux 5.2.
pub fn new_mount(kind: &CStr, options: &[(&CStr, &CStr)], attrs: u64) -> nix::Result<OwnedFd> {
    new_mount_of(kind, kind, options, attrs)
}

/// The same with a source, which is a name that the mount table shows.
pub fn new_mount_of(
    kind: &CStr,
    source: &CStr,
    options: &[(&CStr, &CStr)],
    attrs: u64,
) -> nix::Result<OwnedFd> {
    let context = filesystem::Context::open(kind)?;
    context.set(c"source", source)?;
    options.iter().try_for_each(|(key, value)| context.set(key, value))?;
    context.mount(attrs)
}

/// nix has no name for it: the bit is part of the signal that clone(2) is given, so that only
/// unshare(2), setns(2) and clone3(2) take it.
pub const CLONE_NEWTIME_FLAG: nix::sched::CloneFlags =
    nix::sched::CloneFlags::from_bits_retain(CLONE_NEWTIME);

/// The NIS domain name of this UTS namespace. See `setdomainname(2)`.
pub fn set_domain_name(name: &[u8]) -> nix::Result<()> {
    // SAFETY: as many bytes are read from the pointer as are there.
    let done = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(done).map(drop)
}

/// An environment variable for COMMAND. Its name is not empty, and there is no `=` in it.
pub fn set_env(name: &OsStr, value: &OsStr) {
    // SAFETY: no other thread reads the environment, for there is none.
    unsafe { std::env::set_var(name, value) };
}

/// Takes all away, and what is no variable, too: execve(2) hands on any strings, as `x` and `=x`,
/// which have no name by which unsetenv(3) could find them.
pub fn clear_env() {
    // SAFETY: as above.
    unsafe { libc::clearenv() };
}

/// Overwrites them all, for a process that will not look at them: whoever may look into it finds
/// what execve(2) has given it.
pub fn erase_env() {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: no other thread changes what C's library has here.
    let mut entry = unsafe { environ };
    while !entry.is_null() {
        // SAFETY: the list goes on until a null pointer.
        let string = unsafe { *entry };
        if string.is_null() {
            break;
        }
        // SAFETY: it is a string of C's.
        let length = unsafe { libc::strlen(string) };
        // SAFETY: they are on our stack, or C's library has made them, and nobody holds one.
        unsafe { ptr::write_bytes(string, 0, length) };
        // SAFETY: what ends the list is not reached yet.
        entry = unsafe { entry.add(1) };
    }
}

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
