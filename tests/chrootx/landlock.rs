//! What may be reached: files, ports, other processes.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use support::{Skip, Test, alpine, need_program, run, skip};

use crate::{chrootx, compiled, inside};

/// As the kernel itself says it: by a rule that it can't keep, or by one that it can.
fn need_landlock() -> Test {
    let ran = run(chrootx().args(["--landlock", "scope:signal", "/", "/bin/true"]));
    match ran.status {
        0 => Ok(()),
        _ => Err(skip(format!("needs Landlock's sixth version: {}", ran.stderr.trim_end()))),
    }
}

pub fn files_are_those_of_the_rules() -> Test {
    let root = alpine()?;
    need_landlock()?;
    let rules = "rx:/bin,rx:/lib,rw:/tmp,r:/etc/passwd";
    let said = |script: &str| {
        let ran = inside(root.path(), &["--landlock", rules], &["/bin/sh", "-c", script]);
        (ran.status, ran.stderr.lines().last().unwrap_or_default().to_owned())
    };
    for script in [
        "read -r _ </etc/passwd",
        "echo x >/tmp/x; read -r _ </tmp/x; mkdir -p /tmp/a /tmp/b; mv /tmp/x /tmp/a/x; mv /tmp/a/x /tmp/b/x",
        "ls /tmp /bin >/tmp/list; rm -r /tmp/a",
        "cd /etc; cd /root; test -e /etc/group; test -r /etc/passwd",
    ] {
        assert_eq!(said(script), (0, String::new()), "{script}");
    }
    for script in [
        "read -r _ </etc/group",
        "ls /",
        "ls /etc",
        "echo x >>/etc/passwd",
        "echo x >/root/x",
        "echo x >/bin/x",
        "truncate -s 0 /etc/passwd",
        "mv /tmp/list /root/list",
        "ln /etc/passwd /tmp/passwd",
        "cp /bin/busybox /tmp/id; /tmp/id",
        "mount -t tmpfs t /tmp",
        "umount /",
    ] {
        let (status, why) = said(script);
        let refused = ["ermission denied", "not permitted", "Cross-device"]
            .iter()
            .any(|text| why.contains(text));
        assert!(status != 0 && refused, "{script}: {status} {why}");
    }
    let passwd = std::fs::read(root.path().join("etc/passwd")).expect("alpine has it");
    assert!(!passwd.is_empty());
    let ran = inside(root.path(), &["--landlock", "r:/"], &["/bin/true"]);
    ran.fails(
        126,
        "chrootx",
        &["run \"/bin/true\"", "(EACCES)", "hint: --landlock has to allow x"],
    );
    // For an ordinary user too; a link leads to where it does inside.
    let options = ["-u", "65534:65534", "--landlock=rx:/bin,rx:/lib", "--landlock", "r:/etc/mtab"];
    std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/link"))
        .expect("our own folder");
    let options = options.map(|option| option.replace("mtab", "link"));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script = "read -r line </etc/passwd; echo $line; read -r line </etc/group";
    let ran = inside(root.path(), &options, &["/bin/sh", "-c", script]);
    assert!(
        ran.stdout.starts_with("root:") && ran.stderr.contains("/etc/group: Permission"),
        "{ran:?}"
    );
    Ok(())
}

/// No server is needed: who may connect is told that there is none.
pub fn ports_are_those_of_the_rules() -> Test {
    let root = alpine()?;
    need_landlock()?;
    let said = |rules: &str, script: &str| {
        let script = format!("{script} </dev/null 2>&1; true");
        std::fs::write(root.path().join("dev/null"), "").expect("our own folder");
        inside(root.path(), &["--landlock", rules], &["/bin/sh", "-c", &script]).silent()
    };
    let (refused, denied) = ("Connection refused", "Permission denied");
    for (rules, port, wanted) in [
        ("connect:1", 1, refused),
        ("connect:1", 2, denied),
        ("connect:none", 1, denied),
        ("connect:1,connect:2", 2, refused),
        ("bind:none", 2, refused),
        ("scope:signal", 2, refused),
    ] {
        let said = said(rules, &format!("wget http://127.0.0.1:{port}/"));
        assert!(said.contains(wanted), "{rules} {port}: {said}");
    }
    // Who may bind waits until it is told to end.
    for (rules, wanted) in
        [("bind:none", denied), ("bind:0,connect:none", "punt!"), ("connect:none", "punt!")]
    {
        let said = said(rules, "timeout 0.2 nc -l -s 127.0.0.1 -p 0");
        assert!(said.contains(wanted), "{rules}: {said}");
    }
    Ok(())
}

