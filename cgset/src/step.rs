//! What cgset does, step by step.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, Flow, Line, Tried, report, shell};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, Uid};

use crate::attach::Ended;
use crate::control::{explain, explain_enable, set, write};
use crate::freeze;
use crate::placed::Placed;
use crate::setting::Write;
use crate::wait::{self, Event};
use crate::{
    attach, delegate, dev, dev_filter, dev_list, evacuate, net, net_filter, plan, process, refusal,
    remove, run,
};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A v2 group hands controllers down to those below.
    Enable { file: PathBuf, text: String, evacuated: bool },
    /// All processes of a group go into one of its inner groups.
    Evacuate { from: PathBuf, to: PathBuf },
    /// A new group.
    Make(PathBuf),
    /// A limit.
    Write(Write),
    /// A limit of network traffic.
    Net { dir: PathBuf, limit: net::Limit },
    /// Networks that are allowed or denied.
    NetFilter { dir: PathBuf, rules: Vec<net_filter::Rule> },
    /// Rules for devices, with v2.
    Devices { dir: PathBuf, rules: Vec<dev::Rule> },
    /// A line of them, with v1.
    DeviceFile(dev_list::Change),
    /// A process goes from one group to another.
    Attach { pid: Pid, from: PathBuf, to: PathBuf, ended: Ended },
    /// Something that people should know.
    Note(String),
    /// COMMAND, in the groups that these files lead into, to its end.
    Run { command: Vec<OsString>, doors: Vec<PathBuf> },
    /// A group becomes a user's.
    Delegate { dir: PathBuf, user: Uid },
    /// All processes of a group stop, or go on.
    Freeze { file: PathBuf, text: &'static str },
    /// All processes of a group end.
    Kill(Vec<PathBuf>),
    /// Nothing is done until this happens.
    Wait { event: Event, dirs: Vec<PathBuf> },
    /// Groups go, and what runs in them if `kill`.
    Remove { dirs: Vec<PathBuf>, kill: bool },
    /// The group's path.
    Print(PathBuf),
    /// COMMAND's status becomes ours.
    End,
}

/// What is held while the steps are done.
#[derive(Debug)]
pub struct Hands {
    /// What stood in the files that were written.
    before: Vec<String>,
    /// What held for network traffic.
    net_before: Vec<Option<net::State>>,
    /// The processes that have been moved out of the way.
    evacuated: Vec<Vec<Pid>>,
    /// The programs that were put into groups.
    placed: Vec<Vec<Placed>>,
    /// The processes that were over before they could be moved.
    missed: Vec<Pid>,
    /// COMMAND's status.
    status: u8,
    /// The signals that the caller blocks.
    mask: SigSet,
}

impl Hands {
    /// From now on, what would end us half way waits: all is done, or all is taken back. While
    /// COMMAND runs, they are passed on to it.
    pub fn holding_signals() -> Result<Self, Failure> {
        let ends: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]
            .into_iter()
            .collect();
        let mask = ends.thread_swap_mask(SigmaskHow::SIG_BLOCK).tried(|| "block signals")?;
        Ok(Self {
            before: Vec::new(),
            net_before: Vec::new(),
            evacuated: Vec::new(),
            placed: Vec::new(),
            missed: Vec::new(),
            status: 0,
            mask,
        })
    }

    /// A process is over that was to be moved, into one group of several perhaps.
    fn miss(&mut self, pid: Pid, ended: Ended) -> Result<(), Failure> {
        match ended {
            Ended::Fails => return Err(process::gone(pid)),
            Ended::IsNoted if !self.missed.contains(&pid) => note(&plan::left_out(&[pid])),
            Ended::IsNoted | Ended::IsIgnored => {}
        }
        self.missed.push(pid);
        Ok(())
    }
}

impl common::Step for Step {
    type Hands = Hands;

    fn line(&self) -> Line {
        Line::Run(match self {
            Self::Make(dir) => format!("mkdir {}", shell::operand(dir)),
            Self::Enable { file, text, .. } => echo(text, file),
            Self::Evacuate { from, to } => evacuate::line(from, to),
            Self::Write(Write { file, text }) => echo(&shell::word(text), file),
            Self::Net { dir, limit } => {
                format!("cgset --group {} {} >/dev/null", shell::operand(dir), limit.words())
            }
            Self::NetFilter { dir, rules } => {
                let words = net_filter::words(rules);
                format!("cgset --group {} {words} >/dev/null", shell::operand(dir))
            }
            Self::Devices { dir, rules } => {
                format!("cgset --group {} {} >/dev/null", shell::operand(dir), dev::words(rules))
            }
            Self::DeviceFile(change) => echo(&shell::word(&change.text), &change.file()),
            Self::Attach { pid, to, ended, .. } => {
                let or = if *ended == Ended::Fails {
                    String::new()
                } else {
                    format!(" || [ ! -e /proc/{pid} ]")
                };
                echo(&pid.to_string(), &to.join("cgroup.procs")) + &or
            }
            Self::Note(text) => format!("echo {} >&2", shell::word(format!("cgset: note: {text}"))),
            Self::Run { command, doors } => {
                let join: String = doors.iter().map(|door| echo("$$", door) + "; ").collect();
                let script = shell::quote(&format!("{join}exec \"$@\""));
                format!("status=0; sh -e -c {script} sh {} || status=$?", shell::line(command))
            }
            Self::Delegate { dir, user } => delegate::line(dir, *user),
            Self::Freeze { file, text } => echo(text, file),
            Self::Kill(dirs) => freeze::kill_line(dirs),
            Self::Wait { event, dirs } => wait::line(*event, dirs),
            Self::Remove { dirs, kill } => remove::line(dirs, *kill),
            Self::Print(dir) => format!("echo {}", shell::operand(dir)),
            Self::End => "exit \"$status\"".into(),
        })
    }

