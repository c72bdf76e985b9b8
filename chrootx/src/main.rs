//! chrootx: run a program in another root directory.
//!
//! chroot(2) changes what `/` means to a process, and nothing else: root can walk out again.
//! `pivot_root(2)` exchanges the root mount itself, and the old one is unmounted.

mod account;
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), path = "calls/none.rs")]
mod calls;
#[cfg(target_arch = "x86_64")]
mod calls32;
mod capability;
mod cli;
mod console;
mod descriptor;
mod engine;
mod identity;
mod landlock;
mod limit;
mod plan;
mod root;
mod seccomp;
mod step;
mod variable;

use std::process::ExitCode;

use common::{Failure, Form, Mode, report, step::perform};

fn main() -> ExitCode {
    report::main(|_| Form::Command, run)
}

fn run(cli: cli::Cli) -> Result<u8, Failure> {
    let mode = cli.narration.mode();
    let mut hands = step::Hands::default();
    let mut open = Ok(());
    if mode != Mode::DryRun {
        open = descriptor::must_be_open(&cli.keep_fd);
        hands.ready = cli.ready.as_deref().map(engine::open_ready).transpose()?;
    }
    let planned = open.and_then(|()| plan::plan(cli, &mut hands));
    let outcome = planned.and_then(|steps| perform(&steps, mode, &mut hands));
    if let (Err(failure), Some(ready)) = (&outcome, hands.ready.take()) {
        // The failure itself is what is said, and it is said on standard error, too.
        let _ = engine::tell(ready, Some(failure));
    }
    outcome
}
