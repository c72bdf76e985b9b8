//! chrootx: run a program in another root directory.
//!
//! chroot(2) changes what `/` means to a process, and nothing else: root can walk out again.
//! `pivot_root(2)` exchanges the root mount itself, and the old one is unmounted.

mod account;
mod calls;
mod capability;
mod cli;
mod descriptor;
mod identity;
mod landlock;
mod limit;
mod plan;
mod root;
mod seccomp;
mod step;
mod variable;

use std::process::ExitCode;

use common::{Failure, Form, report, step::perform};

fn main() -> ExitCode {
    report::main(|_| Form::Command, run)
}

fn run(cli: cli::Cli) -> Result<u8, Failure> {
    let mode = cli.narration.mode();
    let mut hands = step::Hands::default();
    let steps = plan::plan(cli, &mut hands)?;
    perform(&steps, mode, &mut hands)
}
