//! What must be so of a process before it is moved, and what it holds.

use std::fs;

use common::{Failure, Tried, file};
use nix::errno::Errno;
use nix::unistd::Pid;

/// A thread of the kernel's own, in the flags of `/proc/PID/stat`; see `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// A process that is not there.
pub fn gone(pid: Pid) -> Failure {
    Failure::new(format!("find the groups of process {pid}: process {pid} does not exist (ESRCH)"))
        .hint("it has ended, or is in another PID namespace; ps -e lists the processes")
}

/// Turns the errors by which /proc and the kernel say so into [`gone`].
pub fn or_gone(pid: Pid) -> impl Fn(Failure) -> Failure {
    move |failure| match failure.kernel_said() {
        Some(Errno::ENOENT | Errno::ESRCH) => gone(pid),
        _ => failure,
    }
}

/// Refuses what is no process that could be limited: a thread, one of the kernel's, a zombie.
pub fn check(pid: Pid) -> Result<(), Failure> {
    let status = read(pid, "status")?;
    let leader = file::field(&status, "Tgid:").unwrap_or_default();
    if leader != pid.to_string() {
        return Err(Failure::new(format!("limit process {pid}: it is a thread of {leader}"))
            .hint(format!("limit its process, with all threads: cgset ... {leader}")));
    }
    let (state, flags) = state_and_flags(&read(pid, "stat")?);
    if flags & PF_KTHREAD != 0 {
        return Err(Failure::new(format!("limit process {pid}: it is a thread of the kernel")));
    }
    if is_over(state) { Err(gone(pid)) } else { Ok(()) }
}

/// Whether nothing of it runs any more, be it that its parent has not looked yet.
pub fn has_ended(pid: Pid) -> bool {
    let is_zombie = || read(pid, "stat").is_ok_and(|stat| is_over(state_and_flags(&stat).0));
    !common::pid::exists(pid) || is_zombie()
}

fn is_over(state: char) -> bool {
    ['Z', 'X'].contains(&state)
}

/// The memory of a process that a group would count if it had been allocated there: not the files.
pub fn memory(pid: Pid) -> Option<u64> {
    let status = read(pid, "status").ok()?;
    let part = |name| file::field(&status, name)?.split_whitespace().next()?.parse::<u64>().ok();
    Some((part("RssAnon:")? + part("RssShmem:")?) * 1024)
}

/// Some processes for people: `42 sh, 43 sleep ...`
pub fn list(pids: &[Pid]) -> String {
    let name = |pid: &Pid| {
        let name = read(*pid, "comm").unwrap_or_default();
        format!("{pid} {}", name.trim_end().escape_debug()).trim_end().to_owned()
    };
    let names: Vec<String> = pids.iter().take(8).map(name).collect();
    names.join(", ") + if pids.len() > 8 { " ..." } else { "" }
}

/// Whether it is of a real-time class: SCHED_FIFO or SCHED_RR.
pub fn is_real_time(pid: Pid) -> bool {
    const POLICY: usize = 38;
    let stat = read(pid, "stat").unwrap_or_default();
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    after.split(' ').nth(POLICY).is_some_and(|policy| ["1", "2"].contains(&policy))
}

/// How many sockets it has open; none where that may not be seen.
pub fn sockets(pid: Pid) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn read(pid: Pid, file: &str) -> Result<String, Failure> {
    let text = file::bytes(format!("/proc/{pid}/{file}"))
        .tried(|| format!("look at process {pid}"))
        .map_err(or_gone(pid))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// `42 (name) S 1 42 42 0 -1 4194560 …`, where the name may have spaces and parentheses.
fn state_and_flags(stat: &str) -> (char, u32) {
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    let mut fields = after.split(' ');
    let state = fields.next().and_then(|state| state.chars().next()).unwrap_or('?');
    (state, fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_mislead() {
        let stat = "42 (a) Z (b) S 1 42 42 0 -1 2129984 0 0";
        assert_eq!(state_and_flags(stat), ('S', PF_KTHREAD | 0x8040));
        assert_eq!(state_and_flags(""), ('?', 0));
    }

    #[test]
    fn this_process_can_be_limited_and_holds_memory() {
        let pid = nix::unistd::getpid();
        check(pid).expect("a process");
        assert!(memory(pid).expect("the kernel says") > 0);
    }
}
