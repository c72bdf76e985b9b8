//! --owner map: an ordinary user's trees, with the owners that a user namespace sees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Signal, Test, eventually, need_program, run, run_with_input};

use crate::archive::{Archive, Head};
use crate::formats::record;
use crate::image::same_time;
use crate::namespace::{INSIDE, LINE, User, file, owned};
use crate::server::Server;
use crate::trees::PUBLISHED;
use crate::{compressed, fetch, fingerprint, large, names, verification};

/// A tree with all that belongs to somebody, packed by GNU tar; no device nodes, which it fails at.
fn everything(user: &User) -> PathBuf {
    let make = "cd \"$1\"; umask 0; mkdir -p t/d/e t/sticky t/none; cd t; echo x >f; ln f hard
        ln -s f sym; mkfifo -m 640 fifo; echo y >d/e/g; truncate -s 3000 hole; echo z >mail
        echo s >su; echo c >caps; mkdir list; echo l >list/f; echo t >top
        chown 5:6 f; chown -h 7:8 sym; chown 9:9 fifo; chown 1000:1000 d; chown 1234:70000 d/e/g
        chown 0:8 mail; chown 65534:65534 hole; chown 70000:3 none; chown 33:33 su caps
        chmod 2755 mail; chmod 6711 su; chmod 1777 sticky; chmod 0 none; chmod 0555 d
        setfacl -m u:1234:rw,g:55:r list/f; setfacl -d -m u:77:rx list
        setfattr -n user.note -v hello su; setcap cap_net_raw+ep caps; setcap cap_chown+ep top
        find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +
        tar --acls --xattrs --xattrs-include=* --format=posix -cf ../work/everything.tar .";
    run(support::sh(make).arg(user.folder())).silent();
    user.work().join("everything.tar")
}

pub fn a_mapped_tree_is_what_tar_makes_in_the_namespace() -> Test {
    let user = User::with(LINE)?;
    for program in ["setfacl", "setfattr", "setcap"] {
        need_program(program)?;
    }
    let mut archives = vec![everything(&user)];
    for name in PUBLISHED {
        archives.push(support::archive(name)?);
    }
    for archive in archives {
        // It need not be where the user can go to.
        let archive = fs::copy(&archive, user.work().join("a")).map(|_| "a").expect("our own");
        user.maps(archive, "ours");
        let tar = "mkdir theirs; exec tar --numeric-owner --acls --xattrs --xattrs-include=* \
            -xpf \"$1\" -C theirs";
        run(&mut user.runs(&[&INSIDE[..], &["sh", "-ec", tar, "sh", archive]].concat())).silent();
        for root in ["ours", "theirs"] {
            run(Command::new("touch").args(["-d", "@0"]).arg(user.work().join(root))).silent();
        }
        assert_eq!(user.seen("ours"), user.seen("theirs"), "as seen inside");
        let [ours, theirs] = ["ours", "theirs"].map(|root| fingerprint(&user.work().join(root)));
        assert_eq!(ours, theirs, "as seen outside");
        if ours.contains(" ./su\n") {
            assert!(ours.contains("./su f 6711 200032 200032 ") && ours.contains("# file: caps"));
            assert!(user.seen("ours").contains("./su f 6711 33 33 "));
        }
        for root in ["ours", "theirs"] {
            run(Command::new("rm").arg("-r").arg(user.work().join(root))).silent();
        }
    }
    Ok(())
}

/// All lines of the two files count, those by name and those by number.
pub fn every_format_and_source_is_mapped() -> Test {
    let user = User::with("other:1:5\nnobody:300000:10\n65534:200000:70000\nbroken:\n")?;
    need_program("cpio")?;
    let pack = "cd \"$1\"; mkdir t; echo x >t/f; chown 7:40 t/f; cd t; find . | \
        cpio --quiet -o -H newc >../work/a.cpio; tar -cf ../work/a.tar .; gzip -k ../work/a.tar";
    run(support::sh(pack).arg(user.folder())).silent();
    for (number, archive) in ["a.cpio", "a.tar", "a.tar.gz"].into_iter().enumerate() {
        user.maps(archive, &format!("root{number}"));
        let about = fs::metadata(user.work().join(format!("root{number}/f"))).expect("extracted");
        assert_eq!((about.uid(), about.gid()), (300_006, 200_029), "{archive}");
    }
    let names = run(&mut user.fetch(&["--owner=map", "--list-entries", "a.tar"])).silent();
    assert_eq!(names, "./\n./f\n");
    user.maps("host:true", "host");
    let about = fs::metadata(user.work().join("host/usr")).expect("it was made");
    assert_eq!(about.uid(), 65534, "root inside");
    Ok(())
}

