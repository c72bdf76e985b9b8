//! What /proc and /sys of a root file system don't show, and what can't be written there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Skip, Test, need_program, project, skip};

use super::standard::in_user_namespace;
use super::{alpine, bare_root, in_folder};

/// Our chrootx, static, so that it runs in any root. Built once.
fn chrootx() -> Result<&'static Path, Skip> {
    static TOOL: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        // Not `support::run`: the first build takes longer than a test may.
        let out = Command::new(project().join("scripts/build")).output().ok()?;
        let folder = String::from_utf8(out.stdout).ok()?;
        out.status.success().then(|| Path::new(folder.trim_end()).join("chrootx"))
    };
    TOOL.get_or_init(build).as_deref().ok_or_else(|| skip("needs scripts/build"))
}

/// Opens files for writing, and writes nothing; says which others have a text; and tries to get
/// behind the masks, by unmounting one and by a new proc in a user namespace.
const LOOK: &str = "for f in sys/kernel/core_pattern irq/default_smp_affinity sysrq-trigger
    do if [ -f /proc/$f ] && (exec 3>>/proc/$f) 2>/dev/null; then echo open $f; fi; done
    for f in keys timer_list kcore interrupts
    do if [ -n \"$(head -c 1 /proc/$f 2>/dev/null)\" ]; then echo text $f; fi; done
    for d in /proc/acpi /proc/scsi /sys/firmware
    do if [ -n \"$(ls -A $d 2>/dev/null)\" ]; then echo full $d; fi; done
    if umount /proc/timer_list 2>/dev/null; then echo peeled; fi
    if unshare -Urmpf mount -t proc proc /mnt 2>/dev/null; then echo uncovered; fi";

/// Whether this kernel has it.
fn there(file: &str) -> bool {
    Path::new("/proc").join(file).exists()
}

pub fn root_with_little_power_changes_nothing() -> Test {
    let (root, chrootx) = (alpine()?, chrootx()?);
    std::fs::write(root.path().join("look"), LOOK).expect("our own folder");
    let inside = |options: &str| {
        let power = format!("{} --cap-default \"$PWD\" /bin/sh /look", chrootx.display());
        let as_root = "exec unshare --pid --fork sh -e -c";
        let as_root =
            in_folder(root.path(), &format!("{as_root} '$0 --std . {options} -- {power}' $B"));
        let script = format!("$1 --std . {options} -- {power}");
        in_user_namespace(root.path(), "--pid --fork", &script)
            .map(|user| [as_root.silent(), user.silent()])
    };
    assert_eq!(inside("")?, ["", ""]);
    // The same look finds what there is to find.
    for seen in inside("--proc=plain")? {
        assert!(seen.contains("open sys/kernel/core_pattern\n"), "{seen}");
        assert!(seen.contains("text interrupts\n"), "{seen}");
        assert_eq!(there("sysrq-trigger"), seen.contains("open sysrq-trigger\n"), "{seen}");
        assert!(seen.contains("uncovered\n") && !seen.contains("peeled"), "{seen}");
    }
    Ok(())
}

/// Who may unmount may peel: that is what the power is taken away for.
pub fn root_with_all_its_power_can_peel_a_mask() -> Test {
    let root = alpine()?;
    let seen = in_folder(
        root.path(),
        "$B --std .; cat proc/interrupts proc/sys/kernel/ostype; umount proc/interrupts
        grep -c . proc/interrupts",
    )
    .silent();
    assert!(seen.starts_with("Linux\n") && seen.len() > "Linux\n1\n".len(), "{seen}");
    Ok(())
}

pub fn the_masks_are_mounts_of_their_kinds() -> Test {
    let root = bare_root()?;
    let table = "$B --std .; $B --list .";
    let table = in_folder(root.path(), table).silent();
    let has = |file: &str, kind: &str, options: &str| {
        let line =
            table.lines().find(|line| line.split(' ').next().is_some_and(|t| t.ends_with(file)));
        let fits = line.is_some_and(|line| line.contains(kind) && line.contains(options));
        assert_eq!(fits, there(file.trim_start_matches("/proc/")), "{file}: {table}");
    };
    for file in ["/proc/interrupts", "/proc/keys", "/proc/timer_list", "/proc/kcore"] {
        has(file, "[/null] ", " ro,nosuid,noexec");
    }
    for folder in ["/proc/acpi", "/proc/asound", "/proc/scsi"] {
        has(folder, " tmpfs ", " ro,nosuid,nodev,noexec");
    }
    for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
        has(&format!("/proc/{path}"), &format!("proc[/{path}]"), " ro,nosuid,nodev,noexec");
    }
    Ok(())
}

/// What is mounted in /sys to look into the kernel; and what is mounted there later, on a machine
/// whose mounts are shared.
pub fn file_systems_in_sys_are_not_seen() -> Test {
    const LOOK: &str = "for d in kernel/debug kernel/tracing kernel/security kernel/config \
        fs/pstore fs/bpf fs/fuse/connections fs/selinux firmware
        do [ ! -d sys/$d ] || find sys/$d -mindepth 1 2>&1 | sed 3q; done; ls -d sys/fs/cgroup";
    const MOUNT: &str = "for d in kernel/debug kernel/tracing kernel/security kernel/config \
        fs/pstore fs/bpf fs/fuse/connections fs/selinux fs/cgroup firmware; do d=/sys/$d
        [ ! -d $d ] || { mount -t tmpfs secret $d; echo of the machine >$d/secret; }; done";
    let root = bare_root()?;
    for (args, user) in [("--std .", "$1 --std ."), ("--root . --sys", "$1 --root . --sys")] {
        let seen = in_folder(root.path(), &format!("{MOUNT}; $B {args}; {LOOK}"));
        assert_eq!(seen.silent(), "sys/fs/cgroup\n", "{args}");
        let later = format!("mount --make-rshared /; $B {args}; {MOUNT}; {LOOK}");
        assert_eq!(in_folder(root.path(), &later).silent(), "sys/fs/cgroup\n", "{args}");
        let inside = format!("exec unshare -rmpf sh -e -c '{user}; {LOOK}' sh $B");
        let seen = in_folder(root.path(), &format!("{MOUNT}; {inside}"));
        if in_user_namespace(root.path(), "", "true").is_ok() {
            assert_eq!(seen.silent(), "sys/fs/cgroup\n", "{args}");
        }
        // No list names all that a machine may have there.
        let odd = "mount --bind /etc /sys/module; mount --bind /etc/hostname /sys/kernel/notes";
        let look = "ls -A sys/module; head -c 9 sys/kernel/notes; ls sys/kernel >out";
        let inside = format!("exec unshare -rmpf sh -e -c '{user}; {look}' sh $B");
        let seen = in_folder(root.path(), &format!("{odd}; {inside}"));
        if in_user_namespace(root.path(), "", "true").is_ok() {
            assert_eq!(seen.silent(), "", "{args}");
        }
    }
    let plain = in_folder(root.path(), &format!("{MOUNT}; $B --std . --proc=plain; {LOOK}"));
    assert!(plain.stdout.contains("sys/kernel/debug/secret\n"), "{plain:?}");
    Ok(())
}

/// Its cost is its own: it does not read the table of mounts, which may be long.
pub fn the_table_of_mounts_is_not_read() -> Test {
    need_program("strace")?;
    let root = bare_root()?;
    let script = "strace -f -o log -e trace=openat,openat2,?statmount,?listmount $B --std .
        grep -c -e /dev/null -e interrupts log; grep -c -e mountinfo -e mounts -e mount\\( log || true";
    let seen = in_folder(root.path(), script).silent();
    assert!(seen.ends_with("\n0\n") && !seen.starts_with("0\n"), "{seen}");
    Ok(())
}

/// In a user namespace a new proc must not show what the old one hides.
pub fn a_proc_that_is_covered_is_told_of() -> Test {
    let root = bare_root()?;
    in_user_namespace(root.path(), "--pid --fork", "true")?;
    let script = "mount --bind /etc/hostname /proc/version
        exec unshare --map-root-user --mount --pid --fork sh -c 'status=0; $0 --std . || status=$?
        grep -F \" $1/proc \" /proc/self/mountinfo; exit $status' $B \"$1\"";
    let ran = in_folder(root.path(), script);
    if ran.status == 0 {
        assert!(ran.stdout.contains("subset=pid"), "{ran:?}");
        assert!(ran.stderr.starts_with("bindmount: note: /proc shows"), "{ran:?}");
        return Ok(());
    }
    let hint = "hint: \"/proc/version\" is covered by a mount, and in a user namespace";
    ran.fails(1, "bindmount", &["make a new proc", "(EPERM)", hint, "bindmount -R /proc"]);
    Ok(())
}

/// As on a kernel that gives a proc of the processes alone where the whole is refused.
pub fn the_processes_alone_are_better_than_nothing() -> Test {
    need_program("strace")?;
    let root = bare_root()?;
    let script = "strace -o log -e trace=fsmount -e inject=fsmount:error=EPERM:when=1 $1 --std . \
        --dev=machine; grep -c INJECTED log; ls proc | grep -v [0-9] | tr \"\\n\" \" \"";
    let ran = in_user_namespace(root.path(), "--pid --fork", script)?;
    assert_eq!(ran.stdout, "1\nself thread-self ", "{ran:?}");
    let note = "bindmount: note: /proc shows the processes alone (subset=pid): ";
    assert!(ran.stderr.starts_with(note) && ran.stderr.lines().count() == 1, "{ran:?}");
    Ok(())
}

/// What the machine mounts later would be one of its own, which can be written to.
pub fn what_is_mounted_in_sys_later_is_not_seen() -> Test {
    let root = bare_root()?;
    let script =
        "mount --make-rshared /; $B --std . ARGS; for d in /sys/fs/cgroup /sys/kernel/debug; do
        if [ -d $d ]; then mount -t tmpfs later $d; echo x >$d/later; fi; done
        ls /sys/fs/cgroup; find sys/fs/cgroup sys/kernel/debug -name later";
    for args in ["", "--proc=plain"] {
        let seen = in_folder(root.path(), &script.replace("ARGS", args)).silent();
        assert_eq!(seen, "later\n", "{args}");
    }
    Ok(())
}
