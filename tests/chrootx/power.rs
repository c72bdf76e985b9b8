//! What COMMAND may do, and what it does not get.

use std::fs;
use std::process::{Command, Stdio};

use support::{Test, alpine, need_no_filter, need_program, private_sh, run, sh, skip};

use crate::{chrootx, compiled, inside};

/// Its mounts, capabilities and descriptors are in /proc, which is mounted for it.
fn status(options: &[&str], pattern: &str) -> Result<String, support::Skip> {
    let root = alpine()?;
    let script = "mount -t proc proc \"$1/proc\"; exec 9</; root=$1; shift; \"$@\"";
    let mut command = private_sh(script);
    command.arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")).args(options).arg(root.path());
    Ok(run(command.args(["grep", "-E", pattern, "/proc/self/status"])).silent())
}

/// What it prints, which need not be text.
fn run_bytes(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    output.stdout
}

pub fn what_the_caller_left_open_stays_out() -> Test {
    let root = alpine()?;
    let script = "mount -t proc proc \"$1/proc\"; exec 9</ 7</etc 8</dev/null; \"$2\" $3 \"$1\" \\
        sh -c 'readlink /proc/self/fd/*; echo; ls /proc/self/fd/9/ /proc/self/fd/7/ 2>&1'";
    let seen = |options: &str| {
        let mut command = private_sh(script);
        command.arg(root.path()).args([env!("CARGO_BIN_EXE_chrootx"), options]);
        run(&mut command).stdout
    };
    for options in ["--umask 022", "--keep-fd 8", "--chroot"] {
        let seen = seen(options);
        assert!(seen.contains("fd/9/: No such file") && seen.contains("fd/7/: No such"), "{seen}");
    }
    let seen = seen("--keep-fd 9 --keep-fd 0");
    assert!(!seen.contains("fd/9/: No such file") && seen.contains("fd/7/: No such"), "{seen}");
    // Also a number that chrootx then takes for something of its own.
    for closed in ["3", "77"] {
        let mut command = sh("exec 3<&-; exec \"$@\"");
        command.arg(env!("CARGO_BIN_EXE_chrootx")).args(["--keep-fd", closed]);
        let told = format!("leave the descriptor {closed} open: ");
        let ran = run(command.arg(root.path()).arg("/bin/true"));
        ran.fails(125, "chrootx", &[&told, "(EBADF)", "hint: "]);
        let script = inside(root.path(), &["-n", "--keep-fd", closed], &["/bin/true"]).silent();
        assert_eq!(run(&mut private_sh(&script)).status, 125, "{script}");
    }
    Ok(())
}

pub fn capabilities_are_those_asked_for() -> Test {
    // CHOWN 0, KILL 5, SETPCAP 8, ..., SYS_CHROOT 18, SYS_ADMIN 21, MKNOD 27, SETFCAP 31.
    let few = "00000000800405fb"; // Podman's eleven
    for (options, bound, effective) in [
        (&["--cap-default"][..], few, few),
        (&["--cap-default", "-u", "nobody"], few, "0000000000000000"),
        (
            &["--cap-default", "--cap-drop", "CAP_CHOWN,kill"],
            "00000000800405da",
            "00000000800405da",
        ),
        (&["--cap-default", "--cap-keep=mknod"], "00000000880405fb", "00000000880405fb"),
        (&["--cap-drop", "all"], "0000000000000000", "0000000000000000"),
        (&["--cap-drop", "all", "--cap-keep", "kill"], "0000000000000020", "0000000000000020"),
        (&["--cap-default", "--chroot"], "00000000800005fb", "00000000800005fb"),
    ] {
        let seen = status(options, "^Cap")?;
        let wanted = format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{effective}\nCapEff:\t{effective}\n\
             CapBnd:\t{bound}\nCapAmb:\t0000000000000000\n"
        );
        assert_eq!(seen, wanted, "{options:?}");
    }
    let ours = fs::read_to_string("/proc/self/status").expect("a process");
    let all = ours.lines().find(|line| line.starts_with("CapBnd:")).expect("a set");
    assert_eq!(status(&[], "^CapBnd")?.trim_end(), all, "unasked, nothing is taken away");
    let all = u64::from_str_radix(&all[8..], 16).expect("a number");
    let left = all & !(1 << 18 | 1 << 27 | 1 << 2 | 1 << 21);
    assert_eq!(status(&["--chroot"], "^CapBnd")?, format!("CapBnd:\t{left:016x}\n"));
    Ok(())
}

