//! Trees made by chance, archived by GNU tar in each of its forms, and extracted by it and by us:
//! the same comes out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use support::{Test, need_program, need_root, run, scratch};

use crate::fetch;

/// Something in a tree. Numbers choose among what is there already.
#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    folder: usize,
    name: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Folder,
    File(Vec<u8>),
    /// Data at some multiples of 64 KiB, and a length.
    Holes(Vec<u8>, u32),
    Symlink(Vec<u8>),
    HardLink(usize),
    Fifo,
    Device(bool, u8),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{1,3}".prop_map(String::into_bytes),
        1 => "[a-z]{90,160}".prop_map(String::into_bytes),
        1 => "[-.~ \\\\*?\n\t\u{e9}\u{6f22}]{1,6}x".prop_map(String::into_bytes),
        1 => "[a-z]{245,255}".prop_map(String::into_bytes),
        1 => prop::collection::vec(128u8..=255, 1..20),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Folder),
        4 => prop::collection::vec(any::<u8>(), 0..1500).prop_map(Kind::File),
        2 => (prop::collection::vec(0u8..60, 0..30), 0u32..4_000_000)
            .prop_map(|(parts, length)| Kind::Holes(parts, length)),
        2 => "[a-z/.]{1,200}".prop_map(|target| Kind::Symlink(target.into_bytes())),
        3 => any::<usize>().prop_map(Kind::HardLink),
        1 => Just(Kind::Fifo),
        1 => (any::<bool>(), any::<u8>()).prop_map(|(block, minor)| Kind::Device(block, minor)),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let owner = prop_oneof![3 => Just((0, 0)), 1 => (0u32..70_000, 0u32..3_000_000)];
    let mtime = (-4_000_000_000i64..8_000_000_000, 0u32..1_000_000_000);
    let xattr = ("user\\.[a-z=%]{1,20}", prop::collection::vec(any::<u8>(), 0..60));
    let xattrs = prop::collection::vec(xattr, 0..3);
    (kind(), any::<usize>(), name(), 0u32..0o10000, owner, mtime, xattrs).prop_map(
        |(kind, folder, name, mode, owner, mtime, xattrs)| Node {
            kind,
            folder,
            name,
            mode,
            owner,
            mtime,
            xattrs,
        },
    )
}

/// Makes it; a name that is taken, or a path that is too long, is left out.
fn build(root: &Path, nodes: &[Node]) {
    let (mut folders, mut others) = (vec![root.to_owned()], Vec::new());
    let mut made: Vec<(PathBuf, &Node)> = Vec::new();
    for node in nodes {
        let path = folders[node.folder % folders.len()].join(OsStr::from_bytes(&node.name));
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 2000 {
            continue;
        }
        make(&path, &node.kind, &others);
        match node.kind {
            Kind::Folder => folders.push(path.clone()),
            _ if fs::symlink_metadata(&path).is_err() => continue,
            _ => others.push(path.clone()),
        }
        if !matches!(node.kind, Kind::HardLink(_)) {
            made.push((path, node));
        }
    }
    // What is made in a folder changes its time.
    for (path, node) in made.iter().rev() {
        dress(path, node);
    }
}

fn make(path: &Path, kind: &Kind, others: &[PathBuf]) {
    let special = |kind, device| mknod(path, kind, Mode::S_IRUSR, device).expect("we are root");
    match kind {
        Kind::Folder => fs::create_dir(path).expect("a new name"),
        Kind::File(data) => fs::write(path, data).expect("a new name"),
        Kind::Holes(parts, length) => {
            let file = File::create(path).expect("a new name");
            file.set_len(u64::from(*length)).expect("our own file");
            for part in parts {
                file.write_all_at(&[*part; 700], u64::from(*part) << 16).expect("our own file");
            }
        }
        Kind::Symlink(target) => symlink(OsStr::from_bytes(target), path).expect("a new name"),
        Kind::HardLink(which) if !others.is_empty() => {
            fs::hard_link(&others[which % others.len()], path).expect("a new name");
        }
        Kind::HardLink(_) => {}
        Kind::Fifo => special(SFlag::S_IFIFO, 0),
        // Numbers that no driver answers to; nobody opens them anyway.
        Kind::Device(true, minor) => special(SFlag::S_IFBLK, makedev(511, u64::from(*minor))),
        Kind::Device(false, minor) => special(SFlag::S_IFCHR, makedev(511, u64::from(*minor))),
    }
}

