//! Terminals: what ioctl(2) has for them.

use std::ffi::{c_int, c_uint, c_ulong};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

/// Rows and columns of a terminal, and its size in pixels.
pub type Size = libc::winsize;

/// See `TIOCGWINSZ(2const)`.
pub fn size(terminal: impl AsFd) -> nix::Result<Size> {
    // SAFETY: all zeroes is a valid winsize.
    let mut size: Size = unsafe { std::mem::zeroed() };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ writes a winsize to the pointer, which is to one of ours.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(size)
}

/// Sets it; the terminal's foreground learns it by SIGWINCH. See `TIOCSWINSZ(2const)`.
pub fn set_size(terminal: impl AsFd, size: &Size) -> nix::Result<()> {
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSWINSZ reads a winsize.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, std::ptr::from_ref(size)) }).map(drop)
}

/// Lets the other side be opened. See `unlockpt(3)`.
pub fn unlock(master: impl AsFd) -> nix::Result<()> {
    let locked: c_int = 0;
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: TIOCSPTLCK reads an int.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const locked) }).map(drop)
}

/// The other side of a pseudoterminal, by no name that could lead elsewhere. See
/// `TIOCGPTPEER(2const)`, Linux 4.13.
pub fn peer(master: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: TIOCGPTPEER takes the flags of open(2).
    let peer = unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags) };
    super::owned(peer.into())
}

/// The other side's name in its devpts. See `TIOCGPTN(2const)`.
pub fn number(master: impl AsFd) -> nix::Result<u32> {
    let mut number: c_uint = 0;
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: TIOCGPTN writes an unsigned int to the pointer, which is to one of ours.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCGPTN, &raw mut number) }).map(|_| number)
}

/// Makes it the terminal of this session, which has none. See `TIOCSCTTY(2const)`.
pub fn take(terminal: impl AsFd) -> nix::Result<()> {
    let by_force: c_ulong = 0;
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSCTTY takes a number.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, by_force) }).map(drop)
}
