//! What chrootx and an engine tell each other: that COMMAND could be run, and that it may.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use common::{Failure, Tried, shell, sys};

/// The descriptor that `--ready` names by its number, if it does.
pub fn number(name: &OsStr) -> Option<u32> {
    name.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Who waits to be told. Opening a FIFO waits for whoever reads it.
pub fn open_ready(name: &OsStr) -> Result<File, Failure> {
    let what = || format!("open {name:?} to say that all is ready");
    match number(name) {
        Some(number) => sys::inherited(number).map(File::from).tried(what),
        None => OpenOptions::new().write(true).open(name).tried(what),
    }
}

/// `ok` or `err MESSAGE`, a line at once.
pub fn tell(mut ready: File, failure: Option<&Failure>) -> Result<(), Failure> {
    let line = failure.map(|failure| failure.lines("err"));
    let line = line.as_deref().and_then(|lines| lines.lines().next());
    let line = line.map_or("ok\n".into(), |line| line.replacen("err: ", "err ", 1) + "\n");
    ready.write_all(line.as_bytes()).tried(|| "say that all is ready")
}

/// For reading and writing, so that nobody has to be at its other end, now or later.
pub fn open_hold(path: &Path) -> Result<OwnedFd, Failure> {
    let what = || format!("open {path:?} to wait at it");
    let file = OpenOptions::new().read(true).write(true).open(path).tried(what)?;
    match file.metadata().tried(what)?.file_type().is_fifo() {
        true => Ok(file.into()),
        false => Err(Failure::usage(format!("{}: it is no FIFO", what()))
            .hint(format!("make one: mkfifo {path:?}"))),
    }
}

/// Until a byte comes.
pub fn wait(hold: OwnedFd) -> Result<(), Failure> {
    File::from(hold).read_exact(&mut [0]).tried(|| "wait for a byte from the FIFO")
}

/// The same in shell: found by the root's own, which has our PATH.
pub fn line(command: &OsStr, workdir: &Path, fd: u32) -> String {
    let (command, workdir) = (shell::word(command), shell::word(workdir));
    let look = format!("chroot . /bin/sh -c 'cd \"$1\"; command -v \"$2\"' sh {workdir} {command}");
    format!(
        "if {look} >/dev/null; then echo ok >&{fd}; else \
         echo err run {command}: not found >&{fd}; exit 127; fi; exec {fd}>&-"
    )
}
