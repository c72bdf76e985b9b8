//! What is said is what is done.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{Test, need_no_filter, need_program, run};

use super::standard::in_user_namespace;
use super::{COUNT, alpine, bare_root, in_folder, tree};

/// The mounts under a folder, without the numbers that no two mounts share, and of
/// overlays without the layers, which one is given one by one, the other in a list, and without what
/// the first to mount them notes there.
const TABLE: &str =
    "sed -E 's/^[0-9]+ [0-9]+ [0-9:]+ //; s/(shared|master):[0-9]+/\\1/g' /proc/self/mountinfo |
    grep -F \" $1/\" | sed -E 's/(,lowerdir\\+?=([^,]|\\\\054)*)+/,lowerdir/; s/,uuid=on//; s/(upperdir|workdir)=([^,]*)/\\1/g'";

/// Compares the mounts of `$B ARGS` with those of its script, after some `make` of both.
fn same_table(make: &str, folder: &Path, args: &str) {
    let make = format!("{make}; mount -t tmpfs t src/sub 2>/dev/null || true");
    let was = run(&mut all_names(folder)).silent();
    let in_folder = |script: String| {
        let ran = in_folder(folder, &script);
        let (seen, names) = (ran.silent(), run(&mut all_names(folder)).silent());
        let is_new = |line: &&str| was.lines().all(|old| old != *line);
        for name in names.lines().filter(is_new).filter_map(|line| line.split('\t').nth(1)) {
            let name = folder.join(name);
            let _ = fs::remove_dir_all(&name).or_else(|_| fs::remove_file(&name));
        }
        (seen, names)
    };
    let ours = in_folder(format!("{make}; $B {args}; {TABLE}"));
    let theirs = in_folder(format!("{make}; $B -n {args} | sh; {TABLE}"));
    assert_eq!(ours, theirs, "{make}; {args}");
    assert!(ours.0.lines().count() > 0, "{args}: {ours:?}");
}

fn all_names(folder: &Path) -> Command {
    let mut find = Command::new("find");
    find.arg(folder).args(["-printf", "%m\\t%P\\n"]);
    find
}

pub fn same_tables(folder: &Path, args: &str) {
    same_table("mount --make-rprivate /", folder, args);
    same_table("mount --make-rshared /", folder, args);
}

pub fn the_dry_run_script_does_the_same() -> Test {
    let folder = tree()?;
    for args in [
        "src dst",
        "src/file file",
        "-o ro,nosuid src dst",
        "-o noatime,nodiratime,unbindable src dst",
        "-R -o ro,noexec,rslave src dst",
        "--mkdir -R -r src 'new place'",
        "--mkdir src/file new/file",
    ] {
        same_tables(folder.path(), args);
    }
    let root = alpine()?;
    same_tables(root.path(), "--std .");
    same_tables(root.path(), "--std . --dev=machine --proc=plain");
    fs::write(root.path().join("tmp/resolv.conf"), "").expect("our own folder");
    symlink("../tmp/resolv.conf", root.path().join("etc/resolv.conf")).expect("our own folder");
    same_tables(root.path(), "--std .");
    fs::remove_file(root.path().join("etc/resolv.conf")).expect("it was made above");
    same_tables(root.path(), "--mkdir --std . --bind /etc/passwd:/lib/passwd:ro");
    Ok(())
}

/// What the caller has exported leads the script's cd nowhere else.
pub fn a_relative_name_is_one_from_here() -> Test {
    let root = alpine()?;
    symlink("../tmp/resolv.conf", root.path().join("etc/resolv.conf")).expect("our own folder");
    let table = |how: &str| {
        let script = format!(
            "n=${{PWD##*/}}; mkdir -p \"tmp/$n/etc\"; export CDPATH=\"$PWD/tmp\"; cd ..; {how}; {TABLE}"
        );
        in_folder(root.path(), &script).silent()
    };
    let (ours, theirs) = (table("$B --std \"$n\""), table("$B -n --std \"$n\" | sh -e"));
    assert_eq!(ours, theirs);
    assert!(ours.contains("/etc rw,") && ours.contains("overlay"), "{ours}");
    Ok(())
}

/// There, the nodes are the machine's, and no group is tty.
pub fn the_script_does_the_same_in_a_user_namespace() -> Test {
    let root = alpine()?;
    let file = root.path().join("compare");
    let table = |how: &str| {
        let script = format!("B=$1; set -- \"$PWD\"; {how}; {TABLE}");
        fs::write(&file, script).expect("our own folder");
        in_user_namespace(root.path(), "--pid --fork", "sh -e ./compare $1")
            .map(support::Ran::silent)
    };
    let (ours, theirs) = (table("$B --std .")?, table("$B -n --std . | sh")?);
    assert_eq!(ours, theirs);
    assert!(ours.contains("/dev/null ro,") && !ours.contains("gid=5"), "{ours}");
    Ok(())
}

/// Names that a shell, or mount(8)'s list of options, would take apart.
pub fn an_odd_name_is_no_trap() -> Test {
    let root = bare_root()?;
    let odd = root.path().join("a b,c:d\"$(id)'\\");
    for dir in ["dev", "proc", "sys", "etc", "data"] {
        fs::create_dir_all(odd.join(dir)).expect("our own folder");
    }
    symlink(&odd, root.path().join("-odd")).expect("our own folder");
    same_tables(root.path(), "--std=-odd --bind /etc:data:ro,rbind");
    let script = format!("$B --std=-odd; $B --std=-odd; $B -u -R ./-odd; {COUNT}");
    assert_eq!(in_folder(root.path(), &script).silent(), "0\n", "also when it was done twice");
    let script = format!("$B --std=-odd; $B -n -u -R ./-odd | sh -e; {COUNT}");
    assert_eq!(in_folder(root.path(), &script).silent(), "0\n");
    Ok(())
}

