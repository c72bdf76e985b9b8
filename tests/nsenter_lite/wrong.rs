//! Wrong usage, missing rights, and namespaces that are over: one line, and nothing left.

use std::process::Command;

use support::{Test, need_program, need_root, run};

use crate::setup::{as_nobody, need_user_namespaces, tool};

pub fn wrong_usage_is_one_line() -> Test {
    for (words, part) in [
        ("", "no namespace asked for"),
        ("true", "no namespace asked for"),
        ("--no-such-flag true", "--no-such-flag"),
        ("-p --mount=file true", "--mount"),
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
        (["-t", &own, "-r"], "--map-root-user"),
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
