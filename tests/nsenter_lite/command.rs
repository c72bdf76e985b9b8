//! COMMAND: its PID, its status, its signals, its terminal.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::{Test, eventually, need_program, need_root, run, run_with_input, scratch, sh};

use crate::setup::{Container, is_alive, members, tool, with};

pub fn the_pid_file_is_there_before_the_command() -> Test {
    need_root()?;
    let folder = scratch();
    let file = folder.path().join("it's a pid");
    for options in [&["-p"][..], &["-f"], &["-u"], &["-p", "--mount-proc"], &["-r", "-p"]] {
        let mut command = tool();
        command.args(options).arg("--pid-file").arg(&file).args(["cat"]).arg(&file);
        let text = run(&mut command).silent();
        let pid: i32 = text.trim_end().parse().expect("a number");
        assert!(pid > 1 && text == format!("{pid}\n"), "{options:?}: {text}");
        assert_eq!(fs::read_to_string(&file).expect("it is left there"), text);
        fs::remove_file(&file).expect("ours");
    }
    let container = Container::start(&["-p", "--mount-proc"], &["sh", "-c", "read line"]);
    assert_ne!(container.namespace(), fs::read_link("/proc/self/ns/pid").expect("ours"));
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("there");
    assert!(status.contains(&format!("NSpid:\t{}\t1\n", container.pid)), "{status}");
    assert!(status.contains(&format!("PPid:\t{}\n", container.launcher.id())), "{status}");
    let mut own = tool();
    own.args(["-u", "--pid-file"]).arg(&file).args(["sh", "-c", "echo $$; cat \"$0\""]).arg(&file);
    let text = run(&mut own).silent();
    let (pid, written) = text.split_once('\n').expect("two lines");
    assert_eq!(format!("{pid}\n"), written);
    Ok(())
}

/// The signal that the kernel sends then would end us in the middle of it.
pub fn a_limit_on_files_is_an_error() -> Test {
    need_root()?;
    let folder = scratch();
    let ran = |script: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).arg(env!("CARGO_BIN_EXE_nsenter-lite"));
        run(shell.current_dir(folder.path()))
    };
    let pid_file = ran("ulimit -f 0; \"$0\" -u --pid-file pid true");
    pid_file.fails(125, "nsenter-lite", &["write the PID file", "(EFBIG)"]);
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0);
    // To the copy in memory from which a target is entered it does not apply, if that can be helped.
    let look = "ulimit -f; grep SigIgn /proc/self/status";
    let seen = ran(&format!("ulimit -S -f 1; {look}; \"$0\" -t $$ -a bash -c '{look}'")).silent();
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[0] == "1" && lines[..2] == lines[2..], "{seen}");
    let limited = ran("ulimit -f 1; \"$0\" -t $$ -a true");
    limited.fails(125, "nsenter-lite", &["sealed copy", "(EFBIG)", "hint: a limit on files"]);
    Ok(())
}

