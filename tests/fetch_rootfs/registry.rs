//! Images from a registry: one that works, and ones that don't, or mean harm.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{
    Ran, Signal, TempDir, Test, eventually, need_program, need_root, run, scratch, send, wait,
};

use crate::archive::Archive;
use crate::image::{INDEX, Image, machine, same_time};
use crate::layers::three;
use crate::registry_server::{Auth, Fault, PASSWORD, Registry, digest_of};
use crate::{fetch, fingerprint, large, names};

/// An index over an image for this machine, in three layers, and one for another; its digest.
fn stock() -> (Image, String) {
    let mut image = Image::default();
    let here = image.add(machine(), &three());
    let other = image.add("mips", &[Archive::default().file("mips", "x").end()]);
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, here]});
    let index = image.document(INDEX, &index);
    (image, digest_of(&index))
}

pub fn manifest_of_this_machine() -> String {
    digest_of(&Image::default().add(machine(), &three()))
}

pub fn shop(auth: Auth, fault: Fault) -> (Registry, String) {
    let (image, digest) = stock();
    (Registry::start(&image, &[("1", &digest), ("latest", &digest)], auth, fault), digest)
}

/// Without what this machine's user has in his own files.
pub fn pull(name: &str, folder: &TempDir, options: &[&str]) -> Ran {
    let mut command = fetch();
    let command = command.arg("--no-cache").args(options).arg(name);
    let command = command.arg(folder.path().join("root"));
    run(without_credentials(command, folder.path()))
}

pub fn without_credentials<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"] {
        command.env_remove(name);
    }
    command.env("HOME", home)
}

/// The same tree as from a layout in a folder.
pub fn compare(folder: &TempDir) {
    let (image, digest) = stock();
    let size = image.blobs[&digest].len();
    let index = json!({"mediaType": INDEX, "digest": digest, "size": size});
    let (layout, wanted) = (folder.path().join("layout"), folder.path().join("wanted"));
    image.layout(&layout, &[index]);
    run(fetch().arg(&layout).arg(&wanted)).silent();
    let root = folder.path().join("root");
    same_time(&root);
    same_time(&wanted);
    assert_eq!(fingerprint(&root), fingerprint(&wanted));
    for name in ["layout", "wanted", "root"] {
        fs::remove_dir_all(folder.path().join(name)).expect("our own folder");
    }
}

pub fn an_image_comes_from_a_registry() -> Test {
    let folder = scratch();
    for auth in [Auth::Nothing, Auth::Token] {
        let (registry, digest) = shop(auth, Fault::Nothing);
        for name in ["team/box:1", "box", &format!("box:7@{digest}")] {
            let printed = pull(&registry.name(name), &folder, &[]).silent();
            assert_eq!(printed, format!("{}\n", folder.path().join("root").display()));
            compare(&folder);
        }
        let name = registry.name("box").replace("docker:", "oci:");
        pull(&name, &folder, &["--platform", "linux/mips"]).silent();
        assert_eq!(names(&folder.path().join("root")), ["mips"]);
        fs::remove_dir_all(folder.path().join("root")).expect("our own folder");
    }
    Ok(())
}

