//! Black-box tests of nsenter-lite against the real kernel.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use support::{
    Ran, TempDir, Test, eventually, need_program, need_root, run, run_with_input, scratch, sh,
    skip, wait,
};

support::tests!(
    each_letter_makes_its_namespace_and_no_other,
    the_command_is_pid_1_and_sees_only_its_own_processes,
    mounts_inside_are_not_seen_outside,
    proc_is_never_mounted_through_a_symbolic_link,
    the_host_name_is_set_inside_only,
    an_ordinary_user_is_root_inside,
    an_ordinary_user_stays_oneself_inside,
    setgroups_is_denied_or_left_alone,
    the_pid_file_is_there_before_the_command,
    the_pid_file_harms_nobody,
    the_default_command_is_the_shell,
    statuses_are_those_of_the_command,
    a_signal_that_the_command_leaves_to_the_default_ends_it,
    a_signal_that_the_command_handles_reaches_it,
    a_signal_that_the_caller_ignores_stays_ignored,
    nothing_is_left_when_the_command_ends,
    a_killed_launcher_takes_the_command_along,
    the_status_is_known_when_the_caller_ignores_children,
    the_world_is_handed_on_unchanged,
    the_terminal_comes_back_from_a_shell_that_was_pid_1,
    control_c_ends_a_command_and_not_a_shell,
    a_process_is_entered_in_all_its_namespaces,
    a_process_is_entered_by_letters,
    an_ordinary_user_enters_what_is_theirs,
    wrong_usage_is_one_line,
    wrong_pids_are_told_apart,
    without_privileges_it_says_so,
    a_pid_namespace_whose_init_has_ended_is_explained,
    the_dry_run_script_does_the_same,
    the_dry_run_script_writes_the_pid_of_outside,
    the_dry_run_script_enters_the_same,
    explain_and_dry_run_say_the_same,
    a_dry_run_changes_nothing,
);

const KINDS: [(&str, &str); 8] = [
    ("-m", "mnt"),
    ("-u", "uts"),
    ("-i", "ipc"),
    ("-n", "net"),
    ("-p", "pid"),
    ("-U", "user"),
    ("-C", "cgroup"),
    ("-T", "time"),
];
const NOBODY: u32 = 65534;

fn tool() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nsenter-lite"))
}

fn with(options: &[&str], script: &str) -> Ran {
    run(tool().args(options).args(["--", "sh", "-c", script]))
}

/// Whether ordinary users can make user namespaces here at all.
fn need_user_namespaces() -> Test {
    need_root()?;
    let mut unshare = Command::new("unshare");
    match run(unshare.args(["-r", "true"]).uid(NOBODY).gid(NOBODY)).status {
        0 => Ok(()),
        _ => Err(skip("ordinary users can make no user namespaces here")),
    }
}

