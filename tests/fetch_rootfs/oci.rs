//! Images in folders and archives, as others make them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;
use support::{Ran, TempDir, Test, need_program, need_root, run, run_with_input, scratch};

use crate::archive::Archive;
use crate::image::{INDEX, Image, digest, gzip, machine, named, packed, same_time};
use crate::layers::three;
use crate::{fetch, fingerprint, names};

/// A folder with a layout in it, `layout`, of one image in three layers.
pub fn layout() -> TempDir {
    let (folder, mut image) = (scratch(), Image::default());
    let manifest = image.add(machine(), &three());
    image.layout(&folder.path().join("layout"), &[named(manifest, "box:1")]);
    folder
}

pub fn one(name: &str) -> Vec<Vec<u8>> {
    vec![Archive::default().file(name, name).end()]
}

pub fn fetched(source: &Path, root: &Path, options: &[&str]) -> Ran {
    run(fetch().args(options).arg(source).arg(root))
}

/// What another program does, and how long it takes.
fn timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    run(command).ok();
    start.elapsed().as_secs_f64() * 1000.0
}

fn compare(ours: &Path, theirs: &Path, what: &str) {
    same_time(ours);
    same_time(theirs);
    assert_eq!(fingerprint(ours), fingerprint(theirs), "{what}");
}

pub fn umoci_makes_the_same_tree_of_a_layout() -> Test {
    need_root()?;
    need_program("umoci")?;
    let published = support::archive("busybox-oci-layout")?;
    let made = layout();
    for (source, tag) in
        [(published, "busybox:1.38.0-glibc"), (made.path().join("layout"), "box:1")]
    {
        let folder = scratch();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let ours_ms = timed(fetch().arg(&source).arg(&ours));
        // umoci takes what stands behind a colon for the tag.
        let copy = folder.path().join("copy");
        run(Command::new("cp").arg("-aL").arg(&source).arg(&copy)).silent();
        let index = fs::read_to_string(copy.join("index.json")).expect("it is there");
        fs::write(copy.join("index.json"), index.replace(tag, "tag")).expect("our own folder");
        let mut umoci = Command::new("umoci");
        umoci.args(["raw", "unpack", "--image"]).arg(format!("{}:tag", copy.display()));
        let umoci_ms = timed(umoci.arg(&theirs));
        eprintln!("{tag}: fetch-rootfs {ours_ms:.1} ms, umoci raw unpack {umoci_ms:.1} ms");
        compare(&ours, &theirs, tag);
    }
    Ok(())
}

/// A layout in every form that it comes in gives the same tree.
pub fn every_form_of_an_image_is_told_by_content() -> Test {
    need_root()?;
    need_program("skopeo")?;
    let folder = layout();
    let at = |name: &str| folder.path().join(name);
    fetched(&at("layout"), &at("wanted"), &[]).silent();
    let archive = packed(&at("layout"));
    fs::write(at("layout.tar"), &archive).expect("our own folder");
    fs::write(at("layout.tar.gz"), gzip(&archive)).expect("our own folder");
    for to in ["docker-archive:saved.tar:box:1", "oci-archive:skopeo.tar:box:1", "oci:copy:x"] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet"]).current_dir(folder.path());
        run(skopeo.args(["oci:layout:box:1", to])).ok();
    }
    fs::write(at("saved.tar.gz"), gzip(&fs::read(at("saved.tar")).expect("it was just made")))
        .expect("our own folder");
    fs::write(at("old.tar"), old_save("box:1")).expect("our own folder");
    let forms = [
        "layout.tar",
        "layout.tar.gz",
        "saved.tar",
        "saved.tar.gz",
        "skopeo.tar",
        "copy",
        "old.tar",
    ];
    for name in forms {
        assert_eq!(
            fetched(&at(name), &at("root"), &[]).silent(),
            format!("{}\n", at("root").display())
        );
        compare(&at("root"), &at("wanted"), name);
        fs::remove_dir_all(at("root")).expect("our own folder");
    }
    let sum = digest(&archive);
    let options = ["--sha256", &sum[7..], "-"];
    run_with_input(fetch().args(options).arg(at("root")), &archive).silent();
    compare(&at("root"), &at("wanted"), "standard input");
    Ok(())
}

