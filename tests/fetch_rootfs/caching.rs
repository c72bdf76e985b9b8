//! What is downloaded once: revalidated, used without a network, shared, and never half a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Ran, TempDir, Test, eventually, need_program, need_root, run, scratch};

use crate::server::{Fault, Server};
use crate::{compressed, fetch, fingerprint, large, names, small};

/// A cache, and trees beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: scratch() }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn command(&self, url: &str, dir: &str, options: &[&str]) -> Command {
        let mut command = fetch();
        command.arg("--cache-dir").arg(self.cache()).args(options).arg(url);
        command.arg(self.folder.path().join(dir));
        command
    }

    fn get(&self, url: &str, dir: &str, options: &[&str]) -> Ran {
        run(&mut self.command(url, dir, options))
    }

    fn tree(&self, dir: &str) -> Vec<String> {
        names(&self.folder.path().join(dir))
    }

    /// The only file of the cache.
    fn file(&self) -> PathBuf {
        let files = names(&self.cache().join("sha256"));
        assert_eq!(files.len(), 1, "{files:?}");
        self.cache().join("sha256").join(&files[0])
    }
}

pub fn a_second_fetch_asks_whether_it_has_changed() -> Test {
    let body = compressed("gzip", &large())?;
    let server = Server::start(body.clone());
    let (place, url) = (Place::new(), server.url("tagged"));
    place.get(&url, "one", &[]).silent();
    assert_eq!(fs::read(place.file()).expect("kept"), body);
    place.get(&url, "two", &[]).silent();
    let asked = server.requests();
    assert_eq!(asked[1].header("if-none-match"), Some("\"one\""), "{asked:?}");
    assert_eq!(place.tree("one"), place.tree("two"));
    // It changes: what is got then is the new one.
    server.faulty("tagged", &[Fault::DropThenChange(0)]);
    place.get(&url, "three", &["--retries", "0"]); // brings on the change
    assert_eq!(names(&place.cache().join("unfinished")), [""; 0]);
    server.faulty("tagged changed", &[]);
    place.get(&url, "four", &[]).fails(1, "fetch-rootfs", &["no tar archive"]);
    assert_eq!(names(&place.cache().join("sha256")).len(), 1, "what is no archive is not kept");
    // And without the cache nothing is asked but the thing itself.
    server.requests();
    let plain = server.url("tagged-other");
    run(fetch().args(["--no-cache", &plain]).arg(place.folder.path().join("five"))).silent();
    assert_eq!(server.requests()[0].header("if-none-match"), None);
    Ok(())
}

pub fn what_is_cached_needs_no_network() -> Test {
    let body = small();
    let server = Server::start(body);
    let (place, url) = (Place::new(), server.url("tagged"));
    place.get(&url, "none", &["--offline"]).fails(
        1,
        "fetch-rootfs",
        &[&url, "not there", "hint: get it once without --offline"],
    );
    assert!(!place.cache().exists(), "nothing is made");
    place.get(&url, "one", &[]).silent();
    server.requests();
    place.get(&url, "two", &["--offline"]).silent();
    let said = place.get(&url, "said", &["--explain"]);
    assert!(said.stderr.contains(&format!("a copy in {:?}", place.cache())), "{said:?}");
    server.requests();
    // By its digest, wherever it is from.
    let sum = place.file().file_name().expect("a name").to_string_lossy().into_owned();
    place.get("https://nowhere.invalid/x", "three", &["--sha256", &sum]).silent();
    assert!(server.requests().is_empty());
    assert_eq!((place.tree("two"), place.tree("three")), (place.tree("one"), place.tree("one")));
    // The script takes it from there, too.
    let script = place.get(&url, "four", &["--offline", "-n"]).silent();
    run(&mut support::sh(&script)).ok();
    assert_eq!(place.tree("four"), place.tree("one"));
    Ok(())
}

pub fn a_damaged_file_of_the_cache_is_found_and_removed() -> Test {
    for body in [large(), compressed("gzip", &large())?] {
        let server = Server::start(body.clone());
        let (place, url) = (Place::new(), server.url("tagged"));
        for change in 0..3 {
            place.get(&url, "one", &[]).silent();
            let mut bytes = body.clone();
            let middle = bytes.len() / 2;
            match change {
                0 => bytes[middle] ^= 1,
                1 => bytes.truncate(middle),
                _ => bytes.clear(),
            }
            let file = place.file();
            fs::write(&file, bytes).expect("our own file");
            let ran = place.get(&url, "two", &[]);
            let name = file.display().to_string();
            ran.fails(1, "fetch-rootfs", &[&name, "damaged", "was removed", "hint: run it again"]);
            assert!(!file.exists());
            assert!(!place.folder.path().join("two").exists());
            assert!(ran.stderr.contains("without --offline"), "it would not be there: {ran:?}");
            place.get(&url, "two", &[]).silent();
            assert_eq!(place.tree("two"), ["etc", "last", "noise"]);
            for tree in ["one", "two"] {
                fs::remove_dir_all(place.folder.path().join(tree)).expect("our own folder");
            }
        }
    }
    Ok(())
}

