//! Archives become trees: the same that GNU tar makes, and as fast.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Test, need_program, need_root, run, run_with_input, scratch};

use crate::archive::{Archive, Head};
use crate::{compressed, extract, fetch, fingerprint, names, small};

pub const PUBLISHED: [&str; 3] = [
    "alpine-minirootfs-3.20.3-x86_64.tar.gz",
    "busybox-stable-musl-x86_64.tar.xz",
    "almalinux-9-micro-aarch64.tar.xz",
];

pub fn published_archives_are_extracted_as_tar_does() -> Test {
    need_root()?;
    for name in PUBLISHED {
        let (file, folder) = (support::archive(name)?, scratch());
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        fs::create_dir(&theirs).expect("our own folder");
        let printed = run(fetch().arg(&file).arg(&ours)).silent();
        assert_eq!(printed, format!("{}\n", ours.display()));
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&file);
        run(tar.arg("-C").arg(&theirs)).silent();
        // Where an archive says nothing of its top, that is as new as the run.
        for root in [&ours, &theirs] {
            run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
        }
        assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{name}");
        assert_eq!(names(folder.path()), ["ours", "theirs"]);
    }
    Ok(())
}

/// Eight thousand files with capabilities, devices and all; as it is, and in blocks that are
/// decoded at once.
pub fn debians_minbase_is_extracted_as_tar_does() -> Test {
    need_root()?;
    need_program("mmdebstrap")?;
    let folder = scratch();
    let (file, theirs) = (folder.path().join("a.tar"), folder.path().join("theirs"));
    // Of this machine's own release, which it has the keys of.
    let script = ". /etc/os-release; mmdebstrap --quiet --variant=minbase $VERSION_CODENAME \"$1\"";
    let made = support::sh(script).arg(&file).output().expect("a shell");
    if !made.status.success() {
        return Err(support::skip("mmdebstrap could not make it: is there a mirror?"));
    }
    fs::create_dir(&theirs).expect("our own folder");
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&file);
    run(tar.arg("-C").arg(&theirs)).silent();
    let wanted = fingerprint(&theirs);
    let blocks = folder.path().join("a.tar.xz");
    let pack = "xz -1 -T2 --block-size=16MiB -c \"$1\" >\"$2\"";
    run(support::sh(pack).arg(&file).arg(&blocks)).silent();
    for archive in [&file, &blocks] {
        let ours = folder.path().join("ours");
        run(fetch().arg(archive).arg(&ours)).silent();
        assert!(fingerprint(&ours) == wanted, "{archive:?}");
        run(Command::new("rm").arg("-r").arg(ours)).silent();
    }
    Ok(())
}

pub fn every_compression_is_told_by_content() -> Test {
    for program in ["cat", "gzip", "xz", "zstd", "bzip2", "lz4"] {
        let folder = scratch();
        let file = folder.path().join("misleading.zip");
        let data = match program {
            "cat" => small(),
            program => compressed(program, &small())?,
        };
        // Two members, or frames, or streams, one behind the other, are one archive.
        let halves = match program {
            "cat" => vec![data.clone()],
            program => {
                vec![compressed(program, &small()[..700])?, compressed(program, &small()[700..])?]
            }
        };
        for data in [data, halves.concat()] {
            fs::write(&file, data).expect("our own folder");
            let root = folder.path().join("root");
            run(fetch().arg(&file).arg(&root)).silent();
            assert_eq!(fs::read(root.join("etc/hostname")).expect(program), b"box\n");
            fs::remove_dir_all(root).expect("our own folder");
        }
    }
    Ok(())
}

