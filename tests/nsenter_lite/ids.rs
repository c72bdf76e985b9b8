//! More than one user inside: maps, subordinate ids, and who COMMAND is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{
    Skip, TempDir, Test, need_no_filter, need_program, need_root, private_sh, run, scratch, sh,
    skip,
};

use crate::setup::{as_nobody, need_user_namespaces, tool, with};

const MAPS: &str = "cat /proc/self/uid_map; echo; cat /proc/self/gid_map";

/// An ordinary user, nobody, to whom the two files give what the test says: they are bound over the
/// machine's own in a mount namespace that ends with the command.
struct Ordinary {
    program: TempDir,
    ids: TempDir,
}

impl Ordinary {
    fn with(users: &str, groups: &str) -> Result<Self, Skip> {
        need_user_namespaces()?;
        need_program("newuidmap")?;
        need_program("setpriv")?;
        if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
            return Err(skip("needs /etc/subuid and /etc/subgid to mount its own over"));
        }
        let ids = scratch();
        for (name, text) in [("subuid", users), ("subgid", groups)] {
            fs::write(ids.path().join(name), text).expect("our own folder");
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(ids.path().join(name), mode).expect("our own file");
        }
        fs::set_permissions(ids.path(), fs::Permissions::from_mode(0o755)).expect("our own");
        Ok(Self { program: as_nobody().0, ids })
    }

    /// Runs something as this user.
    fn runs<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let script = "for f in subuid subgid; do mount --bind \"$1/$f\" /etc/$f; done; shift
            cd /; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let mut command = private_sh(script);
        command.arg(self.ids.path()).args(words);
        command
    }

    fn tool(&self, words: &[&str]) -> Command {
        let program = self.program.path().join("nsenter-lite");
        let program = program.to_str().expect("a plain name");
        self.runs(&[&[program], words].concat())
    }
}

