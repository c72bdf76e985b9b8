//! The small /dev of a root file system.

use std::fs;
use std::os::unix::fs::symlink;

use support::{Ran, TempDir, Test, need_program};

use super::standard::in_user_namespace;
use super::{COUNT, alpine, bare_root, fingerprint, in_folder};

const NAMES: &str = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ";

/// A script, as root and as root of a user namespace; `$1` is bindmount.
fn both_ways(root: &TempDir, script: &str) -> Result<[Ran; 2], support::Skip> {
    let as_root = in_folder(root.path(), &format!("set -- $B; {script}"));
    Ok([as_root, in_user_namespace(root.path(), "--pid --fork", script)?])
}

/// Another /dev for the tool to find: a test that fails changes that one.
fn other_dev(null: &str) -> String {
    format!(
        "mkdir -p m; mount -t tmpfs mine m; cp -a /dev/zero /dev/full /dev/random /dev/urandom \
         /dev/tty m; ln -s /proc/self/fd m/fd; {null}; mount --move m /dev; rmdir m; "
    )
}

pub fn the_nodes_are_those_that_every_program_expects() -> Test {
    let root = alpine()?;
    let before = fingerprint(root.path());
    let script = "umask 077; $1 --std .; ls dev | tr \"\\n\" \" \"; cd dev; find . -type b
        stat -c \"%n %F %t:%T %a\" null zero full random urandom tty
        readlink fd stdin stdout stderr ptmx; echo x >null; head -c 3 zero | wc -c
        head -c 3 urandom | wc -c; cat null; env echo x 2>&1 >full || true; stat -c %a . pts shm";
    for ran in both_ways(&root, script)? {
        let device = "character special file";
        let nodes = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
        let nodes = nodes.map(|(name, minor)| format!("{name} {device} 1:{minor} 666\n")).concat();
        let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
        let seen = ran.silent();
        let start = format!("{NAMES}{nodes}tty {device} 5:0 666\n{links}3\n3\n");
        assert!(seen.starts_with(&start), "{seen}");
        assert!(seen.ends_with(": No space left on device\n755\n755\n1777\n"), "{seen}");
    }
    assert_eq!(fingerprint(root.path()), before);
    Ok(())
}

