//! What an entry is besides its name and its content: owner, mode, time, extended attributes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::{Failure, Tried, report};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, geteuid};
use xattr::FileExt;

use crate::extract::tried;
use crate::tar::{Entry, Kind, quoted};

/// Sets them, as far as this user may.
pub struct Attributes {
    privileged: bool,
    /// Extended attributes that could not be set.
    unset: Vec<String>,
}

impl Attributes {
    pub fn new() -> Self {
        Self { privileged: geteuid().is_root(), unset: Vec::new() }
    }

    /// Owner first, since a change of owner takes setuid bits and capabilities away; times last.
    pub fn set(&mut self, entry: &Entry, file: &File) -> Result<(), Failure> {
        if self.privileged {
            fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
                .tried(|| tried(entry, "set its owner"))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
            let name = OsStr::from_bytes(name);
            if let Err(error) = file.set_xattr(name, value) {
                self.could_not(entry, name, &error)?;
            }
        }
        fchmod(file, self.mode(entry)).tried(|| tried(entry, "set its mode"))?;
        let (access, change) = (TimeSpec::UTIME_OMIT, time(entry));
        futimens(file, &access, &change).tried(|| tried(entry, "set its time"))
    }

    /// The same for what can't be opened, or must not be: links, devices, FIFOs.
    pub fn set_by_name(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        if self.privileged {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
                .tried(|| tried(entry, "set its owner"))?;
        }
        let path = Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        for (attribute, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
            let attribute = OsStr::from_bytes(attribute);
            if let Err(error) = xattr::set(&path, attribute, value) {
                self.could_not(entry, attribute, &error)?;
            }
        }
        if entry.kind != Kind::Symlink {
            fchmodat(parent, name, self.mode(entry), FchmodatFlags::FollowSymlink)
                .tried(|| tried(entry, "set its mode"))?;
        }
        let (access, change) = (TimeSpec::UTIME_OMIT, time(entry));
        utimensat(parent, name, &access, &change, UtimensatFlags::NoFollowSymlink)
            .tried(|| tried(entry, "set its time"))
    }

    /// The bits that lend the owner's power are dropped where the owner is not the one meant.
    fn mode(&self, entry: &Entry) -> Mode {
        let bits = if self.privileged { 0o7777 } else { 0o1777 };
        Mode::from_bits_truncate(entry.mode & bits)
    }

    /// A file system without attributes, or a user without the right to them, is told once at the
    /// end; anything else is an error.
    fn could_not(&mut self, entry: &Entry, name: &OsStr, error: &io::Error) -> Result<(), Failure> {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTSUP | Errno::EPERM | Errno::EACCES) => {
                self.unset.push(format!("{name:?} of {}", quoted(&entry.name)));
                Ok(())
            }
            _ => Err(entry.failure(&format!("set its attribute {name:?}: {error}"))),
        }
    }

    /// One line for all of them.
    pub fn tell_what_was_not_set(&self) {
        if let [first, rest @ ..] = self.unset.as_slice() {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            report::tell(&format!(
                "fetch-rootfs: note: attributes that can't be set here: {first}{more}\n"
            ));
        }
    }
}

/// What the container's runtime keeps for itself, and a label of another machine's policy.
fn wanted(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && name != b"security.selinux"
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, entry.mtime.1)
}
