//! Owners seen as others, and several mounts at once.

use support::{Test, need_program};

use super::{COUNT, fingerprint, in_folder, tree};

pub fn owners_are_seen_as_others() -> Test {
    let folder = tree()?;
    let before = fingerprint(folder.path());
    for (args, owner) in [
        ("--map-users 0:1000:1 src dst", "1000:0"),
        ("--map-groups 0:7:1 src dst", "0:7"),
        ("--map-users 0:1000:1 --map-groups 0:1001:1 src:dst:ro", "1000:1001"),
        ("-o 'X-mount.idmap=b:0:1000:1' src dst", "1000:1000"),
        ("'src:dst:X-mount.idmap=u:0:5:1 g:0:6:1'", "5:6"),
    ] {
        let script = format!("$B {args}; stat -c %u:%g dst/file src/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), format!("{owner}\n0:0\n"), "{args}");
        let script = format!("unshare --pid --fork $B {args}; stat -c %u:%g dst/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), format!("{owner}\n"), "{args}");
    }
    assert_eq!(fingerprint(folder.path()), before);
    let script = "chown 1000 src; $B --map-users 1000:0:1 src dst; touch dst/new; stat -c %u src/new dst/new";
    assert_eq!(in_folder(folder.path(), script).silent(), "1000\n0\n", "root makes it 1000's");
    let script = "mount -t tmpfs t src/sub; touch src/sub/x; $B -R --map-users 0:3:1 src dst
        stat -c %u dst/sub/x";
    assert_eq!(in_folder(folder.path(), script).silent(), "3\n", "all that is below, too");
    let script = in_folder(folder.path(), "$B -n --map-users 0:1000:1 src dst").silent();
    assert!(script.contains("mount --bind -o X-mount.idmap=u:0:1000:1 src dst"), "{script}");
    Ok(())
}

pub fn what_can_not_be_mapped_is_told() -> Test {
    let folder = tree()?;
    let ran = |how: &str, args: &str| {
        let script = format!(
            "status=0; {how} $B {args} || status=$?; ! grep -F \" $1\" /proc/self/mountinfo
            exit $status"
        );
        in_folder(folder.path(), &script)
    };
    ran("", "--map-users 0:1000:1 /proc dst").fails(
        1,
        "bindmount",
        &["map the owners", "(EINVAL)", "hint: this file system can't be mapped"],
    );
    for (mount, parts) in [
        ("mount -t ramfs r src/sub", ["(EINVAL)", "hint: this file system can't be mapped"]),
        ("$B --map-users 0:1:1 src/sub src/sub", ["(EPERM)", "hint: it is mapped already"]),
    ] {
        let script = format!("{mount}; $B -R --map-users 0:1:1 src dst");
        let parts = ["map the owners", "/src/sub\"", parts[0], parts[1]];
        in_folder(folder.path(), &script).fails(1, "bindmount", &parts);
    }
    let twice = "--map-users 0:1:2 --map-users 1:5:1 src dst";
    ran("", twice).fails(1, "bindmount", &["map owners by", "(EINVAL)", "in common"]);
    for (map, why) in [
        ("0:1", "not of the form INNER:OUTER:COUNT"),
        ("a:b:c", "not of the form"),
        ("0:4294967296:2", "not of the form"),
        ("0:1:0", "there are no such ids: they are 0 to 4294967294"),
        ("0:4294967295:1", "no such ids"),
        ("4294967290:0:65536", "no such ids"),
    ] {
        let ran = ran("", &format!("--map-users {map} src dst"));
        let parts = ["read the map of owners", why, "hint: as in 0:1000:1"];
        ran.fails(2, "bindmount", &parts);
    }
    need_program("strace")?;
    for (call, when) in [("unshare", ""), ("clone,?fork", ""), ("mount_setattr", ":when=1")] {
        let how = format!("strace -f -qq -o /dev/null -e inject={call}:error=EPERM{when}");
        ran(&how, "--map-users 0:1000:1 src dst").fails(1, "bindmount", &["(EPERM)", "hint: "]);
    }
    for (call, errno, hint) in [
        ("clone,?fork", "EAGAIN", "hint: a limit on processes is reached: ulimit -u"),
        ("unshare", "ENOSPC", "hint: a limit is reached: sysctl user.max_user_namespaces"),
    ] {
        let how = format!("strace -f -qq -o /dev/null -e inject={call}:error={errno}");
        ran(&how, "--map-users 0:1000:1 src dst").fails(1, "bindmount", &[errno, hint]);
    }
    Ok(())
}

/// Whose child ends unseen has none to wait for; and the command ignores it as before.
pub fn a_caller_may_ignore_the_end_of_children() -> Test {
    let folder = tree()?;
    let deaf = "env --ignore-signal=CHLD";
    let script = format!(
        "{deaf} $B --map-users 0:1000:1 src dst; stat -c %u dst/file
        ignored=$({deaf} grep SigIgn /proc/self/status)
        [ \"$ignored\" != \"$(grep SigIgn /proc/self/status)\" ]
        [ \"$ignored\" = \"$({deaf} $B --map-users 0:1:1 src dst -- grep SigIgn /proc/self/status)\" ]"
    );
    assert_eq!(in_folder(folder.path(), &script).silent(), "1000\n");
    Ok(())
}

pub fn several_are_made_or_none() -> Test {
    let folder = tree()?;
    let script =
        format!("$B -r src:dst src/file:file:rw; cat dst/file file; echo x >file; {COUNT}");
    assert_eq!(in_folder(folder.path(), &script).silent(), "src/file\nsrc/file\n2\n");
    let script = r"mkdir 'a:b'; echo y >a:b/f; $B 'a\:b:dst' src/sub:src/sub; cat dst/f";
    assert_eq!(in_folder(folder.path(), script).silent(), "y\n");
    for wrong in [
        "nowhere:dst",
        "src:nowhere",
        "src:file",
        "src:dst:X-mount.idmap=u:0:1:1 /proc:dst:X-mount.idmap=u:0:1:1",
    ] {
        let script = format!(
            "before=$(cat /proc/self/mountinfo); status=0; $B --mkdir src:new src:dst {wrong} /proc/none:x || status=$?
            [ \"$before\" = \"$(cat /proc/self/mountinfo)\" ] || echo changed
            [ ! -e new ] || echo left; exit $status"
        );
        in_folder(folder.path(), &script).fails(1, "bindmount", &[]);
    }
    Ok(())
}