/// As root the node is another one, in a user namespace it lies on a read-only mount.
pub fn a_chmod_inside_does_not_reach_the_machine() -> Test {
    let root = bare_root()?;
    let script = "look=\"stat -c %a:%u:%Y:%Z /dev/null\"; before=$($look); $1 --std .
        chmod 000 dev/null 2>/dev/null; touch -d @1 dev/null 2>/dev/null
        chown 7 dev/null 2>/dev/null; [ \"$($look)\" = \"$before\" ] && echo same";
    let script = script.replace("2>/dev/null", "2>err || true");
    let dev = other_dev("mknod -m 666 m/null c 1 3");
    let as_root = in_folder(root.path(), &format!("{dev} set -- $B; {script}"));
    assert_eq!(as_root.silent(), "same\n");
    let user = "exec unshare --map-root-user --mount --pid --fork sh -e -c";
    let user = in_folder(root.path(), &format!("{dev} {user} '{script}; cat err' sh $B")).silent();
    assert!(user.starts_with("same\n") && user.contains("Read-only file system"), "{user}");
    Ok(())
}

/// What is called null and is another device, a file, or a link to one, is bound nowhere.
pub fn a_node_that_is_another_is_refused() -> Test {
    let root = bare_root()?;
    for null in ["mknod m/null c 1 5", "mknod m/null b 1 3", "echo >m/null", "ln -s zero m/null"] {
        for user in ["", "exec unshare --map-root-user --mount --pid --fork"] {
            let dev = other_dev(null);
            let script = format!(
                "{dev} {user} sh -c 'set -- \"$1\"; status=0; {} --std . || status=$?
                    ! grep -F \" $1/\" /proc/self/mountinfo; exit $status' sh \"$1\"",
                super::BINDMOUNT
            );
            let parts =
                ["/dev/null", "not the character device 1:3", "hint: see what it is: ls -l"];
            in_folder(root.path(), &script).fails(1, "bindmount", &parts);
        }
    }
    Ok(())
}

pub fn terminals_and_shared_memory_are_its_own() -> Test {
    need_program("script")?;
    let root = bare_root()?;
    let script = "$1 --std .; echo x >dev/shm/bindmount-test; [ ! -e /dev/shm/bindmount-test ]
        mount --rbind dev /dev; script -qec \"tty; echo typed >/dev/tty; ls -A /dev/pts | cat\" /dev/null";
    for ran in both_ways(&root, script)? {
        let seen = ran.silent().replace('\r', "");
        assert_eq!(seen, "/dev/pts/0\ntyped\n0\nptmx\n");
    }
    let table = "$B --std .; grep -e \"$1/dev/pts\" -e \"$1/dev/shm\" /proc/self/mountinfo";
    let table = in_folder(root.path(), table).silent();
    assert!(table.contains(" rw,nosuid,noexec,relatime - devpts"), "{table}");
    assert!(table.contains("gid=5,mode=620,ptmxmode=666"), "{table}");
    assert!(table.contains("nodev,noexec,relatime - tmpfs tmpfs rw,size=65536k"), "{table}");
    Ok(())
}

pub fn the_machines_own_is_there_when_asked_for() -> Test {
    let root = bare_root()?;
    let script = "$B --std . --dev=machine; ls /dev >here; ls dev | diff here - && echo same";
    assert_eq!(in_folder(root.path(), script).silent(), "same\n");
    Ok(())
}

/// A root whose dev/null is a link to what must not be written.
pub fn nodes_of_the_roots_own_are_not_touched() -> Test {
    let root = bare_root()?;
    let victim = support::scratch();
    let file = victim.path().join("file");
    fs::write(&file, "precious\n").expect("our own folder");
    for name in ["null", "tty", "ptmx"] {
        symlink(&file, root.path().join("dev").join(name)).expect("our own folder");
    }
    symlink(victim.path(), root.path().join("dev/pts")).expect("our own folder");
    symlink("/proc/sys/kernel/core_pattern", root.path().join("dev/zero")).expect("ours");
    let before = fingerprint(root.path());
    let script = "$1 --std .; echo x >dev/null; stat -c %F dev/null dev/zero dev/pts";
    for ran in both_ways(&root, script)? {
        let device = "character special file\n";
        assert_eq!(ran.silent(), format!("{device}{device}directory\n"));
    }
    assert_eq!(fs::read_to_string(&file).expect("it was there"), "precious\n");
    assert_eq!(fs::read_dir(victim.path()).expect("ours").count(), 1, "nothing was made there");
    assert_eq!(fingerprint(root.path()), before);
    let gone = in_folder(root.path(), &format!("$B --std .; $B -u -R .; {COUNT}")).silent();
    assert_eq!(gone, "0\n");
    Ok(())
}

/// A devpts of nsenter-lite's is moved inside, so that the terminal has its name there; any other
/// holds terminals of others, and stays outside.
pub fn the_terminal_of_the_command_keeps_its_name() -> Test {
    need_program("script")?;
    for (source, does, named) in [
        ("nsenter-lite", "$B --std .", true),
        ("nsenter-lite", "$B -n --std . >s; sh s; rm s", true),
        ("nsenter-lite", "$B --std . </dev/null", false),
        ("devpts", "$B --std .", false),
    ] {
        let root = bare_root()?;
        let script = format!(
            "mount -t devpts -o newinstance,ptmxmode=0666 {source} /dev/pts; export B SHELL=/bin/sh
            script -qec '{does}; stat -Lc %d:%i dev/pts/0 /proc/self/fd/0 2>/dev/null | uniq -c \
            | wc -l; test -e dev/pts/0 && echo named; ls dev/pts/ptmx' /dev/null"
        );
        let seen = in_folder(root.path(), &script).silent().replace('\r', "");
        let wanted = if named { "1\nnamed\ndev/pts/ptmx\n" } else { "1\ndev/pts/ptmx\n" };
        assert_eq!(seen, wanted, "{source} {does}");
    }
    Ok(())
}
