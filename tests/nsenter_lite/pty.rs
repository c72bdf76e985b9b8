//! `--pty`: a terminal of COMMAND's own.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Ran, Test, eventually, need_program, need_root, run, run_with_input, scratch, skip};

use crate::session::{Session, need_sessions};
use crate::setup::{Container, as_nobody, need_user_namespaces, only_child, tool};

pub fn it_has_a_name_and_a_session() -> Test {
    need_user_namespaces()?;
    let look = "test -t 0 && test -t 1 && test -t 2 && tty; echo x >/dev/tty
        set -- $(cut -d' ' -f5-8 /proc/self/stat); ps -o sid=,tpgid= -p $$ | xargs; echo $$";
    for (options, name) in [
        ("--pty", None),
        ("--init --pty --mount-proc", Some("/dev/pts/0")),
        ("-r --init --pty --mount-proc", Some("/dev/pts/0")),
        ("-p --pty --mount-proc", Some("/dev/pts/0")),
    ] {
        let mut command = tool();
        command.args(options.split(' ')).args(["sh", "-c", look]);
        let seen = run(&mut command).silent();
        let lines: Vec<&str> = seen.lines().collect();
        assert!(name.is_none_or(|name| name == lines[0]), "{options}: {seen}");
        assert!(lines[0].starts_with("/dev/pts/") && lines[1] == "x", "{options}: {seen}");
        assert_eq!(lines[2], format!("{0} {0}", lines[3]), "{options}: {seen}");
    }
    let (_folder, nobody) = as_nobody();
    let options = ["-r", "--init", "--pty", "--mount-proc", "tty"];
    assert_eq!(run(nobody().args(options)).silent(), "/dev/pts/0\n");
    // Entered, it is a terminal of there.
    let container = Container::start(&["--init", "--pty", "-m"], &["sh", "-c", "read line"]);
    let pid = container.pid.to_string();
    eventually("it has its terminal", || {
        let input = fs::read_link(format!("/proc/{pid}/fd/0")).ok()?;
        (input.to_str() == Some("/dev/pts/0")).then_some(())
    });
    let entered = run(tool().args(["-t", &pid, "-a", "--pty", "tty"])).silent();
    assert_eq!(entered, "/dev/pts/1\n");
    Ok(())
}

/// Where that group is there, in a user namespace too, a terminal is its; the script says the same.
/// A shell whose `$0` is the tool, in an empty folder.
fn with_tool(script: &str) -> Ran {
    let folder = scratch();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).arg(env!("CARGO_BIN_EXE_nsenter-lite"));
    run(shell.current_dir(folder.path()))
}

/// The second pipe is full, and waits for nobody.
pub fn what_nobody_reads_keeps_nobody() -> Test {
    need_user_namespaces()?;
    for options in ["--pty", "--init --pty"] {
        let ran = with_tool(&format!(
            "mkfifo f; exec 7<>f; for round in 1 2; do
                \"$0\" {options} seq 100000 >f </dev/null & tool=$!; sleep 0.5
                kill -TERM $tool; wait $tool || echo $?
                dd if=/dev/zero of=f bs=65536 oflag=nonblock count=1 2>/dev/null || :
            done"
        ));
        assert_eq!(ran.silent(), "143\n143\n", "{options}");
    }
    Ok(())
}

/// A signal that COMMAND has lived through, or has ended by itself for.
pub fn what_is_written_after_a_signal_is_not_lost() -> Test {
    need_user_namespaces()?;
    for options in ["--pty", "--init --pty"] {
        for (trap, after) in [("trap : HUP", "; seq 15000"), ("trap 'seq 15000; exit' HUP", "")] {
            let ran = with_tool(&format!(
                "mkfifo f; exec 7<>f
                \"$0\" {options} sh -c \"{trap}; >ready; while ! [ -e go ]; do sleep 0.1; done{after}\" \
                    >f </dev/null 7>&- & tool=$!
                until [ -e ready ]; do sleep 0.1; done; kill -HUP $tool; sleep 0.5; >go; sleep 1
                exec 8<f 7>&-; wc -c <&8; wait $tool; rm f ready go"
            ));
            assert_eq!(ran.silent(), "78894\n", "{options}: {trap}");
        }
    }
    Ok(())
}

pub fn output_that_is_lost_is_told() -> Test {
    need_user_namespaces()?;
    for options in ["--pty", "--init --pty"] {
        let ran = with_tool(&format!("exec \"$0\" {options} echo hi </dev/null >/dev/full"));
        ran.fails(125, "nsenter-lite", &["write the command's output", "(ENOSPC)"]);
        with_tool(&format!("\"$0\" {options} echo hi </dev/null | true")).silent();
    }
    Ok(())
}

