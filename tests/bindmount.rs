//! Black-box tests of bindmount against the real kernel, each in a mount namespace of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{
    Ran, Skip, TempDir, Test, archive, need_program, need_root, private_sh, run, scratch,
};

support::tests!(
    a_folder_and_a_file_are_seen_at_a_second_place,
    read_only_is_recursive_and_without_a_writable_moment,
    options_are_set_as_mount_would,
    unmount_takes_away_one_or_all,
    list_shows_what_is_at_and_under,
    std_makes_a_root_work,
    std_leaves_the_root_as_it_was,
    std_has_a_resolv_conf_in_any_root,
    std_refuses_roots_that_lead_outside,
    std_binds_what_is_named,
    mkdir_makes_missing_mount_points,
    a_failure_midway_leaves_no_mount,
    a_command_is_become,
    wrong_usage_is_one_line,
    without_privileges_it_says_so,
    the_dry_run_script_does_the_same,
    a_dry_run_changes_nothing,
);

const BINDMOUNT: &str = env!("CARGO_BIN_EXE_bindmount");

/// Runs a script in a mount namespace of its own; `$B` is bindmount, `$1` the folder.
fn in_folder(folder: &Path, script: &str) -> Ran {
    run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}")).arg(folder))
}

/// A folder with a tree to mount: `src/file`, `src/sub/`, and places for it: `dst/`, `file`.
fn tree() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    for dir in ["src/sub", "dst"] {
        fs::create_dir_all(folder.path().join(dir)).expect("our own folder");
    }
    for file in ["src/file", "file"] {
        fs::write(folder.path().join(file), format!("{file}\n")).expect("our own folder");
    }
    Ok(folder)
}

/// Alpine's mini root, which has no etc/resolv.conf.
fn alpine() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    let file = archive("alpine-minirootfs-3.20.3-x86_64.tar.gz")?;
    run(Command::new("tar").arg("-xpf").arg(file).arg("-C").arg(folder.path())).silent();
    Ok(folder)
}

/// A root of empty folders.
fn bare_root() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    for dir in ["dev", "proc", "sys", "etc"] {
        fs::create_dir(folder.path().join(dir)).expect("our own folder");
    }
    Ok(folder)
}

fn a_folder_and_a_file_are_seen_at_a_second_place() -> Test {
    let folder = tree()?;
    let seen = in_folder(folder.path(), "$B src dst; $B src/file file; cat dst/file file");
    assert_eq!(seen.silent(), "src/file\nsrc/file\n");
    let script = "mount -t tmpfs t src/sub; touch src/sub/x
        $B src dst; ls dst/sub; $B -u dst; $B --rbind src dst; ls dst/sub";
    assert_eq!(in_folder(folder.path(), script).silent(), "x\n", "only --rbind has what is below");
    Ok(())
}

fn read_only_is_recursive_and_without_a_writable_moment() -> Test {
    let folder = tree()?;
    let script = "mount -t tmpfs t src/sub; $B -R -o ro src dst
        touch dst/x 2>&1 || true; touch dst/sub/x 2>&1 || true; touch src/sub/x";
    let refused = in_folder(folder.path(), script).silent();
    assert_eq!(refused.matches("Read-only file system").count(), 2, "{refused}");
    need_program("strace")?;
    let script = "strace -e trace=mount_setattr,move_mount $B -r src dst";
    let calls = in_folder(folder.path(), script).stderr;
    let (set, attached) = (calls.find("mount_setattr("), calls.find("move_mount("));
    assert!(set.is_some() && set < attached, "attributes first: {calls}");
    Ok(())
}

fn options_are_set_as_mount_would() -> Test {
    let folder = tree()?;
    let script = "mount --make-shared --bind src src; $B -o nosuid,nodev,noexec,private src dst
        grep \" $1/dst \" /proc/self/mountinfo";
    let line = in_folder(folder.path(), script).silent();
    assert!(line.contains("rw,nosuid,nodev,noexec") && !line.contains("shared:"), "{line}");
    Ok(())
}

fn unmount_takes_away_one_or_all() -> Test {
    let folder = tree()?;
    let script = "$B src dst; $B src/file dst/file; $B -u dst 2>&1 || true; $B -u -R dst; ls dst
        $B src dst; $B src dst; $B -u dst; ls dst; $B -u dst; ls dst";
    let said = in_folder(folder.path(), script).silent();
    assert!(said.contains("(EBUSY)") && said.contains("bindmount -u -R"), "{said}");
    assert_eq!(said.lines().filter(|line| *line == "sub").count(), 1, "the first of two: {said}");
    let script = "$B src/file file; $B src dst; $B -u -R .; cat file; ls dst";
    assert_eq!(in_folder(folder.path(), script).silent(), "file\n", "also under no mount point");
    let busy = in_folder(folder.path(), "$B src dst; cd dst; $B -u -l ../dst; ls");
    assert_eq!(busy.silent(), "file\nsub\n", "--lazy leaves it to those who are in it");
    Ok(())
}

