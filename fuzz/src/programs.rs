//! Programs, libraries and what their loaders are told by, as nobody would link them. What is read
//! of them stands in them.
#![no_main]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::elf::{self, Elf};
use fetch_rootfs::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(elf)) = elf::read(&Bytes(bytes)) {
        look(&elf, bytes);
    }
    // A number of libraries, each with as many bytes of its own in the table.
    let known = parsers::loader_cache(bytes);
    let paths = || known.iter().flat_map(|(_, paths)| paths);
    assert!(paths().count() <= bytes.len() / 24);
    for name in known.iter().map(|(name, _)| name).chain(paths()) {
        stands_in(bytes, name.as_os_str());
    }
    let origin = Path::new("/opt/bin");
    if let Some(path) = parsers::search_path(bytes, origin) {
        assert!(path.is_absolute() && !path.as_os_str().as_bytes().contains(&b'$'), "{path:?}");
        let literal = !bytes.contains(&b'$');
        assert!(!literal || path.as_os_str().as_bytes() == bytes, "{path:?}");
    }
    if let Some((interpreter, program)) = parsers::script(bytes) {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        for word in [Some(interpreter), program].into_iter().flatten() {
            assert!(!word.is_empty() && line.contains(&word), "{word:?}");
        }
    }
});

fn look(elf: &Elf, bytes: &[u8]) {
    let loader = elf.interpreter.as_deref().map(Path::as_os_str);
    let paths = [&elf.rpath, &elf.runpath].into_iter().flatten().map(|path| path.as_os_str());
    let needed = elf.needed.iter().map(|name| name.as_os_str());
    assert!(needed.len() <= 4096);
    for text in loader.into_iter().chain(paths).chain(needed) {
        stands_in(bytes, text);
    }
}

/// With its NUL.
fn stands_in(bytes: &[u8], text: &OsStr) {
    let text = text.as_bytes();
    let whole = [text, &[0]].concat();
    let there = bytes.windows(whole.len()).any(|part| part == whole);
    assert!(there && !text.contains(&0), "{text:?}");
}

/// A file in memory.
struct Bytes<'a>(&'a [u8]);

impl FileExt for Bytes<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let size = rest.len().min(buffer.len());
        buffer[..size].copy_from_slice(&rest[..size]);
        Ok(size)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
