//! chrootx: run a program in another root directory.

fn main() {}
