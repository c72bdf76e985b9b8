//! Namespaces made: each alone, and what is seen in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use support::{Test, need_root, run, scratch};

use crate::setup::{KINDS, LINKS, own_links, tool, with};

pub fn each_letter_makes_its_namespace_and_no_other() -> Test {
    need_root()?;
    let ours = own_links();
    for (letter, name) in KINDS {
        let inside = with(&[letter], LINKS).silent();
        for ((_, kind), (inside, ours)) in KINDS.iter().zip(inside.lines().zip(&ours)) {
            assert!(inside.starts_with(kind), "{inside}");
            assert_eq!(*kind == name, inside != ours, "{letter} and {kind}: {inside} {ours}");
        }
    }
    let long = "--mount --uts --ipc --net --pid --user --cgroup --time";
    let inside = with(&long.split(' ').collect::<Vec<_>>(), LINKS).silent();
    assert!(inside.lines().zip(&ours).all(|(inside, ours)| inside != ours), "{inside}");
    assert_eq!(inside.lines().count(), 8);
    Ok(())
}

pub fn the_command_is_pid_1_and_sees_only_its_own_processes() -> Test {
    need_root()?;
    let script = "echo $$; for p in /proc/[0-9]*; do echo ${p#/proc/}; done; cat /proc/1/comm";
    for options in [&["-f", "-p", "--mount-proc"][..], &["-p", "--mount-proc=/proc"]] {
        assert_eq!(with(options, script).silent(), "1\n1\nsh\n", "{options:?}");
    }
    let options = with(&["-p", "--mount-proc"], "grep ' /proc ' /proc/self/mounts | tail -n 1");
    assert_eq!(options.silent(), "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n");
    let rootfs = scratch();
    let proc = rootfs.path().join("proc");
    fs::create_dir(&proc).expect("a new folder");
    let at = format!("--mount-proc={}/", proc.display());
    let seen = run(tool().args(["-fp", &at, "ls"]).arg(&proc)).silent();
    assert!(seen.starts_with("1\nacpi") || seen.starts_with("1\nbuddyinfo"), "{seen}");
    assert_eq!(fs::read_dir(&proc).expect("it is there").count(), 0, "not seen outside");
    Ok(())
}

