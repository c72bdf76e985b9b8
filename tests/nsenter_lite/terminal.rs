//! `--init` at a terminal: who is in its foreground, and who comes back to it.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Test, eventually, need_program, scratch};

use crate::session::{Session, need_sessions};
use crate::setup::only_child;

/// Without a word about job control, and with it.
pub fn a_shell_inside_has_job_control() -> Test {
    need_sessions()?;
    for shell in ["bash --norc --noprofile -i", "sh -i"] {
        for options in ["--init", "--init -m --mount-proc -r", "--init --pty", "--init --pty -m"] {
            let mut session = Session::bash();
            session.line(&format!("$TOOL {options} {shell}"));
            let start = session.expect("@ ");
            let words = ["job control", "process group", "tty", "ioctl"];
            assert!(!words.iter().any(|word| start.contains(word)), "{options}: {start}");
            assert_eq!(session.run("echo $$"), "2\r\n", "{options} {shell}");
            session.line("sleep 61");
            session.pause();
            session.keys("\x1a");
            session.expect("topped");
            session.run("sleep 62 & :");
            assert!(session.run("jobs").contains("sleep 62"));
            session.line("fg %1");
            session.expect("sleep 61");
            session.pause();
            session.keys("\x03");
            session.expect("@ ");
            session.line("cat");
            session.pause();
            session.keys("t\x7fred\n\x04");
            session.expect("red\r\nred\r\n");
            session.expect("@ ");
            session.line("exit 7");
            session.expect("@ ");
            assert_eq!(session.run("echo $?"), "7\r\n", "{options} {shell}");
            session.line("read word; echo \"<$word>\"");
            session.line("here");
            session.expect("<here>");
        }
    }
    Ok(())
}

/// A script's, which has no job control that would take the terminal back.
pub fn the_callers_next_read_works() -> Test {
    need_sessions()?;
    let rest = "; s=$?; echo over; read word; echo \"<$s $word>\"
        test \"$before\" = \"$(stty -g)\" && echo same; read end";
    let entering = "-t $$ -a --fork"; // all are ours: by --join it leads a group of its own
    let joining = "--join pid=/proc/self/ns/pid";
    for options in ["--init", "--init --pty", "--init --pty -m", "-p", "--pty", entering, joining] {
        for (command, status) in [
            ("true", 0),
            ("sh -c 'echo ask; read word; exit 5'", 5),
            ("sh -c 'kill -KILL $$; sleep 9'", 137),
            ("/no/such/program", 127),
            ("/etc", 126),
            ("bash --norc -ic 'exit 4'", 4),
            ("sh -c 'echo inside; exec sleep 9'", 143),
        ] {
            // Without --init it is PID 1, which can't kill itself.
            if options == "-p" && command.contains("kill") {
                continue;
            }
            let script = format!("before=$(stty -g); $TOOL {options} {command}{rest}");
            let mut session = Session::sh(&script);
            if command.contains("ask") {
                session.expect("ask\r\n");
                session.line("for the command");
            }
            if command.contains("inside") {
                session.expect("inside\r\n");
                let tool = Pid::from_raw(only_child(session.pid()));
                kill(tool, Signal::SIGTERM).expect("ours");
            }
            session.expect("over\r\n");
            session.line("word");
            session.expect(&format!("<{status} word>\r\nsame\r\n"));
        }
    }
    Ok(())
}

/// The shell that runs us sees us stop, and both go on by its `fg`.
pub fn control_z_stops_the_command_and_its_launcher() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    for command in ["$TOOL --init sleep 60", "(trap : INT; $TOOL --init sleep 60; exit $?)"] {
        session.line(command);
        for _ in 0..2 {
            session.pause();
            session.keys("\x1a");
            session.expect("topped");
            session.expect("@ ");
            assert!(session.run("ps -o stat= -C sleep | sort -u").contains('T'));
            session.line("fg");
            session.expect("60");
        }
        session.pause();
        session.keys("\x03");
        session.expect("@ ");
        assert_eq!(session.run("echo $?"), "130\r\n");
    }
    // A shell inside that suspends itself.
    for (line, start) in [
        ("$TOOL --init $IT", "2\r\n"),
        ("$TOOL -f -m $IT", ""),
        ("sh -c '$TOOL -f -m $IT; exit $?'", ""),
    ] {
        session.line(&line.replace("$IT", "bash --norc --noprofile -i"));
        session.expect("@ ");
        for _ in 0..2 {
            session.line("suspend");
            session.expect("topped");
            session.expect("@ ");
            session.line("fg");
            session.expect("bash");
            assert!(session.run("echo $$").starts_with(start), "{line}");
        }
        session.line("exit 3");
        session.expect("@ ");
        assert_eq!(session.run("echo $?"), "3\r\n", "{line}");
    }
    Ok(())
}

