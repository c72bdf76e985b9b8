//! Rules for devices with v2, which has no files for them: a program at the group that the kernel
//! asks for each node that is made or opened.

use std::fs::File;
use std::path::Path;

use common::sys::bpf::{self, Hook, Instruction, Map};
use common::{Failure, Tried};

use crate::assembler::{
    AND_NUMBER, Assembler, IF_ANY_BIT, IF_NOT_NUMBER, IF_NUMBER, LOAD_32, MOVE, R1, R2, R3, R4, R5,
    SHIFT_DOWN,
};
use crate::dev::{Access, Kind, Pattern, Rule, words};
use crate::net::open;
use crate::placed::{self, Place, Placed, explain};

const PROGRAM: Place = (Hook::Device, "cgset_dev");

/// As many rules as one group may have: each costs a few instructions at every open(2).
const MOST: usize = 256;

/// What holds for a group, in the order in which it counts; nothing if there was never a rule.
pub fn state(dir: &Path) -> Result<Vec<Rule>, Failure> {
    read(&open(dir)?).tried(|| format!("read the devices of {dir:?}")).map_err(explain)
}

fn read(group: &File) -> nix::Result<Vec<Rule>> {
    let Some(program) = placed::find(group, PROGRAM)? else { return Ok(Vec::new()) };
    let entries = Map::of(program)?.entries()?;
    Ok(entries.into_iter().filter_map(|(_, value)| Rule::of_bytes(&value)).collect())
}

/// Adds rules behind those that are there; gives what takes them back.
pub fn set(dir: &Path, new: &[Rule]) -> Result<Vec<Placed>, Failure> {
    let what = || format!("set {} for {dir:?}", words(new));
    let group = open(dir)?;
    let all = merged(read(&group).tried(what).map_err(explain)?, new);
    if all.len() > MOST {
        return Err(Failure::new(format!("{}: the group has {MOST} rules already", what()))
            .hint("a rule for all devices takes the place of those before it: dev.deny all ..."));
    }
    let placed = put(&group, &all).tried(what).map_err(explain)?;
    placed::checked(&group, placed, &all, state(dir), |now| {
        format!("{}: it reads back as {}", what(), words(now))
    })
}

/// Makes what [`set`] found hold again.
pub fn restore(dir: &Path, placed: Vec<Placed>) -> Result<(), Failure> {
    placed::take_back(&open(dir)?, placed).tried(|| format!("take back the devices of {dir:?}"))
}

/// The rules of before, as far as they still matter, and the new ones.
pub fn merged(mut rules: Vec<Rule>, new: &[Rule]) -> Vec<Rule> {
    for new in new {
        let old = rules.iter_mut().filter(|old| new.devices.covers(old.devices));
        old.for_each(|old| old.access = old.access.without(new.access));
        rules.retain(|rule| !rule.access.is_none());
        rules.push(*new);
    }
    rules
}

fn put(group: &File, rules: &[Rule]) -> nix::Result<Vec<Placed>> {
    let map = Map::new(bpf::Kind::Array, "cgset_dev", size_of::<u32>(), BYTES, rules.len())?;
    for (number, rule) in (0u32..).zip(rules) {
        map.put(&number.to_ne_bytes(), &rule.bytes())?;
    }
    placed::place(group, &[(PROGRAM, program(rules, map.number()))])
}

const BYTES: usize = 16;
const ANY: u32 = u32::MAX;
const ALLOW: u32 = 1 << 8;

impl Kind {
    /// The kernel's number of it.
    fn number(self) -> u32 {
        match self {
            Self::Block => 1,
            Self::Char => 2,
        }
    }
}

impl Rule {
    /// How it is kept in the kernel's memory, for the next caller.
    fn bytes(&self) -> [u8; BYTES] {
        let Pattern { kind, major, minor } = self.devices;
        let mut bytes = [0; BYTES];
        let allow = if self.allow { ALLOW } else { 0 };
        let kind = kind.map_or(ANY, Kind::number);
        let words = [kind, major.unwrap_or(ANY), minor.unwrap_or(ANY), self.access.0 | allow];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let known = |word: u32| Some(word).filter(|word| *word != ANY);
        let kind = [Kind::Block, Kind::Char].into_iter().find(|k| Some(k.number()) == word(0));
        let devices = Pattern { kind, major: known(word(4)?), minor: known(word(8)?) };
        let last = word(12)?;
        let access = Access(last).and(Access::ALL);
        Some(Self { allow: last & ALLOW != 0, devices, access })
    }
}

/// A place that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    /// Behind this rule.
    Behind(usize),
    Pass,
    Drop,
}

/// The rules, the last one first: it decides on what it names, the others on what is left.
fn program(rules: &[Rule], map: i32) -> Vec<Instruction> {
    const ACCESS_AND_KIND: i16 = 0;
    const MAJOR: i16 = 4;
    const MINOR: i16 = 8;
    let mut code = Assembler::default();
    code.add(LOAD_32, R2, R1, ACCESS_AND_KIND, 0);
    code.add(LOAD_32, R4, R1, MAJOR, 0);
    code.add(LOAD_32, R5, R1, MINOR, 0);
    code.add(MOVE, R3, R2, 0, 0);
    code.add(AND_NUMBER, R3, 0, 0, 0xffff);
    code.add(SHIFT_DOWN, R2, 0, 0, 16);
    // Only so that the map, which has the rules in a form to be read again, stays as long as this.
    code.load_map(R1, map);
    for (nth, rule) in rules.iter().enumerate().rev() {
        decide(&mut code, nth, rule);
    }
    code.label(Label::Pass);
    code.exit(1);
    if rules.iter().any(|rule| !rule.allow) {
        code.label(Label::Drop);
        code.exit(0);
    }
    code.finish()
}

