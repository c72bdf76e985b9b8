//! Processes by their IDs, as people type them, and what keeps the kernel from making one.

use std::io::Read;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::report::{Failure, Tried};

/// How to mend a `/proc` that has no number for a process.
pub const NO_PROC: &str =
    "is /proc mounted, and that of this PID namespace? mount -t proc proc /proc";

/// A new process, or a thread, was refused.
pub fn explain_new(failure: Failure) -> Failure {
    failure.hint_if(Errno::EAGAIN, || {
        "a limit on processes is reached: ulimit -u, or pids.max of a control group above".into()
    })
}

/// Reads a PID: decimal digits that start with 1 to 9.
///
/// The kernel's own parser takes `0x1` and `+1` for 1 and `0` for "myself": here they are errors,
/// for a typo must not move init into somebody's control group.
pub fn parse(text: &str) -> Result<Pid, Failure> {
    let hint = "a PID is a decimal number such as 4242; ps -e lists them";
    if text.is_empty() {
        return Err(Failure::usage("read a PID from \"\": it is empty")
            .hint("is the shell variable empty? echo \"$PID\" shows it"));
    }
    let decimal = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(pid) if decimal => Ok(Pid::from_raw(pid)),
        _ => Err(Failure::usage(format!("read a PID from {text:?}: not a decimal PID")).hint(hint)),
    }
}

/// Reads PIDs from standard input, separated by white space.
pub fn from_stdin() -> Result<Vec<Pid>, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).tried(|| "read PIDs from standard input")?;
    text.split_ascii_whitespace().map(parse).collect()
}

/// The number that this process has in `/proc`, which may be that of a PID namespace above ours. It is
/// the one for who looks there for us, be it us or another.
pub fn own_in_proc() -> Result<Pid, Failure> {
    let what = "find this process in /proc";
    let link = std::fs::read_link("/proc/self")
        .tried(|| what)
        .map_err(|failure| failure.hint_if(Errno::ENOENT, || NO_PROC.into()))?;
    let number = link.to_str().and_then(|name| name.parse().ok());
    number.map(Pid::from_raw).ok_or_else(|| Failure::new(format!("{what}: self is {link:?}")))
}

/// Whether the process is there, as `/proc` has it.
pub fn exists(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_pids() {
        assert_eq!(parse("4242").expect("a PID").as_raw(), 4242);
        for text in ["", "0", "0x1", "01", "+1", "-1", " 1", "1 ", "1k", "99999999999", "१"] {
            let lines = parse(text).expect_err("no PID").lines("t");
            assert!(lines.starts_with(&format!("t: read a PID from {text:?}: ")), "{lines}");
        }
    }
}
