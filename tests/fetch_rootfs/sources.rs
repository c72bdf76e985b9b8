//! Servers that work and servers that don't, and what is left when a run is ended midway.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{
    Signal, TempDir, Test, eventually, need_program, run, run_with_input, scratch, send, wait,
};

use crate::server::Server;
use crate::{compressed, extract, fetch, large, names, small};

pub fn a_url_is_a_source() -> Test {
    let body = compressed("gzip", &large())?;
    let server = Server::start(body.clone());
    for url in [
        server.url("good"),
        server.url("good").replace("http", "HTTP"),
        server.url("moved"),
        server.url("chunked"),
    ] {
        let folder = scratch();
        let root = folder.path().join("root");
        let sum = run_with_input(&mut Command::new("sha256sum"), &body).silent();
        let sum = sum.split(' ').next().unwrap_or_default().to_owned();
        run(fetch().args(["--sha256", &sum]).arg(&url).arg(&root)).silent();
        assert_eq!(names(&root), ["etc", "last", "noise"], "{url}");
        assert_eq!(names(folder.path()), ["root"]);
    }
    Ok(())
}

/// One read(2) of a pipe or a socket gives what has come by then.
pub fn a_source_may_come_in_pieces_of_any_size() -> Test {
    for (body, cuts) in [
        (large(), &[1, 5, 100, 511][..]),
        (compressed("gzip", &large())?, &[1]),
        (compressed("xz", &large())?, &[1, 3]),
        (compressed("bzip2", &large())?, &[3]),
        (compressed("zstd", &large())?, &[2]),
    ] {
        let server = Server::start(body.clone());
        let folder = scratch();
        let (file, root) = (folder.path().join("file"), folder.path().join("root"));
        fs::write(&file, &body).expect("our own folder");
        for cut in cuts {
            let slow = "(head -c \"$2\" \"$1\"; sleep 0.1; tail -c \"+$(($2 + 1))\" \"$1\") |";
            let mut command = support::sh(format!("{slow} \"$3\" - \"$4\""));
            command.arg(&file).arg(cut.to_string()).arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
            run(command.arg(&root)).silent();
            fs::remove_dir_all(&root).expect("it was made");
            run(fetch().arg(server.url(&format!("chunked={cut}"))).arg(&root)).silent();
            assert_eq!(names(&root), ["etc", "last", "noise"], "{cut}");
            fs::remove_dir_all(&root).expect("it was made");
        }
    }
    Ok(())
}

/// It never stands for the usual port, where somebody else's server may be.
pub fn what_is_no_port_is_refused() -> Test {
    let server = Server::start(small());
    let folder = scratch();
    let root = folder.path().join("root");
    for url in ["http://127.0.0.1:99999/x", "http://me:hidden@127.0.0.1:x/y", "https://h:-1/"] {
        let ran = run(fetch().args(["--header", "X-Token: hidden", url]).arg(&root));
        ran.fails(2, "fetch-rootfs", &["its port is none", "hint: "]);
        assert!(!ran.stderr.contains("hidden"), "{ran:?}");
        let list = run(fetch().args(["--checksums", url]).arg(server.url("good")).arg(&root));
        list.fails(2, "fetch-rootfs", &["its port is none", "hint: "]);
    }
    let moved = run(fetch().arg(server.url("to=http://127.0.0.1:99999/x")).arg(&root));
    moved.fails(1, "fetch-rootfs", &["redirected to", "whose port is none"]);
    let proxied = run(fetch().env("all_proxy", "127.0.0.1:99999").arg("http://h/x").arg(&root));
    proxied.fails(1, "fetch-rootfs", &["$all_proxy"]);
    assert!(names(folder.path()).is_empty());
    Ok(())
}

pub fn a_server_that_fails_is_told_in_a_line() -> Test {
    let plain = Server::start(large());
    let packed = Server::start(compressed("gzip", &large())?);
    for server in [&plain, &packed] {
        for (path, parts) in [
            ("none", &["404", "hint: is the address right?"][..]),
            ("error", &["503", "hint: "]),
            ("loop", &["redirected more than 10 times"]),
            ("elsewhere", &["file:///etc/passwd", "not as safe"]),
            ("truncated", &["fetch-rootfs: "]),
            ("stalls", &["timeout"]),
        ] {
            let folder = scratch();
            let start = Instant::now();
            let mut command = fetch();
            command.args(["--timeout", "1"]).arg(server.url(path)).arg(folder.path().join("root"));
            let ran = run(&mut command);
            ran.fails(1, "fetch-rootfs", parts);
            assert!(names(folder.path()).is_empty(), "{path}");
            assert!(start.elapsed() < Duration::from_secs(20), "{path}");
        }
    }
    let folder = scratch();
    let refused = run(fetch().arg("http://127.0.0.1:1/x").arg(folder.path().join("root")));
    refused.fails(1, "fetch-rootfs", &["http://127.0.0.1:1/x", "refused (ECONNREFUSED)"]);
    Ok(())
}