/// The program where an ordinary user can run it, and a folder of theirs.
fn as_nobody() -> (TempDir, impl Fn() -> Command) {
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
const LINKS: &str =
    "for n in mnt uts ipc net pid user cgroup time; do readlink /proc/self/ns/$n; done";

fn own_links() -> Vec<String> {
    links_of("self")
}

fn links_of(process: impl std::fmt::Display) -> Vec<String> {
    let link = |name| fs::read_link(format!("/proc/{process}/ns/{name}")).expect("a namespace");
    KINDS.iter().map(|(_, name)| link(name).to_string_lossy().into_owned()).collect()
}

fn each_letter_makes_its_namespace_and_no_other() -> Test {
    need_root()?;
    let ours = own_links();
    for (letter, name) in KINDS {
        let inside = with(&[letter], LINKS).silent();
        for ((_, kind), (inside, ours)) in KINDS.iter().zip(inside.lines().zip(&ours)) {
            assert!(inside.starts_with(kind), "{inside}");
            assert_eq!(*kind == name, inside != ours, "{letter} and {kind}: {inside} {ours}");
        }
    }
    let long = "--mount --uts --ipc --net --pid --user --cgroup --time";
    let inside = with(&long.split(' ').collect::<Vec<_>>(), LINKS).silent();
    assert!(inside.lines().zip(&ours).all(|(inside, ours)| inside != ours), "{inside}");
    assert_eq!(inside.lines().count(), 8);
    Ok(())
}

fn the_command_is_pid_1_and_sees_only_its_own_processes() -> Test {
    need_root()?;
    let script = "echo $$; for p in /proc/[0-9]*; do echo ${p#/proc/}; done; cat /proc/1/comm";
    for options in [&["-f", "-p", "--mount-proc"][..], &["-p", "--mount-proc=/proc"]] {
        assert_eq!(with(options, script).silent(), "1\n1\nsh\n", "{options:?}");
    }
    let options = with(&["-p", "--mount-proc"], "grep ' /proc ' /proc/self/mounts | tail -n 1");
    assert_eq!(options.silent(), "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n");
    let rootfs = scratch();
    let proc = rootfs.path().join("proc");
    fs::create_dir(&proc).expect("a new folder");
    let at = format!("--mount-proc={}/", proc.display());
    let seen = run(tool().args(["-fp", &at, "ls"]).arg(&proc)).silent();
    assert!(seen.starts_with("1\nacpi") || seen.starts_with("1\nbuddyinfo"), "{seen}");
    assert_eq!(fs::read_dir(&proc).expect("it is there").count(), 0, "not seen outside");
    Ok(())
}

fn mounts_inside_are_not_seen_outside() -> Test {
    need_root()?;
    let folder = scratch();
    let mounted = |options: &str| {
        // A shared mount, as / is on many systems, in a mount namespace of the test's own.
        let script = format!(
            "mount -t tmpfs outside \"$1\"; mount --make-shared \"$1\"; mkdir \"$1/in\"
            \"$2\" --mount {options} mount -t tmpfs inside \"$1/in\"; grep -c inside /proc/mounts || :"
        );
        let mut command = support::private_sh(&script);
        run(command.arg(folder.path()).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent()
    };
    for options in ["", "--propagation private", "--propagation slave"] {
        assert_eq!(mounted(options), "0\n", "{options}");
    }
    for options in ["--propagation shared", "--propagation unchanged"] {
        assert_eq!(mounted(options), "1\n", "{options}");
    }
    Ok(())
}

fn proc_is_never_mounted_through_a_symbolic_link() -> Test {
    need_root()?;
    let folder = scratch();
    let (victim, link) = (folder.path().join("victim"), folder.path().join("proc"));
    fs::create_dir(&victim).expect("a new folder");
    symlink(&victim, &link).expect("a new link");
    for end in ["", "/", "/."] {
        let at = format!("--mount-proc={}{end}", link.display());
        let ran = run(tool().args(["-p", &at, "true"]));
        ran.fails(125, "nsenter-lite", &["mount proc on", "(ENOTDIR)", "symbolic link"]);
    }
    let missing = format!("--mount-proc={}/none", victim.display());
    run(tool().args(["-p", &missing, "true"])).fails(125, "nsenter-lite", &["ENOENT", "mkdir"]);
    Ok(())
}

fn the_host_name_is_set_inside_only() -> Test {
    need_root()?;
    let host = run(&mut Command::new("hostname")).silent();
    assert_eq!(with(&["--hostname", "box"], "hostname").silent(), "box\n");
    assert_eq!(run(&mut Command::new("hostname")).silent(), host);
    let long = "x".repeat(65);
    run(tool().args(["--hostname", &long, "true"])).fails(125, "nsenter-lite", &[&long, "64"]);
    Ok(())
}

const WHO: &str = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups";

fn who(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn an_ordinary_user_is_root_inside() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let ran = run(nobody().args(["-r", "sh", "-c", WHO])).silent();
    assert_eq!(who(&ran), ["0", "0", "0 65534 1", "0 65534 1", "deny"]);
    assert_eq!(
        ran,
        run(Command::new("unshare").args(["-r", "sh", "-c", WHO]).uid(NOBODY).gid(NOBODY)).silent()
    );
    let all = [
        "-r",
        "-muipC",
        "--mount-proc",
        "--hostname",
        "box",
        "sh",
        "-c",
        "echo $$; hostname; id -u",
    ];
    assert_eq!(run(nobody().args(all)).silent(), "1\nbox\n0\n");
    let root = with(&["--map-root-user"], WHO).silent();
    assert_eq!(who(&root), ["0", "0", "0 0 1", "0 0 1", "deny"]);
    Ok(())
}

fn an_ordinary_user_stays_oneself_inside() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    for option in ["-c", "--map-current-user"] {
        let ran = run(nobody().args([option, "sh", "-c", WHO])).silent();
        assert_eq!(who(&ran), ["65534", "65534", "65534 65534 1", "65534 65534 1", "deny"]);
    }
    Ok(())
}

fn setgroups_is_denied_or_left_alone() -> Test {
    need_root()?;
    let word = "cat /proc/self/setgroups";
    assert_eq!(with(&["-U"], word).silent(), "allow\n");
    assert_eq!(with(&["-U", "--setgroups", "allow"], word).silent(), "allow\n");
    assert_eq!(with(&["-U", "--setgroups=deny"], word).silent(), "deny\n");
    Ok(())
}

/// A container whose COMMAND is held by its standard input; killed with the value.
struct Container {
    launcher: Child,
    pid: i32,
    _folder: TempDir,
}

impl Container {
    fn start(options: &[&str], command: &[&str]) -> Self {
        Self::launch(tool(), options, command)
    }

    fn launch(mut program: Command, options: &[&str], command: &[&str]) -> Self {
        let folder = scratch();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
        let file = folder.path().join("pid");
        program.args(options).arg("--pid-file").arg(&file).arg("--").args(command);
        program.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let launcher = program.spawn().expect("the tool starts");
        let text = eventually("there is a PID file", || fs::read_to_string(&file).ok());
        Self { launcher, pid: text.trim_end().parse().expect("a PID"), _folder: folder }
    }

    /// Started, and past the setting up of its handlers.
    fn with_trap(options: &[&str], script: &str) -> Self {
        let ready = scratch();
        let mark = ready.path().join("ready");
        let script = format!("{script}; : >{}; while :; do sleep 0.05; done", mark.display());
        let container = Self::start(options, &["sh", "-c", &script]);
        eventually("the command has set its traps", || mark.exists().then_some(()));
        container
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.launcher.id()).expect("a PID");
        kill(Pid::from_raw(pid), signal).expect("our own child");
    }

    fn end(&mut self) -> i32 {
        let status = wait(&mut self.launcher, Duration::from_secs(10)).expect("it ends");
        shells(status)
    }

    fn namespace(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/ns/pid", self.pid)).expect("a namespace")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// A zombie that its new parent has not looked at yet is dead.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn shells(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
}

/// Processes that live in this PID namespace.
fn members(namespace: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    all.map(|entry| entry.path())
        .filter(|path| fs::read_link(path.join("ns/pid")).is_ok_and(|link| link == namespace))
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

fn the_pid_file_is_there_before_the_command() -> Test {
    need_root()?;
    let folder = scratch();
    let file = folder.path().join("it's a pid");
    for options in [&["-p"][..], &["-f"], &["-u"], &["-p", "--mount-proc"], &["-r", "-p"]] {
        let mut command = tool();
        command.args(options).arg("--pid-file").arg(&file).args(["cat"]).arg(&file);
        let text = run(&mut command).silent();
        let pid: i32 = text.trim_end().parse().expect("a number");
        assert!(pid > 1 && text == format!("{pid}\n"), "{options:?}: {text}");
        assert_eq!(fs::read_to_string(&file).expect("it is left there"), text);
        fs::remove_file(&file).expect("ours");
    }
    let container = Container::start(&["-p", "--mount-proc"], &["sh", "-c", "read line"]);
    assert_ne!(container.namespace(), fs::read_link("/proc/self/ns/pid").expect("ours"));
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("there");
    assert!(status.contains(&format!("NSpid:\t{}\t1\n", container.pid)), "{status}");
    assert!(status.contains(&format!("PPid:\t{}\n", container.launcher.id())), "{status}");
    let mut own = tool();
    own.args(["-u", "--pid-file"]).arg(&file).args(["sh", "-c", "echo $$; cat \"$0\""]).arg(&file);
    let text = run(&mut own).silent();
    let (pid, written) = text.split_once('\n').expect("two lines");
    assert_eq!(format!("{pid}\n"), written);
    Ok(())
}

fn the_pid_file_harms_nobody() -> Test {
    need_root()?;
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    let with_file = |file: &Path, command: &[&str]| {
        run(tool().arg("-p").arg("--pid-file").arg(file).args(command))
    };
    let missing = with_file(&at("none/pid"), &["touch", &at("ran").to_string_lossy()]);
    missing.fails(125, "nsenter-lite", &["write the PID file", "none/pid\"", "(ENOENT)"]);
    assert!(!at("ran").exists(), "the command must not run");

    with_file(&at("pid"), &["/no/such/program"]).fails(127, "nsenter-lite", &["ENOENT"]);
    with_file(&at("pid"), &["/etc"]).fails(126, "nsenter-lite", &["EACCES"]);
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0, "nothing half done is left");

    fs::write(at("precious"), "precious").expect("ours");
    symlink(at("precious"), at("pid")).expect("ours");
    with_file(&at("pid"), &["true"]).silent();
    assert_eq!(fs::read_to_string(at("precious")).expect("still there"), "precious");
    assert!(fs::symlink_metadata(at("pid")).expect("a file").is_file());

    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("ours");
    let script = "cat \"$1\" & \"$2\" -p --pid-file \"$1\" true; wait";
    let read = run(sh(script).arg(at("fifo")).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent();
    assert!(read.trim_end().parse::<u32>().is_ok(), "{read}");
    assert!(fs::metadata(at("fifo")).expect("still there").file_type().is_fifo());

    // Where a mistake would harm the machine: in a copy of /dev, and with output to a file.
    let script = "mount -t tmpfs d \"$1\"; ln -s /proc/self/fd/1 \"$1/stdout\"
        \"$2\" -p --pid-file \"$1/stdout\" true >\"$1/out\"; readlink \"$1/stdout\"; cat \"$1/out\"";
    let mut command = support::private_sh(script);
    let read = run(command.arg(folder.path()).arg(env!("CARGO_BIN_EXE_nsenter-lite"))).silent();
    let pid = read.strip_prefix("/proc/self/fd/1\n").expect("the link is left alone");
    assert!(pid.trim_end().parse::<u32>().is_ok(), "{read}");
    Ok(())
}

fn the_default_command_is_the_shell() -> Test {
    need_root()?;
    let ran = run_with_input(tool().arg("-u").env("SHELL", "/bin/sh"), b"echo $0; exit 7\n");
    assert_eq!((ran.status, ran.stdout.as_str()), (7, "/bin/sh\n"));
    let ran = run_with_input(tool().arg("-p").env_remove("SHELL"), b"echo $0 $$\n");
    assert_eq!(ran.silent(), "/bin/sh 1\n");
    Ok(())
}

fn statuses_are_those_of_the_command() -> Test {
    need_root()?;
    for options in [&["-u"][..], &["-f"], &["-p"], &["-T"], &["-p", "-r", "--mount-proc"]] {
        for status in [0, 1, 42, 125, 255] {
            assert_eq!(with(options, &format!("exit {status}")).status, status, "{options:?}");
        }
        let not_found = run(tool().args(options).arg("/no/such/program"));
        not_found.fails(127, "nsenter-lite", &["run \"/no/such/program\"", "(ENOENT)"]);
        run(tool().args(options).arg("no-such-program")).fails(127, "nsenter-lite", &["PATH"]);
        run(tool().args(options).arg("/etc")).fails(126, "nsenter-lite", &["(EACCES)"]);
    }
    assert_eq!(with(&["-f"], "kill -KILL $$").status, 137);
    assert_eq!(with(&["-f"], "kill -TERM $$").status, 143);
    Ok(())
}

fn a_signal_that_the_command_leaves_to_the_default_ends_it() -> Test {
    need_root()?;
    let ending = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ];
    for options in [&["-p"][..], &["-p", "--mount-proc"], &["-f"], &["-p", "-r"]] {
        for signal in ending {
            let mut container = Container::start(options, &["sleep", "60"]);
            container.signal(signal);
            assert_eq!(container.end(), 128 + signal as i32, "{options:?} {signal}");
            assert!(!Path::new(&format!("/proc/{}", container.pid)).exists(), "{signal}");
        }
    }
    let mut container = Container::start(&["-p"], &["sh", "-c", "read line; exit 6"]);
    container.signal(Signal::SIGWINCH);
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 6, "SIGWINCH ends nobody");
    Ok(())
}

