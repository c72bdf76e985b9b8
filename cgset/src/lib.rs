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
mod hierarchy;
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
mod remove;
mod rules;
mod run;
mod screen;
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
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Form, report, step::perform};

use crate::cli::{Cli, Request};
use crate::step::Hands;

/// The program.
pub fn main() -> ExitCode {
    report::main(Form::of_args, |cli: Cli| run(&cli.in_our_words()?))
}

/// Whether a command line makes sense, as far as that is known without asking the kernel: what the
/// fuzzer tries.
pub fn is_understood(args: impl IntoIterator<Item = OsString>) -> bool {
    let request = |cli: Cli| cli.in_our_words()?.request();
    Cli::try_parse_from(args).is_ok_and(|cli| request(cli).is_ok())
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
