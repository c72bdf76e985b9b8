//! Rules for devices with v1: the files of its devices controller.
//!
//! A group allows all devices but some, or none but some. Which these are it tells only in the
//! second case; and there are no exceptions of an exception, as `dev.deny 'c:1:*' dev.allow c:1:3`
//! would be. What the kernel would take, and not heed, is refused here.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use common::Failure;
use nix::errno::Errno;

use crate::control::{read, write};
use crate::dev::{self, Access, Kind, Named, Pattern, Rule};
use crate::group::{self, Group};
use crate::step::Step;

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";
const LIST: &str = "devices.list";
/// What is written for all devices, after which there are no exceptions.
const ALL: &str = "a";

/// What a group allows: all but these, as far as they are known; or none but these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    AllBut(Vec<Rule>),
    NoneBut(Vec<Rule>),
}

/// A line for one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub dir: PathBuf,
    pub allow: bool,
    pub text: String,
}

/// What a group says of itself; a group that is not there yet will be as the one above it.
pub fn state(dir: &Path) -> Result<State, Failure> {
    let there = dir.ancestors().find(|dir| dir.join(LIST).exists()).unwrap_or(dir);
    Ok(understood(&read(&there.join(LIST))?))
}

fn understood(list: &str) -> State {
    if list.lines().any(|line| line.starts_with(ALL)) {
        return State::AllBut(Vec::new());
    }
    let rule = |line: &str| match dev::parse(line) {
        Ok((Named::Pattern(devices), access)) => Some(Rule { allow: true, devices, access }),
        _ => None,
    };
    State::NoneBut(list.lines().filter_map(rule).collect())
}

/// As rules, the first of which is for all devices; nothing for a group that allows them all.
pub fn rules(state: State) -> Vec<Rule> {
    let none = Rule { allow: false, devices: Pattern::default(), access: Access::ALL };
    match state {
        State::AllBut(exceptions) => exceptions,
        State::NoneBut(exceptions) => [vec![none], exceptions].concat(),
    }
}

/// The steps that add these rules.
pub fn steps(group: &Group, rules: &[Rule]) -> Result<Vec<Step>, Failure> {
    let dir = &group.dir;
    let mut state = state(if group.fresh { dir.parent().unwrap_or(dir) } else { dir })?;
    let mut steps = Vec::new();
    for rule in rules {
        if is_blind(&state, rule) {
            steps.push(Step::Note(format!(
                "{dir:?} allows all devices but what it was denied, which cgroup v1 does not list: \
                 dev.allow {} takes back no denial but that of the very same",
                rule.devices
            )));
        }
        let lines = lines(&mut state, rule)?;
        let change = |text| Change { dir: dir.to_owned(), allow: rule.allow, text };
        steps.extend(lines.into_iter().map(change).map(Step::DeviceFile));
    }
    Ok(steps)
}

/// Whether this may meet a denial that nobody knows of.
fn is_blind(state: &State, rule: &Rule) -> bool {
    let State::AllBut(known) = state else { return false };
    let met = known.iter().any(|denied| rule.devices.covers(denied.devices));
    rule.allow && rule.devices.kind.is_some() && !met
}

/// What is to be written for a rule, and what the state is then.
fn lines(state: &mut State, rule: &Rule) -> Result<Vec<String>, Failure> {
    let all = rule.devices.kind.is_none();
    if all && rule.access == Access::ALL {
        let none = Vec::new();
        *state = if rule.allow { State::AllBut(none) } else { State::NoneBut(none) };
        return Ok(vec![ALL.into()]);
    }
    if !all {
        return lines_for_kind(state, rule);
    }
    let mut lines = Vec::new();
    for kind in [Kind::Char, Kind::Block] {
        let devices = Pattern { kind: Some(kind), ..Pattern::default() };
        lines.extend(lines_for_kind(state, &Rule { devices, ..*rule })?);
    }
    Ok(lines)
}

fn lines_for_kind(state: &mut State, rule: &Rule) -> Result<Vec<String>, Failure> {
    let (exceptions, is_exception) = match state {
        State::AllBut(exceptions) => (exceptions, !rule.allow),
        State::NoneBut(exceptions) => (exceptions, rule.allow),
    };
    if is_exception {
        return Ok(added(exceptions, rule));
    }
    let mut lines = Vec::new();
    for old in exceptions.iter_mut() {
        let access = old.access.and(rule.access);
        if access.is_none() || !rule.devices.meets(old.devices) {
            continue;
        }
        if !rule.devices.covers(old.devices) {
            return Err(no_exception(rule, old));
        }
        old.access = old.access.without(access);
        lines.push(Rule { access, ..*old }.text());
    }
    exceptions.retain(|rule| !rule.access.is_none());
    // Perhaps there is one that is not known.
    if rule.allow && !lines.contains(&rule.text()) {
        lines.push(rule.text());
    }
    Ok(lines)
}