fn list_shows_what_is_at_and_under() -> Test {
    let folder = tree()?;
    let script = "$B -r src dst; $B --list .; $B --list --json dst; $B --list src";
    let listed = in_folder(folder.path(), script).silent();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("TARGET ") && lines[0].ends_with(" OPTIONS"), "{listed}");
    let dst = folder.path().join("dst").display().to_string();
    assert!(lines[1].starts_with(&dst) && lines[1].contains("/src] "), "{listed}");
    assert_eq!((lines[2], lines[3]), ("[", "  {"), "{listed}");
    assert!(listed.contains(&format!("\"target\": \"{dst}\"")), "{listed}");
    assert!(listed.ends_with("]\nTARGET  SOURCE  TYPE  OPTIONS\n"), "{listed}");
    Ok(())
}

fn std_makes_a_root_work() -> Test {
    let root = alpine()?;
    let script = "$B --std .; chroot . /bin/sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c
        cat /proc/$$/comm; ls /sys/kernel >/dev/null; touch /sys/x 2>&1; cat /etc/resolv.conf'";
    let seen = in_folder(root.path(), script).ok();
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(seen.starts_with("3\nsh\n") && seen.contains("Read-only"), "{seen}");
    assert!(seen.ends_with(&resolver), "{seen}");
    Ok(())
}

fn fingerprint(root: &Path) -> String {
    let list = "cd \"$1\"; find . -printf '%p %y %m %U %G %s %T@ %C@ %l\\n' | sort
        find . -type f -exec sha256sum {} + | sort";
    run(support::sh(list).arg(root)).silent()
}

fn std_leaves_the_root_as_it_was() -> Test {
    let root = alpine()?;
    let before = fingerprint(root.path());
    in_folder(root.path(), "$B --std . -- chroot . /bin/cat /etc/resolv.conf").ok();
    assert_eq!(fingerprint(root.path()), before);
    let table = in_folder(root.path(), "$B --std .; $B -u -R .; $B --list .").silent();
    assert_eq!(table.lines().count(), 1, "all of it is gone again: {table}");
    assert_eq!(fingerprint(root.path()), before);
    Ok(())
}

/// A regular file, nothing, a link to nowhere, a link out: the machine's servers are read.
fn std_has_a_resolv_conf_in_any_root() -> Test {
    let Ok(resolver) = fs::read_to_string("/etc/resolv.conf") else {
        return Err(support::skip("this machine has no resolv.conf"));
    };
    let victim = scratch();
    let outside = victim.path().join("resolv.conf");
    fs::write(&outside, "not to be read or written\n").expect("our own folder");
    for link in [None, Some(Path::new("../run/none")), Some(outside.as_path())] {
        let root = bare_root()?;
        let file = root.path().join("etc/resolv.conf");
        match link {
            None => fs::write(&file, "the root's own\n").expect("our own folder"),
            Some(link) => symlink(link, &file).expect("our own folder"),
        }
        let script =
            "$B --std .; cat etc/resolv.conf; (echo x >>etc/resolv.conf) 2>/dev/null || true";
        assert_eq!(in_folder(root.path(), script).ok(), resolver, "{link:?}");
        if link.is_none() {
            assert_eq!(fs::read_to_string(&file).expect("it is there"), "the root's own\n");
        }
    }
    assert_eq!(fs::read_to_string(&outside).expect("ours"), "not to be read or written\n");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").expect("it was there"), resolver);
    let root = bare_root()?;
    fs::remove_dir(root.path().join("etc")).expect("it is empty");
    in_folder(root.path(), "$B --std .").silent();
    Ok(())
}

fn std_refuses_roots_that_lead_outside() -> Test {
    let victim = scratch();
    fs::create_dir(victim.path().join("in")).expect("our own folder");
    for name in ["dev", "proc", "sys", "etc"] {
        for relative in [false, true] {
            let root = bare_root()?;
            fs::remove_dir(root.path().join(name)).expect("it is empty");
            let out = victim.path().strip_prefix("/").expect("an absolute path");
            let up = Path::new("../../../../../..").join(out);
            let link = if relative { up.as_path() } else { victim.path() };
            symlink(link, root.path().join(name)).expect("our own folder");
            let script = "$B --std . || echo refused $?; $B --list . | grep -c \"$1\" || true
                grep \" $2\" /proc/self/mountinfo || true; ls $2";
            let ran = run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
                .arg(root.path())
                .arg(victim.path()));
            assert_eq!(ran.stdout, "refused 1\n0\nin\n", "{name}: {ran:?}");
            assert!(ran.stderr.contains("(ELOOP)") && ran.stderr.contains("hint: "), "{ran:?}");
        }
    }
    Ok(())
}

