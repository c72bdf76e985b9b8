//! What an entry is besides its name and its content: owner, mode, time, extended attributes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::{Failure, Tried, userns};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid};
use xattr::FileExt;

use crate::cli::Owner;
use crate::entry::{Entry, Kind, Time, quoted};
use crate::extract::tried;
use crate::idmap;
use crate::outcome::Unset;

/// Sets them, as far as this user may.
pub struct Attributes {
    privileged: bool,
    owner: Owner,
    /// Who this is: new files are theirs.
    me: (u32, u32),
    unset: Unset,
    owners: Unset,
}

impl Attributes {
    pub fn new(owner: Owner) -> Self {
        Self {
            privileged: geteuid().is_root(),
            owner,
            me: (geteuid().as_raw(), getegid().as_raw()),
            unset: Unset::default(),
            owners: Unset::default(),
        }
    }

    /// The mode that a file can be made with, if there is nothing to set on it before its mode.
    pub fn mode_at_first(&self, entry: &Entry) -> Option<Mode> {
        let late = !entry.xattrs.is_empty() || entry.mode & 0o7000 != 0;
        (!late).then(|| self.mode(entry))
    }

    /// Owner first, since a change of owner takes setuid bits and capabilities away; times last.
    pub fn set(&mut self, entry: &Entry, file: &File) -> Result<(), Failure> {
        self.give(entry, |uid, gid| fchown(file, uid, gid))?;
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

    /// Gives a new file its owner, if nothing is left to set then but its time; says whether it is so.
    pub fn set_but_time(&mut self, entry: &Entry, file: &File) -> Result<bool, Failure> {
        let plain = self.mode_at_first(entry).is_some() && entry.foreign.is_empty();
        if plain {
            self.give(entry, |uid, gid| fchown(file, uid, gid))?;
        }
        Ok(plain)
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
                self.could_not(entry, name, error)?;
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
        self.give(entry, |uid, gid| {
            fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        })?;
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
                self.could_not(entry, attribute, error)?;
            }
        }
        Ok(())
    }

    /// Only root can give files away; who is not told so, if they asked for it.
    fn give(
        &mut self,
        entry: &Entry,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> nix::Result<()>,
    ) -> Result<(), Failure> {
        if self.owner == Owner::Me || (entry.uid, entry.gid) == self.me {
            return Ok(());
        }
        let owner = format_args!("{}:{}", entry.uid, entry.gid);
        match chown(Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))) {
            Err(Errno::EPERM | Errno::EINVAL) if !self.privileged => {
                let example = || format!("{owner} of {}", quoted(&entry.name));
                self.owners.add(entry.name.clone(), example);
                Ok(())
            }
            Err(Errno::EINVAL) => {
                let (users, groups) = idmap::mapped();
                let mapped = format!("of {users} users and {groups} groups that are mapped here");
                let what = tried(entry, &format!("set its owner {owner}, {mapped}"));
                let more = (self.owner == Owner::Map).then(|| idmap::raise(entry.uid, entry.gid));
                let more = more.flatten().map_or_else(String::new, |command| command + "; or ");
                Err(Failure::errno(what, Errno::EINVAL)
                    .hint(format!("{more}--owner me makes all files yours")))
            }
            outcome => outcome.tried(|| tried(entry, &format!("set its owner {owner}"))).map_err(
                |failure| match userns::refusal() {
                    Some(hint) if self.owner == Owner::Map => {
                        failure.hint_if(Errno::EPERM, || hint)
                    }
                    _ => failure,
                },
            ),
        }
    }

    /// What is of another machine's users has no meaning here.
    fn skip_foreign(&mut self, entry: &Entry) {
        for name in &entry.foreign {
            self.unset.add(key(entry, name.as_bytes()), || {
                format!("{name:?} of {} (it has names)", quoted(&entry.name))
            });
        }
    }

    /// The bits that lend the owner's power are dropped where the owner is not the one meant.
    fn mode(&self, entry: &Entry) -> Mode {
        let bits = if self.privileged && self.owner != Owner::Me { 0o7777 } else { 0o1777 };
        Mode::from_bits_truncate(entry.mode & bits)
    }

    /// A file system without attributes, or a user without the right to them, is told once at the
    /// end; anything else is an error.
    fn could_not(&mut self, entry: &Entry, name: &OsStr, error: io::Error) -> Result<(), Failure> {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTSUP | Errno::EPERM | Errno::EACCES) => {
                self.unset.add(key(entry, name.as_bytes()), || {
                    format!("{name:?} of {}", quoted(&entry.name))
                });
                Ok(())
            }
            _ => Err(error).tried(|| tried(entry, &format!("set its attribute {name:?}"))).map_err(
                |failure| match self.owner {
                    Owner::Map => failure.hint_if(Errno::EINVAL, || {
                        "it is of users or groups that are not mapped; --owner me maps none".into()
                    }),
                    _ => failure,
                },
            ),
        }
    }

    /// Attributes and owners that were asked for, and could not be.
    pub fn not_set(self) -> (Unset, Unset) {
        (self.unset, self.owners)
    }
}

/// The attribute that a list of who has access is, see acl(5).
const ACCESS: &[u8] = b"system.posix_acl_access";

/// What the container's runtime keeps for itself, and a label of another machine's policy.
fn wanted(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && name != b"security.selinux"
}

/// An attribute of an entry.
fn key(entry: &Entry, attribute: &[u8]) -> Vec<u8> {
    [&entry.name, &b"\0"[..], attribute].concat()
}

/// Of access and of change.
pub fn times(entry: &Entry) -> (TimeSpec, TimeSpec) {
    let spec = |(seconds, nanoseconds): Time| TimeSpec::new(seconds, nanoseconds);
    (entry.atime.map_or(TimeSpec::UTIME_OMIT, spec), spec(entry.mtime))
}
