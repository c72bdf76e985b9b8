//! E3 to E8: root file systems whose names lead elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use common::sys;
use nix::fcntl::AT_FDCWD;
use support::{Ran, Test, private_sh, run};

use crate::bed::{Bed, fingerprint};

const ROUNDS: u32 = 500;

/// CVE-2021-30465: the mount point becomes a link to a folder of the machine's between the look at
/// it and its use. Every second round looks, from where the root file system is not yet the root,
/// at the mounts that were made.
pub fn e3_race_for_a_mount_point(bed: &Bed) -> Test {
    let source = bed.path("source");
    fs::create_dir(&source).expect("ours");
    fs::write(source.join("file"), "").expect("ours");
    let (place, link) = (bed.root().join("mnt"), bed.root().join("link"));
    symlink(bed.victim(), &link).expect("ours");
    bed.belongs_to_its_user();
    let before = fingerprint(&bed.victim());
    let spec = format!("{}:/mnt/new/deep", source.display());
    let options = ["-v", &spec];
    let whole = bed.line(&options, &["/bin/true"]);
    let (mounts, _) = whole.split_once(" -- chrootx").expect("the last tool");
    let looks = format!("{mounts} -- cat /proc/self/mountinfo");

    let over = Arc::new(AtomicBool::new(false));
    let swapper = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut swaps = 0u64;
            let swap = || sys::rename(AT_FDCWD, &place, AT_FDCWD, &link, sys::RENAME_EXCHANGE);
            while !over.load(Relaxed) && swap().is_ok() {
                swaps += 1;
                // Not a processor's whole time: the others' work is to meet it everywhere.
                thread::sleep(Duration::from_micros(20));
            }
            swaps
        }
    });
    let mut worked = 0;
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            let ran = run(&mut bed
                .container(&options, &["/bin/sh", "-c", "ls /mnt/new/deep 2>/dev/null; exit 0"]));
            bed.works_or_fails_closed(&ran, 0, &format!("round {round}"));
            worked += u32::from(ran.stdout == "file\n");
        } else {
            let ran = run(bed.as_user("sh").args(["-c", &format!("exec {looks}")]));
            let victim = bed.victim().to_string_lossy().into_owned();
            assert!(!ran.stdout.contains(&victim), "round {round}: {ran:?}");
            assert!(ran.status == 0 || ran.status == 125, "round {round}: {ran:?}");
        }
    }
    over.store(true, Relaxed);
    let swaps = swapper.join().expect("it swaps");
    assert!(swaps > u64::from(ROUNDS), "{swaps} swaps");
    assert_eq!(fingerprint(&bed.victim()), before);
    eprintln!("{:?}: {swaps} swaps, {worked} of {} containers ran", bed.mode, ROUNDS / 2);
    Ok(())
}

/// CVE-2026-41579 and its kin: one of the usual mount points is a link.
pub fn e4_mount_points_that_are_links(bed: &Bed) -> Test {
    let victim = bed.victim();
    fs::write(victim.join("file"), "the machine's").expect("ours");
    bed.belongs_to_its_user();
    let up = format!("../../../../../../../..{}", victim.display());
    let targets = [
        victim.display().to_string(),
        up,
        format!("/proc/self/root{}", victim.display()),
        format!("/proc/1/root{}", victim.display()),
        format!("/oldroot{}", victim.display()),
        format!("{}/missing", victim.display()),
        "chain".to_string(),
    ];
    let chain = bed.root().join("chain");
    symlink(&victim, &chain).expect("ours");
    let before = fingerprint(&victim);
    for name in ["dev", "proc", "sys", "etc", "run", "tmp"] {
        let place = bed.root().join(name);
        let kept = bed.root().join("kept");
        fs::rename(&place, &kept).expect("ours");
        for target in &targets {
            symlink(target, &place).expect("ours");
            bed.belongs_to_its_user();
            let what = format!("/{name} -> {target}");
            bed.works_or_fails_closed(&run(&mut bed.container(&[], &["/bin/true"])), 0, &what);
            assert_eq!(fingerprint(&victim), before, "{what}");
            let there = fs::read_link(&place).expect("the link is still there");
            assert_eq!(there, Path::new(target));
            fs::remove_file(&place).expect("ours");
        }
        fs::rename(&kept, &place).expect("ours");
    }
    Ok(())
}

pub fn e5_resolv_conf_that_is_a_link(bed: &Bed) -> Test {
    let outside = bed.victim().join("resolv.conf");
    fs::write(&outside, "nameserver 192.0.2.1\n").expect("ours");
    bed.belongs_to_its_user();
    let before = fingerprint(&bed.victim());
    let place = bed.root().join("etc/resolv.conf");
    let machines = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for target in [outside.as_path(), Path::new("/run/systemd/resolve/stub-resolv.conf")] {
        fs::remove_file(&place).expect("ours");
        symlink(target, &place).expect("ours");
        bed.belongs_to_its_user();
        let ran = run(&mut bed.container(&[], &["/bin/cat", "/etc/resolv.conf"]));
        assert_eq!(fingerprint(&bed.victim()), before, "{target:?}: {ran:?}");
        assert!(!ran.stdout.contains("192.0.2.1"), "{target:?}: {ran:?}");
        bed.works_or_fails_closed(&ran, 0, &format!("{target:?}"));
        // The machine's own servers, less those that only the machine itself reaches.
        let servers = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("nameserver"));
            lines.filter(|line| !line.contains(" 127.")).map(str::to_owned).collect()
        };
        if ran.status == 0 {
            assert_eq!(servers(&ran.stdout), servers(&machines), "{target:?}: {ran:?}");
        }
    }
    Ok(())
}

