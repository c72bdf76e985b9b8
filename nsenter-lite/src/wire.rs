//! What passes between the process outside and the two inside, PID 1 and COMMAND: a pair of sockets.
//!
//! The kernel writes the sender's PID to each message, in the numbers of the receiver. It closes the
//! one end when the process outside dies, the other when both inside have.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use common::sys::signal::Change;
use common::{Failure, Tried};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recv,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::{Pid, read};

/// The end of the process outside.
#[derive(Debug)]
pub struct Outside(OwnedFd);

/// The end of those inside.
#[derive(Debug)]
pub struct Inside(OwnedFd);

/// COMMAND's first message. A change has its number besides, which is below 0x100.
const HELLO: i32 = 0;
const EXITED: i32 = 0x100;
const KILLED: i32 = 0x200;
const STOPPED: i32 = 0x300;
/// To PID 1, and no PID.
const LEFT: i32 = -1;

/// Two sockets that are connected, and keep messages apart.
pub fn sockets() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .tried(|| "make a pair of sockets")
}

/// Both ends.
pub fn pair() -> Result<(Outside, Inside), Failure> {
    let (outside, inside) = sockets()?;
    setsockopt(&outside, sockopt::PassCred, &true).tried(|| "ask who sends on a socket")?;
    Ok((Outside(outside), Inside(inside)))
}

impl Outside {
    /// Waits for COMMAND to be there; gives its PID as it is here, `None` if it ended before.
    pub fn meet(&self) -> Result<Option<Pid>, Failure> {
        let mut space = cmsg_space!(UnixCredentials);
        let mut bytes = [0; 4];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::empty();
        let got = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags)
            .tried(|| "meet the command")?;
        let sender = got.cmsgs().tried(|| "meet the command")?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(Pid::from_raw(sender.pid())),
            _ => None,
        });
        let is_hello = got.bytes > 0 && i32::from_ne_bytes(bytes) == HELLO;
        Ok(sender.filter(|_| is_hello))
    }

    /// Tells COMMAND its PID, and that it may go on.
    pub fn tell(&self, pid: Pid) -> Result<(), Failure> {
        match send(&self.0, pid.as_raw()) {
            // One that is dead by now needs no PID.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            sent => sent.tried(|| "tell the command its PID").map(drop),
        }
    }

    /// Tells PID 1 that this process is about to end, and that COMMAND is not to end with it.
    pub fn leave(&self) {
        let _ = send(&self.0, LEFT);
    }

    /// What PID 1 has seen become of COMMAND, if there is news; ECHILD if both are dead.
    pub fn news(&self) -> nix::Result<Option<Change>> {
        let mut bytes = [0; 4];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT) {
            Ok(got) if got.bytes == 0 => return Err(Errno::ECHILD),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let word = i32::from_ne_bytes(bytes);
        let number = word & 0xff;
        Ok(match word & !0xff {
            EXITED => Some(Change::Exited(u8::try_from(number).unwrap_or(u8::MAX))),
            KILLED => Some(Change::Killed(number)),
            STOPPED => Some(Change::Stopped(number)),
            _ => None,
        })
    }

    /// To be waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Inside {
    /// COMMAND's first word; learns the PID that it has outside.
    pub fn meet(self) -> Result<Pid, Failure> {
        let what = || "learn the PID from the parent";
        send(&self.0, HELLO).tried(what)?;
        let mut bytes = [0; 4];
        match read(&self.0, &mut bytes).tried(what)? {
            4 => Ok(Pid::from_raw(i32::from_ne_bytes(bytes))),
            _ => Err(Failure::new("run on without a parent: it was killed")),
        }
    }

    /// Says what has become of COMMAND.
    pub fn report(&self, change: Change) {
        // Who is not there any more needn't know.
        let _ = send(
            &self.0,
            match change {
                Change::Exited(status) => EXITED | i32::from(status),
                Change::Killed(signal) => KILLED | signal,
                Change::Stopped(signal) => STOPPED | signal,
            },
        );
    }

    /// Whether the process outside, which is dead, has left COMMAND to live on. What waits here may
    /// also be the PID that COMMAND was not quick enough to read.
    pub fn was_left(&self) -> bool {
        let mut bytes = [0; 4];
        let got = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
        got == Ok(bytes.len()) && i32::from_ne_bytes(bytes) == LEFT
    }

    /// To be waited for: it hangs up when the process outside is dead.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn send(to: &OwnedFd, word: i32) -> nix::Result<usize> {
    let bytes = word.to_ne_bytes();
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&bytes)], &[], MsgFlags::MSG_NOSIGNAL, None)
}
