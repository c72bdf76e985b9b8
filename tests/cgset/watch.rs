//! Groups looked at, once and once a second: in columns, as JSON, on a terminal.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Signal, Test, need_program, run, send, skip, wait};

use crate::layout::{EAT, Name, Waiting, cgset, need, ten_mib, tool};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn stat_has_columns_for_awk_and_json_for_others() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let name = Name::new("looked at");
    let child = Waiting::idle();
    let keys = ["mem", "10M", "cpu", "50%", "pids", "64", "-g", &name, &child.pid()];
    let path = cgset(&keys).ok().trim_end().to_owned();
    let line = cgset(&["stat", &name]).silent();
    let fields: Vec<&str> = line.trim_end().split(' ').collect();
    assert_eq!(fields.len(), 11, "{line}");
    assert_eq!(fields[0], path.replace(' ', "\\040"));
    assert_eq!((fields[2], fields[4], fields[6], fields[10]), ("10485760", "50", "64", "0"));
    assert!(fields[1].parse::<u64>().is_ok() && fields[3].parse::<u64>().is_ok(), "{line}");
    assert_eq!(fields[5], "1");
    assert!(cgset(&["stat"]).silent().lines().any(|other| other.starts_with(fields[0])));
    let by_pid = cgset(&["stat", &child.pid()]).silent();
    assert!(by_pid.starts_with(&format!("{} ", child.pid())), "{by_pid}");

    let found = json(&cgset(&["stat", "--json", &name]).silent());
    assert_eq!(found["group"], path.as_str());
    assert_eq!(
        (&found["memory"]["limit"], &found["memory"]["oom_kill"]),
        (&(10 << 20).into(), &0.into())
    );
    assert_eq!((&found["pids"]["current"], &found["pids"]["limit"]), (&1.into(), &64.into()));
    assert_eq!(found["cpu"]["quota_percent"], 50.0);
    assert!(found["cpu"]["usage_us"].is_u64() && found["cpu"]["percent"].is_null(), "{found}");
    let some = &found["pressure"]["memory"]["some"];
    let counted = name.groups().iter().any(|dir| dir.join("memory.pressure").exists());
    assert_eq!((some["avg10"].is_f64(), some["total_us"].is_u64()), (counted, counted), "{found}");
    Ok(())
}

pub fn a_limit_above_is_measured_against() -> Test {
    need(&["memory", "pids"])?;
    let name = Name::new("above");
    cgset(&["mem", "10M", "-g", &name]).ok();
    let inner = format!("{}/inner", &*name);
    cgset(&["mem", "max", "-g", &inner]).ok();
    let found = json(&cgset(&["stat", "--json", &inner]).silent());
    assert_eq!(found["memory"]["limit"], Value::Null);
    assert_eq!(found["memory"]["effective_limit"], 10 << 20);
    Ok(())
}

