//! `--init`: PID 1 of our own, its orphans, its signals, its end.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Test, eventually, need_program, need_root, run, scratch, sh};

use crate::setup::{
    Container, has_word, is_alive, members, need_user_namespaces, only_child, tool, with,
};

/// Signals that don't end who gets them: SIGKILL and SIGSTOP, which can't be passed on, those of job
/// control, those that do nothing by default, and the two that are ignored in whatever glibc's
/// posix_spawn(3) starts, as these tests do.
const OTHERS: [i32; 11] = [9, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33];

pub fn the_command_is_pid_2_and_its_status_exact() -> Test {
    need_root()?;
    for options in [&["--init"][..], &["--init", "-r", "--mount-proc"], &["--init", "-T", "-m"]] {
        assert_eq!(with(options, "echo $$").silent(), "2\n");
        for (script, status) in [
            ("exit 42", 42),
            ("kill -KILL $$", 137),
            ("kill -TERM $$", 143),
            ("kill -64 $$", 192),
            ("sleep 99 & exit 3", 3),
        ] {
            assert_eq!(with(options, script).status, status, "{options:?} {script}");
        }
    }
    let container = Container::start(&["--init"], &["sh", "-c", "read line"]);
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("there");
    assert!(status.contains(&format!("NSpid:\t{}\t2\n", container.pid)), "{status}");
    Ok(())
}

fn kill(pid: i32, signal: i32) {
    run(sh("kill -\"$1\" \"$2\"").args([signal.to_string(), pid.to_string()])).silent();
}

fn launcher(container: &Container) -> i32 {
    container.launcher.id().cast_signed()
}

/// The process outside has one child.
fn pid_1(container: &Container) -> i32 {
    let child = only_child(launcher(container));
    assert_ne!(child, container.pid);
    child
}

pub fn every_signal_reaches_the_command() -> Test {
    need_root()?;
    // Core files are for signals that nobody sends on purpose.
    let launch = |command: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -c 0; exec \"$0\" \"$@\""]);
        shell.arg(env!("CARGO_BIN_EXE_nsenter-lite"));
        Container::launch(shell, &["--init"], command)
    };
    for signal in (1..=64).filter(|signal| !OTHERS.contains(signal)) {
        let mut container = launch(&["sleep", "60"]);
        kill(launcher(&container), signal);
        assert_eq!(container.end(), 128 + signal);
        assert!(!is_alive(container.pid), "{signal}");
    }
    for signal in [1, 2, 15, 17, 18, 20, 21, 23, 28, 34, 64] {
        for at_pid_1 in [false, true] {
            let container = Container::with_trap(&["--init"], &format!("trap 'exit 7' {signal}"));
            let to = if at_pid_1 { pid_1(&container) } else { launcher(&container) };
            kill(to, signal);
            assert_eq!({ container }.end(), 7, "{signal}, to PID 1: {at_pid_1}");
        }
    }
    Ok(())
}

/// Who floods PID 1 hinders it in nothing: it sees that COMMAND has ended.
pub fn a_flood_of_signals_does_not_keep_it() -> Test {
    need_root()?;
    let flood = "trap '' 64; for i in 1 2 3; do while :; do kill -64 1; done & done; exec sleep 60";
    // All that waits for processes of one user counts: other tests need room, too.
    let mut limited = Command::new("prlimit");
    limited.arg("--sigpending=80000").arg(env!("CARGO_BIN_EXE_nsenter-lite"));
    let mut container = Container::launch(limited, &["--init"], &["sh", "-c", flood]);
    sleep(Duration::from_millis(500));
    let begun = Instant::now();
    kill(launcher(&container), 15);
    assert_eq!(container.end(), 143);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    Ok(())
}

