//! Which addresses a group may send to and get from: programs at the v2 group, as for rates.
//!
//! What a packet would do, connect(2) is told at once by programs of their own: from the loss of
//! its first packets alone TCP learns nothing for minutes.

use std::fs::File;
use std::path::Path;

use common::sys::bpf::{Hook, Instruction, Kind, Map};
use common::{Failure, Tried};

use crate::assembler::{
    ADD_NUMBER, AND_NUMBER, Assembler, CONTEXT, EXIT, FRAME, IF_NOT_NUMBER, IF_NUMBER,
    IF_NUMBER_32, LOAD_32, MOVE, R0, R1, R2, R3, R4, SET, STORE_32, STORE_32_NUMBER,
    STORE_64_NUMBER,
};
use crate::key::{Key, Setting};
use crate::net::open;
use crate::network::{KEY, KIND_BITS, Network};
use crate::placed::{self, Place, Placed, explain};
use crate::value::Value;

/// What holds for a network. The most specific one that an address is in decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub network: Network,
    pub allow: bool,
}

/// The programs; the first of them is asked for the rules.
const OUT: Place = (Hook::Egress, "cgset_addr_out");
const IN: Place = (Hook::Ingress, "cgset_addr_in");
const CONNECT_4: Place = (Hook::Connect4, "cgset_addr_con4");
const CONNECT_6: Place = (Hook::Connect6, "cgset_addr_con6");

impl Rule {
    pub fn key(self) -> &'static str {
        if self.allow { "net.allow" } else { "net.deny" }
    }
}

/// The rules among these settings.
pub fn rules(settings: &[Setting]) -> Vec<Rule> {
    let rules = |Setting { key, value }: &Setting| {
        let networks =
            if let Value::Networks(networks) = value { networks.clone() } else { vec![] };
        let allow = *key == Key::NetAllow;
        networks.into_iter().map(move |network| Rule { network, allow })
    };
    settings.iter().flat_map(rules).collect()
}

/// As they are typed.
pub fn words(rules: &[Rule]) -> String {
    let words = rules.iter().map(|rule| format!("{} {}", rule.key(), rule.network));
    words.collect::<Vec<_>>().join(" ")
}

/// What holds for a group, sorted; nothing if there has never been a rule.
pub fn state(dir: &Path) -> Result<Vec<Rule>, Failure> {
    let group = open(dir)?;
    read(&group).tried(|| format!("read the networks of {dir:?}")).map_err(explain)
}

fn read(group: &File) -> nix::Result<Vec<Rule>> {
    let Some(program) = placed::find(group, OUT)? else { return Ok(Vec::new()) };
    let rule = |(key, value): (Vec<u8>, Vec<u8>)| {
        Some(Rule { network: Network::of_key(&key)?, allow: value.iter().any(|byte| *byte != 0) })
    };
    let mut rules: Vec<Rule> = Map::of(program)?.entries()?.into_iter().filter_map(rule).collect();
    rules.sort();
    Ok(rules)
}

/// Adds rules, or changes those of the same networks; gives what takes them back.
pub fn set(dir: &Path, new: &[Rule]) -> Result<Vec<Placed>, Failure> {
    let what = || format!("set {} for {dir:?}", words(new));
    let group = open(dir)?;
    let all = merged(read(&group).tried(what).map_err(explain)?, new);
    let placed = put(&group, &all).tried(what).map_err(explain)?;
    placed::checked(&group, placed, &all, state(dir), |now| {
        format!("{}: it reads back as {}", what(), words(now))
    })
}

/// Makes what [`set`] found hold again.
pub fn restore(dir: &Path, placed: Vec<Placed>) -> Result<(), Failure> {
    placed::take_back(&open(dir)?, placed).tried(|| format!("take back the networks of {dir:?}"))
}

/// The rules of before, and the new ones, which are right where both are about the same network.
fn merged(mut rules: Vec<Rule>, new: &[Rule]) -> Vec<Rule> {
    rules.retain(|old| !new.iter().any(|new| new.network == old.network));
    rules.extend(new);
    rules.sort();
    rules
}

/// Puts programs with these rules into the group: they share the map that the rules are in.
fn put(group: &File, rules: &[Rule]) -> nix::Result<Vec<Placed>> {
    let map = Map::new(Kind::Prefixes, "cgset_addr", KEY, VALUE, rules.len())?;
    for Rule { network, allow } in rules {
        map.put(&network.key(), &u32::from(*allow).to_ne_bytes())?;
    }
    let number = map.number();
    placed::place(
        group,
        &[
            (OUT, packet(Hook::Egress, number)),
            (IN, packet(Hook::Ingress, number)),
            (CONNECT_4, connect_4(number)),
            (CONNECT_6, connect_6(number)),
        ],
    )
}

/// 1 for what is allowed, else 0: what the program says then.
const VALUE: usize = 4;

/// Where the key and the address in it are on the stack.
const AT_KEY: i16 = -24;
const AT_ADDRESS: i16 = -16;

/// A place that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    V4,
    V6,
    Pass,
    Drop,
}

/// The kernel's functions.
const LOOK_UP: i32 = 1;
const LOAD_BYTES: i32 = 26;

