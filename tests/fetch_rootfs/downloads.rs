//! Downloads that break off, servers that are busy, and what is told to whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Ran, TempDir, Test, need_program, run, run_with_input, scratch};

use crate::https_server;
use crate::server::{Fault, Server};
use crate::{compressed, fetch, large, names, small};

fn sha256(bytes: &[u8]) -> String {
    let sum = run_with_input(&mut Command::new("sha256sum"), bytes).silent();
    sum.split(' ').next().unwrap_or_default().to_owned()
}

/// Fetches into a folder, with a digest that must be right whatever happened on the way.
fn get(folder: &TempDir, url: &str, body: &[u8], options: &[&str]) -> Ran {
    let mut command = fetch();
    command.args(["--sha256", &sha256(body)]).args(options);
    run(command.arg(url).arg(folder.path().join("root")))
}

pub fn a_download_that_breaks_off_at_any_tenth_goes_on() -> Test {
    for body in [large(), compressed("gzip", &large())?] {
        let server = Server::start(body.clone());
        for tenth in 0..10 {
            let folder = scratch();
            let at = body.len() * tenth / 10;
            let path = format!("tagged{tenth}");
            get(&folder, &server.faulty(&path, &[Fault::Drop(at)]), &body, &[]).silent();
            assert_eq!(names(&folder.path().join("root")), ["etc", "last", "noise"]);
            let requests = server.requests();
            let ranges: Vec<_> = requests.iter().map(|asked| asked.header("range")).collect();
            assert_eq!(ranges, [None, Some(format!("bytes={at}-").as_str())]);
            assert_eq!(requests[1].header("if-range"), Some("\"one\""));
        }
        // Each connection brings a tenth: no attempt fails that brings something.
        let folder = scratch();
        let faults = vec![Fault::Drop(body.len() / 10); 9];
        get(&folder, &server.faulty("tagged", &faults), &body, &["--retries", "1"]).silent();
        assert_eq!(server.requests().len(), 10);
    }
    Ok(())
}

/// It knows no ranges, or tells no version: then all of it comes once more, and the start counts
/// only if it is the same.
pub fn a_server_without_ranges_is_read_from_the_start() -> Test {
    let body = compressed("gzip", &large())?;
    let server = Server::start(body.clone());
    let half = body.len() / 2;
    for (path, faults) in [
        ("tagged", [Fault::Drop(half), Fault::DropPlain(usize::MAX)]),
        ("tagged-untagged", [Fault::DropPlain(half), Fault::DropPlain(half + 100)]),
    ] {
        let folder = scratch();
        get(&folder, &server.faulty(path, &faults), &body, &[]).silent();
        assert_eq!(names(&folder.path().join("root")), ["etc", "last", "noise"], "{path}");
    }
    Ok(())
}

pub fn a_file_that_changes_meanwhile_is_no_file() -> Test {
    let body = large();
    let server = Server::start(body.clone());
    let half = body.len() / 2;
    for (path, faults, part) in [
        ("tagged-a", vec![Fault::DropThenChange(half)], "it begins otherwise"),
        ("tagged-untagged", vec![Fault::DropThenChange(half)], "it begins otherwise"),
        ("tagged-b", vec![Fault::Drop(half), Fault::WrongRange], "it sends \"bytes "),
        ("tagged-c", vec![Fault::Drop(half), Fault::Answer("416 No")], "416"),
    ] {
        let folder = scratch();
        let url = server.faulty(path, &faults);
        let ran = run(fetch().arg(url).arg(folder.path().join("root")));
        ran.fails(1, "fetch-rootfs", &[part, path]);
        assert!(names(folder.path()).is_empty(), "{path}");
    }
    Ok(())
}

pub fn a_busy_server_is_asked_again_and_not_for_ever() -> Test {
    let body = small();
    let server = Server::start(body.clone());
    let busy = Fault::Answer("503 Busy");
    let wait = Fault::Answer("429 Too Many Requests\r\nRetry-After: 1");
    let folder = scratch();
    let start = Instant::now();
    let faults = [busy.clone(), wait];
    get(&folder, &server.faulty("tagged", &faults), &body, &[]).silent();
    assert!(start.elapsed() > Duration::from_secs(1), "it waits as it is told");
    assert_eq!(server.requests().len(), 3);
    for (faults, options, parts, count) in [
        (vec![busy.clone(); 9], ["--retries", "2"], ["503", "(attempt 3 of 3)"], 3),
        (vec![busy; 9], ["--retries", "0"], ["503", "try again later"], 1),
        (vec![Fault::Answer("404 No"); 9], ["--retries", "9"], ["404", "address"], 1),
        (vec![Fault::Longer(5); 9], ["--retries", "1"], ["ends it after", "of"], 2),
        (
            vec![Fault::Answer("503 Busy\r\nRetry-After: 86400"); 9],
            ["--retries", "9"],
            ["503", "later"],
            1,
        ),
    ] {
        let folder = scratch();
        let ran = get(&folder, &server.faulty("tagged-untagged", &faults), &body, &options);
        ran.fails(1, "fetch-rootfs", &parts);
        assert_eq!(server.requests().len(), count, "{parts:?}");
        assert!(names(folder.path()).is_empty());
    }
    Ok(())
}

