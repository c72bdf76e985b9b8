//! The PID file: what a script needs to find COMMAND from outside.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use common::{Failure, Tried};
use nix::unistd::Pid;

/// Writes it whole or not at all: a reader that finds the file finds the PID in it.
///
/// What somebody reads from already is written to instead: a new file in its place would not
/// reach the reader, and in place of `/dev/stdout` would harm every other program.
pub fn write(file: &Path, pid: Pid) -> Result<(), Failure> {
    let line = format!("{pid}\n");
    if is_open_elsewhere(file) { append(file, &line) } else { replace(file, &line, pid) }
        .tried(|| format!("write the PID file {file:?}"))
}

/// A FIFO or a device, or the name of an open descriptor: `/dev/stdout` is `/proc/self/fd/1`.
fn is_open_elsewhere(file: &Path) -> bool {
    let in_proc = |path: io::Result<PathBuf>| path.is_ok_and(|path| path.starts_with("/proc"));
    fs::metadata(file).is_ok_and(|found| !found.is_file())
        || in_proc(fs::read_link(file))
        || file.parent().is_some_and(|folder| in_proc(fs::canonicalize(folder)))
}

/// Takes it back, when COMMAND could not be run.
pub fn remove(file: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() => {
            fs::remove_file(file).tried(|| format!("remove the PID file {file:?}"))
        }
        _ => Ok(()),
    }
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).open(file)?.write_all(line.as_bytes())
}

/// The unfinished file is made anew: in a folder that is everybody's, a symbolic link that waits
/// there must not lead us elsewhere.
fn replace(file: &Path, line: &str, pid: Pid) -> io::Result<()> {
    let unfinished = beside(file, pid)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
    let mut new = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
    new.write_all(line.as_bytes())
        .and_then(|()| fs::rename(&unfinished, file))
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

/// `run/web.pid` becomes `run/.web.pid.4242`.
fn beside(file: &Path, pid: Pid) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(file.file_name()?);
    name.push(format!(".{pid}"));
    Some(file.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unfinished_file_is_in_the_same_folder() {
        let beside = |file: &str| beside(Path::new(file), Pid::from_raw(7));
        assert_eq!(beside("run/web.pid"), Some("run/.web.pid.7".into()));
        assert_eq!(beside("web.pid"), Some(".web.pid.7".into()));
        assert_eq!(beside("/"), None);
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