pub fn two_fetches_share_a_cache_at_once() -> Test {
    let body = large();
    let server = Server::start(body.clone());
    let (place, url) = (Place::new(), server.url("slow"));
    let start = |dir: &str| {
        let mut command = place.command(&url, dir, &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().expect("it starts")
    };
    let mut both = [start("one"), start("two")];
    eventually("both write", || {
        let unfinished = fs::read_dir(place.cache().join("unfinished")).ok()?;
        (unfinished.count() == 2).then_some(())
    });
    for child in &mut both {
        let status = support::wait(child, Duration::from_secs(60)).expect("it ends");
        assert!(status.success());
    }
    assert_eq!(fs::read(place.file()).expect("kept"), body);
    assert_eq!(names(&place.cache().join("unfinished")), [""; 0]);
    assert_eq!(place.tree("one"), place.tree("two"));
    Ok(())
}

/// Numbers that look random, the same each time.
fn moments(most: u64) -> impl Iterator<Item = Duration> {
    let mut state = 7u64;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((state >> 33) % most)
    })
}

pub fn a_run_killed_at_any_moment_leaves_nothing_that_hurts() -> Test {
    let body = compressed("gzip", &large())?;
    let server = Server::start(body);
    let (place, url) = (Place::new(), server.url("tagged"));
    place.get(&url, "whole", &[]).silent();
    fs::remove_dir_all(place.cache()).expect("our own folder");
    let start = Instant::now();
    place.get(&url, "timed", &[]).silent();
    let most = u64::try_from(start.elapsed().as_micros()).expect("a short time");
    fs::remove_dir_all(place.cache()).expect("our own folder");
    for moment in moments(most).take(50) {
        let mut command = place.command(&url, "tree", &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        thread::sleep(moment);
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let tree = place.folder.path().join("tree");
        if tree.exists() {
            assert_eq!(place.tree("tree"), ["etc", "last", "noise"], "{moment:?}: all or nothing");
            fs::remove_dir_all(tree).expect("our own folder");
        }
    }
    // The workers die with their parents, and their locks are free then.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let ran = place.get(&url, "tree", &[]);
        let left = [names(place.folder.path()), names(&place.cache().join("unfinished"))];
        fs::remove_dir_all(place.folder.path().join("tree")).expect("it was made");
        ran.silent();
        if left == [vec!["cache", "timed", "tree", "whole"], vec![]] {
            break;
        }
        assert!(Instant::now() < end, "left for a minute: {left:?}");
    }
    assert_eq!(fingerprint_of(&place, "timed"), fingerprint_of(&place, "whole"));
    Ok(())
}

fn fingerprint_of(place: &Place, dir: &str) -> String {
    let root = place.folder.path().join(dir);
    run(Command::new("touch").args(["-d", "@0"]).arg(&root)).silent();
    fingerprint(&root)
}

pub fn an_interrupted_run_leaves_no_half_file() -> Test {
    let server = Server::start(large());
    let place = Place::new();
    let mut command = place.command(&server.url("slow"), "root", &[]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("it starts");
    let unfinished = place.cache().join("unfinished");
    eventually("it writes", || fs::read_dir(&unfinished).ok()?.next().map(drop));
    support::send(&child, support::Signal::SIGINT, true);
    let status = support::wait(&mut child, Duration::from_secs(10)).expect("it ends by itself");
    assert_eq!(status.code(), Some(130));
    assert_eq!(names(&unfinished), [""; 0]);
    assert_eq!(names(place.folder.path()), ["cache"]);
    Ok(())
}

/// Not having room for the cache is a note; not having room for the tree, a failure.
pub fn a_full_disk_is_told_and_leaves_nothing() -> Test {
    need_root()?;
    let server = Server::start(large());
    let url = server.url("tagged");
    // What is left on the small disk is said, too.
    let script = "mount -t tmpfs -o \"$2\",mode=700 none \"$1\"; disk=$1; shift 2; status=0
        \"$@\" || status=$?; find \"$disk\" -mindepth 1 ! -type d >&2; exit $status";
    for (small, option, target, status) in [
        ("cache", "size=100k", "root", 0),
        ("disk", "size=100k", "disk/root", 1),
        ("disk", "nr_inodes=4", "disk/root", 1),
    ] {
        let place = Place::new();
        let disk = place.folder.path().join(small);
        fs::create_dir(&disk).expect("our own folder");
        let mut command = support::private_sh(script);
        command.arg(&disk).arg(option).arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
        command.arg("--cache-dir").arg(place.cache()).arg(&url);
        let ran = run(command.arg(place.folder.path().join(target)));
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(ran.stderr.contains("(ENOSPC)"), "{ran:?}");
        assert!(!ran.stderr.lines().any(|line| line.starts_with('/')), "no file is left: {ran:?}");
        assert_eq!(place.folder.path().join("root").exists(), status == 0);
        if status == 0 {
            assert!(ran.stderr.starts_with("fetch-rootfs: note: it is not kept: "), "{ran:?}");
            assert_eq!(place.tree("root"), ["etc", "last", "noise"]);
        } else {
            assert!(ran.stderr.contains("hint: the disk is full: df -h"), "{ran:?}");
            assert_eq!(names(&place.cache().join("sha256")), [""; 0]);
        }
    }
    Ok(())
}

/// As a kernel that has trouble, or is slow, answers.
pub fn errors_and_short_reads_of_the_kernel_are_borne() -> Test {
    need_program("strace")?;
    let body = large();
    let server = Server::start(body.clone());
    let (place, url) = (Place::new(), server.url("tagged"));
    place.get(&url, "one", &[]).silent();
    let kept = place.file();
    let strace = |inject: &str, path: &Path, source: &str, dir: &str, options: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", inject, "-P"]).arg(path);
        command.env_remove("HOME").arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
        command.arg("--cache-dir").arg(place.cache()).args(options).arg(source);
        run(command.arg(place.folder.path().join(dir)))
    };
    let short = strace("inject=read:retval=0:when=1", &kept, &url, "two", &["--offline"]);
    short.fails(1, "fetch-rootfs", &["fetch-rootfs: "]);
    assert!(!place.folder.path().join("two").exists());
    place.get(&url, "two", &[]).silent();
    let broken = strace("inject=read:error=EIO:when=2", &kept, &url, "three", &["--offline"]);
    broken.fails(1, "fetch-rootfs", &["(EIO)"]);
    assert!(!place.folder.path().join("three").exists());
    assert!(kept.exists(), "a disk that can't be read is not a file that is wrong");
    let often = strace("inject=read:error=EINTR:when=1+3", &kept, &url, "three", &["--offline"]);
    often.silent();
    assert_eq!(place.tree("three"), ["etc", "last", "noise"]);
    Ok(())
}

