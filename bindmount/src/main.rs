//! bindmount: bind-mount files and folders into a root file system.

fn main() {}
