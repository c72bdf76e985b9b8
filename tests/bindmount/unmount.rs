//! Mounts taken away.

use support::{Test, run};

use super::{COUNT, bare_root, in_folder, tree};

pub fn unmount_takes_away_one_or_all() -> Test {
    let folder = tree()?;
    let script = "$B src dst; $B src/file dst/file; $B -u dst 2>&1 || true; $B -u -R dst; ls dst
        $B src dst; $B src dst; $B -u dst; ls dst; $B -u dst; ls dst";
    let said = in_folder(folder.path(), script).silent();
    assert!(said.contains("(EBUSY)") && said.contains("bindmount -u -R"), "{said}");
    assert_eq!(said.lines().filter(|line| *line == "sub").count(), 1, "the first of two: {said}");
    let script = "$B src/file file; $B src dst; $B -u -R .; cat file; ls dst";
    assert_eq!(in_folder(folder.path(), script).silent(), "file\n", "also under no mount point");
    let busy = in_folder(folder.path(), "$B src dst; cd dst; $B -u -l ../dst; ls");
    assert_eq!(busy.silent(), "file\nsub\n", "--lazy leaves it to those who are in it");
    Ok(())
}

/// A mount that was made early may lie on one that was made later, or under it.
pub fn the_order_is_that_of_the_mounts() -> Test {
    let folder = tree()?;
    let script = "mount -t tmpfs early src/sub; mount -t tmpfs late dst; mkdir dst/a
        mount --move src/sub dst/a; mount -t tmpfs over dst/a; mount -t tmpfs hides .
        cd /; $B -u -R \"$1\"";
    assert_eq!(in_folder(folder.path(), &format!("{script}; {COUNT}")).silent(), "0\n");
    let script = "$B src dst; $B src/file dst/file; ln -s dst link; $B -u -R -l link";
    assert_eq!(in_folder(folder.path(), &format!("{script}; {COUNT}")).silent(), "0\n");
    Ok(())
}

pub fn what_is_shared_goes_with_its_twin() -> Test {
    let folder = tree()?;
    let script = "mount --bind src src; mount --make-shared src; $B src dst
        mount -t tmpfs t src/sub";
    let count = in_folder(folder.path(), &format!("{script}; {COUNT}; $B -u -R .; {COUNT}"));
    assert_eq!(count.silent(), "4\n0\n");
    // A root that is mounted on itself: below it lie twins of all, on folders that the first have had.
    let root = bare_root()?;
    let std = "mount --make-rshared /; mount --bind . .; cd \"$PWD\"; $B --std .; $B --std .; cd /";
    for (how, told) in [("$B -u -R \"$1\"", ""), ("$B -n -u -R \"$1\" | sh -e", "umount: ")] {
        let ran = in_folder(root.path(), &format!("{std}; {how}; {COUNT}"));
        let said = ran.stderr.lines().all(|line| !told.is_empty() && line.starts_with(told));
        assert!(ran.status == 0 && ran.stdout == "0\n" && said, "{how}: {ran:?}");
    }
    Ok(())
}

pub fn the_machines_root_is_refused() -> Test {
    let folder = tree()?;
    for args in ["-u -R /", "-u -R -l /", "-u -R ///", "-n -u -R /proc/.."] {
        in_folder(folder.path(), &format!("exec $B {args}")).fails(
            1,
            "bindmount",
            &["unmount \"/\""],
        );
    }
    Ok(())
}

/// umount(2) of a process's own root makes that file system read-only, for all who use it, and no mount
/// namespace contains that: so only ever tried where the root is memory of the test's own.
pub fn a_root_stays_writable() -> Test {
    let folder = tree()?;
    let root = "mount -t tmpfs own dst; cp -L --parents $B $(ldd $B | grep -o '/[^ ]*') dst
        mkdir dst/proc; mount --rbind /proc dst/proc; cd dst; [ $(stat -f -c %T .) = tmpfs ]";
    for spelled in ["/", "///", "/.", "/..", "/proc/..", "/proc/self/root", "."] {
        for lazy in ["", "-l"] {
            let args = format!("-u {lazy} {spelled}");
            let status = "status=0; chroot . $B $args || status=$?; touch writable; exit $status";
            let ran = in_folder(folder.path(), &format!("{root}; args='{args}'; {status}"));
            ran.fails(1, "bindmount", &["unmount \"/\": it is the root", "hint: "]);
        }
    }
    Ok(())
}

pub fn a_user_namespace_keeps_trees_together() -> Test {
    let root = bare_root()?;
    let inside = |script: &str| {
        let script =
            format!("$1 --std .; {script}; grep -c -F \" $PWD\" /proc/self/mountinfo || true");
        let unshare = "unshare --map-root-user --mount --pid --fork sh -e -c";
        run(support::private_sh(&format!(
            "cd \"$1\"; {unshare} '{script}' sh {}",
            super::BINDMOUNT
        ))
        .arg(root.path()))
    };
    if inside("true").status != 0 {
        return Err(support::skip("needs user namespaces"));
    }
    let kept = inside("$1 -u -R . || true");
    assert!(kept.stderr.contains("(EINVAL)") && kept.stderr.contains("--lazy"), "{kept:?}");
    assert_eq!(inside("$1 -u -R -l .").silent(), "0\n");
    Ok(())
}
