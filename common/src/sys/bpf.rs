//! bpf(2): programs that the kernel runs for the packets of a control group, and the memory that
//! they share with us. The library for this, libbpf, wants a compiler's output; a program of a few
//! dozen instructions needs only these calls.

mod map;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::{ptr, slice};

use nix::errno::Errno;

pub use map::{Kind, Map};

/// One instruction; see `Documentation/bpf/standardization/instruction-set.rst` in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u8,
    /// The destination in the lower half, the source in the upper.
    pub registers: u8,
    /// Where in memory, or how far to jump.
    pub offset: i16,
    /// A constant.
    pub immediate: i32,
}

/// What a program shares with us: an array map of one element.
pub type Cell = [u64; 4];

/// What a program is called by, and what it may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Each packet that a socket of the group gets.
    Ingress,
    /// Each packet that a socket of the group sends.
    Egress,
    /// What happens to a TCP connection of the group.
    Connection,
    /// connect(2) to an IPv4 address by a process of the group.
    Connect4,
    /// connect(2) to an IPv6 address.
    Connect6,
    /// A device node that is made or opened by a process of the group.
    Device,
}

impl Hook {
    /// The program's type, and that of its attachment; see `include/uapi/linux/bpf.h`.
    fn types(self) -> (u32, u32) {
        match self {
            Self::Ingress => (8, 0),
            Self::Egress => (8, 1),
            Self::Connection => (13, 3),
            Self::Connect4 => (18, 10),
            Self::Connect6 => (18, 11),
            Self::Device => (15, 6),
        }
    }
}

/// The longest name that the kernel keeps.
const NAME: usize = 16;
/// As many programs as one group can have at one hook.
const MOST: usize = 64;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_BY_ID: i32 = 13;
const MAP_BY_ID: i32 = 14;
const INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;

/// Others' programs stay, and all are run.
const ALLOW_MULTI: u32 = 1 << 1;
/// In the place of another one.
const REPLACE: u32 = 1 << 2;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; NAME],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
    device: u32,
    attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    group: u32,
    kind: u32,
    which: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    _pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    size: u32,
    info: u64,
}

/// The start of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_size: u32,
    xlated_size: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; NAME],
}

/// The start of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// # Safety
/// What `attr` points to must be as the command wants it, for as long as the call lasts.
unsafe fn bpf<T>(command: i32, attr: &mut T) -> nix::Result<libc::c_long> {
    // SAFETY: `attr` is as large as is said; the rest is the caller's promise.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<T>()) };
    Errno::result(done)
}

fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn address<T: ?Sized>(of: &T) -> u64 {
    ptr::from_ref(of).cast::<u8>().expose_provenance() as u64
}

fn address_mut<T: ?Sized>(of: &mut T) -> u64 {
    ptr::from_mut(of).cast::<u8>().expose_provenance() as u64
}

fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn named(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let kept = name.len().min(NAME - 1);
    bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    bytes
}

/// A new map of one [`Cell`].
pub fn new_cell(name: &str) -> nix::Result<OwnedFd> {
    const ARRAY: u32 = 2;
    let mut attr = MapCreate {
        kind: ARRAY,
        key_size: length(size_of::<u32>()),
        value_size: length(size_of::<Cell>()),
        entries: 1,
        name: named(name),
        ..MapCreate::default()
    };
    // SAFETY: the structure has no pointer.
    super::owned(unsafe { bpf(MAP_CREATE, &mut attr) }?)
}

/// What stands in the cell of a map that is one, as [`new_cell`] and [`cell_of`] give it.
pub fn read(map: impl AsFd) -> nix::Result<Cell> {
    let (key, mut cell) = (0u32, Cell::default());
    let mut attr = MapElement {
        map: raw(&map),
        key: address(&key),
        value: address_mut(&mut cell),
        ..MapElement::default()
    };
    // SAFETY: a key has 4 bytes, and the value is a whole cell, which is what such a map has.
    unsafe { bpf(MAP_LOOKUP, &mut attr) }?;
    Ok(cell)
}

/// Puts something else there.
pub fn write(map: impl AsFd, cell: &Cell) -> nix::Result<()> {
    let key = 0u32;
    let mut attr = MapElement {
        map: raw(&map),
        key: address(&key),
        value: address(cell),
        ..MapElement::default()
    };
    // SAFETY: as in `read`; the kernel copies the value out.
    unsafe { bpf(MAP_UPDATE, &mut attr) }.map(drop)
}

