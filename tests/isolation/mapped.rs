//! `--userns`: root of the container is nobody in particular outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use support::{Test, private_sh, run, skip};

use crate::bed::{Bed, Mode, TOOLS};
use crate::paths::with_a_mount;

pub fn files_keep_their_owners() -> Test {
    let bed = Bed::new(Mode::RootUserns)?;
    std::os::unix::fs::chown(bed.root().join("tmp"), Some(1000), Some(1000)).expect("we are root");
    // By its path only root comes there: what is setuid inside is nobody's outside.
    fs::set_permissions(bed.root(), Permissions::from_mode(0o755)).expect("ours");
    let hidden = bed.path("home/hidden");
    fs::create_dir(&hidden).expect("ours");
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).expect("ours");
    fs::rename(bed.root(), hidden.join("rootfs")).expect("ours");
    fs::set_permissions(bed.victim(), Permissions::from_mode(0o755)).expect("ours");
    let script =
        "cat /proc/self/uid_map; ls -lnd /bin /tmp | while read -r a b c d e; do echo $c $d; done
        touch /root/new && /bin/busybox chown 1000:1000 /root/new; touch /mnt/new; id -u; id -G";
    let mut command = bed.as_user(bed.path("scripts/container"));
    command.args(["run", "--userns", "1000000:65536", "-v", "../victim:/mnt", "hidden/rootfs"]);
    let ran = run(command.args(["/bin/sh", "-c", script]));
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "1000000", "65536", "0", "0", "1000", "1000", "0", "0"], "{ran:?}");
    assert!(ran.stderr.contains("/mnt/new: Permission denied"), "the machine's folder: {ran:?}");
    let new = fs::metadata(hidden.join("rootfs/root/new")).expect("it was made");
    assert_eq!((new.uid(), new.gid()), (1000, 1000));
    // What is in no map is nobody's.
    std::os::unix::fs::chown(hidden.join("rootfs/root/new"), Some(70000), None).expect("ours");
    let mut command = bed.as_user(bed.path("scripts/container"));
    command.args(["run", "--userns", "1000000:65536", "hidden/rootfs", "/bin/sh", "-c"]);
    assert_eq!(run(command.arg("ls -ln /root/new")).ok().split_whitespace().nth(2), Some("65534"));
    Ok(())
}

/// Also those of a root file system whose name has a colon in it, or is `.`.
pub fn mounts_of_the_root_are_mapped_or_named() -> Test {
    let bed = Bed::new(Mode::RootUserns)?;
    let root = bed.path("home/a b:c");
    fs::rename(bed.root(), &root).expect("ours");
    let container = |name: &str, folder: &Path| {
        let mut command = bed.as_user("sh");
        command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(folder);
        command.arg(bed.path("scripts/container")).args(["run", "--userns", "1000000:65536", name]);
        command.args(["/bin/sh", "-c", "ls -ln /mnt/file; ls /mnt"]);
        command
    };
    let ran = |kind: &str, name: &str, folder: &Path| {
        let mount = format!("mount -t {kind} below \"$1\"; touch \"$1/file\"");
        with_a_mount(&bed, &mount, &root.join("mnt"), &container(name, folder))
    };
    for (name, folder) in [("a b:c", bed.path("home")), (".", root.clone())] {
        let seen = ran("tmpfs", name, &folder).silent();
        let owner = seen.split_whitespace().nth(2);
        assert!(owner == Some("0") && seen.ends_with("\nfile\n"), "{name}: {seen}");
    }
    // Of the tools' errors one, which has the name of that mount and not of ROOTFS.
    let refused = ran("ramfs", "a b:c", &bed.path("home"));
    refused.fails(125, "bindmount", &["map the owners", "a b:c/mnt\"", "(EINVAL)", "hint: "]);
    Ok(())
}

pub fn what_root_inside_can_not_find_is_told() -> Test {
    let bed = Bed::new(Mode::RootUserns)?;
    let hidden = bed.path("home/hidden");
    fs::create_dir_all(hidden.join("sub")).expect("ours");
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).expect("ours");
    run(bed.as_user("sh").args(["-c", "chrootx --print-seccomp >hidden/filter"])).silent();
    let ran = |options: &[&str]| run(&mut bed.container(options, &["/bin/true"]));
    for (options, name) in
        [(["-v", "hidden/sub:/mnt"], "hidden/sub\""), (["--seccomp", "hidden/filter"], "filter\"")]
    {
        let parts = [name, "user 1000000 out here: permission denied", "hint: namei -l "];
        ran(&options).fails(125, "container", &parts);
    }
    // It is enough that this user may enter it.
    std::os::unix::fs::chown(&hidden, Some(1_000_000), None).expect("we are root");
    ran(&["-v", "hidden/sub:/mnt"]).silent();
    let missing = ran(&["-v", "hidden/none:/mnt"]);
    missing.fails(125, "bindmount", &["hidden/none\"", "(ENOENT)"]);
    let mut command = bed.as_user(bed.path("scripts/container"));
    command.args(["run", "--userns", "5:5", "/", "true"]);
    run(&mut command).fails(125, "container", &["\"/\" is the root of this process", "hint: "]);
    Ok(())
}

