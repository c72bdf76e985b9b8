//! Archives that mean harm: whatever they say, nothing outside of the target changes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use support::{Ran, TempDir, Test, need_root, run, run_with_input, scratch};

use crate::archive::{Archive, Head, block, sum};
use crate::formats::record;
use crate::{compressed, fetch, fingerprint, large, names, small};

const NOBODY: u32 = 65534;

/// A folder with things that must not change, beside the one that is extracted into. They are
/// nobody's, who extracts archives here too: it is not permission that keeps them.
struct Canary {
    folder: TempDir,
    before: String,
}

impl Canary {
    fn new() -> Self {
        let folder = scratch();
        fs::create_dir_all(folder.path().join("outside/sub")).expect("our own folder");
        fs::write(folder.path().join("outside/file"), "precious\n").expect("our own folder");
        if geteuid().is_root() {
            let mut chown = Command::new("chown");
            run(chown.args(["-R", &NOBODY.to_string()]).arg(folder.path())).silent();
        }
        let before = fingerprint(&folder.path().join("outside"));
        Self { folder, before }
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// The outside is as it was.
    #[track_caller]
    fn extract(&self, archive: &[u8], options: &[&str], user: Option<u32>) -> Ran {
        let mut command = fetch();
        command.args(options).arg("-").arg(self.folder.path().join("root"));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let ran = run_with_input(&mut command, archive);
        assert_eq!(fingerprint(&self.outside()), self.before, "{ran:?}");
        ran
    }

    /// It is refused through each compression, by root and by a user, naming the entry, and nothing
    /// is left.
    #[track_caller]
    fn refuses(&self, archive: &[u8], options: &[&str], parts: &[&str]) {
        let users = if geteuid().is_root() { &[None, Some(NOBODY)][..] } else { &[None] };
        let programs = ["gzip", "xz", "zstd", "bzip2", "lz4"];
        let packed = programs.iter().filter_map(|program| compressed(program, archive).ok());
        for archive in packed.chain([archive.to_vec()]) {
            for user in users {
                self.extract(&archive, options, *user).fails(1, "fetch-rootfs", parts);
                assert_eq!(names(self.folder.path()), ["outside"]);
            }
        }
    }

    /// It is taken, and all of it lands inside.
    #[track_caller]
    fn takes(&self, archive: &[u8]) -> PathBuf {
        self.extract(archive, &[], None).silent();
        assert_eq!(names(self.folder.path()), ["outside", "root"]);
        self.folder.path().join("root")
    }
}

pub fn hostile_names_stay_inside() -> Test {
    let canary = Canary::new();
    let outside = canary.outside();
    for name in ["../outside/file", "a/../../outside/file", "..", "a/..", "../../x"] {
        let archive = Archive::default().folder("a/").file(name, "evil").end();
        canary.refuses(&archive, &[], &[&format!("{name:?}"), "leads outside"]);
    }
    let long = Archive::default().long_name("../outside/file").file("x", "evil").end();
    canary.refuses(&long, &[], &["\"../outside/file\""]);
    let pax = Archive::default().pax(b"24 path=../outside/file\n").file("x", "evil").end();
    canary.refuses(&pax, &[], &["\"../outside/file\""]);
    let huge = "x/".repeat(2500);
    let archive = Archive::default().long_name(&huge).file("x", "evil").end();
    canary.refuses(&archive, &[], &["\"x/x/", "longer than a path may be"]);
    let archive = Archive::default().long_name(&"y".repeat(300)).file("x", "evil").end();
    canary.refuses(&archive, &[], &["\"yyy", "longer than 255 bytes"]);
    let escape = Archive::default().file("../\x1b[2Jx", "evil").end();
    canary.refuses(&escape, &[], &["\\u{1b}[2Jx"]);
    // An absolute name is one from the top of the root.
    let absolute = format!("{}/file", outside.display());
    let root = canary.takes(&Archive::default().file(&absolute, "inside").end());
    let inside = root.join(absolute.trim_start_matches('/'));
    assert_eq!(fs::read(inside).expect("it landed inside"), b"inside");
    Ok(())
}

pub fn hostile_links_stay_inside() -> Test {
    need_root()?;
    let canary = Canary::new();
    let outside = canary.outside().display().to_string();
    let up = format!("../../../../../../../../..{outside}");
    for target in [outside.as_str(), &up, "../outside"] {
        // A file through a link that leads out: there is no such folder inside.
        let archive = Archive::default().symlink("l", target).file("l/file", "evil").end();
        canary.refuses(&archive, &[], &["\"l/file\""]);
        let archive = Archive::default().symlink("l", target).folder("l/sub/").end();
        canary.refuses(&archive, &[], &["\"l/sub/\""]);
        // Two links, each harmless.
        let archive = Archive::default()
            .folder("a/")
            .symlink("a/b", "..")
            .symlink("l", &format!("a/b/../{target}"))
            .file("l/file", "evil")
            .end();
        canary.refuses(&archive, &[], &["\"l/file\""]);
        // A hard link out, or to a link that leads out: then the link itself, never its target.
        let archive = Archive::default().hard_link("h", &format!("{target}/file")).end();
        canary.refuses(&archive, &[], &["\"h\""]);
    }
    for target in ["../outside/file", "/../outside/file"] {
        let archive = Archive::default().hard_link("h", target).end();
        canary.refuses(&archive, &[], &["\"h\"", "leads outside"]);
    }
    let archive = Archive::default().folder("d/").hard_link("h", "d").end();
    canary.refuses(&archive, &[], &["\"h\"", "a folder can't be linked"]);
    let archive = Archive::default().hard_link("h", "later").file("later", "x").end();
    canary.refuses(&archive, &[], &["\"h\"", "hint: a hard link must come after"]);
    let archive = Archive::default().symlink(".", &outside).file("x", "evil").end();
    canary.refuses(&archive, &[], &["\".\"", "only be a folder"]);
    // A link that a later entry replaces: the entry lands in its place, not behind it.
    let file = format!("{outside}/file");
    let archive = Archive::default()
        .symlink("l", &file)
        .file("l", "mine")
        .symlink("d", &outside)
        .folder("d/")
        .symlink("h", &file)
        .hard_link("g", "h")
        .file("g", "mine too")
        .end();
    let root = canary.takes(&archive);
    assert_eq!(fs::read(root.join("l")).expect("inside"), b"mine");
    assert!(fs::symlink_metadata(root.join("d")).expect("inside").is_dir());
    assert!(fs::symlink_metadata(root.join("h")).expect("inside").is_symlink());
    assert_eq!(fs::read(root.join("g")).expect("inside"), b"mine too");
    Ok(())
}

pub fn damaged_archives_are_refused() -> Test {
    let canary = Canary::new();
    let whole = large();
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        let packed = compressed(program, &whole)?;
        for cut in [packed.len() / 2, packed.len() - 5] {
            let ran = canary.extract(&packed[..cut], &[], None);
            let parts = ["read the archive: it ends too early", "hint: it is incomplete"];
            ran.fails(1, "fetch-rootfs", &parts);
            assert_eq!(names(canary.folder.path()), ["outside"], "{program} {cut}");
        }
        let mut corrupt = packed.clone();
        corrupt[packed.len() / 2] ^= 0x55;
        canary.extract(&corrupt, &[], None).fails(1, "fetch-rootfs", &["hint: it is damaged"]);
        assert_eq!(names(canary.folder.path()), ["outside"], "{program}");
    }
    let cut = ["\"noise\"", "ends too early", "hint: it is incomplete"];
    canary.refuses(&whole[..whole.len() / 2], &[], &cut);
    // A block of bzip2 has its sum behind it: its entries make no sense before that does.
    let many = (0..400).fold(Archive::default(), |all, one| all.file(&format!("f{one}"), "text"));
    let packed = compressed("bzip2", &many.end())?;
    for at in [packed.len() / 3, packed.len() / 2, packed.len() * 2 / 3] {
        let mut corrupt = packed.clone();
        corrupt[at] ^= 1;
        let parts = ["read the archive: bzip2", "hint: it is damaged"];
        canary.extract(&corrupt, &[], None).fails(1, "fetch-rootfs", &parts);
    }
    let no_end = Archive::default().file("a", "x").unfinished();
    canary.refuses(&no_end, &[], &["it ends too early", "hint: it is incomplete"]);
    let mut sum_wrong = block(&Head::new(b'0', "a"));
    sum_wrong[0] = b'b';
    let archive = Archive::default().raw(&sum_wrong).end();
    canary.refuses(&archive, &[], &["\"b\"", "its checksum is wrong", "hint: it is damaged"]);
    let unknown = Archive::default().head(&Head::new(b'Z', "a")).end();
    canary.refuses(&unknown, &[], &["\"a\"", "nothing is known of its type 'Z'"]);
    let mut negative = block(&Head::new(b'0', "a"));
    negative[124..136].copy_from_slice(&[0xff; 12]);
    sum(&mut negative);
    let archive = Archive::default().raw(&negative).end();
    canary.refuses(&archive, &[], &["\"a\"", "its size is negative"]);
    for records in
        [&b"8 path=a\n"[..], b"99 path=a\n", b"10 path=a\0\n", b"x path=a\n", b"11 size=-1\n"]
    {
        let archive = Archive::default().pax(records).file("a", "x").end();
        canary.refuses(&archive, &[], &["read an extended header"]);
    }
    let dangling = Archive::default().long_name("a").end();
    canary.refuses(&dangling, &[], &["a header belongs to no entry"]);
    let nul = Archive::default().with_data(b'L', "././@LongLink", b"a\0b\0").file("x", "x").end();
    canary.refuses(&nul, &[], &["a NUL byte is in its name"]);
    Ok(())
}

