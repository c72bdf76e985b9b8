//! Engines: some namespaces are joined by their files while others are made, a command that is not
//! there inside, and open descriptors for it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use support::{Test, need_program, need_root, run, scratch, sh};

use crate::setup::{Container, KINDS, LINKS, links_of, own_links, start, to_be_entered, tool};

fn join(kinds: &[&str], pid: i32) -> String {
    let files: Vec<_> = kinds.iter().map(|kind| format!("{kind}=/proc/{pid}/ns/{kind}")).collect();
    format!("--join={}", files.join(","))
}

pub fn some_are_joined_and_others_made_by_one_process() -> Test {
    need_root()?;
    set_child_subreaper(true).expect("any process may");
    let container = to_be_entered();
    let (theirs, ours) = (links_of(container.pid), own_links());
    let folder = scratch();
    for (joined, made) in [
        (&["net", "uts", "ipc"][..], &["-p", "-m"][..]),
        (&["pid", "net", "ipc", "uts"], &["-m", "-C"]),
        (&["mnt", "pid"], &["-u"]),
        (&["cgroup", "time"], &["-n"]),
        (&["mnt"], &[]),
        (&["mnt", "uts", "ipc", "net", "pid", "cgroup", "time"], &[]),
    ] {
        let file = folder.path().join("pid");
        let mut command = tool();
        command.arg(join(joined, container.pid)).args(made).arg("--detach");
        command.arg("--pid-file").arg(&file).args(["sleep", "0.4"]).current_dir("/");
        start(&mut command);
        let pid = fs::read_to_string(&file).expect("it is complete, and outside");
        let pid: i32 = pid.trim_end().parse().expect("a PID");
        let links = links_of(pid);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        assert_eq!(parent, Some(std::process::id().to_string().as_str()), "{joined:?}");
        for (at, (letter, kind)) in KINDS.iter().enumerate() {
            let link = &links[at];
            match (joined.contains(kind), made.contains(letter)) {
                (true, _) => assert_eq!(link, &theirs[at], "{joined:?} {made:?}"),
                (_, true) => assert!(link != &theirs[at] && link != &ours[at], "{kind}"),
                _ => assert_eq!(link, &ours[at], "{kind}"),
            }
        }
        let status = waitpid(Pid::from_raw(pid), None).expect("our own child");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        fs::remove_file(&file).expect("ours");
    }
    // One fork: strace sees it. (Who stays makes a process group for COMMAND, by a second one.)
    need_program("strace")?;
    let log = folder.path().join("log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=clone,clone3,fork,vfork", "-o"]).arg(&log);
    strace.arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg(join(&["pid", "net"], container.pid));
    run(strace.args(["-m", "-u", "--detach", "true"])).silent();
    let forks = fs::read_to_string(&log).expect("strace wrote it");
    // musl has the call of that name.
    let is_fork = |line: &&str| line.contains("CLONE_CHILD") || line.contains(" fork(");
    assert_eq!(forks.lines().filter(is_fork).count(), 1, "{forks}");
    Ok(())
}

pub fn a_user_namespace_is_joined_first_and_as_its_root() -> Test {
    need_root()?;
    let rootless = Container::start(&["-r", "-u", "-n"], &["sh", "-c", "read line"]);
    let mut command = tool();
    command.arg(join(&["net", "uts", "user"], rootless.pid)).args([
        "-m",
        "-p",
        "--hostname",
        "new",
    ]);
    command.args(["sh", "-c", &format!("{LINKS}; id -u; hostname; hostname other")]);
    let seen = run(&mut command).silent();
    let lines: Vec<&str> = seen.lines().collect();
    let theirs = links_of(rootless.pid);
    let at = |kind: &str| KINDS.iter().position(|(_, name)| *name == kind).expect("a kind");
    for (line, kind) in [(5, "user"), (1, "uts"), (3, "net")] {
        assert_eq!(lines[line], theirs[at(kind)], "{seen}");
    }
    assert_eq!(lines[8..], ["0", "new"]);
    Ok(())
}

