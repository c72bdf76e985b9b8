//! The bytes of a source as they come: counted for the progress bar, and digested.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use common::{Failure, Tried, report, size};
use sha2::{Digest, Sha256};

use crate::cli::{Rules, Source};
use crate::http;

/// A source that is being read.
pub struct Input {
    read: Box<dyn Read>,
    digest: Option<Sha256>,
    progress: Option<Progress>,
}

impl Input {
    /// Opens it; its digest is made only if there is one to compare with.
    pub fn open(source: &Source, rules: &Rules) -> Result<Self, Failure> {
        let (read, length): (Box<dyn Read>, _) = match source {
            Source::Url(url) => {
                let body = http::get(url, rules.timeout)?;
                (body.read, body.length)
            }
            Source::File(path) => {
                let file = File::open(path).tried(|| format!("open {path:?}"))?;
                let about = file.metadata().tried(|| format!("look at {path:?}"))?;
                let length = about.is_file().then_some(about.len());
                (Box::new(file), length)
            }
            Source::Stdin | Source::Host(_) => (Box::new(io::stdin()), None),
        };
        let show = !rules.quiet && io::stderr().is_terminal();
        Ok(Self {
            read,
            digest: rules.sha256.map(|_| Sha256::new()),
            progress: show.then(|| Progress::new(length)),
        })
    }

    /// Reads what no decoder wanted, and gives the digest of it all.
    pub fn finish(mut self) -> Result<Option<[u8; 32]>, Failure> {
        io::copy(&mut self, &mut io::sink()).tried(|| "read the source to its end")?;
        Ok(self.digest.take().map(|digest| digest.finalize().into()))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read.read(buffer)?;
        if let Some(digest) = &mut self.digest {
            digest.update(&buffer[..read]);
        }
        if let Some(progress) = &mut self.progress {
            progress.add(read as u64);
        }
        Ok(read)
    }
}

/// A line on the terminal, rewritten a few times a second and gone at the end.
struct Progress {
    length: Option<u64>,
    done: u64,
    start: Instant,
    shown: Instant,
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        let start = Instant::now();
        Self { length, done: 0, start, shown: start }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.shown.elapsed() > Duration::from_millis(100) {
            self.shown = Instant::now();
            report::tell(&format!("\r\x1b[K{}", self.line(self.start.elapsed())));
        }
    }

    /// `[########            ]  41 %  17.2 MiB of 41.9 MiB, 11.3 MiB/s`
    fn line(&self, elapsed: Duration) -> String {
        const WIDTH: u64 = 20;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = size::human(self.done.saturating_mul(1000) / millis);
        let done = size::human(self.done);
        match self.length.filter(|length| *length > 0) {
            None => format!("{done}, {rate}/s"),
            Some(length) => {
                let share = |of: u64| self.done.min(length).saturating_mul(of) / length;
                let filled = usize::try_from(share(WIDTH)).unwrap_or_default();
                let bar = "#".repeat(filled);
                let length = size::human(length);
                format!("[{bar:<20}] {:3} %  {done} of {length}, {rate}/s", share(100))
            }
        }
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
    fn the_line_tells_share_and_rate() {
        let progress =
            |length, done| Progress { length, done, start: Instant::now(), shown: Instant::now() };
        assert_eq!(
            progress(Some(4 << 20), 1 << 20).line(Duration::from_secs(1)),
            "[#####               ]  25 %  1 MiB of 4 MiB, 1 MiB/s"
        );
        assert_eq!(progress(None, 512).line(Duration::from_secs(2)), "512 B, 256 B/s");
        assert!(progress(Some(0), 0).line(Duration::ZERO).starts_with("0 B"));
    }
}
