//! What the kernel shows: it is read, or said to be no such table, and what is read can be put
//! back and is then read as the same.
#![no_main]

use std::os::unix::ffi::OsStrExt;

use common::mountinfo::{self, Mount};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|shown: &[u8]| {
    if let Ok(mounts) = mountinfo::parse(shown) {
        let table: Vec<u8> = mounts.iter().flat_map(line).collect();
        assert_eq!(mountinfo::parse(&table).ok(), Some(mounts));
    }
    if let Ok(Some((written, shown))) = std::str::from_utf8(shown).map(|s| s.split_once('\n')) {
        rates(written, shown);
    }
});

/// A mount as the kernel shows it.
fn line(mount: &Mount) -> Vec<u8> {
    let propagation: String = mount.propagation.iter().map(|field| format!("{field} ")).collect();
    let propagation = propagation + "-";
    let numbers = format!("{} {} 0:0", mount.id, mount.parent);
    let fields: [&[u8]; 9] = [
        numbers.as_bytes(),
        &escaped(mount.root.as_os_str().as_bytes()),
        &escaped(mount.target.as_os_str().as_bytes()),
        mount.options.as_bytes(),
        propagation.as_bytes(),
        mount.kind.as_bytes(),
        &escaped(mount.source.as_bytes()),
        mount.super_options.as_bytes(),
        b"\n",
    ];
    fields.join(&b' ')
}

fn escaped(path: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        _ => vec![*byte],
    };
    path.iter().flat_map(escape).collect()
}

/// After a line of rates is written, that is to be set again which stood there, of each of them.
fn rates(written: &str, shown: &str) {
    let words = || written.split(' ');
    let v1 = words().count() == 2 && words().all(|word| !word.is_empty() && !word.contains('='));
    let rate = |word: &str| word.split('=').filter(|part| !part.is_empty()).count() == 2;
    let v2 = words().count() > 1 && words().skip(1).all(rate);
    if v1 && !shown.contains('=') {
        let (again, agrees) = cgset::restored("blkio.throttle.read_bps_device", written, shown);
        assert!(agrees, "{written:?} to {shown:?}: {again:?}");
    } else if v2 {
        let (again, agrees) = cgset::restored("io.max", written, shown);
        assert!(agrees, "{written:?} to {shown:?}: {again:?}");
        assert_eq!(again.split(' ').count(), words().count(), "{again:?}");
    }
}
