//! Maps of any shape: what programs look up, and what keeps their rules for the next caller.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::{
    MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MapCreate, MapElement, address, address_mut, bpf,
    first_map, length, named, raw,
};

const MAP_NEXT_KEY: i32 = 4;

const ARRAY: u32 = 2;
const PREFIXES: u32 = 11;

/// How keys are found in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key is a number of 4 bytes, from 0 on.
    Array,
    /// The key is a number of bits, in 4 bytes, and those bits: the longest that fits is found.
    Prefixes,
}

/// A map, and how large its keys and values are.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    /// A new one, for so many entries.
    pub fn new(
        kind: Kind,
        name: &str,
        key: usize,
        value: usize,
        entries: usize,
    ) -> nix::Result<Self> {
        const NO_PREALLOC: u32 = 1;
        let (kind, flags) = match kind {
            Kind::Array => (ARRAY, 0),
            Kind::Prefixes => (PREFIXES, NO_PREALLOC),
        };
        let mut attr = MapCreate {
            kind,
            key_size: length(key),
            value_size: length(value),
            entries: length(entries),
            flags,
            name: named(name),
            ..MapCreate::default()
        };
        // SAFETY: the structure has no pointer.
        let fd = super::super::owned(unsafe { bpf(MAP_CREATE, &mut attr) }?)?;
        Ok(Self { fd, key, value })
    }

    /// The one that a program uses first.
    pub fn of(program: impl AsFd) -> nix::Result<Self> {
        let (fd, info) = first_map(program)?;
        if ![ARRAY, PREFIXES].contains(&info.kind) {
            return Err(Errno::EMEDIUMTYPE);
        }
        Ok(Self { fd, key: info.key_size as usize, value: info.value_size as usize })
    }

    /// The number by which a program's instructions name it.
    pub fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Puts a value there, in the place of the one that is there perhaps.
    pub fn put(&self, key: &[u8], value: &[u8]) -> nix::Result<()> {
        if (key.len(), value.len()) != (self.key, self.value) {
            return Err(Errno::EMEDIUMTYPE);
        }
        let mut attr = MapElement {
            map: raw(&self.fd),
            key: address(key),
            value: address(value),
            ..MapElement::default()
        };
        // SAFETY: key and value have the sizes that the map has.
        unsafe { bpf(MAP_UPDATE, &mut attr) }.map(drop)
    }

    /// All keys and their values, as the kernel has them one after another.
    pub fn entries(&self) -> nix::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        while let Some(key) = self.next(entries.last().map(|(key, _)| key.as_slice()))? {
            let value = self.get(&key)?;
            entries.push((key, value));
        }
        Ok(entries)
    }

    /// The key behind this one; the first for none.
    fn next(&self, key: Option<&[u8]>) -> nix::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key];
        let mut attr = MapElement {
            map: raw(&self.fd),
            key: key.map_or(0, address),
            value: address_mut(next.as_mut_slice()),
            ..MapElement::default()
        };
        // SAFETY: `key` has come from here, and `next` has room for one.
        match unsafe { bpf(MAP_NEXT_KEY, &mut attr) } {
            Err(Errno::ENOENT) => Ok(None),
            done => done.map(|_| Some(next)),
        }
    }

    fn get(&self, key: &[u8]) -> nix::Result<Vec<u8>> {
        let mut value = vec![0; self.value];
        let mut attr = MapElement {
            map: raw(&self.fd),
            key: address(key),
            value: address_mut(value.as_mut_slice()),
            ..MapElement::default()
        };
        // SAFETY: `key` has come from `next`, and there is room for a whole value, of which these
        // kinds of maps have one, not one for each CPU.
        unsafe { bpf(MAP_LOOKUP, &mut attr) }?;
        Ok(value)
    }
}
