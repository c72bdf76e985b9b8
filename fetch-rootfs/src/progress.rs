//! A line on the terminal, rewritten a few times a second and gone at the end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{report, size};

use crate::limits::Entries;

pub struct Progress {
    entries: Entries,
    length: Option<u64>,
    done: u64,
    start: Instant,
    shown: Instant,
}

impl Progress {
    pub fn new(length: Option<u64>) -> Self {
        let start = Instant::now();
        Self { entries: Entries::default(), length, done: 0, start, shown: start }
    }

    /// Shows a number of entries that somebody else counts.
    pub fn with_entries(self, entries: Entries) -> Self {
        Self { entries, ..self }
    }

    pub fn entries(&self) -> Entries {
        self.entries.clone()
    }

    /// There is more to come than was known.
    pub fn expect(&mut self, bytes: u64) {
        self.length = self.length.map(|length| length.saturating_add(bytes));
    }

    /// What has come has to come again.
    pub fn lose(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
    }

    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.shown.elapsed() > Duration::from_millis(100) {
            self.shown = Instant::now();
            report::tell(&format!("\r\x1b[K{}", self.line(self.start.elapsed())));
        }
    }

    /// `[########            ]  41 %  17.2 MiB of 41.9 MiB, 11.3 MiB/s, 0:02 left, entry 812`
    fn line(&self, elapsed: Duration) -> String {
        let entry = match self.entries.load(Ordering::Relaxed) {
            0 => None,
            entry => Some(format!("entry {entry}")),
        };
        self.bytes(elapsed).into_iter().chain(entry).collect::<Vec<_>>().join(", ")
    }

    /// When all is there, or nothing has to come, how fast it comes is of no interest.
    fn bytes(&self, elapsed: Duration) -> Option<String> {
        const WIDTH: u64 = 20;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let per_second = self.done.saturating_mul(1000) / millis;
        let (rate, done) = (size::human(per_second), size::human(self.done));
        let Some(length) = self.length else { return Some(format!("{done}, {rate}/s")) };
        let share = |of: u64| {
            self.done.min(length).saturating_mul(of).checked_div(length).unwrap_or_default()
        };
        let bar = "#".repeat(usize::try_from(share(WIDTH)).unwrap_or_default());
        let left = match self.done < length {
            true => format!(", {rate}/s{}", left(length - self.done, per_second)),
            false => String::new(),
        };
        let of = size::human(length);
        (length > 0).then(|| format!("[{bar:<20}] {:3} %  {done} of {of}{left}", share(100)))
    }
}

/// `, 1:05 left`; nothing where nothing comes.
fn left(bytes: u64, per_second: u64) -> String {
    let Some(seconds) = bytes.checked_div(per_second) else { return String::new() };
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    match minutes / 60 {
        0 => format!(", {minutes}:{seconds:02} left"),
        hours => format!(", {hours}:{:02}:{seconds:02} left", minutes % 60),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown > self.start {
            report::tell("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_share_rate_and_time_left() {
        let progress = |length, done| {
            let mut progress = Progress::new(length);
            progress.done = done;
            progress
        };
        assert_eq!(
            progress(Some(4 << 20), 1 << 20).line(Duration::from_secs(1)),
            "[#####               ]  25 %  1 MiB of 4 MiB, 1 MiB/s, 0:03 left"
        );
        assert_eq!(progress(None, 512).line(Duration::from_secs(2)), "512 B, 256 B/s");
        assert_eq!(progress(Some(0), 0).line(Duration::ZERO), "");
        let all = progress(Some(2048), 2048).line(Duration::from_secs(9));
        assert_eq!(all, "[####################] 100 %  2 KiB of 2 KiB");
        assert!(progress(Some(9), 0).line(Duration::from_secs(1)).ends_with("0 B/s"));
        let mut again = progress(Some(4 << 20), 3 << 20);
        again.lose(2 << 20);
        again.expect(4 << 20);
        assert!(again.line(Duration::from_secs(1)).contains(" 12 %  1 MiB of 8 MiB, "));
        let entries = Progress::new(None);
        entries.entries().store(7, Ordering::Relaxed);
        assert!(entries.line(Duration::from_secs(1)).ends_with("0 B/s, entry 7"));
        assert_eq!(left(3725, 1), ", 1:02:05 left");
    }
}
