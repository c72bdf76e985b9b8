//! cgset: create control groups, set limits, attach processes. All of it is in the library beside
//! this file, so that the fuzzer can reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    cgset::main()
}
