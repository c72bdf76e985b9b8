//! Descriptors that are given by their number.

use std::os::fd::{OwnedFd, RawFd};

use common::{Failure, sys};
use nix::errno::Errno;
use nix::fcntl::OFlag;

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