pub fn credentials_go_to_the_registry_and_its_tokens_alone() -> Test {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    for auth in [Auth::Basic, Auth::TokenForPassword] {
        let elsewhere = shop(Auth::Nothing, Fault::Nothing).0;
        let (registry, _) = shop(auth, Fault::Redirect(elsewhere.address.clone()));
        let name = registry.name("team/box");
        pull(&name, &folder, &[]).fails(1, "fetch-rootfs", &["401", "hint: ", "skopeo login"]);
        let known = json!({"auths": {registry.address.clone(): {"auth": PASSWORD}}}).to_string();
        for (variable, file) in [
            ("REGISTRY_AUTH_FILE", "file.json"),
            ("XDG_RUNTIME_DIR", "containers/auth.json"),
            ("DOCKER_CONFIG", "config.json"),
            ("HOME", ".docker/config.json"),
        ] {
            let file = at(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("our own folder");
            fs::write(&file, &known).expect("our own folder");
            let value = if variable == "REGISTRY_AUTH_FILE" { &file } else { folder.path() };
            let mut command = fetch();
            command.arg("--no-cache").arg(&name).arg(at("root"));
            let command = without_credentials(&mut command, &at("nowhere"));
            run(command.env(variable, value)).silent();
            fs::remove_file(file).expect("our own folder");
            fs::remove_dir_all(at("root")).expect("our own folder");
        }
        assert!(elsewhere.log().len() >= 3, "blobs came from there");
        for line in elsewhere.log() {
            assert!(!line.contains("Bearer") && !line.contains("Basic"), "{line}");
        }
    }
    let (registry, _) = shop(Auth::TokenForPassword, Fault::Nothing);
    fs::create_dir_all(at(".docker")).expect("our own folder");
    fs::write(at(".docker/config.json"), r#"{"credsStore": "desktop"}"#).expect("our own folder");
    let ran = pull(&registry.name("box"), &folder, &[]);
    ran.fails(
        1,
        "fetch-rootfs",
        &["401", "hint: docker-credential-desktop", "No such file", "skopeo"],
    );
    fs::write(at(".docker/config.json"), "{").expect("our own folder");
    let ran = pull(&registry.name("box"), &folder, &[]);
    ran.fails(1, "fetch-rootfs", &["config.json", "EOF"]);
    assert!(!at("root").exists());
    Ok(())
}

pub fn a_registry_that_fails_for_a_while_is_asked_again() -> Test {
    for fault in [
        Fault::TooMany(2),
        Fault::Cut { always: false },
        Fault::CutWithoutRanges,
        Fault::Slow(Duration::from_millis(50)),
    ] {
        let (folder, (registry, _)) = (scratch(), shop(Auth::Token, fault.clone()));
        pull(&registry.name("box"), &folder, &[]).silent();
        compare(&folder);
        let ranges = registry.log().iter().filter(|line| line.contains(" bytes=")).count();
        assert_eq!(ranges > 0, matches!(fault, Fault::Cut { .. } | Fault::CutWithoutRanges));
    }
    Ok(())
}

pub fn a_registry_that_fails_or_means_harm_is_told_in_a_line() -> Test {
    let none = "http://127.0.0.1:1/token";
    for (auth, fault, name, parts) in [
        (Auth::Token, Fault::NeverSatisfied, "box", &["401", "\"who are you?\"", "hint: "][..]),
        (Auth::Basic, Fault::NeverSatisfied, "box", &["401", "hint: "]),
        (Auth::Nothing, Fault::Nothing, "box:2", &["404", "manifest unknown", "such a tag"]),
        (Auth::Nothing, Fault::TooMany(100), "box", &["429", "hint: "]),
        (Auth::Nothing, Fault::Cut { always: true }, "box", &["get the layer", "bytes"]),
        (Auth::Nothing, Fault::Changed, "box", &["its digest is sha256:", "hint: "]),
        (Auth::Nothing, Fault::Endless, "box", &["larger than 4 MiB"]),
        (
            Auth::Token,
            Fault::Realm("http://10.0.0.1/t".into()),
            "box",
            &["10.0.0.1", "neither https"],
        ),
        (Auth::Token, Fault::Realm("file:///etc/passwd".into()), "box", &["neither https"]),
        (Auth::Token, Fault::Realm(none.into()), "box", &["get a token", "refused (ECONNREFUSED)"]),
        (Auth::Nothing, Fault::Redirect("127.0.0.1:1".into()), "box", &["refused (ECONNREFUSED)"]),
    ] {
        let (folder, (registry, _)) = (scratch(), shop(auth, fault.clone()));
        let start = Instant::now();
        pull(&registry.name(name), &folder, &["--timeout", "5"]).fails(1, "fetch-rootfs", parts);
        assert!(names(folder.path()).is_empty(), "{fault:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{fault:?}");
    }
    let (folder, (registry, digest)) = (scratch(), shop(Auth::Nothing, Fault::Changed));
    let ran = pull(&registry.name(&format!("box@{digest}")), &folder, &[]);
    ran.fails(1, "fetch-rootfs", &["verify the manifest", &digest]);
    let (registry, _) = shop(Auth::Nothing, Fault::Nothing);
    let ran = pull(&registry.name("box"), &folder, &["--platform", "linux/s390x"]);
    ran.fails(1, "fetch-rootfs", &["linux/mips", "hint: --platform"]);
    let ran = pull(&registry.name("box"), &folder, &["--max-size", "300"]);
    ran.fails(1, "fetch-rootfs", &["--max-size"]);
    let ran = pull(&registry.name("box"), &folder, &["--header", "X: secret"]);
    ran.fails(2, "fetch-rootfs", &["--header", "REGISTRY_AUTH_FILE"]);
    assert!(!ran.stderr.contains("secret"));
    let sum = "0".repeat(64);
    for (name, options, parts) in [
        (registry.name("Box"), vec![], &["lower-case", "hint: as docker://"][..]),
        (registry.name("box@sha256:12"), vec![], &["64 hexadecimal digits"]),
        ("docker://".into(), vec![], &["hint: as docker://"]),
        (registry.name("box"), vec!["--sha256", &sum], &["--sha256", "hint: "]),
        (registry.name("box"), vec!["--image", "x"], &["--image", "hint: docker://NAME:TAG"]),
    ] {
        pull(&name, &folder, &options).fails(2, "fetch-rootfs", parts);
    }
    assert!(names(folder.path()).is_empty());
    Ok(())
}

/// What does not say what it is, is what its form says; what has two forms, nothing.
pub fn a_manifest_without_a_type_is_told_by_its_form() -> Test {
    let (folder, (mut image, digest)) = (scratch(), stock());
    let untyped = |digest: &str| {
        let mut value: serde_json::Value =
            serde_json::from_slice(&image.blobs[digest]).expect("made here");
        value.as_object_mut().expect("made here").remove("mediaType");
        value
    };
    let index = untyped(&digest);
    let mut both = untyped(&manifest_of_this_machine());
    let manifest = digest_of(&image.document("text/plain", &both));
    let index_digest = digest_of(&image.document("text/plain", &index));
    both["manifests"] = index["manifests"].clone();
    let both = digest_of(&image.document("text/plain", &both));
    let tags = [("index", index_digest.as_str()), ("manifest", &manifest), ("both", &both)];
    let registry = Registry::start(&image, &tags, Auth::Nothing, Fault::Untyped);
    for name in ["box:index", "box:manifest"] {
        pull(&registry.name(name), &folder, &[]).silent();
        compare(&folder);
    }
    pull(&registry.name("box:both"), &folder, &[]).fails(1, "fetch-rootfs", &["an index, too"]);
    Ok(())
}

/// With layers that take a while each to come, three of them take hardly longer than one.
pub fn layers_come_at_the_same_time() -> Test {
    let wait = Duration::from_millis(1500);
    let (folder, (registry, _)) = (scratch(), shop(Auth::Nothing, Fault::Slow(wait)));
    let start = Instant::now();
    pull(&registry.name("box"), &folder, &[]).silent();
    assert!(start.elapsed() < wait * 2, "{:?}", start.elapsed());
    Ok(())
}

pub fn a_pull_that_is_ended_leaves_nothing() -> Test {
    let mut image = Image::default();
    let here = image.add(machine(), &[large(), large()]);
    let digest = digest_of(&here);
    let fault = Fault::Slow(Duration::from_secs(30));
    let registry = Registry::start(&image, &[("latest", &digest)], Auth::Nothing, fault);
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let folder = scratch();
        let before = registry.log().len();
        let mut command = fetch();
        command.arg("--no-cache").arg(registry.name("box")).arg(folder.path().join("root"));
        command.process_group(0);
        let mut child = without_credentials(&mut command, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        eventually("the layer is being asked for", || {
            (registry.log().len() >= before + 3).then_some(())
        });
        send(&child, signal, true);
        let ended = wait(&mut child, Duration::from_secs(10)).expect("it ends by itself");
        assert_eq!(ended.code(), Some(status));
        assert!(names(folder.path()).is_empty(), "{signal}");
    }
    Ok(())
}

/// By SIGKILL, at many moments; what it leaves, the next run to the same place clears away.
pub fn a_pull_that_is_killed_is_cleared_away_by_the_next() -> Test {
    let (folder, (registry, _)) = (scratch(), shop(Auth::Token, Fault::Nothing));
    for moment in (0..40).step_by(3) {
        let mut command = fetch();
        command.arg("--no-cache").arg(registry.name("box")).arg(folder.path().join("root"));
        command.process_group(0);
        let command = without_credentials(&mut command, folder.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("fork");
        thread::sleep(Duration::from_millis(moment));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        // Its worker, which holds the lock, ends a moment later.
        eventually("all is cleared away", || {
            let _ = fs::remove_dir_all(folder.path().join("root"));
            pull(&registry.name("box"), &folder, &[]).silent();
            (names(folder.path()) == ["root"]).then_some(())
        });
        compare(&folder);
    }
    Ok(())
}

pub fn skopeo_and_umoci_make_the_same_tree_of_a_pull() -> Test {
    need_root()?;
    need_program("skopeo")?;
    need_program("umoci")?;
    let (folder, (registry, _)) = (scratch(), shop(Auth::Token, Fault::Nothing));
    let start = Instant::now();
    pull(&registry.name("team/box:1"), &folder, &[]).silent();
    let ours = start.elapsed();
    let theirs = folder.path().join("theirs");
    let mut command = fetch();
    let script = run(command.arg("-n").arg(registry.name("team/box:1")).arg(&theirs)).silent();
    let start = Instant::now();
    run(without_credentials(&mut support::sh(&script), folder.path())).ok();
    eprintln!("a pull: fetch-rootfs {ours:.1?}, skopeo and umoci {:.1?}", start.elapsed());
    let root = folder.path().join("root");
    same_time(&root);
    same_time(&theirs);
    assert_eq!(fingerprint(&root), fingerprint(&theirs));
    Ok(())
}
