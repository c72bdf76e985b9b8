//! What an ordinary user can't have: device nodes and owners are told of, and the rest is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};
use support::{Ran, TempDir, Test, need_program, need_root, run, run_with_input, scratch};

use crate::archive::{Archive, Head};
use crate::namespace::{file, owned};
use crate::{compressed, fetch, names};

const NOBODY: u32 = 65534;

/// A folder that anybody may write into.
fn open() -> TempDir {
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
    folder
}

fn as_nobody(folder: &TempDir, archive: &[u8], options: &[&str]) -> Ran {
    let mut command = fetch();
    command.args(options).args(["-", "root"]).current_dir(folder.path()).uid(NOBODY).gid(NOBODY);
    run_with_input(&mut command, archive)
}

fn block_device(name: &str) -> Head<'_> {
    Head { device: (7, 9), ..Head::new(b'4', name) }
}

/// What a run says of the device nodes.
fn said(names: &str) -> String {
    let what = "fetch-rootfs: note: device nodes that can't be made here";
    format!("{what}: {names}; bindmount --std mounts a /dev\n")
}

pub fn what_can_t_be_made_is_listed_and_never_a_file() -> Test {
    need_root()?;
    let archive = Archive::default()
        .folder("dev/")
        .device("dev/null", 1, 3)
        .head(&block_device("./dev/disk"))
        .hard_link("dev/also", "dev/null")
        .file("f", "x")
        .end();
    let folder = open();
    let ran = as_nobody(&folder, &archive, &[]);
    let all = "\"dev/also\" c:1:3, \"dev/disk\" b:7:9, \"dev/null\" c:1:3";
    assert_eq!((ran.status, &ran.stderr), (0, &said(all)));
    let root = folder.path().join("root");
    assert_eq!((names(&root), names(&root.join("dev"))), (vec!["dev".into(), "f".into()], vec![]));
    fs::remove_dir_all(&root).expect("we are root");
    as_nobody(&folder, &archive, &["--skip-devices"]).silent();
    assert_eq!((names(&root), names(&root.join("dev"))), (vec!["dev".into(), "f".into()], vec![]));
    fs::remove_dir_all(&root).expect("we are root");
    let summary: Value =
        serde_json::from_str(&as_nobody(&folder, &archive, &["--json"]).stdout).expect("JSON");
    assert_eq!(
        summary["skipped"],
        json!([
            { "name": "dev/also", "type": "c", "major": 1, "minor": 3 },
            { "name": "dev/disk", "type": "b", "major": 7, "minor": 9 },
            { "name": "dev/null", "type": "c", "major": 1, "minor": 3 },
        ])
    );
    // Root without the power to.
    let folder = open();
    need_program("setpriv")?;
    let mut without = Command::new("setpriv");
    without.args([
        "--bounding-set=-mknod",
        "--inh-caps=-mknod",
        env!("CARGO_BIN_EXE_fetch-rootfs"),
    ]);
    let ran = run_with_input(without.args(["-", "root"]).current_dir(folder.path()), &archive);
    assert_eq!((ran.status, &ran.stderr), (0, &said(all)));
    // Many are not all told of, but in the summary.
    let folder = open();
    let many =
        (10..25).fold(Archive::default(), |archive, n| archive.device(&format!("n{n}"), 1, n));
    let ran = as_nobody(&folder, &many.end(), &["--json"]);
    assert!(
        ran.stderr.contains("\"n10\" c:1:10, ")
            && ran.stderr.contains("\"n19\" c:1:19 and 5 more;"),
        "{ran:?}"
    );
    let summary: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(summary["skipped"].as_array().map(Vec::len), Some(15));
    Ok(())
}