fn a_signal_that_the_command_handles_reaches_it() -> Test {
    need_root()?;
    for options in [&["-p"][..], &["-p", "--mount-proc"], &["-f"]] {
        for name in ["TERM", "INT", "HUP", "USR1"] {
            let mut container = Container::with_trap(options, &format!("trap 'exit 7' {name}"));
            container.signal(format!("SIG{name}").parse().expect("a signal"));
            assert_eq!(container.end(), 7, "{options:?} {name}");
        }
    }
    // One that waits to be fetched, as by sigwait(3), is passed on too: it is another launcher.
    let program = env!("CARGO_BIN_EXE_nsenter-lite");
    let mut nested = Container::start(&["-p"], &[program, "-p", "sleep", "60"]);
    let namespace = nested.namespace();
    eventually("the inner command runs", || {
        let comm = fs::read_to_string(format!("/proc/{0}/task/{0}/children", nested.pid)).ok()?;
        let comm = fs::read_to_string(format!("/proc/{}/comm", comm.trim())).ok()?;
        (comm == "sleep\n").then_some(())
    });
    nested.signal(Signal::SIGTERM);
    assert_eq!(nested.end(), 143);
    assert_eq!(members(&namespace), [""; 0]);
    Ok(())
}

fn a_signal_that_the_caller_ignores_stays_ignored() -> Test {
    need_root()?;
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_nsenter-lite")]);
    let mut container = Container::launch(nohup, &["-p"], &["sh", "-c", "read line; exit 5"]);
    container.signal(Signal::SIGHUP);
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 5);
    Ok(())
}

