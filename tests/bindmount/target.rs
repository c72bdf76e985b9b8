//! Mounts in the mount namespace of a process that runs already.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Ran, TempDir, Test, alpine, need_program, run, scratch};

use super::{BINDMOUNT, fingerprint, in_folder, tree};

/// A process with mounts of its own. It ends with its standard input.
pub struct Contained(Child);

impl Contained {
    /// With this root, by chroot(2): its mount namespace begins elsewhere.
    pub fn start(root: &Path) -> Self {
        let script = "mount -t tmpfs t \"$1/media\"; exec chroot \"$1\" sh -c 'echo up; exec cat'";
        Self::by(&["--mount"], script, root)
    }

    /// By unshare(1) with these options, and a script that says `up` in the end.
    fn by(options: &[&str], script: &str, folder: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--propagation", "private"]).args(options);
        command.args(["sh", "-ec", script, "sh"]).arg(folder);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be run");
        let mut up = [0; 3];
        let stdout = child.stdout.as_mut().expect("it is a pipe");
        stdout.read_exact(&mut up).expect("it says that it is up");
        Self(child)
    }

    /// Its number.
    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// bindmount with it for a target.
    pub fn bindmount(&self, args: &[&str]) -> Ran {
        run(Command::new(BINDMOUNT).args(["-t", &self.pid()]).args(args))
    }

