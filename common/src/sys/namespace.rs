//! What a namespace belongs to, see `ioctl_ns(2)`, Linux 4.9.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_PARENT: libc::Ioctl = 0xb702;

/// The user namespace that a namespace belongs to.
pub fn owner(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    ask(namespace, NS_GET_USERNS)
}

/// The namespace above a user or PID namespace.
pub fn parent(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    ask(namespace, NS_GET_PARENT)
}

fn ask(namespace: impl AsFd, question: libc::Ioctl) -> nix::Result<OwnedFd> {
    // SAFETY: both questions take no argument, and are answered by a new descriptor.
    super::owned(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), question) }.into())
}