/// What a layer below brought is another user's, in folders that are closed.
pub fn layers_are_taken_away_from_mapped_trees() -> Test {
    let user = User::with(LINE)?;
    let closed = Head { mode: 0o500, ..Head::new(b'5', "d/") };
    let below = Archive::default()
        .raw(&owned(&closed, 5, 5))
        .raw(&owned(&Head { mode: 0, ..Head::new(b'5', "d/gone/") }, 6, 6))
        .raw(&file("d/gone/f", 7, 7))
        .raw(&file("d/f", 8, 8))
        .raw(&file("d/kept", 9, 9));
    let above = Archive::default().file("d/.wh.gone", "").file("d/.wh.f", "").raw(&owned(
        &Head { mode: 0o4755, ..Head::new(b'0', "d/su") },
        10,
        11,
    ));
    fs::create_dir(user.work().join("layers")).expect("our own folder");
    for (name, layer) in [("1", below), ("2", above)] {
        fs::write(user.work().join("layers").join(name), layer.end()).expect("our own folder");
    }
    user.maps("layers:layers", "root");
    let root = user.work().join("root");
    assert_eq!(names(&root.join("d")), ["kept", "su"]);
    let about = |name: &str| {
        let about = fs::symlink_metadata(root.join(name)).expect("extracted");
        (about.mode() & 0o7777, about.uid(), about.gid())
    };
    assert_eq!(about("d"), (0o500, 200_004, 200_004));
    assert_eq!(about("d/kept"), (0o644, 200_008, 200_008));
    assert_eq!(about("d/su"), (0o4755, 200_009, 200_010));
    need_program("umoci")?;
    let script = run(&mut user.fetch(&["-n", "--owner=map", "layers:layers", "theirs"])).silent();
    run(&mut user.runs(&["sh", "-c", &script])).ok();
    for root in [&root, &user.work().join("theirs")] {
        same_time(root);
    }
    assert_eq!(user.seen("root"), user.seen("theirs"));
    Ok(())
}

pub fn the_script_maps_as_well() -> Test {
    let user = User::with(LINE)?;
    for program in ["setfacl", "setfattr", "setcap"] {
        need_program(program)?;
    }
    everything(&user);
    user.maps("everything.tar", "ours");
    let script = run(&mut user.fetch(&["-n", "--owner=map", "everything.tar", "theirs"])).silent();
    assert!(script.contains("\nexec unshare --map-root-user "), "{script}");
    let ran = run(&mut user.runs(&["sh", "-c", &script])).silent();
    assert_eq!(ran, format!("{}\n", user.work().join("theirs").display()));
    assert_eq!(user.seen("ours"), user.seen("theirs"));
    let said = run(&mut user.fetch(&["-x", "--owner=map", "everything.tar", "said"]));
    assert!(said.status == 0 && said.stderr.starts_with("+ unshare --map-root-user "), "{said:?}");
    assert_eq!(names(&user.work()), ["everything.tar", "ours", "said", "theirs"]);
    Ok(())
}

/// The network, a cache that is one's own, gpgv, and files that nobody else may read.
pub fn what_is_the_user_s_stays_at_hand() -> Test {
    let user = User::with(LINE)?;
    let server = Server::start(large());
    let cached = |option, root| {
        let url = server.url("good");
        let words = ["--owner=map", "--cache-dir", "cache", option, &url, root];
        run(&mut user.fetch(&words)).silent();
    };
    cached("--quiet", "first");
    cached("--offline", "second");
    let about = fs::metadata(user.work().join("cache/sha256")).expect("it was made");
    assert_eq!((about.uid(), about.mode() & 0o777), (65534, 0o700));
    let published = verification::published()?;
    for name in ["a b.tar.gz", "SHA256SUMS", "sums.asc", "maker.gpg"] {
        let copy = user.work().join(name);
        fs::copy(published.path().join(name), &copy).expect("our own folder");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("our own");
        run(Command::new("chown").arg("65534").arg(&copy)).silent();
    }
    let words = ["--owner=map", "--checksums=SHA256SUMS", "--signature=sums.asc"];
    let words = [&words[..], &["--keyring=maker.gpg", verification::SOURCE, "third"]].concat();
    run(&mut user.fetch(&words)).silent();
    assert_eq!(
        fingerprint(&user.work().join("first/etc")),
        fingerprint(&user.work().join("third/etc"))
    );
    Ok(())
}

