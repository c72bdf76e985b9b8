//! COMMAND: which files it can be when it is opened outside, and its environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Skip, Test, eventually, need_program, need_root, project, run, scratch};

use crate::setup::tool;

/// Nobody writes into the FIFO, nor ever will.
pub fn what_is_no_file_is_not_waited_for() -> Test {
    need_root()?;
    let folder = scratch();
    run(Command::new("mkfifo").args(["-m", "755", "fifo"]).current_dir(folder.path())).silent();
    for place in ["./fifo", "/dev/null", "/dev/tty", "/etc"] {
        let mut command = Command::new("timeout");
        command.args(["5", env!("CARGO_BIN_EXE_nsenter-lite"), "-u", "--outside-command", "--"]);
        let ran = run(command.arg(place).current_dir(folder.path()));
        let what = format!("run {place:?}: Permission denied (EACCES)");
        ran.fails(126, "nsenter-lite", &[&what]);
    }
    // Nor is there a path by which a shell could read it.
    fs::write(folder.path().join("headless"), "exit 7\n").expect("ours");
    run(Command::new("chmod").args(["755", "headless"]).current_dir(folder.path())).silent();
    let mut command = tool();
    command.args(["-u", "--outside-command", "./headless"]).current_dir(folder.path());
    run(&mut command).fails(126, "nsenter-lite", &["(ENOEXEC)", "statically linked"]);
    Ok(())
}

/// Runs a program with any list of strings for its environment.
fn given(folder: &Path) -> Result<PathBuf, Skip> {
    let program = folder.join("given");
    let mut rustc = Command::new(need_program("rustc")?);
    rustc.args(["--edition", "2024", "-o"]).arg(&program);
    run(rustc.arg(project().join("tests/chrootx/given.rs"))).silent();
    Ok(program)
}

/// Strings that are no variables, and one whose name is no text.
const ODD: [&[u8]; 6] = [b"=x=y", b"=", b"NOEQ", b"", b"A=b=c", b"\xff\xfe=odd"];

pub fn no_strings_are_handed_on() -> Test {
    need_root()?;
    let folder = scratch();
    let mut command = Command::new(given(folder.path())?);
    command.args(ODD.map(OsStr::from_bytes)).arg("--").arg(env!("CARGO_BIN_EXE_nsenter-lite"));
    let words = ["-u", "--clear-env", "--", "/bin/cat", "/proc/self/environ"];
    assert_eq!(run(command.args(words)).silent(), "");
    Ok(())
}

pub fn the_targets_variables_are_taken_and_no_other_strings() -> Test {
    need_root()?;
    let folder = scratch();
    let mut target = Command::new(given(folder.path())?);
    target.args(ODD.map(OsStr::from_bytes)).args(["--", "/bin/cat"]);
    let mut target = target.stdin(Stdio::piped()).spawn().expect("it starts");
    let pid = target.id().to_string();
    eventually("it is cat", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name == "cat\n").then_some(())
    });
    let ran = run(tool().args(["-t", &pid, "-u", "-e", "--", "/bin/cat", "/proc/self/environ"]));
    drop(target.stdin.take());
    target.wait().expect("our own child");
    assert_eq!(ran.silent(), "A=b=c\0\u{fffd}\u{fffd}=odd\0");
    Ok(())
}
