//! Black-box tests of cgset against the real kernel.

support::tests!();
