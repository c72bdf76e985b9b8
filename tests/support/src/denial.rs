//! A whole suite without a system call, as on an older kernel or under an engine's filter:
//! `DENY=openat2:ENOSYS cargo test -p bindmount --test bindmount`, as root.
//!
//! Each of our tools starts under the filter, and what it starts; the tests' own helpers do not.
//! A test that passes is one that the tools did right by other means, or without the call. One
//! whose tool said in one line that it was denied, and did no more, counts as ignored: it failed
//! closed. So does one where that line is seen, but not what the tool did besides, as in a script
//! that goes on: that is unclear. All else is a failure: another message, another effect, a test that
//! hangs, something left.

use std::any::Any;
use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::{Ran, Skip, TempDir, Test, project, scratch, skip};

/// What a container start runs through. Not fetch-rootfs, which has tests of its own for this: the
/// others' need what it makes. Run by one of these it is under the filter, too.
const TOOLS: [&str; 4] = ["bindmount", "nsenter-lite", "chrootx", "cgset"];

/// What the names of the stand-ins end with.
const STAND_IN: &str = ".deny";

/// What `$DENY` says.
pub struct Denied {
    /// The name of the call.
    pub call: String,
    /// What the kernel is to answer.
    pub errno: String,
}

/// The call that is denied, if one is.
///
/// # Panics
/// If `$DENY` is no `CALL:ERRNO`.
pub fn denied() -> Option<&'static Denied> {
    static DENIED: OnceLock<Option<Denied>> = OnceLock::new();
    let read = || {
        let value = std::env::var("DENY").ok()?;
        let (call, errno) = value.split_once(':').expect("DENY=CALL:ERRNO");
        Some(Denied { call: call.into(), errno: errno.into() })
    };
    DENIED.get_or_init(read).as_ref()
}

/// Skips a test that tells nothing where a filter is before the tool.
pub fn need_no_filter(why: &str) -> Test {
    denied().map_or(Ok(()), |_| Err(skip(format!("not under DENY: {why}"))))
}

/// The programs that stand before the tools, and the tools: as long as the tests run.
static STAND_INS: Mutex<Option<TempDir>> = Mutex::new(None);

/// Puts the filter before the tools beside this test's program, in a mount namespace of its own.
pub(crate) fn begin() {
    if denied().is_none() {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("DENY takes root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("a mount table of ours");
    // What a tool leaves becomes a child of ours, and is seen.
    nix::sys::prctl::set_child_subreaper(true).expect("any process may");
    let folder = scratch();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    *STAND_INS.lock().expect("one thread") = Some(folder);
    let program = std::env::current_exe().expect("a path");
    deny_tools(program.ancestors().nth(2).expect("target/debug"));
}

pub(crate) fn end() {
    drop(STAND_INS.lock().expect("one thread").take());
}

/// Puts the filter, if there is one, before the tools in this folder: a script stands in for each,
/// whose interpreter installs it and becomes the tool.
///
/// # Panics
/// If that can't be done.
pub fn deny_tools(tools: &Path) {
    let Some(denied) = denied() else { return };
    let guard = STAND_INS.lock().expect("one thread");
    let folder = guard.as_ref().expect("it has begun").path();
    let probe = place(&probe(), &folder.join("probe"));
    let ours = folder.join(fs::read_dir(folder).expect("ours").count().to_string());
    fs::create_dir(&ours).expect("ours");
    for name in TOOLS {
        let (tool, stand_in) = (tools.join(name), ours.join(format!("{name}{STAND_IN}")));
        if !tool.exists() {
            continue;
        }
        let real = place(&tool, &ours.join(name));
        let Denied { call, errno } = denied;
        let line = format!("#!{} deny:{errno}:{call}:{}\n", probe.display(), real.display());
        fs::write(&stand_in, line).expect("ours");
        fs::set_permissions(&stand_in, Permissions::from_mode(0o755)).expect("ours");
        let bind = MsFlags::MS_BIND;
        mount(Some(&stand_in), &tool, None::<&str>, bind, None::<&str>).expect("one's own file");
    }
}

/// Not by `fs::copy`: a child that is forked meanwhile would hold the file open for writing.
fn place(from: &Path, to: &Path) -> PathBuf {
    let copied = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "copy {from:?}");
    to.to_owned()
}

fn probe() -> PathBuf {
    let mut build = Command::new(project().join("scripts/build"));
    let out = build.arg("probe").output().expect("a shell script");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Path::new(String::from_utf8_lossy(&out.stdout).trim_end()).join("probe")
}

thread_local! {
    /// What the test has run so far.
    static RUNS: RefCell<Vec<Ran>> = const { RefCell::new(Vec::new()) };
}

/// Tells what a test has run without [`crate::run`].
pub fn note(ran: &Ran) {
    if denied().is_some() {
        RUNS.with_borrow_mut(|runs| runs.push(ran.clone()));
    }
}

/// Runs a test and judges it.
pub(crate) fn judge(name: &str, test: impl FnOnce() -> Test) -> Test {
    let Some(denied) = denied() else { return test() };
    RUNS.take();
    let before = traces();
    let judged = catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|panic| {
        let (runs, complaint) = (RUNS.take(), text(&*panic));
        match (closed(denied, &runs, &complaint), told(denied, &runs, &complaint)) {
            (Some(line), _) => Err(Skip(format!("failed closed: {line}"))),
            (None, Some(line)) => Err(Skip(format!("unclear: {line}"))),
            (None, None) => resume_unwind(panic),
        }
    });
    nothing_has_changed(name, &before);
    judged
}

