//! H2 to H7: what a script relies on.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Signal, Test, eventually, run, send, sh, skip, wait};

use crate::bed::{Bed, Mode, fingerprint, words_of};
use crate::many::alone;

/// Processes of the machine that have this word among theirs; a zombie has none.
pub fn with_word(word: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
    let words = |path: &Path| fs::read(path.join("cmdline")).unwrap_or_default();
    let has = |path: &Path| String::from_utf8_lossy(&words(path)).split('\0').any(|w| w == word);
    all.filter(|path| has(path)).map(|path| path.display().to_string()).collect()
}

/// A word that only this test has.
fn own_word(bed: &Bed) -> String {
    format!(
        "9{}",
        bed.path("").to_string_lossy().bytes().fold(17u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into()) % 100_000_000
        })
    )
}

fn status_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().expect("it starts")
}

fn ready(bed: &Bed) {
    let mark = bed.root().join("tmp/ready");
    eventually("the payload has begun", || mark.exists().then_some(()));
    fs::remove_file(mark).expect("it was there");
}

/// Each signal to the launcher reaches the payload, or ends it, and the status tells which.
pub fn h2_signals(bed: &Bed) -> Test {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGWINCH};
    bed.starts();
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGWINCH] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script =
            format!("trap 'exit 7' {name}; touch /tmp/ready; while :; do sleep 0.02; done");
        let mut child = start(&mut bed.container(&[], &["/bin/sh", "-c", &script]));
        ready(bed);
        send(&child, signal, false);
        let status = wait(&mut child, Duration::from_secs(5));
        assert_eq!(status.map(status_of), Some(7), "{:?}: {signal}", bed.mode);
    }
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1] {
        let script = "touch /tmp/ready; exec sleep 60";
        let mut child = start(&mut bed.container(&[], &["/bin/sh", "-c", script]));
        ready(bed);
        // By then it has become the program that leaves the signal to its default.
        thread::sleep(Duration::from_millis(30));
        send(&child, signal, false);
        let status = wait(&mut child, Duration::from_secs(5)).map(status_of);
        assert_eq!(status, Some(128 + signal as i32), "{:?}: {signal}", bed.mode);
    }
    Ok(())
}

/// What is inside ends with the launcher, also one that is killed in its first milliseconds.
pub fn h2_a_killed_launcher(bed: &Bed) -> Test {
    let _alone = alone();
    let word = own_word(bed);
    for round in 0..100u64 {
        // With a limit, cgset is the launcher; that takes rights on the control groups.
        let limited = bed.mode == Mode::Root && round % 2 == 1;
        let options: &[&str] = if limited { &["--pids", "64"] } else { &[] };
        let mut child = start(&mut bed.container(options, &["/bin/sleep", &word]));
        // Over the whole time that it takes to start, and some more.
        thread::sleep(Duration::from_micros(round * 311));
        send(&child, Signal::SIGKILL, false);
        let killed = Instant::now();
        let _ = child.wait();
        eventually("nothing is left", || with_word(&word).is_empty().then_some(()));
        let took = killed.elapsed();
        // The limit is 100 ms; the machine of the test may be busy with others.
        assert!(took < Duration::from_millis(400), "{:?}: round {round}: {took:?}", bed.mode);
    }
    if bed.mode == Mode::Root {
        run(bed.as_user("cgset").arg("prune")).ok();
    }
    Ok(())
}

pub fn h3_orphans(bed: &Bed) -> Test {
    let word = own_word(bed);
    // By its path: busybox's shell runs the command of that name within itself, without these words.
    let script = format!("/bin/sleep {word} & (/bin/sleep {word} &); exit 3");
    let ran = run(&mut bed.container(&[], &["/bin/sh", "-c", &script]));
    assert_eq!(ran.status, 3, "{ran:?}");
    assert_eq!(with_word(&word), Vec::<String>::new());
    Ok(())
}

/// Of a payload that waits for nobody.
pub fn h4_zombies(bed: &Bed) -> Test {
    if !bed.line(&[], &["/bin/true"]).contains("--init") {
        return Err(skip("not yet supported: container run has no --init"));
    }
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0.1 &); i=$((i + 1)); done
        exec /bin/busybox sh -c 'sleep 0.5; grep -l \"^State:.Z\" /proc/[0-9]*/status; exec true'";
    let ran = run(&mut bed.container(&[], &["/bin/sh", "-c", script]));
    assert_eq!(ran.stdout, "", "{ran:?}");
    Ok(())
}

