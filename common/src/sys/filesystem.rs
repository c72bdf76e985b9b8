//! A new instance of a file system, option by option. See `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`,
//! Linux 5.2.

use std::ffi::{CStr, c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::owned;

/// One that is not made yet.
#[derive(Debug)]
pub struct Context(OwnedFd);

const SET_FLAG: c_uint = 0;
const SET_STRING: c_uint = 1;
const SET_FD: c_uint = 5;
const CMD_CREATE: c_uint = 6;

impl Context {
    /// Of this kind, as `proc`.
    pub fn open(kind: &CStr) -> nix::Result<Self> {
        // SAFETY: `kind` is NUL-terminated.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })
            .map(Self)
    }

    /// Sets an option. One that takes no value has an empty one.
    pub fn set(&self, key: &CStr, value: &CStr) -> nix::Result<()> {
        match value.is_empty() {
            true => self.config(SET_FLAG, Some(key), None, 0),
            false => self.config(SET_STRING, Some(key), Some(value), 0),
        }
    }

    /// Sets an option to an open file. Which take one, and since when, is the file system's.
    pub fn set_open(&self, key: &CStr, file: impl AsFd) -> nix::Result<()> {
        self.config(SET_FD, Some(key), None, file.as_fd().as_raw_fd())
    }

    /// Makes it, and a mount of it that lies nowhere yet.
    pub fn mount(self, attrs: u64) -> nix::Result<OwnedFd> {
        let attrs = c_uint::try_from(attrs).map_err(|_| Errno::EINVAL)?;
        self.config(CMD_CREATE, None, None, 0)?;
        let (context, flags) = (self.0.as_raw_fd(), libc::FSMOUNT_CLOEXEC);
        // SAFETY: the call takes integers.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, context, flags, attrs) })
    }

    fn config(
        &self,
        command: c_uint,
        key: Option<&CStr>,
        value: Option<&CStr>,
        number: c_int,
    ) -> nix::Result<()> {
        let [key, value] = [key, value].map(|text| text.map_or(ptr::null(), CStr::as_ptr));
        let context = self.0.as_raw_fd();
        // SAFETY: key and value are null or NUL-terminated, as the command wants them.
        let done =
            unsafe { libc::syscall(libc::SYS_fsconfig, context, command, key, value, number) };
        Errno::result(done).map(drop)
    }
}
