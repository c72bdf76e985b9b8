//! What scripts and engines are told, and how they hold COMMAND.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use support::{Ran, Test, eventually, need_no_filter, need_program, need_root, run, scratch, sh};

use crate::setup::{Container, has_word, is_alive, start, tool};

const TOOL: &str = env!("CARGO_BIN_EXE_nsenter-lite");

/// A script in a folder of its own; `T` is the tool.
fn script(text: &str) -> Ran {
    let folder = scratch();
    let mut command = sh(format!("T={TOOL}\n{text}"));
    run(command.current_dir(folder.path()))
}

/// What is told through a descriptor.
fn told(options: &str, command: &str) -> (i32, String) {
    let ran = script(&format!(
        "r=0; $T {options} --status-fd 7 --ready-fd 8 {command} 7>status 8>ready 2>err || r=$?
         sed 's/^$/a line/' ready; test ! -e seen || cat seen; cat status; exit $r"
    ));
    assert_eq!(ran.stderr, "");
    (ran.status, ran.stdout)
}

pub fn readiness_is_told_when_the_command_runs() -> Test {
    need_root()?;
    for option in ["--ready-fd 5 5>/dev/null", "--status-fd 5 5>/dev/null", "--detach"] {
        let refused = script(&format!("$T -t $$ -u --no-fork {option} true"));
        refused.fails(125, "nsenter-lite", &["--no-fork"]);
    }
    for options in ["-u", "-f", "-p", "-p -r --mount-proc", "-T"] {
        let (status, text) = told(options, "sh -c 'exit 3'");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((status, lines.len(), lines[0]), (3, 3, "a line"), "{options}: {text}");
        assert!(lines[1].starts_with("{\"event\":\"started\",\"pid\":"), "{text}");
        assert_eq!(lines[2], "{\"event\":\"exited\",\"status\":3}");
        for (command, status) in [("no-such-program", 127), ("/etc", 126)] {
            let (ended, text) = told(options, command);
            let event = format!("{{\"event\":\"error\",\"status\":{status},\"message\":\"nsenter-");
            assert!(ended == status && text.starts_with(&event), "{options}: {text}");
            assert_eq!(text.lines().count(), 1, "an error is all that is told: {text}");
        }
    }
    let (status, text) = told("-f", "sh -c 'kill -KILL $$'");
    assert!(status == 137 && text.ends_with("{\"event\":\"exited\",\"status\":137}\n"), "{text}");
    let (status, text) = told("-U --hostname \"$(printf %065d 0)\"", "true");
    assert!(status == 125 && text.contains("\\\"000") && text.contains("(EINVAL)"), "{text}");
    for options in ["-t 0", "-u --fd 9=/no/such", "-u --pid-file /no/such/file"] {
        let (status, text) = told(options, "true");
        assert!(status == 125 && text.contains("\"event\":\"error\""), "{options}: {text}");
    }

    // It ends by the exec, not by the end of the command; a reader that is gone harms nobody.
    let early = script(
        "mkfifo f; $T -p --ready-fd 8 sleep 0.5 8>f & cat f; kill -0 $! && echo early; wait",
    );
    assert_eq!(early.silent(), "\nearly\n");
    let gone = script("mkfifo f; true <f & $T -p --status-fd 8 sh -c 'exit 4' 8>f");
    assert_eq!((gone.status, gone.stderr.as_str()), (4, ""));
    Ok(())
}

