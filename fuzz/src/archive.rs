//! Archives that nobody would make: each is extracted into a scratch folder or refused, and beside
//! that folder nothing changes.
#![no_main]

use std::fs::{self, File};
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let folder = std::env::temp_dir().join(format!("fuzz-archive-{}", std::process::id()));
    let tree = folder.join("tree");
    fs::create_dir_all(&tree).expect("our own folder");
    fs::write(folder.join("canary"), "precious").expect("our own folder");
    let root = File::open(&tree).expect("our own folder");
    // A header's sum is beyond a fuzzer: it is made right.
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    if let Err(why) = fetch_rootfs::extracted(&archive, &root) {
        assert!(why.starts_with("fetch-rootfs: ") && why.lines().count() <= 2, "{why}");
    }
    let mut beside: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("our own folder")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    beside.sort();
    assert_eq!(beside, [folder.join("canary"), tree]);
    assert_eq!(fs::read(folder.join("canary")).expect("it is there"), b"precious");
    fs::remove_dir_all(&folder).expect("our own folder");
});
