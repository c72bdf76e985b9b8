//! cgset: create control groups, set limits, attach processes.
//!
//! A control group is a folder, its limits are files in it, and a process is moved into it by its
//! number written to one of them.

mod assembler;
mod attach;
mod bar;
mod bell;
mod bitrate;
mod cli;
mod control;
mod cpu;
mod cpuset;
mod delegate;
mod dev;
mod dev_filter;
mod dev_list;
mod device;
mod evacuate;
mod find;
mod freeze;
mod group;
mod help;
mod hierarchy;
mod huge;
mod key;
mod list;
mod make;
mod memory;
mod net;
mod net_filter;
mod network;
mod note;
mod placed;
mod plan;
mod pressure;
mod process;
mod program;
mod qdisc;
mod rate;
mod raw;
mod refusal;
mod remove;
mod rules;
mod run;
mod screen;
mod set;
mod setting;
mod show;
mod stat;
mod step;
mod table;
mod usage;
mod value;
mod wait;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, Parser};
use common::{Failure, Form, report, step::perform};

use crate::cli::{Cli, Request};
use crate::hierarchy::Version;
use crate::key::Setting;
use crate::setting::Write;
use crate::step::Hands;

/// The program.
pub fn main() -> ExitCode {
    report::main_by(parse, Form::of_args, |cli: Cli| run(&cli.in_our_words()?))
}

/// To clap -5 is a value, and -5% an option.
fn parse(grammar: &mut Command, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let begins = |word: &&str| word.starts_with('-') && word[1..].starts_with(char::is_numeric);
    let words = args.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let negative = words.filter(begins).find(|word| word.parse::<i64>().is_err());
    let why = negative.map(|word| format!("read {word:?}: nothing is limited to less than 0"));
    report::parse(grammar, args).map_err(|error| match (error.kind(), why) {
        (ErrorKind::UnknownArgument, Some(why)) => grammar.error(ErrorKind::InvalidValue, why),
        _ => error,
    })
}

/// Whether a command line makes sense, as far as that is known without asking the kernel: what the
/// fuzzer tries.
pub fn is_understood(args: impl IntoIterator<Item = OsString>) -> bool {
    let request = |cli: Cli| cli.in_our_words()?.request();
    Cli::try_parse_from(args).is_ok_and(|cli| request(cli).is_ok())
}

/// Which files, or keys of the network, get which text by a key and its value, in a group of v1 or
/// of v2; `None` where it is refused: what the fuzzer looks at.
#[doc(hidden)]
pub fn written(key: &str, value: &str, v2: bool) -> Option<Vec<(String, String)>> {
    let settings = [Setting::parse(key, value).ok()?];
    let version = if v2 { Version::V2 } else { Version::V1 };
    let group = Path::new("/no/group");
    let mut texts = Vec::new();
    for Write { file, text } in setting::writes(&settings, version, group).ok()? {
        texts.push((file.strip_prefix(group).ok()?.display().to_string(), text));
    }
    for limit in net::limits(&settings) {
        let words = limit.words();
        texts.extend(words.split_once(' ').map(|(key, rate)| (key.to_owned(), rate.to_owned())));
    }
    Some(texts)
}

/// What sets again what a file shows, after `text` is written to it; and whether the file, as long
/// as it shows this, is taken to say so: what the fuzzer looks at.
#[doc(hidden)]
pub fn restored(file: &str, text: &str, shown: &str) -> (String, bool) {
    let write = |text: &str| Write { file: file.into(), text: text.to_owned() };
    let again = write(text).restores(shown);
    let agrees = write(&again).agrees(shown);
    (again, agrees)
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    let request = cli.request()?;
    let text = match &request {
        Request::Show(what) => find::find(what)?.said(cli.json),
        Request::Stat(words) => stat::said(words, cli.json)?,
        Request::List(within) => list::said(within.as_deref(), cli.json)?,
        Request::Watch(words) => return watch::watch(words, cli.json).map(|()| 0),
        _ => return act(cli, request),
    };
    report::print(&text).map(|()| 0)
}

fn act(cli: &Cli, request: Request) -> Result<u8, Failure> {
    let steps = plan::plan(cli, request)?;
    perform(&steps, cli.narration.mode(), &mut Hands::holding_signals()?)
}
