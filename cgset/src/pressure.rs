//! Pressure: how much of the time processes of a group are held up because memory, a CPU or a disk
//! is short. The kernel counts it since Linux 4.20, for each group of the v2 tree, also where the
//! controllers are in v1 trees.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::{Failure, Tried, file, report, shell};
use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::control::explain;
use crate::group;
use crate::value::{microseconds, number};
use crate::wait::removed;

/// What may be short.
pub const RESOURCES: [&str; 3] = ["memory", "cpu", "io"];

/// Whether some process is held up, or all that could run are.
const SHARES: [&str; 2] = ["some", "full"];

/// The windows that the kernel takes, in microseconds.
const SHORTEST: u64 = 500_000;
const LONGEST: u64 = 10_000_000;

/// From newer kernels whoever lacks CAP_SYS_RESOURCE gets only multiples of this: for these the
/// averages, which are counted anyway every 2 s, are enough.
const COMMON: u64 = 2_000_000;

/// What the kernel has counted of a resource: in percent of the last 10, 60 and 300 seconds, and
/// microseconds in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    some: Option<Stalls>,
    full: Option<Stalls>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stalls {
    averages: [f64; 3],
    total: u64,
}

/// Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the line of `full`.
pub fn read(file: &Path) -> Option<Pressure> {
    let text = file::text(file).ok()?;
    let line = |share: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(share))?;
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        let average = |name: &str| field(name)?.parse().ok();
        Some(Stalls {
            averages: [average("avg10=")?, average("avg60=")?, average("avg300=")?],
            total: field("total=")?.parse().ok()?,
        })
    };
    Some(Pressure { some: line("some "), full: line("full ") })
}

impl Pressure {
    /// How much of the last ten seconds some process has been held up, in percent.
    pub fn now(self) -> Option<f64> {
        self.some.map(|stalls| stalls.averages[0])
    }

    /// One object.
    pub fn json(self) -> Value {
        let stalls = |stalls: Option<Stalls>| {
            let Some(Stalls { averages: [avg10, avg60, avg300], total }) = stalls else {
                return Value::Null;
            };
            json!({ "avg10": avg10, "avg60": avg60, "avg300": avg300, "total_us": total })
        };
        json!({ "some": stalls(self.some), "full": stalls(self.full) })
    }
}

/// What is waited for: to be held up so long within such a window, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    resource: &'static str,
    share: &'static str,
    stall: u64,
    window: u64,
}

