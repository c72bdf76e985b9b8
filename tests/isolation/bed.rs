//! A root file system, our tools, and somebody to run them.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Ran, Skip, TempDir, need_program, need_root, project, run, scratch, sh, skip};

/// Who runs the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The machine's root.
    Root,
    /// Root in a user namespace that maps it to the machine's root: it owns the kernel's files.
    RootAsRoot,
    /// Root in a user namespace that maps it to nobody in particular.
    RootMapped,
    /// The machine's root, with root of a user namespace inside: `--userns`.
    RootUserns,
    /// An ordinary user, who has no subordinate ids.
    User,
    /// An ordinary user who has them.
    UserWithIds,
}

impl Mode {
    pub const ALL: [Self; 6] = [
        Self::Root,
        Self::RootAsRoot,
        Self::RootMapped,
        Self::RootUserns,
        Self::User,
        Self::UserWithIds,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::RootAsRoot => "root_as_root",
            Self::RootMapped => "root_mapped",
            Self::RootUserns => "root_userns",
            Self::User => "user",
            Self::UserWithIds => "user_with_ids",
        }
    }

    /// Whom the root file system belongs to.
    pub fn owner(self) -> u32 {
        match self {
            Self::Root | Self::RootAsRoot | Self::RootUserns => 0,
            Self::RootMapped => MAPPED,
            Self::User | Self::UserWithIds => USER,
        }
    }
}

/// Nobody has these: they are in no file of the machine's.
const USER: u32 = 54321;
const MAPPED: u32 = 1_000_000;

/// Runs the words after it as a user that only this mount namespace knows.
const AS_USER_WITH_IDS: &str = "
    for file in passwd group subuid subgid; do mount --bind \"$1/$file\" \"/etc/$file\"; done
    shift
    exec setpriv --reuid isolation --regid isolation --clear-groups -- \"$@\"";

/// The programs as `scripts/build` makes them; once, for it takes a while.
pub fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut build = Command::new(project().join("scripts/build"));
        // Not `support::run`: the first build takes longer than a test may.
        let out = build.args(TOOLS).arg("probe").output().expect("a shell script");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        PathBuf::from(String::from_utf8(out.stdout).expect("a path").trim_end())
    })
}

pub const TOOLS: [&str; 4] = ["bindmount", "nsenter-lite", "chrootx", "cgset"];

/// A folder that everybody can reach, with `tools`, `container` and `rootfs`; beside it a file
/// and a folder of the machine's that no container may see or change.
pub struct Bed {
    folder: TempDir,
    pub mode: Mode,
}