/// Has the kernel check a program and take it.
pub fn load(hook: Hook, name: &str, program: &[Instruction]) -> nix::Result<OwnedFd> {
    let (kind, attach_type) = hook.types();
    let license = c"GPL";
    let mut attr = ProgLoad {
        kind,
        count: length(program.len()),
        instructions: address(program),
        license: license.as_ptr().expose_provenance() as u64,
        name: named(name),
        attach_type,
        ..ProgLoad::default()
    };
    // SAFETY: the instructions are as many as is said, the license ends in NUL; the kernel itself
    // proves that the program is harmless.
    super::owned(unsafe { bpf(PROG_LOAD, &mut attr) }?)
}

/// Has it run for this group and those in it, for as long as the group exists.
pub fn attach(group: impl AsFd, hook: Hook, program: impl AsFd) -> nix::Result<()> {
    let (_, kind) = hook.types();
    let (group, program) = (raw(&group), raw(&program));
    let mut attr = Attach { group, program, kind, flags: ALLOW_MULTI, ..Attach::default() };
    // SAFETY: the structure has no pointer.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Has it run in the place of an older one, without a moment in which neither or both would.
pub fn replace(group: impl AsFd, hook: Hook, new: impl AsFd, old: impl AsFd) -> nix::Result<()> {
    let (_, kind) = hook.types();
    let (group, program, replaced) = (raw(&group), raw(&new), raw(&old));
    let mut attr = Attach { group, program, kind, flags: ALLOW_MULTI | REPLACE, replaced };
    // SAFETY: the structure has no pointer.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Has it run no more.
pub fn detach(group: impl AsFd, hook: Hook, program: impl AsFd) -> nix::Result<()> {
    let (_, kind) = hook.types();
    let (group, program) = (raw(&group), raw(&program));
    let mut attr = Attach { group, program, kind, ..Attach::default() };
    // SAFETY: the structure has no pointer.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The program of this name that runs for the group, not only for one above it.
pub fn find(group: impl AsFd, hook: Hook, name: &str) -> nix::Result<Option<OwnedFd>> {
    let (_, kind) = hook.types();
    let mut ids = [0u32; MOST];
    let mut attr = Query {
        group: raw(&group),
        kind,
        programs: address_mut(&mut ids),
        count: length(MOST),
        ..Query::default()
    };
    // SAFETY: there is room for as many numbers as is said.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    for id in ids.into_iter().take(attr.count as usize) {
        let mut attr = ById { id, ..ById::default() };
        // SAFETY: the structure has no pointer.
        let program = super::owned(unsafe { bpf(PROG_BY_ID, &mut attr) }?)?;
        if info(&program, &mut [])?.name == named(name) {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

/// What the kernel says of a program; the numbers of its maps are put into `maps`.
fn info(program: impl AsFd, maps: &mut [u32]) -> nix::Result<ProgInfo> {
    let mut info = ProgInfo {
        map_count: length(maps.len()),
        map_ids: if maps.is_empty() { 0 } else { address_mut(maps) },
        ..ProgInfo::default()
    };
    let mut attr = InfoByFd {
        fd: raw(&program),
        size: length(size_of::<ProgInfo>()),
        info: address_mut(&mut info),
    };
    // SAFETY: the kernel writes no more than the size that is said, and no more map numbers than
    // there is room for.
    unsafe { bpf(INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// The first map that a program uses.
fn first_map(program: impl AsFd) -> nix::Result<(OwnedFd, MapInfo)> {
    let mut id = 0u32;
    info(program, slice::from_mut(&mut id))?;
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: the structure has no pointer.
    let map = super::owned(unsafe { bpf(MAP_BY_ID, &mut attr) }?)?;
    let mut info = MapInfo::default();
    let mut attr = InfoByFd {
        fd: raw(&map),
        size: length(size_of::<MapInfo>()),
        info: address_mut(&mut info),
    };
    // SAFETY: the kernel writes no more than the size that is said.
    unsafe { bpf(INFO_BY_FD, &mut attr) }?;
    Ok((map, info))
}

/// The map of one [`Cell`] that a program uses.
pub fn cell_of(program: impl AsFd) -> nix::Result<OwnedFd> {
    let (map, info) = first_map(program)?;
    let is_cell = (info.key_size, info.value_size) == (4, length(size_of::<Cell>()));
    if is_cell { Ok(map) } else { Err(Errno::EMEDIUMTYPE) }
}
