//! What was pulled once: asked for again, used without a network, shared, and never half a blob.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Ran, TempDir, Test, eventually, need_program, need_root, run, scratch};

use crate::registry::{compare, manifest_of_this_machine, shop, without_credentials};
use crate::registry_server::{Auth, Fault, Registry};
use crate::{fetch, fingerprint, names};

/// A cache, and a tree beside it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(scratch())
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn command(&self, name: &str, dir: &str, options: &[&str]) -> Command {
        let mut command = fetch();
        without_credentials(&mut command, self.0.path());
        command.arg("--cache-dir").arg(self.cache()).args(options).arg(name);
        command.arg(self.0.path().join(dir));
        command
    }

    fn pull(&self, name: &str, options: &[&str]) -> Ran {
        run(&mut self.command(name, "root", options))
    }

    /// The tree is the image's; it goes.
    fn compare(&self) {
        compare(&self.0);
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let folder = self.cache().join("sha256");
        names(&folder).iter().map(|name| folder.join(name)).collect()
    }
}

fn shop_of(fault: Fault) -> (Registry, String) {
    shop(Auth::Nothing, fault)
}

pub fn a_second_pull_asks_where_the_tag_leads_and_no_more() -> Test {
    let manifest = "/v2/box/manifests/latest";
    for (fault, second) in [
        (Fault::Nothing, vec![format!("HEAD {manifest}")]),
        (Fault::NoHead, vec![format!("HEAD {manifest}"), manifest.into()]),
    ] {
        let (place, (registry, digest)) = (Place::new(), shop_of(fault));
        let name = registry.name("box");
        place.pull(&name, &[]).silent();
        place.compare();
        assert_eq!(registry.asked().len(), 6, "index, manifest, configuration, three layers");
        assert_eq!(place.blobs().len(), 6);
        place.pull(&name, &[]).silent();
        place.compare();
        assert_eq!(registry.asked(), second);
        // By its digest, all of it is known.
        place.pull(&registry.name(&format!("box@{digest}")), &[]).silent();
        place.compare();
        assert_eq!(registry.asked(), [""; 0]);
        // Another image shares its layers.
        registry.tag("latest", &manifest_of_this_machine());
        place.pull(&name, &[]).silent();
        place.compare();
        assert_eq!(registry.asked(), [format!("HEAD {manifest}"), manifest.into()]);
    }
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Nothing));
    let mut command = fetch();
    let command = without_credentials(&mut command, place.0.path()).arg("--no-cache");
    run(command.arg(registry.name("box")).arg(place.0.path().join("root"))).silent();
    assert_eq!(names(place.0.path()), ["root"]);
    Ok(())
}

pub fn what_was_pulled_needs_no_network() -> Test {
    let (place, (registry, digest)) = (Place::new(), shop_of(Fault::Nothing));
    let name = registry.name("box");
    place.pull(&name, &["--offline"]).fails(
        1,
        "fetch-rootfs",
        &[&name, "not there", "hint: get it once without --offline"],
    );
    assert!(names(place.0.path()).is_empty(), "nothing is made");
    place.pull(&name, &[]).silent();
    place.compare();
    registry.asked();
    for name in [&name, &registry.name(&format!("box@{digest}"))] {
        place.pull(name, &["--offline"]).silent();
        place.compare();
    }
    for (name, option, part) in [
        (&registry.name("box:1"), "--quiet", ":1"),
        (&name, "--platform=linux/mips", "take \"sha256:"),
        (&name, "--platform=linux/s390x", "hint: --platform"),
    ] {
        place.pull(name, &["--offline", option]).fails(1, "fetch-rootfs", &[part]);
    }
    let mut command = fetch();
    let command = without_credentials(&mut command, std::path::Path::new("/nowhere"));
    run(command.args(["--offline", &name]).arg(place.0.path().join("root"))).fails(
        1,
        "fetch-rootfs",
        &["there is no cache", "hint: --cache-dir"],
    );
    assert_eq!(registry.asked(), [""; 0]);
    Ok(())
}

pub fn the_script_takes_an_image_from_the_cache() -> Test {
    need_root()?;
    need_program("skopeo")?;
    need_program("umoci")?;
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Nothing));
    let name = registry.name("box");
    let said = place.pull(&name, &["--explain"]);
    assert!(said.stderr.contains(&format!("keeps copies in {:?}", place.cache())), "{said:?}");
    registry.asked();
    let script = run(&mut place.command(&name, "theirs", &["--offline", "-n"])).silent();
    run(&mut support::sh(&script)).ok();
    assert_eq!(registry.asked(), [""; 0]);
    let root = |dir: &str| {
        let root = place.0.path().join(dir);
        crate::image::same_time(&root);
        fingerprint(&root)
    };
    assert_eq!(root("theirs"), root("root"));
    Ok(())
}

