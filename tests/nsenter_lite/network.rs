//! A new network namespace: loopback, and who may ping.

use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Test, need_program, need_root, run, scratch, sh};

use crate::setup::{NOBODY, as_nobody, need_user_namespaces, tool, with};

/// Flags in hexadecimal (1 is up), an address that answers, the range.
const LOOK: &str = "cat /sys/class/net/lo/flags 2>/dev/null; cat /proc/net/if_inet6; \
    cat /proc/net/fib_trie | grep -c 127.0.0.1; cat /proc/sys/net/ipv4/ping_group_range; id -g";

pub fn loopback_comes_up_when_it_is_asked_for() -> Test {
    need_root()?;
    let outside =
        run(sh("readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ping_group_range").arg("-"))
            .silent();
    let plain = with(&["-n"], "cat /proc/net/if_inet6 /proc/net/fib_trie").silent();
    assert!(!plain.contains("127.0.0.1") && !plain.contains(" lo"), "it is left as it is: {plain}");
    for options in [&["--loopback"][..], &["-n", "--loopback"], &["-r", "-p", "--loopback"]] {
        let script = "cat /proc/net/if_inet6 /proc/net/fib_trie; readlink /proc/self/ns/net";
        let seen = with(options, script).silent();
        assert!(seen.contains("00000000000000000000000000000001 01 80 10 80       lo"), "{seen}");
        assert!(seen.contains("127.0.0.1"), "{seen}");
        let namespace = seen.lines().last().expect("the link");
        assert!(namespace.starts_with("net:") && !outside.contains(namespace), "{seen}");
    }
    let after =
        run(sh("readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ping_group_range").arg("-"))
            .silent();
    assert_eq!(after, outside, "outside nothing changes");
    Ok(())
}

pub fn groups_may_ping_as_far_as_they_are_mapped() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let range = ["cat", "/proc/sys/net/ipv4/ping_group_range"];
    for (options, expected) in [
        (&["-n"][..], "1\t0\n"),
        (&["--ping"], "0\t2147483647\n"),
        (&["--ping=5-7"], "5\t7\n"),
        (&["-r", "--ping"], "0\t0\n"),
        (&["-r", "-p", "--mount-proc", "--ping=0-0"], "0\t0\n"),
    ] {
        let seen = run(tool().args(options).args(range)).silent();
        assert_eq!(seen, expected, "{options:?}");
    }
    let inside = run(nobody().args(["-c", "--ping"]).args(range)).silent();
    assert_eq!(inside, "65534\t65534\n");
    // The kernel's word: a datagram ICMP socket is made without any capability, or is not.
    need_program("perl")?;
    let ask = [
        "setpriv",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "perl",
        "-MSocket",
        "-e",
        "exit !socket(my $socket, AF_INET, SOCK_DGRAM, 1)",
    ];
    need_program("setpriv")?;
    for (options, status) in [("--ping", 0), ("--ping=5-7", 1), ("--loopback", 1)] {
        assert_eq!(run(tool().arg(options).args(ask)).status, status, "{options}");
    }
    Ok(())
}

pub fn what_the_network_refuses_is_one_line() -> Test {
    need_root()?;
    let own = std::process::id().to_string();
    for (words, part) in [
        ("-r --ping=0-5", "(EINVAL)"),
        ("-U --ping", "has none"),
        ("-U --ping=0-0", "(EINVAL)"),
        ("--ping=5-4", "5-4"),
        ("--ping=", "two group IDs"),
        ("--dry-run -U --loopback", "no shell can"),
    ] {
        run(tool().args(words.split(' ')).arg("true")).fails(125, "nsenter-lite", &[part]);
    }
    for option in ["--loopback", "--ping"] {
        let ran = run(tool().args(["-t", &own, "-a", option, "true"]));
        ran.fails(125, "nsenter-lite", &[option]);
    }
    need_program("strace")?;
    let folder = scratch();
    let mark = folder.path().join("ran");
    for (call, part) in [
        ("socket:error=EMFILE:when=1", "loopback device up: Too many open files (EMFILE)"),
        ("ioctl:error=EPERM:when=1", "loopback device up: Operation not permitted (EPERM)"),
        ("ioctl:error=EPERM:when=2", "loopback device up: Operation not permitted (EPERM)"),
        ("write:error=EROFS:when=1", "ping_group_range\": Read-only file system (EROFS)"),
    ] {
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={call}")]);
        strace.arg(env!("CARGO_BIN_EXE_nsenter-lite")).args(["--loopback", "--ping", "touch"]);
        run(strace.arg(&mark)).fails(125, "nsenter-lite", &[part]);
        assert!(!mark.exists(), "{call}: the command must not run");
    }
    Ok(())
}

pub fn the_network_script_does_the_same() -> Test {
    need_user_namespaces()?;
    need_program("ip")?;
    need_program("sysctl")?;
    let (_folder, nobody) = as_nobody();
    let command = ["--", "sh", "-c", LOOK];
    for words in ["--loopback --ping", "-n --loopback", "--ping=3-9", "-r --loopback --ping"] {
        let words = || words.split(' ');
        let ours = run(tool().args(words()).args(command)).silent();
        let script = run(tool().arg("--dry-run").args(words()).args(command)).silent();
        assert_eq!(run(&mut sh(&script)).silent(), ours, "{script}");
    }
    let words = ["-r", "--loopback", "--ping"];
    let ours = run(nobody().args(words).args(command)).silent();
    let script = run(nobody().arg("--dry-run").args(words).args(command)).silent();
    let mut shell = sh(&script);
    assert_eq!(run(shell.uid(NOBODY).gid(NOBODY).current_dir("/")).silent(), ours, "{script}");
    Ok(())
}
