//! What every root file system gets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Ran, Skip, Test, private_sh, run};

use super::{BINDMOUNT, alpine, bare_root, fingerprint, in_folder, tree};

pub fn std_makes_a_root_work() -> Test {
    let root = alpine()?;
    let script = "$B --std .; chroot . /bin/sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c
        cat /proc/$$/comm; ls /sys/kernel >/dev/null; touch /sys/x 2>&1; cat /etc/resolv.conf'";
    let seen = in_folder(root.path(), script).ok();
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(seen.starts_with("3\nsh\n") && seen.contains("Read-only"), "{seen}");
    assert!(seen.ends_with(&resolver), "{seen}");
    Ok(())
}

pub fn std_leaves_the_root_as_it_was() -> Test {
    let root = alpine()?;
    let before = fingerprint(root.path());
    in_folder(root.path(), "$B --std . -- chroot . /bin/cat /etc/resolv.conf").ok();
    assert_eq!(fingerprint(root.path()), before);
    let table = in_folder(root.path(), "$B --std .; $B -u -R .; $B --list .").silent();
    assert_eq!(table.lines().count(), 1, "all of it is gone again: {table}");
    assert_eq!(fingerprint(root.path()), before);
    Ok(())
}

pub fn std_binds_what_is_named() -> Test {
    let root = bare_root()?;
    let folder = tree()?;
    fs::create_dir(root.path().join("data")).expect("our own folder");
    symlink(folder.path(), root.path().join("out")).expect("our own folder");
    let src = folder.path().join("src");
    let bind = |dst: &str| {
        run(private_sh(&format!(
            "{BINDMOUNT} --std \"$1\" --bind \"$2\"; cat \"$1/data/file\"
            touch \"$1/data/x\""
        ))
        .arg(root.path())
        .arg(format!("{}:{dst}", src.display())))
    };
    let ran = bind("/data:ro");
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "src/file\n"), "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    bind("/out/dst").fails(1, "bindmount", &["out/dst", "(ELOOP)"]);
    bind("/missing").fails(1, "bindmount", &["/missing", "(ENOENT)", "hint: add --mkdir"]);
    Ok(())
}

pub fn proc_shows_this_pid_namespace_alone() -> Test {
    let root = bare_root()?;
    let inside = "exec unshare --pid --fork $B --std . -- sh -c 'ls proc; cat proc/1/comm'";
    let seen = in_folder(root.path(), inside).silent();
    let pids: Vec<&str> = seen.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    assert_eq!(pids, ["1", "2"], "the shell and ls: {seen}");
    assert!(seen.ends_with("sh\n"), "{seen}");
    let outside = in_folder(root.path(), "$B --std .; ls proc").silent();
    assert!(outside.lines().any(|pid| pid == std::process::id().to_string()), "{outside}");
    Ok(())
}

pub fn an_unmount_inside_does_not_reach_the_machine() -> Test {
    let root = bare_root()?;
    let script = "mount --make-rshared /; mount -t tmpfs mine /dev/shm; $B --std . --dev=machine
        umount dev/shm; grep -c ' /dev/shm .* mine ' /proc/self/mountinfo
        mount -t tmpfs later /dev/pts; grep -c \" $1/dev/pts .* later \" /proc/self/mountinfo
        $B -u -R .; grep -c ' /dev/pts .* later ' /proc/self/mountinfo";
    assert_eq!(in_folder(root.path(), script).silent(), "1\n1\n1\n");
    Ok(())
}

/// A script as root of a user namespace and of what else is named; `$B` is bindmount.
pub fn in_user_namespace(folder: &Path, with: &str, script: &str) -> Result<Ran, Skip> {
    let probe = "unshare --map-root-user --mount --pid --fork true 2>/dev/null";
    if run(&mut support::sh(probe)).status != 0 {
        return Err(support::skip("needs user namespaces"));
    }
    Ok(in_folder(
        folder,
        &format!("exec unshare --map-root-user --mount {with} sh -e -c '{script}' sh $B"),
    ))
}

pub fn a_user_namespace_is_enough() -> Test {
    let root = alpine()?;
    let before = fingerprint(root.path());
    let script = "$1 --std . -- chroot . /bin/sh -e -c \"
        cat /etc/resolv.conf; cat /proc/1/comm; echo x >/dev/null; ls /sys/kernel >/dev/null
        echo more >>/etc/passwd; rm -r /etc/apk; mkdir /etc/apk; ls /etc/apk\"";
    let seen = in_user_namespace(root.path(), "--pid --fork", script)?.silent();
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(seen, format!("{resolver}sh\n"));
    assert_eq!(fingerprint(root.path()), before);
    Ok(())
}

pub fn a_user_namespace_without_pids_of_its_own_is_explained() -> Test {
    let root = bare_root()?;
    let script = "$1 --std . || echo status $?; grep -c -F \" $PWD\" /proc/self/mountinfo || true";
    let ran = in_user_namespace(root.path(), "", script)?;
    assert_eq!(ran.stdout, "status 1\n0\n", "{ran:?}");
    assert!(
        ran.stderr.contains("make a new proc") && ran.stderr.contains("PID namespace"),
        "{ran:?}"
    );
    Ok(())
}
