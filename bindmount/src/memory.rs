//! File systems in memory, see tmpfs(5).

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use common::{Failure, Tried, size, sys};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::attach::explain_privilege;
use crate::options::Options;

/// A new one, mounted nowhere yet.
pub fn new(mode: &CStr, size: &CStr, attrs: u64) -> Result<OwnedFd, Failure> {
    made(&[(c"mode", mode), (c"size", size)], attrs)
}

/// An empty folder that stays so.
pub fn empty() -> Result<OwnedFd, Failure> {
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    made(&[(c"ro", c""), (c"mode", c"0555")], attrs | sys::MOUNT_ATTR_RDONLY)
}

/// A new folder in one, which others may see already.
pub fn folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    let failed = || format!("make the folder {name:?} in memory");
    mkdirat(parent, name, Mode::from_bits_truncate(0o755)).tried(failed)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty()).tried(failed)
}

fn made(options: &[(&CStr, &CStr)], attrs: u64) -> Result<OwnedFd, Failure> {
    sys::new_mount(c"tmpfs", options, attrs)
        .tried(|| "make a file system in memory")
        .map_err(explain_privilege)
}

/// One that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    size: Option<u64>,
    mode: u32,
    options: Options,
}

impl Memory {
    /// Reads its options: `size=64M`, `mode=1777`, and those of every mount.
    pub fn parse(list: &str) -> Result<Self, Failure> {
        let mut memory = Self { size: None, mode: 0o755, options: Options::of_memory() };
        for word in list.split(',').filter(|_| !list.is_empty()) {
            match word.split_once('=') {
                Some(("size", text)) => memory.size = Some(size::parse(text)?),
                Some(("mode", text)) => memory.mode = mode(text)?,
                _ => memory.options.add(word)?,
            }
        }
        Ok(memory)
    }

    /// How it is mounted.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Makes it.
    pub fn make(&self) -> Result<OwnedFd, Failure> {
        let text = |text: String| CString::new(text).unwrap_or_default();
        let (mode, size) =
            (text(format!("{:o}", self.mode)), self.size.map(|n| text(n.to_string())));
        let mut options = vec![(c"mode", mode.as_c_str())];
        options.extend(size.as_ref().map(|size| (c"size", size.as_c_str())));
        made(&options, self.options.attr().map_or(0, |attr| attr.attr_set))
    }

    /// The options of mount(8) for it.
    pub fn words(&self) -> String {
        let size = self.size.map(|size| format!(",size={size}")).unwrap_or_default();
        format!("{},mode={:04o}{size}", self.options.words(), self.mode)
    }
}

fn mode(text: &str) -> Result<u32, Failure> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Failure::usage(format!("read the mode {text:?}: it is no octal number up to 7777"))
            .hint("as in --tmpfs /tmp:mode=1777")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_memory() {
        for (list, words) in [
            ("", "nosuid,nodev,mode=0755"),
            ("size=1M,mode=1777", "nosuid,nodev,mode=1777,size=1048576"),
            ("noexec,ro", "ro,nosuid,nodev,noexec,mode=0755"),
            ("dev", "nosuid,dev,mode=0755"),
        ] {
            assert_eq!(Memory::parse(list).expect("known words").words(), words, "{list}");
        }
        for list in ["mode=9", "mode=77777", "size=huge", "huge", "size"] {
            assert!(Memory::parse(list).is_err(), "{list}");
        }
    }
}
