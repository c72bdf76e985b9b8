//! What else of a process is entered, how it is named, and what it must not get at.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Test, eventually, need_no_filter, need_program, need_root, run, scratch, sh};

use crate::setup::{Container, links_of, to_be_entered, tool, with};

pub fn a_descriptor_and_an_inode_are_targets() -> Test {
    need_root()?;
    need_program("python3")?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    let python = "import os, sys; fd = os.pidfd_open(int(sys.argv[1])); os.set_inheritable(fd, True)
print(os.fstat(fd).st_ino, flush=True)
for form in 'fd:', '/proc/self/fd/', '/dev/fd/':
    status = os.spawnl(os.P_WAIT, sys.argv[2], 'nsenter-lite', '-t', form + str(fd), '-a', 'hostname')
    assert status == 0, status";
    let mut command = Command::new("python3");
    let ran = run(command.args(["-c", python, &pid, env!("CARGO_BIN_EXE_nsenter-lite")])).silent();
    let lines: Vec<&str> = ran.lines().collect();
    assert_eq!(lines[1..], ["box", "box", "box"]);
    let target = format!("{pid}:{}", lines[0]);
    assert_eq!(with(&["-t", &target, "-u"], "hostname").silent(), "box\n");
    let other = format!("{pid}:{}0", lines[0]);
    let ran = run(tool().args(["-t", &other, "-u", "true"]));
    ran.fails(125, "nsenter-lite", &["its inode is", "another one has its PID"]);
    Ok(())
}

pub fn the_targets_root_folder_and_environment_are_taken() -> Test {
    need_root()?;
    let root = scratch();
    let mark = root.path().join("mark");
    // A root with a program in it: the machine's own folders, bound.
    let script = "cd \"$0\"; mkdir bin usr lib lib64 proc work; for d in bin usr lib lib64; do
        ! [ -d /$d ] || mount --bind /$d $d; done; mount -t proc proc proc; : >mark
        exec env -i KEY=value 'TWO=a b' PATH=/bin:/usr/bin:/usr/sbin chroot . sh -c 'cd /work; echo >/mark; read -r _'";
    let options = ["-m", "-p", "-u", "--hostname", "box"];
    let container =
        Container::start(&options, &["sh", "-e", "-c", script, &root.path().to_string_lossy()]);
    eventually("it is set up", || fs::read_to_string(&mark).ok().filter(|text| !text.is_empty()));
    let pid = container.pid.to_string();
    let look = "pwd; ls /; hostname";
    let listing = "bin\nlib\nlib64\nmark\nproc\nusr\nwork\nbox\n";
    let cases: [(&[&str], &str); 5] = [
        (&["-a", "-r"], "/"),
        (&["-a", "-r", "-w"], "/work"),
        (&["-u", "--root", "--wd"], "/work"),
        (&["-a", "-r", "-W", "/usr"], "/usr"),
        (&["-a", "--root", "--wdns=work"], "/work"),
    ];
    for (options, folder) in cases {
        let options = [&["-t", &pid], options].concat();
        let ours = with(&options, look).silent();
        assert_eq!(ours, format!("{folder}\n{listing}"), "{options:?}");
        let script = run(tool().arg("--dry-run").args(&options).args(["sh", "-c", look])).silent();
        assert_eq!(run(&mut sh(&script)).silent(), ours, "{script}");
    }
    // A folder of outside, by its name there; and a root of one's own.
    let named = format!("-w={}", root.path().display());
    assert_eq!(with(&["-t", &pid, &named], "pwd").silent(), format!("{}\n", root.path().display()));
    let named = format!("--root=/proc/{pid}/root");
    assert_eq!(with(&["-t", &pid, &named], look).silent().lines().next(), Some("/"));
    let mut command = tool();
    command.env("OURS", "1").args(["-t", &pid, "-a", "-r", "-e", "env"]);
    assert_eq!(run(&mut command).silent(), "KEY=value\nTWO=a b\nPATH=/bin:/usr/bin:/usr/sbin\n");
    Ok(())
}

pub fn the_targets_control_groups_are_joined() -> Test {
    need_root()?;
    let groups =
        |process: &str| fs::read_to_string(format!("/proc/{process}/cgroup")).expect("it is there");
    // A group of the test's own in the first hierarchy that can have one.
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a kernel's table");
    let name = format!("nsenter-lite-test-{}", std::process::id());
    let made = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        let folder = std::path::Path::new(target).join(&name);
        (kind.starts_with("cgroup")
            && !target.contains("cpuset")
            && fs::create_dir(&folder).is_ok())
        .then_some(folder)
    });
    let Some(folder) = made else { return Err(support::skip("no control group can be made")) };
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep");
    let pid = child.id().to_string();
    fs::write(folder.join("cgroup.procs"), &pid).expect("a group of our own");
    let ours = with(&["-t", &pid, "-c"], "cat /proc/self/cgroup");
    let dry =
        run(tool().args(["--dry-run", "-t", &pid, "--join-cgroup", "cat", "/proc/self/cgroup"]));
    let theirs = run(&mut sh(&dry.stdout));
    let wanted = groups(&pid);
    let _ = child.kill();
    let _ = child.wait();
    eventually("the group is empty", || fs::remove_dir(&folder).ok());
    assert!(wanted.contains(&name), "{wanted}");
    assert_eq!(ours.silent(), wanted);
    dry.silent();
    assert_eq!(theirs.silent(), wanted);
    Ok(())
}

