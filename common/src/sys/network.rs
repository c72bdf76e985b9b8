//! The flags of a network device.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::owned;

/// Brings a device of this network namespace up; the kernel gives loopback its addresses by itself.
/// See `netdevice(7)`.
pub fn device_up(name: &CStr) -> nix::Result<()> {
    // SAFETY: the call takes three integers. Any socket will do: it only stands for the namespace.
    let socket = owned(i64::from(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }))?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.to_bytes_with_nul();
    if bytes.len() > request.ifr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: SIOCGIFFLAGS reads the name from an ifreq and writes the flags to it; it is ours.
    let told = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request)
    };
    Errno::result(told)?;
    // SAFETY: the flags are the member that was just written.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = libc::c_short::try_from(libc::IFF_UP).map_err(|_| Errno::EOVERFLOW)?;
    request.ifr_ifru.ifru_flags = flags | up;
    // SAFETY: SIOCSIFFLAGS reads name and flags from an ifreq; it is ours.
    let done = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw mut request)
    };
    Errno::result(done).map(drop)
}
