//! Which files can be COMMAND, when they are opened outside.

use std::fs;
use std::process::Command;

use support::{Test, need_root, run, scratch};

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsenter-lite"));
    command.args(["-u", "--outside-command", "./headless"]).current_dir(folder.path());
    run(&mut command).fails(126, "nsenter-lite", &["(ENOEXEC)", "statically linked"]);
    Ok(())
}
