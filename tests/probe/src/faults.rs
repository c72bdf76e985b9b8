//! Runs a program with one system call of all that it and its children make failing, once.
//!
//! strace(1) counts by process: the third write(2) of one is also the third of its child. Here a
//! call has one place: `nsenter-lite.2:mount:1` is the first mount(2) that the third process of all
//! makes while it is nsenter-lite.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp};

use crate::registers::Call;

/// How long all of it may take, and how long what is left may outlive the first process.
const LIMIT: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(3);

/// The status where something hangs, or is left.
pub const LEFT: u8 = 99;

/// FIOCLEX and FIONBIO.
const OF_DESCRIPTORS: [u64; 2] = [0x5451, 0x5421];

macro_rules! calls {
    ($($name:ident $number:ident),* $(,)?) => { [$((stringify!($name), libc::$number)),*] };
}

/// What changes something, or leads to it. A call that only looks is none of these, nor one that can
/// fail only for a descriptor that is not open, as fcntl(2) and close(2).
const CALLS: [(&str, i64); 64] = calls![
    bpf SYS_bpf, capset SYS_capset, chdir SYS_chdir, chroot SYS_chroot, clone SYS_clone,
    clone3 SYS_clone3, close_range SYS_close_range, dup SYS_dup, dup3 SYS_dup3,
    execve SYS_execve, execveat SYS_execveat, fchdir SYS_fchdir, fchmod SYS_fchmod,
    fchmodat SYS_fchmodat, fchown SYS_fchown, fchownat SYS_fchownat,
    fsconfig SYS_fsconfig, fsmount SYS_fsmount, fsopen SYS_fsopen, ftruncate SYS_ftruncate,
    ioctl SYS_ioctl, keyctl SYS_keyctl, kill SYS_kill, memfd_create SYS_memfd_create,
    mkdirat SYS_mkdirat, mknodat SYS_mknodat, mount SYS_mount, mount_setattr SYS_mount_setattr,
    move_mount SYS_move_mount, open_tree SYS_open_tree, openat SYS_openat, openat2 SYS_openat2,
    pidfd_open SYS_pidfd_open, pidfd_send_signal SYS_pidfd_send_signal, pipe2 SYS_pipe2,
    pivot_root SYS_pivot_root, prctl SYS_prctl, prlimit64 SYS_prlimit64, recvmsg SYS_recvmsg,
    renameat SYS_renameat, rt_sigprocmask SYS_rt_sigprocmask, seccomp SYS_seccomp,
    sendmsg SYS_sendmsg, setdomainname SYS_setdomainname, setgroups SYS_setgroups,
    sethostname SYS_sethostname, setns SYS_setns, setpgid SYS_setpgid, setresgid SYS_setresgid,
    setresuid SYS_setresuid, setsid SYS_setsid, setsockopt SYS_setsockopt,
    signalfd4 SYS_signalfd4, socket SYS_socket, socketpair SYS_socketpair,
    symlinkat SYS_symlinkat, umount2 SYS_umount2, unlinkat SYS_unlinkat,
    unshare SYS_unshare, write SYS_write, writev SYS_writev, pwrite64 SYS_pwrite64,
    sendto SYS_sendto, setuid SYS_setuid,
];

/// The same by their older names, which a younger kind of machine has not.
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [(&str, i64); 0] = [];
#[cfg(target_arch = "x86_64")]
const OLDER: [(&str, i64); 9] = calls![
    chmod SYS_chmod, chown SYS_chown, dup2 SYS_dup2, fork SYS_fork, mkdir SYS_mkdir,
    open SYS_open, rmdir SYS_rmdir, unlink SYS_unlink, vfork SYS_vfork,
];

struct Traced {
    number: usize,
    program: String,
    counts: HashMap<&'static str, usize>,
    /// Whether it is between the beginning of a call and its end.
    inside: bool,
    /// What that call is to end with.
    failing: bool,
    /// A new process stops once, and no signal is to be passed on for that.
    new: bool,
}

/// Who runs, and until when that is fine.
struct Watch {
    end: Instant,
    running: HashSet<Pid>,
    left: bool,
}