fn dress(path: &Path, node: &Node) {
    lchown(path, Some(node.owner.0), Some(node.owner.1)).expect("we are root");
    if matches!(node.kind, Kind::Folder | Kind::File(_) | Kind::Holes(..)) {
        for (name, value) in &node.xattrs {
            xattr::set(path, name, value).expect("this file system has them");
        }
    }
    if !matches!(node.kind, Kind::Symlink(_)) {
        fs::set_permissions(path, fs::Permissions::from_mode(node.mode)).expect("we are root");
    }
    let time = TimeSpec::new(node.mtime.0, i64::from(node.mtime.1));
    let here = nix::fcntl::AT_FDCWD;
    utimensat(here, path, &time, &time, UtimensatFlags::NoFollowSymlink).expect("we are root");
}

/// All that can be seen of each name, but for the disk space.
fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    let mut numbers = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).expect("a folder").flatten();
        for path in entries.map(|entry| folder.join(entry.file_name())) {
            let full = root.join(&path);
            let about = fs::symlink_metadata(&full).expect("it is there");
            if about.is_dir() {
                folders.push(path.clone());
            }
            numbers.entry(about.ino()).or_insert_with(Vec::new).push(path.clone());
            all.insert(path, one(&full, &about));
        }
    }
    // Which names are of one file.
    for mut names in numbers.into_values() {
        names.sort();
        for name in &names {
            let together = format!(" one of {names:?}");
            all.entry(name.clone()).and_modify(|text| text.push_str(&together));
        }
    }
    all
}

fn one(path: &Path, about: &fs::Metadata) -> String {
    let kind = about.file_type();
    let time = (about.mtime(), about.mtime_nsec());
    let what = if kind.is_symlink() {
        format!("{:?}", fs::read_link(path))
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("{}", about.rdev())
    } else if kind.is_file() {
        let data = fs::read(path).expect("we are root");
        let sum = data.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        format!("{} {sum}", data.len())
    } else {
        String::new()
    };
    let mut names: Vec<_> = xattr::list(path).into_iter().flatten().collect();
    names.sort();
    let attributes: Vec<String> = names
        .iter()
        .map(|name| format!("{name:?}={:?}", xattr::get(path, name).ok().flatten()))
        .collect();
    let owner = (about.uid(), about.gid());
    format!("{:o} {owner:?} {time:?} {what} {attributes:?}", about.mode())
}

fn blocks(root: &Path, path: &Path) -> u64 {
    fs::symlink_metadata(root.join(path)).expect("it is there").blocks()
}

fn compare(format: &str, nodes: &[Node]) -> Result<(), TestCaseError> {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tree")).expect("our own folder");
    fs::create_dir(at("theirs")).expect("our own folder");
    build(&at("tree"), nodes);
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format", format, "--file"]).arg(at("tar"));
    match format {
        "gnu" => drop(tar.arg("--sparse")),
        "pax" => drop(tar.args(["--sparse", "--xattrs", "--xattrs-include=*"])),
        _ => {}
    }
    // What a form can't have is said, and left out.
    let made = run(tar.arg("--directory").arg(at("tree")).arg("."));
    let mut tar = Command::new("tar");
    tar.args(["-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f"]).arg(at("tar"));
    let theirs = run(tar.arg("-C").arg(at("theirs")));
    let ran = run(fetch().arg(at("tar")).arg(at("ours")));
    // But the target of a hard link that ustar can't have is cut off: it names nothing, or a
    // folder, and nobody can make that link.
    if made.stderr.contains("link name is too long")
        && theirs.stderr.contains("Cannot hard link to")
    {
        let reasons = ["hint: a hard link must come after", "a folder can't be linked"];
        let refused = ran.status == 1 && reasons.iter().any(|why| ran.stderr.contains(why));
        prop_assert!(refused && !at("ours").exists(), "{ran:?}");
        return Ok(());
    }
    theirs.ok();
    prop_assert!(ran.status == 0 && ran.stderr.is_empty(), "{ran:?}");
    let (ours, theirs) = (seen(&at("ours")), seen(&at("theirs")));
    for (path, text) in &theirs {
        prop_assert_eq!(ours.get(path), Some(text), "{:?}", path);
        let (ours, theirs) = (blocks(&at("ours"), path), blocks(&at("theirs"), path));
        prop_assert!(ours <= theirs + 8, "{path:?}: {ours} and {theirs} blocks");
    }
    prop_assert_eq!(ours.len(), theirs.len());
    Ok(())
}

pub fn two_hundred_trees_are_extracted_as_tar_does() -> Test {
    need_root()?;
    need_program("tar")?;
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let formats = prop::sample::select(vec!["gnu", "pax", "ustar", "v7"]);
    TestRunner::new(config)
        .run(&(formats, prop::collection::vec(node(), 1..25)), |(format, nodes)| {
            compare(format, &nodes)
        })
        .unwrap_or_else(|failure| match failure {
            TestError::Fail(why, input) => panic!("{why}: {input:?}"),
            failure @ TestError::Abort(_) => panic!("{failure}"),
        });
    Ok(())
}
