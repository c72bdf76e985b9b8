//! The command line: what is asked for, before anything of the system is looked at.

use std::ffi::OsString;

use clap::Parser;
use common::{Failure, Mode, Narration, pid};
use nix::unistd::Pid;

use crate::attach::Ended;
use crate::help;
use crate::key::{Key, Setting};
use crate::pressure::Trigger;
use crate::value::Value;
use crate::wait::{EVENTS, Event};

/// Limit what processes may use, by control groups
///
/// The group is named cgset-PID, below the one that the process is in, or beside it with cgroup v2;
/// a process that has such a group already stays in it. Outside of the machine's first PID namespace,
/// as in a container, it is cgset-PID-NAMESPACE, for each has a process of that number. With --group
/// it is the group of that name, below the top of each tree: box, box/inner, or a path as cgset
/// prints it. The path goes to standard output. Where controllers have trees of their own (v1) a
/// group is a folder in each that is used, and the path is that of the first KEY's; for create, which
/// makes it for memory, cpu and pids, that of memory.
///
/// With -- COMMAND, COMMAND runs in the group from its first instruction. When it ends, what it
/// left running in the group is killed, and the group is removed; one that was there before stays,
/// with all that is in it. A cgset that is killed takes COMMAND along.
#[derive(Debug, Default, Parser)]
#[command(
    name = "cgset",
    version,
    override_usage = help::USAGE,
)]
#[command(after_help = help::AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub narration: Narration,
    /// The group of this name
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Make the group below GROUP, wherever the process is now
    #[arg(long, value_name = "GROUP")]
    pub parent: Option<String>,
    /// Where a group above holds processes, which with v2 it must not, put them into its NAME first
    #[arg(long, value_name = "NAME")]
    pub evacuate: Option<String>,
    /// Move PID 1 too; set a limit below what is used now, so that the kernel kills
    #[arg(long)]
    pub force: bool,
    /// Do nothing where there would be a note
    #[arg(long)]
    pub strict: bool,
    /// Say nothing but errors: no notes
    #[arg(short, long, conflicts_with = "strict")]
    pub quiet: bool,
    /// With create: the group becomes USER's, who needs no root for what is in it
    #[arg(long, value_name = "USER")]
    pub delegate: Option<String>,
    /// With show, ls, stat and watch: as JSON
    #[arg(short, long)]
    pub json: bool,
    /// With rm: kill the processes inside first
    #[arg(long)]
    pub kill: bool,
    /// As libcgroup's cgset has it: -r NAME=VALUE GROUP
    #[arg(short = 'r', value_name = "NAME=VALUE")]
    pub pairs: Vec<String>,
    /// What to do
    #[arg(hide = true, allow_negative_numbers = true)]
    pub words: Vec<String>,
    /// The program to run
    #[arg(last = true, hide = true)]
    pub command: Vec<OsString>,
}

/// Whom the limits are for.
#[derive(Debug, PartialEq, Eq)]
pub enum Who {
    Nobody,
    Pids(Vec<Pid>, Ended),
    Stdin,
    Command(Vec<OsString>),
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Create(String),
    List(Option<String>),
    Show(String),
    Stat(Vec<String>),
    Watch(Vec<String>),
    Remove(Vec<String>),
    Freeze { names: Vec<String>, freeze: bool },
    Kill(Vec<String>),
    Wait { event: Event, name: String },
    Prune,
    Set { settings: Vec<Setting>, who: Who },
}

impl Cli {
    /// `-r NAME=VALUE GROUP` as if it had been typed NAME VALUE --group GROUP.
    pub fn in_our_words(self) -> Result<Self, Failure> {
        if self.pairs.is_empty() {
            return Ok(self);
        }
        let ([group], None) = (self.words.as_slice(), &self.group) else {
            return Err(wrong("-r NAME=VALUE takes one GROUP, and no KEY VALUE"));
        };
        let pair = |pair: &String| match pair.split_once('=') {
            Some((name, value)) => Ok([name.to_owned(), value.to_owned()]),
            None => Err(wrong(&format!("-r {pair:?} has no ="))),
        };
        let words: Result<Vec<_>, _> = self.pairs.iter().map(pair).collect();
        Ok(Self { group: Some(group.clone()), words: words?.concat(), ..self })
    }