pub fn credentials_are_kept_on_request() -> Test {
    need_root()?;
    let map = ["--map-users", "0:100000:10", "--map-groups", "0:100000:10", "-S", "0", "-G", "0"];
    let mapped = Container::start(&[&map[..], &["-u"]].concat(), &["sh", "-c", "read line"]);
    let look = "id -u; id -g; hostname new && hostname";
    let with = |options: &[&str]| {
        let mut command = tool();
        command.arg(join(&["user", "uts"], mapped.pid)).args(options).args(["sh", "-c", look]);
        command
    };
    assert_eq!(run(&mut with(&[])).silent(), "0\n0\nnew\n");
    // Who is nobody inside has no power there, once a program is executed.
    let kept = run(&mut with(&["--preserve-credentials"]));
    assert_eq!(kept.stdout, "65534\n65534\n", "{kept:?}");
    let script = run(&mut with(&["--preserve-credentials", "--dry-run"])).silent();
    assert_eq!(run(&mut sh(&script)).stdout, kept.stdout, "{script}");
    // The namespaces that are made belong to the one that is joined all the same.
    let made = run(&mut with(&["--preserve-credentials", "-i", "-p"]));
    assert_eq!(made.stdout, kept.stdout, "{made:?}");
    run(tool().args(["-u", "--preserve-credentials", "true"])).fails(
        125,
        "nsenter-lite",
        &["no user namespace is entered", "hint: "],
    );
    Ok(())
}

pub fn what_can_not_be_joined_is_one_line() -> Test {
    need_root()?;
    let own = std::process::id();
    let ns = format!("/proc/{own}/ns");
    for (words, status, part) in [
        (format!("--join net={ns}/uts"), 125, "(EINVAL)"),
        (format!("--join user={ns}/user"), 125, "(EINVAL)"),
        ("--join net=/etc/passwd".into(), 125, "(EINVAL)"),
        ("--join net=/no/such".into(), 125, "open the namespace \"/no/such\""),
        (format!("--join net={ns}/net -n"), 125, "and make one"),
        (format!("--join net={ns}/net,net={ns}/net"), 125, "twice"),
        (format!("--join net={ns}/net -t {own}"), 125, "--target"),
        ("--join disk=x".into(), 125, "the kinds are"),
        ("--join net".into(), 125, "a kind and a file"),
        ("-u --fd 5=/no/such".into(), 125, "open \"/no/such\""),
        ("-u --fd 2=/etc/passwd".into(), 125, "COMMAND's"),
        ("-u --fd x=/etc/passwd".into(), 125, "a descriptor is a number"),
        ("-u --fd 5".into(), 125, "a number and a file"),
        ("-u --fd 5=/etc --fd 5=/usr".into(), 125, "used already"),
        ("-u --fd 99999999=/etc".into(), 125, "ulimit -n"),
        ("-u --outside-command -- no-such-program".into(), 127, "(ENOENT)"),
        ("-u --outside-command -- /etc".into(), 126, "(EACCES)"),
        ("--dry-run -u --outside-command".into(), 125, "no shell"),
        ("--dry-run -u --fd 10=/etc".into(), 125, "0 to 9"),
    ] {
        let ran = run(tool().args(words.split(' ')).arg("true"));
        ran.fails(status, "nsenter-lite", &[part]);
    }
    Ok(())
}

/// A static program that prints its name and whether `/usr` is there.
fn static_program(folder: &Path) -> Result<(), support::Skip> {
    need_program("cc")?;
    let source = "#include <stdio.h>\n#include <unistd.h>\nint main(int n, char **v) { \
        printf(\"%s %d %d\\n\", v[0], n, access(\"/usr\", F_OK)); return 7; }";
    fs::write(folder.join("p.c"), source).expect("ours");
    let mut compiler = Command::new("cc");
    run(compiler.args(["-static", "-o", "program", "p.c"]).current_dir(folder)).silent();
    fs::write(folder.join("script"), "#!/bin/sh\n").expect("ours");
    run(Command::new("chmod").arg("+x").arg(folder.join("script"))).silent();
    Ok(())
}

