//! nsenter-lite: create namespaces, or enter those of a process.
//!
//! A namespace is a private view of a kernel resource. A process is moved into a new one by
//! `unshare(2)`, or into one that is there by `setns(2)`; only for processes and clocks it is the
//! next child that is born into it.

mod child;
mod cli;
mod create;
mod descriptor;
mod enter;
mod hint;
mod join;
mod namespace;
mod network;
mod pidfile;
mod plan;
mod procfs;
mod report;
mod step;

use std::process::ExitCode;

use common::{Failure, Form, step::perform};

fn main() -> ExitCode {
    common::report::main(|_| Form::Command, run)
}

fn run(cli: cli::Cli) -> Result<u8, Failure> {
    let mode = cli.mode();
    let (steps, mut hands) = plan::plan(cli)?;
    perform(&steps, mode, &mut hands).inspect_err(|failure| hands.herald.failed(failure))
}