pub fn the_status_names_the_namespaces() -> Test {
    need_root()?;
    let target = Container::start(&["-muinpCT"], &["sh", "-c", "read line"]);
    let enter = format!("-t {} -a", target.pid);
    let look = "for n in user mnt uts ipc net cgroup pid time; do
        i=$(readlink /proc/self/ns/$n); i=${i#*[}; echo \\\"$n\\\":${i%]}; done | paste -sd,";
    for options in ["-muinpCT", "-r -p", "-u", &enter] {
        let (status, text) = told(options, &format!("sh -c '{look}' >seen"));
        let (line, seen) = (text.lines().nth(2), text.lines().nth(1));
        let (Some(line), Some(seen)) = (line, seen) else { panic!("{options}: {text}") };
        let end = format!(",\"namespaces\":{{{seen}}}}}");
        assert!(status == 0 && line.ends_with(&end), "{options}: {text}");
    }
    Ok(())
}

pub fn the_command_waits_until_it_may_run() -> Test {
    need_root()?;
    for options in ["-u", "-p", "-p --mount-proc --ready-fd 6 6>/dev/null", "-r -f"] {
        let held = script(&format!(
            "mkfifo gate; exec 5<>gate
             $T --block-fd 5 --pid-file pid {options} sh -c 'echo ran; ls -l /proc/self/fd' >out &
             until test -s pid; do sleep 0.01; done; sleep 0.1; cat out; echo held
             readlink /proc/$(cat pid)/exe | sed 's,.*/,,'; echo >&5; wait; head -n1 out
             ! grep -q gate out"
        ));
        assert_eq!(held.silent(), "held\nnsenter-lite\nran\n", "{options}");
        // Who was to let it run has died.
        let left = script(&format!(
            "r=0; $T --block-fd 5 --pid-file pid {options} touch ran 5</dev/null || r=$?; ls -A; exit $r"
        ));
        left.fails(125, "nsenter-lite", &["descriptor 5: it was closed", "echo >&5"]);
    }
    for _ in 0..20 {
        let failed =
            script("$T --block-fd 5 --status-fd 6 -f true 5</dev/null 6>&1 2>/dev/null || :");
        let failed = failed.silent();
        let events: Vec<&str> = failed.lines().filter_map(|line| line.split('"').nth(3)).collect();
        assert_eq!(events, ["waiting", "error"]);
    }
    let ended = script(
        "mkfifo gate; exec 5<>gate; $T -p --block-fd 5 --pid-file pid sleep 9 &
         until test -s pid; do sleep 0.01; done; kill $!; wait $! || echo $?",
    );
    assert_eq!(ended.silent(), "143\n", "a signal reaches one that waits");
    let waiting = script(
        "mkfifo gate; exec 5<>gate; $T -p --block-fd 5 --status-fd 6 sh -c 'exit 2' 6>out &
         until grep -sq waiting out; do sleep 0.01; done; echo >&5; wait $! || cut -c1-19 out",
    );
    assert_eq!(
        waiting.silent(),
        "{\"event\":\"waiting\",\n{\"event\":\"started\",\n{\"event\":\"exited\",\"\n"
    );
    Ok(())
}

pub fn descriptors_are_checked_and_not_passed_on() -> Test {
    need_root()?;
    for (words, part) in [
        ("--ready-fd 5", "use --ready-fd 5: the caller has no such descriptor open"),
        ("--ready-fd 5 5</dev/null", "it is open for reading only"),
        ("--status-fd 5 5</dev/null", "it is open for reading only"),
        ("--block-fd 5 5>/dev/null", "it is open for writing only"),
        ("--block-fd 5", "hint: open it for reading, as in the shell: 5<FILE"),
        ("--ready-fd 5 --status-fd 5 5>/dev/null", "it is that of --ready-fd already"),
        ("--ready-fd 1", "COMMAND's"),
        ("--status-fd x", "a descriptor is a number"),
        ("--dry-run --status-fd 5 5>/dev/null", "no shell"),
        ("--dry-run --detach", "no shell"),
        ("--detach --kill-child", "--kill-child"),
    ] {
        script(&format!("exec $T -p {words} true")).fails(125, "nsenter-lite", &[part]);
    }
    let seen = script(
        "echo >go; $T -f --ready-fd 4 --status-fd 5 --block-fd 6 sh -c 'for n in 3 4 5 6 7 8 9; do \
         test -e /proc/self/fd/$n && echo $n; done; :' 4>r 5>s 6<go 8</dev/null",
    );
    assert_eq!(seen.silent(), "8\n");
    Ok(())
}

pub fn the_script_waits_and_tells_too() -> Test {
    need_root()?;
    for options in ["-p", "-u --hostname box", "-f"] {
        let line = format!(
            "echo >go; set -- {options} --block-fd 5 --ready-fd 6 --pid-file pid -- sh -c \
             'hostname; test -s pid; ls /proc/self/fd | grep -x \"[56]\"; exit 3'"
        );
        let ours = script(&format!("{line}; $T \"$@\" 5<go 6>told || echo $?; cat told"));
        let dry = "$T --dry-run \"$@\" 5<go 6>told >script; sh script 5<go 6>told || echo $?";
        let theirs = script(&format!("{line}; {dry}; cat told"));
        assert_eq!(theirs, ours, "{options}");
        assert!(ours.silent().ends_with("\n3\n\n"), "{options}");
    }
    let left = script("$T --dry-run -p --block-fd 5 touch ran 5</dev/null >s; sh s 5</dev/null");
    assert_eq!((left.status, left.stdout.as_str()), (1, ""), "it does not run without a byte");
    Ok(())
}

/// Waits for an orphan that has become a child of this process.
fn wait_for(pid: &str) -> WaitStatus {
    waitpid(Pid::from_raw(pid.trim_end().parse().expect("a PID")), None).expect("our own child")
}

/// The PID of a process's parent.
fn parent(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
    rest.expect("a PID").to_owned()
}

pub fn the_pid_is_known_before_the_command_runs() -> Test {
    need_root()?;
    set_child_subreaper(true).expect("any process may");
    let folder = scratch();
    let file = folder.path().join("pid");
    for round in 0..200 {
        let options = [&["-p"][..], &["-f"], &["-u"], &["-p", "--mount-proc"]][round % 4];
        let mut command = tool();
        command.args(options).arg("--detach").arg("--pid-file").arg(&file).arg("true");
        run(&mut command).silent();
        let pid = fs::read_to_string(&file).expect("it is complete");
        let status = wait_for(&pid);
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{round}: {status:?}");
        fs::remove_file(&file).expect("ours");
    }
    Ok(())
}

pub fn a_detached_command_is_the_subreapers_child() -> Test {
    need_root()?;
    set_child_subreaper(true).expect("any process may");
    let folder = scratch();
    let file = folder.path().join("pid");
    let target = Container::start(&["-muinpC"], &["sh", "-c", "read line"]);
    let target = target.pid.to_string();
    for options in [&["-p"][..], &["-u"], &["-m", "-p", "--mount-proc"], &["-t", &target, "-a"]] {
        let mut detached = tool();
        detached.args(options).arg("--detach").arg("--pid-file").arg(&file);
        start(detached.args(["sh", "-c", "sleep 0.3; exit 5"]).current_dir("/"));
        let pid = fs::read_to_string(&file).expect("it is complete");
        assert!(is_alive(pid.trim_end().parse().expect("a PID")), "{options:?}");
        assert_eq!(parent(pid.trim_end()), std::process::id().to_string(), "{options:?}");
        let status = wait_for(&pid);
        assert!(matches!(status, WaitStatus::Exited(_, 5)), "{options:?}: {status:?}");
        fs::remove_file(&file).expect("ours");
        leaves_no_file(options, &file);
    }
    let held = script(
        "mkfifo gate; exec 5<>gate; $T -p --detach --block-fd 5 --pid-file pid touch ran
         test ! -e ran; echo >&5; until test -e ran; do sleep 0.01; done; cat pid",
    );
    wait_for(&held.silent());
    Ok(())
}

/// A command that is not there.
fn leaves_no_file(options: &[&str], file: &Path) {
    let mut missing = tool();
    missing.args(options).arg("--detach").arg("--pid-file").arg(file);
    run(missing.arg("/no/such/program")).fails(127, "nsenter-lite", &["ENOENT"]);
    assert!(!file.exists(), "{options:?}");
}

/// PID 1 of `--init` stays, and is the subreaper's child.
pub fn a_detached_command_keeps_its_pid_1() -> Test {
    need_root()?;
    set_child_subreaper(true).expect("any process may");
    let folder = scratch();
    let file = folder.path().join("pid");
    for options in [&["--init"][..], &["--init", "-m", "--mount-proc"], &["--init", "-r"]] {
        let mut detached = tool();
        detached.args(options).arg("--detach").arg("--pid-file").arg(&file);
        start(detached.args(["sh", "-c", "sleep 99 & sleep 0.3; exit 5"]).current_dir("/"));
        let text = fs::read_to_string(&file).expect("it is complete");
        let pid = text.trim_end();
        let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs");
        let init = parent(pid);
        assert_eq!(fs::read_to_string(format!("/proc/{init}/comm")).expect("it runs"), "init\n");
        assert_eq!(parent(&init), std::process::id().to_string(), "{options:?}");
        let status = wait_for(&init);
        assert!(matches!(status, WaitStatus::Exited(_, 5)), "{options:?}: {status:?}");
        assert_eq!(crate::setup::members(&namespace), [""; 0], "{options:?}");
        fs::remove_file(&file).expect("ours");
        leaves_no_file(options, &file);
    }
    // It passes signals on, and dies with a launcher that has not left it yet.
    let held = script(
        "mkfifo gate; exec 5<>gate; $T --init --detach --block-fd 5 --pid-file pid sleep 60
         read -r pid <pid; init=$(cut -d ' ' -f 4 /proc/$pid/stat); kill $init; echo $init",
    );
    let status = wait_for(&held.silent());
    assert!(matches!(status, WaitStatus::Exited(_, 143)), "{status:?}");
    let word = format!("0.{}77", std::process::id());
    let killed = script(&format!(
        "strace -f -qq -o /dev/null -e inject=sethostname:delay_enter=2000000 \
         $T --init --detach --hostname box --pid-file pid sleep {word} & strace=$!
         until test -e pid; do sleep 0.01; done; read -r pid <pid
         init=$(cut -d ' ' -f 4 /proc/$pid/stat); kill -9 $(cut -d ' ' -f 4 /proc/$init/stat)
         wait $strace || :; sleep 0.1; ! test -e /proc/$pid/exe"
    ));
    assert!(!has_word(&word), "{killed:?}");
    for options in [&["--pty"][..], &["--init", "--pty"], &["-t", "1", "-m", "--pty"]] {
        let refused = run(tool().args(options).args(["--detach", "true"]));
        refused.fails(125, "nsenter-lite", &["--detach", "hint: "]);
    }
    Ok(())
}

/// Each call that changes something fails, in the process that goes on or in its parent.
pub fn a_fault_leaves_nothing() -> Test {
    need_no_filter("calls are counted, and the filter has some")?;
    need_root()?;
    need_program("strace")?;
    let target = Container::start(&["-muinpC"], &["sh", "-c", "read line"]);
    let target = target.pid.to_string();
    let new = ["-p", "-u", "--hostname", "box", "--mount-proc"];
    let enter = ["-t", &target, "-a"];
    let mut seen = 0;
    for (options, call) in [
        (&new[..], "unshare"),
        (&new, "clone,clone3,fork"),
        (&new, "sethostname"),
        (&new, "fsopen"),
        (&new, "move_mount"),
        (&new, "mount"),
        (&new, "rename,renameat,renameat2"),
        (&new, "pipe2"),
        (&new, "fcntl:when=5"),
        (&enter, "setns"),
        (&enter, "pidfd_open"),
        (&enter, "rename,renameat,renameat2"),
        (&enter, "pipe2:when=2"),
    ] {
        for detach in [&["--detach"][..], &["-f"]] {
            let folder = scratch();
            let (call, when) = call.split_once(':').unwrap_or((call, "when=1"));
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
            strace.arg(format!("inject={call}:error=EPERM:{when}"));
            strace.arg(TOOL).args(options).args(detach);
            strace.args(["--pid-file", "pid", "--ready-fd", "8", "touch", "ran"]);
            let words: Vec<_> = strace.get_args().map(|word| word.to_string_lossy()).collect();
            let line = format!("exec strace {}", words.join(" "));
            let ran = run(sh(format!("{line} 8>ready")).current_dir(folder.path()));
            ran.fails(125, "nsenter-lite", &["(EPERM)"]);
            let left: Vec<_> = fs::read_dir(folder.path()).expect("ours").flatten().collect();
            assert_eq!(left.len(), 1, "{call}: {left:?}");
            let ready = fs::read(folder.path().join("ready")).expect("the shell made it");
            assert_eq!(ready, b"", "{call}");
            seen += 1;
        }
    }
    assert_eq!(seen, 26);
    Ok(())
}

/// A launcher that is killed before it could leave the command takes it along.
pub fn a_killed_launcher_leaves_no_command() -> Test {
    need_root()?;
    need_program("strace")?;
    let folder = scratch();
    // The child comes to a halt before its exec, and the launcher is killed meanwhile.
    let script = "strace -f -qq -o log -e trace=sethostname -e inject=sethostname:delay_enter=2s \
        $1 -p --detach --hostname box touch ran & until grep -q sethostname log; do sleep 0.02; done
        kill -9 $(pgrep -P $!); wait $! || echo $?; ls";
    let ran = run(sh(script).arg(TOOL).current_dir(folder.path()));
    assert_eq!(ran.stdout.lines().next_back(), Some("log"), "{ran:?}");
    Ok(())
}

/// A launcher that is killed while the command waits takes it along, as always with --pid.
pub fn one_that_waits_dies_with_its_launcher() -> Test {
    need_root()?;
    let ran = script(
        "mkfifo gate; exec 5<>gate; $T -p --block-fd 5 --pid-file pid touch ran &
         until test -s pid; do sleep 0.01; done; kill -9 $!; wait $! || echo $?; cat pid; ls",
    );
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "137", "{ran:?}");
    let pid = lines[1].parse().expect("a PID");
    eventually("the command is gone", || (!is_alive(pid)).then_some(()));
    assert!(!lines.contains(&"ran"), "{ran:?}");
    Ok(())
}
