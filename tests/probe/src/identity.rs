//! Who we are, and what the caller left us.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::files::with_proc;
use crate::findings::{Findings, REFUSALS};
use crate::sys;

/// A line of /proc/self/status.
fn status(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// UID and GID, all four of each; the supplementary GROUPS, with commas, or "-" for none; at most
/// the capabilities CAPS, in hexadecimal.
pub fn rights(arguments: &[String], findings: &mut Findings) {
    with_proc(findings);
    let [user, group, groups, most] = arguments else { return };
    let four = |id: &str| [id; 4].join(" ");
    let groups = if groups == "-" { String::new() } else { groups.replace(',', " ") };
    let wanted = [
        ("Uid", four(user)),
        ("Gid", four(group)),
        ("Groups", groups),
        ("CapInh", "0000000000000000".into()),
        ("CapAmb", "0000000000000000".into()),
        ("NoNewPrivs", "1".into()),
        ("Seccomp", "2".into()),
    ];
    for (name, right) in wanted {
        match status(name) {
            Some(found) => findings.holds(found == right, format!("{name} {found}")),
            None => findings.unclear(format!("no {name} in /proc/self/status")),
        }
    }
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        match (status(name).as_deref().and_then(number), number(most)) {
            (Some(set), Some(most)) => findings.holds(set & !most == 0, format!("{name} {set:x}")),
            _ => findings.unclear(format!("no {name}")),
        }
    }
}

/// FILE is this program, owned by root and setuid: it makes nobody root.
pub fn setuid_file(arguments: &[String], findings: &mut Findings) {
    let ours = geteuid().to_string();
    match Command::new(&arguments[0]).arg("euid").stdin(Stdio::inherit()).output() {
        Ok(ran) => {
            let theirs = String::from_utf8_lossy(&ran.stdout).trim().to_string();
            findings.holds(theirs == ours, format!("user {ours}, by the file {theirs}"));
        }
        Err(error) => findings.unclear(format!("run {:?}: {error}", arguments[0])),
    }
}

/// The session keyring is not the caller's, which has this SERIAL.
pub fn keyring(arguments: &[String], findings: &mut Findings) {
    match sys::session_keyring() {
        Ok(serial) => {
            findings.holds(serial.to_string() != arguments[0], format!("keyring {serial}"));
        }
        Err(errno) if REFUSALS.contains(&errno) => findings.held(format!("keyctl {errno:?}")),
        Err(errno) => findings.unclear(format!("keyctl {errno:?}")),
    }
}

/// No signal is blocked or ignored, but the two of glibc's own that its posix_spawn(3) leaves ignored.
pub fn signals(_: &[String], findings: &mut Findings) {
    with_proc(findings);
    for name in ["SigBlk", "SigIgn"] {
        match status(name) {
            Some(set) => {
                let others = u64::from_str_radix(&set, 16).map(|set| set & !(3 << 31));
                findings.holds(others == Ok(0), format!("{name} {set}"));
            }
            None => findings.unclear(format!("no {name} in /proc/self/status")),
        }
    }
}
