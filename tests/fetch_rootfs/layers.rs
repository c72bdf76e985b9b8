//! Layers on top of each other: what they add, what they replace, and what they take away.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Ran, Test, need_program, need_root, run, scratch};

use crate::archive::{Archive, Head};
use crate::{fetch, fingerprint, names, small};

/// Three layers that do all of it; every folder that changes is named, as builders do.
pub fn three() -> [Vec<u8>; 3] {
    let tool = Head { mode: 0o4755, ..Head::new(b'0', "usr/bin/tool") };
    let first = Archive::default()
        .folder("./")
        .folder("usr/")
        .folder("usr/bin/")
        .head(&tool)
        .symlink("bin", "/usr/bin")
        .folder("etc/")
        .file("etc/hostname", "first")
        .file("etc/old", "first")
        .folder("var/")
        .file("var/a", "first")
        .folder("var/deep/")
        .file("var/deep/b", "first")
        .file("kind1", "a file")
        .folder("kind2/")
        .file("kind2/in", "first")
        .symlink("kind3", "usr");
    let second = Archive::default()
        .folder("./")
        .folder("etc/")
        .file("etc/.wh.old", "")
        .file("etc/hostname", "second")
        .file("etc/new", "second")
        .folder("var/")
        .file("var/.wh..wh..opq", "")
        .file("var/mine", "second")
        .folder("kind1/")
        .file("kind1/in", "second")
        .file("kind2", "a file")
        .folder("kind3/")
        .file("kind3/in", "second")
        .folder("usr/bin/")
        .hard_link("usr/bin/linked", "usr/bin/tool")
        .file("bin/through", "second");
    let third = Archive::default()
        .folder("./")
        .file(".wh.kind2", "")
        .folder("etc/")
        .hard_link("etc/again", "etc/new")
        .symlink("kind1", "etc");
    [first.end(), second.end(), third.end()]
}

/// Writes layers into a folder, and extracts them on top of each other.
fn apply(folder: &Path, layers: &[Vec<u8>], options: &[&str]) -> Ran {
    apply_by(fetch().args(options), folder, layers)
}

fn apply_by(command: &mut Command, folder: &Path, layers: &[Vec<u8>]) -> Ran {
    let source = folder.join("layers");
    fs::create_dir_all(&source).expect("our own folder");
    for (at, layer) in layers.iter().enumerate() {
        fs::write(source.join(format!("{at:03}.tar")), layer).expect("our own folder");
    }
    let source = format!("layers:{}", source.display());
    let ran = run(command.arg(source).arg(folder.join("root")));
    fs::remove_dir_all(folder.join("layers")).expect("our own folder");
    ran
}

