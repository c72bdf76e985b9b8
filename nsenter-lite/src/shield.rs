//! Nobody inside may come to the program on disk through us.
//!
//! A process in a container has a link to its program, `/proc/PID/exe`, and through the link whoever
//! is root inside could write to the file, once no process runs it any more: the next to start it,
//! as root and outside, would run what they wrote (CVE-2019-5736). To be not dumpable is no shield,
//! for COMMAND itself may be `/proc/self/exe`. So before it enters anything the program runs from
//! a copy in memory that is sealed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use common::{Failure, Tried, pid, sys};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::fexecve;

const PROGRAM: &str = "/proc/self/exe";

/// Starts anew from such a copy, unless this is one.
pub fn raise() -> Result<(), Failure> {
    let what = || "make a sealed copy of this program";
    let program = File::open(PROGRAM)
        .tried(what)
        .map_err(|failure| failure.hint_if(Errno::ENOENT, || pid::NO_PROC.into()))?;
    if is_sealed(&program) {
        return Ok(());
    }
    let copy = File::from(copy().tried(what).map_err(|failure| {
        failure.hint_if(Errno::EACCES, || {
            "no program may be in memory here, as root: sysctl vm.memfd_noexec=1".into()
        })
    })?);
    fill(&copy, &program).tried(what).map_err(|failure| {
        failure.hint_if(Errno::EFBIG, || {
            "a limit on files is for those in memory, too: ulimit -H -f shows it".into()
        })
    })?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS)).tried(what)?;
    let words = |word: &[u8]| CString::new(word).unwrap_or_default();
    let args: Vec<CString> = std::env::args_os().map(|arg| words(arg.as_bytes())).collect();
    let env: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| words(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    sys::restore_what_the_runtime_changed();
    match fexecve(&copy, &args, &env) {
        Ok(never) => match never {},
        Err(errno) => Err(errno).tried(|| "run a sealed copy of this program"),
    }
}

const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// Linux 6.3 wants to be told that it is to be run, and before that does not know the word.
fn copy() -> nix::Result<std::os::fd::OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(c"nsenter-lite", flags | MFdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"nsenter-lite", flags),
        outcome => outcome,
    }
}

/// What limits files is not meant for this one; as far as it may be lifted, it is, for the moment.
fn fill(mut copy: &File, mut program: &File) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard)?;
    let copied = io::copy(&mut program, &mut copy);
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard)?;
    copied
}

fn is_sealed(program: impl AsFd) -> bool {
    fcntl(program, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}