impl Trigger {
    /// Reads `memory 150ms/1s` or `memory full 150ms/1s`.
    pub fn parse(words: &[&str]) -> Result<Self, Failure> {
        let fail = |why: &str| {
            Failure::usage(format!("wait for pressure {:?}: {why}", words.join(" ")))
                .hint("cgset wait psi memory|cpu|io [some|full] 150ms/1s GROUP")
        };
        let (resource, share, times) = match words {
            [resource, times] => (resource, &SHARES[0], times),
            [resource, share, times] => (resource, share, times),
            _ => return Err(fail("it takes a resource, how much within how long, and a GROUP")),
        };
        let known =
            |names: &[&'static str], word: &str| names.iter().copied().find(|name| *name == word);
        let resource = known(&RESOURCES, resource).ok_or_else(|| fail("of what?"))?;
        let share = known(&SHARES, share).ok_or_else(|| fail("some or full?"))?;
        let times = times.split_once('/').and_then(|(a, b)| Some((span(a)?, span(b)?)));
        let (stall, window) = times.ok_or_else(|| fail("times are as 150ms/1s, or 500us/2s"))?;
        if !(SHORTEST..=LONGEST).contains(&window) {
            return Err(fail("the kernel takes windows of 500ms to 10s"));
        }
        if stall == 0 || stall > window {
            return Err(fail("within a window it is more than nothing, and no more than all"));
        }
        Ok(Self { resource, share, stall, window })
    }

    fn file(self) -> String {
        format!("{}.pressure", self.resource)
    }

    /// As the kernel reads it.
    fn text(self) -> String {
        format!("{} {} {}", self.share, self.stall, self.window)
    }

    /// The next window that everybody gets, and as large a part of it.
    fn widened(self) -> Self {
        let window = self.window.next_multiple_of(COMMON);
        Self { window, stall: self.stall * window / self.window, ..self }
    }

    /// Waits. The kernel forgets the trigger when its descriptor is closed.
    pub fn wait(self, dirs: &[PathBuf]) -> Result<(), Failure> {
        let file = group::file(dirs, &[&self.file()]).ok_or_else(|| self.missing(dirs))?;
        let trigger = self.set_somehow(&file)?;
        let mut fds = [PollFd::new(trigger.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::NONE).tried(|| format!("wait for {file:?}"))?;
        match fds[0].revents() {
            Some(events) if events.contains(PollFlags::POLLERR) => Err(removed(&file)),
            _ => Ok(()),
        }
    }

    /// As asked for, or as everybody may; of which there is a note.
    fn set_somehow(self, file: &Path) -> Result<File, Failure> {
        match self.set(file) {
            Err(refused) if refused.kernel_said() == Some(Errno::EINVAL) => {
                let wider = self.widened();
                let set = wider.set(file).map_err(|_| refused)?;
                report::tell(&format!(
                    "cgset: note: without CAP_SYS_RESOURCE the kernel takes windows of 2 s, 4 s ... \
                     alone: waiting for {} within {}\n",
                    spelt(wider.stall),
                    spelt(wider.window)
                ));
                Ok(set)
            }
            outcome => outcome,
        }
    }

    fn set(self, file: &Path) -> Result<File, Failure> {
        let text = self.text();
        let tried = || format!("write {text:?} to {file:?}");
        let open = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(file);
        open.and_then(|mut open| open.write_all(text.as_bytes()).map(|()| open))
            .tried(tried)
            .map_err(|failure| {
                explain(failure)
                    .hint_if(Errno::EOPNOTSUPP, || BOOT.into())
                    .hint_if(Errno::EINVAL, || "this kernel has no such trigger".into())
            })
    }

    /// Why there is no such file.
    fn missing(self, dirs: &[PathBuf]) -> Failure {
        let what = format!("wait for pressure of {}", self.resource);
        let Some(v2) = dirs.iter().find(|dir| dir.join("cgroup.controllers").exists()) else {
            return Failure::new(format!("{what}: the group is in no cgroup v2 tree")).hint(
                "it can be beside v1: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified, then cgset \
                 --group GROUP PID...",
            );
        };
        let switch = v2.join("cgroup.pressure");
        match file::text(&switch) {
            Ok(text) if text.trim() == "0" => {
                Failure::new(format!("{what}: it is switched off for the group"))
                    .hint(format!("echo 1 > {}", shell::operand(switch)))
            }
            _ => Failure::new(format!("{what}: the kernel does not count it")).hint(BOOT),
        }
    }

    /// In shell there is no trigger: the sum is looked at once a window.
    pub fn line(self, dirs: &[PathBuf]) -> String {
        let file = group::file(dirs, &[&self.file()]);
        let file = file
            .unwrap_or_else(|| dirs.first().map_or(PathBuf::new(), |dir| dir.join(self.file())));
        let (seconds, rest) = (self.window / 1_000_000, self.window % 1_000_000);
        format!(
            "total() {{ sed -n 's/^{} .*total=//p' {}; }}; while before=$(total) || exit 1; \
             sleep {seconds}.{rest:06}; now=$(total) || exit 1; [ $((now - before)) -lt {} ]; do :; \
             done",
            self.share,
            shell::operand(file),
            self.stall
        )
    }
}

const BOOT: &str = "boot the kernel with psi=1; it must be built with CONFIG_PSI";

/// `2s`, `150ms` or `500us`.
fn span(text: &str) -> Option<u64> {
    microseconds(text).or_else(|| number(text.strip_suffix('s')?)?.checked_mul(1_000_000))
}

/// The same for people.
fn spelt(us: u64) -> String {
    match us {
        us if us.is_multiple_of(1_000_000) => format!("{} s", us / 1_000_000),
        us if us.is_multiple_of(1000) => format!("{} ms", us / 1000),
        us => format!("{us} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(words: &str) -> Result<Trigger, String> {
        let words: Vec<&str> = words.split(' ').collect();
        Trigger::parse(&words).map_err(|failure| failure.lines("cgset"))
    }

    #[test]
    fn triggers_are_what_the_kernel_reads() {
        for (words, text, widened) in [
            ("memory 150ms/1s", "some 150000 1000000", "some 300000 2000000"),
            ("cpu full 500us/2s", "full 500 2000000", "full 500 2000000"),
            ("io some 1s/9s", "some 1000000 9000000", "some 1111111 10000000"),
        ] {
            let trigger = trigger(words).expect("a trigger");
            assert_eq!(
                (trigger.text().as_str(), trigger.widened().text().as_str()),
                (text, widened)
            );
        }
    }

    #[test]
    fn what_no_kernel_would_take_is_refused() {
        for (words, why) in [
            ("memory", "how much within how long"),
            ("rain 150ms/1s", "of what?"),
            ("memory most 150ms/1s", "some or full?"),
            ("memory 150ms", "times are as"),
            ("memory 150/1000", "times are as"),
            ("memory +1s/2s", "times are as"),
            ("memory 1s/11s", "500ms to 10s"),
            ("memory 1ms/100ms", "500ms to 10s"),
            ("memory 2s/1s", "no more than all"),
            ("memory 0s/1s", "more than nothing"),
            ("memory 99999999999999999s/1s", "times are as"),
        ] {
            let error = trigger(words).expect_err("nonsense");
            assert!(error.contains(why), "{words}: {error}");
        }
    }

    #[test]
    fn a_span_is_spelt_as_short_as_it_can_be() {
        assert_eq!([2_000_000, 150_000, 1500].map(spelt), ["2 s", "150 ms", "1500 us"]);
    }
}
