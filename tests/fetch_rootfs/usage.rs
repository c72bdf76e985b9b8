//! How it is asked: the sources that are no archive, wrong usage, the script that does the same.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{Test, need_program, need_root, run, run_with_input, scratch};

use crate::server::Server;
use crate::{compressed, extract, fetch, fingerprint, large, names, small};

pub fn standard_input_is_a_source() -> Test {
    let folder = scratch();
    let root = folder.path().join("root");
    let printed = extract(folder.path(), &compressed("gzip", &small())?, &[]).silent();
    assert_eq!(printed, format!("{}\n", root.display()));
    assert_eq!(names(&root), ["etc"]);
    fs::remove_dir_all(&root).expect("our own folder");
    fs::create_dir(&root).expect("our own folder");
    extract(folder.path(), &small(), &[]).silent();
    assert_eq!(names(&root), ["etc"], "an empty directory is taken");
    Ok(())
}

pub fn what_is_no_archive_is_told_by_what_it_is() -> Test {
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:x\n", "git-lfs"),
        (b"PK\x03\x04rest", "a zip archive"),
        (&[b'x'; 2000], "no tar archive"),
    ] {
        let folder = scratch();
        extract(folder.path(), bytes, &[]).fails(1, "fetch-rootfs", &[why, "hint: "]);
        assert!(names(folder.path()).is_empty());
    }
    Ok(())
}

pub fn wrong_usage_is_one_line() -> Test {
    let folder = scratch();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(inside("full")).expect("our own folder");
    fs::write(inside("full/x"), "").expect("our own folder");
    fs::write(inside("good.tar"), small()).expect("our own folder");
    symlink(inside("full"), inside("link")).expect("our own folder");
    let (good, new, full) = (inside("good.tar"), inside("new"), inside("full"));
    let (link, nowhere) = (inside("link"), inside("no/such/place"));
    let (good, new) = (good.as_str(), new.as_str());
    for (args, status, parts) in [
        (vec![] as Vec<&str>, 2, &["required arguments", "hint: "][..]),
        (vec![good], 2, &["<DIR>"]),
        (vec!["--bogus", good, new], 2, &["unexpected argument '--bogus'"]),
        (vec!["", new], 2, &["it is empty", "hint: "]),
        (vec!["ftp://host/x", new], 2, &["ftp is not known", "hint: "]),
        (vec!["HTTP://", new], 2, &["it names no host", "hint: "]),
        (vec!["file:///x y", new], 2, &["file is not known", "hint: ", "its path: '/x y'"]),
        (vec!["oci:x:3", new], 1, &["(ENOENT)", "hint: ", "--image 3 x"]),
        (vec!["docker-archive:x", new], 1, &["(ENOENT)", "hint: ", "its path alone: x"]),
        (vec!["docker:/alpine:3", new], 1, &["(ENOENT)", "hint: ", "docker://alpine:3"]),
        (vec!["docker-daemon:a:3", new], 1, &["(ENOENT)", "hint: docker save a:3 | fetch-rootfs"]),
        (vec!["containers-storage:a", new], 1, &["(ENOENT)", "hint: podman save a | fetch-rootfs"]),
        (vec!["fedora:40", new], 1, &["(ENOENT)", "hint: ", "docker://fedora:40"]),
        (vec!["quay.io/a/b", new], 1, &["(ENOENT)", "hint: ", "docker://quay.io/a/b; a URL"]),
        (vec!["../a:3", new], 1, &["(ENOENT)", "hint: nor is it a name of the catalogue"]),
        (vec!["a.tar", new], 1, &["(ENOENT)", "hint: nor is it a name of the catalogue"]),
        (vec!["https:/h/x.tar", new], 1, &["(ENOENT)", "hint: a URL is as https://HOST/PATH"]),
        (vec!["docker://a@sha256:12", new], 2, &["64 hexadecimal", "hint: a digest is whole"]),
        (vec!["--timeout", "0", good, new], 2, &["'0'", "--timeout", "hint: "]),
        (vec!["--list-entries", good, new], 2, &["--list-entries", "DIR", "hint: "]),
        (vec!["--list", "--json"], 2, &["--list", "cannot be used with", "hint: "]),
        (vec!["--sha256", "12", good, new], 2, &["not 64 hexadecimal digits", "hint: "]),
        (vec!["--max-size", "10X", good, new], 2, &["\"10X\""]),
        (vec!["host:no-such-program", new], 2, &["\"no-such-program\""]),
        (vec!["/no/such.tar", new], 1, &["\"/no/such.tar\"", "(ENOENT)", "--list"]),
        (vec![good, "/"], 2, &["no name of its own"]),
        (vec![good, &full], 1, &["(ENOTEMPTY)", "hint: "]),
        (vec![good, good], 1, &["(EEXIST)", "no directory"]),
        (vec![good, &link], 1, &["(EEXIST)"]),
        (vec![good, &nowhere], 1, &["(ENOENT)", "hint: mkdir -p"]),
    ] {
        let before = fingerprint(folder.path());
        run(fetch().args(&args)).fails(status, "fetch-rootfs", parts);
        assert_eq!(fingerprint(folder.path()), before, "{args:?}");
    }
    Ok(())
}

