//! Other processes, their programs, and sockets that are not in the file system.

use std::fs::{self, File, OpenOptions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};

use crate::devices::errno;
use crate::files::with_proc;
use crate::findings::{Findings, REFUSALS};
use crate::sys;

/// The processes that are in sight, but ourselves.
fn visible() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(number).filter(|pid| *pid != getpid().as_raw()).collect()
}

/// Only the container's own are in sight; none of them leads to the machine's MARK, none can be
/// traced or robbed. PID is one of the machine's.
pub fn others(arguments: &[String], findings: &mut Findings) {
    with_proc(findings);
    let (mark, outside) = (&arguments[0], arguments[1].parse().unwrap_or(i32::MAX));
    let pids = visible();
    findings.holds(pids.len() < 8, format!("{} other processes in sight", pids.len()));
    let there = pids.contains(&outside);
    findings.holds(!there, format!("process {outside} of the machine in sight: {there}"));
    if !there && outside != getpid().as_raw() {
        let done = kill(Pid::from_raw(outside), None);
        findings.refused(format!("signal {outside}"), done, &[Errno::ESRCH, Errno::EPERM]);
    }
    for pid in pids.into_iter().chain([getpid().as_raw()]) {
        for way in ["root", "cwd"] {
            let there = Path::new(&format!("/proc/{pid}/{way}")).join(mark.trim_start_matches('/'));
            let there = there.exists();
            findings.holds(!there, format!("{mark} by /proc/{pid}/{way}: {there}"));
        }
    }
    for pid in visible() {
        let pid = Pid::from_raw(pid);
        let seized = ptrace::seize(pid, ptrace::Options::empty());
        let gone = [REFUSALS.as_slice(), &[Errno::ESRCH]].concat();
        findings.refused(format!("ptrace {pid}"), seized, &gone);
        let stolen = common::sys::pidfd_open(pid).and_then(|process| sys::steal(process, 0));
        findings.refused(
            format!("pidfd_getfd of {pid}"),
            stolen,
            &[gone.as_slice(), &[Errno::EBADF]].concat(),
        );
    }
}

/// Until FILE is there, opens the program of every process that comes into sight, and tries to
/// write to it: a tool of the machine's that enters would be overwritten (CVE-2019-5736).
pub fn executables(arguments: &[String], findings: &mut Findings) {
    let (mut seen, mut count, mut opened) = (0, 0, Vec::new());
    let inode = |path: &Path| fs::metadata(path).map(|status| (status.dev(), status.ino()));
    let Ok(ours) = inode(Path::new("/proc/self/exe")) else {
        return findings.unclear("there is no /proc/self/exe");
    };
    while !Path::new(&arguments[0]).exists() {
        for pid in visible() {
            seen += 1;
            let link = PathBuf::from(format!("/proc/{pid}/exe"));
            // In the container's own file system it may be written to.
            if inode(&link).is_ok_and(|other| other != ours)
                && fs::read_link(&link).is_ok_and(|path| inode(&path).ok() != inode(&link).ok())
                && let Ok(file) = File::open(&link)
            {
                opened.push(file);
                count += 1;
            }
        }
        // The file is busy as long as its program runs.
        for file in &opened {
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            if OpenOptions::new().write(true).open(again).is_ok() {
                return findings.escaped("a program of the machine's can be written to");
            }
        }
        opened.truncate(64);
    }
    if seen == 0 {
        findings.held("no other process came into sight");
    }
    findings.held(format!("{seen} looks, {count} programs opened, none to write"));
}

/// A socket of the machine's with a name that is no path: it belongs to the network namespace.
pub fn abstract_socket(arguments: &[String], findings: &mut Findings) {
    let Ok(address) = SocketAddr::from_abstract_name(&arguments[0]) else {
        return findings.unclear("no such name is possible");
    };
    let done = UnixStream::connect_addr(&address).map_err(errno);
    let by = [REFUSALS.as_slice(), &[Errno::ECONNREFUSED]].concat();
    findings.refused(format!("connect to @{}", arguments[0]), done, &by);
}