    /// What a shell in there says.
    fn says(&self, script: &str) -> String {
        let pid = self.pid();
        let enter = ["--target", &pid, "--mount", "--root", "sh", "-c", script];
        run(Command::new("nsenter").args(enter)).ok()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn data() -> TempDir {
    let data = scratch();
    fs::create_dir(data.path().join("sub")).expect("our own folder");
    fs::write(data.path().join("file"), "from outside\n").expect("our own folder");
    data
}

pub fn a_tree_of_here_is_seen_there_and_goes_again() -> Test {
    let (root, data) = (alpine()?, data());
    let outside = || fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    symlink("/etc/../mnt", root.path().join("lib/to-mnt")).expect("our own folder");
    let (before, table) = (fingerprint(root.path()), outside());
    let contained = Contained::start(root.path());
    let src = data.path().display().to_string();
    contained.bindmount(&["-o", "ro,nosuid", &src, "/mnt"]).silent();
    assert_eq!(contained.says("cat /mnt/file; touch /mnt/x 2>&1 || :"), {
        "from outside\ntouch: /mnt/x: Read-only file system\n"
    });
    contained.bindmount(&["--mkdir", &format!("{src}/file"), "media/a/b"]).silent();
    assert_eq!(contained.says("cat /media/a/b"), "from outside\n");
    let listed = contained.bindmount(&["--list", "/mnt"]).silent();
    assert!(listed.contains("/mnt") && listed.contains("ro,nosuid"), "{listed}");
    assert_eq!(contained.bindmount(&["--list", "--json", "/srv"]).silent(), "[]\n");
    let missing = contained.bindmount(&["--list", "/none"]);
    missing.fails(1, "bindmount", &["look at \"/none\" of process", "(ENOENT)"]);
    for led in ["mnt/", "/etc/../mnt", "/lib/to-mnt", "../.././mnt"] {
        assert_eq!(contained.bindmount(&["--list", led]).silent(), listed, "{led}");
    }
    assert_eq!(outside(), table, "nothing of it is seen here");
    contained.bindmount(&["--unmount", "/mnt"]).silent();
    contained.bindmount(&["-u", "-l", "media/a/b"]).silent();
    assert_eq!(contained.says("ls /mnt; cat /media/a/b"), "");
    drop(contained);
    assert!(fingerprint(root.path()) == before, "the root is what it was");
    Ok(())
}

/// Links of the root lead nowhere: not out of it, nor to what it has for /proc.
pub fn a_hostile_root_gets_no_mount_elsewhere() -> Test {
    let (root, data, victim) = (alpine()?, data(), scratch());
    fs::create_dir(victim.path().join("dir")).expect("our own folder");
    let src = data.path().display().to_string();
    let link = |name: &str, to: &Path| {
        symlink(to, root.path().join(name)).expect("our own folder");
    };
    link("away", victim.path());
    link("up", Path::new("../../../../../../.."));
    link("magic", Path::new("/proc/self/root"));
    let contained = Contained::start(root.path());
    let table = || contained.says("cat /proc/self/mountinfo 2>/dev/null || :");
    let before = table();
    for dst in ["/away", "/away/dir", "/up/tmp", "/magic", "/magic/tmp"] {
        for options in [&[][..], &["--mkdir"]] {
            let ran = contained.bindmount(&[options, &[&src, dst]].concat());
            ran.fails(1, "bindmount", &[dst, "(ELOOP)", "hint: a symbolic link is on the way"]);
        }
    }
    contained.bindmount(&["--mkdir", &src, "/missing/sub/."]).silent();
    contained.bindmount(&["-u", "/missing/sub"]).silent();
    assert_eq!(table(), before);
    assert_eq!(fs::read_dir(victim.path().join("dir")).expect("it is there").count(), 0);
    Ok(())
}

pub fn what_can_t_be_done_there_is_told_and_leaves_nothing() -> Test {
    let (root, data) = (alpine()?, data());
    let src = data.path().display().to_string();
    let names = || run(support::sh("find \"$1\"").arg(root.path())).ok();
    let before = names();
    let contained = Contained::start(root.path());
    for (args, status, parts) in [
        (&[&src, "/none"][..], 1, &["process", "(ENOENT)", "hint: add --mkdir"][..]),
        (&["/no/such/source", "/mnt"], 1, &["copy the mount of", "(ENOENT)"]),
        (&["--mkdir", &src, "/etc/passwd/x"], 1, &["make the mount point", "(ENOTDIR)"]),
        (&[&src, "/etc/passwd"], 1, &["mount on \"/etc/passwd\"", "a folder goes on a folder"]),
        (&["-u", "/mnt"], 1, &["unmount \"/mnt\" of process", "(EINVAL)", "hint: nothing is"]),
        (&["-u", "-R", "/mnt"], 2, &["one mount is taken away a time"]),
        (&["-u", "/"], 2, &["is no place in ROOTFS"]),
        (&[&src, "/../mnt"], 2, &["is no place in ROOTFS"]),
        (&["-n", &src, "/mnt"], 1, &["write a script of this", "hint: nsenter -t"]),
        (&[&src, "/mnt", "--", "true"], 125, &["run a COMMAND after --target"]),
        (&["--std", "/x"], 2, &["cannot be used with"]),
    ] {
        contained.bindmount(args).fails(status, "bindmount", parts);
    }
    let wrong = run(Command::new(BINDMOUNT).args(["-t", "0x1", &src, "/mnt"]));
    wrong.fails(2, "bindmount", &["read a PID from \"0x1\""]);
    need_program("strace")?;
    let pid = contained.0.id().to_string();
    for call in ["pidfd_open", "open_tree", "mount_setattr", "setns", "mkdirat", "move_mount"] {
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e"]).arg(format!("inject={call}:error=EPERM"));
        strace.args([BINDMOUNT, "-t", &pid, "--mkdir", "-o", "ro", &src, "/new/place"]);
        run(&mut strace).fails(1, "bindmount", &["(EPERM)"]);
    }
    assert_eq!(contained.says("ls -d /new 2>&1 || :"), "ls: /new: No such file or directory\n");
    let unmounted = contained.bindmount(&["-n", "-u", "-l", "/media"]).silent();
    run(&mut support::sh(&unmounted)).silent();
    drop(contained);
    assert!(names() == before, "nothing is left");
    Ok(())
}

/// What is set on the mount is set while /proc is ours.
pub fn a_proc_of_another_pid_namespace_is_no_hindrance() -> Test {
    let folder = tree()?;
    let options = ["--mount", "--pid", "--fork", "--mount-proc"];
    let contained = Contained::by(&options, "echo up; exec cat", folder.path());
    let [src, dst, file] = ["src", "dst", "file"].map(|name| folder.path().join(name));
    let [src, dst, file] = [&src, &dst, &file].map(|path| path.to_str().expect("a plain name"));
    contained.bindmount(&["--map-users", "0:1000:1", "-o", "ro", src, dst]).silent();
    contained.bindmount(&["--map-groups", "0:7:1", &format!("{src}/file"), file]).silent();
    let script = format!("stat -c %u:%g {dst}/file {file}; touch {dst}/x 2>/dev/null || echo ro");
    assert_eq!(contained.says(&script), "1000:0\n0:7\nro\n");
    Ok(())
}

/// What it has for /proc may be made to lead us elsewhere, or to wait for ever: nothing of it is
/// opened, not even when something fails.
pub fn a_proc_that_is_made_up_is_not_looked_at() -> Test {
    let folder = tree()?;
    need_program("strace")?;
    let script = "cd \"$1\"; mkdir fake victim victim/ns victim/fd precious
        ln -s \"$1/victim\" fake/self; echo 0 0 1 | tee victim/uid_map >victim/gid_map
        : >victim/ns/user; mount -t tmpfs precious precious
        for n in 3 4 5 6 7 8 9; do ln -s \"$1/precious\" victim/fd/$n; done
        mount --bind fake /proc; echo up; exec cat";
    let contained = Contained::by(&["--mount"], script, folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [src, dst, src_file, file] = ["src", "dst", "src/file", "file"].map(path);
    let victim = folder.path().join("victim");
    let (before, table) = (fingerprint(&victim), contained.bindmount(&["--list"]).silent());
    contained.bindmount(&["--map-users", "0:1000:1", &src, &dst]).silent();
    assert_eq!(contained.says(&format!("stat -c %u:%g {dst}/file")), "1000:0\n");
    assert_eq!(fingerprint(&victim), before, "nothing is written there");
    contained.bindmount(&["-u", &dst]).silent();
    fs::remove_file(victim.join("uid_map")).expect("our own folder");
    run(Command::new("mkfifo").arg(victim.join("uid_map"))).silent();
    for (call, what) in [("move_mount", "mount on"), ("mount_setattr:when=2", "the propagation")] {
        for (src, dst) in [(&src, &dst), (&src_file, &file)] {
            let (call, when) = call.split_once(':').unwrap_or((call, "when=1"));
            let mut strace = Command::new("strace");
            strace.args(["-qq", "-o", "/dev/null", "-e"]);
            strace.arg(format!("inject={call}:error=EPERM:{when}"));
            strace.args([BINDMOUNT, "-t", &contained.pid(), "-o", "ro,private", src, dst]);
            let parts = [what, "(EPERM)", "hint: root may do that, so a filter"];
            run(&mut strace).fails(1, "bindmount", &parts);
            assert_eq!(contained.bindmount(&["--list"]).silent(), table, "{call} {dst}");
        }
    }
    Ok(())
}

/// Where /proc is that of a PID namespace above ours, the number there is another's.
pub fn the_target_is_the_one_that_we_call_so() -> Test {
    let folder = tree()?;
    let script = "unshare --mount --propagation private sh -c ': >up; exec sleep 100' & t=$!
        until [ -e up ]; do sleep 0.01; done
        $B -t $t --mkdir --map-users 0:1000:1 src $PWD/new; ls new
        $B -t $t --list $PWD | cut -d ' ' -f 1
        $B -t $t -u $PWD/new; $B -t $t --list --json $PWD; kill $t";
    let script =
        format!("export B; unshare --pid --fork sh -e -c '{}'", script.replace('\'', "\""));
    let listed = in_folder(folder.path(), &script).silent();
    assert_eq!(listed, format!("TARGET\n{}/new\n[]\n", folder.path().display()));
    Ok(())
}