pub fn the_dry_run_script_does_the_same() -> Test {
    need_root()?;
    need_program("curl")?;
    let folder = scratch();
    let file = folder.path().join("a file.tar.gz");
    let packed = compressed("gzip", &large())?;
    let server = Server::start(packed.clone());
    fs::File::create(&file).and_then(|mut f| f.write_all(&packed)).expect("our own folder");
    let sum = run(Command::new("sha256sum").arg(&file)).silent();
    let sum = sum.split(' ').next().unwrap_or_default().to_owned();
    let (url, path) = (server.url("moved"), file.display().to_string());
    for source in [url.as_str(), &path, "-"] {
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let with = |dir: &Path, options: &[&str]| {
            run_with_input(fetch().args(options).args(["--sha256", &sum, source]).arg(dir), &packed)
        };
        with(&ours, &[]).silent();
        let script = with(&theirs, &["-n"]).silent();
        assert!(!theirs.exists(), "a dry run does nothing");
        let ran = run_with_input(&mut support::sh(&script), &packed);
        assert_eq!(ran.ok(), format!("{}\n", theirs.display()));
        for root in [&ours, &theirs] {
            run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
        }
        assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{source}");
        let wrong = script.replace(&sum, &"0".repeat(64));
        run(Command::new("rm").arg("-r").args([&ours, &theirs])).silent();
        assert_ne!(run_with_input(&mut support::sh(&wrong), &packed).status, 0);
        assert_eq!(names(folder.path()), ["a file.tar.gz"], "the script clears up, too");
    }
    Ok(())
}

/// GNU tar does not read them.
pub fn the_script_for_cpio_and_lz4_does_the_same() -> Test {
    need_root()?;
    need_program("bsdtar")?;
    let folder = scratch();
    let tree = folder.path().join("tree");
    extract(folder.path(), &large(), &[]).silent();
    fs::rename(folder.path().join("root"), &tree).expect("our own folder");
    let tar = folder.path().join("tree.tar.lz4");
    fs::write(&tar, compressed("lz4", &large())?).expect("our own folder");
    need_program("cpio")?;
    let cpio = folder.path().join("tree.cpio.gz");
    let pack = "cd \"$1\" && find . | cpio --quiet -o -H newc | gzip >\"$2\"";
    run(support::sh(pack).arg(&tree).arg(&cpio)).silent();
    for archive in [tar, cpio] {
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        run(fetch().arg(&archive).arg(&ours)).silent();
        let script = run(fetch().arg("-n").arg(&archive).arg(&theirs)).silent();
        assert_eq!(run(&mut support::sh(&script)).ok(), format!("{}\n", theirs.display()));
        for root in [&ours, &theirs] {
            run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
        }
        assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{archive:?}");
        run(Command::new("rm").arg("-r").args([&ours, &theirs])).silent();
    }
    Ok(())
}

pub fn a_dry_run_changes_nothing() -> Test {
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let file = folder.path().join("a.tar");
    fs::write(&file, small()).expect("our own folder");
    let calls = "trace=mkdir,mkdirat,rename,renameat2,unlink,unlinkat,symlinkat,linkat,mknodat,fchown,\
        fchmod,clone,clone3,fork,vfork,connect,execve";
    let mut command = Command::new("strace");
    command.args(["-f", "-e", calls, "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
    run(command.arg("-n").arg(&file).arg(folder.path().join("root"))).silent();
    let calls = fs::read_to_string(log).expect("strace wrote it");
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
    assert!(matches!(calls.as_slice(), [start] if start.contains("execve")), "{calls:?}");
    Ok(())
}
