//! fetch-rootfs: get a root file system, verify it, extract it.
//!
//! A root file system is an archive of files. It comes in one pass from wherever it is, through
//! its digest and its decoder, into a folder beside its place; when all of it is there and
//! verified, a rename makes it appear.

mod acl;
mod archive;
mod attributes;
mod cache;
mod catalogue;
mod checksum;
mod cli;
mod codec;
mod cpio;
mod credentials;
mod download;
mod entry;
mod extract;
mod host;
mod http;
mod idmap;
mod input;
mod limits;
mod list;
mod location;
mod members;
mod names;
mod oci;
mod outcome;
mod overlap;
#[doc(hidden)]
pub mod parsers;
mod patience;
mod plan;
mod progress;
mod proxy;
mod removal;
mod retrieval;
mod signature;
mod staging;
mod step;
mod tar;
mod transfer;
mod wanted;

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use common::{Failure, Form, report, step::perform};
use oci::Target as _;

/// The program.
pub fn main() -> ExitCode {
    report::main(|_| Form::Plain, |cli| run(&cli))
}

fn run(cli: &cli::Cli) -> Result<u8, Failure> {
    if cli.list {
        return report::print(&catalogue::table()).map(|()| 0);
    }
    perform(&plan::plan(cli)?, cli.narration.mode(), &mut step::Hands::default())
}

/// Extracts an archive into an empty folder; what is wrong with it, if it is refused: what the
/// fuzzer tries.
#[doc(hidden)]
pub fn extracted(archive: &[u8], folder: &File) -> Result<(), String> {
    let words = ["fetch-rootfs", "--skip-devices", "--max-size=1M", "--max-entries=500", "-", "x"];
    let rules = cli::Cli::try_parse_from(words).map_err(|error| error.to_string());
    let rules = rules?.rules().map_err(|failure| failure.lines("fetch-rootfs"))?;
    let decoder = codec::decoder(archive);
    decoder
        .and_then(|decoder| {
            extract::Extractor::new(folder.as_fd(), &rules).plain(BufReader::new(decoder))
        })
        .map_err(|failure| failure.lines("fetch-rootfs"))
}