/// What is outside belongs to those whom the user may act for.
pub fn archives_that_mean_harm_stay_inside_the_map() -> Test {
    let user = User::with(LINE)?;
    let outside = user.work().join("outside");
    fs::create_dir(&outside).expect("our own folder");
    fs::write(outside.join("file"), "precious\n").expect("our own folder");
    run(Command::new("chown").args(["-R", "200004:200004"]).arg(&outside)).silent();
    let before = fingerprint(&outside);
    let (target, theirs) = (outside.display().to_string(), file("x", 5, 5));
    let plain = Archive::default;
    for (archive, part) in [
        (plain().file("../outside/file", "evil").end(), "leads outside"),
        (plain().symlink("l", &target).raw(&file("l/file", 5, 5)).end(), "\"l/file\""),
        (plain().symlink("l", "../outside").folder("l/sub/").end(), "\"l/sub/\""),
        (plain().hard_link("h", "../outside/file").end(), "leads outside"),
        (plain().hard_link("h", &format!("{target}/file")).end(), "\"h\""),
        (plain().raw(&theirs).raw(&file("x/y", 5, 5)).end(), "\"x/y\""),
        (plain().folder("d/").raw(&file("d/f", 5, 5)).unfinished(), "ends too early"),
    ] {
        for packed in [compressed("xz", &archive)?, archive] {
            let ran = run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &packed);
            ran.fails(1, "fetch-rootfs", &[part]);
            assert_eq!(
                (names(&user.work()), fingerprint(&outside)),
                (vec!["outside".into()], before.clone())
            );
        }
    }
    let link = plain().symlink("l", &format!("{target}/file")).raw(&file("l", 5, 5)).end();
    run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &link).silent();
    assert_eq!(fs::symlink_metadata(user.work().join("root/l")).expect("inside").uid(), 200_004);
    assert_eq!(fingerprint(&outside), before);
    Ok(())
}

/// A run that has extracted all, with owners, and is kept waiting by its verifier.
fn waiting(user: &User) -> Child {
    let at = |name: &str| user.work().join(name);
    let archive = Archive::default()
        .raw(&owned(&Head { mode: 0o700, ..Head::new(b'5', "d/") }, 5, 5))
        .raw(&file("d/f", 6, 6))
        .end();
    fs::write(at("a.tar"), &archive).expect("our own folder");
    let verifier = "#!/bin/sh\ncat >/dev/null\n: >waits\nexec sleep 2\n";
    for (name, text) in [("signature", ""), ("keyring", ""), ("gpgv", verifier)] {
        fs::write(at(name), text).expect("our own folder");
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).expect("our own");
    }
    let path = format!("{}:{}", user.work().display(), std::env::var("PATH").unwrap_or_default());
    let words = ["--owner=map", "--signature=signature", "--keyring=keyring", "a.tar", "root"];
    let mut command = user.fetch(&words);
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("it starts");
    eventually("all of it is there", || at("waits").exists().then_some(()));
    fs::remove_file(at("waits")).expect("we are root");
    let left = at(&format!(".root.fetch-{}/root/d", child.id()));
    assert_eq!(fs::metadata(left).expect("it is there").uid(), 200_004);
    child
}

/// Kills one; gives what it has left.
fn killed(user: &User) -> PathBuf {
    let mut child = waiting(user);
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    let dead = user.work().join(format!(".root.fetch-{}", child.id()));
    eventually("its worker ends with it, and the lock is free", || {
        let free = run(Command::new("flock").arg("--nonblock").arg(&dead).arg("true"));
        (free.status == 0).then_some(())
    });
    dead
}

pub fn a_signal_leaves_nothing_of_a_mapped_tree() -> Test {
    let user = User::with(LINE)?;
    let mut child = waiting(&user);
    support::send(&child, Signal::SIGTERM, false);
    let status = support::wait(&mut child, Duration::from_secs(10)).expect("it ends by itself");
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(names(&user.work()), ["a.tar", "gpgv", "keyring", "signature"]);
    Ok(())
}

