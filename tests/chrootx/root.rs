//! How the root becomes the root: by descriptor, whatever the path that names it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Ran, Test, alpine, need_no_filter, need_program, private_sh, run, scratch, sh};

use crate::chrootx;

/// What COMMAND sees of its mounts: that the old root is gone, and whether it can write.
const LOOK: &str = "cat /etc/alpine-release; echo in $(pwd); mount -t proc proc /proc
    cut -d' ' -f5 /proc/self/mountinfo; touch /probe && rm /probe && echo written";

/// Runs a line of shell in the root, with `$B` for the program; `$1` is the root.
fn within(root: &Path, line: &str) -> Ran {
    let mut command = sh(format!("cd \"$1\"; {line}"));
    run(command.arg(root).env("B", env!("CARGO_BIN_EXE_chrootx")).env("LOOK", LOOK))
}

pub fn any_path_to_it_will_do() -> Test {
    let root = alpine()?;
    let wanted = "3.20.3\nin /\n/\n/proc\nwritten\n";
    for line in [
        "$B . sh -c \"$LOOK\"",
        "$B ./ sh -c \"$LOOK\"",
        "$B ../${1##*/} sh -c \"$LOOK\"",
        "$B \"$1/etc/..\" sh -c \"$LOOK\"",
        "cd bin; $B .. sh -c \"$LOOK\"",
        "ln -sfn . tmp/link; cd tmp/link; $B ../ sh -c \"$LOOK\"",
        "ln -sfn \"$1\" tmp/l; cd /; $B \"$1/tmp/l\" sh -c \"$LOOK\"",
        "exec 5<.; cd /; $B /proc/self/fd/5 sh -c \"$LOOK\"",
        "$B /proc/self/cwd sh -c \"$LOOK\"",
        // The folder that we are in, not the one that is mounted over it, which comes along.
        "unshare -m --propagation private sh -ec 'mount -t tmpfs t \"$1\"; $B . sh -c \"$LOOK\"' sh \"$1\" | uniq",
    ] {
        assert_eq!(within(root.path(), line).silent(), wanted, "{line}");
        if !line.contains("/proc/self") && !line.contains("tmpfs") {
            let script = line.replace("$B", "eval \"$($B -n").replace("\"$LOOK\"", "\"$LOOK\")\"");
            // The script covers the old root, and can't unmount it.
            let script = format!("({script}) | uniq");
            assert_eq!(within(root.path(), &script).silent(), wanted, "{script}");
        }
    }
    Ok(())
}