pub fn a_damaged_blob_of_the_cache_is_removed_and_got_anew() -> Test {
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Nothing));
    let name = registry.name("box");
    place.pull(&name, &[]).silent();
    place.compare();
    for blob in place.blobs() {
        let good = fs::read(&blob).expect("kept");
        for change in 0..3 {
            let mut bytes = good.clone();
            match change {
                0 => bytes[good.len() / 2] ^= 1,
                1 => bytes.truncate(good.len() / 2),
                _ => bytes.push(0),
            }
            let shown = blob.display().to_string();
            let told = |ran: &Ran, parts: &[&str]| {
                let told = parts.iter().all(|part| ran.stderr.contains(part));
                assert!(told && ran.stderr.contains(&shown), "{parts:?}: {ran:?}");
            };
            fs::write(&blob, &bytes).expect("our own file");
            let looked = run(&mut place.command(&name, "root", &["--offline", "-n"]));
            assert!(blob.exists(), "who only looks removes nothing: {looked:?}");
            let offline = place.pull(&name, &["--offline"]);
            assert_eq!(offline.status, 1, "{offline:?}");
            told(&offline, &["note: read ", "damaged", "it was removed", "without --offline"]);
            assert!(!blob.exists() && !place.0.path().join("root").exists());
            fs::write(&blob, &bytes).expect("our own file");
            let ran = place.pull(&name, &[]);
            assert_eq!(ran.status, 0, "{ran:?}");
            told(&ran, &["fetch-rootfs: note: read ", "damaged", "it was removed"]);
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
            place.compare();
            assert_eq!(fs::read(&blob).expect("kept"), good);
        }
    }
    Ok(())
}

pub fn pulls_share_a_cache_at_once_and_leave_no_half_blob() -> Test {
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Slow(Duration::from_millis(500))));
    let name = registry.name("box");
    let start = |dir: &str| {
        let mut command = place.command(&name, dir, &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let mut both = [start("one"), start("root")];
    eventually("both write", || {
        let unfinished = fs::read_dir(place.cache().join("unfinished")).ok()?;
        (unfinished.count() == 6).then_some(())
    });
    for child in &mut both {
        let status = support::wait(child, Duration::from_secs(60)).expect("it ends");
        assert!(status.success());
    }
    assert_eq!(place.blobs().len(), 6);
    assert_eq!(names(&place.cache().join("unfinished")), [""; 0]);
    place.compare();
    // What fails half way leaves what is whole, and the next one goes on from there.
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Cut { always: false }));
    let name = registry.name("box");
    place.pull(&name, &["--retries", "0"]).fails(1, "fetch-rootfs", &["ends it after"]);
    assert_eq!(names(&place.cache().join("unfinished")), [""; 0]);
    let whole = place.blobs().len();
    assert!((3..6).contains(&whole), "the documents: {whole}");
    registry.asked();
    place.pull(&name, &[]).silent();
    let asked = registry.asked();
    assert!(!asked.iter().any(|path| path.contains("/manifests/sha256:")), "{asked:?}");
    place.compare();
    Ok(())
}

/// Killed at many moments, it leaves nothing that hurts, and what is whole is used.
pub fn a_killed_pull_leaves_a_cache_that_is_good() -> Test {
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Nothing));
    let name = registry.name("box");
    for moment in (0..30).step_by(3) {
        let _ = fs::remove_dir_all(place.cache());
        let mut command = place.command(&name, "root", &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        // Its worker, which holds the locks, ends a moment later.
        eventually("all is cleared away", || {
            let _ = fs::remove_dir_all(place.0.path().join("root"));
            place.pull(&name, &[]).silent();
            let unfinished = names(&place.cache().join("unfinished"));
            (unfinished.is_empty() && names(place.0.path()) == ["cache", "root"]).then_some(())
        });
        place.compare();
        assert_eq!(place.blobs().len(), 6);
    }
    Ok(())
}

/// Not having room for the cache is a note.
pub fn a_cache_without_room_is_a_note() -> Test {
    need_root()?;
    let (place, (registry, _)) = (Place::new(), shop_of(Fault::Nothing));
    fs::create_dir(place.cache()).expect("our own folder");
    for option in ["size=4k", "nr_inodes=5"] {
        let script = "mount -t tmpfs -o \"$2\",mode=700 none \"$1\"; shift 2; exec \"$@\"";
        let mut command = support::private_sh(script);
        command.arg(place.cache()).arg(option).arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
        command.arg("--cache-dir").arg(place.cache()).arg(registry.name("box"));
        let ran = run(command.arg(place.0.path().join("root")));
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stderr.starts_with("fetch-rootfs: note: it is not kept: "), "{ran:?}");
        assert!(ran.stderr.contains("(ENOSPC)"), "{ran:?}");
        assert_eq!(ran.stderr.matches("note:").count(), 1, "{ran:?}");
        place.compare();
    }
    Ok(())
}