pub fn a_killed_run_is_cleared_away_in_the_namespace() -> Test {
    let user = User::with(LINE)?;
    // A run that maps nothing can't, and says what can.
    let dead = killed(&user);
    let ran = run(&mut user.fetch(&["a.tar", "root"]));
    ran.fails(
        1,
        "fetch-rootfs",
        &["left by a killed run", "(EPERM)", "or run this with --owner map"],
    );
    let cure = ran.stderr.split(['?', ';']).nth(1).expect("a command").trim().to_owned();
    assert!(dead.exists() && cure.starts_with("unshare "), "{ran:?}");
    run(&mut user.runs(&["sh", "-c", &cure])).silent();
    assert!(!dead.exists());
    let dead = killed(&user);
    user.maps("a.tar", "root");
    assert!(!dead.exists());
    assert_eq!(names(&user.work()), ["a.tar", "gpgv", "keyring", "root", "signature"]);
    Ok(())
}

pub fn an_owner_beyond_the_map_is_told() -> Test {
    let user = User::with("nobody:200000:1000\n")?;
    for (uid, gid, options) in [
        (1001, 0, "--add-subuids 201000-201000 \""),
        (1000, 5000, "--add-subgids 201000-204999 \""),
        (2000, 2000, "--add-subuids 201000-201999 --add-subgids 201000-201999 \""),
    ] {
        let archive = Archive::default().file("a", "x").raw(&file("b", uid, gid)).end();
        let ran = run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &archive);
        let what =
            format!("extract \"b\": set its owner {uid}:{gid}, of 1001 users and 1001 groups");
        ran.fails(1, "fetch-rootfs", &[&what, "(EINVAL)", "hint: sudo usermod ", options]);
        assert!(names(&user.work()).is_empty());
    }
    // More than anybody is given.
    let many = Archive::default().pax(&record("uid=4000000000")).file("b", "x").end();
    let ran = run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &many);
    ran.fails(1, "fetch-rootfs", &["4000000000:0", "(EINVAL)", "hint: --owner me"]);
    let list = "SCHILY.acl.access=user::rw-,user:2000:r--,group::r--,mask::r--,other::r--";
    let listed = Archive::default().pax(&record(list)).file("b", "x").end();
    let ran = run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &listed);
    let what = "extract \"b\": set its attribute \"system.posix_acl_access\"";
    ran.fails(1, "fetch-rootfs", &[what, "(EINVAL)", "hint: it is of users or groups"]);
    let highest = Archive::default().raw(&file("b", 1000, 1000)).end();
    run_with_input(&mut user.fetch(&["--owner=map", "-", "root"]), &highest).silent();
    Ok(())
}

pub fn what_a_map_needs_is_told() -> Test {
    let user = User::with("somebody:100000:65536\n")?;
    let archive = Archive::default().file("a", "x").end();
    fs::write(user.work().join("a.tar"), &archive).expect("our own folder");
    let words = ["--owner", "map", "a.tar", "root"];
    run(&mut user.fetch(&words)).fails(
        1,
        "fetch-rootfs",
        &[
            "\"nobody\" has no ids in /etc/subuid and /etc/subgid",
            "hint: sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 ",
        ],
    );
    run(fetch()
        .args(["--owner=map", "a.tar"])
        .arg(user.work().join("root"))
        .current_dir(user.work()))
    .fails(2, "fetch-rootfs", &["map the owners: root", "hint: --owner keep"]);
    fs::write(user.folder().join("ids"), LINE).expect("our own folder");
    let bin = user.work().join("bin");
    fs::create_dir(&bin).expect("our own folder");
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).expect("our own folder");
    let path = format!("PATH={}", bin.display());
    let without = [&["env", &path, env!("CARGO_BIN_EXE_fetch-rootfs")], &words[..]].concat();
    run(&mut user.runs(&without)).fails(
        1,
        "fetch-rootfs",
        &["\"newuidmap\"", "hint: apt-get install uidmap"],
    );
    need_program("strace")?;
    for (errno, hint) in [("EPERM", "hint: "), ("ENOSPC", "hint: a limit is reached")] {
        let inject = format!("inject=unshare:error={errno}");
        let strace =
            ["strace", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_fetch-rootfs")];
        run(&mut user.runs(&[&strace[..], &words].concat())).fails(
            1,
            "fetch-rootfs",
            &["make a user namespace", errno, hint],
        );
    }
    assert_eq!(names(&user.work()), ["a.tar", "bin"]);
    Ok(())
}
