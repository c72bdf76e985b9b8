//! Tries to get out of a container, one way at a time. It is linked statically, and runs as
//! COMMAND in any root file system, as whatever user the container leaves it.
//!
//! A probe prints one line and ends with 0 if it was contained, 1 if it got out, 2 if it can't
//! tell: what it needs for the attempt is not there. It harms nothing: where it could write, it
//! writes what was there before. `tests/isolation.rs` and `tests/peers` run it.

mod devices;
mod faults;
mod files;
mod findings;
mod identity;
mod mounts;
mod namespaces;
mod processes;
mod registers;
mod root;
mod sys;
mod wrappers;

use std::env;
use std::process::ExitCode;

use findings::Findings;

type Probe = fn(&[String], &mut Findings);

/// Name, arguments, what it does.
const PROBES: [(&str, &str, Probe); 21] = [
    ("chroot2", "MARK", root::chroot_twice),
    ("handle", "", root::open_by_handle),
    ("fds", "", devices::descriptors),
    ("mknod", "", devices::nodes),
    ("tty", "", devices::terminal),
    ("write", "", files::settings),
    ("read", "", files::secrets),
    ("mount", "", mounts::make),
    ("peel", "", mounts::peel),
    ("read-only", "DIR", mounts::below_read_only),
    ("peel-nested", "", namespaces::peel),
    ("nested", "", namespaces::fresh_proc),
    ("userns", "", namespaces::needs_one),
    ("release-agent", "", namespaces::release_agent),
    ("pids", "MARK PID", processes::others),
    ("exe", "FILE", processes::executables),
    ("abstract", "NAME", processes::abstract_socket),
    ("identity", "UID GID GROUPS CAPS", identity::rights),
    ("setuid", "FILE", identity::setuid_file),
    ("keyring", "SERIAL", identity::keyring),
    ("signals", "", identity::signals),
];

fn main() -> ExitCode {
    common::sys::restore_what_the_runtime_changed();
    if let Some(done) = wrappers::stand_in(env::args_os()) {
        return done;
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((name, arguments)) = words.split_first() else { return usage() };
    if let Some(done) = wrappers::run(name, arguments) {
        return done;
    }
    let Some((_, wanted, probe)) = PROBES.iter().find(|(known, ..)| known == name) else {
        return usage();
    };
    if wanted.split_whitespace().count() != arguments.len() {
        return usage();
    }
    let mut findings = Findings::default();
    probe(arguments, &mut findings);
    findings.tell(name)
}

fn usage() -> ExitCode {
    eprintln!("Usage: probe deny ERRNO CALL[,CALL]... COMMAND [ARG]...");
    eprintln!("       probe fault LOG PLACE ERRNO COMMAND [ARG]...");
    eprintln!("       #!/PATH/probe deny:ERRNO:CALL[,CALL]...:PROGRAM");
    eprintln!("       probe mapped FIRST COUNT COMMAND [ARG]...");
    eprintln!("       probe serial | euid");
    for (name, arguments, _) in PROBES {
        eprintln!("       probe {name} {arguments}");
    }
    ExitCode::from(2)
}
