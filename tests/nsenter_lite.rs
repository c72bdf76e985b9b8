//! Black-box tests of nsenter-lite against the real kernel.

support::tests!();
