//! Black-box tests of fetch-rootfs against the real kernel.

support::tests!();
