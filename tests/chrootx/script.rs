//! What is said is what is done.

use std::fs;
use std::process::Command;

use support::{Test, alpine, need_no_filter, need_program, private_sh, run, scratch};

use crate::{chrootx, inside};

/// What COMMAND can find out about its root, its mounts and itself.
const REPORT: &str = "mount -t proc proc /proc 2>&-; unset OLDPWD SHLVL _
    pwd; id; ls -i /; env | sort; umask; ulimit -n; ulimit -Hn
    grep -E '^(Cap|NoNewPrivs)' /proc/self/status 2>&-
    touch /probe 2>&1 && rm /probe
    cut -d' ' -f4- /proc/self/mountinfo 2>&-; true";

pub fn the_dry_run_script_does_the_same() -> Test {
    let root = alpine()?;
    need_program("capsh")?;
    for options in [
        &[][..],
        &["-u", "nobody"],
        &["-u", "bin:nobody", "-w", "/tmp"],
        &["--groups=", "-u1:2"],
        &["--cap-default", "-u", "nobody", "-w", "/tmp"],
        &["--cap-drop", "all", "--cap-keep", "kill,CAP_CHOWN"],
        &["--no-new-privs", "--rlimit", "nofile=50:60", "--umask", "027"],
        &["--clear-env", "-e", "A=it's", "--env=B=", "-u", "nobody"],
        &["--keep-fd", "2"],
        // Where neither the tools of the script nor its shell are.
        &["-e", "PATH=/opt:/bin:/usr/bin", "-w", "etc", "--rlimit", "core=0"],
        &["-e", "CDPATH=/usr", "-w", "bin", "-u", "nobody"],
    ] {
        for chroot in [&[][..], &["--chroot"]] {
            let options = [options, chroot].concat();
            let in_private = "exec \"$@\"";
            let command = ["/bin/sh", "-c", REPORT];
            let mut ours = private_sh(in_private);
            ours.arg(env!("CARGO_BIN_EXE_chrootx")).args(&options).arg(root.path()).args(command);
            let script =
                run(chrootx().arg("--dry-run").args(&options).arg(root.path()).args(command));
            let theirs = run(private_sh(in_private).args(["sh", "-c", &script.silent()]));
            let (ours, theirs) = (run(&mut ours), theirs);
            assert_eq!(ours.stdout, theirs.stdout, "{options:?}");
            assert_eq!((ours.status, theirs.status), (0, 0), "{ours:?} {theirs:?}");
        }
    }
    Ok(())
}

/// What the caller has exported, or has not got, leads the script nowhere else.
pub fn a_relative_name_is_one_from_here() -> Test {
    let root = alpine()?;
    let (parent, name) = (root.path().parent().expect("/tmp"), root.path().file_name());
    let name = name.expect("it has one");
    let elsewhere = scratch();
    fs::create_dir(elsewhere.path().join(name)).expect("our own folder");
    fs::create_dir(root.path().join("usr/etc")).expect("our own folder");
    let mut command = chrootx();
    command.args(["-n", "-w", "etc"]).arg(name).arg("/bin/pwd").current_dir(parent);
    let script = run(&mut command).silent();
    let mut script = private_sh(&script);
    let cdpath = format!("{}:/usr", elsewhere.path().display());
    assert_eq!(run(script.env("CDPATH", cdpath).current_dir(parent)).silent(), "/etc\n");
    for options in [&["-w", "/none"][..], &["-w", "none", "--cap-default"]] {
        let script = inside(root.path(), &[options, &["-n"]].concat(), &["/bin/true"]).silent();
        let ran = run(&mut private_sh(&script));
        assert_eq!((ran.status, ran.stdout.as_str()), (125, ""), "{ran:?}");
    }
    let options = ["-n", "-e", "PATH=/opt"];
    let script = inside(root.path(), &options, &["/bin/busybox", "env"]).silent();
    assert!(run(&mut private_sh(&script)).silent().contains("PATH=/opt\n"));
    Ok(())
}

pub fn explain_and_dry_run_say_the_same() -> Test {
    let root = alpine()?;
    let explained = inside(root.path(), &["-x"], &["/bin/true"]);
    let script = inside(root.path(), &["-n"], &["/bin/true"]).silent();
    explained.explains(7, &script);
    Ok(())
}

pub fn a_dry_run_changes_nothing() -> Test {
    need_no_filter("the filter is one execve(2) more")?;
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let mut command = Command::new("strace");
    let calls =
        "trace=unshare,setns,mount,umount2,pivot_root,chroot,chdir,setgroups,setresuid,execve";
    command.args(["-f", "-e", calls, "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_chrootx")).args(["-n", "-u", "1:1", "/usr", "/bin/true"]);
    run(&mut command).silent();
    let calls = fs::read_to_string(log).expect("strace wrote it");
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
    assert!(matches!(calls.as_slice(), [start] if start.contains("execve")), "{calls:?}");
    Ok(())
}
