//! nsenter-lite: create namespaces, or enter those of a process.
//!
//! A namespace is a private view of a kernel resource. A process is moved into a new one by
//! `unshare(2)`, or into one that is there by `setns(2)`; only for processes and clocks it is the
//! next child that is born into it.

mod cgroup;
mod child;
mod cli;
mod clock;
mod create;
mod descriptor;
mod enter;
mod grammar;
mod hint;
mod idmap;
mod init;
mod join;
mod life;
mod namespace;
mod network;
mod owner;
mod persist;
mod pidfile;
mod place;
mod plan;
mod procfs;
mod pty;
mod relay;
mod report;
mod shield;
mod step;
mod target;
mod users;
mod wire;

use std::process::ExitCode;

use common::{Failure, Form, Mode, step::perform};

fn main() -> ExitCode {
    common::report::main_by(grammar::parse, |_| Form::Command, run)
}

fn run(cli: cli::Cli) -> Result<u8, Failure> {
    let mode = cli.mode();
    if cli.target.is_some() && mode != Mode::DryRun {
        shield::raise()?;
    }
    let (steps, mut hands) = plan::plan(cli)?;
    perform(&steps, mode, &mut hands).inspect_err(|failure| hands.reporter.failed(failure))
}
