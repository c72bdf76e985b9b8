//! What the tests against a real kernel share: a harness that can skip by name, programs run
//! with a time limit, a folder that goes away, and shell in a mount namespace of its own.
//!
//! A test makes its own folders, mounts, namespaces and groups; it signals and moves only
//! processes that it started; and it leaves the machine as it found it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Trial};
use nix::sys::signal::{kill, killpg};
use nix::unistd::{Pid, geteuid};

mod denial;

pub use denial::{denied, deny_tools, need_no_filter, note};
pub use nix::sys::signal::Signal;
pub use tempfile::TempDir;

/// Why a test can't run here.
#[derive(Debug)]
pub struct Skip(String);

/// What a test returns: it panics to fail.
pub type Test = Result<(), Skip>;

/// Ends a test that can't run here; the reason is printed, and it counts as ignored.
pub fn skip(why: impl Into<String>) -> Skip {
    Skip(why.into())
}

/// Runs the tests that are named, as cargo's own harness would, and prints the skipped ones.
#[macro_export]
macro_rules! tests {
    ($($name:path),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::run_all(vec![$((stringify!($name), $name)),*])
        }
    };
}

/// A test and its name.
pub type NamedTest = (&'static str, fn() -> Test);

/// What [`tests!`] calls.
#[must_use]
pub fn run_all(tests: Vec<NamedTest>) -> ExitCode {
    run_each(tests.into_iter().map(|(name, test)| (name.to_string(), test)))
}

/// The same for tests whose names are made.
#[must_use]
pub fn run_each<T>(tests: impl IntoIterator<Item = (String, T)>) -> ExitCode
where
    T: FnOnce() -> Test + Send + 'static,
{
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::ignorable_test(name.clone(), move || match denial::judge(&name, test) {
                Ok(()) => Ok(Completion::Completed),
                Err(Skip(why)) => {
                    eprintln!("skipped {name}: {why}");
                    Ok(Completion::ignored_with(why))
                }
            })
        })
        .collect();
    let mut arguments = Arguments::from_args();
    denial::begin();
    if denied().is_some() {
        arguments.test_threads = Some(1); // what is left is the last test's
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    denial::end();
    conclusion.exit_code()
}

/// Skips a test that only root can run.
pub fn need_root() -> Test {
    if geteuid().is_root() { Ok(()) } else { Err(skip("needs root")) }
}

/// Skips a test whose helper program is not installed; gives its path.
pub fn need_program(name: &str) -> Result<PathBuf, Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| skip(format!("needs the program {name}")))
}

/// A published archive, from `$ROOTFS_ARCHIVES` or the folder `shared/rootfs` beside the project.
pub fn archive(name: &str) -> Result<PathBuf, Skip> {
    let folder = std::env::var_os("ROOTFS_ARCHIVES")
        .map_or_else(|| project().join("../shared/rootfs"), PathBuf::from);
    let file = folder.join(name);
    if file.exists() { Ok(file) } else { Err(skip(format!("needs the archive {file:?}"))) }
}

/// Alpine's mini root, extracted by GNU tar. It has no etc/resolv.conf.
pub fn alpine() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    let file = archive("alpine-minirootfs-3.20.3-x86_64.tar.gz")?;
    run(Command::new("tar").arg("-xpf").arg(file).arg("-C").arg(folder.path())).silent();
    Ok(folder)
}

/// The top folder of the project.
#[must_use]
pub fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A new folder that goes away with the value.
///
/// # Panics
/// If it can't be made.
#[must_use]
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("container-tools-test-").tempdir().expect("a temporary folder")
}

/// What a program did. Its methods panic where the program did not do what they insist on.
#[derive(Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit status as the shell has it: 128+N where a signal ended the program.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

#[allow(clippy::missing_panics_doc, reason = "to panic is what they are for")]
impl Ran {
    /// It was silent but for so many lines of `--explain`, each with a command of this script.
    #[track_caller]
    pub fn explains(&self, lines: usize, script: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (0, ""));
        assert_eq!(self.stderr.lines().count(), lines, "{self:?}");
        for line in self.stderr.lines() {
            let command = line.strip_prefix("+ ").and_then(|line| line.split("  # ").next());
            assert!(
                script.contains(command.expect("a command and its reason")),
                "{line}\n{script}"
            );
        }
    }

    /// Insists on success, with nothing said; gives what was printed.
    #[track_caller]
    pub fn silent(self) -> String {
        assert!(self.status == 0 && self.stderr.is_empty(), "{self:?}");
        self.stdout
    }

    /// Insists on success; gives what was printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "{self:?}");
        self.stdout
    }

    /// Insists on the contract's error: a status, `TOOL: what` on one line that has all of
    /// `parts`, at most one `hint:` line after it, and nothing on standard output.
    #[track_caller]
    pub fn fails(&self, status: i32, tool: &str, parts: &[&str]) {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let one_line = matches!(lines.as_slice(), [_] | [_, _])
            && lines[0].starts_with(&format!("{tool}: "))
            && lines.get(1).is_none_or(|hint| hint.starts_with("hint: "));
        let all = parts.iter().all(|part| self.stderr.contains(part));
        assert!(
            self.status == status && self.stdout.is_empty() && one_line && all,
            "wanted status {status}, one line by {tool} and {parts:?}; got {self:?}"
        );
    }
}

/// Runs a program to its end, at most a minute, with no standard input.
///
/// # Panics
/// If it can't be started, or takes longer: then it and what it started are killed.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_with_input(command, b"")
}

/// Runs a program to its end with this standard input.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let (stdin, input) = (child.stdin.take(), input.to_vec());
    let feed = thread::spawn(move || {
        // A program that does not read its input is not at fault.
        let _ = io::copy(&mut input.as_slice(), &mut stdin.expect("piped"));
    });
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait(&mut child, Duration::from_secs(60))
        .unwrap_or_else(|| panic!("still running after a minute: {command:?}"));
    feed.join().expect("the feeding thread");
    let ran = Ran {
        status: shells(status),
        stdout: stdout.join().expect("the reading thread"),
        stderr: stderr.join().expect("the reading thread"),
    };
    note(&ran);
    ran
}

/// A status as the shell has it.
#[must_use]
pub fn shells(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Waits for a child that leads its process group; kills the group when the time is over.
///
/// # Panics
/// If the child can't be waited for.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if Instant::now() > end {
            let group = Pid::from_raw(i32::try_from(child.id()).expect("a PID"));
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(3));
    }
}

/// Sends a signal to a child that has not been waited for, or to the process group that it leads.
///
/// # Panics
/// If the kernel refuses.
pub fn send(child: &Child, signal: Signal, group: bool) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a PID"));
    let sent = if group { killpg(pid, signal) } else { kill(pid, signal) };
    sent.expect("our own child");
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A shell script in a mount namespace of its own: what it mounts is gone when it ends.
#[must_use]
pub fn private_sh(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-e", "-c", script, "sh"]);
    command
}

/// A shell script; `$1`, `$2` … are the arguments added to the command.
#[must_use]
pub fn sh(script: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-e", "-c"]).arg(script).arg("sh");
    command
}

/// Waits, at most ten seconds, until something is so.
///
/// # Panics
/// If it never is.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not so after ten seconds: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
