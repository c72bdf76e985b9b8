//! Black-box tests of chrootx against the real kernel.

support::tests!();
