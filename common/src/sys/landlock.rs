//! Landlock: a process takes rights away from itself and from what it starts, by path, by port and
//! by whom it talks to. See landlock(7).

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use super::owned;

/// What a rule set takes away, unless a rule gives it back: a bit for each right.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub net: u64,
    /// `LANDLOCK_SCOPE_*`; no rule gives these back.
    pub scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: c_int,
}

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

const PATH_BENEATH: c_int = 1;
const NET_PORT: c_int = 2;

/// The version that this kernel has, from 1 up.
pub fn version() -> nix::Result<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: c_uint = 1;
    let nothing = ptr::null::<c_void>();
    // SAFETY: with this flag the kernel wants a null pointer and no size, and makes no descriptor.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(Errno::result(version)?).map_err(|_| Errno::EOVERFLOW)
}

/// A set with no rules yet. An older kernel takes the longer struct if it ends in zeroes.
pub fn ruleset(handled: Handled) -> nix::Result<OwnedFd> {
    let flags: c_uint = 0;
    // SAFETY: the kernel reads as many bytes as the struct has.
    owned(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of::<Handled>(),
            flags,
        )
    })
}

/// Gives rights back for a file, or a folder and all below.
pub fn allow_path(ruleset: impl AsFd, path: impl AsFd, allowed: u64) -> nix::Result<()> {
    let rule = PathBeneath { allowed, parent: path.as_fd().as_raw_fd() };
    add(ruleset, PATH_BENEATH, (&raw const rule).cast())
}

/// Gives rights back for a port.
pub fn allow_port(ruleset: impl AsFd, port: u16, allowed: u64) -> nix::Result<()> {
    let rule = NetPort { allowed, port: port.into() };
    add(ruleset, NET_PORT, (&raw const rule).cast())
}

fn add(ruleset: impl AsFd, kind: c_int, rule: *const c_void) -> nix::Result<()> {
    let (fd, flags) = (ruleset.as_fd().as_raw_fd(), 0 as c_uint);
    // SAFETY: `rule` points to the struct that this kind of rule has, which the kernel reads.
    let done = unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, kind, rule, flags) };
    Errno::result(done).map(drop)
}

/// From here on. It takes no_new_privs, or CAP_SYS_ADMIN.
pub fn restrict_self(ruleset: impl AsFd) -> nix::Result<()> {
    let (fd, flags) = (ruleset.as_fd().as_raw_fd(), 0 as c_uint);
    // SAFETY: the call takes two integers.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, flags) };
    Errno::result(done).map(drop)
}
