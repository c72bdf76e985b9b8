//! A root that is changed in the mount namespace that is there.

use support::{Ran, Test, alpine, private_sh, run, scratch};

use crate::chrootx;

/// Runs a line of shell in a mount namespace that is a peer of another, which is open as descriptor
/// 9: what is unmounted in the one would be in the other. `$1` is the root, `$B` the program. What
/// has become of the other is said last.
fn within(line: &str) -> Result<Ran, support::Skip> {
    let root = alpine()?;
    let script = "
        exec 9</proc/self/ns/mnt
        mount --make-rshared /
        before=$(cat /proc/self/mountinfo)
        unshare --mount --propagation unchanged sh -ec \"$LINE\" sh \"$1\"
        if [ \"$before\" = \"$(cat /proc/self/mountinfo)\" ]; then echo as it was; fi";
    let mut command = private_sh(script);
    command.arg(root.path()).env("LINE", line).env("B", env!("CARGO_BIN_EXE_chrootx"));
    Ok(run(&mut command))
}

pub fn all_in_the_namespace_get_the_root() -> Test {
    let look = "cat /etc/alpine-release; pwd; while read a b c d at rest; do echo $at; done \
                </proc/self/mountinfo";
    let line = format!(
        "cd /; $B --in-place 9 \"$1\" sh -c 'mount -t proc proc /proc; {look}; ls /proc/self/fd'
        PATH=/bin; {look}"
    );
    let seen = "3.20.3\n/\n/\n/proc\n";
    // 3 is the folder that ls(1) reads.
    assert_eq!(within(&line)?.silent(), format!("{seen}0\n1\n2\n3\n{seen}as it was\n"));
    Ok(())
}

pub fn in_place_only_what_is_asked_for_is_done() -> Test {
    let line = "$B --in-place 9 --read-only \"$1\" sh -c 'touch /x 2>&1 || echo no'";
    let wanted = "touch: /x: Read-only file system\nno\nas it was\n";
    assert_eq!(within(line)?.silent(), wanted);
    let script = "eval \"$($B --dry-run --in-place 9 \"$1\" cat /etc/alpine-release)\"";
    assert_eq!(within(script)?.silent(), "3.20.3\nas it was\n");
    Ok(())
}

pub fn a_namespace_of_others_is_left_alone() -> Test {
    let root = scratch();
    let said = |redirect: &str| {
        let mut command = private_sh(&format!(
            "cd \"$1\"; echo mark >mark; eval \"$B --in-place 9 . true {redirect}\" || status=$?
            cat \"$1/mark\"; exit $status"
        ));
        run(command.arg(root.path()).env("B", env!("CARGO_BIN_EXE_chrootx")))
    };
    for (redirect, why) in [
        ("9<&-", "the caller has no such descriptor open"),
        ("9</dev/null", "it is no mount namespace"),
        ("9</proc/self/ns/net", "it is no mount namespace"),
        ("9</proc/self/ns/mnt", "we are in it, and so are others"),
    ] {
        let ran = said(redirect);
        assert_eq!(ran.stdout, "mark\n", "{redirect}: {ran:?}");
        let ran = Ran { stdout: String::new(), ..ran };
        ran.fails(125, "chrootx", &["pivot in place", why, "hint: ", "--fd 9=/proc/self/ns/mnt"]);
    }
    // The script looks at that, too.
    for redirect in ["8</proc/self/ns/mnt", "8</proc/self/ns/net", "8</dev/null", "8<&-"] {
        let script = format!("eval \"$($B --dry-run --in-place 8 / true)\" {redirect}");
        let ran = run(private_sh(&script).env("B", env!("CARGO_BIN_EXE_chrootx")));
        let said = "8 is no mount namespace, or this one\n";
        assert_eq!((ran.status, ran.stderr.as_str()), (125, said), "{redirect}");
    }
    run(chrootx().args(["--in-place", "x", "/"])).fails(125, "chrootx", &["in-place", "hint: "]);
    let mut kept = private_sh("exec \"$1\" --in-place 9 --keep-fd 9 / 9</proc/self/ns/mnt");
    let kept = run(kept.arg(env!("CARGO_BIN_EXE_chrootx")));
    kept.fails(125, "chrootx", &["--keep-fd", "a way out", "hint: "]);
    let both = ["--in-place", "9", "--chroot", "/"];
    run(chrootx().args(both)).fails(125, "chrootx", &["--chroot", "hint: "]);
    Ok(())
}
