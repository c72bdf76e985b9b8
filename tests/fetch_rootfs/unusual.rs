//! Archives that are right, but as few programs write them.

use std::fs;
use std::process::Command;

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
        let whole = compressed(program, &noise)?;
        // A tape has whole blocks, which zeroes fill.
        let many = [empty.repeat(3000), whole, empty.repeat(3000), vec![0; 4096]].concat();
        extract(folder.path(), &many, &[]).silent();
        assert_eq!(names(&folder.path().join("root")), ["etc", "last", "noise"], "{program}");
    }
    let listed = run_with_input(fetch().args(["--list-entries", "-"]), &blocks);
    assert_eq!(listed.ok().lines().count(), 3);
    Ok(())
}

/// Files are written while the next ones are made: a name that comes twice, as a file or a link,
/// is what it was last, and the link to the first one keeps what that held.
pub fn the_last_of_a_name_counts_however_many_there_are() -> Test {
    let mut archive = Archive::default();
    let content = |number: usize| number.to_string().repeat(number % 700);
    for number in 0..3000 {
        let name = format!("f{}", number % 1000);
        archive = archive.file(&name, &content(number)).hard_link(&format!("h{number}"), &name);
        archive = match number % 3 {
            0 => archive.symlink(&name, "nowhere"),
            _ => archive,
        };
    }
    let folder = scratch();
    let script = "ulimit -n 90; exec \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, "sh"]).arg(fetch().get_program()).arg("-q").arg("-");
    let root = folder.path().join("root");
    run_with_input(limited.arg(&root), &archive.end()).ok();
    for number in 0..3000 {
        let linked = fs::read_to_string(root.join(format!("h{number}"))).expect("a file");
        assert_eq!(linked, content(number), "{number}");
    }
    for number in 2000..3000 {
        let name = root.join(format!("f{}", number % 1000));
        match number % 3 {
            0 => assert!(fs::read_link(&name).is_ok(), "{number}"),
            _ => assert_eq!(fs::read_to_string(&name).expect("a file"), content(number)),
        }
    }
    Ok(())
}

/// The thread that writes small files has failed, and the other one tells for which.
pub fn a_small_file_that_cannot_be_written_is_named() -> Test {
    need_program("strace")?;
    let files = (0..500).fold(Archive::default(), |archive, number| {
        archive.file(&format!("small{number}"), "some bytes\n")
    });
    let folder = scratch();
    let archive = folder.path().join("a.tar");
    fs::write(&archive, files.end()).expect("our own folder");
    for (call, what) in [("write", "write the file"), ("utimensat", "set its time")] {
        // The first write of the process that waits is the message.
        for when in [2, 17, 500] {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
            strace.arg(format!("inject={call}:error=EIO:when={when}"));
            strace.arg(fetch().get_program()).arg("-q").arg(&archive);
            let ran = run(strace.arg(folder.path().join("root")));
            ran.fails(1, "fetch-rootfs", &["extract \"small", what, "I/O error (EIO)"]);
            assert_eq!(names(folder.path()), ["a.tar"], "{call} {when}");
        }
    }
    Ok(())
}