pub fn the_command_of_outside_runs_where_it_is_not() -> Test {
    need_root()?;
    let folder = scratch();
    static_program(folder.path())?;
    // Inside there is no such folder, and no loader.
    let hide = "mount -t tmpfs t /tmp && mount -t tmpfs t /lib64; read line";
    let container = Container::start(&["-m"], &["sh", "-c", hide]);
    support::eventually("it is hidden", || {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", container.pid)).ok()?;
        mounts.contains("/lib64 tmpfs").then_some(())
    });
    let path = folder.path().join("program");
    let mount = join(&["mnt"], container.pid);
    let mut command = tool();
    command.arg(&mount).args(["-u", "-p", "--outside-command"]).arg(&path).args(["a", "b"]);
    let ran = run(&mut command);
    let expected = format!("{} 3 0\n", path.display());
    assert_eq!((ran.status, ran.stdout, ran.stderr), (7, expected, String::new()));
    let mut by_path = tool();
    by_path.arg(&mount).args(["-p", "--outside-command", "program"]).env("PATH", folder.path());
    assert_eq!(run(&mut by_path).stdout, "program 1 0\n");
    run(tool().arg(&mount).arg(&path)).fails(127, "nsenter-lite", &["(ENOENT)"]);
    let script = folder.path().join("script");
    let refused = run(tool().arg(&mount).arg("--outside-command").arg(script));
    refused.fails(126, "nsenter-lite", &["it is a script", "statically linked"]);
    let dynamic = run(tool().arg(&mount).args(["--outside-command", "true"]));
    dynamic.fails(127, "nsenter-lite", &["of outside", "(ENOENT)", "link it statically"]);
    let stray = run(tool().args(["-u", "--outside-command", "program"]).current_dir(folder.path()));
    stray.fails(127, "nsenter-lite", &["no folder of PATH"]);
    Ok(())
}

pub fn the_command_gets_open_descriptors() -> Test {
    need_root()?;
    let container = to_be_entered();
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "of outside\n").expect("ours");
    run(Command::new("mkfifo").arg(at("fifo"))).silent();
    let mount = join(&["mnt", "net", "pid"], container.pid);
    let fd = |number: i32, name: &str| format!("--fd={number}={}", at(name).display());
    // Whatever number it has, it is none of ours, and what the caller has there gives way.
    for number in 3..24 {
        let mut command = sh("exec 7</dev/null; exec \"$@\"");
        command.arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg(&mount).args(["-u"]);
        command.arg(fd(number, "file")).arg(fd(number + 1, "fifo"));
        command.arg(fd(number + 2, "")).arg("--status-fd=200").arg("--ready-fd=201");
        let script = format!(
            "cat /proc/self/fd/{number}; echo hello >/proc/self/fd/{0}; read -r line \
             </proc/self/fd/{0}; test -d /proc/self/fd/{1} && echo $line",
            number + 1,
            number + 2
        );
        command.args(["sh", "-c", &script]);
        let mut outer = Command::new("bash");
        outer.args(["-c", "exec \"$@\" 200>/dev/null 201>/dev/null", "bash"]);
        outer.arg(command.get_program()).args(command.get_args());
        assert_eq!(run(&mut outer).silent(), "of outside\nhello\n", "{number}");
    }
    // A name longer than an address of a socket may be.
    let deep = at(&"d".repeat(120));
    fs::create_dir(&deep).expect("ours");
    let listener = UnixListener::bind(at("s")).expect("a socket");
    fs::rename(at("s"), deep.join("s")).expect("ours");
    let served = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a connection");
        peer.write_all(b"hello\n").expect("it reads");
        let mut text = String::new();
        peer.read_to_string(&mut text).expect("it writes");
        text
    });
    let mut command = tool();
    command.arg(&mount).arg(format!("--fd=9={}/s", deep.display()));
    let seen = run(command.args(["sh", "-c", "read -r line <&9; echo $line; echo back >&9"]));
    assert_eq!(seen.silent(), "hello\n");
    assert_eq!(served.join().expect("the server"), "back\n");
    let refused = run(tool().arg("-u").arg(format!("--fd=9={}/s", deep.display())).arg("true"));
    refused.fails(125, "nsenter-lite", &["(ECONNREFUSED)"]);
    let dry = run(tool().args(["--dry-run", "-u"]).arg(format!("--fd=9={}/s", deep.display())));
    dry.fails(125, "nsenter-lite", &["no shell connects"]);
    need_program("perl")?;
    let script = "perl -MSocket -e '$^F = 99; socket(S, AF_UNIX, 5, 0); bind(S, sockaddr_un($ARGV[0])); \
        listen(S, 1); exec @ARGV[1..$#ARGV]' \"$@\"";
    let mut packets = sh(script);
    packets.arg(at("seq")).arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg("-u").arg(fd(9, "seq"));
    run(packets.args(["test", "-S", "/proc/self/fd/9"])).silent();
    Ok(())
}