fn nothing_is_left_when_the_command_ends() -> Test {
    need_root()?;
    let container =
        Container::start(&["-p"], &["sh", "-c", "sleep 60 & sleep 60 & read line; exit 3"]);
    let namespace = container.namespace();
    eventually("all are there", || (members(&namespace).len() == 3).then_some(()));
    let mut container = container;
    container.launcher.stdin.take().expect("piped").write_all(b"go\n").expect("it reads");
    assert_eq!(container.end(), 3);
    assert_eq!(members(&namespace), [""; 0]);
    Ok(())
}

fn a_killed_launcher_takes_the_command_along() -> Test {
    need_root()?;
    for options in
        [&["-p"][..], &["-p", "--mount-proc"], &["-f", "--kill-child"], &["--kill-child=TERM"]]
    {
        let mut container = Container::start(options, &["sleep", "60"]);
        container.signal(Signal::SIGKILL);
        let start = Instant::now();
        assert_eq!(container.end(), -9);
        eventually("the command is gone", || (!is_alive(container.pid)).then_some(()));
        assert!(start.elapsed() < Duration::from_secs(1), "{options:?}");
    }
    Ok(())
}

fn the_status_is_known_when_the_caller_ignores_children() -> Test {
    need_root()?;
    need_program("env")?;
    let ran = run(Command::new("env").args([
        "--ignore-signal=CHLD",
        env!("CARGO_BIN_EXE_nsenter-lite"),
        "-p",
        "sh",
        "-c",
        "exit 42",
    ]));
    assert_eq!(ran.status, 42);
    let blocked = run(Command::new("env").args([
        "--block-signal=CHLD",
        env!("CARGO_BIN_EXE_nsenter-lite"),
        "-p",
        "true",
    ]));
    assert_eq!(blocked.status, 0);
    Ok(())
}

