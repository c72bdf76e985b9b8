//! The programs that the kernel runs for the packets and connections of a group: instructions
//! written by hand, so that neither a compiler nor the kernel's type information is needed.
//!
//! The rate is kept by a generic cell rate algorithm. All its memory is one time: when the group
//! will have sent what it has sent already, were it sent at the rate. A packet moves it on by what
//! the packet takes. If it is further in the future than the burst, the packet is dropped. That is
//! looked at before the packet is added: one that is larger than the whole burst could never pass
//! otherwise, and with segmentation offload a packet may have 64 KiB.

use common::sys::bpf::{Hook, Instruction};

use crate::assembler::{
    ADD, ADD_NUMBER, ATOMIC_64, ATOMIC_ADD, Assembler, CELL, COMPARE_AND_EXCHANGE, CONTEXT, COST,
    DIVIDE, FRAME, IF_EQUAL, IF_LESS_NUMBER, IF_MORE, IF_NOT_LESS, IF_NUMBER, LOAD_32, LOAD_64,
    MOVE, NOW, R0, R1, R2, R3, R4, R5, SET, STORE_32, STORE_64, SUBTRACT, TIMES_NUMBER,
};

/// The places of these in the cell that the programs share with us, in bytes.
const TIME: i16 = 0;
const RATE: i16 = 8;
const BURST: i16 = 16;
const DROPPED: i16 = 24;

/// The time at which a packet is to leave, in the context; see `struct __sk_buff`.
const DEPARTURE: i16 = 152;

/// The kernel's functions.
const NANOSECONDS_NOW: i32 = 5;
const SET_SOCKET_OPTION: i32 = 49;
const SET_CALLBACKS: i32 = 59;

/// Where two CPUs send at once, one of them has to try again. So often; then the packet passes.
const TRIES: usize = 8;

/// What a packet that is too early meets. A sender sees what is dropped so as if a queue had been
/// full on the way; by 0 it would see EPERM, which is not what happened.
fn refused(hook: Hook) -> i32 {
    if hook == Hook::Egress { 2 } else { 0 }
}

/// A place that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Early,
    Pass,
    Drop,
    Pace,
}

/// Lets packets pass at the rate in the cell of `map`. If they leave `by_the_clock`, those that are
/// early are told when, so that they wait in the device's queue instead of being sent at once.
pub fn limit(hook: Hook, map: i32, by_the_clock: bool) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.add(MOVE, CONTEXT, R1, 0, 0);
    code.load_cell(map);
    code.add(LOAD_64, R1, CELL, RATE, 0);
    code.jump(IF_NUMBER, R1, 0, 0, Label::Pass);
    // What the packet takes at this rate: its length, the first field of the context, in seconds.
    code.add(LOAD_32, COST, CONTEXT, 0, 0);
    code.add(TIMES_NUMBER, COST, 0, 0, 1_000_000_000);
    code.add(DIVIDE, COST, R1, 0, 0);
    code.call(NANOSECONDS_NOW);
    code.add(MOVE, NOW, R0, 0, 0);
    for _ in 0..TRIES {
        code.add(LOAD_64, R0, CELL, TIME, 0);
        // The time of the packet: now, if nothing is outstanding.
        code.add(MOVE, R2, R0, 0, 0);
        code.add(IF_NOT_LESS, R2, NOW, 1, 0);
        code.add(MOVE, R2, NOW, 0, 0);
        // How early it is.
        code.add(MOVE, R3, R2, 0, 0);
        code.add(SUBTRACT, R3, NOW, 0, 0);
        code.add(LOAD_64, R4, CELL, BURST, 0);
        code.jump(IF_MORE, R3, R4, 0, Label::Drop);
        code.add(ADD, R2, COST, 0, 0);
        code.add(MOVE, R5, R0, 0, 0);
        // Stores R2 where still R0 stands; what has stood there is in R0 then.
        code.add(ATOMIC_64, CELL, R2, TIME, COMPARE_AND_EXCHANGE);
        code.jump(IF_EQUAL, R0, R5, 0, Label::Early);
    }
    code.add(SET, R3, 0, 0, 0);
    code.label(Label::Early);
    if by_the_clock {
        depart(&mut code);
    }
    code.label(Label::Pass);
    code.exit(1);
    code.label(Label::Drop);
    code.add(SET, R1, 0, 0, 1);
    code.add(ATOMIC_64, CELL, R1, DROPPED, ATOMIC_ADD);
    code.exit(refused(hook));
    code.finish()
}

