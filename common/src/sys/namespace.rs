//! What a namespace belongs to, see `ioctl_ns(2)`, Linux 4.9.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::stat::{SFlag, fstat};

use crate::file;

const NS_GET_USERNS: libc::Ioctl = 0xb701;
const NS_GET_PARENT: libc::Ioctl = 0xb702;
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
const NS_GET_MNTNS_ID: libc::Ioctl = libc::_IOR::<u64>(0xb7, 5);
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// The user namespace that a namespace belongs to.
pub fn owner(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    ask(namespace, NS_GET_USERNS)
}

/// The namespace above a user or PID namespace.
pub fn parent(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    ask(namespace, NS_GET_PARENT)
}

/// Which kind of namespace this is, as the flag of `unshare(2)` for it; `ENOTTY` if it is none. Linux
/// 4.11.
pub fn kind(namespace: impl AsFd) -> nix::Result<CloneFlags> {
    // SAFETY: the question takes no argument, and is answered by a number.
    let flag = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    Errno::result(flag).map(CloneFlags::from_bits_retain)
}

/// By which the kernel tells which of two mount namespaces is the older one. Linux 6.11.
pub fn mount_id(namespace: impl AsFd) -> nix::Result<u64> {
    let mut id = 0;
    // SAFETY: the answer is written to a number of this size.
    let done = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    Errno::result(done).map(|_| id)
}

/// The network namespace that a socket is of; `ENOTSOCK` if it is none, to which the question might
/// be a command.
pub fn of_socket(socket: impl AsFd) -> nix::Result<OwnedFd> {
    match file::is(&fstat(&socket)?, SFlag::S_IFSOCK) {
        true => ask(socket, SIOCGSKNS),
        false => Err(Errno::ENOTSOCK),
    }
}

fn ask(namespace: impl AsFd, question: libc::Ioctl) -> nix::Result<OwnedFd> {
    // SAFETY: the questions take no argument, and are answered by a new descriptor.
    super::owned(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), question) }.into())
}