/// Says what the rules say of the address on the stack, if they do.
fn decide(code: &mut Assembler<Label>, map: i32, kind: i32, bits: u32) {
    let bits = (KIND_BITS + bits).cast_signed();
    code.add(STORE_32_NUMBER, FRAME, 0, AT_KEY, bits);
    code.add(STORE_32_NUMBER, FRAME, 0, AT_KEY + 4, kind);
    code.load_map(R1, map);
    code.add(MOVE, R2, FRAME, 0, 0);
    code.add(ADD_NUMBER, R2, 0, 0, AT_KEY.into());
    code.call(LOOK_UP);
    code.jump(IF_NUMBER, R0, 0, 0, Label::Pass);
    code.add(LOAD_32, R0, R0, 0, 0);
    code.add(AND_NUMBER, R0, 0, 0, 1);
    code.add(EXIT, 0, 0, 0, 0);
}

/// The whole of a key's address has to be there, even if it counts only in part.
fn clear_address(code: &mut Assembler<Label>) {
    code.add(STORE_64_NUMBER, FRAME, 0, AT_ADDRESS, 0);
    code.add(STORE_64_NUMBER, FRAME, 0, AT_ADDRESS + 8, 0);
}

/// Puts so many bytes of the packet's header on the stack; one that is shorter is dropped.
fn load_address(code: &mut Assembler<Label>, at: i32, bytes: i32) {
    code.add(MOVE, R1, CONTEXT, 0, 0);
    code.add(SET, R2, 0, 0, at);
    code.add(MOVE, R3, FRAME, 0, 0);
    code.add(ADD_NUMBER, R3, 0, 0, AT_ADDRESS.into());
    code.add(SET, R4, 0, 0, bytes);
    code.call(LOAD_BYTES);
    code.jump(IF_NOT_NUMBER, R0, 0, 0, Label::Drop);
}

/// Where a packet goes to, or comes from. 0 lets a sender see EPERM.
fn packet(hook: Hook, map: i32) -> Vec<Instruction> {
    const PROTOCOL: i16 = 16;
    let protocol = |number: u16| i32::from(number.to_be());
    let (v4, v6) = if hook == Hook::Egress { (16, 24) } else { (12, 8) };
    let mut code = Assembler::default();
    code.add(MOVE, CONTEXT, R1, 0, 0);
    clear_address(&mut code);
    code.add(LOAD_32, R1, CONTEXT, PROTOCOL, 0);
    code.jump(IF_NUMBER, R1, 0, protocol(0x0800), Label::V4);
    code.jump(IF_NOT_NUMBER, R1, 0, protocol(0x86dd), Label::Pass);
    load_address(&mut code, v6, 16);
    decide(&mut code, map, 6, 128);
    code.label(Label::V4);
    load_address(&mut code, v4, 4);
    decide(&mut code, map, 4, 32);
    code.label(Label::Pass);
    code.exit(1);
    code.label(Label::Drop);
    code.exit(0);
    code.finish()
}

/// Where connect(2) goes. To no address means to this host, by one that its packets will tell.
fn connect_4(map: i32) -> Vec<Instruction> {
    const ADDRESS: i16 = 4;
    let mut code = Assembler::default();
    clear_address(&mut code);
    code.add(LOAD_32, R1, R1, ADDRESS, 0);
    code.jump(IF_NUMBER, R1, 0, 0, Label::Pass);
    code.add(STORE_32, FRAME, R1, AT_ADDRESS, 0);
    decide(&mut code, map, 4, 32);
    code.label(Label::Pass);
    code.exit(1);
    code.finish()
}

/// The same with IPv6, by which IPv4 is reached too: `::ffff:10.0.0.1`.
fn connect_6(map: i32) -> Vec<Instruction> {
    const ADDRESS: i16 = 8;
    let mut code = Assembler::default();
    code.add(MOVE, CONTEXT, R1, 0, 0);
    for (register, at) in [R1, R2, R3, R4].into_iter().zip([0, 4, 8, 12]) {
        code.add(LOAD_32, register, CONTEXT, ADDRESS + at, 0);
        code.add(STORE_32, FRAME, register, AT_ADDRESS + at, 0);
    }
    code.jump(IF_NOT_NUMBER, R1, 0, 0, Label::V6);
    code.jump(IF_NOT_NUMBER, R2, 0, 0, Label::V6);
    code.jump(IF_NUMBER_32, R3, 0, 0xffff_u32.to_be().cast_signed(), Label::V4);
    code.jump(IF_NOT_NUMBER, R3, 0, 0, Label::V6);
    code.jump(IF_NUMBER, R4, 0, 0, Label::Pass);
    code.label(Label::V6);
    decide(&mut code, map, 6, 128);
    code.label(Label::V4);
    code.jump(IF_NUMBER, R4, 0, 0, Label::Pass);
    clear_address(&mut code);
    code.add(STORE_32, FRAME, R4, AT_ADDRESS, 0);
    decide(&mut code, map, 4, 32);
    code.label(Label::Pass);
    code.exit(1);
    code.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, allow: bool) -> Rule {
        let network = crate::network::parse("net.deny", network).expect("a network")[0];
        Rule { network, allow }
    }

    #[test]
    fn a_new_rule_takes_the_place_of_that_of_the_same_network_only() {
        let old = vec![rule("0.0.0.0/0", false), rule("10.0.0.0/8", true)];
        let new = [rule("10.0.0.0/8", false), rule("10.0.0.0/9", true), rule("::1", false)];
        let all = merged(old, &new);
        let wanted = "net.deny 0.0.0.0/0 net.deny 10.0.0.0/8 net.allow 10.0.0.0/9 net.deny ::1/128";
        assert_eq!(words(&all), wanted);
    }
}