/// CVE-2025-31133 and CVE-2025-52565: what masks, and the console, are the root's own links.
pub fn e6_e7_device_files_that_are_links(bed: &Bed) -> Test {
    let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    let before = pattern();
    fs::create_dir(bed.root().join("dev/pts")).expect("ours");
    for name in ["null", "zero", "console", "tty", "ptmx", "pts/0", "stdin"] {
        symlink("/proc/sys/kernel/core_pattern", bed.root().join("dev").join(name)).expect("ours");
    }
    bed.belongs_to_its_user();
    let script = "echo '|/bin/evil' >/dev/null; for f in keys timer_list acpi; do
        echo '|/bin/evil' >/proc/$f; done 2>/dev/null; cat /dev/null";
    assert_eq!(run(&mut bed.container(&[], &["/bin/sh", "-c", script])).ok(), "");
    bed.contains(&[], &["write"]);
    bed.contains(&[], &["read"]);
    assert_eq!(pattern(), before);
    Ok(())
}

/// CVE-2019-19921 and its kin: what should be the kernel's is files of the root.
pub fn e8_a_proc_of_files(bed: &Bed) -> Test {
    let fake = bed.root().join("proc");
    for folder in ["self/attr", "self/fd", "thread-self/attr", "sys/kernel", "1"] {
        fs::create_dir_all(fake.join(folder)).expect("ours");
    }
    for file in ["self/attr/exec", "thread-self/attr/exec", "self/status", "sys/kernel/hostname"] {
        fs::write(fake.join(file), "false\n").expect("ours");
    }
    fs::write(fake.join("self/mountinfo"), "").expect("ours");
    bed.belongs_to_its_user();
    let before = fingerprint(&fake);
    let real = run(&mut bed.container(&[], &["/bin/cat", "/proc/sys/kernel/hostname"]));
    assert_eq!(real.silent(), "container\n");
    bed.contains(&[], &["identity", "0", "0", "-", "800405fb"]);
    // Nor does chrootx believe or write any of it where nothing is mounted over it.
    let mut alone = bed.as_user("nsenter-lite");
    let namespaces: &[&str] = if bed.is_users() { &["-r", "-m"] } else { &["-m"] };
    alone.args(namespaces).args(["--", "chrootx", "--cap-default", "--seccomp", "default"]);
    assert_eq!(run(alone.arg(bed.root()).arg("/bin/true")).silent(), "");
    assert_eq!(fingerprint(&fake), before);
    Ok(())
}

/// Runs the command where a script has mounted something on this folder.
pub fn with_a_mount(bed: &Bed, mount: &str, at: &Path, command: &Command) -> Ran {
    let mut shell = private_sh(&format!("{mount}; shift; exec \"$@\""));
    shell.arg(at).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    run(shell.current_dir(bed.path("home")))
}

/// With `-v`, as docker's and podman's is rbind: nothing below is hidden, and `ro` holds for all of it.
pub fn what_is_mounted_below_comes_along(bed: &Bed) -> Test {
    let below = bed.victim().join("sub");
    fs::create_dir(&below).expect("ours");
    fs::set_permissions(bed.victim(), fs::Permissions::from_mode(0o755)).expect("ours");
    let look = |options: &str| {
        let spec = format!("{}:/mnt{options}", bed.victim().display());
        let script = "cat /mnt/sub/file; echo new >/mnt/sub/file && echo writable";
        let command = bed.container(&["-v", &spec], &["/bin/sh", "-c", script]);
        let mount = "mount -t tmpfs sub \"$1\"; echo below >\"$1/file\"; chmod 666 \"$1/file\"";
        with_a_mount(bed, mount, &below, &command)
    };
    assert_eq!(look("").silent(), "below\nwritable\n", "{:?}", bed.mode);
    let refused = look(":ro");
    assert_eq!(refused.stdout, "below\n", "{:?}: {refused:?}", bed.mode);
    assert!(refused.stderr.contains("Read-only"), "{:?}: {refused:?}", bed.mode);
    Ok(())
}

/// What is mounted in the root file system is there, too, and its device files open nothing.
pub fn what_is_mounted_in_the_root_comes_along(bed: &Bed) -> Test {
    let mount = "mount -t tmpfs sub \"$1\"; echo below >\"$1/file\"; chmod 666 \"$1/file\"
        mknod \"$1/null\" c 1 3; chmod 666 \"$1/null\"";
    let script = "cat /mnt/file; echo new >/mnt/file && echo writable; ! true </mnt/null";
    let command = bed.container(&[], &["/bin/sh", "-c", script]);
    let ran = with_a_mount(bed, mount, &bed.root().join("mnt"), &command);
    let denied = ran.status == 0 && ran.stderr.contains("/mnt/null: Permission denied");
    assert!(denied && ran.stdout == "below\nwritable\n", "{:?}: {ran:?}", bed.mode);
    Ok(())
}