fn the_world_is_handed_on_unchanged() -> Test {
    need_root()?;
    let report = "grep -E 'Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Groups' /proc/self/status; umask; pwd; \
        env | grep -v '^_='; for f in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/self/fd/$f && echo $f; done; :";
    for before in [
        ":",
        "trap '' PIPE",
        "umask 077; cd /etc",
        "exec <&-",
        "exec 2>&-",
        "trap '' INT TERM; exec 7</dev/null",
    ] {
        let script = format!("{before}; exec \"$@\"");
        let block = ["env", "--block-signal=USR1,CHLD"];
        let report = ["sh", "-c", report];
        let plain = run(sh(&script).args(block).args(report)).ok();
        for options in ["-p", "-u", "-f"] {
            let program = [env!("CARGO_BIN_EXE_nsenter-lite"), options, "--"];
            let ours = run(sh(&script).args(block).args(program).args(report)).ok();
            assert_eq!(ours, plain, "{before} {options}");
        }
    }
    Ok(())
}

/// Runs a script on a terminal of its own, with somebody who types.
fn on_a_terminal(typing: &str, script: &str) -> Result<String, support::Skip> {
    need_root()?;
    need_program("script")?;
    need_program("bash")?;
    let command = format!("({typing}) | script -qec \"$1\" /dev/null");
    let script = script.replace("TOOL", env!("CARGO_BIN_EXE_nsenter-lite"));
    Ok(run(sh(command).arg(script)).stdout.replace('\r', ""))
}

fn the_terminal_comes_back_from_a_shell_that_was_pid_1() -> Test {
    let typing = "sleep 0.7; echo 'exit 3'; sleep 0.7; echo hello";
    let script = "sh -c 'TOOL -p bash --norc -i; echo status $?; read line; echo got $line'";
    let seen = on_a_terminal(typing, script)?;
    assert!(seen.contains("status 3\n") && seen.contains("got hello\n"), "{seen}");
    Ok(())
}

fn control_c_ends_a_command_and_not_a_shell() -> Test {
    let typing = "sleep 0.7; printf '\\003'; sleep 0.5";
    let seen = on_a_terminal(typing, "sh -c 'trap : INT; TOOL -p sleep 20; echo status $?'")?;
    assert!(seen.contains("status 130\n"), "{seen}");
    let typing =
        "sleep 0.7; printf '\\003'; sleep 0.5; echo 'echo still h\"\"ere; exit 4'; sleep 0.5";
    let seen = on_a_terminal(typing, "sh -c 'trap : INT; TOOL -p bash --norc -i; echo status $?'")?;
    assert!(seen.contains("still here\n") && seen.contains("status 4\n"), "{seen}");
    Ok(())
}