    fn why(&self) -> String {
        match self {
            Self::Enable { .. } => "the groups below get these controllers; cgroups(7)",
            Self::Evacuate { .. } => {
                "with v2 a group that limits those below has no processes itself; cgroups(7)"
            }
            Self::Make(_) => "a folder here is a control group; cgroups(7)",
            Self::Write(_) => "the limit, before anything new is in the group; cgroups(7)",
            Self::Net { .. } | Self::NetFilter { .. } => {
                "a program that the kernel runs for each packet, no classic command makes it; bpf(2)"
            }
            Self::Devices { .. } => {
                "a program that the kernel asks at each open, no classic command makes it; bpf(2)"
            }
            Self::DeviceFile(_) => "the last line that names a device decides; cgroups(7)",
            Self::Attach { .. } => "the process, and what it starts from now on; cgroups(7)",
            Self::Note(_) => "what is often overlooked",
            Self::Run { .. } => "a child joins, then becomes the command; fork(2), execve(2)",
            Self::Delegate { .. } => "its owner may make groups in it, and fill them; chown(2)",
            Self::Freeze { .. } => "the kernel stops all of them, or lets them go on; cgroups(7)",
            Self::Kill(_) => "with v2 the kernel does it at once, by cgroup.kill; kill(2)",
            Self::Wait { .. } => "the tool itself is told by the kernel; poll(2)",
            Self::Remove { .. } => "an empty group is removed as a folder is; rmdir(2)",
            Self::Print(_) => "for the next program",
            Self::End => "end as the command ended; exit(3)",
        }
        .into()
    }

    fn act(&self, hands: &mut Hands) -> Result<Flow, Failure> {
        match self {
            Self::Enable { file, text, .. } => write(file, text).map_err(explain_enable)?,
            Self::Evacuate { from, to } => hands.evacuated.push(evacuate::evacuate(from, to)?),
            Self::Make(dir) => {
                let made = fs::create_dir(dir).tried(|| format!("make the group {dir:?}"));
                made.map_err(|failure| refusal::of_making(explain(failure), dir))?;
            }
            Self::Write(wanted) => hands.before.push(set(wanted)?),
            Self::Net { dir, limit } => hands.net_before.push(net::set(dir, limit)?),
            Self::NetFilter { dir, rules } => hands.placed.push(net_filter::set(dir, rules)?),
            Self::Devices { dir, rules } => hands.placed.push(dev_filter::set(dir, rules)?),
            Self::DeviceFile(change) => hands.before.push(change.make()?),
            Self::Attach { pid, from, to, ended } => {
                if !attach::attach(*pid, from, to)? {
                    hands.miss(*pid, *ended)?;
                }
            }
            Self::Note(text) => note(text),
            Self::Run { command, doors } => hands.status = run::run(command, doors, hands.mask)?,
            Self::Delegate { dir, user } => delegate::delegate(dir, *user)?,
            Self::Freeze { file, text } => hands.before.push(freeze::freeze(file, text)?),
            Self::Kill(dirs) => freeze::kill(dirs)?,
            Self::Wait { event, dirs } => {
                // There is nothing to take back: whoever waits may be ended.
                hands.mask.thread_set_mask().tried(|| "restore the signal mask")?;
                wait::wait(*event, dirs)?;
            }
            Self::Remove { dirs, kill } => {
                dirs.iter().try_for_each(|dir| remove::remove(dir, *kill))?;
            }
            Self::Print(dir) => report::print(&format!("{}\n", dir.display()))?,
            Self::End => return Ok(Flow::Done(hands.status)),
        }
        Ok(Flow::Next)
    }

    fn undo(&self, hands: &mut Hands) -> Result<(), Failure> {
        match self {
            Self::Make(dir) => remove::remove(dir, false),
            Self::Write(wanted) => match hands.before.pop() {
                Some(before) if wanted.file.exists() => write(&wanted.file, &before),
                _ => Ok(()),
            },
            Self::Net { dir, limit } => match hands.net_before.pop() {
                Some(before) if dir.exists() => net::restore(dir, limit.direction, before),
                _ => Ok(()),
            },
            Self::NetFilter { dir, .. } => match hands.placed.pop() {
                Some(placed) if dir.exists() => net_filter::restore(dir, placed),
                _ => Ok(()),
            },
            Self::Devices { dir, .. } => match hands.placed.pop() {
                Some(placed) if dir.exists() => dev_filter::restore(dir, placed),
                _ => Ok(()),
            },
            Self::DeviceFile(change) => match hands.before.pop() {
                Some(before) if change.dir.exists() => change.take_back(&before),
                _ => Ok(()),
            },
            Self::Attach { pid, from, .. } => attach::move_if_there(*pid, from),
            Self::Freeze { file, .. } => match hands.before.pop() {
                Some(before) => freeze::freeze(file, &before).map(drop),
                None => Ok(()),
            },
            // No process could come back otherwise.
            Self::Enable { file, text, evacuated: true } => write(file, &text.replace('+', "-")),
            Self::Evacuate { from, .. } => {
                evacuate::take_back(&hands.evacuated.pop().unwrap_or_default(), from)
            }
            // Else an enabled controller stays so: others may have made groups below meanwhile, and
            // would lose the limits in them.
            _ => Ok(()),
        }
    }
}

fn note(text: &str) {
    report::tell(&format!("cgset: note: {text}\n"));
}

fn echo(text: &str, file: &Path) -> String {
    format!("echo {text} > {}", shell::operand(file))
}