/// CVE-2022-24769: what is inheritable, a program of the root picks up.
pub fn nothing_is_inherited() -> Test {
    let root = alpine()?;
    need_program("setpriv")?;
    for user in ["0:0", "65534:65534"] {
        let script = "mount -t proc proc \"$1/proc\"; exec setpriv --inh-caps +chown,+kill \\
            --ambient-caps +chown \"$2\" -u \"$3\" \"$1\" grep -E 'Cap(Inh|Amb)' /proc/self/status";
        let mut command = private_sh(script);
        command.arg(root.path()).args([env!("CARGO_BIN_EXE_chrootx"), user]);
        let none = "0000000000000000";
        assert_eq!(run(&mut command).silent(), format!("CapInh:\t{none}\nCapAmb:\t{none}\n"));
    }
    Ok(())
}

pub fn without_its_capability_a_call_is_refused() -> Test {
    let root = alpine()?;
    for (call, capability) in [
        ("mknod /dev/disk b 8 0", "mknod"),
        ("mount -t tmpfs t /mnt", "sys_admin"),
        ("chroot / true", "sys_chroot"),
        ("chown 1:1 /tmp", "chown"),
        ("nice -n -5 true", "sys_nice"),
    ] {
        let status = |options: &[&str]| {
            let ran = inside(root.path(), options, &["/bin/sh", "-c", call]);
            let _ = fs::remove_file(root.path().join("dev/disk"));
            (ran.status == 0, ran.stderr)
        };
        let drop = ["--cap-drop", capability];
        let (done, why) = status(&drop);
        assert!(!done && why.contains("ermi"), "{call}: {why}"); // not permitted, permission denied
        assert_eq!(status(&["--cap-drop", "all", "--cap-keep", capability]), (true, String::new()));
        assert_eq!(status(&[]), (true, String::new()), "{call}");
    }
    Ok(())
}

pub fn no_program_gains_privileges() -> Test {
    let root = alpine()?;
    let program = compiled("euid.rs", root.path())?;
    run(Command::new("chmod").arg("4755").arg(root.path().join("euid"))).silent();
    let euid = |options: &[&str]| {
        let options = [options, &["-u", "nobody"]].concat();
        inside(root.path(), &options, &[&program]).silent()
    };
    assert_eq!(euid(&[]), "0\n", "a setuid program must be known to work");
    assert_eq!(euid(&["--no-new-privs"]), "65534\n");
    assert_eq!(status(&["--no-new-privs"], "NoNew")?, "NoNewPrivs:\t1\n");
    Ok(())
}

