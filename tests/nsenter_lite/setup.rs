//! What the tests need: the tool, an ordinary user, a container that waits.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Ran, TempDir, Test, eventually, need_root, note, run, scratch, skip, wait};

pub const KINDS: [(&str, &str); 8] = [
    ("-m", "mnt"),
    ("-u", "uts"),
    ("-i", "ipc"),
    ("-n", "net"),
    ("-p", "pid"),
    ("-U", "user"),
    ("-C", "cgroup"),
    ("-T", "time"),
];
pub const NOBODY: u32 = 65534;

pub fn tool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nsenter-lite"))
}

pub fn with(options: &[&str], script: &str) -> Ran {
    run(tool().args(options).args(["--", "sh", "-c", script]))
}

/// Whether ordinary users can make user namespaces here at all.
pub fn need_user_namespaces() -> Test {
    need_root()?;
    let mut unshare = Command::new("unshare");
    match run(unshare.args(["-r", "true"]).uid(NOBODY).gid(NOBODY)).status {
        0 => Ok(()),
        _ => Err(skip("ordinary users can make no user namespaces here")),
    }
}

/// The program where an ordinary user can run it, and a folder of theirs.
pub fn as_nobody() -> (TempDir, impl Fn() -> Command) {
    let folder = scratch();
    let program = folder.path().join("nsenter-lite");
    // Not by fs::copy: a child that another test forks meanwhile would hold the file open for
    // writing, and the kernel runs no such file (ETXTBSY).
    run(Command::new("cp").arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg(&program)).silent();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("we are root");
    (folder, move || {
        let mut command = Command::new(&program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    })
}

/// Prints, for each kind, its link.
pub const LINKS: &str =
    "for n in mnt uts ipc net pid user cgroup time; do readlink /proc/self/ns/$n; done";

pub fn own_links() -> Vec<String> {
    links_of("self")
}

pub fn links_of(process: impl std::fmt::Display) -> Vec<String> {
    let link = |name| fs::read_link(format!("/proc/{process}/ns/{name}")).expect("a namespace");
    KINDS.iter().map(|(_, name)| link(name).to_string_lossy().into_owned()).collect()
}

/// A container whose COMMAND is held by its standard input; killed with the value.
pub struct Container {
    pub launcher: Child,
    pub pid: i32,
    _folder: TempDir,
}

impl Container {
    pub fn start(options: &[&str], command: &[&str]) -> Self {
        Self::launch(tool(), options, command)
    }

    pub fn launch(mut program: Command, options: &[&str], command: &[&str]) -> Self {
        let folder = scratch();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
        let file = folder.path().join("pid");
        program.args(options).arg("--pid-file").arg(&file).arg("--").args(command);
        let said = File::create(folder.path().join("said")).expect("ours");
        program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said).process_group(0);
        let mut launcher = program.spawn().expect("the tool starts");
        let text = eventually("there is a PID file", || {
            let ended = launcher.try_wait().expect("our own child");
            let text = fs::read_to_string(&file).ok();
            if let (None, Some(status)) = (&text, ended) {
                has_failed(status, &folder.path().join("said"));
            }
            text
        });
        Self { launcher, pid: text.trim_end().parse().expect("a PID"), _folder: folder }
    }

    /// Started, and past the setting up of its handlers.
    pub fn with_trap(options: &[&str], script: &str) -> Self {
        let ready = scratch();
        let mark = ready.path().join("ready");
        // Without children: they would end, and send SIGCHLD.
        let never = ready.path().join("never");
        run(Command::new("mkfifo").arg(&never)).silent();
        let script = format!(
            "exec 3<>{}; {script}; : >{}; while :; do read -r _ <&3; done",
            never.display(),
            mark.display()
        );
        let container = Self::start(options, &["sh", "-c", &script]);
        eventually("the command has set its traps", || mark.exists().then_some(()));
        container
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.launcher.id()).expect("a PID");
        kill(Pid::from_raw(pid), signal).expect("our own child");
    }

    pub fn end(&mut self) -> i32 {
        let status = wait(&mut self.launcher, Duration::from_secs(10)).expect("it ends");
        shells(status)
    }

    pub fn namespace(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/ns/pid", self.pid)).expect("a namespace")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// Runs a tool that ends at once, and leaves a command behind. Nobody waits for the end of what
/// that prints.
pub fn start(command: &mut Command) {
    let folder = scratch();
    let said = folder.path().join("said");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).expect("ours"));
    let status = command.status().expect("the tool starts");
    if !status.success() {
        has_failed(status, &said);
    }
}

/// A tool has ended that should not have.
fn has_failed(status: ExitStatus, said: &Path) -> ! {
    let stderr = fs::read_to_string(said).expect("ours");
    let ran = Ran { status: support::shells(status), stdout: String::new(), stderr };
    note(&ran);
    panic!("{ran:?}");
}

/// The child of a process that has one.
pub fn only_child(of: impl std::fmt::Display) -> i32 {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    children.expect("it runs").trim_end().parse().expect("one child")
}

/// A zombie that its new parent has not looked at yet is dead.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub fn shells(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
}

/// Whether a process is there, forked or executed, that has this very word on its command line:
/// another test may run one with a longer word at the same time.
pub fn has_word(word: &str) -> bool {
    fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.bytes().all(|byte| byte.is_ascii_digit())
            && fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
    })
}

/// Processes that live in this PID namespace.
pub fn members(namespace: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    all.map(|entry| entry.path())
        .filter(|path| fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == namespace))
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// A container with something to see in each of its namespaces.
pub fn to_be_entered() -> Container {
    let folder = scratch();
    let mark = folder.path().join("ready");
    let script = format!("mount -t tmpfs marked /mnt && : >{} && read line", mark.display());
    let options = ["-muinpCT", "--mount-proc", "--hostname", "box"];
    let container = Container::start(&options, &["sh", "-c", &script]);
    eventually("it is set up", || mark.exists().then_some(()));
    container
}