/// After an interactive shell the caller's own shell reads on.
pub fn h5_the_terminal_comes_back(bed: &Bed) -> Test {
    let container = words_of(&bed.container(&[], &["/bin/sh", "-i"]));
    let file = bed.path("caller");
    let script = format!("{container}; echo status $?; read line; echo got $line\n");
    fs::write(&file, script).expect("ours");
    let script = format!("sh {}", file.display());
    let typing = "sleep 0.7; echo 'exit 3'; sleep 0.7; echo hello; sleep 0.2";
    let seen = bed.on_a_terminal(typing, &script)?;
    assert!(seen.contains("status 3\n") && seen.contains("got hello\n"), "{seen}");
    assert!(!seen.contains("job control"), "{seen}");
    Ok(())
}

pub fn h5_a_terminal_of_its_own(bed: &Bed) -> Test {
    // Only at a terminal is there any sense in it.
    let dry = words_of(&bed.container(&["--dry-run"], &["/bin/tty"]));
    if !bed.on_a_terminal("sleep 0.3", &dry)?.contains("--pty") {
        return Err(skip("not yet supported: container run has no --pty"));
    }
    let seen = bed.on_a_terminal("sleep 0.5", &words_of(&bed.container(&[], &["/bin/tty"])))?;
    assert!(seen.starts_with("/dev/pts/"), "{seen}");
    Ok(())
}

/// Signals, descriptors, umask and limits are the caller's.
pub fn h6_what_the_caller_has_set(bed: &Bed) -> Test {
    let words = |options: &[&str], words: &[&str]| words_of(&bed.container(options, words));
    let probe = words(&[], &["/bin/probe", "signals"]);
    let seven = words(&[], &["/bin/sh", "-c", "exit 7"]);
    let look = words(&[], &["/bin/sh", "-c", "umask; ulimit -n; ulimit -c"]);
    let script = |text: String| {
        let mut command = sh(text);
        for (name, value) in bed.container(&[], &[]).get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        run(&mut command)
    };
    bed.is_contained(&script(format!("exec {probe}")), "the default of all signals");
    for set in ["--ignore-signal=CHLD", "--block-signal=CHLD", "--ignore-signal=PIPE"] {
        assert_eq!(script(format!("exec env {set} {seven}")).status, 7, "{:?}: {set}", bed.mode);
    }
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let status = script(format!("exec {seven} {closed}")).status;
        assert_eq!(status, 7, "{:?}: {closed}", bed.mode);
    }
    let told = script(format!("umask 027; ulimit -n 123; ulimit -c 0; exec {look}"));
    assert_eq!(told.silent(), "0027\n123\n0\n");
    Ok(())
}

pub fn h7_the_root_file_system_is_as_it_was(bed: &Bed) -> Test {
    let before = fingerprint(&bed.root());
    let script = "cat /etc/resolv.conf /dev/null; ls /dev /proc /sys; echo >/dev/shm/file";
    run(&mut bed.container(&[], &["/bin/sh", "-c", script])).ok();
    assert_eq!(fingerprint(&bed.root()), before);
    // Nor where there are no mount points but those that it makes, and nothing is left in these.
    run(&mut bed.container(&["--read-only"], &["/bin/true"])).silent();
    assert_eq!(fingerprint(&bed.root()), before);
    Ok(())
}

/// With an overlay the next one sees what COMMAND has changed, and the root file system is as it was.
pub fn h7_changes_are_kept_apart(bed: &Bed) -> Test {
    let [upper, work] = ["upper", "work"].map(|name| {
        let folder = bed.path(name);
        fs::create_dir(&folder).expect("ours");
        chown(&folder, Some(bed.mode.owner()), Some(bed.mode.owner())).expect("root's to give");
        folder
    });
    let before = fingerprint(&bed.root());
    let layers = format!("{}:{}", upper.display(), work.display());
    if bed.mode == Mode::RootUserns {
        let told = run(&mut bed.container(&["--overlay", &layers], &["/bin/true"]));
        assert_eq!(told.status, 125);
        assert!(told.stderr.contains("UPPER stays the machine's"), "{}", told.stderr);
        assert_eq!(fingerprint(&bed.root()), before);
        return Ok(());
    }
    let inside = |script| {
        run(&mut bed.container(&["--overlay", &layers], &["/bin/sh", "-c", script])).silent()
    };
    inside("echo new >/etc/new; mkdir /made; busybox rm -r /etc/group /tmp; mkdir /tmp");
    assert_eq!(
        inside("cat /etc/new; ls -d /made; ! ls /etc/group 2>&1 | grep -v No"),
        "new\n/made\n"
    );
    assert_eq!(fingerprint(&bed.root()), before);
    assert!(upper.join("etc/new").exists());
    Ok(())
}
