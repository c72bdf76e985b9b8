//! Overlays: what is below stays as it is, what is changed is above.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Ran, Test, need_program, need_root, scratch};

use super::standard::in_user_namespace;
use super::{COUNT, fingerprint, in_folder};

/// A folder with `lower/`, which is a root, `more/`, which is another layer, `upper/`, `work/` and
/// `place/`.
fn layers() -> Result<support::TempDir, support::Skip> {
    need_root()?;
    let folder = scratch();
    for dir in ["dev", "proc", "sys", "etc", "srv", "old"] {
        fs::create_dir_all(folder.path().join("lower").join(dir)).expect("our own folder");
    }
    for dir in ["more/etc", "upper", "work", "place"] {
        fs::create_dir_all(folder.path().join(dir)).expect("our own folder");
    }
    for (file, text) in [
        ("lower/etc/resolv.conf", ""),
        ("lower/etc/name", "lower\n"),
        ("lower/old/file", "old\n"),
        ("more/etc/name", "more\n"),
        ("more/etc/extra", "extra\n"),
    ] {
        fs::write(folder.path().join(file), text).expect("our own folder");
    }
    Ok(folder)
}

/// What is changed in a root, and seen of it.
const CHANGE: &str = "echo new >etc/new; echo changed >etc/name; rm -r old; mkdir old; ls old
    cat etc/name etc/new";

pub fn changes_go_to_the_upper_folder_alone() -> Test {
    let folder = layers()?;
    let lower = folder.path().join("lower");
    let before = fingerprint(&lower);
    for (args, at) in [
        ("--root lower --overlay lower:upper:work", "lower"),
        ("--root place --overlay lower:upper:work:/", "place"),
        ("--root lower --overlay lower:upper:work:/srv", "lower/srv"),
        ("--std lower --overlay lower:upper:work", "lower"),
    ] {
        let script = format!(
            "$B {args}; (cd {at}; {CHANGE}); $B -u -R {at}; cat upper/etc/name
            stat -c %F upper/old/file 2>/dev/null || echo hidden; $B {args}; cat {at}/etc/new"
        );
        let seen = in_folder(folder.path(), &script).silent();
        assert_eq!(seen, "changed\nnew\nchanged\nhidden\nnew\n", "{args}");
        assert_eq!(fingerprint(&lower), before, "{args}");
        in_folder(folder.path(), "rm -rf upper work; mkdir upper work").silent();
    }
    let script = "$B --root place --overlay lower:upper:work:/:nodev,noexec
        $B --list place | tail -n 1 | tr ' ,' '\\n\\n' | grep -e nodev -e noexec";
    assert_eq!(in_folder(folder.path(), script).silent(), "nodev\nnoexec\n");
    Ok(())
}

/// The root of the command is the overlay also where `.` names it.
pub fn the_working_folder_is_not_left_below() -> Test {
    let folder = layers()?;
    let before = fingerprint(&folder.path().join("lower"));
    let args = "--std . --overlay .:../upper:../work -- touch here";
    for script in [format!("$B {args}"), format!("$B -n {args} | sh")] {
        in_folder(folder.path(), &format!("cd lower; {script}")).silent();
        assert!(folder.path().join("upper/here").exists(), "{script}");
        fs::remove_file(folder.path().join("upper/here")).expect("it is there");
    }
    assert_eq!(fingerprint(&folder.path().join("lower")), before);
    Ok(())
}

pub fn several_lower_folders_and_none_above() -> Test {
    let folder = layers()?;
    for (layers, seen) in [
        ("more,lower:upper:work", "more\nextra\nold\n"),
        ("lower,more:upper:work", "lower\nextra\nold\n"),
        ("more,lower::", "more\nextra\nold\n"),
    ] {
        let script = format!(
            "$B --std place --overlay {layers}; cat place/etc/name place/etc/extra place/old/file
            [ -s place/etc/resolv.conf ] && [ -e place/dev/null ]"
        );
        assert_eq!(in_folder(folder.path(), &script).silent(), seen, "{layers}");
    }
    let script = "$B --root place --overlay more,lower::; ! touch place/x 2>&1
        $B --list place | tail -n 1 | tr ' ,' '\\n\\n' | grep -x -e ro -e rw";
    let seen = in_folder(folder.path(), script).silent();
    assert!(seen.contains("Read-only file system\nro\n"), "{seen}");
    Ok(())
}

/// What can't be changed in the folder below can't in a user namespace either; and what was removed
/// stays away.
pub fn a_user_namespace_is_enough() -> Test {
    let folder = layers()?;
    let file = folder.path().join("look");
    for how in ["$1", "$1 -n"] {
        let run = if how.ends_with("-n") { "| sh" } else { "" };
        let look = format!(
            "{how} --std place --overlay lower:upper:work {run}; cd place; {CHANGE}
            grep -c -F userxattr /proc/self/mountinfo"
        );
        fs::write(&file, look).expect("our own folder");
        let seen = in_user_namespace(folder.path(), "--pid --fork", "sh -e ./look $1")?.silent();
        assert_eq!(seen, "changed\nnew\n1\n", "{how}");
        in_folder(folder.path(), "rm -rf upper work; mkdir upper work").silent();
    }
    Ok(())
}