    /// What is asked for, or why it makes no sense.
    pub fn request(&self) -> Result<Request, Failure> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let request = match words.as_slice() {
            ["create", group] => Request::Create((*group).to_owned()),
            ["ls"] => Request::List(None),
            ["ls", within] => Request::List(Some((*within).to_owned())),
            ["show", what] => Request::Show((*what).to_owned()),
            ["stat", what @ ..] => Request::Stat(owned(what)),
            ["watch", what @ ..] => Request::Watch(owned(what)),
            ["rm", groups @ ..] if !groups.is_empty() => Request::Remove(owned(groups)),
            [verb @ ("freeze" | "thaw"), groups @ ..] if !groups.is_empty() => {
                Request::Freeze { names: owned(groups), freeze: *verb == "freeze" }
            }
            ["kill", groups @ ..] if !groups.is_empty() => Request::Kill(owned(groups)),
            ["wait", "psi", trigger @ .., group] => {
                let event = Event::Stall(Trigger::parse(trigger)?);
                Request::Wait { event, name: (*group).to_owned() }
            }
            ["wait", event, group] => {
                Request::Wait { event: wanted(event)?, name: (*group).to_owned() }
            }
            ["prune"] => Request::Prune,
            ["wait", ..] => return Err(wrong("wait takes an event and a GROUP")),
            ["prune", ..] => return Err(wrong("prune takes no word")),
            [verb @ ("freeze" | "thaw" | "kill")] => {
                return Err(wrong(&format!("{verb} takes a GROUP")));
            }
            ["create", ..] => return Err(wrong("create takes one GROUP")),
            ["ls", ..] => return Err(wrong("ls takes one GROUP, or none for all")),
            ["show", ..] => return Err(wrong("show takes one GROUP or PID")),
            ["rm", ..] => return Err(wrong("rm takes a GROUP")),
            ["set", words @ ..] | words => self.set(words)?,
        };
        let only = |option: &str, given: bool, fits: bool| {
            if given && !fits {
                return Err(wrong(&format!("{option} does not go with the rest")));
            }
            Ok(())
        };
        let set = matches!(request, Request::Set { .. });
        let looks = matches!(
            request,
            Request::Show(_) | Request::List(_) | Request::Stat(_) | Request::Watch(_)
        );
        // What --dry-run prints is there to be run by a shell, which a table is not.
        if looks && self.narration.mode() != Mode::Act {
            let option = if self.narration.dry_run { "--dry-run" } else { "--explain" };
            return Err(Failure::usage(format!(
                "read the command line: {option} does not go with what only looks"
            ))
            .hint(format!("without {option} nothing is changed either")));
        }
        only("--json", self.json, looks)?;
        only("--kill", self.kill, matches!(request, Request::Remove(_)))?;
        only("--strict", self.strict, set)?;
        only("--quiet", self.quiet, set)?;
        only("--delegate", self.delegate.is_some(), matches!(request, Request::Create(_)))?;
        only("--group", self.group.is_some(), set)?;
        only("--parent", self.parent.is_some(), set)?;
        only("--evacuate", self.evacuate.is_some(), set || matches!(request, Request::Create(_)))?;
        only("COMMAND", !self.command.is_empty(), set)?;
        Ok(request)
    }

    fn set(&self, words: &[&str]) -> Result<Request, Failure> {
        let mut settings = Vec::new();
        let mut rest = words;
        while let [key, after @ ..] = rest {
            if !key.starts_with(|c: char| c.is_ascii_alphabetic()) {
                break;
            }
            let [value, after @ ..] = after else {
                Key::parse(key)?;
                return Err(wrong(&format!("{key:?} has no value (is a shell variable empty?)")));
            };
            let setting = Setting::parse(key, value)?;
            if settings.iter().any(|before: &Setting| before.contradicts(&setting)) {
                let network = matches!(setting.value, Value::Networks(_));
                let what = if network { value } else { key };
                return Err(wrong(&format!("{what} is given twice")));
            }
            settings.push(setting);
            rest = after;
        }
        let nobody = rest.is_empty() && self.command.is_empty();
        if settings.is_empty() && (self.group.is_none() || nobody) {
            return Err(wrong("no KEY VALUE: what is to be limited?"));
        }
        Ok(Request::Set { settings, who: self.who(rest)? })
    }

    fn who(&self, words: &[&str]) -> Result<Who, Failure> {
        match (self.command.as_slice(), words) {
            ([_, ..], []) => Ok(Who::Command(self.command.clone())),
            ([_, ..], _) => Err(wrong("there are both a PID and a COMMAND")),
            ([], ["-"]) => Ok(Who::Stdin),
            ([], []) if self.group.is_some() => Ok(Who::Nobody),
            ([], []) => {
                Err(Failure::usage("limit a process: none is given (is the variable empty?)")
                    .hint("name a PID, - for standard input, --group GROUP, or -- COMMAND"))
            }
            ([], words) => {
                let pids: Result<Vec<Pid>, _> = words.iter().map(|word| pid::parse(word)).collect();
                self.accept(&pids?).map(|pids| Who::Pids(pids, Ended::Fails))
            }
        }
    }

    /// The PIDs, each once, if they may be moved at all.
    pub fn accept(&self, pids: &[Pid]) -> Result<Vec<Pid>, Failure> {
        if pids.contains(&INIT) && !self.force {
            return Err(Failure::usage("limit process 1: the machine hangs on it")
                .hint("add --force if that is what you want"));
        }
        Ok(pids
            .iter()
            .enumerate()
            .filter(|(n, p)| !pids[..*n].contains(p))
            .map(|(_, p)| *p)
            .collect())
    }
}

