//! What programs of 32 bits may call, which an x86_64 kernel runs as well (Docker lets them, too).
//! Their numbers are others up to 423; from there on both have the same.
//!
//! `socketcall` and `ipc` have their arguments in memory, where no filter can look: by the first, a
//! socket of any family can be had.

use libc::c_long;

/// Calls from this number on are those of the 64-bit programs.
pub const SAME_FROM: c_long = 424;

pub const SOCKET: c_long = 359;
pub const PERSONALITY: c_long = 136;
pub const IOCTL: c_long = 54;
pub const CLONE: c_long = 120;

/// What nobody may, as in the other list. The oldest calls, which have newer ones beside them that do
/// the same, are let through, and so are those that no kernel has any more.
pub const REFUSED: &[c_long] = &[
    62,  // ustat
    86,  // uselib
    87,  // swapon
    115, // swapoff
    134, // bdflush
    135, // sysfs
    283, // kexec_load
    286, // add_key
    287, // request_key
    288, // keyctl
    294, // migrate_pages
    317, // move_pages
    374, // userfaultfd
];

/// What may be done with a capability alone, by its name.
pub const WITH: &[(&str, &[c_long])] = &[
    ("dac_read_search", &[342]), // open_by_handle_at
    (
        "sys_admin",
        &[
            21,  // mount
            22,  // umount
            52,  // umount2
            74,  // sethostname
            103, // syslog
            CLONE, 121, // setdomainname
            131, // quotactl
            217, // pivot_root
            253, // lookup_dcookie
            310, // unshare
            336, // perf_event_open
            338, // fanotify_init
            346, // setns
            357, // bpf
        ],
    ),
    ("sys_boot", &[88]),               // reboot
    ("sys_chroot", &[61]),             // chroot
    ("sys_module", &[128, 129, 350]),  // init_module, delete_module, finit_module
    ("sys_pacct", &[51]),              // acct
    ("sys_ptrace", &[349]),            // kcmp
    ("sys_rawio", &[101, 110]),        // ioperm, iopl
    ("sys_time", &[25, 79, 264, 404]), // stime, settimeofday, clock_settime, clock_settime64
    ("sys_tty_config", &[111]),        // vhangup
    ("sys_nice", &[274, 275, 276]),    // mbind, get_mempolicy, set_mempolicy
    ("syslog", &[103]),                // syslog
    ("bpf", &[357]),                   // bpf
    ("perfmon", &[336]),               // perf_event_open
];
