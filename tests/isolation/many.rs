//! H1: many containers.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{Signal, Test, eventually, run, send, wait};

use crate::bed::{Bed, Mode};
use crate::scripts::with_word;

/// In a row. With `CONTAINERS=2000` it is what the project promises; as a part of all tests it is a
/// tenth of that for root, and a few for the others.
fn count(mode: Mode) -> u32 {
    let asked = std::env::var("CONTAINERS").ok().and_then(|number| number.parse().ok());
    asked.unwrap_or(if mode == Mode::Root { 200 } else { 40 })
}

/// A hundred containers that start take the machine's time: what measures it waits for them.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a container could stay: mounts of this namespace, groups, files in the usual places.
pub fn traces(bed: &Bed) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let root = bed.root().to_string_lossy().into_owned();
    let mut found: Vec<String> =
        mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect();
    for folder in [bed.path("home"), bed.root().join("tmp"), bed.root().join("run")] {
        let entries = fs::read_dir(folder).expect("ours").flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    found
}

/// The groups that cgset has named after these.
pub fn groups(launchers: &[u32]) -> Vec<String> {
    let mut find = std::process::Command::new("find");
    let all = run(find.args(["/sys/fs/cgroup", "-type", "d", "-name", "cgset-*"])).stdout;
    // In a PID namespace its number follows.
    let ours = |group: &&str| {
        let name = group.rsplit("/cgset-").next().and_then(|name| name.split('-').next());
        name.and_then(|pid| pid.parse().ok()).is_some_and(|pid| launchers.contains(&pid))
    };
    all.lines().filter(ours).map(str::to_owned).collect()
}

/// The proportional share of memory of every process that is one of our tools, in KiB.
fn memory_of_tools(bed: &Bed) -> (usize, u64) {
    let tools = bed.path("tools").to_string_lossy().into_owned();
    let mut sum = (0, 0);
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let Ok(rollup) = fs::read_to_string(entry.path().join("smaps_rollup")) else { continue };
        let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        if program.to_string_lossy().starts_with(&tools) {
            let share = share.and_then(|text| text.split_whitespace().next()?.parse().ok());
            sum = (sum.0 + 1, sum.1 + share.unwrap_or(0));
        }
    }
    sum
}

pub fn h1_many_in_a_row_and_at_once(bed: &Bed) -> Test {
    bed.starts();
    let _alone = alone();
    let before = traces(bed);
    let mut launchers = Vec::new();
    // A limit needs rights on the control groups, which root has.
    let limits: &[&str] =
        if bed.mode == Mode::Root { &["--mem", "64M", "--pids", "64"] } else { &[] };
    let begun = Instant::now();
    let start = |words: &[&str]| -> Child {
        let mut command = bed.container(limits, words);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts")
    };
    for number in 0..count(bed.mode) {
        let mut child = start(&["/bin/true"]);
        launchers.push(child.id());
        let status = wait(&mut child, Duration::from_secs(5));
        assert!(status.is_some_and(|status| status.success()), "number {number}: {status:?}");
    }
    let took = begun.elapsed();

    let word = format!("8{}{:?}", std::process::id(), bed.mode as u8);
    let mut at_once: Vec<Child> = (0..100)
        .map(|_| start(&["/bin/sh", "-c", "touch /tmp/r$1; exec sleep $1", "", &word]))
        .collect();
    eventually("all of them run", || {
        let sleeping = with_word(&word);
        let program = |path: &String| fs::read_link(format!("{path}/exe")).unwrap_or_default();
        let inside = sleeping.iter().filter(|path| program(path).ends_with("bin/busybox"));
        (inside.count() >= 100).then_some(())
    });
    let (resident, memory) = memory_of_tools(bed);
    let pids = with_word(&word).len();
    for child in &mut at_once {
        send(child, Signal::SIGTERM, false);
    }
    for child in &mut at_once {
        assert!(wait(child, Duration::from_secs(5)).is_some(), "one of a hundred hangs");
    }
    eprintln!(
        "{:?}: {} containers in a row, {:.1} ms each; 100 at once ({pids} processes): \
         {resident} resident tools, {memory} KiB together",
        bed.mode,
        count(bed.mode),
        took.as_secs_f64() * 1000.0 / f64::from(count(bed.mode)),
    );
    let _ = fs::remove_file(bed.root().join(format!("tmp/r{word}")));
    eventually("no process is left", || with_word(&word).is_empty().then_some(()));
    assert_eq!(traces(bed), before);
    if bed.mode == Mode::Root {
        launchers.extend(at_once.iter().map(Child::id));
        assert_eq!(groups(&launchers), Vec::<String>::new());
    }
    Ok(())
}