pub fn layers_of_every_type_are_taken() -> Test {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    let zstd = |tar: &[u8]| zstd::encode_all(tar, 1).expect("in memory");
    let (folder, mut image) = (scratch(), Image::default());
    let tars: Vec<Vec<u8>> =
        ["a", "b", "c", "d", "e"].into_iter().map(|n| one(n).remove(0)).collect();
    let layers = [
        image.blob(OCI, &tars[0]),
        image.blob(&format!("{OCI}+zstd"), &zstd(&tars[1])),
        image.blob(DOCKER, &tars[2]),
        image.blob(&format!("{DOCKER}.gzip"), &gzip(&tars[3])),
        // The same layer twice, and one with nothing in it.
        image.blob(&format!("{DOCKER}.zstd"), &zstd(&tars[4])),
        image.blob(OCI, &tars[0]),
        image.blob(OCI, &[0; 1024]),
    ];
    let mut diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    diff_ids.extend([digest(&tars[0]), digest(&[0; 1024])]);
    let manifest = image.add_with(machine(), &layers, &diff_ids);
    image.layout(&folder.path().join("layout"), &[manifest]);
    let root = folder.path().join("root");
    fetched(&folder.path().join("layout"), &root, &[]).silent();
    assert_eq!(names(&root), ["a", "b", "c", "d", "e"]);
    Ok(())
}

