//! Each call of the whole pipeline fails once: status 125, one line, and nothing is left; or what
//! was asked for is done all the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Ran, Test, run, sh, skip};

use crate::bed::{Bed, Mode, TOOLS, fingerprint, words_of};
use crate::many::{groups, traces};

/// What COMMAND sees of its container. Whether a device is a node or a mount is all the same.
const LOOK: &str = "echo $$; hostname; umask; pwd; /bin/probe identity 0 0 - 800405fb
    /bin/probe fds; ls /dev /mnt; ls -d /proc/[0-9]*; env
    cat /proc/self/mountinfo | while read -r a b c root at how rest; do
        case $at in /dev/full | /dev/null | /dev/*random | /dev/tty | /dev/zero) ;; *) echo $at $how ;; esac; done
    touch /x /mnt/x /tmp/x /etc/resolv.conf; echo >/proc/sys/kernel/core_pattern; true";

/// With `FAULTS=all` each fails in each way, which takes minutes. As a part of all tests a call
/// fails in one way, and of many calls of the same name by the same program some do.
fn whole() -> bool {
    std::env::var("FAULTS").is_ok_and(|what| what == "all")
}

/// Runs it, with the call at `place` failing; the PID of the first process, and the places.
fn failing(bed: &Bed, place: &str, errno: &str, command: &Command) -> (Ran, u32, Vec<String>) {
    let log = bed.path("calls");
    let mut traced = sh(format!(
        "exec {} fault {} {place} {errno} {}",
        bed.path("tools/probe").display(),
        log.display(),
        words_of(command)
    ));
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap_or_default());
    }
    let ran = run(traced.current_dir(bed.path("home")));
    let text = fs::read_to_string(&log).expect("the tracer wrote it");
    let (pid, places) = text.split_once('\n').expect("a PID");
    (ran, pid.parse().expect("a PID"), places.lines().map(str::to_owned).collect())
}

/// The calls of our tools, of which the ones at some places are as good as their neighbours.
fn chosen(places: Vec<String>) -> Vec<String> {
    let ours = |place: &String| TOOLS.iter().any(|tool| place.starts_with(&format!("{tool}.")));
    let worth = |place: &String| {
        let nth: usize = place.rsplit(':').next().and_then(|n| n.parse().ok()).expect("a number");
        whole() || nth < 3 || nth.is_multiple_of(8)
    };
    places.into_iter().filter(ours).filter(worth).collect()
}

/// What is wrong with a run in which a call failed, if anything is.
fn wrong(bed: &Bed, good: &Ran, ran: &Ran, place: &str) -> Option<String> {
    if ran == good {
        return None;
    }
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let ours = |line: &str| TOOLS.iter().any(|tool| line.starts_with(&format!("{tool}: ")));
    // Who can't wait any more, or not clear up, learns that when COMMAND has run.
    let late = [":recvmsg:", ":rmdir:"].iter().any(|call| place.contains(call))
        || ran.stderr.contains("/cgroup.kill\"");
    let told = match lines.as_slice() {
        [.., line, hint] if late && hint.starts_with("hint: ") => ours(line),
        [.., line] if late => ours(line),
        [line] => ours(line),
        [line, hint] => ours(line) && hint.starts_with("hint: "),
        _ => false,
    };
    let status = ran.status == 125 || ran.status == 126 && place.contains(":exec");
    if told && status && (late || ran.stdout.is_empty()) {
        return None;
    }
    // An ordinary user is refused a whole proc, and told so.
    if ran.status == 0 && place.ends_with("EPERM") && ran.stderr.contains("(subset=pid)") {
        return None;
    }
    let usual: Vec<&str> = good.stdout.lines().chain(good.stderr.lines()).collect();
    let all = ran.stdout.lines().chain(ran.stderr.lines());
    let unusual: Vec<&str> = all.filter(|line| !usual.contains(line)).collect();
    Some(format!("{:?}: {place}: status {}, {unusual:#?}", bed.mode, ran.status))
}

pub fn each_call_that_fails_leaves_nothing(bed: &Bed) -> Test {
    if matches!(bed.mode, Mode::RootAsRoot | Mode::RootMapped) && !whole() {
        return Err(skip("much as the others: run with FAULTS=all"));
    }
    let victim = format!("{}:/mnt:ro", bed.victim().display());
    let mut options = vec!["--network", "none", "--read-only", "--tmpfs", "/tmp", "-v", &victim];
    if bed.mode == Mode::Root {
        options.extend(["--mem", "64M", "--pids", "64"]);
    }
    let command = bed.changed(&options, &[], &["/bin/sh", "-c", LOOK]);
    let (good, _, places) = failing(bed, "none", "EIO", &command);
    assert_eq!(good.status, 0, "{good:?}");
    let (before, root) = (traces(bed), fingerprint(&bed.root()));
    let mut failures = 0;
    let mut complaints = Vec::new();
    let mut launchers = Vec::new();
    let places = chosen(places);
    for (number, place) in places.iter().enumerate() {
        for (way, errno) in ["EIO", "EPERM"].into_iter().enumerate() {
            if !whole() && number % 2 != way {
                continue;
            }
            let (ran, pid, _) = failing(bed, place, errno, &command);
            failures += usize::from(ran != good);
            if let Some(what) = wrong(bed, &good, &ran, &format!("{place} {errno}")) {
                eprintln!("{what}");
                complaints.push(what);
            }
            if traces(bed) != before {
                complaints.push(format!("{place} {errno}: left: {:?}", traces(bed)));
            }
            // The group that can't be removed is named, and left to us.
            match place.contains(":rmdir:") {
                true => groups(&[pid]).iter().for_each(|group| drop(fs::remove_dir(group))),
                false => launchers.push(pid),
            }
        }
    }
    complaints.extend(groups(&launchers));
    assert_eq!(fingerprint(&bed.root()), root);
    assert!(Path::new(&bed.victim()).exists());
    eprintln!("{:?}: {} calls, {failures} failures", bed.mode, places.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}
