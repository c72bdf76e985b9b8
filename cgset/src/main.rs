//! cgset: create control groups, set limits, attach processes.

fn main() {}
