//! What wakes us before the second is over: another window, a reader that has gone, a kill for
//! memory, a group's or a process's end.

use std::fs::File;
use std::io::stdout;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use common::{Failure, Tried};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::group;
use crate::wait::{read_again, v1_oom};

/// One of a group's.
pub struct Bell {
    fd: OwnedFd,
    flags: PollFlags,
    /// Read from its start, it is quiet until the next time.
    file: Option<PathBuf>,
}

impl Bell {
    /// Those that a group has. Where one can't be had, we look once a second all the same.
    pub fn of(dirs: &[PathBuf]) -> Vec<Self> {
        let file = |name: &str| {
            let file = group::file(dirs, &[name])?;
            let fd = File::open(&file).ok()?.into();
            Some(Self { fd, flags: PollFlags::POLLPRI, file: Some(file) })
        };
        let v1 = || {
            let told = v1_oom(&group::file(dirs, &["memory.oom_control"])?).ok()?;
            let fd = told.as_fd().try_clone_to_owned().ok()?;
            Some(Self { fd, flags: PollFlags::POLLIN, file: None })
        };
        let mut bells: Vec<Self> =
            [file("cgroup.events"), file("memory.events"), v1()].into_iter().flatten().collect();
        bells.retain_mut(Self::hush);
        bells
    }

    /// A process's: it rings once, and does not stop.
    pub fn of_process(pidfd: OwnedFd) -> Self {
        Self { fd: pidfd, flags: PollFlags::POLLIN, file: None }
    }

    /// Has it ring again next time; false where it will not.
    pub fn hush(&mut self) -> bool {
        let Some(file) = &self.file else {
            let read = nix::unistd::read(&self.fd, &mut [0; 8]);
            return matches!(read, Ok(_) | Err(Errno::EAGAIN));
        };
        let open = self.fd.try_clone().map(File::from);
        open.is_ok_and(|open| read_again(&open, file).is_ok())
    }

    /// Whether it rings now.
    pub fn rings(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), self.flags)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

/// The signals after which a terminal is not as it was: of another size, or written to by others.
/// What ends us does so at once, also while a reader keeps us waiting: there is nothing to put back.
pub struct Signals(SignalFd);

impl Signals {
    /// From now on they are read.
    pub fn held() -> Result<Self, Failure> {
        let set: SigSet = [Signal::SIGWINCH, Signal::SIGCONT].into_iter().collect();
        set.thread_block().tried(|| "block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).tried(|| "open a signal descriptor")
    }
}

/// What has woken us.
pub enum Woken {
    /// It is time.
    Time,
    /// The terminal is not as it was.
    Terminal,
    /// Bells ring.
    Bell,
    /// Nobody reads any more.
    NoReader,
}

/// Waits until then, or until something happens before.
pub fn until<'a>(
    end: Instant,
    signals: &Signals,
    bells: impl Iterator<Item = &'a Bell>,
) -> Result<Woken, Failure> {
    let out = stdout();
    // Of a pipe without reader, and of a terminal that has gone, poll(2) tells unasked.
    let mut fds = vec![
        PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
        PollFd::new(out.as_fd(), PollFlags::empty()),
    ];
    fds.extend(bells.map(|bell| PollFd::new(bell.fd.as_fd(), bell.flags)));
    let left = end.saturating_duration_since(Instant::now());
    // In whole milliseconds, rounded up: not to look again and again in the last one.
    let left = PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
    if poll(&mut fds, left).tried(|| "wait for the next look")? == 0 {
        return Ok(Woken::Time);
    }
    let any = |fd: &PollFd| fd.any().unwrap_or(true);
    if any(&fds[0]) {
        signals.0.read_signal().tried(|| "read a signal")?;
        return Ok(Woken::Terminal);
    }
    Ok(if any(&fds[1]) { Woken::NoReader } else { Woken::Bell })
}
