//! Extended attributes as libarchive writes them into pax headers: the name with `%` and two
//! digits for what is not plain, the value by base64.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// `user.a%3Db` is `user.a=b`; `None` if it is no such name.
pub fn name(text: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        name.push(match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            (b'%', _) => return None,
            (plain, _) => *plain,
        });
    }
    Some(name)
}

/// What is left of the last bits stands for nothing; the `=` at the end are left out, as libarchive
/// does it, or are there.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes.
pub fn value(text: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        assert_eq!(name(b"user.a%3Db%25"), Some(b"user.a=b%".to_vec()));
        for text in [&b"%"[..], b"a%4", b"a%4x", b"%+1"] {
            assert_eq!(name(text), None, "{text:?}");
        }
        for (text, wanted) in [
            (&b""[..], Some(&b""[..])),
            (b"AQAAAgAgAAAAAAAAAAAAAAAAAAA", Some(b"\x01\0\0\x02\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0")),
            (b"aGVsbG8=", Some(b"hello")),
            (b"aGVsbG8", Some(b"hello")),
            (b"aGVsbA==", Some(b"hell")),
            (b"////", Some(b"\xff\xff\xff")),
            (b"a", None),
            (b"aG=V", None),
            (b"aGVs===", None),
            (b"aG\n", None),
        ] {
            assert_eq!(value(text).as_deref(), wanted, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
