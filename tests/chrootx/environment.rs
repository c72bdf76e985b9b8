//! The environment: any list of strings to the kernel, variables or not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use support::{Test, alpine, run};

use crate::compiled;

/// What execve(2) hands in need not be what the C library can take away, or set.
pub fn entries_that_are_no_variables_are_cleared_too() -> Test {
    let root = alpine()?;
    let given = root.path().join(&compiled("given.rs", root.path())?[1..]);
    let odd = b"\xff\xfe=odd";
    let seen = |options: &[&str]| {
        let mut command = Command::new(&given);
        command.args(["=x=y", "=", "NOEQ", "", "A=b", "TERM=vt52", "TERM=again"]);
        command.arg(OsStr::from_bytes(odd)).arg("--").arg(env!("CARGO_BIN_EXE_chrootx"));
        command.args(options).arg(root.path()).args(["/bin/cat", "/proc/self/environ"]);
        let script = "mount -t proc proc \"$1/proc\"; shift; exec \"$@\"";
        let mut private = support::private_sh(script);
        private.arg(root.path()).arg(&given).args(command.get_args());
        run(&mut private).silent()
    };
    // As it was, if nobody asks for another one.
    let all = "=x=y\0=\0NOEQ\0\0A=b\0TERM=vt52\0TERM=again\0\u{fffd}\u{fffd}=odd\0";
    assert_eq!(seen(&[]), all);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0";
    assert_eq!(seen(&["--clear-env"]), format!("TERM=vt52\0{path}"));
    let with = seen(&["--clear-env", "-e", "A=c", "-e", "TERM="]);
    assert_eq!(with, format!("TERM=\0{path}A=c\0"));
    Ok(())
}