fn applied(folder: &Path, layers: &[Vec<u8>]) -> PathBuf {
    apply(folder, layers, &[]).silent();
    folder.join("root")
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn layers_add_replace_and_take_away() -> Test {
    need_root()?;
    let folder = scratch();
    let root = applied(folder.path(), &three());
    assert_eq!(names(&root), ["bin", "etc", "kind1", "kind3", "usr", "var"]);
    assert_eq!(names(&root.join("etc")), ["again", "hostname", "new"]);
    assert_eq!(names(&root.join("var")), ["mine"]);
    assert_eq!(names(&root.join("kind3")), ["in"], "a folder replaces a link");
    assert_eq!(names(&root.join("usr/bin")), ["linked", "through", "tool"]);
    assert_eq!(read(&root, "etc/hostname"), "second");
    assert!(fs::symlink_metadata(root.join("kind1")).expect("it is there").is_symlink());
    for (one, other) in [("etc/again", "etc/new"), ("usr/bin/linked", "usr/bin/tool")] {
        let inode = |name: &str| fs::metadata(root.join(name)).expect(name).ino();
        assert_eq!(inode(one), inode(other), "a hard link to what a layer below has");
    }
    Ok(())
}

/// Wherever in its layer a whiteout stands, it takes away what is from below, and only that.
pub fn a_whiteout_takes_only_what_is_from_below() -> Test {
    let below = Archive::default()
        .folder("d/")
        .file("d/old", "below")
        .file("d/both", "below")
        .folder("d/sub/")
        .file("d/sub/old", "below")
        .folder("d/gone/")
        .folder("d/gone/deep/")
        .file("d/gone/deep/old", "below")
        .file("f", "below")
        .end();
    let added = || {
        Archive::default()
            .folder("d/")
            .file("d/new", "mine")
            .file("d/both", "mine")
            .file("d/sub/new", "mine")
            .file("f", "mine")
    };
    for (name, above) in [
        ("opaque last", added().file("d/.wh..wh..opq", "").file(".wh.f", "")),
        ("folder by name, last", added().file(".wh.d", "").file(".wh.f", "")),
        ("twice", added().file("d/.wh..wh..opq", "").file(".wh.d", "").file("d/.wh.new", "")),
    ] {
        let folder = scratch();
        let root = applied(folder.path(), &[below.clone(), above.end()]);
        assert_eq!(names(&root.join("d")), ["both", "new", "sub"], "{name}");
        assert_eq!(names(&root.join("d/sub")), ["new"], "{name}");
        assert_eq!((read(&root, "d/both"), read(&root, "f")), ("mine".into(), "mine".into()));
    }
    let first = Archive::default().file("d/.wh..wh..opq", "").file("d/.wh.x", "").end();
    let folder = scratch();
    let nothing = Archive::default().file("no/such/.wh.x", "").file(".wh.nothing", "").end();
    let root = applied(folder.path(), &[first, nothing]);
    assert_eq!(names(&root.join("d")), [""; 0], "nothing is there to be taken away");
    Ok(())
}

/// A layer that does not name a folder has not changed it.
pub fn a_folder_that_no_layer_names_keeps_its_time() -> Test {
    let below =
        Archive::default().folder("d/").file("d/a", "x").folder("e/").file("e/a", "x").end();
    let above = Archive::default().file("d/b", "x").file("e/.wh.a", "").end();
    let folder = scratch();
    let root = applied(folder.path(), &[below, above]);
    for name in ["d", "e"] {
        let time = fs::metadata(root.join(name)).expect(name).mtime();
        assert_eq!(time, 0o13_000_000_000, "{name}");
    }
    Ok(())
}

pub fn whiteouts_that_mean_harm_are_refused_or_stay_inside() -> Test {
    let folder = scratch();
    let outside = folder.path().join("outside");
    fs::create_dir_all(outside.join("sub")).expect("our own folder");
    fs::write(outside.join("file"), "precious").expect("our own folder");
    let before = fingerprint(&outside);
    let below = Archive::default().folder("a/").file("a/b", "x").end();
    for (name, why) in [
        (".wh.", "a whiteout of no name"),
        ("a/.wh..", "a whiteout of no name"),
        ("a/.wh...", "a whiteout of no name"),
        ("a/.wh.b/c", "a whiteout is no folder"),
        ("a/.wh..wh.b", "a whiteout of a whiteout"),
        ("../outside/.wh.file", "leads outside"),
    ] {
        for layers in [
            vec![Archive::default().file(name, "").end()],
            vec![below.clone(), Archive::default().file(name, "").end()],
        ] {
            let ran = apply(folder.path(), &layers, &[]);
            ran.fails(1, "fetch-rootfs", &[&format!("{name:?}"), why]);
            assert_eq!(names(folder.path()), ["outside"]);
        }
    }
    for target in [outside.display().to_string(), "../outside".into(), "../../outside".into()] {
        let below = Archive::default().symlink("l", &target).end();
        for name in ["l/.wh.file", "l/.wh..wh..opq", "l/sub/.wh..wh..opq"] {
            let above = Archive::default().file(name, "").end();
            let _ = apply(folder.path(), &[below.clone(), above], &[]);
            assert_eq!(fingerprint(&outside), before, "{target} {name}");
            let _ = fs::remove_dir_all(folder.path().join("root"));
            assert_eq!(names(folder.path()), ["outside"]);
        }
        // A folder of below that is a link by now, whose time would have to be given back.
        let below = Archive::default().folder("sub/").file("sub/a", "x").end();
        let above = Archive::default().file("sub/b", "x").symlink("sub", &target).end();
        applied(folder.path(), &[below, above]);
        assert_eq!(fingerprint(&outside), before, "{target}");
        fs::remove_dir_all(folder.path().join("root")).expect("our own folder");
    }
    Ok(())
}

/// As aufs left them in old images: of no meaning.
pub fn what_aufs_left_is_passed_over() -> Test {
    let layer = Archive::default()
        .file(".wh..wh.aufs", "")
        .folder(".wh..wh.plnk/")
        .file(".wh..wh.plnk/1.2", "x")
        .symlink(".wh..wh.link", "x")
        .hard_link("gone/.wh.b", ".wh..wh.aufs")
        .end();
    let below = Archive::default().folder("gone/").file("gone/b", "x").end();
    let folder = scratch();
    let root = applied(folder.path(), &[below, layer]);
    assert_eq!((names(&root), names(&root.join("gone"))), (vec!["gone".into()], vec![]));
    Ok(())
}

/// Counted, for time tells little on a busy machine: how often a folder is looked through.
pub fn thousands_of_whiteouts_take_linear_time() -> Test {
    const MANY: usize = 1000;
    need_program("strace")?;
    let files = |prefix: &str| {
        (0..MANY).fold(Archive::default().folder("d/"), |archive, at| {
            archive.file(&format!("d/{prefix}{at}"), "")
        })
    };
    // The same folder again and again; then each in the one before, the deepest first.
    let opaque = (0..MANY).fold(files("new"), |archive, _| archive.file("d/.wh..wh..opq", ""));
    let nested = |suffix: &str| {
        (1..=MANY).rev().fold(Archive::default(), |archive, depth| {
            let name = format!("{}{suffix}", "d/".repeat(depth));
            archive.long_name(&name).with_data(b'0', "x", b"")
        })
    };
    for (below, above, most, folders) in [
        (files("old"), opaque, 100, 2),
        (nested("old"), nested(".wh..wh..opq"), 3 * MANY, MANY + 1),
    ] {
        let folder = scratch();
        let log = folder.path().join("log");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=getdents64", "-o"]).arg(&log);
        strace.arg(fetch().get_program());
        apply_by(&mut strace, folder.path(), &[below.end(), above.end()]).ok();
        let looks = fs::read_to_string(&log).expect("strace wrote it").lines().count();
        assert!(looks < most, "{looks} looks into folders");
        let root = folder.path().join("root");
        let find = |what: [&str; 2]| run(Command::new("find").arg(&root).args(what)).silent();
        assert_eq!(find(["-name", "old*"]), "");
        assert_eq!(find(["-type", "d"]).lines().count(), folders, "what is made empty stays");
    }
    Ok(())
}

pub fn limits_are_for_all_layers_together() -> Test {
    let layer = |name: &str| Archive::default().with_data(b'0', name, &[0; 3000]).end();
    let folder = scratch();
    let layers = [layer("a"), layer("b")];
    let ran = apply(folder.path(), &layers, &["--max-size", "5000"]);
    ran.fails(1, "fetch-rootfs", &["\"b\"", "hint: --max-size"]);
    let ran = apply(folder.path(), &layers, &["--max-entries", "1"]);
    ran.fails(1, "fetch-rootfs", &["\"b\"", "hint: --max-entries"]);
    assert!(names(folder.path()).is_empty());
    Ok(())
}

/// Red Hat's folders are 0555: a user who owns them has to get further layers into them.
pub fn a_user_gets_layers_into_folders_that_are_closed() -> Test {
    need_root()?;
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
    let closed = |name| Head { mode: 0o500, ..Head::new(b'5', name) };
    let below = Archive::default().head(&closed("d/")).head(&closed("d/e/")).file("d/e/a", "x");
    let above = Archive::default().file("d/e/b", "x").file("d/e/.wh.a", "").file("d/c", "x");
    let source = folder.path().join("layers");
    fs::create_dir(&source).expect("our own folder");
    fs::write(source.join("1"), below.end()).expect("our own folder");
    fs::write(source.join("2"), above.end()).expect("our own folder");
    let root = folder.path().join("root");
    let source = format!("layers:{}", source.display());
    run(fetch().arg(source).arg(&root).uid(65534).gid(65534)).silent();
    assert_eq!(
        (names(&root.join("d")), names(&root.join("d/e"))),
        (vec!["c".into(), "e".into()], vec!["b".into()])
    );
    for name in ["d", "d/e"] {
        assert_eq!(fs::metadata(root.join(name)).expect(name).mode() & 0o7777, 0o500, "{name}");
    }
    Ok(())
}

/// A folder that is named through a link gets its own mode and time, the link's target keeps its.
pub fn a_folder_named_through_a_link_gets_its_attributes() -> Test {
    let sub = Head { mode: 0o751, ..Head::new(b'5', "bin/sub/") };
    let usr = Archive::default().folder("usr/").folder("usr/bin/").symlink("bin", "usr/bin");
    for layers in
        [vec![usr.clone().head(&sub).end()], vec![usr.end(), Archive::default().head(&sub).end()]]
    {
        let folder = scratch();
        let root = applied(folder.path(), &layers);
        let about = fs::metadata(root.join("usr/bin/sub")).expect("it was made");
        assert_eq!((about.mode() & 0o7777, about.mtime()), (0o751, 0o13_000_000_000));
    }
    Ok(())
}

pub fn a_layer_that_is_none_is_named() -> Test {
    let folder = scratch();
    let ran = apply(folder.path(), &[small(), b"no archive".to_vec()], &[]);
    let parts =
        ["take the layer \"/", "layers/001.tar\": read the archive: it is no tar", "hint: see"];
    ran.fails(1, "fetch-rootfs", &parts);
    Ok(())
}