/// On a terminal alone there is a line that is rewritten, and is gone in the end.
pub fn progress_is_for_terminals() -> Test {
    need_program("script")?;
    let server = Server::start(large());
    for (options, shown) in [("", true), ("--quiet", false)] {
        let folder = scratch();
        let line = format!(
            "{} {options} {} {}",
            env!("CARGO_BIN_EXE_fetch-rootfs"),
            server.url("slow"),
            folder.path().join("root").display()
        );
        let mut command = Command::new("script");
        let ran = run(command.args(["-qec", &line, "/dev/null"]).env_remove("HOME"));
        let text = ran.ok();
        assert_eq!(text.contains(" left, entry 2") && text.contains("KiB/s"), shown, "{text:?}");
        assert_eq!(text.contains("\r\x1b[K"), shown, "{text:?}");
        assert!(text.trim_end().ends_with("/root"), "{text:?}");
    }
    Ok(())
}

/// Nothing is downloaded here: the script says what would be.
pub fn the_catalogue_knows_where_things_are() -> Test {
    let list = run(fetch().arg("--list")).silent();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(names, ["alpine", "arch", "busybox", "centos7", "debian", "ubuntu", "void"]);
    let folder = scratch();
    let script = |args: &[&str]| {
        run(fetch().current_dir(folder.path()).arg("-n").args(args).arg("root")).silent()
    };
    let centos = script(&["centos7"]);
    for part in [
        "/216a920c467977bbd0f456d3bc381100a88b3768/docker/centos-7.8.2003-x86_64-docker.tar.xz",
        "git hash-object",
        "35654e74b9990a2b7116f9473c09fe7dbfdc7515",
    ] {
        assert!(centos.contains(part) || !cfg!(target_arch = "x86_64"), "{part}: {centos}");
    }
    if cfg!(target_arch = "x86_64") {
        let alpine = script(&["alpine:3.20"]);
        assert!(alpine.contains("alpine-minirootfs-3.20.3-x86_64.tar.gz.sha256"), "{alpine}");
        assert!(alpine.contains("sums/alpine-minirootfs-3.20.3-x86_64.tar.gz"), "{alpine}");
        let given = script(&["--sha256", &"0".repeat(64), "alpine:3.20"]);
        assert!(!given.contains(".sha256 "), "what is given goes first: {given}");
    }
    let none = run(fetch().args(["centos7:6"]).arg(folder.path().join("root")));
    none.fails(2, "fetch-rootfs", &["\"centos7\"", "no version 6", "hint: fetch-rootfs --list"]);
    run(fetch().args(["--list", "alpine"])).fails(2, "fetch-rootfs", &["--list"]);
    Ok(())
}

pub fn a_wrong_checksum_leaves_nothing() -> Test {
    let server = Server::start(large());
    let folder = scratch();
    let (root, wrong) = (folder.path().join("root"), "0".repeat(64));
    run(fetch().args(["--sha256", &wrong]).arg(server.url("good")).arg(&root)).fails(
        1,
        "fetch-rootfs",
        &["its SHA-256 is", &wrong, "hint: "],
    );
    assert!(names(folder.path()).is_empty());
    Ok(())
}

/// Starts a slow fetch; waits until it has begun to write.
fn slow(server: &Server, folder: &TempDir) -> Child {
    let root = folder.path().join("root");
    let mut command = fetch();
    command.arg(server.url("slow")).arg(root).process_group(0);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("a temporary folder", || {
        let staging = names(folder.path()).into_iter().find(|name| name.contains(".fetch-"))?;
        let mut begun = fs::read_dir(folder.path().join(staging).join("root")).ok()?;
        begun.next().map(drop)
    });
    child
}

pub fn a_signal_leaves_nothing_and_is_told_by_the_status() -> Test {
    let server = Server::start(large());
    for (signal, number) in [(Signal::SIGINT, 2), (Signal::SIGTERM, 15), (Signal::SIGHUP, 1)] {
        // To the group, as a terminal's Ctrl-C; or to the process alone.
        for group in [true, false] {
            let folder = scratch();
            let mut child = slow(&server, &folder);
            send(&child, signal, group);
            let status = wait(&mut child, Duration::from_secs(10)).expect("it ends by itself");
            assert_eq!(status.code(), Some(128 + number), "{signal}");
            assert!(names(folder.path()).is_empty(), "{signal} {group}");
        }
    }
    Ok(())
}

pub fn a_killed_run_is_cleared_away_by_the_next() -> Test {
    let server = Server::start(large());
    let folder = scratch();
    let mut child = slow(&server, &folder);
    let mut alive = slow_beside(&server, &folder);
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    let dead = folder.path().join(format!(".root.fetch-{}", child.id()));
    eventually("its worker ends with it, and the lock is free", || {
        let free = run(Command::new("flock").arg("--nonblock").arg(&dead).arg("true"));
        (free.status == 0).then_some(())
    });
    extract(folder.path(), &small(), &[]).silent();
    let left = names(folder.path());
    assert!(left.len() == 2 && left[1] == "root", "the live one's stays: {left:?}");
    alive.kill().expect("our own child");
    alive.wait().expect("our own child");
    Ok(())
}

/// Another run to the same target, at the same time.
fn slow_beside(server: &Server, folder: &TempDir) -> Child {
    let mut command = fetch();
    command.arg(server.url("slow")).arg(folder.path().join("root")).process_group(0);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("a second temporary folder", || (names(folder.path()).len() == 2).then_some(()));
    child
}