/// What comes later, and what layers above take away, counts.
pub fn only_what_the_tree_lacks_is_listed() -> Test {
    need_root()?;
    let folder = open();
    let archive = Archive::default()
        .device("null", 1, 3)
        .device("zero", 1, 5)
        .file("null", "a file")
        .file("tty", "gone")
        .device("tty", 5, 0)
        .hard_link("same", "null")
        .end();
    let ran = as_nobody(&folder, &archive, &[]);
    assert_eq!(ran.stderr, said("\"tty\" c:5:0, \"zero\" c:1:5"));
    assert_eq!(names(&folder.path().join("root")), ["null", "same"]);
    let folder = open();
    let layers = [
        Archive::default()
            .folder("a/")
            .device("a/1", 1, 1)
            .device("a/2", 1, 2)
            .device("b/3", 1, 3)
            .device("c/4", 1, 4)
            .device("d/5", 1, 5)
            .device("e", 1, 6),
        Archive::default()
            .file("a/.wh.1", "")
            .file("b/.wh..wh..opq", "")
            .file("b/x", "x")
            .file(".wh.c", "")
            .file(".wh.d", "")
            .device("d/7", 1, 7)
            .file("e", "x"),
        Archive::default().folder("c/").device("a/1", 1, 8),
    ];
    fs::create_dir(folder.path().join("layers")).expect("our own folder");
    for (number, layer) in layers.into_iter().enumerate() {
        let file = folder.path().join(format!("layers/{number}"));
        fs::write(file, layer.end()).expect("our own folder");
    }
    let mut command = fetch();
    command.args(["layers:layers", "root"]).current_dir(folder.path()).uid(NOBODY).gid(NOBODY);
    assert_eq!(run(&mut command).stderr, said("\"a/1\" c:1:8, \"a/2\" c:1:2, \"d/7\" c:1:7"));
    Ok(())
}

/// Names that tar's patterns would take for more than they are.
pub fn the_script_leaves_out_what_can_t_be_made() -> Test {
    need_root()?;
    need_program("bsdtar")?;
    let archive = Archive::default()
        .folder("dev/")
        .device("dev/[a]*", 1, 3)
        .head(&block_device("./dev/a disk"))
        .file("dev/a", "kept")
        .file("dev/[a]b", "kept")
        .symlink("c,3 x", "dev/a")
        .head(&Head { mode: 0o2775, ..Head::new(b'5', "mail/") })
        .end();
    for (program, options) in [("cat", &[][..]), ("lz4", &[]), ("gzip", &["--skip-devices"])] {
        let folder = open();
        let packed =
            if program == "cat" { archive.clone() } else { compressed(program, &archive)? };
        fs::write(folder.path().join("a"), packed).expect("our own folder");
        let mut command = fetch();
        command.args(options).args(["-n", "a", "root"]).current_dir(folder.path());
        let script = run(command.uid(NOBODY).gid(NOBODY)).silent();
        let mut sh = support::sh(&script);
        let ran = run(sh.current_dir(folder.path()).uid(NOBODY).gid(NOBODY));
        assert!(ran.status == 0 && ran.stderr.contains("a disk") == options.is_empty(), "{ran:?}");
        let root = folder.path().join("root");
        assert_eq!(names(&root), ["c,3 x", "dev", "mail"]);
        let mail = fs::metadata(root.join("mail")).expect("it is there");
        assert_eq!(mail.permissions().mode() & 0o7777, 0o775, "it lends nobody a group");
        assert_eq!(names(&root.join("dev")), ["[a]b", "a"], "{program}");
    }
    Ok(())
}

/// Each file counts once, in however many layers it is.
pub fn owners_that_can_t_be_set_are_counted() -> Test {
    need_root()?;
    let folder = open();
    let closed = owned(&Head { mode: 0o500, ..Head::new(b'5', "d/") }, 100, 0);
    let (below, mine) = (file("d/f", 100, 0), file("mine", NOBODY, NOBODY));
    fs::create_dir(folder.path().join("layers")).expect("our own folder");
    for (name, layer) in [
        ("1", Archive::default().raw(&closed).raw(&below).raw(&mine)),
        ("2", Archive::default().raw(&closed).raw(&file("g", 100, 0))),
    ] {
        fs::write(folder.path().join("layers").join(name), layer.end()).expect("our own folder");
    }
    let mut command = fetch();
    command.args(["--owner=keep", "--json", "layers:layers", "root"]).current_dir(folder.path());
    let ran = run(command.uid(NOBODY).gid(NOBODY));
    let note = "fetch-rootfs: note: owners that only root can set: 100:0 of \"d/f\" and 2 more; \
        --owner map has them mapped\n";
    assert_eq!((ran.status, ran.stderr.as_str()), (0, note));
    let summary: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(summary["owners_not_set"], json!({ "count": 3, "first": "100:0 of \"d/f\"" }));
    assert_eq!(summary["attributes_not_set"], json!({ "count": 0, "first": null }));
    Ok(())
}
