//! What the kernel would say, by the same instructions.

use super::*;

/// What the kernel would say, by the same instructions.
fn run(filter: &Filter, machine: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let words = arguments.iter().flat_map(|word| word.to_le_bytes());
    let head = [call, machine].into_iter().flat_map(u32::to_le_bytes);
    let data: Vec<u8> = head.chain([0; 8]).chain(words).collect();
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let one = filter.0[at];
        at += 1;
        let code = u32::from(one.code);
        let holds = match code {
            _ if code == BPF_LD | BPF_W | BPF_ABS => {
                let bytes = data[one.k as usize..][..4].try_into().expect("four");
                accumulator = u32::from_le_bytes(bytes);
                continue;
            }
            _ if code == BPF_ALU | BPF_AND | BPF_K => {
                accumulator &= one.k;
                continue;
            }
            _ if code == BPF_RET | BPF_K => return one.k,
            _ if code == BPF_JMP | BPF_JA => {
                at += one.k as usize;
                continue;
            }
            _ if code == BPF_JMP | BPF_JEQ | BPF_K => accumulator == one.k,
            _ if code == BPF_JMP | BPF_JGE | BPF_K => accumulator >= one.k,
            _ => panic!("no such instruction: {code}"),
        };
        at += usize::from(if holds { one.jt } else { one.jf });
    }
}

fn standard(gone: Set) -> Filter {
    Filter::standard(gone).expect("this machine has a list of calls")
}

fn said(gone: Set, call: c_long, arguments: [u64; 6]) -> u32 {
    let call = u32::try_from(call).expect("a small number");
    run(&standard(gone), MACHINE, call, arguments)
}

const DENIED: u32 = SECCOMP_RET_ERRNO | EPERM as u32;
const MISSING: u32 = SECCOMP_RET_ERRNO | ENOSYS as u32;

#[test]
fn every_number_gets_what_the_list_says() {
    for gone in [Set::NONE, Set::parse("all").expect("a name")] {
        let (filter, wanted) = (standard(gone), verdicts(gone));
        assert!(filter.0.len() < 800, "{}", filter.0.len());
        for call in 0..2000 {
            let wanted = match wanted.0.get(call as usize) {
                Some(Verdict::Refuse(errno)) => SECCOMP_RET_ERRNO | errno.cast_unsigned(),
                Some(_) => SECCOMP_RET_ALLOW, // of all arguments 0
                None => MISSING,
            };
            assert_eq!(run(&filter, MACHINE, call, [0; 6]), wanted, "{call}");
        }
        // The x32 calls of x86_64 have this bit.
        assert_eq!(run(&filter, MACHINE, 0x4000_0000, [0; 6]), MISSING);
        assert_eq!(run(&filter, 0x4000_0028, 1, [0; 6]), SECCOMP_RET_KILL_PROCESS); // arm
    }
}

#[test]
fn arguments_are_looked_at() {
    let none = Set::parse("all").expect("a name");
    let first = |call, argument: u64| said(none, call, [argument, 0, 0, 0, 0, 0]);
    let second = |call, argument: u64| said(none, call, [0, argument, 0, 0, 0, 0]);
    let no_family = SECCOMP_RET_ERRNO | EAFNOSUPPORT as u32;
    for (family, wanted) in [(1, SECCOMP_RET_ALLOW), (2, SECCOMP_RET_ALLOW), (40, no_family)] {
        assert_eq!(first(libc::SYS_socket, family), wanted, "{family}");
    }
    for (command, wanted) in
        [(0x5413, SECCOMP_RET_ALLOW), (0x5412, DENIED), (0x5423, DENIED), (0xF_0000_541C, DENIED)]
    {
        assert_eq!(second(libc::SYS_ioctl, command), wanted, "{command:x}");
    }
    for (flags, wanted) in [
        (0x11, SECCOMP_RET_ALLOW),
        (0x3D_0F00, SECCOMP_RET_ALLOW), // a thread
        (0x1000_0011, DENIED),          // CLONE_NEWUSER
        (0x2_0011, DENIED),             // CLONE_NEWNS
    ] {
        assert_eq!(first(libc::SYS_clone, flags), wanted, "{flags:x}");
    }
    assert_eq!(first(libc::SYS_personality, 0x4_0000), DENIED); // ADDR_NO_RANDOMIZE
    assert_eq!(first(libc::SYS_personality, 0xFFFF_FFFF), SECCOMP_RET_ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_32_bits_have_their_own_numbers() {
    let (all, none) = (Set::parse("all").expect("a name"), Set::NONE);
    for (gone, call, argument, wanted) in [
        (all, 1, 0, SECCOMP_RET_ALLOW), // exit
        (all, 21, 0, DENIED),           // mount
        (none, 21, 0, SECCOMP_RET_ALLOW),
        (all, 288, 0, DENIED), // keyctl
        (none, 288, 0, DENIED),
        (all, 359, 1, SECCOMP_RET_ALLOW), // socket
        (all, 359, 40, SECCOMP_RET_ERRNO | EAFNOSUPPORT as u32),
        (all, 120, 0x1000_0011, DENIED), // clone
        (all, 120, 0x11, SECCOMP_RET_ALLOW),
        (none, 120, 0x1000_0011, SECCOMP_RET_ALLOW),
        (all, 435, 0, MISSING),           // clone3
        (none, 425, 0, DENIED),           // io_uring_setup
        (all, 437, 0, SECCOMP_RET_ALLOW), // openat2
        (all, 999, 0, MISSING),
    ] {
        let said = run(&standard(gone), MACHINE_32, call, [argument, 0, 0, 0, 0, 0]);
        assert_eq!(said, wanted, "{call} {argument:x}");
    }
}

#[test]
fn capabilities_allow_their_calls() {
    let some = Set::parse("sys_admin,sys_time").expect("names");
    for (call, gone, wanted) in [
        (libc::SYS_mount, some, DENIED),
        (libc::SYS_mount, Set::NONE, SECCOMP_RET_ALLOW),
        (libc::SYS_clone3, some, MISSING),
        (libc::SYS_clone3, Set::NONE, SECCOMP_RET_ALLOW),
        (libc::SYS_chroot, some, SECCOMP_RET_ALLOW),
        (libc::SYS_clock_settime, some, DENIED),
        (libc::SYS_io_uring_setup, Set::NONE, DENIED),
        (libc::SYS_keyctl, Set::NONE, DENIED),
        (libc::SYS_userfaultfd, Set::NONE, DENIED),
        (libc::SYS_kexec_load, Set::NONE, DENIED),
    ] {
        assert_eq!(said(gone, call, [0; 6]), wanted, "{call}");
    }
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let filter = standard(Set::NONE);
    let path = std::env::temp_dir().join(format!("chrootx-filter-{}", std::process::id()));
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a temporary file");
        Filter::read(&path).map_err(|failure| failure.lines("chrootx"))
    };
    assert_eq!(read(&filter.bytes()), Ok(filter.clone()));
    let long = vec![0; 8 * (MOST + 1)];
    for bytes in [&[][..], &[0; 7], &filter.bytes()[..12], &long] {
        let why = read(bytes).expect_err("no program");
        assert!(why.contains("it is no program for seccomp(2)"), "{why}");
    }
    std::fs::remove_file(path).expect("it was just written");
}
