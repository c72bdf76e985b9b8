//! An etc in which a file can appear, while the one on disk stays as it is.
//!
//! A mount needs something to be mounted on, and where there is no file none may be made. So an
//! overlay covers etc: its lower layer is the root's own, its upper one lies in memory and holds
//! the file. A symbolic link of that name, wherever it leads, is hidden in the same way.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};

use crate::attach::{Mounted, explain_privilege};
use crate::place::Place;
use crate::resolver::{self, Servers};
use crate::{layers, memory};

/// Covers `etc` with an overlay that has a file for these servers.
///
/// The memory is mounted on etc first, for a layer has to be mounted somewhere; the overlay then
/// hides it. The layers are named by descriptor, as no path leads to the lower one any more.
pub fn cover(
    mounted: &mut Mounted,
    etc: &Place,
    servers: &Servers,
    user: bool,
) -> Result<(), Failure> {
    let lower = etc.open()?;
    let memory = resolver::memory()?;
    let upper = memory::folder(&memory, "upper")?;
    let work = memory::folder(&memory, "work")?;
    look_like(&upper, &lower).tried(|| "give the folder in memory the owner and mode of etc")?;
    servers.write(&upper)?;
    mounted.attach(memory, etc)?;
    layers::mount(&[lower], Some(&[upper, work]), user)
        .tried(|| format!("make an overlay for {:?}", etc.path()))
        .map_err(|failure| explain_overlay(failure, etc))
        .and_then(|overlay| mounted.attach(overlay, etc))
        .inspect_err(|_| drop(mounted.take_back()))
}

/// Whether we are root only in a user namespace: the first one has a number that never changes. It is
/// looked up once, for later /proc may be another's.
pub fn in_user_namespace() -> bool {
    const FIRST: u64 = 0xEFFF_FFFD; // PROC_USER_INIT_INO
    static SEEN: OnceLock<bool> = OnceLock::new();
    *SEEN.get_or_init(|| {
        fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() != FIRST)
    })
}

/// The folder on top of an overlay is the upper one. In a user namespace that lacks the owner,
/// it stays ours.
fn look_like(upper: &OwnedFd, lower: &OwnedFd) -> nix::Result<()> {
    let wanted = fstat(lower)?;
    match fchown(upper, Some(Uid::from_raw(wanted.st_uid)), Some(Gid::from_raw(wanted.st_gid))) {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno),
    }
    fchmod(upper, Mode::from_bits_truncate(wanted.st_mode))
}

fn explain_overlay(failure: Failure, etc: &Place) -> Failure {
    let touch = || {
        let file = etc.path().join(resolver::NAME);
        format!("where a file is none is needed: touch {}", common::shell::operand(file))
    };
    explain_privilege(failure)
        .hint_if(Errno::EPERM, touch)
        .hint_if(Errno::ENODEV, touch)
        .hint_if(Errno::EINVAL, touch)
}
