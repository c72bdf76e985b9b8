//! fetch-rootfs: get a root file system, verify it, extract it.

use std::process::ExitCode;

fn main() -> ExitCode {
    fetch_rootfs::main()
}