fn start(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = tool();
    command.arg("watch").args(args).process_group(0).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

#[track_caller]
fn next(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert!(out.read_line(&mut line).expect("text") > 0, "it has ended");
    line
}

pub fn watch_looks_each_second_and_ends_with_its_groups() -> Test {
    need(&["memory", "cpu", "pids"])?;
    let name = Name::new("watched");
    cgset(&["create", &name]).silent();
    let (mut child, mut out) = start(&["--json", &name]);
    let first = json(&next(&mut out));
    assert!(first["cpu"]["percent"].is_null(), "{first}");
    let second = json(&next(&mut out));
    let passed = second["time"].as_f64().zip(first["time"].as_f64()).map(|(b, a)| b - a);
    assert!(passed.is_some_and(|passed| (0.9..3.0).contains(&passed)), "{first}{second}");
    assert!(second["cpu"]["percent"].is_f64(), "{second}");
    cgset(&["rm", &name]).silent();
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    let last = json(rest.lines().last().expect("it says so"));
    assert_eq!((&last["over"], last["group"] == first["group"]), (&"gone".into(), true), "{rest}");
    let status = wait(&mut child, Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    Ok(())
}

pub fn a_kill_shows_before_the_second_is_over() -> Test {
    need(&["memory"])?;
    let name = Name::new("killed-live");
    let mut eater = Waiting::then(&EAT.join(" "));
    cgset(&[&ten_mib()[..], &["-g", &name, &eater.pid()]].concat()).ok();
    let (mut child, mut out) = start(&["--json", &name]);
    let mut before = json(&next(&mut out));
    eater.go();
    // The look after which it was killed is at most two lines before.
    let at = loop {
        let line = json(&next(&mut out));
        if line["memory"]["oom_kill"] == 1 {
            break line;
        }
        before = line;
    };
    let time = |line: &Value| line["time"].as_f64().expect("a number");
    assert!(time(&at) - time(&before) < 0.9, "{before}{at}");
    // Whoever watches is ended by a signal, and at once.
    send(&child, Signal::SIGTERM, false);
    assert_eq!(wait(&mut child, Duration::from_secs(5)).expect("it ends").code(), None);
    Ok(())
}

pub fn kills_in_close_order_do_not_keep_it_from_looking() -> Test {
    need(&["memory", "cpu"])?;
    let name = Name::new("many-kills");
    let eat = format!("while :; do {}; done", EAT.join(" "));
    let mut eater = Waiting::then(&eat);
    cgset(&[&ten_mib()[..], &["cpu", "2", "-g", &name, &eater.pid()]].concat()).ok();
    eater.start();
    let (child, mut out) = start(&["--json", &name]);
    let begin = Instant::now();
    let mut looks = 0;
    while begin.elapsed() < Duration::from_millis(3500) {
        let line = json(&next(&mut out));
        looks += u32::from(line["cpu"]["percent"].is_f64());
    }
    send(&child, Signal::SIGKILL, false);
    drop((child, eater));
    assert!(looks > 0, "CPU time since the look before is told after each second");
    Ok(())
}

pub fn without_a_reader_it_ends() -> Test {
    need(&["pids"])?;
    let name = Name::new("unread");
    cgset(&["create", &name]).silent();
    let (mut child, mut out) = start(&[&name]);
    next(&mut out);
    let closed = Instant::now();
    drop(out);
    let status = wait(&mut child, Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(closed.elapsed() < Duration::from_millis(900), "{:?}", closed.elapsed());
    Ok(())
}

/// Skips a test where no terminal can be had.
fn need_terminals() -> Test {
    need_program("stty")?;
    let script = need_program("script")?;
    match run(Command::new(script).arg("--version")).stdout.contains("util-linux") {
        true => Ok(()),
        false => Err(skip("needs the script of util-linux")),
    }
}

/// What a terminal of this width shows of a script, as it was written.
fn typescript(columns: u32, script: &str) -> String {
    let line = format!("stty cols {columns} rows 20; {script}; stty -a >&2");
    let mut command = Command::new("script");
    run(command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm")).ok()
}

pub fn a_terminal_has_bars_that_are_drawn_in_place() -> Test {
    need(&["memory", "pids"])?;
    need_terminals()?;
    let name = Name::new("bars");
    cgset(&["mem", "10M", "pids", "20", "-g", &name]).ok();
    let tool = env!("CARGO_BIN_EXE_cgset");
    let (show, name_) = (format!("{tool} show '{}'", &*name), &*name);
    let shown = typescript(100, &show);
    assert!(
        shown.contains("memory.current") && shown.contains(" [--------------------] 0%"),
        "{shown}"
    );
    assert!(!cgset(&["show", name_]).silent().contains('['), "no bar for programs");
    let shown = typescript(100, &format!("{tool} stat '{name_}'"));
    assert!(shown.contains("GROUP") && shown.contains("[----------]"), "{shown}");

    let watch = |seconds: &str| format!("timeout -s INT {seconds} {tool} watch '{name_}'");
    let wide = typescript(100, &format!("{} || echo status $?", watch("2.5")));
    // Two lines, and the cursor goes up by two to draw them again; nothing else is switched.
    assert!(wide.matches("\x1b[2A").count() >= 2 && wide.contains("status 124"), "{wide:?}");
    let escapes = wide.split('\x1b').skip(1);
    assert!(
        escapes.clone().all(|rest| ["[2A", "[K", "[J"].iter().any(|known| rest.starts_with(known))),
        "{wide:?}"
    );
    let narrow = typescript(30, &watch("1.5"));
    let drawn = narrow.split("speed").next().unwrap_or_default();
    for line in drawn.lines() {
        let line = line.replace("\x1b[K", "").replace("\x1b[J", "").replace("\x1b[2A", "");
        assert!(line.trim().chars().count() <= 30, "{line:?} in {narrow:?}");
    }
    let dumb = typescript(100, &format!("TERM=dumb {}", watch("1.5")));
    assert!(!dumb.contains('\x1b') && dumb.matches("GROUP").count() == 1, "{dumb:?}");
    Ok(())
}

pub fn an_interrupt_leaves_the_terminal_as_it_was() -> Test {
    need(&["pids"])?;
    need_terminals()?;
    let name = Name::new("interrupted");
    cgset(&["create", &name]).silent();
    let script = format!(
        "before=$(stty -g); timeout --foreground -s INT 1.5 {} watch '{}'; \
         [ \"$(stty -g)\" = \"$before\" ] && echo as before",
        env!("CARGO_BIN_EXE_cgset"),
        &*name
    );
    let shown = typescript(80, &script);
    assert!(shown.contains("as before"), "{shown:?}");
    Ok(())
}

pub fn a_watched_process_that_ends_says_so() -> Test {
    need(&["pids"])?;
    let mut one = Waiting::idle();
    let (mut child, mut out) = start(&[&one.pid()]);
    next(&mut out);
    one.go();
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    assert!(rest.ends_with(&format!("{} ended\n", one.pid())), "{rest}");
    assert_eq!(wait(&mut child, Duration::from_secs(5)).expect("it ends").code(), Some(0));
    Ok(())
}

pub fn what_is_not_there_is_not_looked_at() -> Test {
    need(&["pids"])?;
    for verb in ["stat", "watch"] {
        cgset(&[verb, "none-such"]).fails(
            1,
            "cgset",
            &["look at the group \"none-such\"", "hint: cgset ls"],
        );
        cgset(&[verb, "99999999"]).fails(1, "cgset", &["process 99999999 does not exist"]);
        cgset(&[verb, "-g", "x"]).fails(2, "cgset", &["--group does not go"]);
    }
    let name = Name::new("to-a-full-disk");
    cgset(&["create", &name]).silent();
    for verb in ["stat", "watch"] {
        let script = format!("\"$1\" {verb} \"$2\" >/dev/full");
        let ran = run(support::sh(script).args([env!("CARGO_BIN_EXE_cgset"), &name]));
        ran.fails(1, "cgset", &["write to standard output", "(ENOSPC)"]);
    }
    Ok(())
}
