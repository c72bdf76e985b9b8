//! A hint says what helps where it is given, and nothing that was done already.

use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Ran, Test, alpine, run};

use super::standard::in_user_namespace;
use super::target::Contained;
use super::{BINDMOUNT, bare_root, in_folder, tree};

fn has(ran: &Ran, parts: &[&str], none: &[&str]) {
    ran.fails(1, "bindmount", parts);
    assert!(none.iter().all(|part| !ran.stderr.contains(part)), "{none:?}: {ran:?}");
}

pub fn a_covered_mount_is_told_of() -> Test {
    let folder = tree()?;
    let cover = "mount -t tmpfs t src/sub; mount -t tmpfs cover src; mkdir src/sub";
    let src = folder.path().join("src").display().to_string();
    for lazy in ["", "-l"] {
        let ran = in_folder(folder.path(), &format!("{cover}; $B -u {lazy} src/sub"));
        let parts = [
            "not a mount point: another mount covers",
            &format!("hint: first bindmount -u {src}\n"),
        ];
        has(&ran, &parts, &["user namespace", "--lazy"]);
    }
    let script = format!("{cover}; $B -u src; $B -u src/sub; ls src");
    assert_eq!(in_folder(folder.path(), &script).silent(), "file\nsub\n");
    Ok(())
}

pub fn who_keeps_a_mount_busy_is_named() -> Test {
    let folder = tree()?;
    let script = "cp -L \"$(command -v sleep)\" src; $B src dst
        (cd dst; exec sleep 60) & cwd=$!
        sleep 60 <dst/file & open=$!
        dst/sleep 60 & runs=$!
        until [ /proc/$runs/exe -ef dst/sleep ] && [ /proc/$cwd/cwd -ef dst ] &&
            [ /proc/$open/fd/0 -ef dst/file ]; do sleep 0.01; done
        said=$($B -u dst 2>&1) || true; look=${said#*a process is in it: }
        echo $cwd $open $runs; sh -c \"${look%%; or a mount*}\" | sed 's|.* /proc/||; s|/.*||' | sort -u
        kill $cwd $open $runs; wait || true; $B -u dst";
    let said = in_folder(folder.path(), script).ok();
    let (forked, named) = said.split_once('\n').expect("two lines");
    let mut forked: Vec<_> = forked.split(' ').collect();
    forked.sort_unstable();
    assert_eq!(named.lines().collect::<Vec<_>>(), forked);
    Ok(())
}

pub fn a_user_is_told_what_can_help() -> Test {
    let mut command = Command::new(BINDMOUNT);
    let ran = run(command.args(["-u", "/proc"]).uid(65534).gid(65534));
    if ran.stderr.contains("EACCES") {
        return Err(support::skip("needs a folder of the build that all may enter"));
    }
    has(&ran, &["(EPERM)", "hint: that takes root (sudo)\n"], &["nsenter-lite"]);
    let root = bare_root()?;
    let file = root.path().join("file");
    std::fs::write(file, "").expect("our own folder");
    for (args, hint) in [
        ("--map-users 0:1:1 etc dev", "was mounted in it can be mapped"),
        ("--map-users 0:0:1 etc dev", "was mounted in it can be mapped"),
        ("--root . --mkdir --mqueue", "nsenter-lite --ipc"),
    ] {
        let ran = in_user_namespace(root.path(), "", &format!("$1 {args}"))?;
        has(&ran, &["(EPERM)", hint], &["--map-root-user", "--mount"]);
    }
    let closed = "mkdir -p closed/sub; chown 65534 closed; chmod 700 closed; exec unshare \
        --map-root-user --mount $B closed/sub etc";
    let closed = in_folder(root.path(), closed);
    has(&closed, &["copy the mount", "(EACCES)", "hint: ", "namei -l closed/sub"], &["sudo"]);
    let outside = in_folder(root.path(), "unshare --map-root-user $B etc dev");
    has(&outside, &["(EPERM)", "nsenter-lite --mount -- bindmount"], &["--map-root-user"]);
    Ok(())
}

/// What is wrong with a place of a container is looked at, and mended, in its root.
pub fn a_place_of_a_container_is_named_as_it_is_here() -> Test {
    let root = alpine()?;
    let contained = Contained::start(root.path());
    let there = |name: &str| format!("/proc/{}/root/{name}", contained.pid());
    let missing = contained.bindmount(&["/etc", "nope"]);
    has(&missing, &["(ENOENT)", "add --mkdir", &format!("mkdir {}", there("nope"))], &[]);
    let kind = contained.bindmount(&["/etc", "/etc/passwd"]);
    has(&kind, &["(EINVAL)", &format!("ls -ld {}", there("etc/passwd"))], &[]);
    Ok(())
}

pub fn what_can_not_be_mounted_is_named() -> Test {
    let folder = tree()?;
    for options in ["", "-m"] {
        let script = format!("ln -s gone dangling; $B {options} src dangling");
        let ran = in_folder(folder.path(), &script);
        has(&ran, &["(ENOENT)", "a link to what is not there: ls -l dangling"], &["mkdir"]);
        std::fs::remove_file(folder.path().join("dangling")).expect("it was made above");
    }
    let gone = "mkdir gone; cd gone; rmdir ../gone; $B . \"$1/dst\"";
    has(&in_folder(folder.path(), gone), &["(ENOENT)", "hint: SRC or DST has been deleted"], &[]);
    let pipe = in_folder(folder.path(), "echo | $B /proc/self/fd/0 file");
    has(&pipe, &["(EINVAL)", "on none of the mounts here, as a pipe is"], &["unbindable"]);
    let other = "unshare -m sh -c 'mount -t tmpfs t dst; echo up; exec sleep 60' >up & other=$!
        until grep -q up up 2>/dev/null; do sleep 0.01; done; status=0
        $B /proc/$other/root/$PWD/dst dst || status=$?; kill $other; exit $status";
    has(
        &in_folder(folder.path(), other),
        &["(EINVAL)", "another mount namespace"],
        &["unbindable"],
    );
    let unbindable = "mount -t tmpfs t src; mount --make-unbindable src; $B src dst";
    has(&in_folder(folder.path(), unbindable), &["(EINVAL)", "unbindable"], &["a pipe"]);
    Ok(())
}
