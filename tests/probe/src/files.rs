//! The kernel's files: what changes the machine, and what tells of it.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::devices::errno;
use crate::findings::{Findings, REFUSALS};
use crate::sys;

/// The names of programs that the kernel runs as the machine's root, and its emergency keys.
const SETTINGS: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
];

/// What tells of the machine's memory, keys, timers and messages.
const SECRETS: [&str; 11] = [
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/acpi",
    "/sys/firmware",
    "/dev/kmsg",
];

/// Mounts a proc, and a sysfs, where the container has none: an attacker would.
pub fn with_proc(findings: &mut Findings) {
    for (kind, sign) in [("proc", "/proc/self"), ("sysfs", "/sys/kernel")] {
        if Path::new(sign).exists() {
            continue;
        }
        let place = sign.rsplit_once('/').map_or("/", |(place, _)| place);
        let none = None::<&str>;
        match mount(Some(kind), place, Some(kind), MsFlags::empty(), none) {
            Ok(()) => {}
            Err(errno) => findings.held(format!("no {place}, and mount {errno:?}")),
        }
    }
}

/// Writes what is there already.
pub fn settings(_: &[String], findings: &mut Findings) {
    with_proc(findings);
    for path in SETTINGS {
        let text = fs::read(path).unwrap_or_default();
        // To open the trigger is enough, what is written to it happens.
        let harmless = !text.is_empty();
        let done = OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| if harmless { file.write_all(&text) } else { Ok(()) });
        let by = [REFUSALS.as_slice(), &[Errno::ENOENT]].concat();
        findings.refused(format!("write {path}"), done.map_err(errno), &by);
    }
}

/// Reads a byte of each.
pub fn secrets(_: &[String], findings: &mut Findings) {
    with_proc(findings);
    for path in SECRETS {
        match first_of(path) {
            Ok(true) => findings.escaped(format!("read {path}")),
            Ok(false) => findings.held(format!("{path} is empty")),
            Err(Errno::EAGAIN) => findings.escaped(format!("wait for {path}")),
            Err(errno) if REFUSALS.contains(&errno) || errno == Errno::ENOENT => {
                findings.held(format!("read {path} {errno:?}"));
            }
            Err(errno) => findings.unclear(format!("read {path} {errno:?}")),
        }
    }
    findings.refused("syslog(2)", sys::kernel_messages(), &REFUSALS);
}

/// Whether there is anything in a file or folder.
pub fn first_of(path: &str) -> nix::Result<bool> {
    if Path::new(path).is_dir() {
        return fs::read_dir(path).map(|mut entries| entries.next().is_some()).map_err(errno);
    }
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(errno)?;
    // A record of /dev/kmsg must fit whole.
    let mut buffer = [0; 8192];
    file.read(&mut buffer).map(|length| length > 0).map_err(errno)
}
