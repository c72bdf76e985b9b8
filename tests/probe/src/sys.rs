//! The system calls of an attacker that have no safe wrapper.
#![allow(unsafe_code, reason = "the one module that may; each block says why it is sound")]

use std::ffi::{CStr, c_int, c_long, c_uint};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

/// Whether this number is an open descriptor.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// What a file system calls a file by, see `open_by_handle_at(2)`.
#[repr(C)]
pub struct Handle {
    bytes: c_uint,
    kind: c_int,
    data: [u8; 128],
}

impl Handle {
    /// As ext4, xfs and btrfs's older kin have it: the number of an inode, any generation.
    pub fn of_inode(number: u32) -> Self {
        const FILEID_INO32_GEN: c_int = 1;
        let mut data = [0; 128];
        data[..4].copy_from_slice(&number.to_ne_bytes());
        Self { bytes: 8, kind: FILEID_INO32_GEN, data }
    }

    /// The handle of a path.
    pub fn of(path: &CStr) -> nix::Result<Self> {
        let mut handle = Self { bytes: 128, kind: 0, data: [0; 128] };
        let mut mount: c_int = 0;
        // SAFETY: the path is NUL-terminated, the handle has the room that it says, and the number
        // of the mount is written to one of ours.
        let done = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                libc::AT_FDCWD,
                path.as_ptr(),
                &raw mut handle,
                &raw mut mount,
                0 as c_int,
            )
        };
        Errno::result(done).map(|_| handle)
    }

    /// Opens what it means, in the file system of a descriptor.
    pub fn open(&mut self, at: impl AsFd) -> nix::Result<OwnedFd> {
        let at = at.as_fd().as_raw_fd();
        // SAFETY: the handle is valid for its length.
        owned(unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                at,
                ptr::from_mut(self),
                libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
            )
        })
    }
}

/// The serial number of the session keyring.
pub fn session_keyring() -> nix::Result<c_long> {
    const KEYCTL_GET_KEYRING_ID: c_int = 0;
    const SESSION: c_int = -3;
    let create: c_int = 0;
    // SAFETY: the call takes three integers.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, SESSION, create) };
    Errno::result(done)
}

/// Changes the number of the system call that a traced process is at the beginning of.
#[cfg(target_arch = "aarch64")]
pub fn set_call(pid: nix::unistd::Pid, mut number: c_int) -> nix::Result<()> {
    const NT_ARM_SYSTEM_CALL: c_long = 0x404;
    let set = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: size_of::<c_int>() };
    // SAFETY: the vector names a number of ours, of the size that this set of registers has.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_SETREGSET, pid.as_raw(), NT_ARM_SYSTEM_CALL, &raw const set)
    };
    Errno::result(done).map(drop)
}

/// As if this byte had been typed at a terminal.
pub fn type_at(terminal: impl AsFd, byte: u8) -> nix::Result<()> {
    // SAFETY: TIOCSTI reads one byte.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSTI, &raw const byte) };
    Errno::result(done).map(drop)
}

/// Types what is selected at a console. See `TIOCLINUX(2const)`.
pub fn paste_at(terminal: impl AsFd) -> nix::Result<()> {
    const TIOCL_PASTESEL: u8 = 3;
    let command = [TIOCL_PASTESEL; 32];
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: this subcommand reads its own number.
    let done = unsafe { libc::ioctl(fd, libc::TIOCLINUX, command.as_ptr()) };
    Errno::result(done).map(drop)
}

/// A copy of another process's descriptor.
pub fn steal(process: impl AsFd, fd: RawFd) -> nix::Result<OwnedFd> {
    let flags: c_uint = 0;
    // SAFETY: the call takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_fd().as_raw_fd(), fd, flags) })
}

/// Reads the kernel's messages, as dmesg(1) does.
pub fn kernel_messages() -> nix::Result<()> {
    const SYSLOG_ACTION_READ_ALL: c_int = 3;
    let mut buffer = [0u8; 64];
    let length = 64 as c_int;
    // SAFETY: the buffer has that length.
    let done = unsafe {
        libc::syscall(libc::SYS_syslog, SYSLOG_ACTION_READ_ALL, buffer.as_mut_ptr(), length)
    };
    Errno::result(done).map(drop)
}

fn owned(fd: c_long) -> nix::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
