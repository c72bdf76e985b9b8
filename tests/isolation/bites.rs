//! The probes get out where nothing holds them: of `chroot`, and of namespaces alone.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use support::{Ran, Test, need_program, private_sh, run};

use crate::bed::{Bed, Mode};

/// Root with all its power, by chroot(1), in mount and PID namespaces of its own.
fn chroot(bed: &Bed, probe: &[&str]) -> Ran {
    let mut command =
        private_sh("root=$1; shift; exec unshare --pid --fork chroot \"$root\" /bin/probe \"$@\"");
    run(command.arg(bed.root()).args(probe))
}

#[track_caller]
fn gets_out(bed: &Bed, probe: &[&str]) {
    let ran = chroot(bed, probe);
    assert!(ran.status == 1 && ran.stdout.contains(": escaped: "), "{probe:?}: {ran:?}");
}

pub fn chroot2() -> Test {
    let bed = Bed::new(Mode::Root)?;
    let mark = bed.mark();
    let mark = mark.to_str().expect("our own name");
    gets_out(&bed, &["chroot2", mark]);
    let ours = |options: &[&str]| {
        let mut tool = bed.as_user("chrootx");
        run(tool.args(options).arg(bed.root()).args(["/bin/probe", "chroot2", mark]))
    };
    assert_eq!(ours(&["--chroot", "--cap-keep", "sys_chroot"]).status, 1);
    bed.is_contained(&ours(&["--chroot"]), "--chroot");
    bed.is_contained(&ours(&[]), "the default");
    Ok(())
}

pub fn kernels_files() -> Test {
    let bed = Bed::new(Mode::Root)?;
    gets_out(&bed, &["write"]);
    gets_out(&bed, &["read"]);
    gets_out(&bed, &["release-agent"]);
    let pid = std::process::id().to_string();
    // Without a PID namespace all are in sight, and lead to the machine's files.
    let mut seen =
        private_sh("mount -t proc p \"$1/proc\"; exec chroot \"$1\" /bin/probe pids \"$2\" \"$3\"");
    let ran = run(seen.arg(bed.root()).arg(bed.mark()).arg(pid));
    assert!(ran.status == 1 && ran.stdout.contains("/root: true"), "{ran:?}");
    Ok(())
}

pub fn mounts() -> Test {
    let bed = Bed::new(Mode::Root)?;
    gets_out(&bed, &["mount"]);
    let script = "mount -t proc p \"$1/proc\"; mount -t tmpfs t \"$1/run\"
        mount --bind \"$1/etc\" \"$1/mnt\"; mount -o remount,bind,ro \"$1/mnt\"
        exec chroot \"$1\" /bin/probe";
    let ran = run(private_sh(&format!("{script} peel")).arg(bed.root()));
    assert!(
        ran.stdout.contains("umount /run") && ran.stdout.contains("remount /mnt rw"),
        "{ran:?}"
    );
    // What mount(8) calls read-only: this mount, and none below it.
    let below = "mkdir \"$1/mnt/sub\"; mount -t tmpfs t \"$1/mnt/sub\"
        mount --rbind \"$1/mnt\" \"$1/mnt\"; mount -o remount,bind,ro \"$1/mnt\"
        mount -t proc p \"$1/proc\"; exec chroot \"$1\" /bin/probe read-only /mnt";
    let ran = run(private_sh(below).arg(bed.root()));
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(chroot(&bed, &["userns"]).status, 1, "not in a chroot");
    Ok(())
}

pub fn devices_and_handles() -> Test {
    let bed = Bed::new(Mode::Root)?;
    gets_out(&bed, &["mknod"]);
    gets_out(&bed, &["handle"]);
    Ok(())
}

pub fn terminal() -> Test {
    let bed = Bed::new(Mode::Root)?;
    let script = format!("chroot {} /bin/probe tty", bed.root().display());
    let seen = bed.on_a_terminal("sleep 0.3", &script)?;
    assert!(seen.contains("tty: escaped: "), "{seen}");
    Ok(())
}

/// A program of the machine's that shows itself inside, and ends.
pub fn executables() -> Test {
    let bed = Bed::new(Mode::Root)?;
    let script = "mount -t proc p \"$1/proc\"
        cp \"$(command -v sleep)\" \"$2\"
        chroot \"$1\" /bin/probe exe /tmp/stop &
        for i in 1 2 3 4 5 6 7 8; do \"$2\" 0.1; done
        touch \"$1/tmp/stop\"; wait $!";
    let ran = run(private_sh(script).arg(bed.root()).arg(bed.path("program")));
    assert!(ran.status == 1 && ran.stdout.starts_with("exe: escaped"), "{ran:?}");
    Ok(())
}

pub fn what_the_caller_left() -> Test {
    let bed = Bed::new(Mode::Root)?;
    let root = bed.root();
    let script = "exec 9</; exec chroot \"$1\" /bin/probe fds";
    assert_eq!(run(private_sh(script).arg(&root)).status, 1);
    let serial = run(Command::new(root.join("bin/probe")).arg("serial")).silent();
    gets_out(&bed, &["keyring", serial.trim()]);
    gets_out(&bed, &["identity", "0", "0", "-", "800405fb"]);
    let ignoring = "mount -t proc p \"$1/proc\"
        exec env --ignore-signal=PIPE chroot \"$1\" /bin/probe signals";
    assert_eq!(run(private_sh(ignoring).arg(&root)).status, 1);
    let name = format!("container-tools-test-{}-bites", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("a new name");
    gets_out(&bed, &["abstract", &name]);
    Ok(())
}

pub fn setuid() -> Test {
    let bed = Bed::new(Mode::Root)?;
    let file = bed.root().join("bin/root");
    run(Command::new("cp").arg(bed.root().join("bin/probe")).arg(&file)).silent();
    fs::set_permissions(&file, Permissions::from_mode(0o6755)).expect("ours");
    let script = "exec chroot --userspec 1000:1000 \"$1\" /bin/probe setuid /bin/root";
    let ran = run(private_sh(script).arg(bed.root()));
    assert_eq!((ran.status, ran.stdout.contains("by the file 0")), (1, true), "{ran:?}");
    Ok(())
}

/// mount(8) follows the link, out of the root.
pub fn mount_points_that_are_links() -> Test {
    need_program("mount")?;
    let bed = Bed::new(Mode::Root)?;
    fs::remove_dir(bed.root().join("run")).expect("ours");
    symlink(bed.victim(), bed.root().join("run")).expect("ours");
    let script = "mount -t tmpfs t \"$1/run\"; cat /proc/self/mountinfo";
    let table = run(private_sh(script).arg(bed.root())).silent();
    assert!(table.contains(&*bed.victim().to_string_lossy()), "{table}");
    Ok(())
}
