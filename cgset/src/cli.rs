//! The command line: what is asked for, before anything of the system is looked at.

use std::ffi::OsString;

use clap::Parser;
use common::{Failure, Narration, pid};
use nix::unistd::Pid;

use crate::key::{Key, Setting};
use crate::pressure::Trigger;
use crate::value::Value;
use crate::wait::{EVENTS, Event};

/// Limit what processes may use, by control groups
///
/// The group is named cgset-PID, below the one that the process is in, or beside it with cgroup v2;
/// a process that has such a group already stays in it. With --group it is the group of that name,
/// below the top of each tree: box, box/inner, or a path as cgset prints it. The path goes to
/// standard output. Where controllers have trees of their own (v1) a group is a folder in each that
/// is used, and the path is that of the first KEY's; for create, which makes it for memory, cpu
/// and pids, that of memory.
///
/// With -- COMMAND, COMMAND runs in the group from its first instruction. When it ends, what it
/// left running in the group is killed, and the group is removed; one that was there before stays,
/// with all that is in it.
#[derive(Debug, Default, Parser)]
#[command(
    name = "cgset",
    version,
    override_usage = "cgset [OPTIONS] KEY VALUE [KEY VALUE]... PID...\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... -            (PIDs from standard input)\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... -- COMMAND [ARG]...\n       \
        cgset [OPTIONS] KEY VALUE [KEY VALUE]... --group GROUP [PID]...\n       \
        cgset -r NAME=VALUE... GROUP                     (as libcgroup has it)\n       \
        cgset create [--delegate USER] GROUP\n       \
        cgset ls [--json] [GROUP]\n       \
        cgset show [--json] GROUP|PID\n       \
        cgset stat|watch [--json] [GROUP|PID]...\n       \
        cgset freeze|thaw|kill GROUP...\n       \
        cgset wait empty|frozen|oom GROUP\n       \
        cgset wait psi memory|cpu|io [some|full] STALL/WINDOW GROUP\n       \
        cgset rm [--kill] GROUP...\n       \
        cgset prune"
)]
#[command(after_help = "Keys:\n  \
    mem SIZE|N%|max         memory; what needs more is killed\n  \
    mem.high SIZE|N%|max    what needs more is slowed down (v2 only)\n  \
    mem.low, mem.min        memory that is taken last, or never, for others (v2 only)\n  \
    swap SIZE|max           swap beside it\n  \
    oom kill|group|off      what happens then: one is killed, all are (v2 only), they hang (v1 only)\n  \
    cpu N%|N|Nms/Nms|max    CPU time: 50% is half of one CPU, 1.5 one and a half\n  \
    cpu.burst Nms|Nus|0     what of the quota may be saved up for later\n  \
    cpu.weight 1..10000     share of the CPU when it is short; 100 is the usual; idle: what is left\n  \
    cpu.shares 2..262144    the same in the words of v1; 1024 is the usual\n  \
    cpus LIST, mems LIST    CPUs and memory nodes: 0-3,5, or max for all that the group above has\n  \
    pids N|max              processes and threads\n  \
    io.read DISK:RATE       what is read from a disk: 10M a second, 100iops, max, maxiops\n  \
    io.write DISK:RATE      what is written to it. DISK: sda, 8:0, /dev/sda, or a path on it\n  \
    io.weight N, DISK:N     share of the disks, or of one, 1 to 10000; 100 is the usual\n  \
    huge.2MB SIZE|max       huge pages of this size; huge.2MB.rsvd: those set aside\n  \
    net RATE|max            network traffic, each way: 8mbit or 1MB/s, which are the same\n  \
    net.in, net.out         one way of it (all three take a v2 tree, beside v1 if need be)\n  \
    net.deny, net.allow     NETWORK: 10.0.0.0/8, fe80::/10, an address, any; as often as needed,\n  \
    \u{20}                       the most specific decides, what none names is allowed\n  \
    dev.deny, dev.allow     DEVICE: all, /dev/null, c:1:3, b:8:*; with :r, :w, :m (mknod) for only\n  \
    \u{20}                       that; the last one that names it decides, what is open stays open\n  \
    memory.swap.high, cpuset.cpus.partition ...  what the kernel calls it, for all the rest\n\n\
    freeze stops all processes of a group, also those that they start; kill ends them, and the group\n\
    stays. Each returns when it is done. wait returns when nobody is in a group any more, when all\n\
    are stopped, or when the kernel has killed for memory; wait psi memory 150ms/1s when processes\n\
    of the group have been held up, for want of memory, for 150 ms within a second: with some one\n\
    of them, with full all that could run. prune removes, and prints, what is left of groups that\n\
    cgset has named after processes that are gone.\n\n\
    A user to whom a group is delegated makes groups in it and limits them without root, once a\n\
    process of theirs is inside. With v2 that is in an inner one: cgset create GROUP/shell by the\n\
    user, then cgset --group GROUP/shell PID by root.\n\n\
    Sizes are as in coreutils: 10M and 10MiB are 10 x 1024 x 1024 bytes, 10MB is 10 x 1000 x 1000.\n\n\
    ls prints the path of each group, or of each in GROUP, in the first tree that has it; with\n\
    --json an array. show prints a name and a value on each line; limits that are not set are\n\
    max. With --json, one object: paths; processes (their PIDs); memory {limit, current, peak,\n\
    high, low, min: bytes; oom_kill: how often the kernel has killed}; swap {limit, current:\n\
    bytes}; cpu {quota_us, period_us, weight or shares, usage_us, throttled_us}; pids {limit,\n\
    current}; io {\"8:0\": {read_bytes, write_bytes, read_operations, write_operations: the limits,\n\
    a second}}; net {in, out: {bytes: the limit, a second; dropped_packets}; deny, allow: networks}; devices [{rule: allow or deny, device, access}],\n\
    of which the last one that names a device decides. What is not set, or\n\
    not known here, is null. A group whose name is a number is shown by its path.\n\n\
    stat looks at each group, or at all that hold processes: use and limit of memory, CPU time,\n\
    processes, how many percent of the last 10 s some process was held up (PSI, as the kernel calls\n\
    it, in the v2 tree), kills for memory. watch looks again each second, and at once after a kill\n\
    or a group's end; it ends when all that are named are gone. On a terminal a bar measures memory\n\
    against the smallest limit of the group and those above; where there is none is no bar. Else\n\
    there is no heading, and awk finds: path (or PID), memory, its limit, CPU time in microseconds\n\
    (watch: percent since the look before), quota in percent of one CPU, processes, their limit,\n\
    PSI of memory, cpu, io, OOM kills; max is no limit, - not known, and a blank in a name \\040.\n\
    With --json, one object a line: group; memory, pids {current, limit, effective_limit: the\n\
    smallest above; memory also oom_kill}; cpu {usage_us, throttled_us, quota_percent, percent:\n\
    since the look before}; pressure {memory, cpu, io: {some, full: {avg10, avg60, avg300: percent,\n\
    total_us}}}; with watch time, in seconds since 1970, and over where a group is gone.\n\n\
    Exit status: 0 done, 1 failed, 2 wrong usage. With COMMAND: its own, 128+N if signal N ended it;\n\
    125 if cgset fails, 126 if COMMAND can't be run, 127 if it is not found.")]
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
    /// With create: the group becomes USER's, who needs no root for what is in it
    #[arg(long, value_name = "USER")]
    pub delegate: Option<String>,
    /// With show, ls, stat and watch: as JSON
    #[arg(long)]
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
    Pids(Vec<Pid>),
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
            words => self.set(words)?,
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
        only("--json", self.json, looks)?;
        only("--kill", self.kill, matches!(request, Request::Remove(_)))?;
        only("--strict", self.strict, set)?;
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
                self.accept(&pids?).map(Who::Pids)
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
        let pids = |pids: &[i32]| Who::Pids(pids.iter().copied().map(Pid::from_raw).collect());
        let mem = || settings(&[("mem", "10M")]);
        for (args, wanted) in [
            (
                &["mem", "10M", "42", "43"][..],
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