/// A container with something to see in each of its namespaces.
fn to_be_entered() -> Container {
    let folder = scratch();
    let mark = folder.path().join("ready");
    let script = format!("mount -t tmpfs marked /mnt && : >{} && read line", mark.display());
    let options = ["-muinpCT", "--mount-proc", "--hostname", "box"];
    let container = Container::start(&options, &["sh", "-c", &script]);
    eventually("it is set up", || mark.exists().then_some(()));
    container
}

fn a_process_is_entered_in_all_its_namespaces() -> Test {
    need_root()?;
    let container = to_be_entered();
    let pid = container.pid.to_string();
    let script = format!("hostname; grep -c marked /proc/mounts; pwd; cat /proc/1/comm; {LINKS}");
    let inside = with(&["-t", &pid, "-a"], &script).silent();
    let wanted = ["box", "1", "/", "sh"].map(String::from).into_iter();
    let wanted: Vec<String> = wanted.chain(links_of(container.pid)).collect();
    assert_eq!(inside.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(with(&["--target", &pid, "--all"], "exit 42").status, 42);
    assert_eq!(with(&["-t", &pid, "-a"], "kill -TERM $$").status, 143, "it is no PID 1");
    let rootless = Container::start(&["-r", "-u", "-p"], &["sh", "-c", "read line"]);
    let pid = rootless.pid.to_string();
    let script = "id -u; id -G; readlink /proc/self/ns/user";
    let inside = with(&["-t", &pid, "-a"], script).silent();
    assert_eq!(inside, format!("0\n0\n{}\n", links_of(rootless.pid)[5]));
    Ok(())
}

fn a_process_is_entered_by_letters() -> Test {
    need_root()?;
    let container = to_be_entered();
    // With the mounts alone, there would be a /proc in which we are not.
    let kinds = KINDS.iter().enumerate().filter(|(_, (_, name))| !["user", "mnt"].contains(name));
    let (ours, theirs) = (own_links(), links_of(container.pid));
    let pid = container.pid.to_string();
    for (index, (letter, name)) in kinds {
        let read = if *letter == "-p" { "-pm" } else { letter };
        let inside = with(&["-t", &pid, read], LINKS).silent();
        for (at, link) in inside.lines().enumerate() {
            let entered = at == index || (*letter == "-p" && at == 0);
            assert_eq!(link, if entered { &theirs[at] } else { &ours[at] }, "{name}");
        }
    }
    assert_eq!(with(&["-t", &pid, "-u"], "hostname").silent(), "box\n");
    let number = with(&["-t", &pid, "-p"], "echo $$").silent();
    assert!(number.trim().parse::<u32>().is_ok_and(|number| number < 100), "{number}");
    let outside = with(&["-t", &pid, "-p", "-F"], "echo $$ $(sh -c 'echo $$')").silent();
    let numbers: Vec<u32> = outside.split_whitespace().flat_map(str::parse).collect();
    assert!(numbers[0] > numbers[1], "only the children are inside: {outside}");
    let own = std::process::id().to_string();
    assert_eq!(with(&["-t", &own, "-a"], "exit 9").status, 9, "all are ours already");
    Ok(())
}

fn an_ordinary_user_enters_what_is_theirs() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let options = ["-r", "-u", "-p", "-m", "--mount-proc", "--hostname", "box"];
    let container = Container::launch(nobody(), &options, &["sh", "-c", "read line"]);
    let pid = container.pid.to_string();
    eventually("it has its name", || {
        let ran =
            run(nobody().args(["-t", &pid, "-a", "sh", "-c", "hostname; id -u; cat /proc/1/comm"]));
        (ran.stdout == "box\n0\nsh\n").then_some(())
    });
    run(nobody().args(["-t", &pid, "-u", "true"])).fails(125, "nsenter-lite", &["(EPERM)", "-a"]);
    let kept = run(nobody().args(["-t", &pid, "-a", "--preserve-credentials", "id", "-u"]));
    assert_eq!(kept.silent(), "0\n", "the same user, seen from inside");
    let init = run(nobody().args(["-t", "1", "-a", "true"]));
    init.fails(125, "nsenter-lite", &["look at the namespaces of process 1", "(EACCES)"]);
    Ok(())
}

fn wrong_usage_is_one_line() -> Test {
    for (words, part) in [
        ("", "no namespace asked for"),
        ("true", "no namespace asked for"),
        ("--no-such-flag true", "--no-such-flag"),
        ("-p --mount=file true", "--mount"),
        ("--propagation sideways -m true", "sideways"),
        ("--setgroups maybe -U true", "maybe"),
        ("--setgroups deny -m true", "--user"),
        ("-r --setgroups allow true", "setgroups"),
        ("--kill-child=NONE true", "NONE"),
        ("-r -c true", "--map-current-user"),
        ("--hostname", "--hostname"),
        ("--dry-run --explain -m true", "--explain"),
        ("-a true", "--target"),
        ("-F -p true", "--target"),
        ("-t", "--target"),
    ] {
        let ran = run(tool().args(words.split_whitespace()).env("SHELL", "/bin/false"));
        ran.fails(125, "nsenter-lite", &[part]);
    }
    Ok(())
}

