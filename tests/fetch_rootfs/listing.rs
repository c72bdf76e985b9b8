//! What is in an archive, or what layers come to, without extracting it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Ran, Signal, Test, eventually, need_program, need_root, run, run_with_input, scratch,
};

use crate::archive::{Archive, Head};
use crate::image::{Image, machine, named};
use crate::layers::three;
use crate::registry::{shop, without_credentials};
use crate::registry_server::{Auth, Fault};
use crate::server::Server;
use crate::{fetch, names, small};

fn list(source: &str, options: &[&str]) -> Ran {
    run(fetch().arg("--list-entries").args(options).arg(source))
}

/// The names of a tree, in the order of their bytes, with a slash behind a folder.
fn found(root: &Path) -> String {
    let script = "find \"$1\" -mindepth 1 '(' -type d -printf '%P/\\n' -o -printf '%P\\n' ')' |
        LC_ALL=C sort";
    run(support::sh(script).arg(root)).silent()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

pub fn each_kind_of_entry_is_an_object() -> Test {
    let device = Head { device: (1, 3), mode: 0o666, ..Head::new(b'3', "dev/null") };
    let odd = Head { mode: 0o4711, ..Head::new(b'0', "a\nb") };
    let archive = Archive::default()
        .folder("etc/")
        .file("etc/f", "four")
        .symlink("s", "etc/f")
        .hard_link("h", "etc/f")
        .head(&device)
        .head(&Head::new(b'6', "pipe"))
        .head(&odd);
    let bytes = archive.end();
    let text = run_with_input(fetch().args(["--list-entries", "--json", "-"]), &bytes).silent();
    let all = objects(&text);
    let kinds: Vec<_> = all.iter().map(|one| one["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(
        kinds,
        ["directory", "file", "symbolic link", "hard link", "character device", "fifo", "file"]
    );
    assert_eq!(all[1]["name"], "etc/f");
    assert_eq!((&all[1]["size"], &all[1]["link"]), (&json!(4), &Value::Null));
    assert_eq!((&all[2]["link"], &all[3]["link"]), (&json!("etc/f"), &json!("etc/f")));
    assert_eq!((&all[4]["device"], &all[4]["mode"]), (&json!([1, 3]), &json!("0666")));
    assert_eq!((&all[6]["name"], &all[6]["mode"]), (&json!("a\nb"), &json!("4711")));
    for key in ["uid", "gid", "mtime", "mtime_nsec"] {
        assert!(all.iter().all(|one| one[key].is_i64()), "{key}: {text}");
    }
    assert!(all[0].get("device").is_none());
    Ok(())
}

/// A tree is the same whether it is listed or extracted, wherever the image is.
pub fn an_image_is_listed_as_the_tree_that_it_becomes() -> Test {
    need_root()?;
    let folder = scratch();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let layers = folder.path().join("layers");
    fs::create_dir(&layers).expect("our own folder");
    for (number, layer) in three().iter().enumerate() {
        fs::write(layers.join(number.to_string()), layer).expect("our own folder");
    }
    let mut image = Image::default();
    let here = image.add(machine(), &three());
    image.layout(&folder.path().join("layout"), &[named(here, "box:1")]);
    run(Command::new("tar").args(["-C", &at("layout"), "-cf", &at("layout.tar"), "."])).silent();
    let (registry, _) = shop(Auth::Token, Fault::Nothing);
    run(fetch().arg(at("layout")).arg(at("root"))).silent();
    let wanted = found(&folder.path().join("root"));
    assert!(wanted.lines().count() > 10, "{wanted}");
    let programs = need_program("skopeo").and_then(|_| need_program("umoci"));
    let sources =
        [at("layout"), at("layout.tar"), format!("layers:{}", at("layers")), registry.name("box")];
    for source in &sources {
        let with = |options: &[&str]| {
            let mut command = fetch();
            command.arg("--list-entries").args(options).arg(source);
            run(without_credentials(&mut command, Path::new("/nowhere")))
        };
        assert_eq!(with(&[]).silent(), wanted, "{source}");
        if programs.is_ok() {
            let script = with(&["-n"]).silent();
            assert_eq!(run(&mut support::sh(&script)).ok(), wanted, "{source}: {script}");
        }
        let all = objects(&with(&["--json"]).silent());
        assert_eq!(all.len(), wanted.lines().count());
        for one in all {
            let path = folder.path().join("root").join(one["name"].as_str().expect("a name"));
            let about = fs::symlink_metadata(&path).expect("it is there");
            let file = about.is_file() && one["type"] == "file";
            assert!(!file || one["size"] == about.len(), "{one}");
            let mode = format!("{:04o}", about.mode() & 0o7777);
            assert!(about.is_symlink() || one["mode"] == mode.as_str(), "{one} {mode}");
        }
    }
    assert_eq!(names(folder.path()), ["layers", "layout", "layout.tar", "root"]);
    let other = list(&sources[0], &["--image", "none"]);
    other.fails(1, "fetch-rootfs", &["none", "box:1"]);
    let left = list(&sources[2], &["--exclude=etc"]).silent();
    assert!(!left.contains("etc/") && left.contains("usr/bin/"), "{left}");
    Ok(())
}

/// Layers by chance: what can be extracted is listed as it then is.
pub fn layers_by_chance_are_listed_as_they_are_extracted() -> Test {
    need_root()?;
    let folder = scratch();
    let mut state = 5u64;
    let mut chance = move |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % most
    };
    let (folders, files) = (["a", "b", "c"], ["f", "g"]);
    let mut outcomes = BTreeMap::<bool, usize>::new();
    for _ in 0..200 {
        let layers = folder.path().join("layers");
        fs::create_dir(&layers).expect("our own folder");
        for layer in 0..3 {
            let mut archive = Archive::default();
            for _ in 0..chance(6) + 2 {
                let above: String =
                    (0..chance(3)).map(|_| folders[chance(3)].to_owned() + "/").collect();
                let (folder, file) = (folders[chance(3)], files[chance(2)]);
                let any = if chance(6) == 0 { folder } else { file };
                archive = match chance(24) {
                    0..9 => archive.folder(&format!("{above}{folder}/")),
                    9..15 => archive.file(&format!("{above}{any}"), "x"),
                    15..17 => archive.symlink(&format!("{above}{folder}"), &format!("/{folder}")),
                    17 => archive.symlink(&format!("{above}{any}"), folders[chance(3)]),
                    18 => archive.hard_link(&format!("{above}{file}"), &format!("{folder}/{file}")),
                    19 => archive.file(&format!("{above}.wh..wh..opq"), ""),
                    20 => archive.file(&format!("{above}.wh.{any}"), ""),
                    _ => archive.file(&format!("{above}.wh.{folder}"), ""),
                };
            }
            fs::write(layers.join(layer.to_string()), archive.end()).expect("our own folder");
        }
        let (source, root) = (format!("layers:{}", layers.display()), folder.path().join("root"));
        let extracted = run(fetch().arg(&source).arg(&root));
        let listed = list(&source, &[]);
        *outcomes.entry(extracted.status == 0).or_default() += 1;
        if extracted.status == 0 {
            assert_eq!(listed.silent(), found(&root), "{:?}", show(&layers));
            fs::remove_dir_all(&root).expect("our own folder");
        }
        fs::remove_dir_all(&layers).expect("our own folder");
    }
    assert!(outcomes.get(&true).is_some_and(|good| *good > 70), "{outcomes:?}");
    Ok(())
}

fn show(layers: &Path) -> Vec<String> {
    let list = |name: &String| run(Command::new("tar").arg("-tvf").arg(layers.join(name))).stdout;
    names(layers).iter().map(list).collect()
}

/// Nothing is printed of what is not what it should be.
pub fn a_list_is_printed_when_it_is_verified() -> Test {
    need_program("gpg")?;
    need_program("gpgv")?;
    let folder = scratch();
    let tmp = folder.path().join("tmp");
    fs::create_dir(&tmp).expect("our own folder");
    fs::write(folder.path().join("good"), small()).expect("our own folder");
    let make = "cd \"$1\"; export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg; exec 2>/dev/null
        gpg --batch --passphrase '' --quick-gen-key maker ed25519 sign 1d
        gpg --export maker >maker.gpg; sha256sum good >SUMS; sed 's/^..../0000/' SUMS >WRONG
        gpg --batch --detach-sign --output sums.sig SUMS
        gpg --batch --detach-sign --output good.sig good; gpgconf --kill all";
    run(support::sh(make).arg(folder.path())).silent();
    let serve =
        |name| Server::start(fs::read(folder.path().join::<&str>(name)).expect("made here"));
    let served = ["good", "SUMS", "WRONG", "sums.sig", "good.sig"].map(serve);
    let [good, sums, wrong, sums_sig, good_sig] = served.each_ref().map(|one| one.url("good"));
    let keyring = folder.path().join("maker.gpg").display().to_string();
    let key = ["--keyring", &keyring];
    let with = |options: &[&str], script: bool| {
        let mut command = fetch();
        command.env("TMPDIR", &tmp).arg("--list-entries").args(options).arg(&good);
        if !script {
            let ran = run(&mut command);
            assert!(names(&tmp).is_empty(), "nothing is left");
            return ran;
        }
        let text = run(command.arg("-n")).silent();
        run(&mut support::sh(&text))
    };
    for script in [false, true] {
        for options in [
            &["--checksums", &sums][..],
            &[&key[..], &["--signature", &good_sig]].concat(),
            &[&key[..], &["--checksums", &sums, "--signature", &sums_sig]].concat(),
        ] {
            let ran = with(options, script);
            assert_eq!((ran.status, ran.stdout.as_str()), (0, "etc/\netc/hostname\n"), "{ran:?}");
        }
        for options in [
            &["--checksums", &wrong][..],
            &["--sha256", &"0".repeat(64)],
            &[&key[..], &["--signature", &sums_sig]].concat(),
            &[&key[..], &["--checksums", &wrong, "--signature", &sums_sig]].concat(),
        ] {
            let ran = with(options, script);
            assert!(
                ran.status != 0 && !ran.stdout.contains("etc/hostname"),
                "{options:?}: {ran:?}"
            );
        }
    }
    Ok(())
}

/// A shell that a signal ends does nothing more, unless it was told to.
pub fn the_script_of_a_list_clears_up_when_interrupted() -> Test {
    let folder = scratch();
    let hold = ["--sha256", &"0".repeat(64), "--list-entries", "-"];
    let script = run(fetch().arg("-n").args(hold).env("TMPDIR", folder.path())).silent();
    let mut sh = support::sh(&script);
    let mut child = sh.stdin(Stdio::piped()).process_group(0).spawn().expect("it starts");
    let input = child.stdin.as_mut().expect("a pipe");
    input.write_all(b"x").expect("it takes it");
    eventually("it waits for the rest of the archive", || {
        let made = fs::read_dir(folder.path()).ok()?.next()?.ok()?;
        fs::metadata(made.path().join("archive")).ok().filter(|about| about.len() > 0)
    });
    support::send(&child, Signal::SIGINT, true);
    let status = support::wait(&mut child, Duration::from_secs(10)).expect("it ends by itself");
    assert_eq!((status.code(), names(folder.path())), (Some(130), vec![]));
    Ok(())
}
