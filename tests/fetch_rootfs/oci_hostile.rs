//! Images that are damaged, or mean harm.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::{Test, run, run_with_input, scratch};

use crate::archive::Archive;
use crate::image::{INDEX, Image, LAYER, digest, gzip, machine, packed};
use crate::layers::three;
use crate::oci::{fetched, layout, one};
use crate::{fetch, names};

/// A layout, damaged by the closure; as a folder and as an archive it is refused alike.
#[track_caller]
fn refuses(damage: impl Fn(&mut Image, &mut Value), parts: &[&str]) {
    let (folder, mut image) = (scratch(), Image::default());
    let layout = folder.path().join("layout");
    let mut descriptor = image.add(machine(), &three());
    damage(&mut image, &mut descriptor);
    image.layout(&layout, &[descriptor]);
    fs::write(folder.path().join("layout.tar"), packed(&layout)).expect("our own folder");
    for name in ["layout", "layout.tar"] {
        let ran = fetched(&folder.path().join(name), &folder.path().join("root"), &[]);
        ran.fails(1, "fetch-rootfs", parts);
        assert_eq!(names(folder.path()), ["layout", "layout.tar"], "{name}: nothing is left");
    }
}

fn layer_of(image: &mut Image, at: usize) -> &mut Vec<u8> {
    let digest = digest(&gzip(&three()[at]));
    image.blobs.get_mut(&digest).expect("it was put in")
}

pub fn an_image_that_is_not_what_its_digests_say_is_refused() -> Test {
    refuses(|image, _| layer_of(image, 1)[40] ^= 1, &["verify the layer", "its digest is sha256:"]);
    refuses(|image, _| layer_of(image, 2).truncate(60), &["verify the layer", "60 bytes, not"]);
    refuses(|image, _| layer_of(image, 2).push(0), &["verify the layer", "more than its"]);
    let missing = format!("sha256:{}", "0".repeat(64));
    refuses(|_, of| of["digest"] = missing.clone().into(), &["open ", &missing[7..]]);
    refuses(|_, of| of["size"] = 3.into(), &["more than its 3 bytes"]);
    refuses(|_, of| of["size"] = (-3).into(), &["-3", "index.json"]);
    for wrong in ["sha256:../../x", "sha256:ABC", "../../../etc/passwd", "md5:0", ""] {
        refuses(|_, of| of["digest"] = wrong.into(), &["is not sha256: and 64", wrong]);
    }
    // The packed bytes are right, what is in them is not.
    let other = |image: &mut Image, of: &mut Value| {
        let layer = image.blob(LAYER, &gzip(&one("x")[0]));
        *of = image.add_with(machine(), &[layer], &[digest(b"other")]);
    };
    refuses(other, &["verify the archive in the layer", "its digest is sha256:"]);
    let fewer = |image: &mut Image, of: &mut Value| {
        let layer = image.blob(LAYER, &gzip(&one("x")[0]));
        *of = image.add_with(machine(), &[layer], &[]);
    };
    refuses(fewer, &["it has 1 layers, its configuration 0"]);
    refuses(|image, of| *of = image.add(machine(), &[]), &["it has no layers"]);
    Ok(())
}

pub fn images_that_mean_harm_are_refused() -> Test {
    let foreign = |image: &mut Image, of: &mut Value| {
        let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let layer = image.blob(kind, &gzip(&one("x")[0]));
        *of = image.add_with(machine(), &[layer], &[digest(&one("x")[0])]);
    };
    refuses(foreign, &["nondistributable", "hint: "]);
    let nested = |image: &mut Image, of: &mut Value| {
        for _ in 0..5 {
            *of = image.document(INDEX, &json!({"schemaVersion": 2, "manifests": [of]}));
        }
    };
    refuses(nested, &["an index in 3 others"]);
    // Two that name each other can't both have the digest that they are called by.
    let circle = |image: &mut Image, of: &mut Value| {
        let name = format!("sha256:{}", "a".repeat(64));
        *of = json!({"mediaType": INDEX, "digest": name, "size": 1000});
        let index = json!({"schemaVersion": 2, "manifests": [of]}).to_string();
        of["size"] = index.len().into();
        image.blobs.insert(name, index.into());
    };
    refuses(circle, &["its digest is sha256:"]);
    let many = |image: &mut Image, of: &mut Value| {
        let mut untold = image.add("mips", &one("x"));
        untold.as_object_mut().expect("a map").remove("platform");
        let index = json!({"schemaVersion": 2, "manifests": vec![untold; 500]});
        *of = image.document(INDEX, &index);
    };
    refuses(many, &["more than 256 documents"]);
    let huge = |image: &mut Image, of: &mut Value| {
        let text = format!("{{\"manifests\":[],\"x\":\"{}\"}}", "x".repeat(5 << 20));
        *of = image.blob(INDEX, text.as_bytes());
    };
    refuses(huge, &["is larger than 4 MiB"]);
    let nothing = |image: &mut Image, of: &mut Value| {
        *of = image.blob("application/vnd.example.chart", b"x");
    };
    refuses(nothing, &["what is there is", "vnd.example.chart"]);
    Ok(())
}

/// A blob may be a link within the layout, as published ones are, and none out of it.
pub fn a_layout_s_links_stay_in_it() -> Test {
    let folder = layout();
    let at = |name: &str| folder.path().join(name);
    let blob = |name: &str| -> PathBuf {
        at("layout/blobs/sha256").join(&digest(&gzip(&three()[0]))[7..]).with_file_name(name)
    };
    let layer = digest(&gzip(&three()[0]))[7..].to_owned();
    fs::rename(blob(&layer), at("layout/layer")).expect("our own folder");
    symlink("../../layer", blob(&layer)).expect("our own folder");
    fetched(&at("layout"), &at("root"), &[]).silent();
    fs::remove_dir_all(at("root")).expect("our own folder");
    fs::rename(at("layout/layer"), at("outside")).expect("our own folder");
    for target in ["../../../outside".to_owned(), at("outside").display().to_string()] {
        fs::remove_file(blob(&layer)).expect("our own folder");
        symlink(target, blob(&layer)).expect("our own folder");
        let ran = fetched(&at("layout"), &at("root"), &[]);
        ran.fails(1, "fetch-rootfs", &[&layer, "(EXDEV)", "hint: it is a link out of the image"]);
    }
    run(Command::new("mkfifo").arg(at("layout/fifo"))).silent();
    fs::remove_file(blob(&layer)).expect("our own folder");
    symlink("../../fifo", blob(&layer)).expect("our own folder");
    let ran = fetched(&at("layout"), &at("root"), &[]);
    ran.fails(1, "fetch-rootfs", &["it is no regular file"]);
    assert_eq!(names(folder.path()), ["layout", "outside"]);
    // In an archive they can't lead anywhere but within.
    let saved = json!([{"Config": "c", "RepoTags": [], "Layers": ["l"]}]).to_string();
    for target in ["/etc/passwd", "../../etc/passwd", "c"] {
        let archive = Archive::default().file("manifest.json", &saved).symlink("c", target).end();
        let ran = run_with_input(fetch().arg("-").arg(at("root")), &archive);
        ran.fails(1, "fetch-rootfs", &["open \"c\" of the image"]);
    }
    Ok(())
}
