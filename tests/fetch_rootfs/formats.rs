//! What is special about a format: cpio archives, attributes as several programs write them, and
//! where we differ from GNU tar on purpose.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use support::{Test, need_program, need_root, run, run_with_input, scratch};

use crate::archive::{Archive, Head, block, sum};
use crate::{compressed, extract, fetch, fingerprint, names, small};

/// A record of an extended header; its length counts its own digits.
pub fn record(text: &str) -> Vec<u8> {
    let mut length = text.len() + 2;
    while length != text.len() + 2 + length.to_string().len() {
        length = text.len() + 2 + length.to_string().len();
    }
    format!("{length} {text}\n").into_bytes()
}

/// An entry of a cpio archive in newc form.
pub fn newc(name: &str, mode: u32, inode: u32, links: u32, data: &[u8]) -> Vec<u8> {
    let numbers =
        [inode, mode, 0, 0, links, 1_600_000_000, u32::try_from(data.len()).expect("small")];
    let mut entry = b"070701".to_vec();
    for number in numbers.into_iter().chain([8, 1, 0, 0]) {
        entry.extend(format!("{number:08x}").into_bytes());
    }
    entry.extend(format!("{:08x}{:08x}{name}\0", name.len() + 1, 0).into_bytes());
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend(data);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

pub fn trailer() -> Vec<u8> {
    newc("TRAILER!!!", 0, 0, 1, b"")
}

pub fn cpio_archives_are_extracted_as_cpio_does() -> Test {
    need_root()?;
    need_program("cpio")?;
    let folder = scratch();
    let make =
        "cd \"$1\"; mkdir -p t/d/e theirs; cd t; echo x >f; chmod 4755 f; ln f hard; ln f d/too
        ln -s f sym; mkfifo fifo; mknod null c 1 3; mknod disk b 7 9; : >empty; ln empty empty2
        head -c 5000 /dev/urandom >d/e/g; chown 12:34 d/e/g; chmod 1777 d; chmod 500 d/e
        find . -exec touch -h -d @1500000000 {} +
        for form in newc crc; do find . -depth | cpio --quiet -o -H $form >../$form; done
        cd ../theirs; cpio --quiet -idm --no-preserve-owner <../newc; cpio --quiet -idmu <../newc";
    run(support::sh(make).arg(folder.path())).ok();
    let at = |name: &str| folder.path().join(name);
    // cpio leaves the times of links as they come.
    let untimed = "touch -hd @0 \"$1\"; find \"$1\" -type l -exec touch -hd @0 {} +";
    run(support::sh(untimed).arg(at("theirs"))).silent();
    let theirs = fingerprint(&at("theirs"));
    for form in ["newc", "crc"] {
        run(fetch().arg(at(form)).arg(at("ours"))).silent();
        run(support::sh(untimed).arg(at("ours"))).silent();
        assert_eq!(fingerprint(&at("ours")), theirs, "{form}");
        fs::remove_dir_all(at("ours")).expect("our own folder");
    }
    // A byte that is not what it was: only crc can know.
    let mut bytes = fs::read(at("crc")).expect("made above");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    extract(folder.path(), &bytes, &[]).fails(
        1,
        "fetch-rootfs",
        &["d/e/g", "the sum of the bytes"],
    );
    Ok(())
}

/// As an initramfs is put together: microcode first, zeroes, and then the compressed rest.
pub fn several_cpio_archives_are_one() -> Test {
    let folder = scratch();
    let folders = newc("kernel", 0o040_755, 1, 2, b"");
    let first = [folders, newc("kernel/code", 0o100_644, 2, 1, b"micro"), trailer()].concat();
    let second =
        [newc("init", 0o100_755, 2, 1, b"#!"), newc("l", 0o120_777, 3, 1, b"init"), trailer()];
    let mut padded = first;
    padded.resize(padded.len().next_multiple_of(512), 0);
    for program in ["cat", "gzip", "zstd", "xz", "lz4"] {
        let second = match program {
            "cat" => second.concat(),
            program => compressed(program, &second.concat())?,
        };
        let archive = [&padded[..], &second, &[0; 300]].concat();
        extract(folder.path(), &archive, &[]).silent();
        let root = folder.path().join("root");
        assert_eq!(names(&root), ["init", "kernel", "l"], "{program}");
        assert_eq!(fs::read(root.join("kernel/code")).expect("it is there"), b"micro");
        assert_eq!(fs::read(root.join("l")).expect("it leads to init"), b"#!");
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

pub fn attributes_and_lists_come_from_tar_and_libarchive() -> Test {
    need_root()?;
    need_program("setfacl")?;
    need_program("bsdtar")?;
    let folder = scratch();
    let make = "cd \"$1\"; mkdir -p t/d; cd t; echo x >f; setfacl -m u:1234:rw,g:55:r,m::rw f
        setfacl -d -m u:77:rx d; setfattr -n user.a -v \"$(printf 'a=%%b\\n')\" f; setfattr -n user.=% -v x f
        tar --acls --xattrs --xattrs-include=* --numeric-owner --format=posix -cf ../gnu .
        bsdtar --acls --xattrs --format pax -cf ../bsd .";
    run(support::sh(make).arg(folder.path())).silent();
    let about = "cd \"$1\"; getfacl -Rn .; getfattr -Rd -m user .";
    let wanted = run(support::sh(about).arg(folder.path().join("t"))).ok();
    assert!(wanted.contains("default:user:77:r-x") && wanted.contains("user:1234:rw-"), "{wanted}");
    for archive in ["gnu", "bsd"] {
        let root = folder.path().join(format!("root-{archive}"));
        run(fetch().arg(folder.path().join(archive)).arg(&root)).silent();
        assert_eq!(run(support::sh(about).arg(&root)).ok(), wanted, "{archive}");
    }
    // Names are of another machine, whatever they are here; and what is no list is refused.
    let list = |users: &str| {
        let text = format!("SCHILY.acl.access=user::rw-,{users},group::r--,mask::r--,other::r--");
        Archive::default().pax(&record(&text)).file("f", "x").end()
    };
    let ran = extract(folder.path(), &list("user:root:rwx"), &[]);
    assert!(ran.status == 0 && ran.stderr.contains("posix_acl_access"), "{ran:?}");
    extract(&folder.path().join("t"), &list("user:x:what"), &[]).fails(
        1,
        "fetch-rootfs",
        &["SCHILY.acl.access"],
    );
    Ok(())
}

/// The folder that it is extracted into hands nothing down.
pub fn nothing_is_inherited_from_the_folder_above() -> Test {
    need_root()?;
    need_program("setfacl")?;
    let folder = scratch();
    let make = "chmod 2755 \"$1\"; chgrp 4321 \"$1\"; setfacl -d -m u:1234:rwx,o::- \"$1\"";
    run(support::sh(make).arg(folder.path())).silent();
    extract(folder.path(), &small(), &[]).silent();
    let root = folder.path().join("root");
    let about = run(Command::new("getfacl").args(["-Rcn"]).arg(&root)).ok();
    assert!(!about.contains("1234") && about.contains("other::r-x"), "{about}");
    for path in [root.clone(), root.join("etc"), root.join("etc/hostname")] {
        let about = fs::symlink_metadata(&path).expect("extracted");
        assert_eq!(
            (about.mode() & 0o7000, about.gid() == 4321 && path != root),
            (0, false),
            "{path:?}"
        );
    }
    Ok(())
}

/// What all entries share is taken; what only one can have is not.
pub fn global_headers_speak_of_all_that_follows() -> Test {
    let folder = scratch();
    let root = folder.path().join("root");
    let archive = Archive::default()
        .file("before", "x")
        .with_data(b'g', "g", &[record("mtime=1000000000.5"), record("comment=hi")].concat())
        .file("a", "x")
        .pax(&record("mtime=1100000000"))
        .file("b", "x")
        .with_data(b'g', "g", &record("mtime=1200000000"))
        .file("c", "x")
        .end();
    extract(folder.path(), &archive, &[]).silent();
    let times = ["before", "a", "b", "c"].map(|name| {
        let about = fs::metadata(root.join(name)).expect("extracted");
        (about.mtime(), about.mtime_nsec())
    });
    let seconds = [1_476_395_008, 1_000_000_000, 1_100_000_000, 1_200_000_000];
    assert_eq!(times.map(|time| time.0), seconds);
    assert_eq!(times[1].1, 500_000_000);
    for text in ["path=all", "size=1", "linkpath=x", "GNU.sparse.major=1"] {
        let folder = scratch();
        let archive = Archive::default().with_data(b'g', "g", &record(text)).file("a", "x").end();
        let refused = extract(folder.path(), &archive, &[]);
        refused.fails(1, "fetch-rootfs", &["a global header gives all entries one name"]);
    }
    Ok(())
}

/// GNU tar takes these: it leaves things out with a warning, or follows one of several readings.
pub fn where_tar_guesses_it_is_refused() -> Test {
    let sized = |kind, link| Head { size: 512, link, ..Head::new(kind, "odd") };
    let data = [0x41; 512];
    for head in [sized(b'2', &b"f"[..]), sized(b'6', b"")] {
        let folder = scratch();
        let archive = Archive::default().file("f", "x").head(&head).raw(&data).end();
        extract(folder.path(), &archive, &[]).fails(
            1,
            "fetch-rootfs",
            &["\"odd\"", "which only a file can have"],
        );
        assert!(names(folder.path()).is_empty());
    }
    // A folder of an incremental backup has a list with it: that is no file's data.
    let folder = scratch();
    let archive = Archive::default().head(&sized(b'D', b"")).raw(&data).file("f", "x").end();
    extract(folder.path(), &archive, &[]).silent();
    assert_eq!(names(&folder.path().join("root")), ["f", "odd"]);
    Ok(())
}

/// Before ustar: no magic number, rubbish where device numbers are now, sums of signed bytes.
pub fn what_the_oldest_tars_wrote_is_read() -> Test {
    let folder = scratch();
    let mut file = block(&Head { mode: 0o100_600, ..Head::new(0, "f\u{e9}") });
    file[257..].fill(b'9');
    sum(&mut file);
    let mut dir = block(&Head::new(0, "d/"));
    dir[257..].fill(0);
    sum(&mut dir);
    let mut name = block(&Head::new(0, "s\u{e9}"));
    name[257..].fill(0);
    name[148..156].fill(b' ');
    let signed: i32 = name.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    name[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
    let archive = Archive::default().raw(&dir).raw(&file).raw(&name).end();
    extract(folder.path(), &archive, &[]).silent();
    let root = folder.path().join("root");
    assert_eq!(names(&root), ["d", "f\u{e9}", "s\u{e9}"]);
    assert!(root.join("d").is_dir());
    Ok(())
}

/// Of a long name, a header has the beginning, and that may end like a folder's.
pub fn a_name_cut_off_behind_a_slash_is_no_folder() -> Test {
    let (folder, name) = (scratch(), "a".repeat(97));
    let archive = Archive::default()
        .folder(&format!("./{name}/"))
        .long_name(&format!("./{name}/file"))
        .file(&format!("./{name}/"), "x")
        .end();
    extract(folder.path(), &archive, &[]).silent();
    let file = folder.path().join("root").join(&name).join("file");
    assert_eq!(fs::read(file).expect("it is a file"), b"x");
    Ok(())
}

pub fn entries_are_chosen_as_tar_chooses_them() -> Test {
    let folder = scratch();
    let make =
        "cd \"$1\"; mkdir -p t/usr/share/doc/x t/etc t/doc; cd t; echo 1 >usr/share/doc/x/a.txt
        echo 2 >etc/b.txt; ln etc/b.txt etc/c; ln -s etc/b.txt l; echo 3 >doc/d; echo 4 >'usr/[x]'
        tar -cf ../dot.tar .; tar -cf ../plain.tar *";
    run(support::sh(make).arg(folder.path())).silent();
    for archive in ["dot.tar", "plain.tar"] {
        for options in [
            &["--exclude=doc"][..],
            &["--exclude=*.txt", "--exclude=etc/c"],
            &["--exclude=usr/*/x"],
            &["--exclude=share/doc/?"],
            &["--exclude=[de]*"],
            &["--exclude=usr/\\[x]"],
            &["--exclude=usr", "--strip-components=1"],
            &["--strip-components=2"],
            &["--exclude=*"],
        ] {
            let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
            fs::create_dir(&theirs).expect("our own folder");
            let file = folder.path().join(archive);
            let ran = run(fetch().args(options).arg(&file).arg(&ours));
            assert_eq!(ran.stderr.contains("it is empty"), names(&ours).is_empty(), "{ran:?}");
            ran.ok();
            run(Command::new("tar").args(options).arg("-xpf").arg(&file).arg("-C").arg(&theirs))
                .ok();
            for root in [&ours, &theirs] {
                run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
                run(Command::new("chmod").arg("755").arg(root)).silent();
                // What the archive says nothing of is as new as the run.
                run(support::sh("find \"$1\" -type d -exec touch -d @0 {} +").arg(root)).silent();
            }
            assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{archive} {options:?}");
            let script =
                run(fetch().args(options).arg("-n").arg(&file).arg(folder.path().join("s")));
            run(&mut support::sh(script.silent())).ok();
            assert_eq!(names(&folder.path().join("s")), names(&ours), "{archive} {options:?}");
            for root in [ours, theirs, folder.path().join("s")] {
                fs::remove_dir_all(root).expect("our own folder");
            }
        }
        // With a slash in front only from the top, which tar has no single pattern for.
        let root = folder.path().join("root");
        run(fetch().arg("--exclude=/doc").arg(folder.path().join(archive)).arg(&root)).silent();
        assert!(!root.join("doc").exists() && root.join("usr/share/doc").exists());
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

pub fn names_are_listed_as_tar_lists_them() -> Test {
    let folder = scratch();
    let archive = Archive::default()
        .folder("etc/")
        .file("etc/a\nb\\c\x1b", "x")
        .symlink("l", "etc")
        .file("./x y", "z")
        .end();
    let packed = compressed("gzip", &archive)?;
    let file = folder.path().join("a.tar.gz");
    fs::write(&file, &packed).expect("our own folder");
    let theirs = run(Command::new("tar").arg("-tf").arg(&file)).silent();
    assert_eq!(run(fetch().arg("--list-entries").arg(&file)).silent(), theirs);
    assert_eq!(theirs.lines().count(), 4);
    assert_eq!(run_with_input(fetch().args(["--list-entries", "-"]), &packed).silent(), theirs);
    let only = run(fetch().args(["--list-entries", "--exclude=etc"]).arg(&file)).silent();
    assert_eq!(only, "l\n./x y\n");
    for source in [file.display().to_string(), "-".to_owned()] {
        let script = run(fetch().args(["-n", "--list-entries", &source])).silent();
        assert_eq!(run_with_input(&mut support::sh(script), &packed).ok(), theirs, "{source}");
    }
    let wrong = run(fetch().args(["--list-entries", "--sha256", &"0".repeat(64)]).arg(&file));
    assert!(wrong.status == 1 && wrong.stderr.contains("its SHA-256 is"), "{wrong:?}");
    run(fetch().args(["--list-entries", "host"])).fails(2, "fetch-rootfs", &["no archive"]);
    assert_eq!(names(folder.path()), ["a.tar.gz"]);
    Ok(())
}

pub fn owners_are_kept_or_me() -> Test {
    use std::os::unix::process::CommandExt;
    need_root()?;
    let folder = scratch();
    let mut head = block(&Head { mode: 0o4755, ..Head::new(b'0', "f") });
    head[108..115].copy_from_slice(b"0000144");
    sum(&mut head);
    let archive = Archive::default().raw(&head).end();
    let about = |options: &[&str]| {
        extract(folder.path(), &archive, options).silent();
        let about = fs::metadata(folder.path().join("root/f")).expect("extracted");
        fs::remove_dir_all(folder.path().join("root")).expect("our own folder");
        (about.uid(), about.mode() & 0o7777)
    };
    assert_eq!(about(&[]), (0o144, 0o4755));
    assert_eq!(about(&["--owner", "keep"]), (0o144, 0o4755));
    assert_eq!(about(&["--owner=me"]), (0, 0o755), "without the owner, no setuid bit");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("our own folder");
    let mut user = fetch();
    user.args(["--owner", "keep", "-"]).arg(folder.path().join("root")).uid(65534).gid(65534);
    let ran = run_with_input(&mut user, &archive);
    assert!(ran.status == 0 && ran.stderr.lines().count() == 1, "{ran:?}");
    assert!(ran.stderr.contains("owners that only root can set: 100:0 of \"f\""), "{ran:?}");
    run(fetch().args(["--owner", "you", "x", "y"])).fails(2, "fetch-rootfs", &["'you'"]);
    Ok(())
}

pub fn cpio_entries_that_make_no_sense_are_refused() -> Test {
    let folder = scratch();
    let refused = |archive: &[u8], parts: &[&str]| {
        extract(folder.path(), archive, &[]).fails(1, "fetch-rootfs", parts);
        assert!(names(folder.path()).is_empty());
    };
    let file = |name: &str, data: &[u8]| newc(name, 0o100_644, 2, 1, data);
    refused(&[file("../x", b"evil"), trailer()].concat(), &["\"../x\"", "leads outside"]);
    refused(&[newc("s", 0o140_755, 1, 1, b""), trailer()].concat(), &["\"s\"", "its type"]);
    refused(&[newc("d", 0o040_755, 1, 1, b"data"), trailer()].concat(), &["\"d\"", "has a size"]);
    refused(&file("f", b"no end"), &["it ends too early"]);
    refused(&[file("f", b"x"), b"rubbish!".to_vec()].concat(), &["no entry of a cpio archive"]);
    let both = [newc("a", 0o100_644, 7, 2, b"1"), newc("b", 0o100_644, 7, 2, b"2"), trailer()];
    refused(&both.concat(), &["\"b\"", "two names"]);
    let long = newc(&"x/".repeat(2500), 0o100_644, 1, 1, b"");
    refused(&[long, trailer()].concat(), &["longer than a path may be"]);
    let mut unended = file("name", b"x");
    unended[114] = b'x';
    refused(&[unended, trailer()].concat(), &["does not end"]);
    // To chown(2) it means to change nothing.
    for at in [22, 30] {
        let mut nobody = file("f", b"x");
        nobody[at..at + 8].copy_from_slice(b"ffffffff");
        refused(&[nobody, trailer()].concat(), &["\"f\"", "its owner is no user or group"]);
    }
    // Compressed archives in one another, without end.
    let mut nested = [file("f", b"x"), trailer()].concat();
    for _ in 0..6 {
        nested = [trailer(), compressed("gzip", &nested)?].concat();
    }
    refused(&nested, &["compressed in one another"]);
    let link = [newc("l", 0o120_777, 3, 1, b"/"), file("l/etc/x", b"in"), trailer()].concat();
    extract(folder.path(), &link, &[]).silent();
    assert!(folder.path().join("root/etc/x").exists(), "a link to / leads to the root's own top");
    Ok(())
}
