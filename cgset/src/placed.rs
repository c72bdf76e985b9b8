//! Programs of a group that have its rules in them. They are never changed: one with the new rules
//! takes the place of the old one in a single step, so that nothing meets half of the rules; and
//! the old one is kept, to come back if something fails later.

use std::fs::File;
use std::os::fd::OwnedFd;

use common::sys::bpf::{self, Hook, Instruction};
use common::{Failure, Tried};
use nix::errno::Errno;

use crate::net;

/// Where a program is run, and the name by which it is found again.
pub type Place = (Hook, &'static str);

/// A program in its place, and the one that has been there before.
#[derive(Debug)]
pub struct Placed {
    hook: Hook,
    new: OwnedFd,
    old: Option<OwnedFd>,
}

/// The program that is in a place.
pub fn find(group: &File, (hook, name): Place) -> nix::Result<Option<OwnedFd>> {
    bpf::find(group, hook, name)
}

/// Puts programs into their places: all of them, or none.
pub fn place(group: &File, programs: &[(Place, Vec<Instruction>)]) -> nix::Result<Vec<Placed>> {
    let ready: nix::Result<Vec<Placed>> = programs.iter().map(|one| ready(group, one)).collect();
    let mut done = Vec::new();
    for Placed { hook, new, old } in ready? {
        let placed = match &old {
            Some(old) => bpf::replace(group, hook, &new, old),
            None => bpf::attach(group, hook, &new),
        };
        if let Err(errno) = placed {
            let _ = take_back(group, done);
            return Err(errno);
        }
        done.push(Placed { hook, new, old });
    }
    Ok(done)
}

/// All that may fail for a reason of its own, before anything is changed.
fn ready(group: &File, program: &(Place, Vec<Instruction>)) -> nix::Result<Placed> {
    let ((hook, name), instructions) = program;
    let new = bpf::load(*hook, name, instructions)?;
    Ok(Placed { hook: *hook, new, old: bpf::find(group, *hook, name)? })
}

/// Gives the places back to those that were there before, the last one first.
pub fn take_back(group: &File, placed: Vec<Placed>) -> nix::Result<()> {
    let back = |Placed { hook, new, old }| match old {
        Some(old) => bpf::replace(group, hook, old, new),
        None => bpf::detach(group, hook, new),
    };
    placed.into_iter().rev().map(back).fold(Ok(()), nix::Result::and)
}

/// They stay if what is read back is what was wanted; else it is as before, and `differs` says why.
pub fn checked<R: PartialEq>(
    group: &File,
    placed: Vec<Placed>,
    wanted: &[R],
    read: Result<Vec<R>, Failure>,
    differs: impl FnOnce(&[R]) -> String,
) -> Result<Vec<Placed>, Failure> {
    let failure = match read {
        Ok(now) if now == wanted => return Ok(placed),
        Ok(now) => Failure::new(differs(&now)),
        Err(failure) => failure,
    };
    take_back(group, placed).tried(|| "take back what was set")?;
    Err(failure)
}

/// What stands behind an errno of these calls.
pub fn explain(failure: Failure) -> Failure {
    net::explain(failure).hint_if(Errno::ENOENT, || {
        "another cgset has changed the rules of this group just now: try again".into()
    })
}