pub fn bombs_are_refused_at_once() -> Test {
    let canary = Canary::new();
    let start = Instant::now();
    let archive = Archive::default().with_data(b'0', "big", &[b'x'; 5000]).end();
    canary.refuses(&archive, &["--max-size", "4K"], &["\"big\"", "4 KiB", "hint: --max-size"]);
    let many = (0..20).fold(Archive::default(), |archive, n| archive.file(&format!("f{n}"), ""));
    canary.refuses(&many.end(), &["--max-entries", "10"], &["\"f10\"", "hint: --max-entries"]);
    // One exbibyte, all of it a hole.
    let mut sparse = block(&Head::new(b'S', "hole"));
    sparse[483..495].copy_from_slice(&[0x80, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    sum(&mut sparse);
    canary.refuses(&Archive::default().raw(&sparse).end(), &[], &["\"hole\"", "--max-size"]);
    // A map that goes beyond the file, or back.
    for (start, size) in [(512u64, 512u64), (u64::MAX >> 1, 512)] {
        let mut sparse = block(&Head { size: 512, ..Head::new(b'S', "hole") });
        sparse[386..398].copy_from_slice(&base256(start));
        sparse[398..410].copy_from_slice(&base256(size));
        sparse[483..495].copy_from_slice(&base256(600));
        sum(&mut sparse);
        let archive = Archive::default().raw(&sparse).raw(&[0; 512]).end();
        canary.refuses(&archive, &[], &["map of a sparse file"]);
    }
    // Zeroes without end behind the archive's end.
    let mut trailing = small();
    trailing.resize(trailing.len() + (1 << 20), 0);
    canary.refuses(&trailing, &["--max-size", "64K"], &["far too much comes after it"]);
    assert!(start.elapsed() < Duration::from_secs(20));
    Ok(())
}

/// Maps of holes that ask for memory, or lie about the data.
pub fn hostile_maps_of_holes_are_refused() -> Test {
    let canary = Canary::new();
    let start = Instant::now();
    let mapped = |records: &[&str], data: &[u8]| {
        let records: Vec<u8> = records.iter().flat_map(|text| record(text)).collect();
        Archive::default().pax(&records).with_data(b'0', "hole", data).end()
    };
    let map = "map of a sparse file";
    for (records, data) in [
        (&["GNU.sparse.size=10", "GNU.sparse.map=0,1"][..], &b"too long"[..]),
        (&["GNU.sparse.map=0,1"], b"x"),
        (&["GNU.sparse.size=2", "GNU.sparse.map=5,1"], b"x"),
        (&["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"], b"1\n0\n"),
        (&["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9"], b"99999999\n"),
        (&["GNU.sparse.major=1", "GNU.sparse.minor=0"], b"0\n"),
        (&["GNU.sparse.major=2", "GNU.sparse.minor=0", "GNU.sparse.realsize=0"], b""),
    ] {
        canary.refuses(&mapped(records, data), &[], &[map]);
    }
    let name = &["GNU.sparse.name=../outside/file", "GNU.sparse.size=1", "GNU.sparse.map=0,1"];
    canary.refuses(&mapped(name, b"x"), &[], &["\"../outside/file\"", "leads outside"]);
    let huge = &["GNU.sparse.size=9000000000000000000", "GNU.sparse.map="];
    canary.refuses(&mapped(huge, b""), &[], &["GNU.sparse.map"]);
    let huge = &["GNU.sparse.size=9000000000000000000"];
    canary.refuses(&mapped(huge, b""), &[], &["\"hole\"", "--max-size"]);
    // GNU's old form, whose map goes on and on.
    let mut sparse = block(&Head::new(b'S', "hole"));
    sparse[482] = 1;
    sum(&mut sparse);
    let mut more = [0; 512];
    more[504] = 1;
    let endless = Archive::default().raw(&sparse).raw(&more.repeat(20_000)).end();
    canary.refuses(&endless, &[], &[map]);
    let on_a_link = Archive::default().pax(&record("GNU.sparse.size=9")).symlink("l", "x").end();
    canary.refuses(&on_a_link, &[], &["\"l\"", "is no file"]);
    assert!(start.elapsed() < Duration::from_secs(20));
    Ok(())
}

pub fn limits_name_the_option_that_raises_them() -> Test {
    let canary = Canary::new();
    let deep = Archive::default().file("a/b/c/d", "x").end();
    canary.refuses(&deep, &["--max-depth", "3"], &["\"a/b/c/d\"", "hint: --max-depth"]);
    // Folders that an archive has forgotten are entries, too.
    canary.refuses(&deep, &["--max-entries", "3"], &["\"a/b/c/d\"", "hint: --max-entries"]);
    let zeroes = vec![0; 80 << 20];
    let bomb = Archive::default().with_data(b'0', "zeroes", &zeroes).end();
    for program in ["gzip", "xz", "zstd", "bzip2", "lz4"] {
        let packed = compressed(program, &bomb)?;
        let ran = canary.extract(&packed, &["--max-ratio", "100"], None);
        ran.fails(1, "fetch-rootfs", &["more than 100 times", "hint: --max-ratio"]);
        assert_eq!(names(canary.folder.path()), ["outside"], "{program}");
    }
    Ok(())
}

fn base256(number: u64) -> [u8; 12] {
    let mut field = [0; 12];
    field[4..].copy_from_slice(&number.to_be_bytes());
    field[0] = 0x80;
    field
}
