//! Descriptors that are given by their number.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use common::{Failure, Line, Tried, shell, sys};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::Mode;

use crate::join::key_and_file;

/// What is done with a descriptor that the caller gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
}

/// A number on the command line. The standard descriptors are COMMAND's own.
pub fn number(text: &str) -> Result<RawFd, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number > 2 => Ok(number),
        Ok(0..=2) if digits => Err("0, 1 and 2 are COMMAND's; take 3 or higher".into()),
        _ => Err("a descriptor is a number, as 3".into()),
    }
}

/// Looks whether the caller gave it, and in the right direction.
pub fn check(option: &str, number: RawFd, wanted: Use) -> Result<(), Failure> {
    let failure = |why| Failure::usage(format!("use {option} {number}: {why}"));
    let redirect = match wanted {
        Use::Read => format!("open it for reading, as in the shell: {number}<FILE"),
        Use::Write => format!("open it for writing, as in the shell: {number}>FILE"),
    };
    let mode = match sys::descriptor::mode(number) {
        Ok(mode) => mode,
        Err(Errno::EBADF) => {
            return Err(failure("the caller has no such descriptor open").hint(redirect));
        }
        Err(errno) => return Err(Failure::errno(format!("use {option} {number}"), errno)),
    };
    let (only_other, what) = match wanted {
        Use::Read => (OFlag::O_WRONLY, "it is open for writing only"),
        Use::Write => (OFlag::O_RDONLY, "it is open for reading only"),
    };
    if mode.contains(OFlag::O_PATH) || mode & OFlag::O_ACCMODE == only_other {
        return Err(failure(what).hint(redirect));
    }
    Ok(())
}

/// Takes it over, so that COMMAND does not get it.
pub fn take(option: &str, number: RawFd) -> Result<OwnedFd, Failure> {
    sys::descriptor::take(number)
        .map_err(|errno| Failure::errno(format!("use {option} {number}"), errno))
}

/// A file that COMMAND gets as an open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub number: RawFd,
    pub file: PathBuf,
}

enum Kind {
    Socket,
    Both,
    Read,
}

impl Passed {
    pub fn parse(text: &OsString) -> Result<Self, String> {
        let (key, file) =
            key_and_file(text).ok_or("a number and a file are wanted, as 5=/run/x.sock")?;
        Ok(Self { number: number(key)?, file })
    }

    fn kind(&self) -> Kind {
        match fs::metadata(&self.file).map(|found| found.file_type()) {
            Ok(kind) if kind.is_socket() => Kind::Socket,
            Ok(kind) if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() => {
                Kind::Both
            }
            _ => Kind::Read,
        }
    }

    /// Opens it, at its number. COMMAND does not get it yet.
    pub fn open(&self) -> Result<(), Failure> {
        let Self { number, file } = self;
        let flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = match self.kind() {
            Kind::Socket => connect(file),
            Kind::Both => open(file, flags | OFlag::O_RDWR, Mode::empty()),
            Kind::Read => open(file, flags | OFlag::O_RDONLY, Mode::empty()),
        }
        .tried(|| format!("open {file:?}"))?;
        sys::descriptor::place(fd, *number).tried(|| format!("use {number} for {file:?}")).map_err(
            |failure| {
                failure.hint_if(Errno::EBADF, || "ulimit -n says how many there may be".into())
            },
        )
    }

    /// COMMAND gets it.
    pub fn pass(&self) -> Result<(), Failure> {
        let Self { number, file } = self;
        sys::descriptor::set_passed(*number, true).tried(|| format!("pass {file:?} on as {number}"))
    }

    /// As the shell has it.
    pub fn line(&self) -> Line {
        let open = if matches!(self.kind(), Kind::Both) { "<>" } else { "<" };
        Line::Run(format!("exec {}{open}{}", self.number, shell::word(&self.file)))
    }

    /// Refuses a script of what no shell can do.
    pub fn check_script(&self) -> Result<(), Failure> {
        let cant = |what| Err(Failure::new(format!("write a script of this: {what}")));
        if self.number > 9 {
            return cant("a shell knows the descriptors 0 to 9; give --fd such a number");
        }
        match self.kind() {
            Kind::Socket => cant("no shell connects to a socket; leave that --fd out"),
            Kind::Both | Kind::Read => Ok(()),
        }
    }
}

/// A name of any length: that of the descriptor is short, and means the same socket.
fn connect(file: &Path) -> nix::Result<OwnedFd> {
    let found = open(file, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let address = UnixAddr::new(&PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd())))?;
    let kinds = [SockType::Stream, SockType::SeqPacket, SockType::Datagram];
    for kind in kinds {
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::EPROTOTYPE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EPROTOTYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_a_number_from_3_on() {
        assert_eq!(number("3"), Ok(3));
        assert_eq!(number("200"), Ok(200));
        for text in ["", "0", "2", "-1", "+3", "x", "3x", "99999999999"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
