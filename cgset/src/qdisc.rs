//! Whether a network device here sends packets by the clock: the queue discipline fq keeps each
//! until the time that stands on it. Asked over netlink, as tc(8) does; see `rtnetlink(7)`.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::os::fd::AsRawFd;

/// Message types, flags and attributes; see `linux/rtnetlink.h` and `linux/netlink.h`.
const NEW_QDISC: u16 = 36;
const GET_QDISC: u16 = 38;
const REQUEST_ALL: u16 = 0x301;
const KIND: u16 = 1;
/// The header of every message, and that of one about a discipline.
const HEADER: usize = 16;
const ABOUT: usize = 20;

/// Whether there is one in this network namespace; not, where that can't be told.
pub fn by_the_clock() -> bool {
    kinds().is_some_and(|kinds| kinds.iter().any(|kind| kind == "fq"))
}

/// The names of the disciplines of all devices.
fn kinds() -> Option<Vec<String>> {
    let route = SockProtocol::NetlinkRoute;
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, route).ok()?;
    send(socket.as_raw_fd(), &question(), MsgFlags::empty()).ok()?;
    let (mut kinds, mut room) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let length = recv(socket.as_raw_fd(), &mut room, MsgFlags::empty()).ok()?;
        let mut rest = room.get(..length)?;
        while let Some((kind, message, after)) = split(rest) {
            if kind != NEW_QDISC {
                // The end of the list, or an error, which ends it too.
                return Some(kinds);
            }
            kinds.extend(name(message.get(ABOUT..)?));
            rest = after;
        }
    }
}

fn question() -> Vec<u8> {
    let length = u32::try_from(HEADER + ABOUT).unwrap_or_default();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(GET_QDISC.to_ne_bytes());
    bytes.extend(REQUEST_ALL.to_ne_bytes());
    bytes.resize(HEADER + ABOUT, 0);
    bytes
}

/// The first message: its type, what is in it, and what follows.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(HEADER..length)?, after))
}

/// The name among the attributes of a discipline.
fn name(mut attributes: &[u8]) -> Option<String> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind == KIND {
            let text = attributes.get(4..length)?.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loopback_has_one_and_it_has_a_name() {
        let kinds = kinds().expect("the kernel answers");
        assert!(kinds.iter().all(|kind| !kind.is_empty()), "{kinds:?}");
        assert_eq!(by_the_clock(), kinds.contains(&"fq".to_owned()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = split(&bytes);
            let _ = name(&bytes);
        }
    }
}
