//! What the kernel refuses, made to happen, and what the hint says to do.

use std::process::Command;

use support::{Test, need_no_filter, need_program, need_root, private_sh, run, scratch};

use crate::setup::{as_nobody, need_user_namespaces, tool};

const TOOL: &str = env!("CARGO_BIN_EXE_nsenter-lite");

pub fn a_limit_is_no_full_disk() -> Test {
    need_root()?;
    for (option, name) in [("-n", "net"), ("-u", "uts"), ("-m", "mnt"), ("-U", "user")] {
        // The limits of a user namespace of the test's own.
        let script =
            format!("echo 0 >/proc/sys/user/max_{name}_namespaces; exec \"$0\" {option} true");
        let ran = run(tool().args(["-r", "-m", "-p", "--mount-proc", "sh", "-c", &script, TOOL]));
        let hint = format!(
            "hint: this system allows none, as root: sysctl user.max_{name}_namespaces=1000"
        );
        ran.fails(125, "nsenter-lite", &["(ENOSPC)", &hint]);
    }
    let deep = "n=$1; [ $n -gt 40 ] || exec \"$0\" -r sh -c \"$2\" \"$0\" $((n + 1)) \"$2\"";
    let ran = run(tool().args(["-r", "sh", "-c", deep, TOOL, "1", deep]));
    ran.fails(125, "nsenter-lite", &["(ENOSPC)", "32 deep at most"]);
    Ok(())
}

pub fn no_user_namespace_in_a_chroot() -> Test {
    need_no_filter("the program is run in another root, where its filter is not")?;
    need_user_namespaces()?;
    need_program("setpriv")?;
    let root = scratch();
    let (program, _) = as_nobody();
    let script = "cd \"$1\"; mkdir bin usr lib lib64 etc proc sw
        for d in bin usr lib lib64 etc; do ! [ -d /$d ] || mount --bind /$d $d; done
        mount -t proc proc proc; mount --bind \"$2\" sw; chmod 755 .
        [ -z \"$3\" ] || { mount -t tmpfs none proc/sys/kernel; echo \"$4\" >\"proc/sys/kernel/$3\"; }
        exec chroot . setpriv --reuid 65534 --regid 65534 --clear-groups /sw/nsenter-lite -r true";
    let root_in = |switch: &str, value: &str| {
        let mut command = private_sh(script);
        run(command.arg(root.path()).arg(program.path()).args([switch, value]))
    };
    root_in("", "").fails(
        125,
        "nsenter-lite",
        &["(EPERM)", "hint: the kernel makes no user namespace in a chroot"],
    );
    let clean = || {
        for entry in std::fs::read_dir(root.path()).expect("ours").flatten() {
            std::fs::remove_dir(entry.path()).expect("an empty mount point");
        }
    };
    clean();
    root_in("apparmor_restrict_unprivileged_userns", "1").fails(
        125,
        "nsenter-lite",
        &["AppArmor", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"],
    );
    clean();
    root_in("unprivileged_userns_clone", "0").fails(
        125,
        "nsenter-lite",
        &["sudo sysctl kernel.unprivileged_userns_clone=1"],
    );
    Ok(())
}

pub fn what_only_another_kernel_says_is_explained() -> Test {
    need_root()?;
    need_program("strace")?;
    let folder = scratch();
    let own = std::process::id().to_string();
    let cases: [(&str, &[&str], &str); 9] = [
        ("unshare:error=EINVAL", &["-T"], "Linux 5.6"),
        ("unshare:error=EPERM", &["-m"], "root lacks CAP_SYS_ADMIN"),
        ("unshare:error=EPERM", &["-U"], "grep Seccomp /proc/self/status"),
        ("unshare:error=ENOSPC", &["-u"], "not a disk full"),
        ("setns:error=EPERM", &["-t", &own, "-u"], "nsenter-lite -t"),
        ("setns:error=ESRCH", &["-t", &own, "-u"], "has ended"),
        ("memfd_create:error=EACCES", &["-t", &own, "-u"], "sysctl vm.memfd_noexec=1"),
        ("chroot:error=EPERM", &["-R", "/"], "that takes root"),
        ("setresuid:error=EPERM", &["-S", "5"], "--map-auto"),
    ];
    for (fault, options, part) in cases {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("inject={fault}"), "-o"]).arg(folder.path().join("log"));
        run(command.arg(TOOL).args(options).arg("true")).fails(
            125,
            "nsenter-lite",
            &["hint: ", part],
        );
    }
    Ok(())
}

pub fn a_root_or_an_identity_that_is_not_to_be_had() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["-r", "-R", "/nowhere"], &["(ENOENT)", "fetch-rootfs host"]),
        (&["--join", "net=/proc/1/ns/net"], &["(EACCES)", "a process of your own"]),
        (&["-t", "1", "--user-parent", "-U"], &["(EACCES)", "a process of your own"]),
        (&["-t", "1", "--net=/proc/1/ns/net"], &["(EACCES)", "a process of your own"]),
        (&["-R", "/"], &["change the root directory", "(EPERM)", "--map-root-user"]),
        (&["-r", "-R", "/etc/passwd"], &["(ENOTDIR)", "fetch-rootfs"]),
        (&["-S", "0"], &["be user 0", "(EPERM)", "--map-auto"]),
        (&["-r", "-G", "7"], &["be group 7", "(EINVAL)", "nobody is mapped to 7"]),
        (&["-r", "-w", "/nowhere"], &["working directory to \"/nowhere\"", "(ENOENT)"]),
    ];
    for (options, parts) in cases {
        run(nobody().args(options).arg("true")).fails(125, "nsenter-lite", parts);
    }
    Ok(())
}

pub fn a_folder_or_room_for_descriptors_that_is_missing() -> Test {
    need_user_namespaces()?;
    let ran = run(tool().args(["-r", "--pid-file", "/nowhere/pid", "true"]));
    ran.fails(125, "nsenter-lite", &["(ENOENT)", "mkdir -p \"/nowhere\""]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 4; exec \"$0\" -r --init true", TOOL]);
    run(&mut shell).fails(125, "nsenter-lite", &["(EMFILE)", "ulimit -n"]);
    Ok(())
}

pub fn clocks_have_a_range() -> Test {
    need_root()?;
    let ran = run(tool().args(["--monotonic=-999999999", "true"]));
    ran.fails(125, "nsenter-lite", &["monotonic clock by -999999999", "(ERANGE)", "it stands at"]);
    let ran = run(tool().args(["--boottime", "9999999999", "true"]));
    ran.fails(125, "nsenter-lite", &["boottime clock", "(ERANGE)", "146 years"]);
    let seen = "cat /proc/self/timens_offsets | tr -s ' '; exit 42";
    let options = ["--boottime", "7000", "--monotonic=60"];
    let ours = run(tool().args(options).args(["sh", "-c", seen]));
    assert_eq!((ours.stdout.as_str(), ours.status), ("monotonic 60 0\nboottime 7000 0\n", 42));
    let script = run(tool().arg("--dry-run").args(options).args(["sh", "-c", seen])).silent();
    assert_eq!(run(Command::new("sh").args(["-c", &script])), ours, "{script}");
    Ok(())
}