/// Everything that a root file system has, by GNU tar, there and back.
pub fn every_kind_of_entry_is_kept() -> Test {
    need_root()?;
    need_program("setfattr")?;
    let folder = scratch();
    let make = "cd \"$1\"; umask 0; mkdir -p t/d/e t/sticky t/none; cd t
        echo x >f; chmod 4755 f; ln f hard; ln -s f sym; ln -s /nowhere dangling; mkfifo -m 640 fifo
        mknod -m 666 null c 1 3; mknod disk b 7 9; echo y >d/e/g; chown 123:456 d/e/g; chown -h 7:8 sym
        chmod 1777 sticky; chmod 000 none; chmod 0555 d; setfattr -n user.note -v hello f
        setfattr -n user.note -v dir d; truncate -s 3000 hole; chmod 6711 d/e/g; touch 'a b
c'
        name=$(printf %0120d 7); mkdir -p $name/$name; echo long >$name/$name/$name; ln -s $name/$name/$name l
        find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +";
    run(support::sh(make).arg(folder.path())).silent();
    if let Ok(setcap) = need_program("setcap") {
        let file = folder.path().join("t/hard");
        run(Command::new(setcap).arg("cap_net_raw+ep").arg(file)).silent();
    }
    let original = folder.path().join("t");
    for format in ["gnu", "posix"] {
        let (file, root) = (folder.path().join("a.tar"), folder.path().join("root"));
        let mut tar = Command::new("tar");
        if format == "posix" {
            tar.args(["--xattrs", "--xattrs-include=*"]);
        }
        tar.args(["--format", format, "-cf"]);
        run(tar.arg(&file).arg("-C").arg(&original).arg(".")).silent();
        // Through a umask that would take bits away.
        let script = "umask 077; exec \"$1\" \"$2\" \"$3\"";
        let ours = env!("CARGO_BIN_EXE_fetch-rootfs");
        run(support::sh(script).arg(ours).arg(&file).arg(&root)).silent();
        let (mut wanted, mut got) = (fingerprint(&original), fingerprint(&root));
        if format == "gnu" {
            // Its times are whole seconds, and it has no place for attributes.
            let plain = |text: &str| {
                let lines = text.split("# file:").next().unwrap_or_default();
                lines.trim_end().replace(".1234567890", ".0000000000")
            };
            (wanted, got) = (plain(&wanted), plain(&got));
        }
        assert_eq!(got, wanted, "{format}");
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

/// In every form that GNU tar has for them; more parts than fit into a header.
pub fn sparse_files_keep_their_holes() -> Test {
    let folder = scratch();
    let name = "n".repeat(120);
    let make = "cd \"$1\"; mkdir t; truncate -s 50M t/f; printf start | dd of=t/f conv=notrunc status=none
        for at in $(seq 1 40); do printf $at | dd of=t/f bs=1M seek=$at conv=notrunc status=none; done
        truncate -s 9000 t/empty; cp --sparse=always t/f t/$2; printf end >>t/$2";
    run(support::sh(make).arg(folder.path()).arg(&name)).silent();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let (file, root) = (folder.path().join("a.tar"), folder.path().join("root"));
        let mut tar = Command::new("tar");
        tar.args(["--sparse", "-cf"]).arg(&file).args(format);
        run(tar.arg("-C").arg(folder.path().join("t")).arg(".")).silent();
        assert!(fs::metadata(&file).expect("made above").len() < 1 << 20, "{format:?}");
        run(fetch().arg(&file).arg(&root)).silent();
        assert_eq!(names(&root), ["empty", "f", &name], "{format:?}");
        for file in ["f", "empty", &name] {
            let (wanted, got) = (folder.path().join("t").join(file), root.join(file));
            let (wanted, about) = (fs::read(&wanted), fs::metadata(&got));
            assert!(wanted.ok() == fs::read(&got).ok(), "{format:?} {file}");
            assert!(about.expect("it is there").blocks() * 512 < 1 << 20, "{format:?} {file}");
        }
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

/// A root with merged /usr: what an entry's name leads through is resolved as inside the root.
pub fn links_within_the_root_lead_where_they_lead_inside() -> Test {
    for target in ["usr/bin", "/usr/bin", "../../usr/bin"] {
        let folder = scratch();
        let archive = Archive::default()
            .folder("usr/")
            .folder("usr/bin/")
            .symlink("bin", target)
            .folder("bin/")
            .file("bin/tool", "x")
            .hard_link("bin/same", "bin/tool")
            .end();
        extract(folder.path(), &archive, &[]).silent();
        let root = folder.path().join("root");
        assert!(fs::symlink_metadata(root.join("bin")).expect("it is there").is_symlink());
        assert_eq!(names(&root.join("usr/bin")), ["same", "tool"], "{target}");
    }
    // A folder that the archive has forgotten.
    let folder = scratch();
    extract(folder.path(), &Archive::default().file("a/b/c", "x").end(), &[]).silent();
    let made = fs::metadata(folder.path().join("root/a/b")).expect("it was made");
    assert_eq!(made.permissions().mode() & 0o7777, 0o755);
    Ok(())
}

pub fn a_deep_tree_takes_linear_time() -> Test {
    let deep = |depth: usize| {
        let mut archive = Archive::default();
        for level in 1..=depth {
            let name = "d/".repeat(level);
            archive = if name.len() > 99 { archive.long_name(&name) } else { archive };
            archive = archive.folder(&name[..name.len().min(99)]);
        }
        archive.end()
    };
    let start = Instant::now();
    let folder = scratch();
    extract(folder.path(), &deep(2000), &[]).silent();
    let root = folder.path().join("root");
    let count = run(Command::new("find").arg(&root)).silent().lines().count();
    assert_eq!(count, 2001);
    run(Command::new("rm").arg("-rf").arg(&root)).silent();
    // The same, and then an error: what was made has to go again.
    let mut broken = deep(2000);
    broken.truncate(broken.len() - 1024);
    extract(folder.path(), &broken, &[]).fails(1, "fetch-rootfs", &["ends too early"]);
    assert!(names(folder.path()).is_empty());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    Ok(())
}

pub fn a_user_gets_what_a_user_can_have() -> Test {
    need_root()?;
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
    let as_nobody = |archive: &[u8], options: &[&str]| {
        let mut command = fetch();
        command.args(options).arg("-").arg(folder.path().join("root")).uid(65534).gid(65534);
        run_with_input(&mut command, archive)
    };
    let device = Archive::default().folder("dev/").device("dev/null", 1, 3).file("f", "x").end();
    as_nobody(&device, &["--skip-devices"]).silent();
    assert_eq!(names(&folder.path().join("root")), ["dev", "f"]);
    fs::remove_dir_all(folder.path().join("root")).expect("we are root");
    let suid = Head { mode: 0o6755, ..Head::new(b'0', "su") };
    let closed = Head { mode: 0o000, ..Head::new(b'5', "closed/") };
    let archive = Archive::default().head(&suid).head(&closed).file("closed/in", "x").end();
    as_nobody(&archive, &[]).silent();
    let mode = |name: &str| {
        let about = fs::symlink_metadata(folder.path().join("root").join(name)).expect(name);
        (about.permissions().mode() & 0o7777, about.uid())
    };
    assert_eq!((mode("su"), mode("closed")), ((0o755, 65534), (0o000, 65534)));
    fs::remove_dir_all(folder.path().join("root")).expect("we are root");
    // And a failure behind a folder that its owner can't enter.
    let broken = Archive::default().head(&closed).file("closed/in", "x").unfinished();
    as_nobody(&broken, &[]).fails(1, "fetch-rootfs", &["ends too early"]);
    assert!(names(folder.path()).is_empty());
    Ok(())
}
