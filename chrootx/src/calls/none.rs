//! Of this machine nobody has listed the system calls yet: there is no filter for it.

use libc::c_long;

pub const ALLOWED: &[c_long] = &[];
pub const OF_THIS_MACHINE: &[c_long] = &[];
pub const NEW: &[c_long] = &[];
pub const LAST: c_long = 0;
pub const WITH: &[(&str, &[c_long])] = &[];