pub fn the_user_namespace_above_is_entered() -> Test {
    need_root()?;
    let program = env!("CARGO_BIN_EXE_nsenter-lite");
    let file = scratch();
    let file = file.path().join("inner");
    let script = format!(
        "readlink /proc/self/ns/user >'{0}.up'; exec '{program}' -c -u sh -c 'echo $PPID >/dev/null; \
        readlink /proc/self/ns/user >\"{0}\"; read -r _'",
        file.display()
    );
    let container = Container::start(&["-r", "-m"], &["sh", "-c", &script]);
    eventually("it is set up", || {
        fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    });
    let pid = container.pid.to_string();
    let above = fs::read_to_string(file.with_extension("up")).expect("written before");
    let look = "readlink /proc/self/ns/user; readlink /proc/self/ns/uts; id -u";
    let inside = with(&["-t", &pid, "-U", "--user-parent"], look).silent();
    assert_eq!(inside.lines().next(), above.lines().next());
    let owner = with(&["-t", &pid, "-u", "--user-parent", "--preserve-credentials"], look).silent();
    let theirs = links_of(container.pid);
    assert_eq!(owner.lines().collect::<Vec<_>>(), [&theirs[5], &theirs[1], "0"]);
    // With --all what is ours already is left out, and so is this one.
    let plain = Container::start(&["-u", "--hostname", "box"], &["sh", "-c", "read line"]);
    let pid = plain.pid.to_string();
    let ran = with(&["-t", &pid, "-a", "--user-parent"], "hostname").silent();
    assert_eq!(ran, "box\n");
    let refused = with(&["-t", &pid, "-u", "--user-parent"], "hostname");
    refused.fails(125, "nsenter-lite", &["(EINVAL)", "-a"]);
    Ok(())
}

/// CVE-2019-5736: root inside opens the program of whoever comes in, waits until it has ended, and
/// writes to the file.
pub fn the_program_on_disk_is_out_of_reach() -> Test {
    need_no_filter("the program on disk is the filter")?;
    need_root()?;
    need_program("python3")?;
    let folder = scratch();
    let program = folder.path().join("nsenter-lite");
    run(Command::new("cp").arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg(&program)).silent();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let before = fs::read(&program).expect("ours");
    // It keeps what it gets of the program, and writes as soon as that works. A process may become
    // another program between two looks at it: so it writes only to the test's own copy, told by its
    // number, and to what is in memory alone; and the machine's files are read-only to it.
    let attack = r"
import os, sys
mine, held, seen = os.getpid(), {}, open(sys.argv[1], 'a')
copy = os.stat(sys.argv[2])
def ours(fd):
    it, name = os.fstat(fd), os.readlink(f'/proc/self/fd/{fd}')
    return (it.st_dev, it.st_ino) == (copy.st_dev, copy.st_ino) or name.startswith('/memfd:nsenter-lite')
def write(fd):
    try: out = os.open(f'/proc/self/fd/{fd}', os.O_WRONLY)
    except OSError: return
    try: os.write(out, b'#!/bin/false\n'); seen.write('written\n'); seen.flush()
    except OSError: pass
    finally: os.close(out)
seen.write('ready\n'); seen.flush()
while True:
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or int(pid) == mine: continue
        try:
            name = os.readlink(f'/proc/{pid}/exe')
            if 'nsenter-lite' not in name: continue
            key = (pid, name)
            if key not in held:
                fd = os.open(f'/proc/{pid}/exe', os.O_PATH)
                if not ours(fd): os.close(fd); continue
                held[key] = fd
                seen.write('held ' + name + '\n'); seen.flush()
        except OSError: continue
    for fd in held.values(): write(fd)
";
    let log = folder.path().join("log");
    let options = ["-m", "-p", "--mount-proc"];
    let script = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro /; [ ! -w /usr/bin/env ]
        exec python3 -c \"$1\" \"$0/log\" \"$0/nsenter-lite\"";
    let at = folder.path().to_string_lossy();
    let words = ["sh", "-e", "-c", script, &at, attack];
    let container = Container::start(&options, &words);
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the attack has begun", || logged().contains("ready").then_some(()));
    let pid = container.pid.to_string();
    for _ in 0..20 {
        run(Command::new(&program).args(["-t", &pid, "-a", "true"])).silent();
        // COMMAND is we ourselves, as a script with #!/proc/self/exe would have it.
        let ran = run(Command::new(&program).args([
            "-t",
            &pid,
            "-a",
            "/proc/self/exe",
            "-f",
            "sleep",
            "0.1",
        ]));
        assert!(ran.status == 0, "{ran:?} {}", logged());
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(fs::read(&program).expect("it is still there"), before, "{}", logged());
    let log = logged();
    assert!(log.contains("held /memfd:nsenter-lite"), "the attack got something to try: {log}");
    assert!(!log.contains("written"), "{log}");
    // The attack is one: a program that is not shielded is written to.
    let inside = ["-t", &pid, "-a", &program.to_string_lossy(), "-f", "sleep", "0.3"];
    run(Command::new(env!("CARGO_BIN_EXE_nsenter-lite")).args(inside)).silent();
    eventually("the attack works", || {
        (fs::read(&program).expect("it is still there") != before).then_some(())
    });
    Ok(())
}