/// The mount table escapes some bytes of a path, and findmnt(8) what its locale does not show. Mounts
/// that lie hidden below the new one are not meant.
pub fn the_script_finds_the_mounts_below() -> Test {
    let folder = tree()?;
    for name in ["dst", "dé", "a b", "tab\tnew\nline", "0\n", "back\\040slash 1", "-x"] {
        let below = folder.path().join("src/sub").join(name);
        fs::create_dir_all(&below).expect("our own folder");
        fs::create_dir_all(folder.path().join(name).join("sub")).expect("our own folder");
        fs::write(folder.path().join("name"), format!("{name}.")).expect("our own folder");
        let script = |how: &str| {
            format!(
                "export LC_ALL=C; n=$(cat name); n=./${{n%.}}; mount -t tmpfs hidden \"$n/sub\"
                mount -t tmpfs t src/sub; mkdir \"src/sub/$n\"; mount -t tmpfs t \"src/sub/$n\"
                mount -t tmpfs t \"src/sub/$n\"; {how}; {TABLE}"
            )
        };
        // The lower one of two is not compared.
        let table = |how: &str| {
            let table = in_folder(folder.path(), &script(how)).silent();
            let mut lines: Vec<_> = table.lines().map(str::to_owned).collect();
            lines.remove(lines.len() - 2);
            assert!(
                lines[lines.len() - 2..].iter().all(|line| line.contains("ro,nosuid")),
                "{table}"
            );
            lines
        };
        let ours = table("$B -R -o ro,nosuid src \"$n\"");
        assert_eq!(ours, table("$B -n -R -o ro,nosuid src \"$n\" | sh"), "{name:?}");
        for shell in ["bash", "busybox sh"] {
            if need_program(shell.split(' ').next().unwrap_or_default()).is_ok() {
                let how = format!("$B -n -R -o ro,nosuid src \"$n\" | {shell}");
                assert_eq!(ours, table(&how), "{name:?} {shell}");
            }
        }
    }
    let args = "-R -o ro,nosuid src/file file";
    same_tables(folder.path(), args);
    Ok(())
}

/// An older mount(8) says nothing, and maps nothing.
pub fn a_script_maps_owners_or_fails() -> Test {
    let folder = tree()?;
    for (args, below) in [("", ""), ("-R", "mount -t tmpfs t src/sub; ")] {
        let script = format!(
            "{below}$B -n {args} --map-users 0:7:1 src dst >script; status=0; sh script || status=$?
            if [ $status = 0 ]; then stat -c %u dst/file; else {COUNT}; fi; exit $status"
        );
        let ran = in_folder(folder.path(), &script);
        if ran.status == 0 {
            assert_eq!(ran.stdout, "7\n", "{ran:?}");
        } else {
            assert_eq!(ran.stdout, if below.is_empty() { "0\n" } else { "1\n" }, "{ran:?}");
            assert!(ran.stderr.contains("older than util-linux 2.39"), "{ran:?}");
        }
    }
    Ok(())
}

pub fn the_script_takes_away_the_same() -> Test {
    let folder = tree()?;
    for args in ["-u dst", "-u -l dst", "-u -R dst", "-u -R -l ."] {
        let script = format!("$B src dst; $B -n {args} | sh -e; ls dst; {COUNT}");
        assert_eq!(in_folder(folder.path(), &script).silent(), "0\n", "{args}");
    }
    let root = bare_root()?;
    let script = format!("$B --std .; $B -n -u -R . | sh -e; {COUNT}");
    assert_eq!(in_folder(root.path(), &script).silent(), "0\n");
    Ok(())
}

/// A script that fails stops there, and the lines of --explain are those of the script.
pub fn explain_says_what_the_script_has() -> Test {
    let root = alpine()?;
    let args = "--std . --bind /etc/hosts:/srv:ro -- true";
    let script = in_folder(root.path(), &format!("$B -n {args}")).silent();
    fs::write(root.path().join("srv/x"), "").expect("our own folder");
    let failed = in_folder(root.path(), &format!("$B -n {args} | sh || echo status $?")).stdout;
    assert_eq!(failed, "status 32\n", "mount(8) fails, and true is not run");
    let args = args.replace("/etc/hosts", "/etc");
    let script = script.replace("/etc/hosts", "/etc");
    let said = in_folder(root.path(), &format!("$B -x {args}")).stderr;
    let said: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("+ ")).collect();
    let lines: Vec<&str> = script.lines().skip(2).collect();
    assert_eq!(said.len(), lines.len(), "{said:#?}");
    for (said, line) in said.iter().zip(lines) {
        assert_eq!(*said, line.replace("exec true", "true"));
    }
    Ok(())
}

pub fn a_dry_run_changes_nothing() -> Test {
    need_no_filter("the filter is one execve(2) more")?;
    let root = bare_root()?;
    need_program("strace")?;
    let script = "strace -f -o \"$1/log\" -e trace=mount,umount2,open_tree,move_mount,mount_setattr,\
        fsopen,fsmount,mkdirat,mkdir,execve $B -n --mkdir --std . -- true >/dev/null; cat \"$1/log\"";
    let calls = in_folder(root.path(), script).silent();
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
    assert!(matches!(calls.as_slice(), [start] if start.contains("execve(")), "{calls:?}");
    Ok(())
}
