//! How often something is tried that may pass, and how long the pauses are.

use std::thread;
use std::time::{Duration, SystemTime};

use common::Failure;

use crate::http::{Answer, Trouble};

/// The longest that a server may ask us to wait.
const MOST_WAIT: Duration = Duration::from_secs(120);
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A number of attempts that fail one after the other, and longer and longer pauses between them.
#[derive(Debug)]
pub struct Patience {
    most: u32,
    failed: u32,
}

impl Patience {
    pub fn new(retries: u32) -> Self {
        Self { most: retries, failed: 0 }
    }

    /// Tries until it succeeds, or there is no use in it.
    pub fn until<T>(
        mut self,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        loop {
            match attempt() {
                Ok(made) => return Ok(made),
                Err(trouble) if self.another(&trouble) => {}
                Err(trouble) => return Err(self.end(trouble).into()),
            }
        }
    }

    /// Waits for the next attempt, if there is one.
    pub fn another(&mut self, trouble: &Trouble) -> bool {
        let pause = trouble.wait.unwrap_or(FIRST_WAIT * 2u32.saturating_pow(self.failed.min(7)));
        if !trouble.passes || self.failed >= self.most || pause > MOST_WAIT {
            return false;
        }
        self.failed += 1;
        thread::sleep(pause);
        true
    }

    /// Something has come: what failed before that does not count.
    pub fn renew(&mut self) {
        self.failed = 0;
    }

    /// Says, too, how often it was tried, and what pause was too long.
    pub fn end(&self, mut trouble: Trouble) -> Trouble {
        if let Some(wait) = trouble.wait.filter(|wait| *wait > MOST_WAIT) {
            trouble.what =
                format!("{}, and not to come back for {} s", trouble.what, wait.as_secs());
        }
        if self.failed > 0 {
            let count = format!("attempt {} of {}", self.failed + 1, self.most + 1);
            trouble.what = format!("{} ({count})", trouble.what);
        }
        trouble
    }
}

/// How long a server wants to be left alone: `Retry-After`, in seconds or as a date.
pub fn retry_after(answer: &Answer) -> Option<Duration> {
    wait(answer.header("retry-after")?, SystemTime::now())
}

/// The same, as it is written.
pub fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(seconds) = text.parse().ok().filter(|_| digits) {
        return Some(Duration::from_secs(seconds));
    }
    // A date that is past says to come at once.
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_and_long_pauses_are_none_of_ours() {
        let mut patience = Patience::new(1);
        assert!(!patience.another(&Trouble::lasting("x")));
        let long = Trouble { wait: Some(Duration::from_secs(3600)), ..Trouble::passing("x") };
        assert!(!patience.another(&long));
        assert_eq!(patience.end(long).what, "x, and not to come back for 3600 s");
        let now = || Trouble { wait: Some(Duration::ZERO), ..Trouble::passing("x") };
        assert!(patience.another(&now()) && !patience.another(&now()));
        assert_eq!(patience.end(now()).what, "x (attempt 2 of 2)");
        patience.renew();
        assert!(patience.another(&now()));
    }

    #[test]
    fn a_pause_is_told_in_seconds_or_by_its_end() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let seconds = |text| wait(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60), "as old servers write it");
        assert_eq!(seconds("Sun Nov  6 08:48:37 1994"), Some(0), "that is past");
        for text in ["", "-1", "+1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