impl Bed {
    pub fn new(mode: Mode) -> Result<Self, Skip> {
        need_root()?;
        let busybox = need_program("busybox")?;
        need_program("unshare")?;
        let bed = Self { folder: scratch(), mode };
        fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).expect("ours");
        for name in ["tools", "scripts", "victim", "rootfs", "home"] {
            fs::create_dir(bed.path(name)).expect("ours");
        }
        fs::write(bed.mark(), "the machine's\n").expect("ours");
        let link = "cp -l \"$@\" 2>/dev/null || cp \"$@\"";
        let tools = TOOLS.iter().chain(&["probe"]).map(|name| built().join(name));
        run(sh(link).args(tools).arg(bed.path("tools"))).silent();
        let script = project().join("scripts/container");
        run(Command::new("cp").arg(script).arg(bed.path("scripts"))).silent();
        bed.fill_root(&busybox);
        bed.may_run()?;
        Ok(bed)
    }

    /// A small system: busybox and the probe, two users, a file that makes root of everybody.
    fn fill_root(&self, busybox: &Path) {
        for name in ["bin", "dev", "proc", "sys", "etc", "run", "root", "mnt", "tmp"] {
            fs::create_dir(self.root().join(name)).expect("ours");
        }
        let bin = self.root().join("bin");
        // Not by fs::copy: a child that another test forks meanwhile would hold the file open for
        // writing, and the kernel runs no such file (ETXTBSY).
        run(Command::new("cp").arg(busybox).arg(built().join("probe")).arg(&bin)).silent();
        for name in [
            "sh", "cat", "env", "false", "grep", "hostname", "id", "kill", "ls", "mkdir", "mount",
            "sleep", "touch", "true", "tty",
        ] {
            symlink("busybox", bin.join(name)).expect("ours");
        }
        let etc = self.root().join("etc");
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000:bob:/tmp:/bin/sh\n";
        fs::write(etc.join("passwd"), passwd).expect("ours");
        fs::write(etc.join("group"), "root:x:0:\nbob:x:1000:\n").expect("ours");
        fs::write(etc.join("resolv.conf"), "").expect("ours");
        self.belongs_to_its_user();
        fs::set_permissions(self.root().join("tmp"), Permissions::from_mode(0o1777)).expect("ours");
    }

    /// To be called after a test has changed the root file system.
    pub fn belongs_to_its_user(&self) {
        let owner = self.mode.owner().to_string();
        let mut give = Command::new("chown");
        give.args(["-hR", &format!("{owner}:{owner}")]).arg(self.root()).arg(self.victim());
        run(&mut give).silent();
        chown(self.path("home"), Some(self.mode.owner()), Some(self.mode.owner())).expect("ours");
    }

    /// Skips what the kernel or the tools can't do yet.
    fn may_run(&self) -> Result<(), Skip> {
        if self.mode == Mode::UserWithIds {
            let etc = |name: &str, line: &str| {
                let own = fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
                let folder = self.path("etc");
                let _ = fs::create_dir(&folder);
                fs::write(folder.join(name), format!("{own}{line}\n")).expect("ours");
            };
            etc(
                "passwd",
                &format!("isolation:x:{USER}:{USER}::{}:/bin/sh", self.path("home").display()),
            );
            etc("group", &format!("isolation:x:{USER}:"));
            etc("subuid", &format!("isolation:{MAPPED}:65536"));
            etc("subgid", &format!("isolation:{MAPPED}:65536"));
            need_program("newuidmap")?;
            if !self.line(&[], &["/bin/true"]).contains("--map-auto") {
                return Err(skip("not yet supported: container run maps no subordinate ids"));
            }
        }
        let mut try_one = self.as_user("unshare");
        try_one.args(["--user", "true"]);
        match self.mode != Mode::Root && run(&mut try_one).status != 0 {
            true => Err(skip("ordinary users can make no user namespaces here")),
            false => Ok(()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The container's root.
    pub fn root(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// A file of the machine's.
    pub fn mark(&self) -> PathBuf {
        self.path("mark")
    }

    /// A folder of the machine's.
    pub fn victim(&self) -> PathBuf {
        self.path("victim")
    }

    /// Whether an ordinary user runs it, and not some root.
    pub fn is_users(&self) -> bool {
        matches!(self.mode, Mode::User | Mode::UserWithIds)
    }

    /// A program run by the user, with our tools first in its PATH.
    pub fn as_user(&self, program: impl AsRef<OsStr>) -> Command {
        let command = match self.mode {
            Mode::Root | Mode::RootUserns => Command::new(program.as_ref()),
            Mode::RootAsRoot => {
                let mut command = Command::new("unshare");
                command.arg("--map-root-user").arg(program.as_ref());
                command
            }
            Mode::RootMapped => {
                let mut command = Command::new(self.path("tools/probe"));
                command.arg("mapped").arg(MAPPED.to_string()).arg("65536").arg(program.as_ref());
                command
            }
            Mode::User => {
                let mut command = Command::new("setpriv");
                let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
                command.args(ids).args(["--clear-groups", "--"]).arg(program.as_ref());
                command
            }
            Mode::UserWithIds => {
                let mut command = support::private_sh(AS_USER_WITH_IDS);
                command.arg(self.path("etc")).arg(program.as_ref());
                command
            }
        };
        self.prepared(command)
    }

    /// A program run by whoever has started the container, outside all of its namespaces.
    pub fn as_starter(&self, program: &str) -> Command {
        match self.mode {
            Mode::User | Mode::UserWithIds => self.as_user(program),
            _ => self.prepared(Command::new(program)),
        }
    }

    /// Where a call is denied, all that is run is without it: a filter of an ordinary user's own
    /// would take the power of newuidmap(1) along.
    fn prepared(&self, mut command: Command) -> Command {
        if let Some(denied) = support::denied() {
            let inner = command;
            command = Command::new(self.path("tools/probe"));
            command.arg("deny").args([&denied.errno, &denied.call]);
            command.arg(inner.get_program()).args(inner.get_args());
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("tools").display()));
        command.current_dir(self.path("home"));
        command
    }

    /// A shell script on a terminal of its own, with somebody who types: what is seen there.
    pub fn on_a_terminal(&self, typing: &str, script: &str) -> Result<String, Skip> {
        need_program("script")?;
        let command = sh(format!("({typing}) | script -qec \"$1\" /dev/null"));
        Ok(run(self.prepared(command).arg(script)).stdout.replace('\r', ""))
    }

    /// `scripts/container run`.
    pub fn container(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.as_user(self.path("scripts/container"));
        if self.mode == Mode::RootUserns {
            command.args(["run", "--userns", &format!("{MAPPED}:65536")]);
        } else {
            command.arg("run");
        }
        command.args(options).arg(self.root()).args(words);
        command
    }

    /// For a test that does not see what the tools say: where a call is denied, this one does.
    #[track_caller]
    pub fn starts(&self) {
        run(&mut self.container(&[], &["/bin/true"])).silent();
    }

    /// What `scripts/container run` would run.
    pub fn line(&self, options: &[&str], words: &[&str]) -> String {
        let options = [&["--dry-run"], options].concat();
        run(&mut self.container(&options, words)).silent()
    }

    /// That, with a change: each word of the first is followed by the second's words.
    pub fn changed(&self, options: &[&str], changes: &[(&str, &str)], words: &[&str]) -> Command {
        let mut line = self.line(options, words);
        for (after, more) in changes {
            let (before, rest) = line.rsplit_once(after).expect("such a tool is in the line");
            line = format!("{before}{after} {more}{rest}");
        }
        let mut command = self.as_user("sh");
        command.args(["-c", &format!("exec {line}")]);
        command
    }

    /// Runs a probe in the container, which must be contained.
    #[track_caller]
    pub fn contains(&self, options: &[&str], probe: &[&str]) {
        let ran = run(&mut self.container(options, &[&["/bin/probe"], probe].concat()));
        self.is_contained(&ran, &format!("{probe:?} {options:?}"));
    }

    #[track_caller]
    pub fn is_contained(&self, ran: &Ran, what: &str) {
        let word = ran.stdout.split(": ").nth(1).unwrap_or_default();
        assert!(ran.status == 0 && word == "contained", "{:?}: {what}: {ran:?}", self.mode);
    }

    /// The usual options, and those without the filter: what it refuses, the kernel itself must
    /// refuse, too.
    #[track_caller]
    pub fn contains_with_and_without_filter(&self, probe: &[&str]) {
        self.contains(&[], probe);
        self.contains(&["--seccomp", "none"], probe);
    }

    /// Either what was wanted, or an error of one line by one of our tools.
    #[track_caller]
    pub fn works_or_fails_closed(&self, ran: &Ran, status: i32, what: &str) {
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let known = |line: &str| {
            TOOLS.iter().chain(&["container"]).any(|tool| line.starts_with(&format!("{tool}: ")))
        };
        let one_line = match lines.as_slice() {
            [line] => known(line),
            [line, hint] => known(line) && hint.starts_with("hint: "),
            _ => false,
        };
        let works = ran.status == status && lines.is_empty();
        assert!(works || (ran.status == 125 && one_line), "{:?}: {what}: {ran:?}", self.mode);
    }
}

/// Path, type, mode, owner, size, times and content of everything.
pub fn fingerprint(root: &Path) -> String {
    let list = "cd \"$1\" && find . -printf '%p %y %m %U %G %s %T@ %l\\n' | sort
        find . -type f -exec sha256sum {} + | sort";
    run(sh(list).arg(root)).silent()
}

/// A command as a shell has it.
pub fn words_of(command: &Command) -> String {
    let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}
