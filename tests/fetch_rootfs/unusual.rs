//! Archives that are right, but as few programs write them.

use std::fs;

use support::{Test, need_program, run, run_with_input, scratch};

use crate::archive::{Archive, Head};
use crate::formats::record;
use crate::{compressed, extract, fetch, fingerprint, names};

/// The oldest archivers gave a link the size of its file, and a folder its own; nothing follows.
/// So have it GNU tar, bsdtar, Go and Python, all of them.
pub fn links_and_folders_may_have_a_size() -> Test {
    let sized = |kind, name, link| Head { size: 4096, link, ..Head::new(kind, name) };
    let archive = Archive::default()
        .file("f", "content\n")
        .head(&sized(b'1', "hard", &b"f"[..]))
        .head(&sized(b'5', "d/", b""))
        .file("d/last", "x")
        .end();
    let folder = scratch();
    extract(folder.path(), &archive, &[]).silent();
    let root = folder.path().join("root");
    assert_eq!(names(&root), ["d", "f", "hard"]);
    assert_eq!(names(&root.join("d")), ["last"]);
    for tar in ["tar", "bsdtar"] {
        need_program(tar)?;
        let theirs = folder.path().join(tar);
        fs::create_dir(&theirs).expect("our own folder");
        let script = "cd \"$1\"; exec \"$2\" -xpf -";
        run_with_input(support::sh(script).arg(&theirs).arg(tar), &archive).silent();
        // The archive has not the folder itself, whose time and mode are each one's own.
        for tree in [&root, &theirs] {
            run(support::sh("chmod 755 \"$1\"; touch -d @0 \"$1\"").arg(tree)).silent();
        }
        assert_eq!(fingerprint(&root), fingerprint(&theirs), "{tar}");
    }
    Ok(())
}

/// Where they disagree, and so on what the next entry is, it is refused: behind an extended header
/// bsdtar takes a link's size for that of its data, as POSIX allows, and GNU tar does not.
pub fn sizes_that_are_read_in_two_ways_are_refused() -> Test {
    let sized = |kind, link| Head { size: 512, link, ..Head::new(kind, "odd") };
    let time = record("mtime=1");
    let archives = [
        Archive::default().pax(&time).file("f", "x").head(&sized(b'1', b"f")),
        Archive::default().file("f", "x").pax(&time).head(&sized(b'1', b"f")),
        Archive::default().with_data(b'g', "all", &time).file("f", "x").head(&sized(b'1', b"f")),
        Archive::default().pax(&record("size=512")).folder("odd"),
        Archive::default().head(&sized(b'2', b"f")),
        Archive::default().head(&sized(b'6', b"")),
        Archive::default().head(&Head { size: 512, ..Head::new(b'0', "odd/") }),
    ];
    for archive in archives {
        for data in [&[][..], &[0x41; 512]] {
            let folder = scratch();
            let archive = archive.clone().raw(data).file("after", "x").end();
            extract(folder.path(), &archive, &[]).fails(
                1,
                "fetch-rootfs",
                &["\"odd", "which only a file can have"],
            );
            assert!(names(folder.path()).is_empty());
        }
    }
    Ok(())
}

/// Thousands of them, each as short as can be.
pub fn blocks_and_members_may_be_many() -> Test {
    need_program("xz")?;
    let noise = crate::large();
    let folder = scratch();
    let file = folder.path().join("x");
    fs::write(&file, &noise).expect("our own folder");
    let script = "exec xz -T0 -0 --block-size=64 -c \"$1\"";
    let blocks = support::sh(script).arg(&file).output().expect("it is installed").stdout;
    extract(folder.path(), &blocks, &[]).silent();
    assert_eq!(names(&folder.path().join("root")), ["etc", "last", "noise"]);
    for program in ["gzip", "xz", "zstd", "bzip2", "lz4"] {
        let folder = scratch();
        let empty = compressed(program, b"")?;
        let many = [empty.repeat(3000), compressed(program, &noise)?, empty.repeat(3000)].concat();
        extract(folder.path(), &many, &[]).silent();
        assert_eq!(names(&folder.path().join("root")), ["etc", "last", "noise"], "{program}");
    }
    let listed = run_with_input(fetch().args(["--list-entries", "-"]), &blocks);
    assert_eq!(listed.ok().lines().count(), 3);
    Ok(())
}
