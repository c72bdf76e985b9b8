//! Calls of the kernel that a filter denies, or an old kernel does not have.

use std::fs;
use std::process::Command;

use support::{Test, need_program, need_root, run, run_with_input, scratch};

use crate::archive::Archive;
use crate::{fetch, fingerprint, names};

/// fetch-rootfs where openat2(2) gives this error.
fn without_openat2(errno: &str) -> Command {
    let fetch = fetch();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", "trace=openat2", "-e"]);
    command.arg(format!("inject=openat2:error={errno}")).arg(fetch.get_program());
    for (name, value) in fetch.get_envs() {
        value.map(|value| command.env(name, value));
    }
    command
}

pub fn without_openat2_the_same_is_made_and_refused() -> Test {
    need_root()?;
    need_program("strace")?;
    let alpine = support::archive("alpine-minirootfs-3.20.3-x86_64.tar.gz")?;
    let folder = scratch();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("our own folder");
    fs::write(outside.join("file"), "precious\n").expect("our own folder");
    let before = fingerprint(&outside);
    let (plain, denied) = (folder.path().join("plain"), folder.path().join("denied"));
    run(fetch().arg(&alpine).arg(&plain)).silent();
    let target = outside.display().to_string();
    let root = || Archive::default().folder("usr/").folder("usr/bin/").symlink("bin", "/usr/bin");
    let archives = [
        root().file("bin/x", "lands in usr/bin").end(),
        root().symlink("up", "../../..").file("up/x", "lands at the top").end(),
        root().symlink("l", &target).file("l/file", "evil").end(),
        root().symlink("l", &target).hard_link("h", "l/file").end(),
        root().symlink("c", "c").file("c/x", "in a circle").end(),
        root().symlink("l", "usr/bin").folder("l/").symlink("l/m", &target).folder("l/m/x/").end(),
    ];
    for errno in ["ENOSYS", "EPERM", "EAGAIN"] {
        run(without_openat2(errno).arg(&alpine).arg(&denied)).silent();
        assert_eq!(fingerprint(&denied), fingerprint(&plain), "{errno}");
        for (number, archive) in archives.iter().enumerate() {
            let made = [fetch(), without_openat2(errno)].map(|mut command| {
                let place = folder.path().join("root");
                let ran = run_with_input(command.arg("-").arg(&place), archive);
                let tree = place.exists().then(|| {
                    run(Command::new("touch").args(["-d", "@0"]).arg(&place)).silent();
                    fingerprint(&place)
                });
                let _ = fs::remove_dir_all(&place);
                assert_eq!(fingerprint(&outside), before, "{number} {errno}");
                (ran.status, ran.stdout, ran.stderr, tree)
            });
            assert_eq!(made[0], made[1], "{number} {errno}");
        }
        fs::remove_dir_all(&denied).expect("it was just made");
    }
    assert_eq!(names(folder.path()), ["outside", "plain"]);
    Ok(())
}