/// As Docker before 25 wrote it: `ID/layer.tar`, one of them a link to another.
fn old_save(tag: &str) -> Vec<u8> {
    let layers = three();
    let diff_ids: Vec<String> = layers.iter().map(|tar| digest(tar)).collect();
    let config = json!({"os": "linux", "architecture": machine(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string();
    let id = |n: usize| digest(&[u8::try_from(n).expect("few")])[7..].to_owned();
    let name = format!("{}.json", &digest(config.as_bytes())[7..]);
    let paths: Vec<String> = (0..3).map(|at| format!("{}/layer.tar", id(at))).collect();
    let manifest = json!([{"Config": name, "RepoTags": [tag], "Layers": paths}]).to_string();
    let mut archive = Archive::default();
    for (at, layer) in layers.iter().enumerate() {
        archive = archive.folder(&format!("{}/", id(at)));
        if at == 1 {
            let kept = format!("{}/kept.tar", id(at));
            archive = archive.with_data(b'0', &kept, layer);
            archive = archive.symlink(&paths[at], &format!("../{kept}"));
        } else {
            archive = archive.with_data(b'0', &paths[at], layer);
        }
    }
    archive.file(&name, &config).file("manifest.json", &manifest).end()
}

pub fn the_machine_s_image_is_chosen_or_the_one_asked_for() -> Test {
    let (folder, mut image) = (scratch(), Image::default());
    let at = |name: &str| folder.path().join(name);
    let here = image.add(machine(), &one("here"));
    let mut arm = image.add("arm", &one("v7"));
    arm["platform"]["variant"] = "v7".into();
    let mut old = image.add("arm", &one("v6"));
    old["platform"]["variant"] = "v6".into();
    let mut untold = image.add("s390x", &one("untold"));
    untold.as_object_mut().expect("a map").remove("platform");
    let inner = json!({"schemaVersion": 2, "manifests": [old, arm, here, untold]});
    let inner = image.document(INDEX, &inner);
    image.layout(&at("layout"), &[inner]);
    for (options, name) in [
        (&[][..], "here"),
        (&["--platform", "linux/arm"], "v7"),
        (&["--platform", "linux/arm/v6"], "v6"),
        (&["--platform", "linux/s390x"], "untold"),
    ] {
        fetched(&at("layout"), &at("root"), options).silent();
        assert_eq!(names(&at("root")), [name]);
        fs::remove_dir_all(at("root")).expect("our own folder");
    }
    for (platform, status, parts) in [
        ("linux/mips", 1, &["linux/arm/v6, linux/arm/v7", "linux/s390x", "hint: --platform"][..]),
        ("windows/amd64", 1, &["there is only"]),
        ("linux", 2, &["\"linux\"", "hint: as linux/amd64"]),
    ] {
        let ran = fetched(&at("layout"), &at("root"), &["--platform", platform]);
        ran.fails(status, "fetch-rootfs", parts);
    }
    assert_eq!(names(folder.path()), ["layout"]);
    Ok(())
}

pub fn an_image_of_several_is_chosen_by_its_name() -> Test {
    let (folder, mut image) = (scratch(), Image::default());
    let at = |name: &str| folder.path().join(name);
    let first = image.add(machine(), &one("first"));
    let second = image.add(machine(), &one("second"));
    image.layout(&at("layout"), &[named(first, "a:1"), named(second, "docker.io/library/b:2")]);
    for (name, wanted) in [("a:1", "first"), ("b:2", "second")] {
        fetched(&at("layout"), &at("root"), &["--image", name]).silent();
        assert_eq!(names(&at("root")), [wanted]);
        fs::remove_dir_all(at("root")).expect("our own folder");
    }
    let fails = |options: &[&str], parts: &[&str]| {
        fetched(&at("layout"), &at("root"), options).fails(1, "fetch-rootfs", parts);
    };
    fails(&[], &["a:1, docker.io/library/b:2", "hint: --image a:1"]);
    fails(&["--image", "c"], &["\"c\"", "a:1"]);
    fs::write(at("plain.tar"), &one("x")[0]).expect("our own folder");
    let ran = fetched(&at("plain.tar"), &at("root"), &["--image", "c"]);
    ran.fails(1, "fetch-rootfs", &["it is no image", "hint: "]);
    fs::create_dir(at("empty")).expect("our own folder");
    let ran = fetched(&at("empty"), &at("root"), &[]);
    ran.fails(1, "fetch-rootfs", &["a directory, and no OCI layout", "hint: "]);
    let ran = run(fetch().arg(format!("layers:{}", at("empty").display())).arg(at("root")));
    ran.fails(1, "fetch-rootfs", &["it is empty"]);
    assert_eq!(names(folder.path()), ["empty", "layout", "plain.tar"]);
    Ok(())
}

pub fn the_scripts_for_images_and_layers_do_the_same() -> Test {
    need_root()?;
    need_program("skopeo")?;
    need_program("umoci")?;
    let folder = layout();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("an image.tar"), old_save("box:1")).expect("our own folder");
    fs::create_dir(at("the layers")).expect("our own folder");
    for (name, layer) in ["1.tar", "2.tar", "3 .tar"].iter().zip(three()) {
        fs::write(at("the layers").join(name), layer).expect("our own folder");
    }
    for (source, chosen) in [
        ("layout", &[][..]),
        ("an image.tar", &[]),
        ("layers:the layers", &[]),
        ("layout", &["--exclude=var"]),
        ("an image.tar", &["--exclude", "hostname", "--exclude=/kind3"]),
        ("layers:the layers", &["--exclude=var"]),
    ] {
        let with = |options: &[&str], to: &str| {
            let mut command = fetch();
            command.current_dir(folder.path()).args(chosen).args(options);
            run(command.args([source, to]))
        };
        with(&[], "ours").silent();
        let script = with(&["-n"], "theirs").silent();
        assert!(!at("theirs").exists(), "a dry run does nothing");
        let ran = run(support::sh(&script).current_dir(folder.path()));
        assert_eq!(ran.ok(), format!("{}\n", at("theirs").display()), "{script}");
        compare(&at("ours"), &at("theirs"), &format!("{source} {chosen:?}"));
        for root in ["ours", "theirs"] {
            fs::remove_dir_all(at(root)).expect("our own folder");
        }
    }
    assert_eq!(names(folder.path()), ["an image.tar", "layout", "the layers"]);
    Ok(())
}

/// A script ends where one of its commands fails, and nothing gets the target's name.
pub fn a_script_fails_where_a_command_in_it_fails() -> Test {
    need_root()?;
    need_program("skopeo")?;
    let folder = layout();
    let at = |name: &str| folder.path().join(name);
    let layer = gzip(&three()[1]);
    fs::write(at("whole.tar.gz"), &layer).expect("our own folder");
    for (source, options) in
        [("layout", vec!["-n"]), ("whole.tar.gz", vec!["-n", "--skip-devices"])]
    {
        let script = run(fetch().args(options).arg(at(source)).arg(at("root"))).silent();
        let damaged = at("layout/blobs/sha256").join(&digest(&layer)[7..]);
        fs::write(damaged, &layer[..60]).expect("our own folder");
        fs::write(at("whole.tar.gz"), &layer[..60]).expect("our own folder");
        let ran = run(&mut support::sh(&script));
        assert!(ran.status != 0 && ran.stdout.is_empty(), "{source}: {ran:?}");
        assert_eq!(names(folder.path()), ["layout", "whole.tar.gz"]);
        fs::write(at("whole.tar.gz"), &layer).expect("our own folder");
    }
    Ok(())
}
