//! Mounts: made, taken away, made writable.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::devices::errno;
use crate::files::with_proc;
use crate::findings::{Findings, REFUSALS};

const NONE: Option<&str> = None;

/// Where the mounts of this namespace are, and whether each is read-only.
pub fn table() -> Vec<(PathBuf, bool)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        let place = PathBuf::from(fields.next()?);
        let read_only = fields.next()?.split(',').any(|option| option == "ro");
        Some((place, read_only))
    };
    text.lines().filter_map(line).collect()
}

/// A new mount by the old call and by the new ones; a copy of the root.
pub fn make(_: &[String], findings: &mut Findings) {
    let place = ["/mnt", "/tmp", "/root"].into_iter().find(|place| Path::new(place).is_dir());
    let Some(place) = place else { return findings.unclear("there is no folder to mount on") };
    let flags = MsFlags::empty();
    findings.refused(
        "mount a tmpfs",
        mount(Some("probe"), place, Some("tmpfs"), flags, NONE),
        &REFUSALS,
    );
    let detached = common::sys::new_mount(c"tmpfs", &[], 0);
    findings.refused("fsopen and fsmount", detached, &REFUSALS);
    let copy = File::open("/").map_err(errno).and_then(common::sys::copy_of_mount);
    findings.refused("open_tree", copy, &REFUSALS);
    let bind = mount(Some("/"), place, NONE, MsFlags::MS_BIND, NONE);
    findings.refused("mount --bind /", bind, &REFUSALS);
}

/// Takes away each mount below the root, and makes each read-only one writable.
pub fn peel(_: &[String], findings: &mut Findings) {
    with_proc(findings);
    let mounts = table();
    if mounts.is_empty() {
        return findings.unclear("there is no mount table");
    }
    make_writable(&mounts, findings, &REFUSALS);
    take_away(&mounts, findings, &REFUSALS);
}

/// Unmounts each. A namespace's mounts that came with its making are locked: EINVAL.
pub fn take_away(mounts: &[(PathBuf, bool)], findings: &mut Findings, by: &[Errno]) {
    for (place, _) in mounts.iter().filter(|(place, _)| place != Path::new("/")) {
        let done = umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        // Hidden below another mount, or in a folder that is closed to us: there is no way to it.
        if done == Err(Errno::ENOENT) {
            continue;
        }
        findings.refused(format!("umount {}", place.display()), done, by);
    }
}

/// Remounts each that is read-only.
pub fn make_writable(mounts: &[(PathBuf, bool)], findings: &mut Findings, by: &[Errno]) {
    for (place, _) in mounts.iter().filter(|(_, read_only)| *read_only) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        let done = mount(NONE, place, NONE, flags, NONE);
        if done == Err(Errno::ENOENT) {
            continue;
        }
        findings.refused(format!("remount {} rw", place.display()), done, by);
        let attr = libc::mount_attr {
            attr_clr: libc::MOUNT_ATTR_RDONLY,
            attr_set: 0,
            propagation: 0,
            userns_fd: 0,
        };
        if let Ok(file) = File::open(place) {
            let done = common::sys::mount_setattr(file.as_fd(), 0, &attr);
            findings.refused(format!("mount_setattr {} rw", place.display()), done, by);
        }
    }
}

/// Nothing can be made in any mount at and below a folder that is read-only.
pub fn below_read_only(arguments: &[String], findings: &mut Findings) {
    let top = Path::new(&arguments[0]);
    for (place, _) in table().iter().filter(|(place, _)| place.starts_with(top)) {
        let file = place.join(".probe-file");
        let done = File::create_new(&file).map(drop).map_err(errno);
        let _ = fs::remove_file(&file);
        findings.refused(format!("create {}", file.display()), done, &[Errno::EROFS]);
    }
}
