//! The resolv.conf of a root file system.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use support::{Skip, Test, need_program, scratch};

use super::standard::in_user_namespace;
use super::{COUNT, alpine, bare_root, fingerprint, in_folder};

fn of_the_machine() -> Result<String, Skip> {
    fs::read_to_string("/etc/resolv.conf")
        .map_err(|_| support::skip("this machine has no resolv.conf"))
}

/// A regular file, nothing, a link to nowhere, a link out: the machine's servers are read.
pub fn any_root_has_the_machines_servers() -> Test {
    let resolver = of_the_machine()?;
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
    Ok(())
}

pub fn it_is_a_copy_that_all_can_read() -> Test {
    let resolver = of_the_machine()?;
    let (root, alpine) = (bare_root()?, alpine()?);
    fs::write(root.path().join("etc/resolv.conf"), "").expect("our own folder");
    let script = "cp /etc/resolv.conf new; mount --bind new /etc/resolv.conf; umask 077; $B --std .
        echo changed >/etc/resolv.conf; stat -c %a etc/resolv.conf etc; cat etc/resolv.conf";
    for (folder, own) in [(root.path(), "755"), (alpine.path(), "755")] {
        let seen = in_folder(folder, script).silent();
        assert_eq!(seen, format!("644\n{own}\n{resolver}"));
    }
    for (dev, file) in [("minimal", " /shm/resolv.conf "), ("machine", " /resolv.conf ")] {
        let look = "{ grep -F \" $1/\" /proc/self/mountinfo; find dev -name resolv.conf; }";
        let script = format!("$B --std . --dev={dev}; {look} | grep resolv");
        let line = in_folder(root.path(), &script).silent();
        assert!(line.contains(file) && line.contains(" ro,nosuid,nodev,noexec"), "{line}");
        assert_eq!(line.lines().count(), 1, "it is seen nowhere else: {line}");
    }
    // Not even a second one, where mounts are shared.
    let script = "mount --make-rshared /; $B --std .; $B --std .; $B --list . | grep -c /dev/.*resolv || true";
    assert_eq!(in_folder(root.path(), script).silent(), "0\n");
    let script =
        "$B --std .; echo x 2>&1 >>etc/resolv.conf || mount -o remount,bind,rw etc/resolv.conf
        echo mine >>etc/resolv.conf; cat /etc/resolv.conf";
    let seen = in_folder(root.path(), script).ok();
    assert!(seen.ends_with(&resolver), "the machine's own stays as it was: {seen}");
    Ok(())
}

/// As Debian's images have it, with the file there; then nothing covers etc.
pub fn a_link_is_followed_inside_the_root() -> Test {
    let resolver = of_the_machine()?;
    let root = bare_root()?;
    let run = root.path().join("run/systemd/resolve");
    fs::create_dir_all(&run).expect("our own folder");
    fs::write(run.join("stub-resolv.conf"), "").expect("our own folder");
    let link = root.path().join("etc/resolv.conf");
    for to in ["../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf"] {
        symlink(to, &link).expect("our own folder");
        let script = "$B --std .; touch etc/kept; cat run/systemd/resolve/stub-resolv.conf
            grep -c -F \" $1/etc\" /proc/self/mountinfo || true";
        assert_eq!(in_folder(root.path(), script).silent(), format!("{resolver}0\n"), "{to}");
        assert!(root.path().join("etc/kept").exists(), "etc is the one on disk");
        fs::remove_file(&link).expect("it was made above");
    }
    Ok(())
}

/// Before Linux 6.15 a detached mount can't be copied: open_tree(2) says EINVAL.
pub fn an_older_kernel_gets_it_too() -> Test {
    let resolver = of_the_machine()?;
    need_program("strace")?;
    let root = bare_root()?;
    fs::write(root.path().join("etc/resolv.conf"), "").expect("our own folder");
    let script =
        "strace -o log -e trace=open_tree -e inject=open_tree:error=EINVAL:when=3 $B --std . \
        --dev=machine --proc=plain
        cat etc/resolv.conf log; rm log; $B --list etc; $B -u -R .";
    let seen = in_folder(root.path(), &format!("{script}; {COUNT}")).silent();
    assert!(seen.starts_with(&resolver) && seen.contains("(INJECTED)"), "{seen}");
    assert!(seen.ends_with("\n0\n"), "the memory is mounted for a moment only: {seen}");
    assert_eq!(seen.matches("/etc").count(), 1 + seen.matches("\"/etc").count(), "{seen}");
    Ok(())
}

pub fn an_etc_in_memory_looks_like_the_one_on_disk() -> Test {
    let root = bare_root()?;
    let script = "chmod 2751 etc; chown 7:8 etc; umask 077; $B --std .; stat -c '%a %u %g' etc";
    assert_eq!(in_folder(root.path(), script).silent(), "2751 7 8\n");
    Ok(())
}

pub fn mkdir_makes_the_file_and_etc_stays_on_disk() -> Test {
    let resolver = of_the_machine()?;
    let root = alpine()?;
    let script = "$B --mkdir --std .; cat etc/resolv.conf; touch etc/kept";
    assert_eq!(in_folder(root.path(), script).silent(), resolver);
    assert!(root.path().join("etc/kept").exists(), "etc is the one on disk");
    let made = fs::read(root.path().join("etc/resolv.conf")).expect("it was made");
    assert!(made.is_empty(), "a mount point");
    Ok(())
}

/// In a root that can only be read, or is another user's.
pub fn what_mkdir_can_not_make_is_in_memory() -> Test {
    let resolver = of_the_machine()?;
    let root = bare_root()?;
    for (mount, options) in [
        ("mount --bind . .; cd \"$PWD\"; mount -o remount,bind,ro .", ""),
        ("mount -t tmpfs t sys; mkdir sys/top", "--overlay sys/top,.::"),
    ] {
        let look = "cd \"$PWD\"; cat etc/resolv.conf";
        let script = format!("{mount}; $B --mkdir --std . {options}; {look}");
        assert_eq!(in_folder(root.path(), &script).silent(), resolver, "{options}");
    }
    chown(root.path().join("etc"), Some(1), Some(1)).expect("we are root");
    for overlay in ["", "--overlay .:sys/upper:sys/work"] {
        let script = format!(
            "mount -t tmpfs t sys; mkdir sys/upper sys/work; $1 --mkdir --std . {overlay}
            cd \"$PWD\"; cat etc/resolv.conf"
        );
        let ran = in_user_namespace(root.path(), "--pid --fork", &script)?;
        assert_eq!(ran.silent(), resolver, "{overlay}");
    }
    assert!(!root.path().join("etc/resolv.conf").exists());
    Ok(())
}

pub fn a_root_without_etc_is_told_how_to_get_one() -> Test {
    of_the_machine()?;
    let root = bare_root()?;
    fs::remove_dir(root.path().join("etc")).expect("it is empty");
    let before = fingerprint(root.path());
    let script = "status=0; $B --std . || status=$?; ! grep -F \" $1\" /proc/self/mountinfo
        exit $status";
    let refused = in_folder(root.path(), script);
    refused.fails(1, "bindmount", &["./etc", "(ENOENT)", "hint: add --mkdir"]);
    assert_eq!(fingerprint(root.path()), before);
    Ok(())
}
