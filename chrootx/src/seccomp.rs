//! A filter for system calls, of the kernel's own simple instructions: no library makes it, and
//! none is needed to read it. See seccomp(2).

use std::env::consts::ARCH;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use common::{Failure, Tried, sys};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    EAFNOSUPPORT, ENOSYS, EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    c_long, sock_filter,
};
use nix::errno::Errno;

use crate::calls;
#[cfg(target_arch = "x86_64")]
use crate::calls32;
use crate::capability::Set;

/// As many instructions as the kernel takes.
const MOST: usize = 4096;

#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xC000_003E; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "x86_64")]
const MACHINE_32: u32 = 0x4000_0003; // AUDIT_ARCH_I386
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xC000_00B7; // AUDIT_ARCH_AARCH64
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: u32 = NO_MACHINE;
const NO_MACHINE: u32 = 0; // AUDIT_ARCH_ of none, and there is no table of calls

/// Where `struct seccomp_data` has them.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    Refuse(i32),
    /// Allowed if an argument is none of these, else this error.
    Unless(u32, &'static [u32], i32),
    /// Allowed if an argument is one of these.
    Only(u32, &'static [u32]),
    /// Allowed if an argument has none of these bits.
    Without(u32, u32),
}

/// A program for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<sock_filter>);

impl Filter {
    /// For a container that lacks these capabilities.
    pub fn standard(gone: Set) -> Result<Self, Failure> {
        if MACHINE == NO_MACHINE {
            return Err(Failure::new(format!(
                "make the filter of --seccomp default: chrootx has no list of system calls for {ARCH}"
            ))
            .hint("--seccomp FILE takes one that another program has made for this machine"));
        }
        let mut program = vec![load(ARCHITECTURE)];
        let verdicts = verdicts(gone);
        table(&mut program, MACHINE, &verdicts);
        #[cfg(target_arch = "x86_64")]
        table(&mut program, MACHINE_32, &verdicts32(gone, verdicts));
        // The numbers of another architecture mean other calls.
        program.push(give(SECCOMP_RET_KILL_PROCESS));
        Ok(Self(program))
    }

    /// A file as bubblewrap and setpriv(1) take it, and `seccomp_export_bpf(3)` writes it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        const SIZE: usize = size_of::<sock_filter>();
        let what = || format!("read a filter from {path:?}");
        let mut bytes = Vec::new();
        let limit = (MOST * SIZE + 1) as u64;
        let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.tried(what).map_err(|failure| {
            failure.hint_if(Errno::ENOENT, || {
                "the usual one is called default; without --seccomp there is none".into()
            })
        })?;
        if bytes.is_empty() || bytes.len() % SIZE != 0 || bytes.len() > MOST * SIZE {
            return Err(Failure::new(format!("{}: it is no program for seccomp(2)", what()))
                .hint("it is what seccomp_export_bpf(3) writes, or chrootx --print-seccomp"));
        }
        let instruction = |bytes: &[u8]| sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        Ok(Self(bytes.chunks_exact(SIZE).map(instruction).collect()))
    }

    /// As [`Filter::read`] reads it.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = |one: &sock_filter| {
            [&one.code.to_ne_bytes()[..], &[one.jt, one.jf], &one.k.to_ne_bytes()].concat()
        };
        self.0.iter().flat_map(bytes).collect()
    }

    /// From here on. It takes no_new_privs, or CAP_SYS_ADMIN.
    pub fn install(&self) -> Result<(), Failure> {
        sys::power::filter_calls(&self.0).tried(|| "filter system calls").map_err(|failure| {
            failure
                .hint_if(Errno::EINVAL, || {
                    "the kernel finds a mistake in the program, or has no seccomp filters".into()
                })
                .hint_if(Errno::EACCES, || "give it --no-new-privs, too".into())
        })
    }
}

/// What becomes of each call up to the last known one, by its number. There are two tables of some
/// four hundred, for each start of a container: they cost more in any other order.
struct Verdicts(Vec<Verdict>);

impl Verdicts {
    fn set(&mut self, call: c_long, verdict: Verdict) {
        self.0[number(call)] = verdict;
    }

    fn set_all(&mut self, calls: &[c_long], verdict: Verdict) {
        for call in calls {
            self.set(*call, verdict);
        }
    }

    /// Where it is not allowed anyway.
    fn restrict(&mut self, call: c_long, verdict: Verdict) {
        if self.0[number(call)] != Verdict::Allow {
            self.set(call, verdict);
        }
    }
}

const REFUSED: Verdict = Verdict::Refuse(EPERM);

fn verdicts(gone: Set) -> Verdicts {
    let mut verdicts = Verdicts(vec![REFUSED; number(calls::LAST) + 1]);
    let with = calls::WITH.iter().filter(|(name, _)| !gone.has(name)).map(|(_, calls)| *calls);
    let usual = [calls::ALLOWED, calls::OF_THIS_MACHINE, calls::NEW];
    usual.into_iter().chain(with).for_each(|calls| verdicts.set_all(calls, Verdict::Allow));

    verdicts.set(libc::SYS_socket, SOCKET);
    verdicts.set(libc::SYS_personality, PERSONALITY);
    verdicts.set(libc::SYS_ioctl, IOCTL);
    verdicts.restrict(libc::SYS_clone, CLONE);
    // The flags of clone3 are in memory, where no filter can look: it does not exist, and the C
    // library takes clone.
    verdicts.restrict(libc::SYS_clone3, Verdict::Refuse(ENOSYS));
    verdicts
}

