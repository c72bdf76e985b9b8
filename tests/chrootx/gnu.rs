//! The same command lines for chroot(1) of the GNU core utilities and for chrootx.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Ran, Skip, TempDir, Test, alpine, need_program, run};

use crate::chrootx;

/// Names that the machine does not have, and one that it has with another number.
fn root() -> Result<TempDir, Skip> {
    let root = alpine()?;
    let more = [
        ("passwd", "bob:x:4242:100::/home/bob:/bin/sh\nj.doe:x:4243:777::/:/bin/sh\n"),
        (
            "group",
            "gear:x:777:bob\nstaff:x:778:bob,j.doe\nblank:x:779:j.doe, bob\nafter:x:780:bob ,j.doe\n",
        ),
    ];
    for (file, lines) in more {
        let path = root.path().join("etc").join(file);
        let text = fs::read_to_string(&path).expect("alpine has it") + lines;
        fs::write(path, text).expect("our own folder");
    }
    // No `#!`: it is for the shell, as execvp(3) has it.
    let headless = root.path().join("bin/headless");
    fs::write(&headless, "echo $0 $# $1; exit 9\n").expect("our own folder");
    fs::set_permissions(headless, fs::Permissions::from_mode(0o755)).expect("just written");
    Ok(root)
}

/// Both as a user with groups of its own; `ROOT` in an argument is the root.
fn both(root: &Path, args: &[&str]) -> Result<[Ran; 2], Skip> {
    let chroot = need_program("chroot")?;
    let setpriv = need_program("setpriv")?;
    let root = root.to_str().expect("a plain name");
    let args: Vec<String> = args.iter().map(|arg| arg.replace("ROOT", root)).collect();
    let with = |program: &Path| {
        let mut command = Command::new(&setpriv);
        run(command.arg("--groups=9,12").arg(program).args(&args).current_dir("/tmp"))
    };
    Ok([with(&chroot), with(Path::new(env!("CARGO_BIN_EXE_chrootx")))])
}

const USERS: &[&str] = &[
    "",
    "bob",
    "bob:",
    "bob:gear",
    "bob.gear",
    ":gear",
    ":+5",
    ":5",
    "4242",
    "+4242",
    "4242:100",
    "+4242:+100",
    "j.doe",
    "j.doe:bob",
    "j.doe:gear",
    "root",
    "root:users",
    "77:88",
    "77",
    "77:",
    "+77:+88",
    "77.88",
    "nobody",
    "nobody:nogroup",
    "alice",
    "alice:bob",
    "bob:alice",
    "bob.alice",
    "-1",
    "+-1",
    "0x0:0",
    "4294967295:0",
    "4294967296:0",
    "0:4294967295",
    "bob:gear:staff",
    "+bob:gear",
    "5 :6",
    "staff:bob",
    "bob:+",
    "+",
    "4242:",
];

const GROUPS: &[&str] = &[
    "",
    "gear",
    "gear,staff",
    "5,+6,gear",
    "gear,",
    ",gear",
    "5,5",
    "alice",
    ",",
    "+gear",
    "-1",
    "4294967295",
    "gear, staff",
    "+",
    "0x5",
];

/// What id(1) says of them.
pub fn users_are_those_of_chroot() -> Test {
    let root = root()?;
    let users = USERS.iter().map(|user| (!user.is_empty()).then(|| format!("--userspec={user}")));
    for user in users {
        let lists = GROUPS.iter().map(|list| Some(format!("--groups={list}")));
        for groups in lists.chain([None]) {
            let mut args: Vec<&str> = user.iter().chain(&groups).map(String::as_str).collect();
            args.extend(["ROOT", "/usr/bin/id"]);
            let [theirs, ours] = both(root.path(), &args)?;
            let answer = |ran: &Ran| (ran.status, ran.stdout.clone());
            assert_eq!(answer(&ours), answer(&theirs), "{args:?} {ours:?} {theirs:?}");
        }
    }
    // On purpose: what names nobody is a mistake, such as a variable that is empty.
    for user in [":", "::", "bob::", " 5:6"] {
        let args = [&format!("--userspec={user}"), "ROOT", "/usr/bin/id"];
        let [theirs, ours] = both(root.path(), &args)?;
        assert_eq!((theirs.status, ours.status), (0, 125), "{user}");
    }
    Ok(())
}