/// What is to be written for one exception more. A device that is opened to be read and written
/// needs one line that allows both: so each has what wider ones allow, too.
fn added(exceptions: &mut Vec<Rule>, rule: &Rule) -> Vec<String> {
    let (wider, narrower): (Vec<Rule>, Vec<Rule>) =
        exceptions.iter().partition(|old| old.devices.covers(rule.devices));
    let all = wider.iter().fold(rule.access.0, |access, wider| access | wider.access.0);
    let narrower = narrower.into_iter().filter(|old| rule.devices.covers(old.devices));
    let more = narrower.map(|old| Rule { access: rule.access.without(old.access), ..old });
    let mut new = vec![Rule { access: Access(all), ..*rule }];
    new.extend(more.filter(|more| !more.access.is_none()));
    for new in &new {
        match exceptions.iter_mut().find(|old| old.devices == new.devices) {
            Some(old) => old.access.0 |= new.access.0,
            None => exceptions.push(*new),
        }
    }
    new.iter().map(Rule::text).collect()
}

fn no_exception(rule: &Rule, old: &Rule) -> Failure {
    let (key, devices) = (rule.key(), rule.devices);
    Failure::new(format!("set {key} {devices}: cgroup v1 can't take a part out of {}", old.devices))
        .hint("name the single devices; or have a v2 tree beside: mount -t cgroup2 cgroup2 DIR")
}

impl Change {
    pub fn file(&self) -> PathBuf {
        self.dir.join(if self.allow { ALLOW } else { DENY })
    }

    /// Writes it and looks, as far as that is shown; gives what was shown before.
    pub fn make(&self) -> Result<String, Failure> {
        let list = self.dir.join(LIST);
        let before = read(&list)?;
        self.write()?;
        let shown = read(&list)?;
        if self.agrees(&understood(&shown)) {
            return Ok(before);
        }
        self.take_back(&before)?;
        let (text, file) = (&self.text, self.file());
        Err(Failure::new(format!("write {text:?} to {file:?}: it reads back as {shown:?}")))
    }

    /// A group that was just removed counts for a moment more as one inside.
    fn write(&self) -> Result<(), Failure> {
        let mut written = write(&self.file(), &self.text);
        for _ in 0..100 {
            match &written {
                Err(failure) if failure.kernel_said() == Some(Errno::EINVAL) => {}
                _ => break,
            }
            if self.text != ALL || !group::inner(&self.dir).is_empty() {
                break;
            }
            sleep(Duration::from_millis(5));
            written = write(&self.file(), &self.text);
        }
        written.map_err(explain)
    }

    fn agrees(&self, now: &State) -> bool {
        let State::NoneBut(allowed) = now else { return self.allow || self.text != ALL };
        let Ok((Named::Pattern(devices), access)) = dev::parse(&self.text) else {
            return !self.allow && allowed.is_empty();
        };
        let there = allowed.iter().find(|rule| rule.devices == devices).map(|rule| rule.access);
        let there = there.unwrap_or(Access(0)).and(access);
        there == if self.allow { access } else { Access(0) }
    }

    /// Makes it as it was. Where that was not shown, the change is taken for the only one.
    pub fn take_back(&self, before: &str) -> Result<(), Failure> {
        let again =
            |allow: bool, text: String| Change { dir: self.dir.clone(), allow, text }.write();
        let now = understood(&read(&self.dir.join(LIST))?);
        match (understood(before), now) {
            (State::AllBut(_), State::AllBut(_)) if self.text == ALL => Ok(()),
            (State::AllBut(_), State::AllBut(_)) => again(!self.allow, self.text.clone()),
            (State::AllBut(_), State::NoneBut(_)) => again(true, ALL.into()),
            (State::NoneBut(before), now) => {
                let now = if let State::NoneBut(now) = now {
                    now
                } else {
                    again(false, ALL.into())?;
                    Vec::new()
                };
                less(&before, &now).iter().try_for_each(|rule| again(true, rule.text()))?;
                less(&now, &before).iter().try_for_each(|rule| again(false, rule.text()))
            }
        }
    }
}

/// What `some` allow, and `others` do not.
fn less(some: &[Rule], others: &[Rule]) -> Vec<Rule> {
    let less = |rule: &Rule| {
        let found = others.iter().find(|other| other.devices == rule.devices);
        let access = rule.access.without(found.map_or(Access(0), |found| found.access));
        (!access.is_none()).then_some(Rule { access, ..*rule })
    };
    some.iter().filter_map(less).collect()
}