/// What is wanted is in R2, of which that is taken out that this rule allows; the kind of device is
/// in R3, its numbers in R4 and R5.
fn decide(code: &mut Assembler<Label>, nth: usize, rule: &Rule) {
    let Pattern { kind, major, minor } = rule.devices;
    let parts = [(R3, kind.map(Kind::number)), (R4, major), (R5, minor)];
    for (register, number) in parts {
        if let Some(number) = number {
            code.jump(IF_NOT_NUMBER, register, 0, number.cast_signed(), Label::Behind(nth));
        }
    }
    let access = rule.access.0.cast_signed();
    if rule.allow {
        code.add(AND_NUMBER, R2, 0, 0, !access);
        code.jump(IF_NUMBER, R2, 0, 0, Label::Pass);
    } else {
        code.jump(IF_ANY_BIT, R2, 0, access, Label::Drop);
    }
    code.label(Label::Behind(nth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::assembler::{EXIT, LOAD_MAP, SET};
    use crate::dev::meaning;

    fn rules(words: &str) -> Vec<Rule> {
        let words: Vec<&str> = words.split(' ').collect();
        let settings = words.chunks(2).map(|pair| crate::key::Setting::parse(pair[0], pair[1]));
        let settings: Vec<_> = settings.map(|setting| setting.expect("a rule")).collect();
        crate::dev::rules(&settings).expect("no paths")
    }

    #[test]
    fn a_rule_takes_the_place_of_what_it_covers() {
        for (old, new, wanted) in [
            ("dev.deny c:1:3", "dev.deny all", "dev.deny all"),
            ("dev.deny all", "dev.allow c:1:3", "dev.deny all dev.allow c:1:3"),
            ("dev.deny c:1:3", "dev.allow c:1:*:w", "dev.deny c:1:3:rm dev.allow 'c:1:*:w'"),
            ("dev.deny c:1:3", "dev.allow b:1:3", "dev.deny c:1:3 dev.allow b:1:3"),
            ("dev.deny c:1:*", "dev.allow c:1:3", "dev.deny 'c:1:*' dev.allow c:1:3"),
        ] {
            assert_eq!(words(&merged(rules(old), &rules(new))), wanted);
        }
    }

    /// What a program of [`program`] says, whose few instructions are these.
    fn runs(program: &[Instruction], device: Pattern, access: Access) -> bool {
        let mut registers = [0u64; 11];
        let (kind, number) = (device.kind.map_or(0, Kind::number), |n: Option<u32>| n.unwrap_or(0));
        let context = [access.0 << 16 | kind, number(device.major), number(device.minor)];
        let mut at = 0;
        while let Some(Instruction { code, registers: places, offset, immediate }) = program.get(at)
        {
            let (to, from) = (usize::from(places & 15), usize::from(places >> 4));
            let number = i64::from(*immediate).cast_unsigned();
            let jumps = match *code {
                EXIT => return registers[0] == 1,
                IF_NUMBER => registers[to] == number,
                IF_NOT_NUMBER => registers[to] != number,
                IF_ANY_BIT => registers[to] & number != 0,
                _ => false,
            };
            match *code {
                LOAD_32 => {
                    registers[to] = context[usize::try_from(*offset / 4).expect("small")].into();
                }
                MOVE => registers[to] = registers[from],
                SET => registers[to] = number,
                AND_NUMBER => registers[to] &= number,
                SHIFT_DOWN => registers[to] >>= number,
                LOAD_MAP => at += 1,
                IF_NUMBER | IF_NOT_NUMBER | IF_ANY_BIT => {}
                other => panic!("{other:#x} at {at}"),
            }
            at += 1 + if jumps { usize::try_from(*offset).expect("forwards") } else { 0 };
        }
        panic!("the end is passed")
    }

    proptest! {
        #[test]
        fn rules_merged_and_made_a_program_mean_the_same(
            old in meaning::rules(), new in meaning::rules(), device in meaning::device(),
        ) {
            let rules = merged(merged(Vec::new(), &old), &new);
            let program = program(&rules, 3);
            for access in [1, 2, 4].map(Access) {
                let wanted = meaning::allows(&[old.clone(), new.clone()].concat(), device, access);
                prop_assert_eq!(meaning::allows(&rules, device, access), wanted);
                prop_assert_eq!(runs(&program, device, access), wanted);
            }
            let both = [2, 4].iter().all(|one| runs(&program, device, Access(*one)));
            prop_assert_eq!(runs(&program, device, Access(6)), both);
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        for rule in
            rules("dev.deny all dev.allow c:1:3:r dev.deny b:8:*:wm dev.allow c:4095:1048575")
        {
            assert_eq!(Rule::of_bytes(&rule.bytes()), Some(rule));
        }
    }
}