/// The same for programs of 32 bits, whose newer calls are the others'.
#[cfg(target_arch = "x86_64")]
fn verdicts32(gone: Set, others: Verdicts) -> Verdicts {
    let mut verdicts = others;
    verdicts.0[..number(calls32::SAME_FROM)].fill(Verdict::Allow);
    verdicts.set_all(calls32::REFUSED, REFUSED);
    // What one capability is lacking for, another one may allow.
    for (lacking, verdict) in [(true, REFUSED), (false, Verdict::Allow)] {
        let with = calls32::WITH.iter().filter(|(name, _)| gone.has(name) == lacking);
        with.for_each(|(_, calls)| verdicts.set_all(calls, verdict));
    }
    verdicts.set(calls32::SOCKET, SOCKET);
    verdicts.set(calls32::PERSONALITY, PERSONALITY);
    verdicts.set(calls32::IOCTL, IOCTL);
    verdicts.restrict(calls32::CLONE, CLONE);
    verdicts
}

/// No families that nobody needs and that have had their holes, nor those that have gone: DECnet,
/// Econet, ATM, IrDA, WANPIPE, RxRPC, mISDN, CAIF; AF_ALG, the kernel's cryptography; AF_VSOCK, a way
/// to the machine's own host.
const SOCKET: Verdict = Verdict::Unless(0, &[12, 19, 20, 23, 25, 33, 34, 37, 38, 40], EAFNOSUPPORT);
/// Linux, 32-bit Linux, each perhaps with UNAME26, and the question which one it is.
const PERSONALITY: Verdict = Verdict::Only(0, &[0, 8, 0x2_0000, 0x2_0008, u32::MAX]);
/// TIOCSTI and TIOCLINUX type on the caller's terminal, and by TIOCSETD it is a terminal no more. The
/// kernel looks at 32 bits, so do we.
const IOCTL: Verdict = Verdict::Unless(1, &[0x5412, 0x541C, 0x5423], EPERM);
/// Processes, but no namespaces.
const CLONE: Verdict = Verdict::Without(0, 0x7E02_0000);

/// What is said to calls of one machine; the program goes on behind it with those of others.
fn table(program: &mut Vec<sock_filter>, machine: u32, verdicts: &Verdicts) {
    program.push(jump(BPF_JEQ, machine, 1, 0));
    let here = program.len();
    program.push(statement(BPF_JMP | BPF_JA, 0));
    program.push(load(NUMBER));
    search(program, &segments(verdicts));
    program[here].k = u32::try_from(program.len() - here - 1).expect("a program is short");
}

fn number(call: c_long) -> usize {
    usize::try_from(call).expect("the numbers of calls are small")
}

/// Where another verdict begins, the first at 0; the last goes on without end.
fn segments(Verdicts(verdicts): &Verdicts) -> Vec<(u32, Verdict)> {
    let mut segments: Vec<(u32, Verdict)> = Vec::new();
    let unknown = Verdict::Refuse(ENOSYS);
    for (number, verdict) in (0..).zip(verdicts.iter().copied().chain([unknown])) {
        if segments.last().is_none_or(|(_, before)| *before != verdict) {
            segments.push((number, verdict));
        }
    }
    segments
}

/// Finds the segment by halves: a call costs eight comparisons, not four hundred.
fn search(program: &mut Vec<sock_filter>, segments: &[(u32, Verdict)]) {
    if let [(_, verdict)] = segments {
        return decide(program, *verdict);
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let here = program.len();
    program.push(jump(BPF_JGE, high[0].0, 0, 0));
    search(program, low);
    program[here].jt = distance(here, program.len());
    search(program, high);
}

fn decide(program: &mut Vec<sock_filter>, verdict: Verdict) {
    let refuse = |errno: i32| give(SECCOMP_RET_ERRNO | errno.cast_unsigned());
    let allow = give(SECCOMP_RET_ALLOW);
    match verdict {
        Verdict::Allow => program.push(allow),
        Verdict::Refuse(errno) => program.push(refuse(errno)),
        Verdict::Unless(argument, values, errno) => {
            one_of(program, argument, values);
            program.extend([allow, refuse(errno)]);
        }
        Verdict::Only(argument, values) => {
            one_of(program, argument, values);
            program.extend([refuse(EPERM), allow]);
        }
        Verdict::Without(argument, bits) => program.extend([
            load(low_word(argument)),
            statement(BPF_ALU | BPF_AND | BPF_K, bits),
            jump(BPF_JEQ, 0, 1, 0),
            refuse(EPERM),
            allow,
        ]),
    }
}

/// Passes over the next instruction if the argument is one of these.
fn one_of(program: &mut Vec<sock_filter>, argument: u32, values: &[u32]) {
    program.push(load(low_word(argument)));
    let end = program.len() + values.len();
    for value in values {
        let to = distance(program.len(), end + 1);
        program.push(jump(BPF_JEQ, *value, to, 0));
    }
}

/// Both machines have the low half first.
fn low_word(argument: u32) -> u32 {
    16 + 8 * argument
}

/// Jumps count from the next instruction.
fn distance(from: usize, to: usize) -> u8 {
    u8::try_from(to - from - 1).expect("half of the program is shorter than a jump")
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn give(verdict: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, verdict)
}

fn statement(code: u32, k: u32) -> sock_filter {
    instruction(code, 0, 0, k)
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(BPF_JMP | condition | BPF_K, jt, jf, k)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt, jf, k }
}

#[cfg(test)]
mod tests;