/// Colons, commas and backslashes mean something to every reader of such a list.
pub fn an_odd_name_is_no_trap() -> Test {
    let folder = layers()?;
    let odd = folder.path().join("-a b,c:d\\e'$(id)");
    fs::create_dir(&odd).expect("our own folder");
    for dir in ["lower", "more", "upper", "work", "place"] {
        fs::rename(folder.path().join(dir), odd.join(dir)).expect("our own folder");
    }
    let o = r"-a\ b\\,c\\:d\\\\e\'\$\(id\)";
    let place = r"./-a\ b,c:d\\e\'\$\(id\)/place";
    let args = format!("--root {place} --overlay={o}/more,{o}/lower:{o}/upper:{o}/work");
    for run in [format!("$B {args}"), format!("$B -n {args} | sh")] {
        let script = format!("{run}; cat {place}/etc/name {place}/old/file; touch {place}/new");
        assert_eq!(in_folder(folder.path(), &script).silent(), "more\nold\n", "{run}");
        fs::remove_file(odd.join("upper/new")).expect("it was made above");
    }
    super::script::same_tables(folder.path(), &args);
    Ok(())
}

pub fn their_scripts_do_the_same() -> Test {
    let folder = layers()?;
    for args in [
        "--std lower --overlay lower:upper:work",
        "--std place --overlay more,lower::",
        "--root lower --mkdir --overlay lower:upper:work:/a/b:nodev --tmpfs /a/b/srv",
        "--root place --overlay lower:upper:work:/:noexec,noatime --bind more:/srv",
    ] {
        super::script::same_tables(folder.path(), args);
    }
    let args = "--root place --overlay lower:upper:work";
    let script = in_folder(folder.path(), &format!("$B -n {args}")).silent();
    let said = in_folder(folder.path(), &format!("$B -x {args}")).stderr;
    assert_eq!(said.strip_prefix("+ "), script.lines().nth(2).map(|l| format!("{l}\n")).as_deref());
    assert!(script.contains("lowerdir=lower,upperdir=upper,workdir=work overlay "), "{script}");
    Ok(())
}

/// Kernels before 6.13 take no descriptors; there, 6.7 takes one lower layer a time.
pub fn an_older_kernel_gets_it_too() -> Test {
    need_program("strace")?;
    let folder = layers()?;
    let script = "strace -qq -o log -e trace=fsconfig -e inject=fsconfig:error=EINVAL:when=2 \
        $B --root place --overlay more,lower:upper:work; cat place/etc/name place/old/file
        touch place/new; ls upper; grep -c 'FSCONFIG_SET_FD.*INJECTED' log";
    assert_eq!(in_folder(folder.path(), script).silent(), "more\nold\nnew\n1\n");
    Ok(())
}

pub fn no_link_leads_a_mount_outside() -> Test {
    let folder = layers()?;
    let victim = scratch();
    fs::create_dir(victim.path().join("in")).expect("our own folder");
    let link = |path: &str| {
        let path = folder.path().join(path);
        let _ = fs::remove_dir(&path);
        symlink(victim.path(), &path).expect("our own folder");
        path
    };
    for (path, args) in [
        ("upper/dev", "--std place --overlay lower:upper:work"),
        ("upper/srv", "--root place --overlay lower:upper:work --bind more:/srv/in"),
        ("lower/srv", "--root place --overlay more,lower:upper:work --tmpfs /srv"),
        ("lower/srv", "--root lower --overlay more:upper:work:/srv"),
        ("lower/srv", "--root lower --mkdir --overlay more:upper:work:/srv/new"),
        ("lower/srv", "--root lower --overlay more:upper:work:/srv/in"),
    ] {
        let made = link(path);
        for how in ["$B", "$B -n"] {
            let script = format!(
                "s=0; {how} {args} || s=$?; {COUNT}; grep -c -F {} /proc/self/mountinfo || true; exit $s",
                victim.path().display()
            );
            let ran = in_folder(folder.path(), &script);
            assert_eq!((ran.status, ran.stdout.as_str()), (1, "0\n0\n"), "{args}: {ran:?}");
            assert!(ran.stderr.contains("(ELOOP)"), "{args}: {ran:?}");
        }
        assert_eq!(fs::read_dir(victim.path().join("in")).expect("ours").count(), 0);
        fs::remove_file(made).expect("it was made above");
        let _ = fs::create_dir(folder.path().join("lower/srv"));
    }
    // A link that is good in its own layer is not in the whole of them.
    fs::create_dir_all(folder.path().join("lower/c/in")).expect("our own folder");
    symlink("/c", folder.path().join("lower/a")).expect("our own folder");
    let args = "--root place --overlay lower:upper:work more:/a/in";
    in_folder(folder.path(), &format!("$B {args}; [ -e place/c/in/etc/extra ]")).silent();
    link("upper/c");
    for how in ["$B", "$B -n"] {
        in_folder(folder.path(), &format!("{how} {args}")).fails(1, "bindmount", &["(ELOOP)"]);
    }
    Ok(())
}

