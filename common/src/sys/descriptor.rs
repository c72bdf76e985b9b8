//! Descriptors that are known by their number: those that the caller gave, or that COMMAND expects.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Takes over an open descriptor that the caller gave by its number, and keeps it from COMMAND.
///
/// Nothing else in this process may own it: a caller's descriptor is taken before any of our own is
/// opened, and once.
pub fn take(number: RawFd) -> nix::Result<OwnedFd> {
    set_passed(number, false)?;
    // SAFETY: it is open, and nobody else here owns it, as said above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a descriptor at this number, in place of what is there; it is not passed on yet.
pub fn place(fd: OwnedFd, number: RawFd) -> nix::Result<()> {
    let from = fd.into_raw_fd();
    if from == number {
        return Ok(());
    }
    // SAFETY: dup3 takes integers. What is closed at `number` is the caller's, as said above.
    let done = Errno::result(unsafe { libc::dup3(from, number, libc::O_CLOEXEC) });
    // SAFETY: it was ours until `into_raw_fd`, and nobody has it since.
    drop(unsafe { OwnedFd::from_raw_fd(from) });
    done.map(drop)
}

/// Whether COMMAND gets the descriptor of this number.
pub fn set_passed(number: RawFd, passed: bool) -> nix::Result<()> {
    let flags = if passed { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: F_SETFD takes no pointer, and a closed descriptor is only an error to it.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, flags) }).map(drop)
}

/// How the descriptor of this number was opened; `EBADF` if it is none.
pub fn mode(number: RawFd) -> nix::Result<OFlag> {
    // SAFETY: F_GETFL takes no pointer, and a closed descriptor is only an error to it.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFL) })?;
    Ok(OFlag::from_bits_retain(flags))
}
