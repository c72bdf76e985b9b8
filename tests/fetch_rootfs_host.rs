//! `fetch-rootfs host DIR`: a root of this machine's own programs, entered and used.

support::tests!();
