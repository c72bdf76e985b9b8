//! Pseudo-terminals: a master, whose holder is the screen and the keyboard, and a slave, which
//! programs take for a terminal. See pty(7).

use std::ffi::{c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::owned;

/// Lets the slave be opened.
pub fn unlock(master: impl AsFd) -> nix::Result<()> {
    let locked: c_int = 0;
    // SAFETY: the kernel reads an int from the pointer.
    let done =
        unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) };
    Errno::result(done).map(drop)
}

/// The slave's name in its devpts.
pub fn number(master: impl AsFd) -> nix::Result<u32> {
    let mut number: c_uint = 0;
    // SAFETY: the kernel writes an unsigned int to the pointer, which is to one of ours.
    let done = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    Errno::result(done).map(|_| number)
}

/// The slave itself, whatever a path to it would lead to. Linux 4.13.
pub fn peer(master: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this command takes a number, the flags of open(2).
    owned(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())
}

/// Makes it the controlling terminal of this process, which must lead a session that has none.
pub fn control(slave: impl AsFd) -> nix::Result<()> {
    let not_by_force: c_int = 0;
    // SAFETY: this command takes a number.
    let done = unsafe { libc::ioctl(slave.as_fd().as_raw_fd(), libc::TIOCSCTTY, not_by_force) };
    Errno::result(done).map(drop)
}