pub fn it_is_the_groups_that_terminals_have() -> Test {
    need_user_namespaces()?;
    need_program("script")?;
    let ids = |map: &str| format!("--map-users={map} --map-groups={map}");
    for (options, group) in
        [(String::new(), "5"), ("-r".into(), "0"), (ids("0:0:5"), "0"), (ids("0:0:6"), "5")]
    {
        let with = |dry: &[&str]| {
            let mut command = tool();
            command.args(dry).args(options.split_whitespace());
            run(command.args(["--init", "--pty", "--mount-proc", "stat", "-c%g", "/dev/pts/0"]))
        };
        assert_eq!(with(&[]).silent(), format!("{group}\n"), "{options}");
        let script = with(&["--dry-run"]).silent();
        let seen = run(support::sh(&script).env("SHELL", "/bin/sh")).ok();
        assert_eq!(seen.trim_end(), group, "{script}");
    }
    Ok(())
}

/// As on a machine whose mounts are shared: outside they are as they were.
pub fn its_devpts_is_for_those_inside() -> Test {
    need_root()?;
    need_program("script")?;
    for how in ["shared", "unchanged"] {
        for run_it in ["\"$1\" $options tty", "\"$1\" --dry-run $options tty | sh"] {
            let script = format!(
                "mount --make-rshared /; options='--mount --propagation {how} --pty'
                export SHELL=/bin/sh; {run_it}; ! grep 'nsenter-lite' /proc/self/mountinfo"
            );
            let mut command = support::private_sh(&script);
            let ran = run(command.arg(env!("CARGO_BIN_EXE_nsenter-lite")));
            assert_eq!(ran.ok().trim_end(), "/dev/pts/0", "{how}: {run_it}");
        }
    }
    Ok(())
}

/// Nothing is echoed, nothing is changed, nothing is lost; and the end of input is the end.
pub fn it_works_in_a_pipeline() -> Test {
    need_root()?;
    let with = |script: &str, input: &[u8]| {
        let mut command = tool();
        run_with_input(command.args(["--init", "--pty", "-m", "sh", "-c", script]), input)
    };
    assert_eq!(with("cat", b"hello\n").silent(), "hello\n");
    assert_eq!(with("cat", b"no newline").silent(), "no newline");
    assert_eq!(with("cat; echo end", b"").silent(), "end\n");
    assert_eq!(with("read a; exit $a", b"9\n").status, 9);
    let lines: String =
        (0..20_000).flat_map(|n| ["line ".to_owned(), n.to_string(), "\n".into()]).collect();
    assert_eq!(with("cat", lines.as_bytes()).silent(), lines);
    assert_eq!(
        with("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done", b"")
            .silent()
            .lines()
            .count(),
        5000
    );
    // Errors are still told where the caller wants them; only COMMAND's go to its terminal.
    let ran = run(tool().args(["--pty", "/no/such/program"]));
    ran.fails(127, "nsenter-lite", &["/no/such/program"]);
    // Where nobody reads on, the terminal hangs up.
    let script = "\"$0\" --init --pty sh -c 'while :; do echo y; done' | head -n 1; exit 0";
    let ran = run(Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_nsenter-lite")]));
    assert_eq!(ran.silent(), "y\n");
    // Standard descriptors that are closed are there inside.
    let script = "exec <&- 2>&-; \"$0\" --pty sh -c 'test -t 0 && test -t 2 && echo both'";
    let ran = run(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_nsenter-lite")]));
    assert_eq!(ran.silent(), "both\n");
    Ok(())
}

/// Perl that puts a line into the input of its terminal.
const TIOCSTI: &str = "for my $c (split //, \"evil\\n\") { ioctl STDIN, 0x5412, $c }
    open my $t, '+<', '/dev/tty'; for my $c (split //, \"more\\n\") { ioctl $t, 0x5412, $c }";

/// What COMMAND puts into the input of its terminal is not read by the caller; without --pty it is.
/// A shell that edits its line takes Ctrl-D for a key, and loses one that came before it did so.
pub fn the_end_is_told_to_whoever_comes_late() -> Test {
    need_root()?;
    need_program("bash")?;
    for (before, input, said) in [
        ("sleep 0.3", "", ""),
        ("read line; sleep 0.3; echo $line", "typed\n", "typed\n"),
        ("cat; sleep 0.3", "typed\n", "typed\n"),
    ] {
        let shell = format!("{before}; exec env INPUTRC=/dev/null bash --norc --noprofile -i");
        let mut command = tool();
        command.args(["--init", "--pty", "-m", "--", "sh", "-c", &shell]);
        let ran = run_with_input(&mut command, input.as_bytes());
        assert_eq!(ran.status, 0, "{before}: {ran:?}");
        assert!(ran.stdout.starts_with(said), "{before}: {ran:?}");
    }
    Ok(())
}

pub fn the_callers_input_is_out_of_reach() -> Test {
    need_sessions()?;
    need_program("perl")?;
    if fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|text| text != "1\n") {
        return Err(skip("this kernel lets nobody put anything into a terminal's input"));
    }
    for (options, read) in [("--init", "evil"), ("--init --pty", "good"), ("--pty -m", "good")] {
        let script = format!(
            "cat >\"$0\" <<'END'\n{TIOCSTI}\nEND\n$TOOL {options} perl \"$0\"; rm \"$0\"
            echo over; read word; echo \"<$word>\""
        );
        let folder = scratch();
        let file = folder.path().join("script.pl");
        let mut session = Session::start(&["sh", "-c", &script, file.to_str().expect("text")]);
        session.expect("over\r\n");
        session.pause();
        session.line("good");
        session.expect(&format!("<{read}>"));
    }
    Ok(())
}

/// The launcher stopped: the terminal is usable, and COMMAND's again when it goes on.
pub fn a_stopped_launcher_leaves_the_terminal_as_it_was() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    let before = session.run("stty -g");
    session.line("$TOOL --init --pty bash --norc --noprofile -i");
    session.expect("@ ");
    session.pause();
    kill(Pid::from_raw(only_child(session.pid())), Signal::SIGTSTP).expect("ours");
    session.expect("topped");
    session.expect("@ ");
    assert_eq!(session.run("stty -g"), before);
    session.line("fg");
    session.pause();
    assert_eq!(session.run("echo $$"), "2\r\n");
    session.line("suspend");
    session.pause();
    session.line("fg");
    session.pause();
    assert_eq!(session.run("echo $$; stty size"), "2\r\n24 80\r\n");
    session.line("exit 9");
    session.pause();
    assert_eq!(session.run("echo $?"), "9\r\n");
    assert_eq!(session.run("stty -g"), before);
    Ok(())
}

/// By SIGSTOP, of which it was not told, and sent to the background before it comes back.
pub fn a_launcher_that_was_stopped_unasked_reads_keys_again() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    session.line("$TOOL --pty sh -c 'echo be\"\"gun; read word; echo \"<$word>\"'");
    session.expect("begun");
    kill(Pid::from_raw(only_child(session.pid())), Signal::SIGSTOP).expect("ours");
    session.expect("topped");
    session.expect("@ ");
    session.run("bg");
    session.run("echo typed here");
    session.line("fg");
    session.pause();
    session.line("yours");
    session.expect("<yours>");
    session.expect("@ ");
    Ok(())
}