pub fn the_pid_file_harms_nobody() -> Test {
    need_root()?;
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    let with_file = |file: &Path, command: &[&str]| {
        run(tool().arg("-p").arg("--pid-file").arg(file).args(command))
    };
    let missing = with_file(&at("none/pid"), &["touch", &at("ran").to_string_lossy()]);
    missing.fails(125, "nsenter-lite", &["write the PID file", "none/pid\"", "(ENOENT)"]);
    assert!(!at("ran").exists(), "the command must not run");

    with_file(&at("pid"), &["/no/such/program"]).fails(127, "nsenter-lite", &["ENOENT"]);
    with_file(&at("pid"), &["/etc"]).fails(126, "nsenter-lite", &["EACCES"]);
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0, "nothing half done is left");

    fs::write(at("precious"), "precious").expect("ours");
    symlink(at("precious"), at("pid")).expect("ours");
    with_file(&at("pid"), &["true"]).silent();
    assert_eq!(fs::read_to_string(at("precious")).expect("still there"), "precious");
    assert!(fs::symlink_metadata(at("pid")).expect("a file").is_file());

    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("ours");
    let script = "cat \"$1\" & \"$2\" -p --pid-file \"$1\" true; wait";
    let read = run(sh(script).arg(at("fifo")).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent();
    assert!(read.trim_end().parse::<u32>().is_ok(), "{read}");
    assert!(fs::metadata(at("fifo")).expect("still there").file_type().is_fifo());

    // Where a mistake would harm the machine: in a copy of /dev, and with output to a file.
    let script = "mount -t tmpfs d \"$1\"; ln -s /proc/self/fd/1 \"$1/stdout\"
        \"$2\" -p --pid-file \"$1/stdout\" true >\"$1/out\"; readlink \"$1/stdout\"; cat \"$1/out\"";
    let mut command = support::private_sh(script);
    let read = run(command.arg(folder.path()).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent();
    let pid = read.strip_prefix("/proc/self/fd/1\n").expect("the link is left alone");
    assert!(pid.trim_end().parse::<u32>().is_ok(), "{read}");
    Ok(())
}

pub fn the_default_command_is_the_shell() -> Test {
    need_root()?;
    let ran = run_with_input(tool().arg("-u").env("SHELL", "/bin/sh"), b"echo $0; exit 7\n");
    assert_eq!((ran.status, ran.stdout.as_str()), (7, "/bin/sh\n"));
    let ran = run_with_input(tool().arg("-p").env_remove("SHELL"), b"echo $0 $$\n");
    assert_eq!(ran.silent(), "/bin/sh 1\n");
    Ok(())
}

pub fn statuses_are_those_of_the_command() -> Test {
    need_root()?;
    for options in [
        &["-u"][..],
        &["-f"],
        &["-p"],
        &["-T"],
        &["-p", "-r", "--mount-proc"],
        &["--init"],
        &["--pty"],
    ] {
        for status in [0, 1, 42, 125, 255] {
            assert_eq!(with(options, &format!("exit {status}")).status, status, "{options:?}");
        }
        let not_found = run(tool().args(options).arg("/no/such/program"));
        not_found.fails(127, "nsenter-lite", &["run \"/no/such/program\"", "(ENOENT)"]);
        run(tool().args(options).arg("no-such-program")).fails(127, "nsenter-lite", &["PATH"]);
        run(tool().args(options).arg("/etc")).fails(
            126,
            "nsenter-lite",
            &["(EACCES)", "\"/etc\" is a folder"],
        );
    }
    assert_eq!(with(&["-f"], "kill -KILL $$").status, 137);
    assert_eq!(with(&["-f"], "kill -TERM $$").status, 143);
    Ok(())
}

pub fn a_signal_that_the_command_leaves_to_the_default_ends_it() -> Test {
    need_root()?;
    let ending = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ];
    for options in
        [&["-p"][..], &["-p", "--mount-proc"], &["-f"], &["-p", "-r"], &["--init"], &["--pty"]]
    {
        for signal in ending {
            let mut container = Container::start(options, &["sleep", "60"]);
            container.signal(signal);
            assert_eq!(container.end(), 128 + signal as i32, "{options:?} {signal}");
            assert!(!Path::new(&format!("/proc/{}", container.pid)).exists(), "{signal}");
        }
    }
    let mut container = Container::start(&["-p"], &["sh", "-c", "read line; exit 6"]);
    container.signal(Signal::SIGWINCH);
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 6, "SIGWINCH ends nobody");
    Ok(())
}

pub fn a_signal_that_the_command_handles_reaches_it() -> Test {
    need_root()?;
    for options in [&["-p"][..], &["-p", "--mount-proc"], &["-f"], &["--init"], &["--pty"]] {
        for name in ["TERM", "INT", "HUP", "USR1"] {
            let mut container = Container::with_trap(options, &format!("trap 'exit 7' {name}"));
            container.signal(format!("SIG{name}").parse().expect("a signal"));
            assert_eq!(container.end(), 7, "{options:?} {name}");
        }
    }
    // One that waits to be fetched, as by sigwait(3), is passed on too: it is another launcher.
    let program = env!("CARGO_BIN_EXE_nsenter-lite");
    let mut nested = Container::start(&["-p"], &[program, "-p", "sleep", "60"]);
    let namespace = nested.namespace();
    eventually("the inner command runs", || {
        let comm = fs::read_to_string(format!("/proc/{0}/task/{0}/children", nested.pid)).ok()?;
        let comm = fs::read_to_string(format!("/proc/{}/comm", comm.trim())).ok()?;
        (comm == "sleep\n").then_some(())
    });
    nested.signal(Signal::SIGTERM);
    assert_eq!(nested.end(), 143);
    assert_eq!(members(&namespace), [""; 0]);
    Ok(())
}

pub fn a_signal_that_the_caller_ignores_stays_ignored() -> Test {
    need_root()?;
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_nsenter-lite")]);
    let mut container = Container::launch(nohup, &["-p"], &["sh", "-c", "read line; exit 5"]);
    container.signal(Signal::SIGHUP);
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 5);
    Ok(())
}

pub fn nothing_is_left_when_the_command_ends() -> Test {
    need_root()?;
    let container =
        Container::start(&["-p"], &["sh", "-c", "sleep 60 & sleep 60 & read line; exit 3"]);
    let namespace = container.namespace();
    eventually("all are there", || (members(&namespace).len() == 3).then_some(()));
    let mut container = container;
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 3);
    assert_eq!(members(&namespace), [""; 0]);
    Ok(())
}

pub fn a_killed_launcher_takes_the_command_along() -> Test {
    need_root()?;
    let map = ["--map-users=0:100000:9", "--map-groups=0:100000:9"];
    for options in [
        &["-p"][..],
        &["-p", "--mount-proc"],
        &["-f", "--kill-child"],
        &["--kill-child=TERM"],
        &["--init"],
        // Another user than the one that it was tied as.
        &["-p", "-S", "65534", "-G", "65534"],
        &["-f", "--kill-child", map[0], map[1], "-S", "0", "-G", "0"],
    ] {
        let mut container = Container::start(options, &["sleep", "60"]);
        let comm = format!("/proc/{}/comm", container.pid);
        eventually("it runs", || (fs::read_to_string(&comm).ok()? == "sleep\n").then_some(()));
        container.signal(Signal::SIGKILL);
        let start = Instant::now();
        assert_eq!(container.end(), -9);
        eventually("the command is gone", || (!is_alive(container.pid)).then_some(()));
        assert!(start.elapsed() < Duration::from_secs(1), "{options:?}");
    }
    Ok(())
}