pub fn what_is_wrong_is_told() -> Test {
    let folder = layers()?;
    let ran = |before: &str, layers: &str| -> Ran {
        let script = format!(
            "{before}; t=$(cat /proc/self/mountinfo); s=0; $B --root place --overlay {layers} || s=$?
            [ \"$t\" = \"$(cat /proc/self/mountinfo)\" ] || echo changed; exit $s"
        );
        in_folder(folder.path(), &script)
    };
    for (before, layers, parts) in [
        (":", "lower:nope:work", &["layer \"nope\"", "(ENOENT)", "mkdir -p nope"][..]),
        (":", "nope:upper:work", &["layer \"nope\"", "(ENOENT)"]),
        (":", "lower:upper:nope", &["layer \"nope\"", "(ENOENT)", "mkdir -p nope"]),
        (":", "lower/old/file:upper:work", &["(ENOTDIR)", "a layer is a folder"]),
        ("mount -t tmpfs t work", "lower:upper:work", &["(EINVAL)", "same mount as UPPER"]),
        (
            "mount -t tmpfs t upper; mkdir upper/u upper/w; mount -o remount,ro upper",
            "lower:upper/u:upper/w",
            &["(EINVAL)", "UPPER is on a mount that can only be read"],
        ),
        ("mkdir -p upper/work", "lower:upper:upper/work", &["(EINVAL)", "one in the other"]),
        (
            "mkdir -p u2 w2; mount -t overlay -o lowerdir=more,upperdir=u2,workdir=w2 o srv",
            "lower:srv/etc:srv/w",
            &["(EINVAL)", "UPPER is on an overlay itself"],
        ),
        (":", "lower:upper:work:/none", &["(ENOENT)", "add --mkdir"]),
    ] {
        let before = before.replace("o srv", "o srv; mkdir srv/w");
        let _ = fs::create_dir(folder.path().join("srv"));
        ran(&before, layers).fails(1, "bindmount", parts);
    }
    for layers in ["lower", "lower:upper", "lower::", "lower:upper:", "lower:upper:work:/..:ro"] {
        ran(":", layers).fails(2, "bindmount", &["hint: "]);
    }
    let twice = "lower:upper:work --overlay more:upper:work";
    ran(":", twice).fails(2, "bindmount", &["only one --overlay can be ROOTFS itself"]);
    need_program("strace")?;
    for (errno, hint) in [
        ("ENODEV", "modprobe overlay"),
        ("ENOSYS", "this takes Linux 5.12"),
        ("EPERM", "a filter (seccomp)"),
    ] {
        let script = format!(
            "strace -qq -o /dev/null -e trace=fsopen -e inject=fsopen:error={errno} \
             $B --root place --overlay lower:upper:work"
        );
        in_folder(folder.path(), &script).fails(1, "bindmount", &[errno, hint]);
    }
    Ok(())
}

/// What the kernel makes in WORK is its own, and stays there.
pub fn each_call_that_fails_leaves_nothing() -> Test {
    need_program("strace")?;
    let args = "--mkdir --std lower --overlay lower:upper:work --overlay more:u2:w2:/a/b:nodev";
    let names = |folder: &Path| {
        in_folder(folder, "find . ! -name log ! -path './w*/work*' | sort").silent()
    };
    let mut failures = 0;
    for call in ["openat2", "fsopen", "fsconfig", "fsmount", "move_mount", "mount_setattr"] {
        for n in 1.. {
            let folder = layers()?;
            in_folder(folder.path(), "mkdir u2 w2").silent();
            let before = names(folder.path());
            let script = format!(
                "s=0; strace -o log -e trace={call} -e inject={call}:error=EIO:when={n} $B {args} ||
                s=$?; {COUNT}; exit $s"
            );
            let ran = in_folder(folder.path(), &script);
            let log = fs::read_to_string(folder.path().join("log")).expect("strace ran");
            if !log.contains("(INJECTED)") {
                assert_eq!(ran.status, 0, "{call} {n}: {ran:?}");
                break;
            }
            // What finds another way goes on.
            if ran.status == 0 {
                continue;
            }
            failures += 1;
            assert_eq!((ran.status, ran.stdout.as_str()), (1, "0\n"), "{call} {n}: {ran:?}");
            assert_eq!(names(folder.path()), before, "{call} {n}: {ran:?}");
            assert!(ran.stderr.contains("(EIO)") && ran.stderr.lines().count() < 3, "{ran:?}");
        }
    }
    assert!(failures > 40, "{failures} failures");
    Ok(())
}
