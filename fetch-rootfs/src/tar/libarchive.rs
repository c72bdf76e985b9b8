//! Extended attributes as libarchive writes them into pax headers: the name with `%` and two
//! digits for what is not plain, the value by base64.

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

/// The bytes; without the `=` at the end, as libarchive leaves it out, or with it.
pub fn value(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if text.len() - end > 2 {
        return None;
    }
    text[..end].chunks(4).try_fold(Vec::new(), |mut bytes, four| {
        let sum = four.iter().try_fold(0u32, |sum, byte| Some(sum << 6 | sextet(*byte)?))?;
        let whole = (sum << (6 * (4 - four.len()))).to_be_bytes();
        bytes.extend_from_slice(match four.len() {
            4 => &whole[1..],
            3 => &whole[1..3],
            2 => &whole[1..2],
            _ => return None,
        });
        Some(bytes)
    })
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for text in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)] {
                prop_assert_eq!(value(text.as_bytes()), Some(bytes.clone()));
            }
        }
    }

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
