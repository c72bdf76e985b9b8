//! fetch-rootfs: get a root file system, verify it, extract it.

mod host;

fn main() {}
