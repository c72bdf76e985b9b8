//! The tutorial from its first line to its last.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Ran, Signal, Test, archive, need_program, need_root, project, run, scratch, wait};

use crate::{ALPINE, BUSYBOX, alone, rootfs, script, tools, traces, with_tools};

#[track_caller]
fn all_facts_hold(ran: &Ran, at_least: usize) {
    let facts: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("  -> ")).collect();
    let held = facts.iter().all(|fact| fact.ends_with(": yes"));
    assert!(ran.status == 0 && held && facts.len() >= at_least, "{ran:?}");
}

fn tutorial(folder: &Path) -> Command {
    let mut command = script("tutorial");
    command.env("TMPDIR", folder);
    command
}

#[track_caller]
fn is_empty(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).expect("our own folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

pub fn it_holds_on_the_embedded_default() -> Test {
    need_root()?;
    let _alone = alone();
    let (folder, before) = (scratch(), traces());
    all_facts_hold(&run(&mut tutorial(folder.path())), 33);
    is_empty(folder.path());
    assert_eq!(traces(), before);
    Ok(())
}

pub fn it_holds_on_published_archives() -> Test {
    need_root()?;
    let _alone = alone();
    for name in [ALPINE, BUSYBOX] {
        let (folder, source) = (scratch(), archive(name)?);
        all_facts_hold(&run(tutorial(folder.path()).arg("--rootfs").arg(source)), 33);
        is_empty(folder.path());
    }
    Ok(())
}

pub fn it_shows_a_single_step() -> Test {
    need_root()?;
    let _alone = alone();
    let source = archive(ALPINE).unwrap_or_else(|_| "host".into());
    for step in 1..=14 {
        let folder = scratch();
        let mut command = tutorial(folder.path());
        let ran = run(command.arg("--rootfs").arg(&source).arg("--step").arg(step.to_string()));
        all_facts_hold(&ran, 1);
        assert_eq!(ran.stdout.matches("\n== ").count(), 1, "{ran:?}");
        assert!(ran.stdout.contains(&format!("\n== {step}. ")), "{ran:?}");
        is_empty(folder.path());
    }
    Ok(())
}

/// Also those lines by which the container is started that two steps are about.
pub fn what_it_shows_can_be_typed() -> Test {
    let (folder, root) = rootfs()?;
    let _alone = alone();
    let source = archive(ALPINE).unwrap_or_else(|_| "host".into());
    let shown = |step| {
        let mut command = tutorial(folder.path());
        let seen = run(command.arg("--rootfs").arg(&source).args(["--step", step])).ok();
        let end = seen.find("\n$ cat pid").or(seen.find("\n  -> ")).expect("one of them");
        seen[..end].lines().filter(|line| !line.starts_with("==")).fold(
            String::new(),
            |all, line| {
                let typed =
                    line.strip_prefix("$ ").or(line.strip_prefix("    ")).unwrap_or_default();
                all + typed + "\n"
            },
        )
    };
    let mut typed = with_tools("nsenter-lite");
    typed.args(["--mount", "--", "bindmount", "--std"]).arg(&root).args(["--", "sh", "-c"]);
    let wait = "until [ -s pid ]; do sleep 0.05; done";
    typed.arg(format!("{}\n{wait}\n{}", shown("11"), shown("13"))).current_dir(folder.path());
    assert_eq!(run(&mut typed).silent(), "0\n", "{typed:?}");
    Ok(())
}

/// The whole process group gets the signal, as from a terminal's Ctrl-C; or the script alone.
pub fn interrupted_leaves_nothing() -> Test {
    need_root()?;
    let _alone = alone();
    let (source, before) = (archive(ALPINE).unwrap_or_else(|_| "host".into()), traces());
    for (round, signal) in
        [Signal::SIGINT, Signal::SIGTERM].into_iter().cycle().take(10).enumerate()
    {
        let folder = scratch();
        let mut child = tutorial(folder.path())
            .arg("--rootfs")
            .arg(&source)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell script");
        thread::sleep(Duration::from_millis(60 * u64::try_from(round).expect("a small number")));
        support::send(&child, signal, true);
        let status = wait(&mut child, Duration::from_secs(20)).expect("it ends by itself");
        assert!(!status.success() || round > 4, "round {round}: {status:?}");
        is_empty(folder.path());
        assert_eq!(traces(), before, "round {round}");
    }
    Ok(())
}

/// A signal that is sent to all of them must not end mktemp(1) between its making the folder and its
/// telling the name.
pub fn interrupted_at_its_start_leaves_nothing() -> Test {
    need_root()?;
    let _alone = alone();
    let mktemp = need_program("mktemp")?;
    let (folder, programs) = (scratch(), scratch());
    let slow = format!("#!/bin/sh\nmade=$({} \"$@\")\nsleep 1\necho \"$made\"\n", mktemp.display());
    let stand_in = programs.path().join("mktemp");
    fs::write(&stand_in, slow).expect("a new file");
    fs::set_permissions(&stand_in, Permissions::from_mode(0o755)).expect("ours");
    let mut command = tutorial(folder.path());
    let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
    let path = path.expect("it is set").to_os_string();
    let path = [programs.path().to_owned()].into_iter().chain(env::split_paths(&path));
    command.env("PATH", env::join_paths(path).expect("no colon in a temporary folder's path"));
    let output = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = output.spawn().expect("a shell script");
    support::eventually("the folder is made", || fs::read_dir(folder.path()).ok()?.next()?.ok());
    support::send(&child, Signal::SIGTERM, true);
    let status = wait(&mut child, Duration::from_secs(20)).expect("it ends by itself");
    assert_eq!(status.code(), Some(143));
    is_empty(folder.path());
    Ok(())
}

/// What is mounted when the signal comes would keep the folder from going.
pub fn interrupted_while_namespaces_are_kept_leaves_nothing() -> Test {
    need_root()?;
    support::need_no_filter("it waits for what would not be made")?;
    let _alone = alone();
    let folder = scratch();
    let mut command = tutorial(folder.path());
    let mut child = command
        .args(["--step", "8"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell script");
    support::eventually("they are kept", || {
        let here = fs::read_dir(folder.path()).ok()?.next()?.ok()?;
        here.path().join("keep").exists().then_some(())
    });
    // To the script alone, which waits for what it has started.
    support::send(&child, Signal::SIGTERM, false);
    let status = wait(&mut child, Duration::from_secs(20)).expect("it ends by itself");
    assert_eq!(status.code(), Some(143));
    is_empty(folder.path());
    Ok(())
}

/// Where the caller has no PATH, the one that the script sets is exported all the same. And its folder
/// may be named from where it is called.
pub fn it_needs_no_path_of_the_callers() -> Test {
    need_root()?;
    let _alone = alone();
    tools();
    let folder = scratch();
    for step in ["1", "14"] {
        let mut command = Command::new("env");
        command.args(["-i", "TMPDIR=."]).arg(project().join("scripts/tutorial"));
        all_facts_hold(&run(command.args(["--step", step]).current_dir(folder.path())), 2);
        is_empty(folder.path());
    }
    Ok(())
}

/// Nobody can type Enter there, and a fact that was not shown does not hold.
pub fn interactive_takes_a_terminal() -> Test {
    need_root()?;
    let _alone = alone();
    need_program("setsid")?;
    need_program("script")?;
    let folder = scratch();
    let interactive = format!("{} --interactive", project().join("scripts/tutorial").display());
    let mut without = with_tools("setsid");
    without.args(["--wait", "sh", "-c", &interactive]).env("TMPDIR", folder.path());
    run(&mut without).fails(1, "tutorial", &["wait for Enter: there is no terminal", "hint: "]);
    // script(1) types Ctrl-D where its own input ends.
    let mut ended = with_tools("script");
    ended.args(["-qec", &interactive, "/dev/null"]).env("TMPDIR", folder.path());
    let ran = run(&mut ended);
    assert!(ran.status == 1 && ran.stdout.contains("tutorial: wait for Enter: "), "{ran:?}");
    assert!(!ran.stdout.contains("Every fact holds"), "{ran:?}");
    is_empty(folder.path());
    Ok(())
}

/// Without a root file system there is nothing more to show.
pub fn a_failed_fetch_ends_it() -> Test {
    need_root()?;
    let _alone = alone();
    for step in ["--step=1", "--step=3"] {
        let folder = scratch();
        let ran = run(tutorial(folder.path()).args(["--rootfs=it's none", step]));
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains("fetch-rootfs: open \"it's none\""), "{ran:?}");
        let last = ran.stderr.lines().rev().nth(1).unwrap_or_default();
        let known = ["tutorial: fetch a root file system", "fetch-rootfs: open"];
        assert!(known.iter().any(|line| last.starts_with(line)), "{ran:?}");
        assert!(ran.status == 1 && !told.contains(": NO\n"), "{ran:?}");
        is_empty(folder.path());
    }
    Ok(())
}

pub fn it_refuses_wrong_usage() -> Test {
    let fails = |args: &[&str], parts: &[&str]| {
        run(script("tutorial").args(args)).fails(2, "tutorial", parts);
    };
    fails(&["--step", "15"], &["read --step \"15\"", "hint: "]);
    fails(&["--step=15"], &["read --step \"15\"", "hint: "]);
    fails(&["--step"], &["not a step"]);
    fails(&["--interactive=1"], &["nothing is called \"--interactive=1\""]);
    fails(&["--bogus"], &["nothing is called \"--bogus\"", "hint: "]);
    fails(&["--rootfs"], &["it needs a SOURCE"]);
    need_root()?;
    let _alone = alone();
    tools();
    let mut user = script("tutorial");
    run(user.uid(65534).gid(65534)).fails(1, "tutorial", &["you are not root", "hint: sudo"]);
    Ok(())
}