/// With input that is no terminal the caller's Ctrl-C is not typed inside; it ends what a shell waits for.
pub fn control_c_ends_all_that_runs() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    for options in ["--pty", "--init --pty"] {
        session.line(&format!("echo | $TOOL {options} sh -c 'sleep 60; echo on'"));
        session.pause();
        session.keys("\x03");
        let seen = session.expect("@ ");
        assert!(!seen.contains("on\r\n"), "{options}: {seen}");
        assert_eq!(session.run("echo $?"), "130\r\n", "{options}");
    }
    Ok(())
}

/// Not as the caller's is at that moment, whose shell edits a line.
pub fn started_in_the_background_its_terminal_is_a_usual_one() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    session.line("$TOOL --pty cat &");
    session.expect("@ ");
    session.pause();
    session.line("fg");
    session.expect("cat\r\n");
    session.pause();
    session.line("twice");
    session.expect("twice\r\ntwice\r\n");
    session.keys("\x04");
    session.expect("@ ");
    Ok(())
}

/// timeout(1) puts what it runs into the background, with a script's terminal.
pub fn in_the_background_it_ends_by_a_signal() -> Test {
    need_sessions()?;
    for options in ["--pty -m", "--init --pty -m", "-p -m"] {
        let command = if options.contains("pty") { "sleep 60" } else { "cat" };
        let script = format!("timeout -k 5 1 $TOOL {options} {command}; echo ended $?");
        let mut session = Session::start(&["sh", "-c", &script]);
        session.expect("ended 124");
    }
    Ok(())
}

/// In the background COMMAND runs, and writes; its keys it gets in the foreground.
pub fn in_the_background_it_reads_no_keys() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    session.line("$TOOL --pty sh -c 'echo be\"\"gun; read word; echo \"<$word>\"' &");
    session.expect("begun");
    session.pause();
    assert!(session.run("jobs").contains("unning"));
    session.line("fg");
    session.expect("read word");
    session.pause();
    session.line("yours");
    session.expect("<yours>");
    Ok(())
}