pub fn a_signal_keeps_its_value() -> Test {
    need_root()?;
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let trace =
        ["strace", "-D", "-qq", "-e", "trace=exit_group", "-o", log.to_str().expect("a path")];
    let container = Container::start(&["--init"], &[&trace[..], &["sleep", "60"]].concat());
    let pid_1 = pid_1(&container);
    eventually("it is traced", || log.exists().then_some(()));
    sleep(Duration::from_millis(200));
    let queue = |to: String, value: &str| {
        run(Command::new("/bin/kill").args(["-q", value, "-s", "WINCH", &to])).silent();
    };
    queue(container.launcher.id().to_string(), "4242");
    queue(pid_1.to_string(), "4243");
    eventually("strace has seen both", || {
        let text = fs::read_to_string(&log).ok()?;
        (text.matches("si_code=SI_QUEUE").count() == 2
            && text.contains("=4242,")
            && text.contains("=4243,"))
        .then_some(())
    });
    Ok(())
}

fn state(pid: impl std::fmt::Display) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('-')
}

pub fn stops_are_mirrored() -> Test {
    need_root()?;
    for name in ["TSTP", "TTIN", "TTOU"] {
        let mut container = Container::start(&["--init"], &["sleep", "60"]);
        let launcher = container.launcher.id();
        container.signal(format!("SIG{name}").parse().expect("a signal"));
        for pid in [launcher, container.pid.unsigned_abs()] {
            eventually("both are stopped", || (state(pid) == 'T').then_some(()));
        }
        container.signal(Signal::SIGCONT);
        for pid in [launcher, container.pid.unsigned_abs()] {
            eventually("both go on", || (state(pid) == 'S').then_some(()));
        }
        container.signal(Signal::SIGTERM);
        assert_eq!(container.end(), 143);
    }
    Ok(())
}

pub fn orphans_are_reaped_and_end_with_the_command() -> Test {
    need_root()?;
    let script =
        "(sleep 0.1 &) ; for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10; do
        (sleep 0.1 &); done; done; exec sleep 60";
    let container = Container::start(&["--init"], &["sh", "-c", script]);
    let namespace = container.namespace();
    eventually("only PID 1 and sleep are left, and no zombie", || {
        (state(container.pid) != 'Z' && members(&namespace).len() == 2 && zombies(&namespace) == 0)
            .then_some(())
    });
    let mut container =
        Container::start(&["--init"], &["sh", "-c", "sleep 60 & read line; exit 3"]);
    let namespace = container.namespace();
    eventually("all are there", || (members(&namespace).len() == 3).then_some(()));
    drop(container.launcher.stdin.take());
    assert_eq!(container.end(), 3);
    assert_eq!(members(&namespace), [""; 0]);
    Ok(())
}

fn zombies(namespace: &std::path::Path) -> usize {
    members(namespace).iter().filter(|path| state(&path["/proc/".len()..]) == 'Z').count()
}

/// Killed somewhere in its first millisecond, or its first five.
pub fn a_launcher_killed_at_birth_leaves_nothing() -> Test {
    need_root()?;
    let mut alive = 0;
    for (name, options) in [
        ("init", &["--init"][..]),
        ("plain", &["-p"]),
        ("mapped", &["--init", "-r", "-m"]),
        ("pty", &["--init", "--pty", "-m"]),
    ] {
        let mut late = Vec::new();
        for round in 0..100u64 {
            let word = format!("60.{}{round:03}", std::process::id());
            let mut command = tool();
            command.args(options).args(["sleep", &word]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut launcher = command.process_group(0).spawn().expect("it starts");
            let longest = if round % 2 == 0 { 1000 } else { 5000 };
            sleep(Duration::from_micros(round * 7919 % longest));
            launcher.kill().expect("ours");
            let killed = Instant::now();
            launcher.wait().expect("ours");
            alive += u32::from(has_word(&word));
            while has_word(&word) {
                let after = killed.elapsed();
                assert!(after < Duration::from_secs(2), "{name} {round}: there after {after:?}");
            }
            late.extend(Some(killed.elapsed()).filter(|after| *after > Duration::from_millis(100)));
        }
        // It is 100 ms; but on a machine with other work to do, a process may not get its turn.
        assert!(late.len() <= 3, "{name}: {late:?}");
    }
    // Else all of them were killed before they had begun.
    assert!(alive > 0, "no round had anything to end");
    Ok(())
}

/// The kernel forgets the parent-death signal of who changes the user; PID 1 does not.
pub fn a_command_that_is_another_user_ends_with_its_launcher() -> Test {
    need_root()?;
    need_program("setpriv")?;
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    for tail in [&["sleep", "60"][..], &["sh", "-c", "trap '' HUP TERM; sleep 60; :"]] {
        let mut container = Container::start(&["--init"], &[&nobody[..], tail].concat());
        let namespace = container.namespace();
        eventually("it is nobody", || {
            let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).ok()?;
            status.contains("Uid:\t65534").then_some(())
        });
        sleep(Duration::from_millis(50));
        container.signal(Signal::SIGKILL);
        assert_eq!(container.end(), -9);
        let killed = Instant::now();
        while members(&namespace).len() > zombies(&namespace) {
            assert!(killed.elapsed() < Duration::from_millis(100));
        }
    }
    Ok(())
}

