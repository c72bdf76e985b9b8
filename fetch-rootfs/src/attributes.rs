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
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid};
use xattr::FileExt;

use crate::cli::Owner;
use crate::entry::{Entry, Kind, Time, quoted};
use crate::extract::tried;

/// Sets them, as far as this user may.
pub struct Attributes {
    privileged: bool,
    keep_owners: bool,
    /// Who this is: new files are theirs.
    me: (u32, u32),
    unset: Unset,
    not_owned: Unset,
}

/// What could not be done: an example, and how many more there are.
#[derive(Default)]
struct Unset {
    first: Option<String>,
    more: u64,
}

impl Attributes {
    pub fn new(owner: Owner) -> Self {
        Self {
            privileged: geteuid().is_root(),
            keep_owners: owner == Owner::Keep,
            me: (geteuid().as_raw(), getegid().as_raw()),
            unset: Unset::default(),
            not_owned: Unset::default(),
        }
    }

    /// The mode that a file can be made with, if there is nothing to set on it before its mode.
    pub fn mode_at_first(&self, entry: &Entry) -> Option<Mode> {
        let late = !entry.xattrs.is_empty() || entry.mode & 0o7000 != 0;
        (!late).then(|| self.mode(entry))
    }

    fn changes_owner(&self, entry: &Entry) -> bool {
        self.keep_owners && (entry.uid, entry.gid) != self.me
    }

    /// Owner first, since a change of owner takes setuid bits and capabilities away; times last.
    pub fn set(&mut self, entry: &Entry, file: &File) -> Result<(), Failure> {
        if self.changes_owner(entry) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            self.owned(entry, fchown(file, Some(uid), Some(gid)))?;
        }
        self.skip_foreign(entry);
        self.set_attributes(entry, file, |name| wanted(name) && name != ACCESS)?;
        if self.mode_at_first(entry).is_none() || entry.kind != Kind::File {
            fchmod(file, self.mode(entry)).tried(|| tried(entry, "set its mode"))?;
        }
        // The list of who has access has a mode in it, and is right about it where they differ.
        self.set_attributes(entry, file, |name| name == ACCESS)?;
        let (access, change) = times(entry);
        futimens(file, &access, &change).tried(|| tried(entry, "set its time"))
    }

    fn set_attributes(
        &mut self,
        entry: &Entry,
        file: &File,
        which: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Failure> {
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| which(name)) {
            let name = OsStr::from_bytes(name);
            if let Err(error) = file.set_xattr(name, value) {
                self.could_not(entry, name, &error)?;
            }
        }
        Ok(())
    }

    /// The same for what can't be opened, or must not be: links, devices, FIFOs.
    pub fn set_by_name(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        if self.changes_owner(entry) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            self.owned(entry, fchownat(parent, name, Some(uid), Some(gid), flags))?;
        }
        self.set_attributes_by_name(entry, parent, name)?;
        if entry.kind != Kind::Symlink {
            fchmodat(parent, name, self.mode(entry), FchmodatFlags::FollowSymlink)
                .tried(|| tried(entry, "set its mode"))?;
        }
        let (access, change) = times(entry);
        utimensat(parent, name, &access, &change, UtimensatFlags::NoFollowSymlink)
            .tried(|| tried(entry, "set its time"))
    }

    fn set_attributes_by_name(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<(), Failure> {
        self.skip_foreign(entry);
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        let path = Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        for (attribute, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
            let attribute = OsStr::from_bytes(attribute);
            if let Err(error) = xattr::set(&path, attribute, value) {
                self.could_not(entry, attribute, &error)?;
            }
        }
        Ok(())
    }

    /// Only root can give files away; who is not told so, if they asked for it.
    fn owned(&mut self, entry: &Entry, outcome: nix::Result<()>) -> Result<(), Failure> {
        match outcome {
            Err(Errno::EPERM | Errno::EINVAL) if !self.privileged => {
                self.not_owned
                    .add(|| format!("{}:{} of {}", entry.uid, entry.gid, quoted(&entry.name)));
                Ok(())
            }
            outcome => outcome.tried(|| tried(entry, "set its owner")).map_err(|failure| {
                failure.hint_if(Errno::EINVAL, || {
                    "this user namespace has no such owner; --owner me makes all files yours".into()
                })
            }),
        }
    }

    /// What is of another machine's users has no meaning here.
    fn skip_foreign(&mut self, entry: &Entry) {
        for name in &entry.foreign {
            self.unset.add(|| format!("{name:?} of {} (it has names)", quoted(&entry.name)));
        }
    }

    /// The bits that lend the owner's power are dropped where the owner is not the one meant.
    fn mode(&self, entry: &Entry) -> Mode {
        let bits = if self.privileged && self.keep_owners { 0o7777 } else { 0o1777 };
        Mode::from_bits_truncate(entry.mode & bits)
    }

    /// A file system without attributes, or a user without the right to them, is told once at the
    /// end; anything else is an error.
    fn could_not(&mut self, entry: &Entry, name: &OsStr, error: &io::Error) -> Result<(), Failure> {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTSUP | Errno::EPERM | Errno::EACCES) => {
                self.unset.add(|| format!("{name:?} of {}", quoted(&entry.name)));
                Ok(())
            }
            _ => Err(entry.failure(&format!("set its attribute {name:?}: {error}"))),
        }
    }

    /// A line for all attributes, and one for all owners.
    pub fn tell_what_was_not_set(&self) {
        self.unset.tell("attributes that can't be set here");
        self.not_owned.tell("owners that only root can set");
    }
}

impl Unset {
    fn add(&mut self, what: impl FnOnce() -> String) {
        match &self.first {
            None => self.first = Some(what()),
            Some(_) => self.more += 1,
        }
    }

    fn tell(&self, what: &str) {
        let Some(first) = &self.first else { return };
        let more = match self.more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        report::tell(&format!("fetch-rootfs: note: {what}: {first}{more}\n"));
    }
}

/// The attribute that a list of who has access is, see acl(5).
const ACCESS: &[u8] = b"system.posix_acl_access";

/// What the container's runtime keeps for itself, and a label of another machine's policy.
fn wanted(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && name != b"security.selinux"
}

/// Of access and of change.
fn times(entry: &Entry) -> (TimeSpec, TimeSpec) {
    let spec = |(seconds, nanoseconds): Time| TimeSpec::new(seconds, nanoseconds);
    (entry.atime.map_or(TimeSpec::UTIME_OMIT, spec), spec(entry.mtime))
}
