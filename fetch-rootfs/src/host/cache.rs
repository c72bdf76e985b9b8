//! `/etc/ld.so.cache`: where glibc's loader finds a library by its name, see `ldconfig(8)`.
//!
//! The format is glibc's `struct cache_file_new`: a header of 48 bytes, an entry of 24 bytes for
//! each library, then the strings. An older format may stand before it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Paths by library name, those for every processor first.
pub type Cache = HashMap<OsString, Vec<PathBuf>>;

/// Parses a cache. What makes no sense in it is passed over, as the loader does.
pub fn parse(bytes: &[u8]) -> Cache {
    let bytes = new_part(bytes).unwrap_or_default();
    let count = number(bytes, 20).unwrap_or_default();
    let entries = bytes.get(48..).unwrap_or_default().chunks_exact(24).take(count);
    let mut entries: Vec<_> = entries.filter_map(|entry| strings(bytes, entry)).collect();
    // Entries with hwcap bits are variants for particular processors; the sort is stable.
    entries.sort_by_key(|(_, _, hwcap)| *hwcap != [0; 8]);
    let mut cache = Cache::new();
    for (name, path, _) in entries {
        cache.entry(name.to_owned()).or_default().push(path.into());
    }
    cache
}

/// The old format has 16 bytes of header and 12 for each library; the new one is aligned to 8.
fn new_part(bytes: &[u8]) -> Option<&[u8]> {
    let start = match bytes.strip_prefix(OLD_MAGIC) {
        Some(_) => number(bytes, 12)?.checked_mul(12)?.checked_add(16)?.next_multiple_of(8),
        None => 0,
    };
    bytes.get(start..).filter(|part| part.starts_with(MAGIC))
}

/// An entry's name, path, and hwcap bits.
fn strings<'a>(bytes: &'a [u8], entry: &'a [u8]) -> Option<(&'a OsStr, &'a OsStr, &'a [u8])> {
    let text = |at| string(bytes, number(entry, at)?);
    Some((text(4)?, text(8)?, &entry[16..]))
}

fn string(bytes: &[u8], at: usize) -> Option<&OsStr> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(OsStr::from_bytes(&rest[..end]))
}

/// The cache is written in the machine's own byte order.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field: [u8; 4] = bytes.get(at..)?.first_chunk().copied()?;
    usize::try_from(u32::from_ne_bytes(field)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(libraries: &[(&str, &str, u64)]) -> Vec<u8> {
        let count = u32::try_from(libraries.len()).expect("a short list");
        let mut bytes = [MAGIC, &count.to_ne_bytes()].concat();
        bytes.resize(48, 0);
        let mut strings = Vec::new();
        let start = 48 + 24 * libraries.len();
        for (name, path, hwcap) in libraries {
            let mut at = [0, 0, 0, 0].to_vec();
            for text in [name, path] {
                let place = u32::try_from(start + strings.len()).expect("a short list");
                at.extend(place.to_ne_bytes());
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
            }
            at.extend([0; 4]);
            at.extend(hwcap.to_ne_bytes());
            bytes.extend(at);
        }
        [bytes, strings].concat()
    }

    const LIBRARIES: [(&str, &str, u64); 3] = [
        ("libx.so.1", "/usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", 1 << 62),
        ("libx.so.1", "/usr/lib/libx.so.1", 0),
        ("liby.so", "/opt/liby.so", 0),
    ];

    #[test]
    fn libraries_for_every_processor_come_first() {
        let found = parse(&cache(&LIBRARIES));
        let x = &found[OsStr::new("libx.so.1")];
        assert_eq!(x[0], PathBuf::from("/usr/lib/libx.so.1"));
        assert_eq!((x.len(), found.len()), (2, 2));
    }

    #[test]
    fn an_old_format_may_stand_before_it() {
        let mut bytes = [OLD_MAGIC, &[0], &1u32.to_ne_bytes()].concat();
        bytes.resize(32, 0);
        bytes.extend(cache(&LIBRARIES));
        assert_eq!(parse(&bytes), parse(&cache(&LIBRARIES)));
    }

    proptest! {
        #[test]
        fn any_lie_is_survived(
            changes in proptest::collection::vec((0..160usize, any::<u8>()), 0..12),
            end in 0..300usize,
        ) {
            let mut bytes = cache(&LIBRARIES);
            for (at, byte) in changes {
                bytes[at % 120] = byte;
            }
            bytes.truncate(end);
            prop_assert!(parse(&bytes).len() <= 10);
            prop_assert!(parse(&[OLD_MAGIC, &bytes].concat()).len() <= 10);
        }
    }
}