/// `/` itself has no way back: there is nothing to be left.
pub fn the_root_that_one_has_is_a_root_too() -> Test {
    need_no_filter("the program is run in another root, where its filter is not")?;
    let root = alpine()?;
    fs::write(root.path().join("mark"), "").expect("our own folder");
    let script = "for file in \"$2\" $(ldd \"$2\" | grep -o '/[^ ]*'); do
            mkdir -p \"$1${file%/*}\"; cp -L \"$file\" \"$1$file\"; done
        mount --rbind \"$1\" \"$1\"; mkdir \"$1/old\"; cd \"$1\"; pivot_root . old; mount --make-rprivate /; umount -l /old; export PATH=/bin:/usr/bin
        cd /tmp; for options in '' --skip-chdir --read-only '--chroot --skip-chdir'; do
            \"$2\" $options / sh -c 'pwd; test -e /mark; touch /probe 2>&1; true'
        done; cd /; \"$2\" /bin/.. pwd; cd bin; \"$2\" .. pwd";
    let mut command = private_sh(script);
    let ran = run(command.arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")));
    let read_only = "touch: /probe: Read-only file system\n";
    assert_eq!(ran.stdout, format!("/\n/tmp\n/\n{read_only}/tmp\n/\n/\n"), "{ran:?}");
    let elsewhere = run(chrootx().arg("--skip-chdir").arg(root.path()).arg("/bin/true"));
    elsewhere.fails(125, "chrootx", &["--skip-chdir", "hint: "]);
    Ok(())
}

/// Where a filter knows none of the newer calls, mount(2) does it.
pub fn without_the_newer_calls_the_same_is_done() -> Test {
    let strace = need_program("strace")?;
    let strace = strace.display();
    let root = alpine()?;
    let look = |calls: &str, errno: &str, options: &str, path: &str| {
        let injected = format!(
            "{strace} -f -qq -o /dev/null -e trace={calls} -e inject={calls}:error={errno}"
        );
        within(root.path(), &format!("{injected} $B {options} {path} sh -c \"$LOOK\" 2>&1"))
    };
    let newer = "open_tree,move_mount,mount_setattr";
    for errno in ["ENOSYS", "EPERM"] {
        for calls in ["open_tree", "move_mount", "mount_setattr", newer] {
            for path in [".", "../${1##*/}", "\"$1\""] {
                let ran = look(calls, errno, "", path);
                assert_eq!(
                    ran.silent(),
                    "3.20.3\nin /\n/\n/proc\nwritten\n",
                    "{calls} {errno} {path}"
                );
            }
            let ran = look(calls, errno, "--read-only", ".");
            assert!(
                ran.stdout.ends_with("/proc\ntouch: /probe: Read-only file system\n"),
                "{ran:?}"
            );
        }
    }
    Ok(())
}

/// In a user namespace the mounts keep what the machine has put on them.
pub fn a_remount_keeps_what_can_not_be_taken_off() -> Test {
    let strace = need_program("strace")?;
    let root = alpine()?;
    let outside = scratch();
    symlink(root.path(), outside.path().join("root")).expect("our own folder");
    let script = "mount -t tmpfs -o nosuid,nodev,noatime t \"$1/mnt\"; cp -a \"$1/bin\" \"$1/lib\" \"$1/mnt\"
        unshare -Urm \"$2\" -f -qq -o /dev/null -e trace=mount_setattr \\
            -e inject=mount_setattr:error=ENOSYS \"$3\" --read-only \"$1/mnt\" /bin/touch /probe";
    let mut command = private_sh(script);
    let ran = run(command.arg(root.path()).arg(strace).arg(env!("CARGO_BIN_EXE_chrootx")));
    assert!(ran.stderr.contains("/probe: Read-only file system"), "{ran:?}");
    Ok(())
}

/// A tree from elsewhere may have a file for each disk; the dev that is mounted on it is ours.
pub fn device_files_of_the_root_open_nothing() -> Test {
    let script = "mknod -m 666 \"$1/tmp/zero\" c 1 5; mount -t tmpfs t \"$1/mnt\"
        mknod -m 666 \"$1/mnt/zero\" c 1 5; program=$2 root=$1; shift 2
        look='for file in /tmp/zero /mnt/zero; do [ $(head -c 1 $file | wc -c) = 0 ] || echo $file; done
            touch /tmp/x 2>&1; true'
        \"$program\" $1 \"$root\" /bin/sh -c \"$look\"; \"$program\" $1 -n \"$root\" /bin/sh -c \"$look\" | sh";
    for (option, seen) in [
        ("", "/tmp/zero\n/mnt/zero\n"),
        ("--nodev", "/mnt/zero\n"),
        ("--nodev --read-only", "/mnt/zero\ntouch: /tmp/x: Read-only file system\n"),
    ] {
        let root = alpine()?;
        let mut shell = private_sh(script);
        shell.arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")).arg(option);
        let ran = run(&mut shell);
        assert_eq!(ran.stdout, seen.repeat(2), "{ran:?}");
    }
    Ok(())
}

/// `cd /proc/self/fd/0/..` would be outside.
pub fn a_folder_is_no_input() -> Test {
    let root = alpine()?;
    for (option, name) in [("0", "input"), ("1", "output"), ("2", "error")] {
        let ran = |options: &str| {
            let script = format!("exec 3<\"$1\"; exec \"$2\" {options} \"$1\" true {option}>&3");
            run(sh(&script).arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")))
        };
        let refused = ran("");
        assert_eq!(refused.status, 125, "{refused:?}");
        // Whoever has a folder for standard error hears nothing.
        if name != "error" {
            refused.fails(125, "chrootx", &[name, "is a folder", &format!("--keep-fd {option}")]);
        }
        ran(&format!("--keep-fd {option}")).silent();
    }
    Ok(())
}
