//! Root file systems that lead outside: nothing there is touched, nothing is mounted there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::sys;
use nix::fcntl::AT_FDCWD;
use support::{Test, need_program, private_sh, run, scratch};

use super::{BINDMOUNT, bare_root, in_folder};

pub fn folders_that_lead_outside_are_refused() -> Test {
    let victim = scratch();
    fs::create_dir(victim.path().join("in")).expect("our own folder");
    for name in ["dev", "proc", "sys", "etc"] {
        for relative in [false, true] {
            let root = bare_root()?;
            fs::remove_dir(root.path().join(name)).expect("it is empty");
            let out = victim.path().strip_prefix("/").expect("an absolute path");
            let up = Path::new("../../../../../..").join(out);
            let link = if relative { up.as_path() } else { victim.path() };
            symlink(link, root.path().join(name)).expect("our own folder");
            let script = "$B --std . || echo refused $?; $B --list . | grep -c \"$1\" || true
                grep \" $2\" /proc/self/mountinfo || true; ls $2";
            let ran = run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
                .arg(root.path())
                .arg(victim.path()));
            assert_eq!(ran.stdout, "refused 1\n0\nin\n", "{name}: {ran:?}");
            assert!(ran.stderr.contains("(ELOOP)") && ran.stderr.contains("hint: "), "{ran:?}");
            in_folder(root.path(), "exec $B --dry-run --std .").fails(1, "bindmount", &["(ELOOP)"]);
        }
    }
    Ok(())
}

pub fn a_resolv_conf_that_leads_outside_touches_nothing() -> Test {
    let victim = scratch();
    let file = victim.path().join("file");
    fs::write(&file, "precious\n").expect("our own folder");
    let out = file.strip_prefix("/").expect("an absolute path");
    let folder = victim.path().join("none");
    for link in [
        file.clone(),
        Path::new("../../../../../..").join(out),
        Path::new("/proc/self/root").join(out),
        folder.join("resolv.conf"),
        "/proc/sysrq-trigger".into(),
        "/dev/null".into(),
        "resolv.conf".into(),
        ".".into(),
    ] {
        let root = bare_root()?;
        for covered in ["proc/sysrq-trigger", "dev/null"] {
            fs::write(root.path().join(covered), "").expect("our own folder");
        }
        symlink(&link, root.path().join("etc/resolv.conf")).expect("our own folder");
        let script = "$B --std .; cat etc/resolv.conf; echo mine >>etc/resolv.conf
            stat -c %F dev/null; grep -c -F -e sysrq -e \" $2\" /proc/self/mountinfo || true; cat $2/file";
        let ran = run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
            .args([root.path(), victim.path()]));
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let wanted = format!("{resolver}character special file\n0\nprecious\n");
        assert_eq!(ran.silent(), wanted, "{link:?}");
        assert!(!folder.exists(), "{link:?}");
    }
    Ok(())
}

/// As in merged-usr roots, where /lib is a link; and as somebody who means harm has it.
pub fn a_named_place_stays_inside() -> Test {
    let root = bare_root()?;
    let victim = scratch();
    for dir in ["usr/lib/x", "src"] {
        fs::create_dir_all(root.path().join(dir)).expect("our own folder");
    }
    fs::write(root.path().join("src/file"), "").expect("our own folder");
    fs::create_dir(victim.path().join("x")).expect("our own folder");
    let out = victim.path().strip_prefix("/").expect("an absolute path");
    for (link, to) in [
        ("lib", Path::new("usr/lib")),
        ("lib64", Path::new("/usr/lib")),
        ("up", Path::new("../../../../usr/lib")),
        ("out", victim.path()),
        ("outup", &Path::new("../../../..").join(out)),
    ] {
        symlink(to, root.path().join(link)).expect("our own folder");
    }
    let bind = |how: &str, dst: &str| {
        let script = format!(
            "{how} --std . --bind src:{dst}; ls \"$2/x\" usr/lib/x -d >/dev/null
            ls \"$2/x\" usr/lib/x | grep file"
        );
        run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
            .args([root.path(), victim.path()]))
    };
    for dst in ["/lib/x", "lib64/x", "/up/x"] {
        assert_eq!(bind("$B", dst).silent(), "file\n", "{dst}");
        let script = in_folder(root.path(), &format!("$B -n --std . --bind src:{dst}")).silent();
        assert!(script.contains("mount --bind src ./usr/lib/x "), "{script}");
    }
    for dst in ["/out/x", "/outup/x", "/out"] {
        for how in ["$B", "$B --mkdir", "$B --dry-run"] {
            bind(how, dst).fails(1, "bindmount", &["(ELOOP)", "symbolic link"]);
        }
    }
    Ok(())
}

/// Between the look at the mount table and the unmount, the folder becomes a link.
pub fn an_exchanged_folder_leads_no_unmount_outside() -> Test {
    need_program("strace")?;
    let (root, victim) = (bare_root()?, scratch());
    for folder in [root.path().join("a/m"), victim.path().join("m")] {
        fs::create_dir_all(folder).expect("our own folder");
    }
    let script = "mount -t tmpfs ours a/m; mount -t tmpfs precious \"$2/m\"
        strace -o log -e trace=openat2 -e inject=openat2:delay_enter=2000000 $B -u a/m & tool=$!
        for i in 1 2 3 4 5 6 7 8 9; do grep -q openat2 log 2>/dev/null && break; sleep 0.1; done
        mv a b; ln -s \"$2\" a; wait $tool || echo refused $?
        grep -o -e 'tmpfs ours' -e 'tmpfs precious' /proc/self/mountinfo";
    let ran = run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
        .args([root.path(), victim.path()]));
    assert_eq!(ran.stdout, "refused 1\ntmpfs ours\ntmpfs precious\n", "{ran:?}");
    assert!(ran.stderr.contains("/a/m\"") && ran.stderr.contains("(ELOOP)"), "{ran:?}");
    Ok(())
}

/// The mount point and a link to outside change places all the time, 500 rounds long.
pub fn an_exchanged_mount_point_leads_nowhere() -> Test {
    let (root, victim) = (bare_root()?, scratch());
    for folder in ["mnt", "src"] {
        fs::create_dir(root.path().join(folder)).expect("our own folder");
    }
    symlink(victim.path(), root.path().join("link")).expect("our own folder");
    let script = "i=0; good=0; while [ $i -lt 500 ]; do i=$((i+1))
        if $B --mkdir --std . --bind src:/mnt/x 2>err; then good=$((good+1))
        else grep -q -e ELOOP -e ENOENT -e ENOTDIR -e EEXIST err || cat err; fi
        ! grep -F \" $2\" /proc/self/mountinfo; $B -u -R . 2>/dev/null || true
        done; echo $good";
    let done = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (root.path().join("mnt"), root.path().join("link"));
            while !done.load(Relaxed) {
                sys::rename(AT_FDCWD, &a, AT_FDCWD, &b, sys::RENAME_EXCHANGE)
                    .expect("both are there");
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        let ran = run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}"))
            .args([root.path(), victim.path()]));
        done.store(true, Relaxed);
        ran
    });
    let good: u32 = ran.silent().trim().parse().expect("nothing but a number");
    assert!((1..500).contains(&good), "both outcomes are met: {good} of 500");
    assert_eq!(fs::read_dir(victim.path()).expect("our own folder").count(), 0);
    Ok(())
}
