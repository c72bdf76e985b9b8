//! E11 to E18 and E20: what the kernel would let root do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix::sys::stat::{self, SFlag, makedev, mknod};
use support::{Test, run};

use crate::bed::{Bed, Mode, words_of};

pub fn e11_device_nodes(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["mknod"]);
    // One that came with the root file system: to open it takes no capability.
    let zero = bed.root().join("zero");
    mknod(&zero, SFlag::S_IFCHR, stat::Mode::empty(), makedev(1, 5)).expect("we are root");
    fs::set_permissions(&zero, Permissions::from_mode(0o666)).expect("ours");
    let look = |options: &[&str]| {
        let look = "head -c 1 /zero | wc -c; head -c 1 /dev/zero | wc -c";
        run(&mut bed.container(options, &["/bin/sh", "-c", look])).stdout
    };
    let (usual, privileged) = (look(&[]), look(&["--privileged"]));
    fs::remove_file(&zero).expect("ours");
    assert_eq!((usual.as_str(), privileged.as_str()), ("0\n1\n", "1\n1\n"), "{:?}", bed.mode);
    Ok(())
}

pub fn e12_handles(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["handle"]);
    Ok(())
}

/// A mount of the container's is not the machine's, even where the machine's mounts are shared;
/// and what is mounted outside later is not seen inside. For the first it must be able to mount.
pub fn e13_mounts_stay_on_their_side(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["mount"]);
    let inside = "mount -t tmpfs of-the-inside /mnt; touch /tmp/ready
        until test -e /tmp/go; do sleep 0.02; done; cat /proc/self/mountinfo";
    let container = bed.container(&["--privileged"], &["/bin/sh", "-c", inside]);
    let script = format!(
        "root=$1
        mount --make-rshared /
        {} >\"$2\" &
        until test -e $root/tmp/ready; do kill -0 $! || exit 3; sleep 0.02; done
        cat /proc/self/mountinfo
        mount -t tmpfs of-the-outside $root/run
        touch $root/tmp/go
        wait $!",
        words_of(&container)
    );
    let mut outside = support::private_sh(&script);
    for (name, value) in container.get_envs() {
        outside.env(name, value.unwrap_or_default());
    }
    let table = bed.path("table");
    let machines = run(outside.arg(bed.root()).arg(&table)).silent();
    let containers = fs::read_to_string(table).expect("the shell made it");
    assert!(containers.contains("of-the-inside"), "{containers}");
    assert!(!containers.contains("of-the-outside"), "{containers}");
    assert!(!machines.contains("of-the-inside"), "{machines}");
    Ok(())
}

pub fn e14_settings_of_the_machine(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["write"]);
    Ok(())
}

pub fn e15_secrets_of_the_machine(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["read"]);
    // What is mounted in /sys looks into the whole kernel.
    let look =
        "for dir in debug tracing security config; do ls -A /sys/kernel/$dir; done 2>/dev/null";
    for options in [&[][..], &["--seccomp", "none", "--cap-keep", "all"]] {
        let ran = run(&mut bed.container(options, &["/bin/sh", "-c", look]));
        assert_eq!(ran.stdout, "", "{options:?}: {ran:?}");
    }
    Ok(())
}

pub fn e16_mounts_hold(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["peel"]);
    bed.contains(&["--read-only"], &["peel"]);
    // A mount below one that is shown read-only.
    let source = bed.path("source");
    fs::create_dir_all(source.join("sub")).expect("ours");
    let plain = &format!("{}:/mnt:ro", source.display());
    let recursive = &format!("{}:/mnt:rbind,ro", source.display());
    for spec in [plain, recursive] {
        let container = bed.container(&["-v", spec], &["/bin/probe", "read-only", "/mnt"]);
        let script = format!("mount -t tmpfs t \"$1\"; exec {}", words_of(&container));
        let mut outside = support::private_sh(&script);
        for (name, value) in container.get_envs() {
            outside.env(name, value.unwrap_or_default());
        }
        let ran = run(outside.arg(source.join("sub")));
        match ran.status {
            // Of a tree that mounts of outside cover, a user namespace can copy no part alone.
            125 if bed.mode != Mode::Root && spec == plain => {
                ran.fails(125, "bindmount", &["(EINVAL)", "rbind"]);
            }
            _ => bed.is_contained(&ran, spec),
        }
    }
    Ok(())
}

pub fn e17_nested_namespaces(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["nested"]);
    bed.contains_with_and_without_filter(&["peel-nested"]);
    // By pivot_root(2), and not by chroot(2), in which it is refused.
    bed.contains(&["--seccomp", "none"], &["userns"]);
    Ok(())
}

pub fn e18_processes(bed: &Bed) -> Test {
    let (mark, pid) = (bed.mark(), std::process::id().to_string());
    let probe = ["pids", mark.to_str().expect("our own name"), &pid];
    bed.contains_with_and_without_filter(&probe);
    // As a second process, beside PID 1.
    let words = format!("/bin/probe pids {} {pid}; :", mark.display());
    let ran = run(&mut bed.container(&["--cap-drop", "all"], &["/bin/sh", "-c", &words]));
    assert!(ran.stdout.starts_with("pids: "), "{ran:?}");
    assert!(!ran.stdout.contains(": true"), "{ran:?}");
    Ok(())
}

pub fn e20_release_agent(bed: &Bed) -> Test {
    bed.contains_with_and_without_filter(&["release-agent"]);
    if bed.mode != Mode::Root {
        // Of a user namespace all may be left: these are not the machine's capabilities.
        bed.contains(&["--privileged"], &["release-agent"]);
    }
    Ok(())
}
