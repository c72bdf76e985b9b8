//! The classic way out of chroot(2), for root: have a working directory above the root, and go up.
//! Ends with 0 if the file named by the first argument, of the old root, comes into sight.

use std::env::{args, set_current_dir};
use std::fs::create_dir_all;
use std::os::unix::fs::chroot;
use std::path::Path;
use std::process::exit;

fn main() {
    let mark = args().nth(1).expect("a file of the old root");
    create_dir_all("/.below").expect("a writable root");
    chroot("/.below").expect("a second chroot, which leaves the working directory above it");
    for _ in 0..64 {
        set_current_dir("..").expect("a way up");
    }
    chroot(".").expect("a third chroot");
    exit(i32::from(!Path::new(&mark).exists()));
}
