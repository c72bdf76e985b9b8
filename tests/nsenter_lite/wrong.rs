//! Wrong usage, missing rights, and namespaces that are over: one line, and nothing left.

use std::process::Command;

use support::{Test, need_program, need_root, run};

use crate::setup::{as_nobody, need_user_namespaces, tool};

pub fn wrong_usage_is_one_line() -> Test {
    for (words, part) in [
        ("", "no namespace asked for"),
        ("true", "no namespace asked for"),
        ("--no-such-flag true", "--no-such-flag"),
        ("--map-users 0:1 true", "INNER:OUTER:COUNT"),
        ("--map-users 0:0:0 true", "no such ids"),
        ("--map-users 0:010:x true", "INNER:OUTER:COUNT"),
        ("--map-users 0:4294967290:9 true", "no such ids"),
        ("--map-users 0:100:5 --map-users 4:200:1 true", "user 4 inside comes twice"),
        ("--map-groups 0:100:5 --map-groups 5:104:1 true", "group 104 outside comes twice"),
        ("--map-user nobody-at-all true", "there is none"),
        ("--map-group 4294967295 true", "there is none"),
        ("--map-auto --map-subids true", "--map-subids"),
        ("-c --map-user 5 true", "--map-user"),
        ("--keep-caps -m true", "--user"),
        ("--init --join pid=/proc/self/ns/pid true", "it has a PID 1"),
        ("--boottime never true", "never"),
        ("-S root -m true", "root"),
        ("--root= true", "empty"),
        ("--persist d true", "none is made"),
        ("--wdns / true", "--target"),
        ("--env true", "--target"),
        ("--join-cgroup true", "--target"),
        ("--user-parent true", "--target"),
        ("--net-socket 3 true", "--target"),
        ("-Z true", "--target"),
        ("--owner 1000 true", "UID:GID"),
        ("--owner 0:4294967295 true", "UID:GID"),
        ("--owner 1:1 --setgroups deny true", "--setgroups with --owner"),
        ("--owner 1:1 --join user=/proc/self/ns/user true", "--owner without a user namespace"),
        ("--owner 1:1 --boottime 5 true", "with --owner"),
        ("-S x -m true", "x"),
        ("-S 4294967295 -m true", "ids go up to 4294967294"),
        ("-G 4294967295 -m true", "ids go up to 4294967294"),
        ("--clear-env true", "no namespace asked for"),
        ("--propagation sideways -m true", "sideways"),
        ("--setgroups maybe -U true", "maybe"),
        ("--setgroups deny -m true", "--user"),
        ("-r --setgroups allow true", "setgroups"),
        ("--kill-child=NONE true", "NONE"),
        ("-r -c true", "--map-current-user"),
        ("--hostname", "--hostname"),
        ("--dry-run --explain -m true", "--explain"),
        ("-a true", "--target"),
        ("-F -p true", "--target"),
        ("-t", "--target"),
    ] {
        let ran = run(tool().args(words.split_whitespace()).env("SHELL", "/bin/false"));
        ran.fails(125, "nsenter-lite", &[part]);
    }
    Ok(())
}

pub fn wrong_pids_are_told_apart() -> Test {
    let mut gone = Command::new("true").spawn().expect("true starts");
    gone.wait().expect("our own child");
    let gone = gone.id().to_string();
    let own = std::process::id().to_string();
    for (words, part) in [
        (["-t", "", "-a"], "it is empty"),
        (["-t", "0x1", "-a"], "\"0x1\""),
        (["-t", "0", "-a"], "\"0\""),
        (["-t", "1 2", "-a"], "\"1 2\""),
        (["-t", &gone, "-a"], "No such process (ESRCH)"),
        (["-t", &own, "--fork"], "no namespace of the target"),
        (["-t", &own, "--hostname=x"], "--hostname"),
        (["-t", &own, "--mount-proc"], "--mount-proc"),
        (["-t", &own, "--map-root-user"], "--map-root-user"),
        (["-t", &own, "--boottime=5"], "--boottime"),
        (["-t", "/nowhere/at/all", "-a"], "no such folder"),
        (["-t", "kept", "-a"], "no such folder"),
        (["-t", "box1", "-a"], "no such folder"),
        (["-t", "/etc", "-a"], "there are no namespaces in it"),
        (["-t", "fd:77", "-a"], "hint: the caller has no such descriptor"),
        (["-t", "/proc/self", "-a"], "-t \"/proc/self/ns\""),
        (["-t", "fd:0", "-a"], "no pidfd"),
        (["-t", "1:one", "-a"], "inode"),
        (["-t", "1:1", "-a"], "its inode is "),
        (["-t", &own, "--net=/etc/passwd"], "an ordinary file"),
    ] {
        let mut command = tool();
        run(command.args(words).args(["--", "true"])).fails(125, "nsenter-lite", &[part]);
    }
    need_root()?;
    run(tool().args(["-t", &own, "-U", "true"])).fails(125, "nsenter-lite", &["(EINVAL)", "-a"]);
    Ok(())
}

pub fn without_privileges_it_says_so() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    for options in [&["-m"][..], &["-p"], &["--hostname", "box"], &["-muipnC"], &["-T"]] {
        let ran = run(nobody().args(options).args(["--", "true"]));
        ran.fails(125, "nsenter-lite", &["(EPERM)", "hint: that takes root", "--map-root-user"]);
    }
    let masked = "\"$0\" -m sh -c 'mount --bind /dev/null /proc/version; setpriv --reuid 65534 \
        --clear-groups --regid 65534 \"$0\" -r -p --mount-proc true' \"$0\"";
    need_program("setpriv")?;
    let (_folder, program) = {
        let (folder, command) = as_nobody();
        (folder, command().get_program().to_owned())
    };
    let ran = run(Command::new("sh").arg("-c").arg(masked).arg(program));
    ran.fails(125, "nsenter-lite", &["mount proc on \"/proc\"", "(EPERM)", "findmnt -R /proc"]);
    Ok(())
}

pub fn a_pid_namespace_whose_init_has_ended_is_explained() -> Test {
    need_root()?;
    // unshare without --fork: its first child is PID 1 and ends, the second can't be forked.
    let program = env!("CARGO_BIN_EXE_nsenter-lite");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "sh", "-c", "(exit 0); exec \"$0\" --fork true", program]);
    run(&mut unshare).fails(125, "nsenter-lite", &["(ENOMEM)", "PID 1"]);
    Ok(())
}
