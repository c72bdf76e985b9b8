//! The PID file: what a script needs to find COMMAND from outside.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

/// Where it goes. It is found before another mount table is entered, in which the same name means
/// another file, or none.
#[derive(Debug)]
pub enum Place {
    /// A file of this name in this folder.
    Name { folder: OwnedFd, name: OsString, file: PathBuf },
    /// What somebody reads from already is written to: a new file in its place would not reach the
    /// reader, and in place of `/dev/stdout` would harm every other program.
    Open { to: File, file: PathBuf },
}

impl Place {
    pub fn find(file: &Path) -> Result<Self, Failure> {
        let what = || writing(file);
        let owned = file.to_owned();
        if is_open_elsewhere(file) {
            let to = OpenOptions::new().append(true).open(file).tried(what)?;
            return Ok(Self::Open { to, file: owned });
        }
        let Some(name) = file.file_name() else {
            return Err(Failure::new(format!("{}: it has no file name", what())));
        };
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(folder, flags, Mode::empty()).tried(what).map_err(|failure| {
            failure.hint_if(Errno::ENOENT, || format!("make its folder: mkdir -p {folder:?}"))
        })?;
        Ok(Self::Name { folder, name: name.to_owned(), file: owned })
    }

    /// Writes it whole or not at all: a reader that finds the file finds the PID in it.
    pub fn write(&self, pid: Pid) -> Result<(), Failure> {
        let line = format!("{pid}\n");
        match self {
            Self::Open { to, file } => {
                (&mut &*to).write_all(line.as_bytes()).tried(|| writing(file))
            }
            Self::Name { folder, name, file } => {
                replace(folder, name, &line, pid).tried(|| writing(file))
            }
        }
    }

    /// Takes it back, when COMMAND could not be run.
    pub fn remove(&self) -> Result<(), Failure> {
        match self {
            Self::Name { folder, name, file } => {
                unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
                    .tried(|| format!("remove the PID file {file:?}"))
            }
            Self::Open { .. } => Ok(()),
        }
    }
}

fn writing(file: &Path) -> String {
    format!("write the PID file {file:?}")
}

/// A FIFO or a device, or the name of an open descriptor: `/dev/stdout` is `/proc/self/fd/1`.
fn is_open_elsewhere(file: &Path) -> bool {
    let in_proc = |path: io::Result<PathBuf>| path.is_ok_and(|path| path.starts_with("/proc"));
    fs::metadata(file).is_ok_and(|found| !found.is_file())
        || in_proc(fs::read_link(file))
        || file.parent().is_some_and(|folder| in_proc(fs::canonicalize(folder)))
}

/// The unfinished file is made anew: in a folder that is everybody's, a symbolic link that waits
/// there must not lead us elsewhere.
fn replace(folder: &OwnedFd, name: &OsStr, line: &str, pid: Pid) -> io::Result<()> {
    let unfinished = unfinished(name, pid);
    let unfinished = unfinished.as_os_str();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o666);
    let mut new = File::from(openat(folder, unfinished, flags, mode)?);
    new.write_all(line.as_bytes())
        .and_then(|()| Ok(renameat(folder, unfinished, folder, name)?))
        .inspect_err(|_| {
            let _ = unlinkat(folder, unfinished, UnlinkatFlags::NoRemoveDir);
        })
}

/// `web.pid` becomes `.web.pid.4242`.
fn unfinished(name: &OsStr, pid: Pid) -> OsString {
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{pid}"));
    unfinished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unfinished_file_is_hidden_beside_it() {
        assert_eq!(unfinished(OsStr::new("web.pid"), Pid::from_raw(7)), ".web.pid.7");
        assert!(Place::find(Path::new("/..")).is_err(), "it has no name");
    }

    #[test]
    fn descriptors_and_devices_are_not_replaced() {
        for name in
            ["/dev/stdout", "/dev/fd/1", "/dev/../dev/stdout", "/proc/self/fd/1", "/dev/null"]
        {
            assert!(is_open_elsewhere(Path::new(name)), "{name}");
        }
        for name in ["web.pid", "/etc/passwd", "/nowhere/at/all"] {
            assert!(!is_open_elsewhere(Path::new(name)), "{name}");
        }
    }
}