/// E21: whoever shares the network namespace could talk to what listens there by name.
pub fn other_processes_are_out_of_reach() -> Test {
    let root = alpine()?;
    need_landlock()?;
    let program = compiled("socket.rs", root.path())?;
    let name = format!("container-tools-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("nobody else has that name");
    let connect = |options: &[&str]| inside(root.path(), options, &[&program, &name]).silent();
    assert_eq!(connect(&[]), "connected\n");
    assert_eq!(connect(&["--landlock", "scope:signal"]), "connected\n");
    let scope = "--landlock=scope:abstract-unix-socket,scope:signal";
    assert_eq!(connect(&[scope]), "Operation not permitted (os error 1)\n");

    // The shell has it for the input of what runs in the background.
    std::fs::write(root.path().join("dev/null"), "").expect("our own folder");
    let us = std::process::id().to_string();
    let script = format!("kill -0 {us} && echo reached; sleep 9 & kill $! && echo own");
    let signal = |options: &[&str]| inside(root.path(), options, &["/bin/sh", "-c", &script]);
    assert_eq!(signal(&[]).silent(), "reached\nown\n");
    let scoped = signal(&[scope]);
    assert!(scoped.stdout == "own\n" && scoped.stderr.contains("not permitted"), "{scoped:?}");
    Ok(())
}

/// What can't be refused is not run.
pub fn a_kernel_that_can_not_is_told_from_one_that_can() -> Test {
    let root = alpine()?;
    let strace = need_program("strace")?;
    let with = |answer: &str, rules: &str| {
        let inject = format!("inject=landlock_create_ruleset:{answer}:when=1");
        let mut command = Command::new(&strace);
        command.args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=landlock_create_ruleset",
            "-e",
            &inject,
        ]);
        command.arg(env!("CARGO_BIN_EXE_chrootx")).args(["--landlock", rules]);
        run(command.arg(root.path()).args(["/bin/echo", "it ran"]))
    };
    for (answer, rules, parts) in [
        ("error=ENOSYS", "rx:/", ["(ENOSYS)", "hint: it takes Linux 6.2"]),
        ("error=EOPNOTSUPP", "rx:/", ["(EOPNOTSUPP)", "hint: the kernel has it, turned off"]),
        ("retval=2", "rx:/", ["takes version 3 of it, the kernel has 2", "hint: Linux 6.2"]),
        ("retval=3", "rx:/,bind:1", ["takes version 4", "hint: Linux 6.7"]),
        ("retval=5", "scope:signal", ["takes version 6", "hint: Linux 6.12"]),
    ] {
        with(answer, rules).fails(125, "chrootx", &parts);
    }
    need_landlock()?;
    assert_eq!(with("retval=3", "rx:/").silent(), "it ran\n");
    Ok(())
}

/// Before anything is done.
pub fn rules_that_make_no_sense_are_refused() -> Result<(), Skip> {
    let root = alpine()?;
    for (rules, part) in [
        ("ro:/usr", "read a Landlock rule from \"ro:/usr\""),
        ("r:/no/such", "open \"/no/such\" of the root file system for a Landlock rule"),
    ] {
        inside(root.path(), &["--landlock", rules], &["/bin/true"]).fails(
            125,
            "chrootx",
            &[part, ""],
        );
    }
    Ok(())
}