fn explain(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            "with cgroup v1 a group may use no device that the one above it may not: allow it there \
             first, as root"
                .into()
        })
        .hint_if(Errno::EINVAL, || {
            "cgroup v1 changes all devices at once only for a group that has no group in it: remove \
             those first, cgset ls GROUP"
                .into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::dev::meaning;

    fn rule(allow: bool, text: &str) -> Rule {
        match dev::parse(text) {
            Ok((Named::Pattern(devices), access)) => Rule { allow, devices, access },
            other => panic!("{other:?}"),
        }
    }

    /// What is written, `-` for a denial.
    fn written(list: &str, rules: &[&str]) -> Result<Vec<String>, String> {
        let mut state = understood(list);
        let mut all = Vec::new();
        for text in rules {
            let allow = !text.starts_with('-');
            let sign = if allow { "" } else { "-" };
            let rule = rule(allow, text.trim_start_matches('-'));
            let lines = lines(&mut state, &rule).map_err(|failure| failure.lines("cgset"))?;
            all.extend(lines.into_iter().map(|line| format!("{sign}{line}")));
        }
        Ok(all)
    }

    #[test]
    fn rules_are_the_lines_that_mean_the_same() {
        const OPEN: &str = "a *:* rwm";
        for (list, rules, wanted) in [
            (OPEN, &["-all", "c:1:3", "c:1:5:r"][..], &["-a", "c 1:3 rwm", "c 1:5 r"][..]),
            (OPEN, &["-c:1:3:w"], &["-c 1:3 w"]),
            (OPEN, &["-all:w"], &["-c *:* w", "-b *:* w"]),
            (OPEN, &["-c:1:3", "c:1:3:r"], &["-c 1:3 rwm", "c 1:3 r"]),
            (
                OPEN,
                &["-c:1:3", "-c:1:5:w", "c:1:*"],
                &["-c 1:3 rwm", "-c 1:5 w", "c 1:3 rwm", "c 1:5 w", "c 1:* rwm"],
            ),
            ("c 1:3 rwm\nc 1:5 r", &["-c:1:*:r"], &["-c 1:3 r", "-c 1:5 r"]),
            ("c 1:3 rwm", &["-b:8:0"], &[]),
            ("c 1:3 rwm", &["all"], &["a"]),
            ("", &["c:1:*", "-c:1:*:m"], &["c 1:* rwm", "-c 1:* m"]),
        ] {
            let wanted: Vec<String> = wanted.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(written(list, rules), Ok(wanted), "{list} {rules:?}");
        }
    }

    /// The kernel's part: security/device_cgroup.c.
    #[derive(Default)]
    struct Kernel {
        denies: bool,
        exceptions: Vec<Rule>,
    }

    impl Kernel {
        fn take(&mut self, allow: bool, line: &str) {
            if line == ALL {
                *self = Self { denies: !allow, exceptions: Vec::new() };
                return;
            }
            let mut new = rule(allow, line);
            let old = self.exceptions.iter().position(|old| old.devices == new.devices);
            let old = old.map_or(Access(0), |place| self.exceptions.remove(place).access);
            new.access = match allow == self.denies {
                true => Access(old.0 | new.access.0),
                false => old.without(new.access),
            };
            self.exceptions.push(new);
        }

        fn allows(&self, device: Pattern, access: Access) -> bool {
            let names = |rule: &Rule| match self.denies {
                true => access.without(rule.access).is_none(),
                false => !access.and(rule.access).is_none(),
            };
            let mut here = self.exceptions.iter().filter(|rule| rule.devices.covers(device));
            self.denies == here.any(names)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_means_what_was_asked_for(
            rules in meaning::rules(), device in meaning::device(),
        ) {
            let (mut state, mut kernel) = (State::AllBut(Vec::new()), Kernel::default());
            let mut taken = Vec::new();
            for rule in &rules {
                let before = state.clone();
                match lines(&mut state, rule) {
                    Ok(lines) => {
                        for line in lines {
                            kernel.take(rule.allow, &line);
                        }
                        taken.push(*rule);
                    }
                    Err(_) => state = before,
                }
            }
            for access in [1, 2, 4].map(Access) {
                let wanted = meaning::allows(&taken, device, access);
                prop_assert_eq!(kernel.allows(device, access), wanted, "{:?}", taken);
            }
            let both = [2, 4].iter().all(|one| meaning::allows(&taken, device, Access(*one)));
            prop_assert_eq!(kernel.allows(device, Access(6)), both, "{:?}", taken);
        }
    }

    #[test]
    fn what_v1_would_take_and_not_heed_is_refused() {
        for (list, rules) in [
            ("a *:* rwm", &["-c:1:*", "c:1:3"][..]),
            ("c 1:* rwm", &["-c:1:3:w"]),
            ("", &["all:r", "-c:1:3"]),
        ] {
            let lines = written(list, rules).expect_err("no such thing");
            assert!(lines.contains("can't take a part out of"), "{lines}");
        }
    }
}