fn text(panic: &dyn Any) -> String {
    let plain = panic.downcast_ref::<&str>().map(ToString::to_string);
    plain.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The line of the tool that was denied the call, if that is why the test fails: what the test
/// complains of, or what it ran last, did nothing but say so.
fn closed(denied: &Denied, runs: &[Ran], complaint: &str) -> Option<String> {
    let (last, others) = runs.split_last()?;
    let named = others.iter().filter(|ran| complaint.contains(&format!("{ran:?}")));
    named.chain([last]).find_map(|ran| {
        let mut lines = ran.stderr.lines();
        let line = lines.next().filter(|line| is_of_tool(denied, line))?;
        let alone =
            lines.next().is_none_or(|hint| hint.starts_with("hint: ")) && lines.next().is_none();
        let stopped = matches!(ran.status, 1 | 125) && ran.stdout.is_empty();
        (alone && stopped).then(|| line.to_owned())
    })
}

/// The same line among other things that a script or a terminal shows: what the tool did besides is
/// not seen, so that is for people to look at, and no more than that.
fn told(denied: &Denied, runs: &[Ran], complaint: &str) -> Option<String> {
    let all = runs.iter().rev().flat_map(|ran| [ran.stderr.as_str(), ran.stdout.as_str()]);
    let mut lines = all.chain([complaint]).flat_map(str::lines);
    lines.find_map(|line| {
        let tools = TOOLS.iter().chain(&["fetch-rootfs"]);
        let from = tools.filter_map(|tool| line.find(&format!("{tool}: "))).min()?;
        let end = format!("({})", denied.errno);
        let to = line[from..].find(&end)? + from + end.len();
        Some(line[from..to].to_owned()).filter(|line| is_of_tool(denied, line))
    })
}

/// `TOOL: VERB what: why (ERRNO)`.
fn is_of_tool(denied: &Denied, line: &str) -> bool {
    line.split_once(": ").is_some_and(|(tool, rest)| {
        (TOOLS.contains(&tool) || tool == "fetch-rootfs")
            && rest.contains(": ")
            && rest.ends_with(&format!("({})", denied.errno))
    })
}

/// Our mounts, our children that live, and the control groups that a cgset has left.
fn traces() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let mut found: Vec<String> = mounts.lines().map(str::to_owned).collect();
    for task in fs::read_dir("/proc/self/task").expect("ourselves").flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A zombie is over, whoever has yet to wait for it.
            if stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
            {
                found.push(stat);
            }
        }
    }
    let mut find = Command::new("find");
    let out = find.args(["/sys/fs/cgroup", "-type", "d", "-name", "cgset-*"]).output();
    let groups = String::from_utf8(out.expect("find").stdout).unwrap_or_default();
    let over = |group: &&str| {
        let pid = group.rsplit(['-', '.']).next().unwrap_or_default();
        !Path::new("/proc").join(pid).exists()
    };
    found.extend(groups.lines().filter(over).map(str::to_owned));
    found
}

/// What ends may take its time. What stands before the tools must be there still.
fn nothing_has_changed(name: &str, before: &[String]) {
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let after = traces();
        let missing = |these: &[String], those: &[String], stand_in: bool| -> Vec<String> {
            let of_kind = |trace: &&String| trace.contains(STAND_IN) == stand_in;
            let missing = these.iter().filter(of_kind).filter(|trace| !those.contains(trace));
            missing.cloned().collect()
        };
        let (left, gone) = (missing(&after, before, false), missing(before, &after, true));
        if left.is_empty() && gone.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{name} left {left:#?} and took away {gone:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}
