//! Groups looked at once a second.

use std::time::{Duration, Instant, SystemTime};

use common::{Failure, pid, sys};
use serde_json::{Value, json};

use crate::bell::{Bell, Signals, Woken, until};
use crate::find;
use crate::run::kills;
use crate::screen::{Screen, put};
use crate::stat::{Subject, subjects};
use crate::table::{self, Cpu, Row};
use crate::usage::{Look, percent};

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Memory has run out; a kill is counted a moment later.
const SOON: Duration = Duration::from_millis(20);

/// A group, and what is known of it.
struct Watched {
    subject: Subject,
    bells: Vec<Bell>,
    /// If it was asked for by a process: that one's end.
    process: Option<Bell>,
    look: Look,
    at: Instant,
    cpu: Option<f64>,
    /// Why there is nothing more to see.
    over: Option<&'static str>,
    /// Whether that has been said.
    said: bool,
}

impl Watched {
    fn new(subject: Subject, with_bells: bool) -> Self {
        let bells = if with_bells { Bell::of(subject.shown.dirs()) } else { Vec::new() };
        let process = find::is_pid(&subject.path).then(|| pid::parse(&subject.path).ok()).flatten();
        let process = process.and_then(|pid| sys::pidfd_open(pid).ok()).map(Bell::of_process);
        let look = subject.shown.look();
        let at = Instant::now();
        Self { subject, bells, process, look, at, cpu: None, over: None, said: false }
    }

    /// Looks again; CPU time is told since the look before.
    fn again(&mut self) {
        self.see_whether_it_is_over();
        if self.over.is_some() {
            return;
        }
        let (look, now) = (self.subject.shown.look(), Instant::now());
        let passed = u64::try_from(now.duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let used = look.cpu.zip(self.look.cpu).map(|(now, before)| now.saturating_sub(before));
        self.cpu = used.map(|used| percent(used, passed));
        (self.look, self.at) = (look, now);
    }

    fn see_whether_it_is_over(&mut self) {
        let gone = !self.subject.shown.dirs().iter().any(|dir| dir.is_dir());
        self.over = match &self.process {
            _ if gone => Some("gone"),
            Some(process) if process.rings() => Some("ended"),
            _ => None,
        };
        if self.over.is_some() {
            self.bells.clear();
            self.process = None;
        }
    }

    /// Whether there is news that can't wait: it has ended, or the kernel has killed. The rest of
    /// the look stays as it was.
    fn news(&mut self) -> bool {
        if self.over.is_some() {
            return false;
        }
        self.bells.retain_mut(|bell| !bell.rings() || bell.hush());
        self.see_whether_it_is_over();
        let kills = self.look.kills.map(|_| kills(self.subject.shown.dirs()));
        let news = self.over.is_some() || kills > self.look.kills;
        if self.over.is_none() {
            self.look.kills = kills;
        }
        news
    }

    fn bells(&self) -> impl Iterator<Item = &Bell> {
        self.bells.iter().chain(&self.process)
    }

    fn row(&self) -> Row {
        let cells = || table::cells(&self.look, Cpu::Since(self.cpu));
        (self.subject.name.clone(), self.over.map_or_else(|| Ok(cells()), Err))
    }

    /// A line for the next program. Of what is over there is one, and no more.
    fn line(&mut self, as_json: bool) -> String {
        if std::mem::replace(&mut self.said, self.over.is_some()) {
            return String::new();
        }
        match (self.over, as_json) {
            (None, false) => table::plain(&self.subject.path, &self.look, Cpu::Since(self.cpu)),
            (Some(why), false) => format!("{} {why}\n", table::escaped(&self.subject.path)),
            (_, true) => format!("{}\n", self.json()),
        }
    }

    fn json(&self) -> Value {
        let mut object = match self.over {
            None => self.look.json(self.cpu),
            Some(why) => json!({ "over": why }),
        };
        object["group"] = self.subject.path.clone().into();
        object["time"] = seconds().into();
        object
    }
}

/// Of the Unix clock, to the millisecond.
fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What is shown, and where.
struct Watch<'a> {
    words: &'a [String],
    as_json: bool,
    screen: Screen,
    all: Vec<Watched>,
}

/// Watches until all groups have gone, or nobody reads any more.
pub fn watch(words: &[String], as_json: bool) -> Result<(), Failure> {
    let signals = Signals::held()?;
    let named = !words.is_empty();
    let all = subjects(words)?.into_iter().map(|subject| Watched::new(subject, named)).collect();
    let mut watch = Watch { words, as_json, screen: Screen::ours(), all };
    let (mut next, mut soon) = (Instant::now() + PAUSE, None);
    let mut reader = watch.show(|_| true)?;
    while reader && !(named && watch.all.iter().all(|one| one.over.is_some())) {
        // Bells that ring all the time don't keep us from looking.
        let woken = match Instant::now() < next {
            true => {
                let end = soon.map_or(next, |soon| next.min(soon));
                until(end, &signals, watch.all.iter().flat_map(Watched::bells))?
            }
            false => Woken::Time,
        };
        reader = match woken {
            Woken::NoReader => false,
            Woken::Terminal => {
                watch.screen.forget();
                !watch.screen.is_terminal || watch.show(|_| true)?
            }
            Woken::Bell => {
                soon.get_or_insert(Instant::now() + SOON);
                watch.show(Watched::news)?
            }
            Woken::Time => {
                soon = None;
                watch.look(&mut next)?
            }
        };
    }
    Ok(())
}

impl Watch<'_> {
    /// Looks at all if it is time, else at what could not wait.
    fn look(&mut self, next: &mut Instant) -> Result<bool, Failure> {
        if Instant::now() < *next {
            return self.show(Watched::news);
        }
        // After a stop one look is due, not one for each second of it.
        *next = (*next + PAUSE).max(Instant::now());
        self.again()?;
        self.show(|_| true)
    }

    fn again(&mut self) -> Result<(), Failure> {
        if self.words.is_empty() {
            self.renew()?;
        }
        self.all.iter_mut().for_each(Watched::again);
        Ok(())
    }

    /// Where none is named, those that come are seen too, and those that go are not missed.
    fn renew(&mut self) -> Result<(), Failure> {
        let mut before = std::mem::take(&mut self.all);
        for subject in subjects(&[])? {
            let known = before.iter().position(|one| one.subject.path == subject.path);
            let known = known.map(|n| before.swap_remove(n));
            self.all.push(known.unwrap_or_else(|| Watched::new(subject, false)));
        }
        Ok(())
    }

    /// Shows those of which there is something to say; on a terminal then all. Says whether there
    /// is still a reader.
    fn show(&mut self, mut of: impl FnMut(&mut Watched) -> bool) -> Result<bool, Failure> {
        let as_json = self.as_json;
        let mut some: Vec<&mut Watched> =
            self.all.iter_mut().filter_map(|one| of(one).then_some(one)).collect();
        if as_json || !self.screen.is_terminal {
            return put(&some.iter_mut().map(|one| one.line(as_json)).collect::<String>());
        }
        if some.is_empty() && !self.all.is_empty() {
            return Ok(true);
        }
        let rows: Vec<Row> = self.all.iter().map(Watched::row).collect();
        self.screen.draw(&table::lines(&rows, Screen::width()))
    }
}