/// Puts the time on a packet that is R3 early, unless TCP wants it later anyway.
fn depart(code: &mut Assembler<Label>) {
    code.add(ADD, R3, NOW, 0, 0);
    code.jump(IF_NOT_LESS, NOW, R3, 0, Label::Pass);
    code.add(LOAD_64, R1, CONTEXT, DEPARTURE, 0);
    code.jump(IF_MORE, R1, R3, 0, Label::Pass);
    code.add(STORE_64, CONTEXT, R3, DEPARTURE, 0);
}

/// Has each TCP connection send at the rate by itself, so that the limit hardly ever has to drop.
/// As it is told anew with each round trip, a change of the rate reaches it too.
pub fn pace(map: i32) -> Vec<Instruction> {
    const CONNECT: i32 = 3;
    const CONNECTED: i32 = 4;
    const ACCEPTED: i32 = 5;
    const ROUND_TRIP: i32 = 12;
    const TELL_OF_ROUND_TRIPS: i32 = 1 << 3;
    const SOL_SOCKET: i32 = 1;
    const SO_MAX_PACING_RATE: i32 = 47;
    let mut code = Assembler::default();
    code.add(MOVE, CONTEXT, R1, 0, 0);
    code.add(LOAD_32, R1, CONTEXT, 0, 0);
    for event in [CONNECT, CONNECTED, ACCEPTED, ROUND_TRIP] {
        code.jump(IF_NUMBER, R1, 0, event, Label::Pace);
    }
    code.exit(1);
    code.label(Label::Pace);
    code.load_cell(map);
    code.add(LOAD_64, R1, CELL, RATE, 0);
    // The option has 32 bits, and with all of them set it means no limit.
    code.add(MOVE, R2, R1, 0, 0);
    code.add(ADD_NUMBER, R2, 0, 0, -1);
    code.add(IF_LESS_NUMBER, R2, 0, 1, i32::MAX);
    code.add(SET, R1, 0, 0, -1);
    code.add(STORE_32, FRAME, R1, -4, 0);
    code.add(MOVE, R1, CONTEXT, 0, 0);
    code.add(SET, R2, 0, 0, SOL_SOCKET);
    code.add(SET, R3, 0, 0, SO_MAX_PACING_RATE);
    code.add(MOVE, R4, FRAME, 0, 0);
    code.add(ADD_NUMBER, R4, 0, 0, -4);
    code.add(SET, R5, 0, 0, 4);
    code.call(SET_SOCKET_OPTION);
    code.add(MOVE, R1, CONTEXT, 0, 0);
    code.add(SET, R2, 0, 0, TELL_OF_ROUND_TRIPS);
    code.call(SET_CALLBACKS);
    code.exit(1);
    code.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembler::{CALL, EXIT};

    #[test]
    fn jumps_go_to_an_instruction_further_on() {
        let limits = [(Hook::Egress, true), (Hook::Egress, false), (Hook::Ingress, false)];
        let limits = limits.map(|(hook, by_the_clock)| limit(hook, 3, by_the_clock));
        for program in limits.into_iter().chain([pace(3)]) {
            let jumps = program
                .iter()
                .enumerate()
                .filter(|(_, i)| i.code & 7 == 5 && ![CALL, EXIT].contains(&i.code));
            for (at, jump) in jumps {
                let to = at + 1 + usize::try_from(jump.offset).expect("forwards");
                assert!(to < program.len(), "{at}: {jump:?}");
            }
            assert_eq!(program.last().map(|last| last.code), Some(EXIT));
        }
    }
}
