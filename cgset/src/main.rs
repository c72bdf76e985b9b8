//! cgset: create control groups, set limits, attach processes.
//!
//! A control group is a folder, its limits are files in it, and a process is moved into it by its
//! number written to one of them.

mod attach;
mod cli;
mod control;
mod device;
mod group;
mod hierarchy;
mod key;
mod list;
mod note;
mod plan;
mod process;
mod rate;
mod remove;
mod run;
mod setting;
mod show;
mod step;

use std::process::ExitCode;

use common::{Failure, Form, report, step::perform};

use crate::cli::{Cli, Request};
use crate::step::Hands;

fn main() -> ExitCode {
    report::main(Form::of_args, |cli| run(&cli))
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    let request = cli.request()?;
    if let Request::Show(what) = &request {
        let shown = show::find(what)?;
        let text = if cli.json { shown.json() } else { shown.text() };
        return report::print(&text).map(|()| 0);
    }
    if let Request::List(within) = &request {
        let groups = list::find(within.as_deref())?;
        let text = if cli.json { list::json(&groups) } else { list::text(&groups) };
        return report::print(&text).map(|()| 0);
    }
    let steps = plan::plan(cli, request)?;
    perform(&steps, cli.narration.mode(), &mut Hands::holding_signals()?)
}
