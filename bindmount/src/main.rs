//! bindmount: make a tree visible at a second place.
//!
//! Files and folders have one place in their file system; a mount says where that is seen, and
//! any part of it may be seen at any number of places.

mod attach;
mod cli;
mod devices;
mod held;
mod idmap;
mod inside;
mod layers;
mod mask;
mod memory;
mod options;
mod overlay;
mod place;
mod plan;
mod procfs;
mod queues;
mod resolver;
mod script;
mod seen;
mod spec;
mod spelling;
mod step;
mod table;
mod target;
mod unmount;

use std::process::ExitCode;

use common::{Failure, Form, Mode, report, step::perform};

use crate::cli::Request;

fn main() -> ExitCode {
    report::main_by(spelling::parse, Form::of_args, run)
}

fn run(cli: cli::Cli) -> Result<u8, Failure> {
    let request = cli.request()?;
    let listed = match &request {
        Request::List { dir, json } => Some((table::under(dir.as_deref())?, json)),
        Request::ListIn { pid, dir, json } => Some((target::list(*pid, dir.as_deref())?, json)),
        _ => None,
    };
    if let Some((mounts, json)) = listed {
        let shown = if *json { table::json(&mounts) } else { table::text(&mounts) };
        return report::print(&shown).map(|()| 0);
    }
    let mode = cli.narration.mode();
    if let (Mode::DryRun, Request::BindIn { pid, .. }) = (mode, &request) {
        return Err(Failure::new("write a script of this: no shell command takes a mount along")
            .hint(format!("nsenter -t {pid} -m has only the SRC that is in there")));
    }
    let steps = plan::plan(request, cli.mkdir, cli.command)?;
    let held = if mode == Mode::DryRun { None } else { Some(held::Held::new()?) };
    let mut hands = step::Hands { held, ..step::Hands::default() };
    let outcome = perform(&steps, mode, &mut hands);
    hands.held.map_or(Ok(()), |held| held.let_act())?;
    outcome
}