/// Headers and passwords go to the server that they are meant for; no message has them.
pub fn a_secret_is_told_to_one_server_only() -> Test {
    let body = small();
    let (ours, theirs) = (Server::start(body.clone()), Server::start(body.clone()));
    let folder = scratch();
    let netrc = folder.path().join("netrc");
    fs::write(&netrc, "machine 127.0.0.1 login me password word\n").expect("our own folder");
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o600)).expect("our own file");
    let with = |url: &str, header: bool| {
        let root = folder.path().join("root");
        let mut command = fetch();
        command.env("NETRC", &netrc).args(["--retries", "0"]);
        if header {
            command.args(["--header", "X-Token: secret", "--header", "authorization: secret"]);
        }
        let ran = run(command.arg(url).arg(&root));
        let _ = fs::remove_dir_all(root);
        ran
    };
    let basic = Some("Basic bWU6d29yZA==");
    with(&ours.url("moved"), true).silent();
    let asked = ours.requests();
    for request in &asked {
        assert_eq!(request.header("x-token"), Some("secret"), "{asked:?}");
        assert_eq!(request.header("authorization"), Some("secret"), "before ~/.netrc");
    }
    assert_eq!(asked.len(), 2, "{asked:?}");
    for header in [true, false] {
        with(&ours.url(&format!("to={}", theirs.url("good"))), header).silent();
        let (first, second) = (ours.requests(), theirs.requests());
        assert!(first[0].header("authorization").is_some());
        assert_eq!(second[0].path, "/good");
        assert_eq!((second[0].header("authorization"), second[0].header("x-token")), (None, None));
    }
    with(&ours.url("good"), false).silent();
    assert_eq!(ours.requests()[0].header("authorization"), basic);
    let url = ours.url("good").replace("//", "//you:p%40ss@");
    with(&url, false).silent();
    assert_eq!(ours.requests()[0].header("authorization"), Some("Basic eW91OnBAc3M="));
    let failed = with(&ours.url("none").replace("//", "//you:secret@"), true);
    failed.fails(1, "fetch-rootfs", &["404"]);
    assert!(!failed.stderr.contains("secret"), "{failed:?}");
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o644)).expect("our own file");
    let warned = with(&ours.url("good"), false);
    assert!(warned.stderr.contains("others can read passwords") && warned.status == 0);
    assert_eq!(warned.stderr.lines().count(), 1, "{warned:?}");
    run(fetch().args(["--header", "secret", "x", "y"])).fails(2, "fetch-rootfs", &["Name: value"]);
    Ok(())
}

/// A proxy is a server that is asked for another one, by CONNECT.
pub fn a_proxy_is_taken_from_the_environment() -> Test {
    let proxy = Server::start(small());
    let folder = scratch();
    let root = folder.path().join("root");
    let mut command = fetch();
    command.env("http_proxy", format!("http://{}", proxy.address)).env_remove("NO_PROXY");
    command
        .env("https_proxy", "http://127.0.0.1:1")
        .env_remove("no_proxy")
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy");
    let ran = run(command.args(["--retries", "0", "http://host.invalid/x"]).arg(&root));
    ran.fails(1, "fetch-rootfs", &["404", "hint: a proxy is asked, which "]);
    assert_eq!(proxy.requests()[0].path, "host.invalid:80");
    let gone = run(command.env("http_proxy", "127.0.0.1:1").arg("--json"));
    gone.fails(1, "fetch-rootfs", &["(ECONNREFUSED)", "hint: a proxy is asked, which "]);
    command.env("http_proxy", format!("http://{}", proxy.address));
    let direct = run(command.env("NO_PROXY", "host.invalid").arg("--quiet"));
    direct.fails(1, "fetch-rootfs", &["host.invalid"]);
    assert!(proxy.requests().is_empty(), "{direct:?}");
    let bad = run(command.env("http_proxy", "bad://me:secret@p").env_remove("NO_PROXY"));
    bad.fails(1, "fetch-rootfs", &["$http_proxy", "hint: "]);
    assert!(!bad.stderr.contains("secret"));
    Ok(())
}

/// An https server with a CA of its own, which the client is told by $SSL_CERT_FILE or not at all.
pub fn https_trusts_the_system_and_whom_it_is_told() -> Test {
    need_program("openssl")?;
    let folder = scratch();
    let port = https_server::start(folder.path(), &Server::start(small()).address);
    let url = format!("https://localhost:{port}/good");
    let with = |ca: Option<&str>, url: &str| {
        let mut command = fetch();
        if let Some(ca) = ca {
            command.env("SSL_CERT_FILE", folder.path().join(ca));
        }
        command.args(["--retries", "0"]).arg(url);
        let ran = run(command.arg(folder.path().join("root")));
        let _ = fs::remove_dir_all(folder.path().join("root"));
        ran
    };
    let (trusted, unknown) = (with(Some("ca.pem"), &url), with(None, &url));
    let wrong_name = with(Some("ca.pem"), &format!("https://127.0.0.1:{port}/good"));
    trusted.silent();
    unknown.fails(1, "fetch-rootfs", &["https://localhost", "certificate", "SSL_CERT_FILE"]);
    wrong_name.fails(1, "fetch-rootfs", &["https://127.0.0.1", "certificate"]);
    Ok(())
}
