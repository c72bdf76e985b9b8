//! What programs of 32 bits may call, which an x86_64 kernel runs as well (Docker lets them, too).
//! Their numbers are others up to 423; from there on both have the same.
//!
//! `socketcall` and `ipc` have their arguments in memory, where no filter can look: by the first, a
//! socket of any family can be had.

use libc::c_long;

/// Calls from this number on are those of the 64-bit programs.
pub const SAME_FROM: u32 = 424;

pub const SOCKET: u32 = 359;
pub const PERSONALITY: u32 = 136;
pub const IOCTL: u32 = 54;
pub const CLONE: u32 = 120;

/// What nobody may: what is refused to the others, and what the C libraries have left long ago.
pub const REFUSED: &[u32] = &[
    17,  // break
    18,  // oldstat
    28,  // oldfstat
    31,  // stty
    32,  // gtty
    34,  // nice
    35,  // ftime
    44,  // prof
    48,  // signal
    53,  // lock
    56,  // mpx
    58,  // ulimit
    59,  // oldolduname
    62,  // ustat
    67,  // sigaction
    68,  // sgetmask
    69,  // ssetmask
    72,  // sigsuspend
    73,  // sigpending
    84,  // oldlstat
    86,  // uselib
    87,  // swapon
    89,  // readdir
    98,  // profil
    109, // olduname
    112, // idle
    113, // vm86old
    115, // swapoff
    127, // create_module
    130, // get_kernel_syms
    134, // bdflush
    135, // sysfs
    137, // afs_syscall
    147, // getsid
    149, // _sysctl
    166, // vm86
    167, // query_module
    169, // nfsservctl
    188, // getpmsg
    189, // putpmsg
    273, // vserver
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
            CLONE as c_long,
            121, // setdomainname
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
