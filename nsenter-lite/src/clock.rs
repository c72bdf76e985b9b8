//! Clocks that tell another time: the offsets of a new time namespace, see time_namespaces(7).

use common::{Failure, Tried, pid};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

/// The options of unshare(1) for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Clocks {
    /// Set the monotonic clock forward or back by so many seconds (implies --time)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub monotonic: Option<i64>,
    /// Set the boot-time clock, which uptime(1) shows (implies --time)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub boottime: Option<i64>,
}

impl Clocks {
    /// Whether one is to be set.
    pub fn ask(self) -> bool {
        self != Self::default()
    }

    /// As on the command line of unshare(1).
    pub fn words(self) -> String {
        self.each()
            .into_iter()
            .fold(String::new(), |words, (name, _, seconds)| format!("{words} --{name} {seconds}"))
    }

    /// Before the first process is born into it: then the clocks stand. One write for each, so that
    /// we can tell which of them it is that can't be.
    pub fn act(self) -> Result<(), Failure> {
        for (name, clock, seconds) in self.each() {
            std::fs::write("/proc/self/timens_offsets", format!("{name} {seconds} 0\n"))
                .tried(|| format!("set the {name} clock by {seconds} seconds"))
                .map_err(|failure| {
                    failure.hint_if(Errno::ENOENT, || pid::NO_PROC.into()).hint_if(
                        Errno::ERANGE,
                        || {
                            let now = clock_gettime(clock).map_or(0, |now| now.tv_sec());
                            format!(
                                "it stands at {now} seconds, and can't be set below 0 or above 146 \
                                 years"
                            )
                        },
                    )
                })?;
        }
        Ok(())
    }

    fn each(self) -> Vec<(&'static str, ClockId, i64)> {
        let given = [
            ("monotonic", ClockId::CLOCK_MONOTONIC, self.monotonic),
            ("boottime", ClockId::CLOCK_BOOTTIME, self.boottime),
        ];
        given.into_iter().filter_map(|(name, id, seconds)| Some((name, id, seconds?))).collect()
    }
}
