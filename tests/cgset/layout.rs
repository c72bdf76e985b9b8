//! What the tests need to know of the machine's trees, and the groups and processes that they make.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Ran, Skip, TempDir, Test, eventually, run, skip, wait};

pub fn tool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cgset"))
}

pub fn cgset(args: &[&str]) -> Ran {
    run(tool().args(args))
}

/// Whoever prunes, prunes for all tests: held by the one whose leftovers nobody else may take.
pub fn pruning() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each mounted tree is for: its mount point, and its line of options or controllers.
fn trees_with_controllers() -> Vec<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a mount table");
    let tree = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let mount = PathBuf::from(fields[1]);
        match fields[2] {
            "cgroup" => Some((mount, fields[3].replace(',', " "))),
            "cgroup2" => {
                let controllers = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
                Some((mount, controllers))
            }
            _ => None,
        }
    };
    mounts.lines().filter_map(tree).collect()
}

/// The mount points of the trees of control groups.
pub fn trees() -> Vec<PathBuf> {
    trees_with_controllers().into_iter().map(|(mount, _)| mount).collect()
}

/// The tree of a controller.
pub fn tree_of(controller: &str) -> Result<PathBuf, Skip> {
    let has = |controllers: &str| controllers.split_whitespace().any(|name| name == controller);
    let found = trees_with_controllers().into_iter().find(|(_, controllers)| has(controllers));
    found.map(|(mount, _)| mount).ok_or_else(|| skip(format!("no {controller} controller here")))
}

/// Skips a test that needs root and a v2 tree, with or without controllers.
pub fn need_v2() -> Test {
    support::need_root()?;
    let v2 = trees().into_iter().any(|mount| mount.join("cgroup.subtree_control").exists());
    if v2 { Ok(()) } else { Err(skip("no cgroup v2 here")) }
}

/// Skips a test that needs root and these controllers.
pub fn need(controllers: &[&str]) -> Test {
    support::need_root()?;
    controllers.iter().try_for_each(|name| tree_of(name).map(drop))
}

/// The limit of memory that is hard even where there is swap.
pub fn ten_mib() -> Vec<&'static str> {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 { vec!["mem", "10M", "swap", "0"] } else { vec!["mem", "10M"] }
}

/// The groups of this name in all trees, at any depth.
pub fn groups_called(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = trees();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name() == name && !found.contains(&entry.path()) {
                found.push(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

/// An ordinary user, who can run cgset.
pub struct Nobody(TempDir);

impl Nobody {
    pub const UID: u32 = 65534;

    pub fn new() -> Self {
        let folder = support::scratch();
        let program = folder.path().join("cgset");
        run(Command::new("cp").arg(env!("CARGO_BIN_EXE_cgset")).arg(&program)).silent();
        for path in [folder.path(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        Self(folder)
    }

    /// The user's program, also for a script of ours that runs as the user.
    pub fn program(&self) -> String {
        self.0.path().join("cgset").display().to_string()
    }

    pub fn cgset(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(self.program());
        run(command.args(args).uid(Self::UID).gid(Self::UID).current_dir("/"))
    }
}

/// The processes in a group.
pub fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The first of these files that the group has: v1 and v2 call them differently.
#[track_caller]
pub fn control(dir: &Path, names: &[&str]) -> String {
    let found = names.iter().find_map(|name| fs::read_to_string(dir.join(name)).ok());
    found.unwrap_or_else(|| panic!("no {names:?} in {dir:?}")).trim().to_owned()
}

pub const MEMORY: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// A group name of this test alone. Its groups go with it, whatever they hold.
pub struct Name(pub String);

impl Name {
    pub fn new(what: &str) -> Self {
        Self(format!("test-cgset.{}.{what}", std::process::id()))
    }

    /// The group that cgset itself names after a process.
    pub fn of(pid: impl std::fmt::Display) -> Self {
        let namespace = fs::metadata("/proc/self/ns/pid").expect("a PID namespace").ino();
        let first = namespace == 0xEFFF_FFFC;
        Self(if first { format!("cgset-{pid}") } else { format!("cgset-{pid}-{namespace}") })
    }

    pub fn groups(&self) -> Vec<PathBuf> {
        groups_called(&self.0)
    }

    /// Those in the tree of this controller; in the v2 tree there is one in any case, to be frozen
    /// and killed by.
    pub fn groups_with(&self, controller: &str) -> Vec<PathBuf> {
        let tree = tree_of(controller).unwrap_or_else(|_| panic!("no {controller} here"));
        let mut groups = self.groups();
        groups.retain(|dir| dir.starts_with(&tree));
        groups
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        for _ in 0..200 {
            let groups = self.groups();
            if groups.is_empty() {
                return;
            }
            for dir in groups {
                clear(&dir);
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// Ends what is in a group of ours, and removes it, as far as it goes.
fn clear(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        clear(&entry.path());
    }
    for pid in members(dir) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = fs::remove_dir(dir);
}

/// A shell of ours that does `script` when it is told to go.
pub struct Waiting(Child);

impl Waiting {
    pub fn then(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read -r word; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.expect("a shell"))
    }

    pub fn idle() -> Self {
        Self::then(":")
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// The groups that it is in, as the kernel has it.
    pub fn groups(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).expect("it is alive")
    }

    /// Has it begin.
    pub fn start(&mut self) {
        let mut stdin = self.0.stdin.take().expect("piped");
        stdin.write_all(b"go\n").expect("it reads");
    }

    /// Has it begin, and waits for its end.
    pub fn go(&mut self) -> ExitStatus {
        self.start();
        self.end()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        wait(&mut self.0, Duration::from_secs(60)).expect("it ends")
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes 64 MiB of memory and touches them; then it ends.
pub const EAT: [&str; 5] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];

/// A process of ours that holds 32 MiB, and waits.
pub struct Holder(Child);

impl Holder {
    pub fn start(command: &mut Command) -> Self {
        let eat = ["if=/dev/zero", "bs=32M", "count=1"];
        let child = command.args(eat).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Self(child.expect("it starts"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a process holds its 32 MiB; the kernel counts for each thread up to 64 pages late.
#[track_caller]
pub fn until_it_holds(pid: impl std::fmt::Display) {
    eventually("it holds 32 MiB", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        (kib >= 31 << 10).then_some(())
    });
}

/// Runs cgset, and says which PID it had: its groups are named after that.
pub fn run_known(args: &[&str]) -> (String, Ran) {
    let folder = support::scratch();
    let file = folder.path().join("pid");
    let mut command = support::sh("echo $$ > \"$1\"; shift; exec \"$@\"");
    let ran = run(command.arg(&file).arg(env!("CARGO_BIN_EXE_cgset")).args(args));
    let pid = fs::read_to_string(&file).expect("the shell wrote it");
    (pid.trim().to_owned(), ran)
}
