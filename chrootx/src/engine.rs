//! What chrootx and an engine tell each other: that COMMAND could be run, and that it may.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, exec, inroot, shell, sys};
use nix::errno::Errno;
use nix::fcntl::OFlag;

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

/// How COMMAND will be looked for in a root that is not entered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub command: OsString,
    pub workdir: PathBuf,
    /// PATH, if COMMAND has another one than we.
    pub path: Option<OsString>,
    /// The name of the root, in the script: `/`, if nothing is entered.
    pub root: &'static str,
}

impl Search {
    /// Finds the working directory, too.
    pub fn find(&self, root: impl AsFd) -> Result<(), Failure> {
        let Self { command, workdir, path, .. } = self;
        inroot::open_in(&root, workdir, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .tried(|| format!("enter {workdir:?} in the new root"))
            .map_err(|failure| {
                failure.hint_if(Errno::ELOOP, || {
                    "before the root is entered, nobody follows a link of /proc there".into()
                })
            })?;
        exec::find(root, workdir, command, path.as_deref())
    }

    /// The same in shell: found by the root's own, which has our PATH; and told.
    pub fn line(&self, fd: u32) -> String {
        let (command, workdir) = (shell::word(&self.command), shell::folder(&self.workdir));
        let (set, path) = match &self.path {
            Some(path) => ("PATH=$3; ", format!(" {}", shell::word(path))),
            None => ("", String::new()),
        };
        let look = format!("{set}cd \"$1\" || exit 125; command -v \"$2\" || exit 127");
        let root = self.root;
        // What the caller has for its own standard descriptors is COMMAND's, too.
        let close = if fd < 3 { String::new() } else { format!("; exec {fd}>&-") };
        format!(
            "chroot {root} /bin/sh -c '{look}' sh {workdir} {command}{path} >/dev/null 2>&1 && \
             echo ok >&{fd} || case $? in \
             125) echo err enter {workdir} in the new root >&{fd}; exit 125 ;; \
             *) echo err run {command}: not found >&{fd}; exit 127 ;; esac{close}"
        )
    }
}
