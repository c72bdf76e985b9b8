//! The options of `scripts/container run`, seen in the line that it prints.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{TempDir, Test, need_program, need_root, private_sh, run, scratch};

use crate::{alone, container, script, sh};

/// What is printed for these options.
#[track_caller]
fn line(root: &TempDir, options: &[&str]) -> String {
    container(&[&["-n"], options].concat(), root.path(), &["true"]).silent()
}

#[track_caller]
fn fails(args: &[&str], parts: &[&str]) {
    run(script("container").args(args)).fails(125, "container", parts);
}

/// As all five tools have it, and podman.
pub fn a_value_may_stand_behind_an_equals_sign() -> Test {
    let root = scratch();
    let values = [
        ("--mem", "10M"),
        ("--cpu", "50%"),
        ("--pids", "20"),
        ("--hostname", "a=b"),
        ("--network", "none"),
        ("--tmpfs", "/tmp:mode=1777"),
        ("--overlay", "upper:work"),
        ("--cap-drop", "all"),
        ("--cap-keep", "net_raw"),
        ("--seccomp", "none"),
    ];
    for (option, value) in values {
        let two_words = line(&root, &[option, value]);
        assert_eq!(line(&root, &[&format!("{option}={value}")]), two_words);
    }
    for (option, long, value) in [
        ("-e", "--env", "A=1"),
        ("-v", "--volume", "/srv:/srv"),
        ("-u", "--user", "bob"),
        ("-w", "--workdir", "/srv"),
    ] {
        let two_words = line(&root, &[option, value]);
        assert_eq!(line(&root, &[&format!("{long}={value}")]), two_words);
        assert_eq!(line(&root, &[&format!("{option}{value}")]), two_words);
        assert_eq!(line(&root, &[&format!("{option}={value}")]), two_words);
    }
    fails(&["run", "--mem=", "/"], &["read the option --mem: its value is empty", "hint: "]);
    fails(&["run", "--network=some", "/"], &["\"some\"", "not none or host"]);
    fails(&["run", "--bogus=1", "/"], &["no option is called \"--bogus\"", "hint: "]);
    fails(&["run", "-it", "/"], &["no option is called \"-it\"", "hint: leave it out"]);
    fails(&["run", "--privileged=1", "/"], &["--privileged: it takes no value", "hint: "]);
    fails(&["run", "--mem=--help", "/"], &["read the option --mem: \"--help\"", "hint: "]);
    need_root()?;
    let two_words = line(&root, &["--userns", "1000000:65536"]);
    assert_eq!(line(&root, &["--userns=1000000:65536"]), two_words);
    Ok(())
}

pub fn of_several_values_the_last_counts() -> Test {
    let root = scratch();
    let values = [
        ("--mem", "10M", "20M"),
        ("--cpu", "50%", "2"),
        ("--pids", "20", "30"),
        ("--hostname", "a", "b"),
        ("--network", "none", "host"),
        ("--overlay", "a:b", "c:d"),
        ("--seccomp", "none", "default"),
        ("--user", "a", "b"),
        ("-w", "/a", "/b"),
    ];
    for (option, first, last) in values {
        assert_eq!(line(&root, &[option, first, option, last]), line(&root, &[option, last]));
    }
    Ok(())
}

/// As docker's and podman's: rbind, unless somebody says bind.
pub fn a_bind_shows_what_is_mounted_below() -> Test {
    let root = scratch();
    for (spec, told) in [
        ("/a:/b", "/a:/b:rbind"),
        ("/a:/b:", "/a:/b:rbind"),
        ("/a:/b:ro", "/a:/b:ro,rbind"),
        ("/a:/b:ro,bind", "/a:/b:ro,bind"),
        (r"/a\:b:/b", r"'/a\:b:/b:rbind'"),
        (r"/a\\:/b:ro", r"'/a\\:/b:ro,rbind'"),
    ] {
        let seen = line(&root, &["-v", spec]);
        assert!(seen.contains(&format!(" --bind {told} -- ")), "{seen}");
    }
    for empty in [":/srv", ":/srv:ro"] {
        fails(&["run", "-v", empty, "/"], &["read the option -v", "SRC is empty", "hint: "]);
    }
    for none in ["/srv", "/srv:", r"/srv\:/srv"] {
        fails(&["run", "-v", none, "/"], &["read the option -v", "no DST", "hint: "]);
    }
    Ok(())
}