struct Tracer<'a> {
    place: &'a str,
    errno: Errno,
    traced: HashMap<Pid, Traced>,
    /// Children that stopped before their parent told of them.
    early: HashSet<Pid>,
    born: usize,
    log: String,
    watch: Arc<Mutex<Watch>>,
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all that runs when the time is over.
fn keep_watch(watch: &Mutex<Watch>) {
    loop {
        thread::sleep(Duration::from_millis(20));
        let mut watch = lock(watch);
        if Instant::now() > watch.end {
            watch.left = true;
            for pid in &watch.running {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
    }
}

/// Writes the place of each call to the file `log`, after the PID of the first process. Gives that
/// one's status.
pub fn run(log: &str, place: &str, errno: &str, command: &[String]) -> Result<u8, String> {
    let say = |errno: Errno| errno.to_string();
    let errno = match errno {
        "EIO" => Errno::EIO,
        "EPERM" => Errno::EPERM,
        other => return Err(format!("no errno of ours: {other:?}")),
    };
    let first = match common::sys::fork().map_err(say)? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let words: Vec<CString> =
                command.iter().filter_map(|word| CString::new(word.as_str()).ok()).collect();
            let run = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            run.and_then(|()| execvp(&words[0], &words)).map_err(say)?;
            return Err("it runs on".into());
        }
    };
    let mut tracer = Tracer {
        place,
        errno,
        traced: HashMap::new(),
        early: HashSet::new(),
        born: 0,
        log: format!("{first}\n"),
        watch: Arc::new(Mutex::new(Watch {
            end: Instant::now() + LIMIT,
            running: HashSet::new(),
            left: false,
        })),
    };
    let watch = Arc::clone(&tracer.watch);
    thread::spawn(move || keep_watch(&watch));
    let status = tracer.trace(first);
    fs::write(log, &tracer.log).map_err(|error| format!("write {log:?}: {error}"))?;
    status
}

impl Tracer<'_> {
    fn trace(&mut self, first: Pid) -> Result<u8, String> {
        waitpid(first, None).map_err(|errno| errno.to_string())?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::setoptions(first, options).map_err(|errno| errno.to_string())?;
        self.adopt(first, String::new(), false);
        let _ = ptrace::syscall(first, None);
        let mut status = None;
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno.to_string()),
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(stopped) => {
                    self.stopped(stopped);
                    continue;
                }
            };
            let gone = self.traced.remove(&pid);
            let mut watch = lock(&self.watch);
            watch.running.remove(&pid);
            if watch.left {
                let program = gone.map(|traced| traced.program).unwrap_or_default();
                eprintln!("probe: fault: left: {program}, {pid}");
            }
            if pid == first {
                status = u8::try_from(code).ok();
                watch.end = Instant::now() + AFTER;
            }
        }
        match lock(&self.watch).left {
            true => Ok(LEFT),
            false => status.ok_or_else(|| "the first process did not end".into()),
        }
    }

    fn adopt(&mut self, pid: Pid, program: String, new: bool) {
        let counts = HashMap::new();
        let number = self.born;
        self.born += 1;
        let traced = Traced { number, program, counts, inside: false, failing: false, new };
        self.traced.insert(pid, traced);
        lock(&self.watch).running.insert(pid);
    }

    fn stopped(&mut self, stopped: WaitStatus) {
        // One that is killed meanwhile can't be gone on with, and tells so itself.
        match stopped {
            WaitStatus::PtraceSyscall(pid) => {
                let _ = self.call(pid);
                let _ = ptrace::syscall(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                    if let Some(traced) = self.traced.get_mut(&pid) {
                        comm.trim_end().clone_into(&mut traced.program);
                        traced.counts.clear();
                    }
                } else if let Ok(child) = ptrace::getevent(pid) {
                    let child = Pid::from_raw(i32::try_from(child).unwrap_or_default());
                    let program =
                        self.traced.get(&pid).map_or_else(String::new, |old| old.program.clone());
                    let early = self.early.remove(&child);
                    self.adopt(child, program, !early);
                    if early {
                        let _ = ptrace::syscall(child, None);
                    }
                }
                let _ = ptrace::syscall(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => match self.traced.get_mut(&pid) {
                None => drop(self.early.insert(pid)),
                Some(traced) => {
                    let new = std::mem::take(&mut traced.new);
                    let _ = ptrace::syscall(pid, (!new).then_some(signal));
                }
            },
            _ => {}
        }
    }

    /// At the beginning of a call, or at its end.
    fn call(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(traced) = self.traced.get_mut(&pid) else { return Ok(()) };
        traced.inside = !traced.inside;
        let call = Call::of(pid)?;
        if !traced.inside {
            if std::mem::take(&mut traced.failing) {
                call.fail(self.errno)?;
            }
            return Ok(());
        }
        let named = CALLS.iter().chain(&OLDER).find(|(_, known)| *known == call.number());
        let Some((name, _)) = named else { return Ok(()) };
        // It fails for what is not open, and no otherwise; Rust's library relies on that.
        if *name == "ioctl" && OF_DESCRIPTORS.contains(&call.second()) {
            return Ok(());
        }
        let count = traced.counts.entry(name).or_default();
        *count += 1;
        let place = format!("{}.{}:{name}:{count}", traced.program, traced.number);
        let _ = writeln!(self.log, "{place}");
        if place == self.place {
            traced.failing = true;
            // No such call: the kernel does nothing.
            call.skip()?;
        }
        Ok(())
    }
}
