//! Black-box tests of bindmount against the real kernel.

support::tests!();