/// The hint says what would help, in words that a shell can be given.
pub fn a_root_that_is_none() -> Test {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let missing = path("it's new");
    fails(&["run", ""], &["open \"\": no such directory", "hint: is a shell variable empty?"]);
    let quoted = format!("hint: make it: fetch-rootfs host '{}'", missing.replace('\'', "'\\''"));
    fails(&["run", &missing], &["no such directory", &quoted]);
    fs::write(path("a b.tar"), "").expect("our own folder");
    let hint = format!("hint: extract an archive: fetch-rootfs '{}' DIR", path("a b.tar"));
    fails(&["run", &path("a b.tar")], &["a b.tar\": not a directory", &hint]);
    fails(&["run", &path("a b.tar/rootfs")], &["rootfs\": no such directory"]);
    symlink("loop", path("loop")).expect("our own folder");
    fails(
        &["run", &path("loop")],
        &["loop\": Too many levels of symbolic links", "hint: namei -l "],
    );
    let mut command = script("container");
    let dash = command.args(["run", "--", "-dash"]).current_dir(folder.path());
    run(dash).fails(125, "container", &["open \"./-dash\"", "fetch-rootfs host ./-dash"]);
    // A shell may say something of its own about a folder that is gone.
    let mut gone = sh("mkdir gone; cd gone; rmdir ../gone; exec \"$@\"");
    gone.arg(script("container").get_program()).args(["run", "rootfs"]);
    let gone = run(gone.current_dir(folder.path()));
    let told = "container: find \"rootfs\": the working directory is gone\nhint: go ";
    assert!(gone.status == 125 && gone.stderr.contains(told), "{gone:?}");
    need_root()?;
    fs::create_dir(path("rootfs")).expect("our own folder");
    let mut user = script("container");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    let denied = run(user.args(["run", &path("rootfs")]).uid(65534).gid(65534));
    denied.fails(125, "container", &["rootfs\": Permission denied", "hint: namei -l "]);
    Ok(())
}

pub fn names_that_begin_with_a_dash() -> Test {
    let folder = scratch();
    fs::create_dir(folder.path().join("-dash")).expect("our own folder");
    let mut command = script("container");
    command.args(["run", "-n", "--hostname", "-x", "--", "-dash", "true"]);
    let seen = run(command.current_dir(folder.path())).silent();
    for part in [" --hostname=-x ", " --std ./-dash ", " -- ./-dash true\n"] {
        assert!(seen.contains(part), "{seen}");
    }
    Ok(())
}

/// Which a shell's $(...) takes away.
pub fn a_name_that_ends_in_a_newline() -> Test {
    need_root()?;
    let _alone = alone();
    let folder = scratch();
    let root = folder.path().join("a:b\n");
    fs::create_dir_all(root.join("mnt")).expect("our own folder");
    let escaped = root.display().to_string().replace(':', "\\:");
    let twice = format!(" '{escaped}:{escaped}' -- ");
    for (options, mount, part) in [
        (&["--overlay", "up:work"][..], ":", format!("--overlay='{escaped}:up:work'")),
        (&["--userns", "5:5"], ":", twice.clone()),
        (&[], "mount -t tmpfs t \"$1/mnt\"", twice),
    ] {
        let mut command = private_sh(&format!("{mount}; shift; exec \"$@\""));
        command.arg(&root).arg(script("container").get_program()).args(["run", "-n"]);
        let seen = run(command.args(options).arg(&root)).silent();
        assert!(seen.contains(&part), "{seen}");
    }
    let mut command = script("container");
    command.args(["run", "-n", "-v", "srv:/srv"]).arg(&root).current_dir(&root);
    let seen = run(&mut command).silent();
    assert!(seen.contains(&format!(" --bind '{escaped}/srv:/srv:rbind'")), "{seen}");
    Ok(())
}

/// A shell that can't fork ends by itself, dash with 2, which is COMMAND's to say.
pub fn a_shell_that_ends_is_a_tool_that_fails() -> Test {
    need_root()?;
    need_program("prlimit")?;
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let mut command = Command::new("prlimit");
    command.args(["--nproc=1", "sh"]).arg(script("container").get_program());
    command.arg("run").arg(folder.path()).arg("true").uid(54_321).gid(54_321);
    let ran = run(&mut command);
    assert!(ran.status == 125 && ran.stderr.contains("ork"), "{ran:?}");
    Ok(())
}