pub fn ids_are_those_that_are_given() -> Test {
    let bed = Bed::new(Mode::RootUserns)?;
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return Err(skip("needs the files /etc/subuid and /etc/subgid"));
    }
    let container = |lines: &str, how: &str| {
        let mut shell = private_sh(
            "printf \"$1\" >ids
            mount --bind ids /etc/subuid; mount --bind ids /etc/subgid; shift; exec \"$@\"",
        );
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", bed.path("tools").display()));
        shell.arg(lines).arg(bed.path("scripts/container")).args(["run", "--userns", how]);
        shell.arg(bed.root()).args(["/bin/cat", "/proc/self/gid_map"]);
        run(shell.current_dir(bed.path("home")))
    };
    let map = |lines: &str, how: &str| {
        let ran = container(lines, how).silent();
        ran.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(map("x:5:5\nroot:300000:70000\n", "auto"), "0 300000 70000");
    assert_eq!(map("root:300000:9\ncontainers:400000:65536\n", "auto"), "0 400000 65536");
    assert_eq!(map("", "host"), "0 0 4294967295");
    container("x:5:5\n", "auto").fails(125, "container", &["no ids are given", "hint: write"]);
    for how in ["", "keep-id", "0:65536", "5", "5:0", "1:2:3", "1x:2y", ":5", "5:"] {
        container("", how).fails(125, "container", &["--userns", "hint: "]);
    }
    container("", "1$(touch ran):1").fails(125, "container", &["(touch ran)", "hint: "]);
    assert!(!bed.path("home/ran").exists());
    fs::set_permissions(bed.path("tools"), Permissions::from_mode(0o700)).expect("ours");
    container("", "5:5").fails(
        125,
        "container",
        &["find \"", "/tools\"", "user 5 out here", "hint: namei"],
    );
    fs::set_permissions(bed.path("tools"), Permissions::from_mode(0o755)).expect("ours");
    let theirs = Bed::new(Mode::User)?;
    let mut user = theirs.container(&["--userns", "5:5"], &["/bin/true"]);
    run(&mut user).fails(125, "container", &["you are not root", "hint: "]);
    Ok(())
}

/// The script enters the root file system before the tools do, and what is found in there is not
/// what was meant out here.
pub fn nothing_is_taken_from_the_root_file_system() -> Test {
    let bed = Bed::new(Mode::RootUserns)?;
    fs::set_permissions(bed.victim(), Permissions::from_mode(0o777)).expect("ours");
    let mark = bed.victim().join("run");
    let evil = format!("#!/bin/sh\ntouch {}\n", mark.display());
    for name in TOOLS.iter().chain(&["sh"]) {
        fs::write(bed.root().join(name), &evil).expect("ours");
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(bed.root().join(name), mode).expect("ours");
    }
    let rest = std::env::var("PATH").unwrap_or_default();
    let tools = bed.path("tools").display().to_string();
    for path in [
        format!(":{tools}:{rest}"),
        format!(".:{tools}:{rest}"),
        format!("{tools}::{rest}:"),
        format!("./:sub/folder:{tools}:{rest}"),
        format!("../tools:.:{rest}"),
    ] {
        let mut command = bed.container(&[], &["/bin/true"]);
        run(command.env("PATH", &path)).silent();
        assert!(!mark.exists(), "{path}");
    }
    fs::create_dir(bed.victim().join("rootfs")).expect("ours");
    let mut command = bed.as_user(bed.path("scripts/container"));
    command.args(["run", "--userns", "1000000:65536", "rootfs", "/bin/true"]);
    run(command.current_dir(bed.path("")).env("CDPATH", bed.victim())).silent();
    let look = ["/bin/sh", "-c", "echo $LD_LIBRARY_PATH"];
    let mut command = bed.container(&["-e", "LD_LIBRARY_PATH"], &look);
    assert_eq!(run(command.env("LD_LIBRARY_PATH", "lib::/usr/lib:")).silent(), "/usr/lib\n");
    let program = run(bed.as_user("sh").args(["-c", "chrootx --print-seccomp >filter"]));
    program.silent();
    fs::write(bed.root().join("filter"), "no program").expect("ours");
    run(&mut bed.container(&["--seccomp", "filter"], &["/bin/true"])).silent();
    Ok(())
}