pub fn statuses_and_directories_are_those_of_chroot() -> Test {
    let root = root()?;
    for args in [
        &[][..],
        &["--bogus", "ROOT"],
        &["--userspec"],
        &["--groups"],
        &["--help", "ROOT"],
        &["--version"],
        &["ROOT/none", "true"],
        &["ROOT/etc/passwd", "true"],
        &["", "true"],
        &["ROOT", "/none"],
        &["ROOT", "none"],
        &["ROOT", ""],
        &["ROOT", "/etc/passwd"],
        &["ROOT", "/etc"],
        &["ROOT", "/bin/headless", "x"],
        &["ROOT", "headless"],
        &["ROOT", "/bin/sh", "-c", "exit 7"],
        &["ROOT", "/bin/sh", "-c", "kill -TERM $$"],
        &["ROOT", "/bin/echo", "--userspec=x", "-n", "--"],
        &["--", "ROOT", "/bin/pwd"],
        // What stands behind ROOT is COMMAND, whatever it looks like.
        &["ROOT", "--help"],
        &["ROOT", "--version"],
        &["ROOT", "--bogus"],
        &["ROOT", "-u", "bob", "/usr/bin/id"],
        &["ROOT", "--userspec=bob", "/usr/bin/id"],
        &["ROOT", "--groups", "5", "/usr/bin/id"],
        &["--groups=5", "ROOT", "--groups=6", "/usr/bin/id"],
        &["--groups=5", "ROOT", "/usr/bin/id", "--groups=6"],
        &["--userspec=bob", "--", "ROOT", "/usr/bin/id", "-u"],
        &["ROOT", "/bin/pwd"],
        &["--skip-chdir", "ROOT", "/bin/pwd"],
        &["--skip-chdir", "ROOT/..", "/bin/pwd"],
        &["--skip-chdir", "/", "/bin/pwd"],
        &["--skip-chdir", "/tmp/..", "/bin/pwd"],
        &["--skip-chdir", "--userspec=65534:65534", "/", "/bin/pwd"],
        &["/", "/bin/pwd"],
        &["/tmp/..", "/bin/pwd"],
        &["--userspec", "bob", "--groups", "gear", "ROOT", "/usr/bin/id"],
        &["--userspec=root", "--userspec=bob", "ROOT", "/usr/bin/id"],
        &["--groups=5", "--groups=6", "ROOT", "/usr/bin/id"],
        &["--user=bob", "ROOT", "/usr/bin/id"], // theirs by abbreviation
    ] {
        let [theirs, ours] = both(root.path(), args)?;
        let says = |ran: &Ran| match args {
            ["--help" | "--version", ..] => String::new(),
            _ => ran.stdout.clone(),
        };
        assert_eq!((ours.status, says(&ours)), (theirs.status, says(&theirs)), "{args:?}");
    }
    // On purpose: `--` may stand before COMMAND, too.
    for args in [&["ROOT", "--", "/bin/pwd"][..], &["--", "ROOT", "--", "/bin/pwd"]] {
        let [theirs, ours] = both(root.path(), args)?;
        assert_eq!((theirs.status, ours.silent().as_str()), (127, "/\n"));
    }
    // The shell is not the caller's, which ROOT need not have, and it finds out itself whether
    // it is interactive.
    let shell = |command: &mut Command| {
        let ran = support::run_with_input(
            command.arg(root.path()).env("SHELL", "/bin/echo"),
            b"echo $0 $-",
        );
        ran.silent()
    };
    assert_eq!(shell(&mut Command::new(need_program("chroot")?)), "-i\n");
    let flags = shell(&mut chrootx());
    assert!(flags.starts_with("/bin/sh ") && !flags[8..].contains('i'), "{flags}");
    // And a user's HOME and SHELL go with the user.
    let [theirs, ours] =
        both(root.path(), &["--userspec=bob", "ROOT", "/bin/sh", "-c", "echo $HOME"])?;
    assert!(theirs.silent() != "/home/bob\n" && ours.silent() == "/home/bob\n");
    Ok(())
}