fn wrong_pids_are_told_apart() -> Test {
    let mut gone = Command::new("true").spawn().expect("true starts");
    gone.wait().expect("our own child");
    let gone = gone.id().to_string();
    let own = std::process::id().to_string();
    for (words, part) in [
        (["-t", "", "-a"], "it is empty"),
        (["-t", "0x1", "-a"], "\"0x1\""),
        (["-t", "0", "-a"], "\"0\""),
        (["-t", "1 2", "-a"], "\"1 2\""),
        (["-t", &gone, "-a"], "No such process (ESRCH)"),
        (["-t", &own, "--fork"], "no namespace of the target"),
        (["-t", &own, "--hostname=x"], "--hostname"),
        (["-t", &own, "--mount-proc"], "--mount-proc"),
        (["-t", &own, "-r"], "--map-root-user"),
        (["-t", &own, "--pid-file=x"], "--pid-file"),
    ] {
        let mut command = tool();
        run(command.args(words).args(["--", "true"])).fails(125, "nsenter-lite", &[part]);
    }
    need_root()?;
    run(tool().args(["-t", &own, "-U", "true"])).fails(125, "nsenter-lite", &["(EINVAL)", "-a"]);
    Ok(())
}

fn without_privileges_it_says_so() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    for options in [&["-m"][..], &["-p"], &["--hostname", "box"], &["-muipnC"], &["-T"]] {
        let ran = run(nobody().args(options).args(["--", "true"]));
        ran.fails(125, "nsenter-lite", &["(EPERM)", "hint: that takes root", "--map-root-user"]);
    }
    let masked = "\"$0\" -m sh -c 'mount --bind /dev/null /proc/version; setpriv --reuid 65534 \
        --clear-groups --regid 65534 \"$0\" -r -p --mount-proc true' \"$0\"";
    need_program("setpriv")?;
    let (_folder, program) = {
        let (folder, command) = as_nobody();
        (folder, command().get_program().to_owned())
    };
    let ran = run(Command::new("sh").arg("-c").arg(masked).arg(program));
    ran.fails(125, "nsenter-lite", &["mount proc on \"/proc\"", "(EPERM)", "findmnt -R /proc"]);
    Ok(())
}

fn a_pid_namespace_whose_init_has_ended_is_explained() -> Test {
    need_root()?;
    // unshare without --fork: its first child is PID 1 and ends, the second can't be forked.
    let program = env!("CARGO_BIN_EXE_nsenter-lite");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "sh", "-c", "(exit 0); exec \"$0\" --fork true", program]);
    run(&mut unshare).fails(125, "nsenter-lite", &["(ENOMEM)", "PID 1"]);
    Ok(())
}

/// What the command sees, with what stays the same outside left out.
fn report(ours: &[String]) -> String {
    let ours = ours.join(" ");
    format!(
        "for l in $({LINKS}); do case ' {ours} ' in *\" $l \"*) echo ${{l%:*}} same;; *) echo ${{l%:*}} own;; esac; done
        hostname; id -u; id -g; id -G; echo $(($$ == 1)); cat /proc/self/setgroups /proc/self/uid_map
        set -- /proc/[0-9]*; [ $# -gt 9 ] && echo many; grep -c ' /proc proc' /proc/self/mounts
        sed 's/^[^-]* - //; t; s/^.* - //' /proc/self/mountinfo | sort | head -n 3
        grep -c shared: /proc/self/mountinfo
        grep -E 'Sig[BIC]|Cap' /proc/self/status; exit 42"
    )
}

fn the_dry_run_script_does_the_same() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let report = report(&own_links());
    let command = ["--", "sh", "-c", &report];
    let root = || tool();
    let both: [(&str, bool); 13] = [
        ("-m", false),
        ("-u --hostname box", false),
        ("-muinpCT", false),
        ("-f", false),
        ("-p --mount-proc", false),
        ("-p --mount-proc --propagation slave", false),
        ("-m --propagation shared", false),
        ("-U", true),
        ("-U --setgroups deny", true),
        ("-U -m -p", true),
        ("-c -u", true),
        ("-r -muipC --mount-proc --hostname box", true),
        ("-r -p --kill-child=TERM", true),
    ];
    for (options, ordinary_too) in both {
        let words: Vec<&str> = options.split(' ').collect();
        let mut runs: Vec<(Command, Command, Command)> = vec![(root(), root(), Command::new("sh"))];
        if ordinary_too {
            let mut shell = Command::new("sh");
            shell.uid(NOBODY).gid(NOBODY).current_dir("/");
            runs.push((nobody(), nobody(), shell));
        }
        for (mut act, mut dry, mut shell) in runs {
            let ours = run(act.args(&words).args(command));
            let script = run(dry.arg("--dry-run").args(&words).args(command)).silent();
            let theirs = run(shell.arg("-c").arg(&script));
            assert_eq!(ours, theirs, "{options}: {script}");
            assert_eq!(ours.status, 42, "{ours:?}");
        }
    }
    Ok(())
}

