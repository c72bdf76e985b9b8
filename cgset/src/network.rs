//! Networks: `10.0.0.0/8`, `fe80::/10`, an address alone, or `any`, which is all of both kinds.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::Failure;

/// All addresses that start with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The kinds of addresses, as they stand in keys.
const V4: u32 = 4;
const V6: u32 = 6;

/// How a network stands in the kernel's memory: the number of bits that count in what follows,
/// the kind, and the address. A packet's is looked up as that of its address with all bits.
pub const KEY: usize = 24;
/// The bits before the address, which always count.
pub const KIND_BITS: u32 = 32;

const ANY: [Network; 2] = [
    Network { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 },
    Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), bits: 0 },
];

/// Reads what was typed for `key`.
pub fn parse(key: &str, text: &str) -> Result<Vec<Network>, Failure> {
    if text == "any" {
        return Ok(ANY.to_vec());
    }
    let fail = |why: &str, hint: String| {
        Err(Failure::usage(format!("read {key} {text:?}: {why}")).hint(hint))
    };
    let form = || format!("{key} takes 10.0.0.0/8, fe80::/10, an address, or any");
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let Ok(address) = address.parse::<IpAddr>() else {
        let name = address.contains(|c: char| c.is_ascii_alphabetic()) && !address.contains(':');
        let hint = if name {
            format!("{}; names are not looked up: getent ahosts {address}", form())
        } else {
            form()
        };
        return fail("it is no address", hint);
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let Some(bits) = bits.map_or(Some(most), |bits| number(bits, most)) else {
        return fail(&format!("behind the / is no number from 0 to {most}"), form());
    };
    let network = Network { address, bits }.without_host();
    if network.address != address {
        return fail(
            "the address has bits behind those of the network",
            format!("is {network} meant?"),
        );
    }
    match network.in_v4() {
        Some(v4) => fail("these are IPv4 addresses, and seen as such", format!("is {v4} meant?")),
        None => Ok(vec![network]),
    }
}

/// Decimal digits, no leading zero, no sign.
fn number(text: &str, most: u8) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().filter(|number| *number <= most)
}

impl Network {
    fn without_host(self) -> Self {
        let Self { address, bits } = self;
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, bits }
    }

    /// `::ffff:10.0.0.0/104` is how a program writes 10.0.0.0/8 that knows only IPv6.
    fn in_v4(self) -> Option<Self> {
        let IpAddr::V6(v6) = self.address else { return None };
        let (v4, bits) = (v6.to_ipv4_mapped()?, self.bits.checked_sub(96)?);
        Some(Self { address: IpAddr::V4(v4), bits })
    }

    pub fn key(self) -> [u8; KEY] {
        let (kind, octets) = match self.address {
            IpAddr::V4(v4) => (V4, v4.octets().to_vec()),
            IpAddr::V6(v6) => (V6, v6.octets().to_vec()),
        };
        let mut key = [0; KEY];
        key[..4].copy_from_slice(&(KIND_BITS + u32::from(self.bits)).to_ne_bytes());
        key[4..8].copy_from_slice(&kind.to_ne_bytes());
        key[8..8 + octets.len()].copy_from_slice(&octets);
        key
    }

    pub fn of_key(key: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(key.get(at..at + 4)?.try_into().ok()?));
        let bits = u8::try_from(word(0)?.checked_sub(KIND_BITS)?).ok()?;
        let address = match word(4)? {
            V4 => IpAddr::V4(<[u8; 4]>::try_from(key.get(8..12)?).ok()?.into()),
            V6 => IpAddr::V6(<[u8; 16]>::try_from(key.get(8..24)?).ok()?.into()),
            _ => return None,
        };
        Some(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<String> {
        let networks = parse("net.deny", text).expect("a network");
        networks.iter().map(Network::to_string).collect()
    }

    #[test]
    fn every_form() {
        for (text, wanted) in [
            ("10.0.0.0/8", &["10.0.0.0/8"][..]),
            ("127.0.0.1", &["127.0.0.1/32"]),
            ("::1", &["::1/128"]),
            ("fe80::/10", &["fe80::/10"]),
            ("0.0.0.0/0", &["0.0.0.0/0"]),
            ("any", &["0.0.0.0/0", "::/0"]),
        ] {
            assert_eq!(texts(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, part) in [
            ("10.0.0.1/8", "hint: is 10.0.0.0/8 meant?"),
            ("2001:db8::1/32", "hint: is 2001:db8::/32 meant?"),
            ("::ffff:10.0.0.0/104", "hint: is 10.0.0.0/8 meant?"),
            ("010.0.0.0/8", "no address"),
            ("10.0.0/8", "no address"),
            ("0x7f.0.0.1", "no address"),
            ("localhost", "getent ahosts localhost"),
            ("fe80::1%eth0", "no address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/08", "from 0 to 32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.0/8/8", "from 0 to 32"),
            ("/8", "no address"),
            ("all", "any"),
        ] {
            let lines = parse("net.deny", text).expect_err(text).lines("cgset");
            assert!(lines.contains(part), "{lines}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in "[0-9a-f.:/]{0,24}") {
            let _ = parse("net.deny", &text);
            let _ = parse("net.deny", &near);
        }

        #[test]
        fn what_is_shown_is_read_again(v4: u32, v6: u128, bits: u8) {
            let v4 = Network { address: Ipv4Addr::from_bits(v4).into(), bits: bits % 33 };
            let v6 = Network { address: Ipv6Addr::from_bits(v6).into(), bits: bits % 129 };
            for network in [v4, v6].map(Network::without_host) {
                prop_assert_eq!(Network::of_key(&network.key()), Some(network));
                if network.in_v4().is_none() {
                    prop_assert_eq!(parse("net.deny", &network.to_string()).ok(), Some(vec![network]));
                }
            }
        }
    }
}