/// The kernel keeps one SIGCHLD of all that come while it waits: the one that somebody has sent.
pub fn the_end_is_seen_behind_a_signal_that_says_so_falsely() -> Test {
    need_root()?;
    let script = r#""$0" --fork sh -c 'read -r _; exit 7' <f & launcher=$!; exec 8>f
        until set -- $(cat /proc/$launcher/task/$launcher/children); [ $# = 1 ] &&
            [ "$(cat /proc/$1/comm)" = sh ]; do sleep 0.01; done
        kill -STOP $launcher; until grep -q '^State:.T' /proc/$launcher/status; do sleep 0.01; done
        kill -CHLD $launcher; exec 8>&-
        until grep -q '^State:.Z' /proc/$1/status; do sleep 0.01; done
        kill -CONT $launcher; ( sleep 5; kill -KILL $launcher 2>/dev/null ) & wait $launcher || echo $?"#;
    let folder = scratch();
    run(Command::new("mkfifo").arg(folder.path().join("f"))).silent();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).arg(env!("CARGO_BIN_EXE_nsenter-lite"));
    assert_eq!(run(shell.current_dir(folder.path())).silent(), "7\n");
    Ok(())
}

pub fn the_status_is_known_when_the_caller_ignores_children() -> Test {
    need_root()?;
    need_program("env")?;
    for options in ["-p", "--init", "--pty"] {
        let ignoring = ["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_nsenter-lite"), options];
        let ran = run(Command::new("env").args(ignoring).args(["sh", "-c", "exit 42"]));
        assert_eq!(ran.status, 42, "{options}");
    }
    let blocked = run(Command::new("env").args([
        "--block-signal=CHLD",
        env!("CARGO_BIN_EXE_nsenter-lite"),
        "-p",
        "true",
    ]));
    assert_eq!(blocked.status, 0);
    Ok(())
}

pub fn the_world_is_handed_on_unchanged() -> Test {
    need_root()?;
    let report = "grep -E 'Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Groups' /proc/self/status; umask; pwd; \
        env | grep -v '^_='; for f in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/self/fd/$f && echo $f; done; :";
    for before in [
        ":",
        "trap '' PIPE",
        "umask 077; cd /etc",
        "exec <&-",
        "exec 2>&-",
        "trap '' INT TERM; exec 7</dev/null",
        "trap '' CHLD PIPE",
    ] {
        let script = format!("{before}; exec \"$@\"");
        let block = ["env", "--block-signal=USR1,CHLD"];
        let report = ["sh", "-c", report];
        let plain = run(sh(&script).args(block).args(report)).ok();
        for options in ["-p", "-u", "-f", "--init"] {
            let program = [env!("CARGO_BIN_EXE_nsenter-lite"), options, "--"];
            let ours = run(sh(&script).args(block).args(program).args(report)).ok();
            assert_eq!(ours, plain, "{before} {options}");
        }
    }
    Ok(())
}

/// Runs a script on a terminal of its own, with somebody who types.
fn on_a_terminal(typing: &str, script: &str) -> Result<String, support::Skip> {
    need_root()?;
    need_program("script")?;
    need_program("bash")?;
    let command = format!("({typing}) | script -qec \"$1\" /dev/null");
    let script = script.replace("TOOL", env!("CARGO_BIN_EXE_nsenter-lite"));
    Ok(run(sh(command).arg(script)).stdout.replace('\r', ""))
}

pub fn the_terminal_comes_back_from_a_shell_that_was_pid_1() -> Test {
    let typing = "sleep 0.7; echo 'exit 3'; sleep 0.7; echo hello";
    let script = "sh -c 'TOOL -p bash --norc -i; echo status $?; read line; echo got $line'";
    let seen = on_a_terminal(typing, script)?;
    assert!(seen.contains("status 3\n") && seen.contains("got hello\n"), "{seen}");
    Ok(())
}

pub fn control_c_ends_a_command_and_not_a_shell() -> Test {
    let typing = "sleep 0.7; printf '\\003'; sleep 0.5";
    let seen = on_a_terminal(typing, "sh -c 'trap : INT; TOOL -p sleep 20; echo status $?'")?;
    assert!(seen.contains("status 130\n"), "{seen}");
    let typing =
        "sleep 0.7; printf '\\003'; sleep 0.5; echo 'echo still h\"\"ere; exit 4'; sleep 0.5";
    let seen = on_a_terminal(typing, "sh -c 'trap : INT; TOOL -p bash --norc -i; echo status $?'")?;
    assert!(seen.contains("still here\n") && seen.contains("status 4\n"), "{seen}");
    Ok(())
}