pub fn the_join_script_does_the_same() -> Test {
    need_root()?;
    need_program("nsenter")?;
    let container = to_be_entered();
    let rootless = Container::start(&["-r", "-u", "-p"], &["sh", "-c", "read line"]);
    let look = format!(
        "{LINKS} | sort | uniq -c | wc -l; id -u; id -G; hostname; pwd; \
        grep Cap /proc/self/status; grep -c marked /proc/self/mounts; echo $(($$ == 1)); cat <&5; exit 3"
    );
    for (joined, pid, made) in [
        (&["net", "uts", "ipc"][..], container.pid, &["-p", "-m"][..]),
        (&["mnt", "pid", "time"], container.pid, &["-u", "--hostname", "new"]),
        (&["cgroup"], container.pid, &[]),
        (&["uts", "user"], rootless.pid, &["-p", "-m"]),
    ] {
        let arguments = [join(joined, pid), "--fd=5=/etc/hostname".into()];
        let ours = run(tool().args(&arguments).args(made).args(["sh", "-c", &look]));
        let mut dry = tool();
        dry.arg("--dry-run").args(&arguments).args(made).args(["sh", "-c", &look]);
        let script = run(&mut dry).silent();
        assert_eq!(run(&mut sh(&script)), ours, "{script}");
        assert_eq!(ours.status, 3, "{ours:?}");
    }
    Ok(())
}

pub fn a_fault_of_joining_leaves_nothing() -> Test {
    need_root()?;
    need_program("strace")?;
    let container = to_be_entered();
    let folder = scratch();
    static_program(folder.path())?;
    let _listener = UnixListener::bind(folder.path().join("s")).expect("a socket");
    let before = fs::read_dir(folder.path()).expect("ours").count();
    for call in [
        "setns:when=1",
        "setns:when=2",
        "setns:when=3",
        "unshare:when=1",
        "clone,clone3,fork:when=1",
        "socket:when=1",
        "connect:when=1",
        "dup3:when=1",
        "rename,renameat,renameat2:when=1",
        "execveat:when=1",
    ] {
        for detach in [true, false] {
            let (calls, when) = call.split_once(':').expect("a call");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
            strace.arg(format!("inject={calls}:error=EPERM:{when}"));
            strace.arg(env!("CARGO_BIN_EXE_nsenter-lite"));
            strace.arg(join(&["mnt", "net", "pid"], container.pid)).args(["-u", "--fd=9=s"]);
            strace.args(["--pid-file", "pid", "--outside-command"]);
            strace.args(detach.then_some("--detach")).arg("./program");
            let ran = run(strace.current_dir(folder.path()));
            let status = if calls == "execveat" { 126 } else { 125 };
            ran.fails(status, "nsenter-lite", &["(EPERM)"]);
            let after = fs::read_dir(folder.path()).expect("ours").count();
            assert_eq!(after, before, "{call}");
        }
    }
    Ok(())
}
