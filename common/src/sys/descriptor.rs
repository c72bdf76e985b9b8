//! Descriptors that are known by their number: those that the caller gave, or that COMMAND expects,
//! or that another process sends.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Takes over an open descriptor that the caller gave by its number, and keeps it from COMMAND.
///
/// Nothing else in this process may own it: a caller's descriptor is taken before any of our own is
/// opened, and once.
pub fn take(number: RawFd) -> nix::Result<OwnedFd> {
    set_passed(number, false)?;
    // SAFETY: it is open, and nobody else here owns it, as said above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Puts a descriptor at this number, in place of what is there; it is not passed on yet. That one must
/// be the caller's, so nothing of our own may be open there.
pub fn place(fd: OwnedFd, number: RawFd) -> nix::Result<()> {
    let from = fd.into_raw_fd();
    if from == number {
        return Ok(());
    }
    // SAFETY: dup3 takes integers. What is closed at `number` is none of ours, as said above.
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

/// Sends copies of descriptors by a socket, with a text, which can't be empty.
pub fn send<const N: usize>(socket: impl AsFd, text: &[u8], fds: [&OwnedFd; N]) -> nix::Result<()> {
    let (numbers, socket) = (fds.map(AsRawFd::as_raw_fd), socket.as_fd().as_raw_fd());
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(socket, &[IoSlice::new(text)], &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Waits for two that [`send`] sends; `None` if nobody is there any more to send them.
pub fn receive_both(socket: impl AsFd) -> nix::Result<Option<[OwnedFd; 2]>> {
    let (mut space, mut byte) = (cmsg_space!([RawFd; 2]), [0]);
    let (mut parts, flags) = ([IoSliceMut::new(&mut byte)], MsgFlags::MSG_CMSG_CLOEXEC);
    let got = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made them for us, and nobody else knows of them.
            received.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    match (got.bytes, <[OwnedFd; 2]>::try_from(received)) {
        (_, Ok(both)) => Ok(Some(both)),
        (0, Err(_)) => Ok(None),
        // The limit of open files is reached.
        (_, Err(_)) => Err(Errno::EMFILE),
    }
}
