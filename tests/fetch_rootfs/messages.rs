//! What a person is told, and the next program, in cases that are out of the ordinary.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use support::{Test, need_program, need_root, run, scratch};

use crate::{fetch, names, small};

pub fn a_tree_of_which_all_was_left_out_is_noted() -> Test {
    let folder = scratch();
    fs::write(folder.path().join("a.tar"), small()).expect("our own folder");
    for (options, empty) in [
        (["--strip-components", "99"], true),
        (["--exclude", "*"], true),
        (["--strip-components", "1"], false),
        (["--exclude", "hostname"], false),
    ] {
        let ran = run(fetch().current_dir(folder.path()).args(options).args(["a.tar", "root"]));
        let told = ran.stderr.contains("note: it is empty: --strip-components or --exclude leave");
        assert!(ran.status == 0 && told == empty, "{ran:?}");
        assert_eq!(names(&folder.path().join("root")).is_empty(), empty);
        fs::remove_dir_all(folder.path().join("root")).expect("it was made");
    }
    Ok(())
}

/// The next program gets the path as it is, and from JSON, which is text, too.
pub fn a_path_that_is_no_text_is_printed_as_it_is() -> Test {
    let folder = scratch();
    fs::write(folder.path().join("a.tar"), small()).expect("our own folder");
    let name = OsStr::from_bytes(b"d\xff");
    let mut command = fetch();
    command.current_dir(folder.path()).arg("a.tar").arg(name);
    let out = command.output().expect("it starts").stdout;
    let path = folder.path().join(name);
    assert_eq!(out, [path.as_os_str().as_bytes(), b"\n"].concat());
    fs::remove_dir_all(&path).expect("it was made");
    let json = run(command.arg("--json")).silent();
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let script = "printf %s \"$1\" | base64 -w0";
    let encoded = run(support::sh(script).arg(&path)).silent();
    assert_eq!(json["dir_base64"], encoded, "{json}");
    let plain = run(fetch().current_dir(folder.path()).args(["--json", "a.tar", "e"])).silent();
    assert!(!plain.contains("base64"), "{plain}");
    Ok(())
}

/// The name that it has for the time being is no longer than a name may be.
pub fn a_name_may_be_as_long_as_names_are() -> Test {
    let folder = scratch();
    fs::write(folder.path().join("a.tar"), small()).expect("our own folder");
    for name in ["x".repeat(250), "x".repeat(255), "é".repeat(127)] {
        let root = folder.path().join(&name);
        run(fetch().arg(folder.path().join("a.tar")).arg(&root)).silent();
        assert_eq!(names(&root), ["etc"]);
        fs::remove_dir_all(&root).expect("it was made");
        let script = run(fetch().arg("-n").arg(folder.path().join("a.tar")).arg(&root)).silent();
        run(&mut support::sh(&script)).ok();
        fs::remove_dir_all(&root).expect("it was made");
    }
    assert_eq!(names(folder.path()), ["a.tar"]);
    Ok(())
}

pub fn a_place_that_can_t_be_had_is_told_with_a_way_out() -> Test {
    need_root()?;
    let folder = scratch();
    fs::write(folder.path().join("a.tar"), small()).expect("our own folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let mut user = fetch();
    user.current_dir(folder.path()).args(["a.tar", "root"]).uid(65534).gid(65534);
    let parts = ["(EACCES)", "hint: you may not write to \"", "as root"];
    run(&mut user).fails(1, "fetch-rootfs", &parts);
    let script =
        "mkdir \"$1/gone\" && cd \"$1/gone\" && rmdir \"$1/gone\" && exec \"$2\" host:true x";
    let mut gone = support::sh(script);
    gone.arg(folder.path()).arg(fetch().get_program());
    run(&mut gone).fails(1, "fetch-rootfs", &["(ENOENT)", "hint: this working directory was"]);
    Ok(())
}

/// Nobody types an archive: it would wait without a word.
pub fn a_terminal_is_no_archive() -> Test {
    need_program("script")?;
    let folder = scratch();
    let tool = fetch();
    let line = format!("{} - root", tool.get_program().display());
    let mut command = Command::new("script");
    let ran = run(command.current_dir(folder.path()).args(["-qec", &line, "/dev/null"]));
    let told = ran.stdout.contains("standard input: it is a terminal");
    assert!(ran.status == 1 && told, "{ran:?}");
    assert!(names(folder.path()).is_empty());
    Ok(())
}

/// It hangs up on what it does not understand.
pub fn a_server_that_speaks_no_tls_is_told() -> Test {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let folder = scratch();
    let url = format!("https://{address}/x");
    let ran = run(fetch().args(["--retries", "0", &url]).arg(folder.path().join("root")));
    ran.fails(1, "fetch-rootfs", &[&url, "hint: does it speak TLS there?"]);
    Ok(())
}
