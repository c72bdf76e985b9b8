//! nsenter-lite: create namespaces, or enter those of a process.

fn main() {}
