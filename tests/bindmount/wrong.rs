//! Wrong usage, and failures.

use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Test, run};

use super::{BINDMOUNT, COUNT, bare_root, fingerprint, in_folder, tree};

pub fn a_failure_midway_leaves_nothing() -> Test {
    let root = bare_root()?;
    std::fs::write(root.path().join("etc/resolv.conf"), "").expect("our own folder");
    for (args, said) in [
        ("--std . --bind /nowhere/at/all:/etc", "copy the mount of \"/nowhere/at/all\""),
        ("--std . --bind /etc:/etc/resolv.conf", "mount on \"./etc/resolv.conf\""),
        ("--mkdir --std . --bind /etc:/a/b --bind /nowhere:/a/c/d", "copy the mount of"),
        (
            "--mkdir --std . --bind /etc:/etc/resolv.conf/x",
            "open the mount point \"./etc/resolv.conf/x\"",
        ),
        ("--mkdir /nowhere a/b/c", "copy the mount of \"/nowhere\""),
        ("--mkdir --std . --bind /etc:/a/b -- /nope", "run \"/nope\""),
    ] {
        let before = run(&mut names(&root)).silent();
        let ran = in_folder(root.path(), &format!("$B {args} || true; {COUNT}"));
        assert_eq!(ran.stdout, "0\n", "{args}: {ran:?}");
        assert!(ran.stderr.starts_with(&format!("bindmount: {said}")), "{args}: {ran:?}");
        assert_eq!(run(&mut names(&root)).silent(), before, "{args}");
    }
    Ok(())
}

fn names(root: &support::TempDir) -> Command {
    let mut command = Command::new("find");
    command.arg(root.path());
    command
}

pub fn a_command_that_can_not_be_run_leaves_no_mount() -> Test {
    let folder = tree()?;
    for (command, status) in [("nope", 127), ("/etc", 126), ("./file", 126)] {
        let script = format!(
            "status=0; $B src dst -- {command} || status=$?
            ! grep -F \" $1\" /proc/self/mountinfo; exit $status"
        );
        let parts = [&*format!("run \"{command}\"")];
        in_folder(folder.path(), &script).fails(status, "bindmount", &parts);
    }
    Ok(())
}

pub fn wrong_usage_is_one_line() -> Test {
    let folder = tree()?;
    for (args, status, parts) in [
        ("", 2, &["SRC and DST are missing", "hint: "][..]),
        ("src", 2, &["DST is missing"]),
        ("-o remount,ro dst", 2, &["DST is missing", "hint: ", "mount -o remount,bind,ro DST"]),
        ("-t proc proc dst", 2, &["read a PID from \"proc\"", "hint: -t takes a process"]),
        ("-t PID src dst", 2, &["read a PID from \"PID\"", "hint: a PID is"]),
        ("--bogus", 2, &["unexpected argument '--bogus'"]),
        ("src dst -o huge", 2, &["no option is called \"huge\"", "hint: "]),
        ("--bogus -- true", 125, &["unexpected argument"]),
        ("src dst --", 125, &["no COMMAND behind --"]),
        ("--std dst --read-only", 2, &["cannot be used with"]),
        ("--std dst --bind src:/a/../../b", 2, &["is no place in ROOTFS", "hint: "]),
        ("--make-huge src dst", 2, &["no option is called \"huge\""]),
        ("nowhere dst", 1, &["\"nowhere\"", "(ENOENT)", "hint: "]),
        ("src nowhere", 1, &["\"nowhere\"", "(ENOENT)", "hint: add --mkdir"]),
        ("src file", 1, &["mount on \"file\"", "(EINVAL)", "hint: a folder goes on a folder"]),
        ("src/file dst", 1, &["mount on \"dst\"", "(EINVAL)"]),
        ("-u dst", 1, &["unmount \"dst\": not a mount point", "hint: "]),
        ("-u -R dst", 1, &["nothing is mounted at or under it"]),
        ("-u nowhere", 1, &["\"nowhere\"", "(ENOENT)"]),
        ("--list nowhere", 1, &["\"nowhere\"", "(ENOENT)"]),
        ("--std nowhere", 1, &["root file system \"nowhere\"", "hint: make one: fetch-rootfs"]),
        ("--std dst", 1, &["dst/dev", "(ENOENT)", "hint: add --mkdir"]),
        ("--std /", 1, &["mount into \"/\"", "hint: is a shell variable empty?"]),
        ("--std /proc/.. -- true", 125, &["it is the root of this process"]),
        ("--std ''", 2, &["--std <ROOTFS> is empty: is a shell variable empty?", "hint: "]),
        ("--std=", 2, &["--std <ROOTFS> is empty"]),
        ("--std", 2, &["a value is required for '--std <ROOTFS>'"]),
        ("src ''", 2, &["a path is empty: is a shell variable empty?"]),
        ("-u ''", 2, &["a path is empty: is a shell variable empty?"]),
        (
            "-u -- -x",
            125,
            &["run a COMMAND", "hint: ", "a path that begins with - is written ./-x"],
        ),
        ("-- src dst", 125, &["SRC and DST are missing", "hint: ", "./-x"]),
        ("--std nowhere -- true", 125, &["\"nowhere\""]),
    ] {
        let script = format!(
            "before=$(cat /proc/self/mountinfo); status=0; $B {args} || status=$?
            [ \"$before\" = \"$(cat /proc/self/mountinfo)\" ] || echo changed; exit $status"
        );
        in_folder(folder.path(), &script).fails(status, "bindmount", parts);
    }
    Ok(())
}

pub fn without_privileges_it_says_so() -> Test {
    let folder = tree()?;
    run(Command::new("chmod").arg("755").arg(folder.path())).silent();
    let before = fingerprint(folder.path());
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(BINDMOUNT);
        let ran = run(command.args(args).current_dir(folder.path()).uid(65534).gid(65534));
        assert_eq!(fingerprint(folder.path()), before);
        ran
    };
    as_nobody(&["src", "dst"]).fails(1, "bindmount", &["(EPERM)", "hint: that takes root (sudo)"]);
    as_nobody(&["src", "dst", "--", "true"]).fails(125, "bindmount", &["(EPERM)"]);
    as_nobody(&["-u", "/proc"]).fails(1, "bindmount", &["(EPERM)", "hint: that takes root"]);
    as_nobody(&["--mkdir", "src", "new"]).fails(1, "bindmount", &["\"new\"", "(EACCES)"]);
    let listed = as_nobody(&["--list", "/proc"]).silent();
    assert!(listed.lines().any(|line| line.starts_with("/proc ")), "reading takes none: {listed}");
    Ok(())
}

/// What is to be typed is shown as it is.
pub fn the_help_has_one_backslash_for_one() -> Test {
    let help = run(Command::new(BINDMOUNT).arg("--help")).silent();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!help.contains(r"\\"), "{help}");
    for said in [r"a path is written \: or \,.", r"a colon of SRC or DST is written \:. Of"] {
        assert!(help.contains(said), "{said}: {help}");
    }
    Ok(())
}