pub fn the_command_may_be_asked_to_end_with_its_launcher() -> Test {
    need_root()?;
    let folder = scratch();
    let mark = folder.path().join("mark");
    let trap = format!("trap 'sleep 0.2; : >{}; exit 0' TERM", mark.display());
    let mut container = Container::with_trap(&["--init", "--kill-child=TERM"], &trap);
    let namespace = container.namespace();
    container.signal(Signal::SIGKILL);
    assert_eq!(container.end(), -9);
    eventually("it ends by itself", || mark.exists().then_some(()));
    eventually("PID 1 ends with it", || {
        (members(&namespace).len() == zombies(&namespace)).then_some(())
    });
    Ok(())
}

/// By root of the user namespace; and PID 1 holds nothing that could be taken.
pub fn the_command_can_not_look_into_pid_1() -> Test {
    need_user_namespaces()?;
    need_program("strace")?;
    let script = "cat /proc/1/comm; for f in exe root cwd ns/net; do readlink /proc/1/$f; done
        cat /proc/1/environ /proc/1/mem /proc/1/maps; readlink /proc/1/fd/*; strace -p 1 2>/dev/null
        readlink /proc/2/cwd; kill -KILL 1; kill -STOP 1; sleep 0.1; echo alive";
    let options = ["--init", "-r", "--mount-proc"];
    let seen = run(tool().args(options).args(["sh", "-c", script]).current_dir("/"));
    assert_eq!((seen.status, seen.stdout.as_str()), (0, "init\n/\nalive\n"), "{seen:?}");
    let container = Container::start(&["--init"], &["sleep", "60"]);
    let pid_1 = pid_1(&container);
    let fd = fs::read_dir(format!("/proc/{pid_1}/fd")).expect("we are root").flatten();
    let open: Vec<_> = fd.map(|fd| fs::read_link(fd.path()).expect("open")).collect();
    let kind = |name| open.iter().filter(|fd| fd.to_string_lossy().starts_with(name)).count();
    assert_eq!((open.len(), kind("socket:"), kind("anon_inode:[signalfd]")), (2, 1, 1), "{open:?}");
    Ok(())
}

/// With all capabilities COMMAND may look, and finds nothing of outside, however slow PID 1 is.
pub fn the_command_waits_until_pid_1_has_let_go() -> Test {
    need_root()?;
    need_program("strace")?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=chdir"]);
    strace.args(["-e", "inject=chdir:delay_enter=300000", env!("CARGO_BIN_EXE_nsenter-lite")]);
    let look = "readlink /proc/1/cwd; ls /proc/1/fd | wc -l; grep -ac SECRET /proc/1/environ || :";
    strace.args(["--init", "-m", "--mount-proc", "--fd", "9=/", "--", "sh", "-c", look]);
    strace.env("SECRET", "of the caller");
    assert_eq!(run(strace.current_dir("/tmp")).silent(), "/\n2\n0\n");
    Ok(())
}