fn the_dry_run_script_writes_the_pid_of_outside() -> Test {
    need_root()?;
    let folder = scratch();
    let file = folder.path().join("it's a pid");
    let look = "cat \"$0\"; readlink /proc/self/ns/pid";
    for options in [&["-p"][..], &["-u"], &["-p", "--mount-proc"]] {
        let mut dry = tool();
        dry.arg("--dry-run").args(options).arg("--pid-file").arg(&file);
        let script = run(dry.args(["sh", "-c", look]).arg(&file)).silent();
        assert!(!file.exists(), "a dry run writes nothing");
        let seen = run(&mut sh(&script)).silent();
        let pid: i32 = seen.lines().next().and_then(|pid| pid.parse().ok()).expect("a PID");
        assert!(pid > 2, "{script}: {seen}");
        fs::remove_file(&file).expect("the script wrote it");
    }
    Ok(())
}

fn the_dry_run_script_enters_the_same() -> Test {
    need_root()?;
    need_program("nsenter")?;
    let container = to_be_entered();
    let rootless = Container::start(&["-r", "-u", "-p"], &["sh", "-c", "read line"]);
    let own = std::process::id().to_string();
    let script = format!("{LINKS}; hostname; id -u; id -G; pwd; grep Cap /proc/self/status");
    for (pid, options) in [
        (container.pid.to_string(), &["-a"][..]),
        (container.pid.to_string(), &["-u", "-i"]),
        (container.pid.to_string(), &["-p", "-m"]),
        (rootless.pid.to_string(), &["-a"]),
        (own, &["-a"]),
    ] {
        let command = ["--", "sh", "-c", &script];
        let enter = ["-t", &pid];
        let ours = run(tool().args(enter).args(options).args(command)).silent();
        let dry = run(tool().arg("--dry-run").args(enter).args(options).args(command)).silent();
        assert_eq!(run(&mut sh(&dry)).silent(), ours, "{dry}");
    }
    Ok(())
}

fn explain_and_dry_run_say_the_same() -> Test {
    need_root()?;
    let options = ["-r", "-p", "-u", "--mount-proc", "--hostname", "box", "--", "true"];
    let explained = run(tool().arg("-x").args(options));
    assert_eq!((explained.status, explained.stdout.as_str()), (0, ""));
    let script = run(tool().arg("--dry-run").args(options)).silent();
    let lines: Vec<&str> = explained.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        let command = line.strip_prefix("+ ").and_then(|line| line.split("  # ").next());
        let command = command.expect("a command and its reason");
        assert!(script.contains(command), "{command} in {script}");
    }
    Ok(())
}

fn a_dry_run_changes_nothing() -> Test {
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let own = std::process::id().to_string();
    let create = ["-muinpCTr", "--mount-proc", "--hostname", "box", "--pid-file", "f", "true"];
    for options in [&create[..], &["-t", &own, "-a", "true"]] {
        let mut command = Command::new("strace");
        let calls = "trace=unshare,setns,mount,umount2,move_mount,fsopen,fsmount,mount_setattr,\
            sethostname,fork,vfork,clone,clone3,setgroups,setresuid,prctl,rename,renameat,\
            renameat2,unlink,unlinkat,execve,kill,pidfd_send_signal,rt_sigprocmask,write,openat";
        command.args(["-f", "-e", calls, "-o"]).arg(&log).current_dir(folder.path());
        run(command.arg(env!("CARGO_BIN_EXE_nsenter-lite")).arg("--dry-run").args(options))
            .silent();
        let calls = fs::read_to_string(&log).expect("strace wrote it");
        let harmless = |line: &&str| {
            line.contains("O_RDONLY")
                || line.contains("write(1, ")
                || line.contains("rt_sigprocmask(")
        };
        let calls: Vec<&str> =
            calls.lines().filter(|line| line.contains('(') && !harmless(line)).collect();
        assert!(matches!(calls.as_slice(), [start] if start.contains("execve(")), "{calls:?}");
    }
    Ok(())
}