/// Where others can write, they could make us extract what they like.
pub fn a_cache_that_others_can_write_is_not_used() -> Test {
    need_root()?;
    let server = Server::start(small());
    let (place, url) = (Place::new(), server.url("tagged"));
    fs::create_dir(place.cache()).expect("our own folder");
    run(Command::new("chown").arg("65534").arg(place.cache())).silent();
    let ran = place.get(&url, "one", &[]);
    assert!(ran.status == 0 && ran.stderr.contains("note: it is not kept: use the cache"));
    assert!(ran.stderr.contains("it is another user's"), "{ran:?}");
    assert_eq!(names(&place.cache()), [""; 0], "nothing is made in it");
    run(Command::new("chown").arg("0").arg(place.cache())).silent();
    place.get(&url, "kept", &[]).silent();
    run(Command::new("chmod").arg("g+w").arg(place.cache())).silent();
    let offline = place.get(&url, "two", &["--offline"]);
    offline.fails(1, "fetch-rootfs", &["others may write to it", "hint: --cache-dir"]);
    // What it would choose by itself, it leaves alone without a word.
    let mut command = fetch();
    let usual = place.folder.path().join("xdg/container-tools");
    fs::create_dir_all(&usual).expect("our own folder");
    run(Command::new("chown").arg("65534").arg(&usual)).silent();
    command.env("XDG_CACHE_HOME", place.folder.path().join("xdg")).arg(&url);
    run(command.arg(place.folder.path().join("two"))).silent();
    assert_eq!(names(&usual), [""; 0]);
    run(Command::new("chown").arg("0").arg(&usual)).silent();
    run(command.arg("--quiet").env("HOME", "/nowhere").arg(&url)).fails(2, "fetch-rootfs", &[]);
    let with_usual = |dir: &str, options: &[&str]| {
        let mut command = fetch();
        command.env("XDG_CACHE_HOME", place.folder.path().join("xdg")).args(options).arg(&url);
        run(command.arg(place.folder.path().join(dir)))
    };
    with_usual("three", &[]).silent();
    assert_eq!(names(&usual), ["sha256", "unfinished", "url"]);
    run(Command::new("chmod").arg("777").arg(&usual)).silent();
    let named = format!("{usual:?}: others may write to it");
    with_usual("none", &["--offline"]).fails(1, "fetch-rootfs", &[&named, "hint: --cache-dir"]);
    let noted = with_usual("open", &[]);
    assert!(noted.status == 0 && noted.stderr.contains(&named), "{noted:?}");
    let none = run(fetch().args(["--offline", &url]).arg(place.folder.path().join("none")));
    none.fails(1, "fetch-rootfs", &["there is no cache: neither HOME nor", "hint: --cache-dir"]);
    // A home of another user, and one that is not there.
    let home = place.folder.path().join("home");
    fs::create_dir(&home).expect("our own folder");
    run(Command::new("chown").arg("65534").arg(&home)).silent();
    let mut command = fetch();
    run(command.env("HOME", &home).arg(&url).arg(place.folder.path().join("four"))).silent();
    assert_eq!(names(&home), [""; 0]);
    let mut command = fetch();
    let free = place.folder.path().join("free");
    fs::create_dir(&free).expect("our own folder");
    run(Command::new("chown").arg("65534").arg(&free)).silent();
    command.env("HOME", "/nowhere/at/all").uid(65534).gid(65534).current_dir(&free);
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).expect("our own");
    run(command.arg(&url).arg(free.join("root"))).silent();
    Ok(())
}
