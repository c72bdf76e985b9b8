//! The environment: any list of strings to the kernel, variables or not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use support::{Test, alpine, private_sh, run};

use crate::{chrootx, compiled};

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
        let mut private = private_sh(script);
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

/// A name is whatever stands before the =, as for env(1).
pub fn any_name_will_do() -> Test {
    let root = alpine()?;
    let word = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let options: Vec<&OsStr> = [
        &b"-e"[..],
        b"A-B=1",
        b"-ea.b=2",
        b"--env=\xff=3",
        b"-e1=a b",
        b"--env=-x=5",
        b"-ePWD=/x",
        b"-eIFS=t",
    ]
    .map(word)
    .into();
    let lines = ["A-B=1", "a.b=2", "\u{fffd}=3", "1=a b", "-x=5", "PWD=/x", "IFS=t"];
    let has_all = |seen: &str| {
        for line in lines {
            assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
        }
    };
    let tool = || {
        let mut command = chrootx();
        command.env("k-p", "the caller's").args(["-w", "tmp"]).args(&options);
        command
    };
    has_all(&run(tool().arg(root.path()).arg("/usr/bin/env")).silent());
    let script = run(tool().arg("-n").arg(root.path()).arg("/usr/bin/env")).silent();
    has_all(&run(&mut private_sh(&script)).silent());
    let kept = run(tool().args(["--clear-env", "-e", "k-p"]).arg(root.path()).arg("/usr/bin/env"));
    let kept = kept.silent();
    has_all(&kept);
    assert!(kept.contains("k-p=the caller's\n"), "{kept}");
    Ok(())
}

/// What the caller is called is not what a number is called.
pub fn a_user_without_a_name_has_a_home_too() -> Test {
    let root = alpine()?;
    let script = "echo $HOME $USER $LOGNAME $SHELL";
    let seen = |options: &[&str]| {
        let mut command = chrootx();
        for name in ["HOME", "USER", "LOGNAME", "SHELL"] {
            command.env(name, "mine");
        }
        run(command.args(options).arg(root.path()).args(["/bin/sh", "-c", script])).silent()
    };
    assert_eq!(seen(&["-u", "1234:1234"]), "/ 1234 1234 /bin/sh\n");
    assert_eq!(seen(&["-u", "+1234:0", "-e", "HOME=/h"]), "/h 1234 1234 /bin/sh\n");
    assert_eq!(seen(&["-u", "65534:5"]), "/ nobody nobody /sbin/nologin\n");
    assert_eq!(seen(&["-u", ":5"]), "mine mine mine mine\n");
    Ok(())
}