fn std_binds_what_is_named() -> Test {
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

fn mkdir_makes_missing_mount_points() -> Test {
    let folder = tree()?;
    let script = "$B --mkdir src a/b/c; ls a/b/c; $B --mkdir src/file d/f; cat d/f
        mkdir root; $B --mkdir --std root --bind \"$1/src:/x/y\"; ls root root/x/y";
    let seen = in_folder(folder.path(), script).silent();
    assert_eq!(seen, "file\nsub\nsrc/file\nroot:\ndev\nproc\nsys\nx\n\nroot/x/y:\nfile\nsub\n");
    Ok(())
}

fn a_failure_midway_leaves_no_mount() -> Test {
    let root = bare_root()?;
    let script = "$B --std . --bind /nowhere/at/all:/etc 2>&1 || echo status $?
        grep -c \"$1\" /proc/self/mountinfo || true";
    let said = in_folder(root.path(), script).silent();
    assert!(said.starts_with("bindmount: copy the mount of \"/nowhere/at/all\""), "{said}");
    assert!(said.ends_with("status 1\n0\n"), "{said}");
    Ok(())
}

fn a_command_is_become() -> Test {
    let folder = tree()?;
    let status = |command: &str| in_folder(folder.path(), &format!("exec $B src dst -- {command}"));
    assert_eq!(status("cat dst/file").silent(), "src/file\n");
    assert_eq!(status("sh -c 'exit 42'").status, 42);
    assert_eq!(status("sh -c 'kill -KILL $$'").status, 137);
    status("nope").fails(127, "bindmount", &["run \"nope\""]);
    status("/etc").fails(126, "bindmount", &["run \"/etc\""]);
    let failed = in_folder(folder.path(), "exec $B nowhere dst -- true");
    failed.fails(125, "bindmount", &["\"nowhere\"", "(ENOENT)"]);
    Ok(())
}

fn wrong_usage_is_one_line() -> Test {
    let folder = tree()?;
    for (args, status, parts) in [
        ("", 2, &["SRC and DST are missing", "hint: "][..]),
        ("src", 2, &["DST is missing"]),
        ("--bogus", 2, &["unexpected argument '--bogus'"]),
        ("src dst -o huge", 2, &["no option is called \"huge\"", "hint: "]),
        ("--bogus -- true", 125, &["unexpected argument"]),
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

fn without_privileges_it_says_so() -> Test {
    let folder = tree()?;
    run(Command::new("chmod").arg("755").arg(folder.path())).silent();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(BINDMOUNT);
        run(command.args(args).current_dir(folder.path()).uid(65534).gid(65534))
    };
    as_nobody(&["src", "dst"]).fails(1, "bindmount", &["(EPERM)", "hint: that takes root"]);
    as_nobody(&["src", "dst", "--", "true"]).fails(125, "bindmount", &["(EPERM)"]);
    Ok(())
}

/// The mounts under a folder, without the numbers that no two mounts share.
const TABLE: &str =
    "sed -E 's/^[0-9]+ [0-9]+ //; s/(shared|master):[0-9]+/\\1/g' /proc/self/mountinfo |
    grep -F \" $1/\" | sed -E 's/(lowerdir|upperdir|workdir)=[^,]*/\\1/g'";

fn the_dry_run_script_does_the_same() -> Test {
    let (folder, root) = (tree()?, alpine()?);
    let under = |folder: &Path, args: &str| {
        let make = "mount --make-rshared /; mount -t tmpfs t src/sub 2>/dev/null || true";
        let ours = in_folder(folder, &format!("{make}; $B {args}; {TABLE}"));
        let theirs = in_folder(folder, &format!("{make}; $B -n {args} >s.sh; sh s.sh; {TABLE}"));
        let _ = fs::remove_file(folder.join("s.sh"));
        assert_eq!(ours.clone().silent(), theirs.silent(), "{args}");
        assert!(ours.stdout.lines().count() > 0, "{args}: {ours:?}");
    };
    under(folder.path(), "src dst");
    under(folder.path(), "-o ro,nosuid src dst");
    under(folder.path(), "-R -o ro,noexec,rslave src dst");
    under(folder.path(), "--mkdir src 'new place'");
    under(root.path(), "--std .");
    fs::write(root.path().join("etc/resolv.conf"), "").expect("our own folder");
    under(root.path(), "--std .");
    let script = "$B src dst; $B -n -u dst | sh; ls dst; $B src dst; $B -n -u -R dst | sh; ls dst";
    assert_eq!(in_folder(folder.path(), script).silent(), "");
    Ok(())
}

fn a_dry_run_changes_nothing() -> Test {
    let root = bare_root()?;
    need_program("strace")?;
    let script = "strace -f -o \"$1/log\" -e trace=mount,umount2,open_tree,move_mount,mount_setattr,\
        fsopen,fsmount,mkdirat,mkdir,execve $B -n --mkdir --std . -- true >/dev/null; cat \"$1/log\"";
    let calls = in_folder(root.path(), script).silent();
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
    assert!(matches!(calls.as_slice(), [start] if start.contains("execve(")), "{calls:?}");
    Ok(())
}
