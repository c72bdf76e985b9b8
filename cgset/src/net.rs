//! Network traffic: a program at the v2 group, which needs no file of its own to be found again,
//! and which goes with the group.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use common::sys::bpf::{self, Cell, Hook};
use common::{Failure, Tried};
use nix::errno::Errno;

use crate::bitrate;
use crate::key::{Key, Setting};
use crate::program;
use crate::qdisc;
use crate::value::Value;

/// Which way packets go, as seen from the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// A rate for a group, in bytes a second; `None` for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub direction: Direction,
    pub rate: Option<u64>,
}

/// What holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub rate: Option<u64>,
    /// Packets dropped.
    pub dropped: u64,
}

/// The ways that a key is about.
pub fn directions(key: Key) -> &'static [Direction] {
    match key {
        Key::Net => &[Direction::In, Direction::Out],
        Key::NetIn => &[Direction::In],
        Key::NetOut => &[Direction::Out],
        _ => &[],
    }
}

/// The limits among these settings.
pub fn limits(settings: &[Setting]) -> Vec<Limit> {
    let limit = |setting: &Setting| {
        let rate = match setting.value {
            Value::Number(rate) => Some(rate),
            _ => None,
        };
        let limit = move |direction: &Direction| Limit { direction: *direction, rate };
        directions(setting.key).iter().map(limit)
    };
    settings.iter().flat_map(limit).collect()
}

impl Direction {
    pub fn key(self) -> &'static str {
        match self {
            Self::In => "net.in",
            Self::Out => "net.out",
        }
    }

    fn hook(self) -> Hook {
        match self {
            Self::In => Hook::Ingress,
            Self::Out => Hook::Egress,
        }
    }

    /// The name of the program, by which it is found again.
    fn program(self) -> &'static str {
        match self {
            Self::In => "cgset_net_in",
            Self::Out => "cgset_net_out",
        }
    }
}

const PACE: &str = "cgset_net_pace";

impl Limit {
    /// As it is typed.
    pub fn words(&self) -> String {
        let rate = self.rate.map_or_else(|| "max".into(), bitrate::text);
        format!("{} {rate}", self.direction.key())
    }

    /// What may be outstanding: a quarter of a second, with less of which TCP never gets up to the
    /// rate; and a large packet at least.
    fn cell(&self, dropped: u64) -> Cell {
        const SECOND: u64 = 1_000_000_000;
        const LARGE: u64 = 64 << 10;
        let rate = self.rate.unwrap_or(0);
        let burst = (LARGE * SECOND).checked_div(rate).unwrap_or(0).max(SECOND / 4);
        [0, rate, burst, dropped]
    }
}

/// What holds for a group; `None` if there has never been a limit.
pub fn state(dir: &Path, direction: Direction) -> Result<Option<State>, Failure> {
    let group = open(dir)?;
    let found = find(&group, direction).tried(|| doing("look for", dir, direction));
    let Some((_, cell)) = found.map_err(explain)? else { return Ok(None) };
    read(&cell).tried(|| doing("read", dir, direction)).map_err(explain).map(Some)
}

/// Sets a limit; gives what held before. Where there is a program already, it learns the new rate,
/// and no packet meets a moment without a limit.
pub fn set(dir: &Path, limit: &Limit) -> Result<Option<State>, Failure> {
    let what = || format!("set {} for {dir:?}", limit.words());
    let group = open(dir)?;
    let found = find(&group, limit.direction).tried(what).map_err(explain)?;
    let before = found.as_ref().map(|(_, cell)| read(cell)).transpose();
    let before = before.tried(what).map_err(explain)?;
    let new = match (found, before) {
        (Some((_, cell)), Some(State { dropped, .. })) => bpf::write(cell, &limit.cell(dropped)),
        _ if limit.rate.is_none() => return Ok(None),
        _ => attach(&group, limit),
    };
    new.tried(what).map_err(explain)?;
    let checked = match state(dir, limit.direction) {
        Ok(Some(now)) if now.rate == limit.rate => return Ok(before),
        Ok(now) => Failure::new(format!("{}: it reads back as {now:?}", what())),
        Err(failure) => failure,
    };
    restore(dir, limit.direction, before)?;
    Err(checked)
}

/// Makes what [`set`] found hold again.
pub fn restore(dir: &Path, direction: Direction, before: Option<State>) -> Result<(), Failure> {
    let what = || doing("take back", dir, direction);
    let group = open(dir)?;
    let Some((program, cell)) = find(&group, direction).tried(what)? else { return Ok(()) };
    match before {
        Some(State { rate, dropped }) => {
            bpf::write(cell, &Limit { direction, rate }.cell(dropped)).tried(what)
        }
        None => detach(&group, direction, &program).tried(what),
    }
}

fn read(cell: &OwnedFd) -> nix::Result<State> {
    let [_, rate, _, dropped] = bpf::read(cell)?;
    Ok(State { rate: Some(rate).filter(|rate| *rate > 0), dropped })
}

pub fn open(dir: &Path) -> Result<File, Failure> {
    File::open(dir).tried(|| format!("open the group {dir:?}"))
}

/// The program of a group, and what it shares with us.
fn find(group: &File, direction: Direction) -> nix::Result<Option<(OwnedFd, OwnedFd)>> {
    let Some(program) = bpf::find(group, direction.hook(), direction.program())? else {
        return Ok(None);
    };
    let cell = bpf::cell_of(&program)?;
    Ok(Some((program, cell)))
}

fn attach(group: &File, limit: &Limit) -> nix::Result<()> {
    let hook = limit.direction.hook();
    let cell = bpf::new_cell("cgset_net")?;
    bpf::write(&cell, &limit.cell(0))?;
    let map = cell.as_fd().as_raw_fd();
    let out = limit.direction == Direction::Out;
    let code = program::limit(hook, map, out && qdisc::by_the_clock());
    let program = bpf::load(hook, limit.direction.program(), &code)?;
    if out {
        let pace = bpf::load(Hook::Connection, PACE, &program::pace(map))?;
        bpf::attach(group, hook, &program)?;
        return bpf::attach(group, Hook::Connection, pace).inspect_err(|_| {
            let _ = bpf::detach(group, hook, &program);
        });
    }
    bpf::attach(group, hook, program)
}

fn detach(group: &File, direction: Direction, program: &OwnedFd) -> nix::Result<()> {
    if direction == Direction::Out
        && let Some(pace) = bpf::find(group, Hook::Connection, PACE)?
    {
        bpf::detach(group, Hook::Connection, pace)?;
    }
    bpf::detach(group, direction.hook(), program)
}

fn doing(verb: &str, dir: &Path, direction: Direction) -> String {
    format!("{verb} {} of {dir:?}", direction.key())
}

pub fn explain(failure: Failure) -> Failure {
    failure
        .hint_if(Errno::EPERM, || {
            "that takes CAP_BPF and CAP_NET_ADMIN, as root has them outside of containers".into()
        })
        .hint_if(Errno::EINVAL, || {
            "the kernel was built without CONFIG_CGROUP_BPF, or is older than 5.12".into()
        })
        .hint_if(Errno::ENOSYS, || "the kernel was built without CONFIG_BPF_SYSCALL".into())
}