pub fn mounts_inside_are_not_seen_outside() -> Test {
    need_root()?;
    let folder = scratch();
    let mounted = |options: &str| {
        // A shared mount, as / is on many systems, in a mount namespace of the test's own.
        let script = format!(
            "mount -t tmpfs outside \"$1\"; mount --make-shared \"$1\"; mkdir \"$1/in\"
            \"$2\" --mount {options} mount -t tmpfs inside \"$1/in\"; grep -c inside /proc/mounts || :"
        );
        let mut command = support::private_sh(&script);
        run(command.arg(folder.path()).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent()
    };
    for options in ["", "--propagation private", "--propagation slave"] {
        assert_eq!(mounted(options), "0\n", "{options}");
    }
    for options in ["--propagation shared", "--propagation unchanged"] {
        assert_eq!(mounted(options), "1\n", "{options}");
    }
    Ok(())
}

pub fn proc_is_never_mounted_through_a_symbolic_link() -> Test {
    need_root()?;
    let folder = scratch();
    let (victim, link) = (folder.path().join("victim"), folder.path().join("proc"));
    fs::create_dir(&victim).expect("a new folder");
    symlink(&victim, &link).expect("a new link");
    for end in ["", "/", "/."] {
        let at = format!("--mount-proc={}{end}", link.display());
        let ran = run(tool().args(["-p", &at, "true"]));
        ran.fails(125, "nsenter-lite", &["mount proc on", "(ENOTDIR)", "symbolic link"]);
    }
    let missing = format!("--mount-proc={}/none", victim.display());
    run(tool().args(["-p", &missing, "true"])).fails(125, "nsenter-lite", &["ENOENT", "mkdir"]);
    Ok(())
}

pub fn the_domain_name_is_set_inside_only() -> Test {
    need_root()?;
    let domain = "cat /proc/sys/kernel/domainname";
    let outside = run(&mut support::sh(domain)).silent();
    for options in [&["--domainname", "a.box"][..], &["-r", "-p", "--domainname", "a.box"]] {
        assert_eq!(with(options, domain).silent(), "a.box\n");
        let mut dry = tool();
        dry.arg("--dry-run").args(options).args(["sh", "-c", domain]);
        let script = run(&mut dry).silent();
        assert_eq!(run(&mut support::sh(&script)).silent(), "a.box\n", "{script}");
    }
    let long = "x".repeat(65);
    let refused = run(tool().args(["--domainname", &long, "true"]));
    refused.fails(125, "nsenter-lite", &["(EINVAL)", "64 bytes"]);
    assert_eq!(run(&mut support::sh(domain)).silent(), outside);
    Ok(())
}

pub fn the_host_name_is_set_inside_only() -> Test {
    need_root()?;
    let host = run(&mut Command::new("hostname")).silent();
    assert_eq!(with(&["--hostname", "box"], "hostname").silent(), "box\n");
    assert_eq!(run(&mut Command::new("hostname")).silent(), host);
    let long = "x".repeat(65);
    run(tool().args(["--hostname", &long, "true"])).fails(125, "nsenter-lite", &[&long, "64"]);
    Ok(())
}

pub fn interpreters_are_those_of_the_user_namespace() -> Test {
    need_root()?;
    let look =
        "grep -c 'binfmt_misc binfmt_misc' /proc/self/mounts; ls /proc/sys/fs/binfmt_misc; exit 3";
    let options = ["-r", "--mount-binfmt", "--forward-signals", "sh", "-c", look];
    let ours = run(tool().args(options));
    assert_eq!((ours.stdout.as_str(), ours.status), ("1\nregister\nstatus\n", 3), "{ours:?}");
    let script = run(tool().arg("--dry-run").args(options)).silent();
    assert!(script.contains(" --fork"), "{script}");
    assert_eq!(run(Command::new("sh").args(["-c", &script])), ours, "{script}");
    Ok(())
}

pub fn an_interpreter_of_outside_runs_programs_inside() -> Test {
    need_root()?;
    let root = support::alpine()?;
    let at = root.path().to_string_lossy().into_owned();
    // busybox does what the file that it is to run is called.
    let program = root.path().join("tmp/echo");
    fs::write(&program, "NOT-ELF").expect("ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let spec = |interpreter: &str, flags| format!(":odd:M::NOT-ELF::{interpreter}:{flags}");
    let outside = format!("{at}/bin/busybox");
    for (spec, status, said) in [
        (spec("/bin/busybox", ""), 0, "hello\n"),
        (spec(&outside, "F"), 0, "hello\n"),
        (spec(&outside, ""), 127, ""),
    ] {
        let words = ["-rp", "-R", &at, "-l", &spec, "/tmp/echo", "hello"];
        let ours = run(tool().args(words));
        assert_eq!((ours.status, &*ours.stdout), (status, said), "{spec}: {ours:?}");
        let script = run(tool().arg("--dry-run").args(words)).silent();
        let theirs = run(Command::new("sh").args(["-c", &script]));
        assert_eq!((theirs.status, &*theirs.stdout), (status, said), "{script}: {theirs:?}");
    }
    for (who, spec, part) in [
        ("-r", "odd", ":NAME:TYPE"),
        ("-r", ":odd:M::x::/none:F", "must be there"),
        ("-U", ":odd:M::x::/none:", "--map-root-user"),
    ] {
        let refused = run(tool().args([who, "--load-interp", spec, "true"]));
        refused.fails(125, "nsenter-lite", &["add the interpreter", part]);
    }
    let whole = fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count);
    let ours = "ls /proc/sys/fs/binfmt_misc | wc -l";
    assert_eq!(with(&["-r", "-l", &spec("/bin/sh", "")], ours).silent(), "3\n");
    assert_eq!(fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count), whole);
    Ok(())
}

pub fn another_root_has_its_own_proc_and_no_way_out() -> Test {
    need_root()?;
    let root = support::alpine()?;
    let victim = scratch();
    let at = root.path().to_string_lossy().into_owned();
    let look = "pwd; echo $$; ls -d /etc/alpine-release /proc/1; tr '\\0' ' ' </proc/1/cmdline | cut -c1-7";
    let options = ["-p", "--mount-proc", "-R", &at, "-w", "/etc", "/bin/sh", "-c", look];
    let ours = run(tool().args(options)).silent();
    assert_eq!(ours, "/etc\n1\n/etc/alpine-release\n/proc/1\n/bin/sh\n");
    let script = run(tool().arg("--dry-run").args(options)).silent();
    let theirs = run(Command::new("sh").args(["-c", &script])).silent();
    assert_eq!(ours, theirs, "{script}");
    let unshared = ["-R", &at, "-S", "7", "-G", "8", "/bin/sh", "-c", "pwd; id -u; id -G"];
    assert_eq!(run(tool().args(unshared)).silent(), "/\n7\n8\n");
    fs::create_dir(victim.path().join("proc")).expect("a new folder");
    symlink(victim.path(), root.path().join("out")).expect("a new link");
    symlink("../../../../etc", root.path().join("up")).expect("a new link");
    let ran = run(tool().args(["-p", "--mount-proc=/out/proc", "-R", &at, "/bin/true"]));
    ran.fails(125, "nsenter-lite", &["mount proc on", "(ENOENT)"]);
    let ran = run(tool().args(["-p", "--mount-proc=/up", "-R", &at, "/bin/true"]));
    ran.fails(125, "nsenter-lite", &["mount proc on", "symbolic link"]);
    Ok(())
}