/// A stopped cat has the terminal again, to its end.
fn cat_reads_on(session: &mut Session) {
    session.line("fg");
    session.pause();
    session.line("read on");
    session.expect("read on\r\nread on\r\n");
    session.keys("\x04");
    session.expect("@ ");
}

/// In the caller's group it reads on when it is continued.
pub fn a_command_in_our_group_goes_on_by_fg() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    for options in ["-f -m", "-p"] {
        session.line(&format!("$TOOL {options} cat"));
        session.pause();
        session.keys("\x1a");
        session.expect("topped");
        session.expect("@ ");
        cat_reads_on(&mut session);
        assert_eq!(session.run("jobs"), "", "{options}");
    }
    Ok(())
}

/// Whoever waits for the launcher in its group stops with it, and is seen to, as cgset.
pub fn one_launcher_in_another_stops_in_the_background() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    session.line("$TOOL -f -m $TOOL -p cat &");
    session.expect("@ ");
    session.pause();
    assert!(session.run("jobs").contains("topped"));
    cat_reads_on(&mut session);
    Ok(())
}

/// In a PID namespace the caller's group and its foreground are both 0.
pub fn a_launcher_in_another_does_not_take_the_terminal_away() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    for options in ["--init", "--init --pty"] {
        session.line(&format!("$TOOL -p $TOOL {options} cat &"));
        session.expect("@ ");
        session.pause();
        assert_eq!(session.run("echo mine"), "mine\r\n", "{options}");
    }
    session.line("fg");
    session.pause();
    session.line("yours");
    session.expect("yours\r\nyours\r\n");
    session.keys("\x04");
    session.expect("@ ");
    Ok(())
}

/// A loop of containers is ended by one Ctrl-C, as one of plain commands is.
pub fn control_c_reaches_the_script_too() -> Test {
    need_sessions()?;
    let script = "for i in 1 2 3; do echo run $i; $TOOL --init sleep 60; done; echo not ended";
    let mut session = Session::bash();
    session.line(&format!("sh -c '{script}'"));
    session.expect("run 1\r\n");
    session.pause();
    session.keys("\x03");
    let seen = session.expect("@ ");
    assert!(!seen.contains("run 2") && !seen.contains("not ended"), "{seen}");
    Ok(())
}

/// In a pipeline others need the terminal, too: it is lent when it is asked for.
pub fn a_pipeline_shares_the_terminal() -> Test {
    need_sessions()?;
    let mut session = Session::bash();
    session.line("$TOOL --init sh -c 'echo one; sleep 0.2; echo two' | (read a </dev/tty; cat; echo \"<$a>\")");
    session.line("typed");
    session.expect("one\r\ntwo\r\n<typed>");
    session.expect("@ ");
    session.line("$TOOL --init sh -c 'read a </dev/tty; echo \"<$a>\"' | cat");
    session.line("again");
    session.expect("<again>");
    session.expect("@ ");
    // In the background it stops, and gets it by fg.
    session.line("$TOOL --init sh -c 'read a; echo \"<$a>\"' &");
    session.expect("@ ");
    session.pause();
    assert!(session.run("jobs").contains("topped"));
    session.line("fg");
    session.line("third");
    session.expect("<third>");
    session.expect("@ ");
    Ok(())
}

pub fn the_command_is_the_foreground() -> Test {
    need_sessions()?;
    need_program("ps")?;
    let folder = scratch();
    let file = folder.path().join("pid");
    let mut session = Session::bash();
    session.line(&format!("$TOOL --init --pid-file {} sleep 60", file.display()));
    let pid = eventually("there is a PID file", || fs::read_to_string(&file).ok());
    let pid = pid.trim_end();
    eventually("its group is the terminal's", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let words: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        (words[2] == pid && words[5] == pid).then_some(())
    });
    session.keys("\x03");
    session.expect("@ ");
    Ok(())
}

pub fn the_size_of_the_window_is_known_inside() -> Test {
    need_sessions()?;
    for options in ["--init", "--init --pty -m", "--pty"] {
        let mut session = Session::bash();
        session.line(&format!(
            "$TOOL {options} bash --norc -c 'stty size; trap \"stty size\" WINCH; sleep 60 & echo set
            wait; wait'"
        ));
        session.expect("24 80\r\n");
        session.expect("set\r\n");
        session.resize(30, 100);
        session.expect("30 100\r\n");
        // A shell whose child ends well does not end by a Ctrl-C of that moment.
        session.pause();
        session.keys("\x03");
        session.expect("@ ");
    }
    Ok(())
}