pub fn the_root_is_read_only_and_what_is_in_it_as_it_was() -> Test {
    let root = alpine()?;
    let script = "mount -t tmpfs t \"$1/mnt\"; \"$2\" --read-only \"$1\" /bin/sh -c '
        touch /mnt/file && echo written; touch /tmp/file; 
        mount -o remount,bind,rw none / && touch /tmp/mine && echo changed'; touch \"$1/tmp/outside\"";
    let ran = run(private_sh(script).arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")));
    assert!(ran.stderr.contains("/tmp/file: Read-only file system"), "{ran:?}");
    assert_eq!(ran.stdout, "written\nchanged\n", "root, with all its power, can change that");
    let tmp = |name: &str| root.path().join("tmp").join(name).exists();
    assert!(!tmp("file") && tmp("mine") && tmp("outside"));
    let script = "mount -o remount,bind,rw none /; touch /tmp/file";
    let options = ["--read-only", "--cap-default"];
    let ran = inside(root.path(), &options, &["/bin/sh", "-c", script]);
    assert!(ran.stderr.contains("/tmp/file: Read-only file system"), "{ran:?}");
    Ok(())
}

pub fn limits_umask_and_variables_are_set() -> Test {
    let root = alpine()?;
    let script = "umask; ulimit -Sn; ulimit -Hn; ulimit -c";
    let options = ["--umask", "077", "--rlimit", "nofile=40:50", "--rlimit=core=0"];
    let ran = inside(root.path(), &options, &["/bin/sh", "-c", script]);
    assert_eq!(ran.silent(), "0077\n40\n50\n0\n");
    // As prlimit(1) has it, an empty side leaves that limit as it is.
    let limits = |list: &[&str]| {
        let script = "ulimit -Sn; ulimit -Hn";
        let options: Vec<&str> = list.iter().flat_map(|limit| ["--rlimit", limit]).collect();
        let ours = inside(root.path(), &options, &["/bin/sh", "-c", script]);
        let script = [&options[..], &["-n"]].concat();
        let script = inside(root.path(), &script, &["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"]);
        assert_eq!(run(&mut private_sh(&script.silent())), ours, "{list:?}");
        ours.silent()
    };
    assert_eq!(limits(&["nofile=40:50", "nofile=45:"]), "45\n50\n");
    assert_eq!(limits(&["nofile=40:50", "nofile=:45"]), "40\n45\n");

    let env = |options: &[&str]| {
        let mut command = chrootx();
        command.env_clear().env("TERM", "vt52").env("SECRET", "x").env("PATH", "/opt:/bin");
        let ran = run(command.args(options).arg(root.path()).args(["/usr/bin/env"]));
        let mut lines: Vec<String> = ran.silent().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env(&[]), "PATH=/opt:/bin\nSECRET=x\nTERM=vt52");
    assert_eq!(env(&["--clear-env"]), format!("{path}\nTERM=vt52"));
    assert_eq!(
        env(&["--clear-env", "-e", "TERM=x", "-e", "NO=", "-eNONE"]),
        format!("NO=\n{path}\nTERM=x")
    );
    assert_eq!(env(&["-e", "HOME=/h"]), "HOME=/h\nPATH=/opt:/bin\nSECRET=x\nTERM=vt52");
    let user = env(&["--clear-env", "-u", "nobody", "-e", "HOME=/h"]);
    assert_eq!(
        user,
        format!("HOME=/h\nLOGNAME=nobody\n{path}\nSHELL=/sbin/nologin\nTERM=vt52\nUSER=nobody")
    );
    Ok(())
}

/// The answers are errnos.
pub fn calls_that_a_container_needs_not_are_refused() -> Test {
    need_no_filter("what calls answer inside is looked at")?;
    if cfg!(not(target_arch = "x86_64")) {
        return Err(skip("the numbers of the calls are those of x86_64"));
    }
    let root = alpine()?;
    let program = compiled("calls.rs", root.path())?;
    let calls = [
        ("165", 1, 14),          // mount: EPERM; EFAULT is what the kernel says of no address
        ("272,268435456", 1, 0), // unshare, CLONE_NEWUSER
        ("56,268435473", 1, 0),  // clone, with that flag; what is cloned ends as we do
        ("435", 38, 22),         // clone3: ENOSYS; EINVAL
        ("425,1", 1, 14),        // io_uring_setup
        ("41,40,1", 97, 0),      // socket, AF_VSOCK: EAFNOSUPPORT
        ("41,1,1", 0, 0),        // socket, AF_UNIX
        ("16,0,21522", 1, 25),   // ioctl, TIOCSTI; ENOTTY
        ("16,0,21505", 25, 25),  // ioctl, TCGETS; ENOTTY
        ("135,262144", 1, 0),    // personality, ADDR_NO_RANDOMIZE
        ("161", 14, 14),         // chroot, by its capability
        ("999", 38, 38),         // one that no kernel has
    ];
    let answers = |options: &[&str], pick: fn(&(&str, i32, i32)) -> i32| {
        let filtered = options.contains(&"--seccomp");
        // Unfiltered, a clone would print, too.
        let asked = calls.iter().filter(|(call, ..)| filtered || !call.starts_with("56,"));
        let names: Vec<&str> = asked.clone().map(|(call, ..)| *call).collect();
        let mut command = chrootx();
        command.args(options).arg(root.path()).arg(&program).args(names);
        let lines = asked.map(|one| format!("{}: {}\n", one.0, pick(one)));
        let wanted = lines.collect::<String>() + "thread 7, exit status: 0\n";
        assert_eq!(run(command.stdin(Stdio::null())).silent(), wanted, "{options:?}");
    };
    answers(&["--cap-default", "--seccomp", "default"], |(_, filtered, _)| *filtered);
    answers(&[], |(_, _, plain)| *plain);

    let file = root.path().join("filter");
    let filter = run_bytes(chrootx().args(["--cap-default", "--print-seccomp"]));
    fs::write(&file, filter).expect("a file in the root");
    let file = file.to_str().expect("a plain name");
    answers(&["--cap-default", "--seccomp", file], |(_, filtered, _)| *filtered);
    let script = run(chrootx().args(["--cap-default", "--print-seccomp", "-n"])).silent();
    assert_eq!(run_bytes(&mut sh(&script)), fs::read(file).expect("it was just written"));
    assert_eq!(
        status(&["--seccomp", "default"], "Seccomp:|NoNew")?,
        "NoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    Ok(())
}

/// The other door to the same kernel: the calls of 32-bit programs, by the numbers that these have.
pub fn programs_of_32_bits_are_held_too() -> Test {
    need_no_filter("what calls answer inside is looked at")?;
    if cfg!(not(target_arch = "x86_64")) {
        return Err(skip("only x86_64 has them"));
    }
    let root = alpine()?;
    let program = compiled("calls32.rs", root.path())?;
    // getpid, brk, umount2, unshare of a user namespace, keyctl, clone3, one that no kernel has:
    // 1 is EPERM, 38 ENOSYS, the others are what the kernel says of arguments that make no sense.
    let calls = ["20,0", "45,0", "52,0", "310,268435456", "288,99", "435,0", "999,0"];
    let answers = |options: &[&str], calls: &[&str]| {
        let ran = inside(root.path(), options, &[&[&*program], calls].concat());
        (ran.status == 0).then(|| {
            let answers = ran.stdout.lines().filter_map(|line| line.split(": ").nth(1));
            answers.collect::<Vec<_>>().join(" ")
        })
    };
    let Some(plain) = answers(&[], &calls) else {
        return Err(skip("this kernel runs no 32-bit programs"));
    };
    assert_eq!(plain, "0 0 14 0 95 22 38");
    let options = ["--cap-default", "--seccomp", "default"];
    assert_eq!(answers(&options, &calls).as_deref(), Some("0 0 1 1 1 38 38"));
    // socket, AF_VSOCK: EAFNOSUPPORT.
    assert_eq!(answers(&options, &["359,40"]).as_deref(), Some("97"));
    Ok(())
}

/// The root of a user namespace, too, is not the one that raises limits.
pub fn a_limit_that_can_not_be_raised_is_explained() -> Test {
    let root = alpine()?;
    let most = fs::read_to_string("/proc/sys/fs/nr_open").expect("a setting");
    let most: u64 = most.trim().parse().expect("a number");
    let beyond = format!("nofile={}", most + 1);
    let ran = inside(root.path(), &["--rlimit", &beyond], &["/bin/true"]);
    ran.fails(125, "chrootx", &["(EPERM)", "hint: ", "nobody gets more than /proc/sys/fs/nr_open"]);
    let script =
        "ulimit -c 0; exec setpriv --bounding-set -sys_resource \"$1\" --rlimit core=5 / true";
    let ran = run(sh(script).arg(env!("CARGO_BIN_EXE_chrootx")));
    ran.fails(125, "chrootx", &["(EPERM)", "hint: ", "CAP_SYS_RESOURCE", "hard limit, 0"]);
    for (limit, soft, hard) in [("nofile=60:", 60, 50), ("nofile=:30", 40, 30)] {
        let options = ["--rlimit", "nofile=40:50", "--rlimit", limit];
        let ran = inside(root.path(), &options, &["/bin/true"]);
        let hint = format!("hint: the soft limit, {soft}, can't be above the hard limit, {hard}\n");
        ran.fails(125, "chrootx", &["(EINVAL)", &hint]);
    }
    Ok(())
}

/// /proc/keys shows the keys that one has.
pub fn a_keyring_of_ones_own() -> Test {
    let root = alpine()?;
    let script = "mount -t proc proc \"$1/proc\"; exec \"$2\" $3 \"$1\" /bin/cat /proc/keys";
    let keys = |options: &str| {
        let mut command = private_sh(script);
        command.arg(root.path()).args([env!("CARGO_BIN_EXE_chrootx"), options]);
        run(&mut command).silent()
    };
    let sessions = |options: &str| {
        let keys = keys(options);
        let lines = keys.lines().filter(|line| line.contains("_ses"));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let ours = sessions("--keep-fd=0");
    let own = sessions("--new-keyring");
    assert!(own.iter().any(|key| !ours.contains(key)), "{ours:?} {own:?}");
    let mut denied = Command::new(need_program("strace")?);
    denied.args(["-qq", "-o", "/dev/null", "-e", "inject=keyctl:error=EPERM"]);
    denied.args([env!("CARGO_BIN_EXE_chrootx"), "--new-keyring"]).arg(root.path()).arg("true");
    let hint = "hint: a filter (seccomp) denies keyctl(2)";
    run(&mut denied).fails(125, "chrootx", &["(EPERM)", hint, "leave --new-keyring out"]);
    Ok(())
}

pub fn each_call_that_fails_stops_it() -> Test {
    need_no_filter("calls are counted, and some are made only in place of others")?;
    let root = alpine()?;
    let strace = need_program("strace")?;
    let options = ["--cap-default", "--no-new-privs", "--umask=022", "--rlimit=core=0"];
    let more = ["--seccomp", "default", "--new-keyring", "--read-only", "-u", "nobody"];
    let rules = ["--landlock", "rx:/,rw:/tmp"];
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("a table");
    for (call, least) in [
        ("capset", 1),
        ("prctl", 30),
        ("keyctl", 1),
        ("mount_setattr", 1),
        ("prlimit64", 1),
        ("setgroups", 1),
        ("setresuid", 1),
        ("pivot_root", 1),
        ("umount2", 1),
        ("chroot", 1),
        ("unshare", 1),
        ("mount", 1),
        ("open_tree", 1),
        ("move_mount", 1),
        ("fchdir", 2),
        ("landlock_create_ruleset", 2),
        ("landlock_add_rule", 2),
        ("landlock_restrict_self", 1),
        ("openat2", 4),
        ("seccomp", 1),
    ] {
        let mut failures = 0;
        for nth in 1..=least + 4 {
            let inject = format!("inject={call}:error=EIO:when={nth}");
            let mut command = Command::new(&strace);
            command.args(["-qq", "-o", "/dev/null", "-e", &inject]);
            command.arg(env!("CARGO_BIN_EXE_chrootx")).args(options).args(more).args(rules);
            let ran = run(command.arg(root.path()).args(["/bin/echo", "it ran"]));
            // Rust's own start looks at a limit, and does without.
            if ran.status != 0 {
                assert_eq!(ran.stdout, "", "{call} {nth}");
                ran.fails(125, "chrootx", &["(EIO)"]);
                let root = root.path().to_str().expect("a plain name");
                assert!(!mounts().contains(root), "{call} {nth}");
                failures += 1;
            }
        }
        assert!(failures >= least, "{call}: {failures}");
    }
    Ok(())
}

pub fn what_can_not_be_read_is_said() -> Test {
    let fails = |args: &[&str], parts: &[&str]| {
        run(chrootx().args(args).args(["/usr", "/bin/true"])).fails(125, "chrootx", parts);
    };
    fails(&["--cap-drop", "chow"], &["read a capability from \"chow\"", "hint: "]);
    fails(&["--cap-keep", "all,x y"], &["read a capability from \"x y\""]);
    for option in ["--cap-drop", "--cap-keep"] {
        fails(&[option, ""], &["read capabilities from \"\": it names none", "hint: "]);
        fails(&[option, "chown", option, ","], &["read capabilities from \",\": it names none"]);
    }
    fails(&["--rlimit", "nofile"], &["read a limit from \"nofile\": there is no =", "hint: "]);
    fails(&["--umask", "9"], &["read a umask from \"9\"", "hint: 022"]);
    fails(&["--umask", "7777"], &["read a umask from \"7777\""]);
    fails(&["-e", "=x"], &["read a variable from \"=x\": it has no name", "hint: "]);
    fails(&["-e", ""], &["read a variable from \"\": it has no name", "hint: "]);
    fails(
        &["--seccomp", "/nowhere"],
        &["read a filter from \"/nowhere\"", "(ENOENT)", "hint: ", "without --seccomp"],
    );
    fails(&["--seccomp", "/dev/null"], &["it is no program for seccomp(2)", "hint: "]);
    fails(&["--keep-fd", "x"], &["invalid value 'x'"]);
    fails(&["--read-only", "--chroot"], &["cannot be used with"]);
    Ok(())
}
