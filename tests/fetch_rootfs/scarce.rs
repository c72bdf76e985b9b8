//! Where something runs short: descriptors, processes, room for what is printed. Nothing half done
//! is left, and the hint names the limit.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Test, need_program, need_root, run, scratch};

use crate::{fetch, names, small};

const TOOL: &str = env!("CARGO_BIN_EXE_fetch-rootfs");

/// The tree is there before its path is printed, for the next program starts with the path.
pub fn a_tree_whose_path_can_t_be_printed_is_taken_back() -> Test {
    need_root()?;
    let folder = scratch();
    let (tar, root) = (folder.path().join("a.tar"), folder.path().join("root"));
    fs::write(&tar, small()).expect("our own folder");
    let full = |options: &str| {
        let script = format!("exec \"$1\" {options} \"$2\" \"$3\" >/dev/full");
        run(support::sh(script).arg(TOOL).arg(&tar).arg(&root))
    };
    for options in ["", "--json", "--explain"] {
        let ran = full(options);
        assert!(ran.status == 1 && ran.stderr.contains("(ENOSPC)"), "{ran:?}");
        assert_eq!(names(folder.path()), ["a.tar"], "{options}");
    }
    fs::create_dir(&root).expect("our own folder");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o710)).expect("our own folder");
    chown(&root, Some(1), Some(2)).expect("we are root");
    full("").fails(1, "fetch-rootfs", &["write to standard output", "(ENOSPC)"]);
    let about = fs::metadata(&root).expect("the empty folder is there again");
    assert_eq!((about.mode() & 0o7777, about.uid(), about.gid()), (0o710, 1, 2));
    assert_eq!((names(&root).len(), names(folder.path()).len()), (0, 2));
    run(fetch().arg(&tar).arg(&root)).silent();
    Ok(())
}

pub fn a_process_without_descriptors_leaves_nothing() -> Test {
    let folder = scratch();
    let (tar, root) = (folder.path().join("a.tar"), folder.path().join("root"));
    fs::write(&tar, small()).expect("our own folder");
    let mut failed = 0;
    for most in 4..12 {
        let script = format!("ulimit -n {most}; exec \"$1\" \"$2\" \"$3\"");
        let ran = run(support::sh(script).arg(TOOL).arg(&tar).arg(&root));
        if ran.status != 0 {
            ran.fails(1, "fetch-rootfs", &["(EMFILE)", "hint: ", "ulimit -n"]);
            assert_eq!(names(folder.path()), ["a.tar"], "{most}: {ran:?}");
            failed += 1;
        } else {
            fs::remove_dir_all(&root).expect("it was made");
        }
    }
    assert!(failed > 3, "{failed}");
    Ok(())
}

/// The first process waits for the second, which has a thread that writes.
pub fn a_limit_on_processes_is_named() -> Test {
    need_root()?;
    need_program("prlimit")?;
    let folder = scratch();
    fs::write(folder.path().join("a.tar"), small()).expect("our own folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
    // The limit is on all processes of a user: this one has no others.
    let user = 61_000 + std::process::id() % 1000;
    for most in [1, 2] {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={most}")).args([TOOL, "a.tar", "root"]);
        let ran = run(command.uid(user).gid(user).current_dir(folder.path()));
        ran.fails(1, "fetch-rootfs", &["(EAGAIN)", "hint: ", "ulimit -u"]);
        assert_eq!(names(folder.path()), ["a.tar"]);
    }
    Ok(())
}
