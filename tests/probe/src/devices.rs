//! Descriptors, device nodes, terminals.

use std::fs::{self, File, OpenOptions};
use std::io;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::getcwd;

use crate::findings::{Findings, REFUSALS};
use crate::sys;

/// None but the standard ones is open, and the working directory is one of this root.
pub fn descriptors(_: &[String], findings: &mut Findings) {
    let open: Vec<_> = (3..4096).filter(|fd| sys::is_open(*fd)).collect();
    findings.holds(open.is_empty(), format!("descriptors beside 0, 1 and 2: {open:?}"));
    let standard = (0..3).filter(|fd| {
        // Of a folder, a way to all that is below and above it.
        fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|status| status.is_dir())
    });
    let folders: Vec<_> = standard.collect();
    findings.holds(folders.is_empty(), format!("standard descriptors of a folder: {folders:?}"));
    match getcwd() {
        Ok(path) => findings.holds(path.starts_with("/"), format!("working directory {path:?}")),
        Err(errno) => findings.escaped(format!("working directory: {errno:?}")),
    }
}

/// A disk, the memory, the kernel's messages, as nodes of our own making.
pub fn nodes(_: &[String], findings: &mut Findings) {
    let disk = fs::metadata("/").map_or(0, |status| std::os::unix::fs::MetadataExt::dev(&status));
    let nodes = [
        ("the disk of /", SFlag::S_IFBLK, disk),
        ("b 8:0", SFlag::S_IFBLK, makedev(8, 0)),
        ("c 1:1", SFlag::S_IFCHR, makedev(1, 1)),
        ("c 1:11", SFlag::S_IFCHR, makedev(1, 11)),
    ];
    let folder = ["/tmp", "/run", "/", "/dev", "/dev/shm"]
        .into_iter()
        .find(|folder| {
            let file = format!("{folder}/.probe-file");
            let made = File::create_new(&file).is_ok();
            let _ = fs::remove_file(file);
            made
        })
        .unwrap_or("/tmp");
    for (what, kind, device) in nodes {
        let path = format!("{}/.probe-node", folder.trim_end_matches('/'));
        if let Err(errno) = mknod(path.as_str(), kind, Mode::S_IRWXU, device) {
            findings.refused::<()>(format!("mknod {what}"), Err(errno), &REFUSALS);
            continue;
        }
        let opened = File::open(&path);
        let _ = fs::remove_file(&path);
        match opened.map_err(errno) {
            // No such device, but nothing refused it.
            Err(Errno::ENXIO | Errno::ENODEV) => {
                findings.escaped(format!("mknod and open {what}, which this machine has not"));
            }
            done => findings.refused(format!("mknod, open {what}"), done, &REFUSALS),
        }
    }
}

/// Types into the terminal that the caller goes on with.
pub fn terminal(_: &[String], findings: &mut Findings) {
    let ours = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let standard = io::stdin();
    match &ours {
        Ok(terminal) => try_terminal("/dev/tty", terminal, findings),
        // It has no controlling one: then TIOCSTI takes a capability.
        Err(error) => findings.held(format!("/dev/tty {:?}", errno_of(error))),
    }
    if io::IsTerminal::is_terminal(&standard) {
        try_terminal("standard input", &standard, findings);
    } else if ours.is_err() {
        findings.unclear("there is no terminal");
    }
}

fn try_terminal(name: &str, terminal: &impl std::os::fd::AsFd, findings: &mut Findings) {
    findings.refused(
        format!("TIOCSTI on {name}"),
        sys::type_at(terminal, b' '),
        &[Errno::EPERM, Errno::EIO, Errno::EACCES, Errno::ENOSYS],
    );
    // What is no console knows no selection.
    findings.refused(
        format!("TIOCLINUX on {name}"),
        sys::paste_at(terminal),
        &[Errno::EPERM, Errno::ENOTTY, Errno::EACCES, Errno::ENOSYS],
    );
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn errno(error: io::Error) -> Errno {
    errno_of(&error)
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
