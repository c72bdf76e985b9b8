//! Every system call fails once: what was done before is undone.

use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Ran, Test, need_program};

use super::{COUNT, bare_root, in_folder, tree};

const CALLS: [&str; 10] = [
    "open_tree",
    "mount_setattr",
    "openat2",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "mkdirat",
    "mknodat",
    "symlinkat",
];

/// Runs it with the n-th call of that name refused.
fn refused(folder: &Path, call: &str, errno: &str, n: usize, args: &str) -> Ran {
    refused_beside(folder, "", call, errno, n, args)
}

/// The same beside what is refused anyway.
fn refused_beside(
    folder: &Path,
    beside: &str,
    call: &str,
    errno: &str,
    n: usize,
    args: &str,
) -> Ran {
    let inject = format!("-e inject={call}:error={errno}:when={n}");
    let strace = format!("strace -o log -e trace={call},mknodat {beside} {inject}");
    let script = format!(
        "status=0; {strace} $B {args} || status=$?; {COUNT}; find . ! -name log | sort; exit $status"
    );
    in_folder(folder, &script)
}

/// Where there are no nodes to be made, as in a user namespace, those of the machine are bound.
const NO_NODES: &str = "-e inject=mknodat:error=EPERM";

/// The calls that are refused are those that a run makes, one after the other, until none is left.
pub fn each_call_that_fails_leaves_nothing() -> Test {
    need_program("strace")?;
    let args = "--mkdir --std . --bind /etc:/a/b:ro,private";
    for (link, beside) in [(false, ""), (true, ""), (false, NO_NODES)] {
        let mut failures = 0;
        for call in CALLS.into_iter().filter(|call| !beside.contains(call)) {
            for n in 1.. {
                let root = bare_root()?;
                if link {
                    symlink("none", root.path().join("etc/resolv.conf")).expect("our own folder");
                }
                let names = in_folder(root.path(), "find . ! -name log | sort").silent();
                let ran = refused_beside(root.path(), beside, call, "EIO", n, args);
                let log = std::fs::read_to_string(root.path().join("log")).expect("strace ran");
                if !log.contains("(Input/output error) (INJECTED)") {
                    assert_eq!(ran.status, 0, "{call} {n}: {ran:?}");
                    break;
                }
                // What finds nothing, or another way, goes on without.
                if ran.status == 0 {
                    continue;
                }
                failures += 1;
                assert_eq!(ran.status, 1, "{call} {n}: {ran:?}");
                assert_eq!(ran.stdout, format!("0\n{names}"), "{call} {n}: {ran:?}");
                assert!(ran.stderr.contains("(EIO)") && ran.stderr.lines().count() < 3, "{ran:?}");
            }
        }
        assert!(failures > 70, "{failures} failures");
    }
    Ok(())
}

pub fn what_the_kernel_lacks_is_named() -> Test {
    need_program("strace")?;
    let folder = tree()?;
    for (call, errno, hint) in [
        ("open_tree", "ENOSYS", "hint: this takes Linux 5.12 (open_tree, move_mount: 5.2"),
        ("mount_setattr", "ENOSYS", "mount_setattr: 5.12"),
        ("move_mount", "ENOSPC", "hint: no disk is full, there are too many mounts"),
        ("open_tree", "EINVAL", "unbindable"),
    ] {
        let ran = refused(folder.path(), call, errno, 1, "-r src dst");
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains(&format!("({errno})")) && ran.stderr.contains(hint), "{ran:?}");
        assert!(ran.stdout.starts_with("0\n"), "{ran:?}");
    }
    Ok(())
}

/// Paths are then opened name by name.
pub fn without_openat2_the_same_is_mounted() -> Test {
    need_program("strace")?;
    let mounted = |errno: Option<&str>| {
        let root = bare_root()?;
        let inject = errno.map_or_else(String::new, |errno| {
            format!("strace -qq -o /dev/null -e trace=openat2 -e inject=openat2:error={errno}")
        });
        let script = format!(
            "{inject} $B --mkdir --std . --bind /etc:/a/b:ro; $B --list . | sed \"s|$PWD||g\"
            $B -u -R .; $B --list . | wc -l"
        );
        Ok(in_folder(root.path(), &script).silent())
    };
    let plain = mounted(None)?;
    assert!(plain.lines().count() > 10 && plain.ends_with("\n1\n"), "{plain}");
    for errno in ["ENOSYS", "EPERM"] {
        assert_eq!(mounted(Some(errno))?, plain, "{errno}");
    }
    Ok(())
}