/// The process that all others are left to.
pub const INIT: Pid = Pid::from_raw(1);

fn wanted(event: &str) -> Result<Event, Failure> {
    let found = EVENTS.iter().find(|(name, _)| *name == event);
    found.map(|(_, event)| *event).ok_or_else(|| {
        Failure::usage(format!("wait for {event:?}: there is no such event"))
            .hint("cgset wait empty|frozen|oom GROUP, or cgset wait psi memory 150ms/1s GROUP")
    })
}

fn wrong(what: &str) -> Failure {
    Failure::usage(format!("read the command line: {what}")).hint("cgset --help shows the usage")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> Result<Request, String> {
        Cli::try_parse_from([&["cgset"], args].concat())
            .map_err(|error| error.to_string())
            .and_then(|cli| {
                cli.in_our_words()
                    .and_then(|cli| cli.request())
                    .map_err(|failure| failure.lines("cgset"))
            })
    }

    fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
        pairs.iter().map(|(k, v)| Setting::parse(k, v).expect("a good setting")).collect()
    }

    #[test]
    fn the_forms() {
        let pids = |pids: &[i32]| {
            Who::Pids(pids.iter().copied().map(Pid::from_raw).collect(), Ended::Fails)
        };
        let mem = || settings(&[("mem", "10M")]);
        for (args, wanted) in [
            (
                &["mem", "10M", "42", "43"][..],
                Request::Set { settings: mem(), who: pids(&[42, 43]) },
            ),
            (
                &["set", "mem", "10M", "42", "43"],
                Request::Set { settings: mem(), who: pids(&[42, 43]) },
            ),
            (&["mem", "10M", "-"], Request::Set { settings: mem(), who: Who::Stdin }),
            (&["mem", "10M", "-g", "x"], Request::Set { settings: mem(), who: Who::Nobody }),
            (&["-g", "x", "42"], Request::Set { settings: vec![], who: pids(&[42]) }),
            (
                &["mem", "10M", "pids", "5", "--", "sh", "-c", "x"],
                Request::Set {
                    settings: settings(&[("mem", "10M"), ("pids", "5")]),
                    who: Who::Command(["sh", "-c", "x"].map(OsString::from).into()),
                },
            ),
            (
                &["mem", "10M", "42", "43", "42"],
                Request::Set { settings: mem(), who: pids(&[42, 43]) },
            ),
            (&["mem", "10M", "1", "--force"], Request::Set { settings: mem(), who: pids(&[1]) }),
            (
                &["-g", "x", "--", "sh"],
                Request::Set { settings: vec![], who: Who::Command(vec!["sh".into()]) },
            ),
            (&["-r", "memory.max=10M", "x"], Request::Set { settings: mem(), who: Who::Nobody }),
            (
                &["memory.limit_in_bytes", "10M", "-g", "x"],
                Request::Set { settings: mem(), who: Who::Nobody },
            ),
            (&["create", "x"], Request::Create("x".into())),
            (&["ls"], Request::List(None)),
            (&["ls", "--json", "x"], Request::List(Some("x".into()))),
            (&["show", "x", "--json"], Request::Show("x".into())),
            (&["rm", "--kill", "x", "y"], Request::Remove(vec!["x".into(), "y".into()])),
        ] {
            assert_eq!(request(args), Ok(wanted), "{args:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (args, why) in [
            (&[][..], "what is to be limited?"),
            (&["42"], "what is to be limited?"),
            (&["-g", "x"], "what is to be limited?"),
            (&["--", "sh"], "what is to be limited?"),
            (&["mem"], "\"mem\" has no value"),
            (&["mem", "10M", "cpu", "--", "sh"], "\"cpu\" has no value"),
            (&["mem", "10M", "mem", "20M", "42"], "mem is given twice"),
            (&["mem", "10M"], "none is given (is the variable empty?)"),
            (&["mem", "", "42"], "read mem \"\": it is empty"),
            (&["mem", "10M", ""], "read a PID from \"\""),
            (&["mem", "10M", "0x1"], "read a PID from \"0x1\""),
            (&["mem", "10M", "0"], "read a PID from \"0\""),
            (&["mem", "10M", "-5"], "read a PID from \"-5\""),
            (&["mem", "10M", "1"], "--force"),
            (&["mem", "010M", "42"], "octal"),
            (&["mem", "10X", "42"], "\"X\""),
            (&["memory", "10M", "42"], "is mem meant? keys are mem, mem.high, "),
            (&["creat", "x"], "is create meant?"),
            (&["mem", "10M", "42", "--", "sh"], "both a PID and a COMMAND"),
            (&["-r", "memory.max", "x"], "has no ="),
            (&["-r", "memory.max=1M"], "takes one GROUP"),
            (&["-r", "memory.max=1M", "-g", "x", "y"], "takes one GROUP"),
            (&["cpu.idle", "1", "cpu.idle", "0", "42"], "cpu.idle is given twice"),
            (&["cgroup.procs", "42", "-g", "x"], "none of this name"),
            (&["freeze"], "freeze takes a GROUP"),
            (&["wait", "x"], "wait takes an event"),
            (&["wait", "rain", "x"], "there is no such event"),
            (&["wait", "psi", "x"], "it takes a resource"),
            (&["wait", "psi", "memory", "150ms", "x"], "times are as"),
            (&["create"], "create takes one GROUP"),
            (&["create", "x", "--json"], "--json does not go"),
            (&["rm"], "rm takes a GROUP"),
            (&["ls", "a", "b"], "ls takes one GROUP"),
            (&["show", "a", "b"], "show takes one"),
            (&["show", "a", "--", "sh"], "COMMAND does not go"),
        ] {
            let error = request(args).expect_err("nonsense");
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }
}
