//! Ways to the machine's root directory.

use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::fstatat;
use nix::unistd::{chdir, chroot};

use crate::findings::{Findings, REFUSALS};
use crate::sys::Handle;

/// The classic: with a working directory above the root, go up. MARK is a path of the machine.
pub fn chroot_twice(arguments: &[String], findings: &mut Findings) {
    let mark = &arguments[0];
    if Path::new(mark).exists() {
        return findings.escaped(format!("{mark:?} is in sight"));
    }
    let below = ["/.below", "/tmp/.below", "/dev/shm/.below"]
        .into_iter()
        .find(|folder| fs::create_dir(folder).is_ok());
    let done = chroot(below.unwrap_or("/dev"));
    if let Some(folder) = below {
        let _ = fs::remove_dir(folder);
    }
    match done {
        Ok(()) => {}
        Err(errno) if REFUSALS.contains(&errno) => {
            return findings.held(format!("chroot {errno:?}"));
        }
        Err(errno) => return findings.unclear(format!("chroot {errno:?}")),
    }
    for _ in 0..64 {
        let _ = chdir("..");
    }
    if let Err(errno) = chroot(".") {
        return findings.unclear(format!("the last chroot {errno:?}"));
    }
    let out = Path::new(mark).exists();
    findings.holds(!out, format!("chroot is allowed, and leads to {mark}: {out}"));
}

/// Opens the root of the file system that our root is in, by the number of its inode; and our own
/// root by its handle, which takes the same capability in any file system that has handles.
pub fn open_by_handle(_: &[String], findings: &mut Findings) {
    let Ok(root) = File::open("/") else { return findings.unclear("open /") };
    let inode = fstatat(AT_FDCWD, "/", AtFlags::empty()).map_or(0, |status| status.st_ino);
    let numbered = Handle::of_inode(2).open(&root);
    let other = |fd: &std::os::fd::OwnedFd| {
        nix::sys::stat::fstat(fd).is_ok_and(|status| status.st_ino != inode)
    };
    if numbered.as_ref().is_ok_and(other) {
        findings.escaped("open_by_handle_at gives inode 2, which is not our root");
    }
    let own = CString::new("/").map_err(|_| Errno::EINVAL);
    match own.and_then(|path| Handle::of(&path)).and_then(|mut handle| handle.open(&root)) {
        Ok(_) => findings.escaped("open_by_handle_at is allowed"),
        Err(Errno::EOPNOTSUPP) => findings.refused("open_by_handle_at", numbered, &REFUSALS),
        Err(errno) if REFUSALS.contains(&errno) => {
            findings.held(format!("open_by_handle_at {errno:?}"));
        }
        Err(errno) => findings.unclear(format!("open_by_handle_at {errno:?}")),
    }
}
