//! Instructions for the kernel's own machine, written by hand.

use common::sys::bpf::Instruction;

/// The registers: results and comparisons, arguments, the frame.
pub const R0: u8 = 0;
pub const R1: u8 = 1;
pub const R2: u8 = 2;
pub const R3: u8 = 3;
pub const R4: u8 = 4;
pub const R5: u8 = 5;
/// What calls leave alone: the context, the cell, the packet's time, now.
pub const CONTEXT: u8 = 6;
pub const CELL: u8 = 7;
pub const COST: u8 = 8;
pub const NOW: u8 = 9;
pub const FRAME: u8 = 10;

pub const LOAD_MAP: u8 = 0x18;
pub const LOAD_32: u8 = 0x61;
pub const LOAD_64: u8 = 0x79;
pub const STORE_32: u8 = 0x63;
pub const STORE_64: u8 = 0x7b;
pub const STORE_32_NUMBER: u8 = 0x62;
pub const STORE_64_NUMBER: u8 = 0x7a;
pub const ATOMIC_64: u8 = 0xdb;
pub const SET: u8 = 0xb7;
pub const MOVE: u8 = 0xbf;
pub const ADD: u8 = 0x0f;
pub const ADD_NUMBER: u8 = 0x07;
pub const SUBTRACT: u8 = 0x1f;
pub const AND_NUMBER: u8 = 0x57;
pub const SHIFT_DOWN: u8 = 0x77;
pub const TIMES_NUMBER: u8 = 0x27;
pub const DIVIDE: u8 = 0x3f;
pub const IF_NUMBER: u8 = 0x15;
pub const IF_NUMBER_32: u8 = 0x16;
pub const IF_NOT_NUMBER: u8 = 0x55;
pub const IF_ANY_BIT: u8 = 0x45;
pub const IF_EQUAL: u8 = 0x1d;
pub const IF_MORE: u8 = 0x2d;
pub const IF_NOT_LESS: u8 = 0x3d;
pub const IF_LESS_NUMBER: u8 = 0xa5;
pub const CALL: u8 = 0x85;
pub const EXIT: u8 = 0x95;

pub const ATOMIC_ADD: i32 = 0;
pub const COMPARE_AND_EXCHANGE: i32 = 0xf1;

/// Instructions, and the jumps in them whose distance is not known yet. A label is whatever tells
/// the places of one program apart.
pub struct Assembler<Label> {
    program: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl<Label> Default for Assembler<Label> {
    fn default() -> Self {
        Self { program: Vec::new(), jumps: Vec::new(), labels: Vec::new() }
    }
}

impl<Label: PartialEq> Assembler<Label> {
    pub fn add(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.program.push(Instruction { code, registers: from << 4 | to, offset, immediate });
    }

    pub fn jump(&mut self, code: u8, left: u8, right: u8, number: i32, to: Label) {
        self.jumps.push((self.program.len(), to));
        self.add(code, left, right, 0, number);
    }

    pub fn label(&mut self, label: Label) {
        self.labels.push((label, self.program.len()));
    }

    /// The address of the cell, which the kernel fills in for the map's descriptor.
    pub fn load_cell(&mut self, map: i32) {
        const MAP_VALUE: u8 = 2;
        self.add(LOAD_MAP, CELL, MAP_VALUE, 0, map);
        self.add(0, 0, 0, 0, 0);
    }

    /// The map itself, as functions take it.
    pub fn load_map(&mut self, to: u8, map: i32) {
        const MAP: u8 = 1;
        self.add(LOAD_MAP, to, MAP, 0, map);
        self.add(0, 0, 0, 0, 0);
    }

    pub fn call(&mut self, function: i32) {
        self.add(CALL, 0, 0, 0, function);
    }

    pub fn exit(&mut self, result: i32) {
        self.add(SET, R0, 0, 0, result);
        self.add(EXIT, 0, 0, 0, 0);
    }

    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let target = self.labels.iter().find(|(known, _)| *known == label);
            let target = target.map_or(at, |(_, place)| *place);
            self.program[at].offset = i16::try_from(target - at - 1).unwrap_or(0);
        }
        self.program
    }
}
