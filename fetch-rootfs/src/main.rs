//! fetch-rootfs: get a root file system, verify it, extract it.
//!
//! A root file system is an archive of files. It comes in one pass from wherever it is, through
//! its digest and its decoder, into a folder beside its place; when all of it is there and
//! verified, a rename makes it appear.

mod attributes;
mod cache;
mod catalogue;
mod checksum;
mod cli;
mod codec;
mod credentials;
mod download;
mod extract;
mod host;
mod http;
mod input;
mod plan;
mod progress;
mod removal;
mod signature;
mod staging;
mod step;
mod tar;
mod transfer;
mod wanted;

use std::process::ExitCode;

use common::{Failure, Form, report, step::perform};

fn main() -> ExitCode {
    report::main(|_| Form::Plain, |cli| run(&cli))
}

fn run(cli: &cli::Cli) -> Result<u8, Failure> {
    if cli.list {
        return report::print(&catalogue::table()).map(|()| 0);
    }
    perform(&plan::plan(cli)?, cli.narration.mode(), &mut step::Hands::default())
}