/// `0 1 2` and so on, a line each; the groups' after an empty one.
fn maps(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

pub fn all_subordinate_ids_are_mapped() -> Test {
    need_no_filter("an ordinary user's filter takes newuidmap's power away")?;
    let users = "other:7:7\nnobody:200000:65536\n65534:300000:10\n";
    let user = Ordinary::with(users, "nobody:400000:5\n65534:500000:100\n")?;
    let root = ["0 65534 1", "1 200000 65536", "65537 300000 10", "", "0 65534 1", "1 400000 5"];
    let root: Vec<&str> = root.into_iter().chain(["6 500000 100"]).collect();
    let cases: [(&[&str], &[&str]); 4] = [
        (&["-r", "--map-auto"], &root),
        (&["-r", "--map-users", "auto", "--map-groups=auto"], &root),
        (
            &["--map-auto", "-S", "0", "-G", "0"],
            &["0 200000 65536", "65536 300000 10", "", "0 400000 5", "5 500000 100"],
        ),
        (
            &["--map-subids", "--map-user=0", "--map-group=0"],
            &[
                "0 65534 1",
                "200000 200000 65536",
                "300000 300000 10",
                "",
                "0 65534 1",
                "400000 400000 5",
                "500000 500000 100",
            ],
        ),
    ];
    for (options, wanted) in cases {
        let words = [options, &["sh", "-c", MAPS]].concat();
        assert_eq!(maps(&run(&mut user.tool(&words)).silent()), wanted, "{options:?}");
    }
    // What apt does: without the map it is chown: Invalid argument, and setgroups: EPERM.
    let apt = "cd \"$(mktemp -d)\"; : >f; chown 42:3 f; stat -c %u:%g f; \
        setpriv --reuid 42 --regid 3 --groups 4 id -G; rm f; rmdir \"$PWD\"";
    let words = ["-r", "--map-auto", "sh", "-e", "-c", apt];
    assert_eq!(run(&mut user.tool(&words)).silent(), "42:3\n3 4\n");
    Ok(())
}

pub fn ranges_are_mapped_by_the_words_of_unshare() -> Test {
    need_no_filter("an ordinary user's filter takes newuidmap's power away")?;
    let user = Ordinary::with("nobody:200000:100\n", "nobody:200000:100\n")?;
    let both = ["0 200000 50", "", "0 200000 50"];
    let cases: [(&[&str], &[&str]); 4] = [
        (&["--map-users", "0:200000:50", "--map-groups", "0:200000:50"], &both),
        (&["--map-users=200000,0,50", "--map-groups=200000,0,50"], &both),
        (
            &["--map-users", "0:200000:1", "--map-users", "5:200005:2", "--map-groups=0:200000:1"],
            &["0 200000 1", "5 200005 2", "", "0 200000 1"],
        ),
        (
            // Where one is oneself there is a hole, and the last one falls out.
            &["-r", "--map-users=0:200000:50", "--map-groups=1:200001:1"],
            &["0 65534 1", "1 200000 49", "", "0 65534 1", "1 200001 1"],
        ),
    ];
    for (options, wanted) in cases {
        let words = [options, &["sh", "-c", MAPS]].concat();
        assert_eq!(maps(&run(&mut user.tool(&words)).silent()), wanted, "{options:?}");
    }
    let refused = run(&mut user.tool(&["--map-users", "0:200050:60", "true"]));
    refused.fails(125, "nsenter-lite", &["map users and groups by \"newuidmap\"", "200050"]);
    let single =
        run(&mut user.tool(&["--map-user", "7", "--map-group=8", "sh", "-c", "id -u; id -g"]));
    assert_eq!(single.silent(), "7\n8\n");
    assert_eq!(run(&mut user.tool(&["--map-user=daemon", "id", "-u"])).silent(), "1\n");
    Ok(())
}

pub fn without_lines_it_says_what_to_write() -> Test {
    let hint = "hint: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ";
    let none = Ordinary::with("", "")?;
    let ran = run(&mut none.tool(&["-r", "--map-auto", "true"]));
    ran.fails(125, "nsenter-lite", &["\"nobody\" has none in /etc/subuid and /etc/subgid", hint]);
    let half = Ordinary::with("nobody:100000:5\n", "other:1:1\n")?;
    let ran = run(&mut half.tool(&["-r", "--map-auto", "true"]));
    ran.fails(125, "nsenter-lite", &["none in /etc/subgid", "--add-subgids 100005-165540"]);
    // A system without the package: an empty PATH finds neither program.
    let user = Ordinary::with("nobody:100000:5\n", "nobody:100000:5\n")?;
    let program = user.program.path().join("nsenter-lite");
    let words = ["env".as_ref(), "PATH=/nowhere".as_ref(), program.as_os_str()];
    let options = ["-r", "--map-auto", "true"].map(OsStr::new);
    let ran = run(&mut user.runs(&[&words[..], &options].concat()));
    ran.fails(125, "nsenter-lite", &["\"newuidmap\": it is not there", "apt-get install uidmap"]);
    // One id alone: the next one is not there, and it says how there are more.
    let ran = run(&mut user.tool(&["-r", "-S", "5", "true"]));
    ran.fails(125, "nsenter-lite", &["be user 5", "(EINVAL)", "--map-auto"]);
    Ok(())
}

pub fn root_writes_any_map_itself() -> Test {
    need_root()?;
    let options = ["--map-users", "0:100000:10", "--map-groups", "0:100000:10", "--map-user=20"];
    let ran =
        with(&[&options[..], &["-S", "3", "-G", "4"]].concat(), &format!("id -u; id -G; {MAPS}"));
    let wanted = ["3", "4", "20 0 1", "0 100000 10", "", "0 100000 10"];
    assert_eq!(maps(&ran.silent()), wanted);
    let all = with(&["--map-users=all", "--map-groups=all"], MAPS).silent();
    let ours = run(&mut sh(MAPS)).silent();
    assert_eq!(maps(&all), maps(&ours));
    let inner = "\"$0\" --map-users 0:70000:1 -S 0 true";
    let nested =
        run(tool().args(["-r"]).args(["sh", "-c", inner]).arg(env!("CARGO_BIN_EXE_nsenter-lite")));
    nested.fails(125, "nsenter-lite", &["/uid_map", "(EPERM)", "hint: ids outside"]);
    Ok(())
}

pub fn capabilities_are_kept_on_request() -> Test {
    need_user_namespaces()?;
    let (_folder, nobody) = as_nobody();
    let effective = "grep CapEff /proc/self/status";
    let none = run(nobody().args(["-c", "sh", "-c", effective])).silent();
    assert_eq!(none, "CapEff:\t0000000000000000\n");
    let kept = run(nobody().args(["-c", "--keep-caps", "-m", "sh", "-c", effective])).silent();
    assert_ne!(kept, none);
    let works = ["-c", "--keep-caps", "-m", "mount", "-t", "tmpfs", "none", "/mnt"];
    run(nobody().args(works)).silent();
    Ok(())
}

pub fn the_script_of_a_map_does_the_same() -> Test {
    need_no_filter("an ordinary user's filter takes newuidmap's power away")?;
    let lines = "nobody:200000:65536\n65534:300000:10\n";
    let user = Ordinary::with(lines, lines)?;
    let report = format!(
        "id -u; id -g; id -G; {MAPS}; cat /proc/self/setgroups; \
        grep -E 'Cap|NoNew' /proc/self/status; echo $(($$ == 1)); pwd; exit 42"
    );
    let command = ["--", "sh", "-c", &report];
    for options in [
        "-r --map-auto",
        "-r --map-auto -mup --mount-proc --hostname box",
        "--map-auto -S 0 -G 0",
        "--map-auto -S 5 -G 6 -m",
        "--map-users 0:200000:9 --map-groups 0:200000:9",
        "--map-users 0:200000:9 --map-groups 0:200000:9 -S 5 -G 6 --keep-caps",
        "-r -R / -w tmp",
        "--map-subids --map-user 0 --map-group 0",
        "--map-user 5 --map-group 6",
        "-r -S 0 -G 0",
        "-c --keep-caps",
    ] {
        let words: Vec<&str> = options.split(' ').chain(command).collect();
        let dry: Vec<&str> = ["--dry-run"].into_iter().chain(words.iter().copied()).collect();
        let ours = run(&mut user.tool(&words));
        let script = run(&mut user.tool(&dry)).silent();
        let theirs = run(&mut user.runs(&["sh", "-c", &script]));
        assert_eq!(ours, theirs, "{options}: {script}");
        assert_eq!(ours.status, 42, "{options}: {ours:?}");
        // For root the lines would be those of the machine.
        if !options.contains("auto") && !options.contains("subids") {
            let ours = run(tool().args(&words));
            let script = run(tool().args(&dry)).silent();
            assert_eq!(ours, run(Command::new("sh").args(["-c", &script])), "{options}: {script}");
        }
    }
    Ok(())
}

/// COMMAND must not run as nobody because of that.
pub fn a_map_that_nobody_writes_is_missed() -> Test {
    need_user_namespaces()?;
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return Err(skip("needs the files /etc/subuid and /etc/subgid"));
    }
    let (folder, _) = as_nobody();
    let fake = folder.path().join("newuidmap");
    fs::write(&fake, "#!/bin/sh\nkill -9 $PPID\n").expect("ours");
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut shell = private_sh(
        "echo nobody:100000:10 >\"$1/ids\"
        for file in subuid subgid; do mount --bind \"$1/ids\" /etc/$file; done
        export PATH=\"$1:$PATH\"; cd /; exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \\
        \"$1/nsenter-lite\" --map-auto true",
    );
    run(shell.arg(folder.path())).fails(125, "nsenter-lite", &["have the map written", "died"]);
    Ok(())
}
