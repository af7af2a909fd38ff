//! Code decoded once: instructions at fixed size, checks per block, pushed constants and jump targets resolved, common
//! sequences fused.
//!
//! In: an analysed [`Code`] and the fork whose instructions count. Out: [`Decoded`], kept beside the code.
//! A block runs from a JUMPDEST (or the code's first byte) to the next one, or to what ends a frame or always jumps. A
//! JUMPI does not end it. Static gas and stack height of the whole block are checked where it begins; a taken JUMPI
//! gives the rest of the gas back. Why that is exact: whenever the check fails, and whenever an instruction inside lacks
//! gas, execution goes on in byte form from that very place with the exact gas (`rest` of [`Place`]), so that decoded code
//! never decides that gas is short. Instructions that show, pass on or charge gas add the rest before they run.
//! Code behind an unconditional end that no JUMPDEST precedes is unreachable and is not decoded.
//! Not here: when code is worth decoding (`tail`), which sequences are one instruction (`fuse`).

mod fuse;

use super::handlers::*;
use super::machine::{Block, Handler, halt_invalid_opcode};
use super::table;
use crate::arena::code::Code;
use crate::exec::evm::STACK_LIMIT;
use crate::exec::fork::Fork;
use crate::exec::interpreter::opcode::{TABLE, decode_pair, decode_single, op};
use alloy_primitives::U256;

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Instr {
    /// What runs it.
    pub(super) handler: Handler,
    /// What it needs to know; each handler says how it reads it.
    pub(super) operand: u64,
}

/// What a block needs, as the operand of its first instruction holds it: fields apart, each a load of its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Need {
    /// Static gas.
    pub(super) gas: u32,
    /// Bytes of stack at least.
    pub(super) least: u16,
    /// Bytes of stack that there may be above these.
    pub(super) span: u16,
}

impl Need {
    fn operand(self) -> u64 {
        let ([g0, g1, g2, g3], [l0, l1], [s0, s1]) =
            (self.gas.to_ne_bytes(), self.least.to_ne_bytes(), self.span.to_ne_bytes());
        u64::from_ne_bytes([g0, g1, g2, g3, l0, l1, s0, s1])
    }
}

/// Where an instruction stands in the code, and the static gas from it to the end of its block, which is prepaid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Byte offset.
    pub(super) pc: u32,
    /// Gas.
    pub(super) rest: u32,
}

/// The JUMPDESTs among 64 bytes of code: found by counting, so that all of a contract's fit the nearest cache.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// One bit per byte.
    bits: u64,
    /// How many there are in earlier lines.
    before: u32,
}

/// Which of the JUMPDESTs the one at a byte offset is, if there is one.
#[inline(always)]
fn rank(lines: &[Line], pc: usize) -> Option<usize> {
    let Line { bits, before } = *lines.get(pc / 64)?;
    let below = bits & ((1 << (pc % 64)) - 1);
    (bits >> (pc % 64) & 1 == 1).then(|| (before + below.count_ones()) as usize)
}

/// A code's decoded form.
#[derive(Debug)]
pub(super) struct Decoded {
    instrs: Box<[Instr]>,
    places: Box<[Place]>,
    /// Where JUMPDESTs are.
    lines: Box<[Line]>,
    /// Position of each JUMPDEST's instruction, in order.
    targets: Box<[u32]>,
    /// Words of more than 8 bytes; instructions point at them. Not a box, which would claim to be the only pointer to its
    /// words whenever it moves.
    _pool: Vec<U256>,
    fork: Fork,
}

// SAFETY: the pointers in operands point into `_pool`, which is never written and lives as long as the instructions.
unsafe impl Send for Decoded {}
// SAFETY: as above; nothing is ever written after decoding.
unsafe impl Sync for Decoded {}

impl Decoded {
    /// Whether the decoded form holds for this fork.
    #[inline(always)]
    pub(super) fn suits(&self, fork: Fork) -> bool {
        self.fork == fork
    }

    /// The first instruction.
    #[inline(always)]
    pub(super) fn start(&self) -> *const Instr {
        self.instrs.as_ptr()
    }

    /// Position of an instruction.
    #[inline(always)]
    pub(super) fn index(&self, at: *const Instr) -> usize {
        (at as usize - self.start() as usize) / size_of::<Instr>()
    }

    /// Place of an instruction.
    #[inline]
    pub(super) fn place(&self, at: *const Instr) -> Place {
        self.places.get(self.index(at)).copied().unwrap_or_default()
    }

    /// Instruction at a position, with its place.
    #[inline]
    pub(super) fn at(&self, index: usize) -> Option<(*const Instr, Place)> {
        Some((self.pointer(index)?, *self.places.get(index)?))
    }

    /// The JUMPDEST at a byte offset.
    #[inline(always)]
    pub(super) fn target(&self, pc: usize) -> Option<*const Instr> {
        let index = *self.targets.get(rank(&self.lines, pc)?)?;
        self.pointer(index as usize)
    }

    /// An instruction, as a pointer that may walk on to those around it, which one made of a reference to it may not.
    #[inline(always)]
    fn pointer(&self, index: usize) -> Option<*const Instr> {
        (index < self.instrs.len()).then(|| self.instrs.as_ptr().wrapping_add(index))
    }

    /// Decodes `code` for `fork`.
    pub(super) fn new(code: &Code, fork: Fork) -> Self {
        let mut decoder = Decoder {
            code,
            bytes: code.padded(),
            fork,
            instrs: Vec::with_capacity(code.len() / 2 + 4),
            places: Vec::with_capacity(code.len() / 2 + 4),
            targets: Vec::new(),
            pool: Vec::new(),
            pooled: Vec::new(),
            jumps: Vec::new(),
            rests: Vec::new(),
            block: OpenBlock::default(),
        };
        decoder.decode();
        decoder.finish()
    }
}

/// The block that is being decoded.
#[derive(Default)]
struct OpenBlock {
    begin: usize,
    gas: u32,
    height: i32,
    /// Words needed below the block's first height.
    need: i32,
    /// Highest height above the first.
    max: i32,
}

struct Decoder<'a> {
    code: &'a Code,
    bytes: &'a [u8],
    fork: Fork,
    instrs: Vec<Instr>,
    places: Vec<Place>,
    /// Byte offset and position of each JUMPDEST, ascending.
    targets: Vec<(u32, u32)>,
    pool: Vec<U256>,
    /// Instructions whose operand is a position in the pool until its address is known.
    pooled: Vec<u32>,
    /// Instructions that go to the JUMPDEST at a byte offset.
    jumps: Vec<(u32, u32, Branch)>,
    /// Instructions of the open block whose operand wants the gas behind them, and how many places they take.
    rests: Vec<(u32, u32)>,
    block: OpenBlock,
}

/// How a static jump keeps its distance: alone, or above the rest of the block's gas.
#[derive(Clone, Copy)]
enum Branch {
    Always,
    Sometimes,
}

impl Decoder<'_> {
    fn byte(&self, pc: usize) -> u8 {
        self.bytes.get(pc).copied().unwrap_or(op::STOP)
    }

    /// The byte at `pc` if it is an instruction of the fork that needs no look at its immediate.
    fn defined(&self, pc: usize) -> bool {
        TABLE[usize::from(self.byte(pc))].defined(self.fork)
    }

    /// Adds an instruction that begins at byte `pc`.
    fn emit(&mut self, pc: usize, handler: Handler, operand: u64) -> usize {
        self.instrs.push(Instr { handler, operand });
        // `rest` holds the gas before it until the block is closed.
        self.places.push(Place { pc: pc as u32, rest: self.block.gas });
        self.instrs.len() - 1
    }

    /// Accounts for one instruction of the code.
    fn account(&mut self, opcode: u8) {
        let info = &TABLE[usize::from(opcode)];
        self.account_as(info.gas, i32::from(info.inputs), i32::from(info.outputs));
    }

    fn account_as(&mut self, gas: u16, inputs: i32, outputs: i32) {
        let block = &mut self.block;
        block.gas += u32::from(gas);
        block.need = block.need.max(inputs - block.height);
        block.height += outputs - inputs;
        block.max = block.max.max(block.height);
    }

    fn account_run(&mut self, pcs: &[u8]) {
        for opcode in pcs {
            self.account(*opcode);
        }
    }

    fn open(&mut self, pc: usize) {
        self.block = OpenBlock { begin: self.instrs.len(), ..OpenBlock::default() };
        self.emit(pc, begin, 0);
    }

    fn close(&mut self) {
        let OpenBlock { begin, gas, need, max, .. } = self.block;
        let (need, max) = (need.max(0) as usize, max.max(0) as usize);
        // `least <= used <= least + span`, in bytes; a block that fits no stack asks for more than there ever is.
        let (least, span) =
            if need + max > STACK_LIMIT { (0xffff, 0) } else { (need * 32, (STACK_LIMIT - max - need) * 32) };
        self.instrs[begin].operand = Need { gas, least: least as u16, span: span as u16 }.operand();
        self.places[begin].rest = 0;
        for place in &mut self.places[begin + 1..] {
            place.rest = gas - place.rest;
        }
        for (index, size) in self.rests.drain(..) {
            let rest = self.places.get((index + size) as usize).map_or(0, |place| place.rest);
            self.instrs[index as usize].operand |= u64::from(rest);
        }
    }

    fn decode(&mut self) {
        let len = self.code.len();
        let mut pc = 0;
        self.open(0);
        loop {
            if pc >= len {
                self.emit(len, stop, 0);
                break;
            }
            let opcode = self.byte(pc);
            if opcode == op::JUMPDEST {
                self.close();
                self.targets.push((pc as u32, self.instrs.len() as u32));
                self.open(pc);
                self.account(op::JUMPDEST);
                pc += 1;
                continue;
            }
            let (next, ends) = self.instruction(pc, opcode);
            pc = next;
            if ends {
                pc = self.next_jumpdest(pc);
                if pc >= len {
                    break;
                }
            }
        }
        // Positions behind the last instruction are looked up, never run.
        self.emit(len, stop, 0);
        self.close();
    }

    /// Where code is reachable again.
    fn next_jumpdest(&self, pc: usize) -> usize {
        let bits = self.code.jumpdest_bits();
        let Some(first) = bits.get(pc / 64) else { return self.code.len() };
        let first = first & (u64::MAX << (pc % 64));
        if first != 0 {
            return pc / 64 * 64 + first.trailing_zeros() as usize;
        }
        for (index, word) in bits.iter().enumerate().skip(pc / 64 + 1) {
            if *word != 0 {
                return index * 64 + word.trailing_zeros() as usize;
            }
        }
        self.code.len()
    }

    /// Decodes the instruction at `pc` and what can be fused with it; returns where to go on, and whether the block ends.
    fn instruction(&mut self, pc: usize, opcode: u8) -> (usize, bool) {
        if !self.defined(pc) {
            self.emit(pc, halt_invalid_opcode, 0);
            return (pc + 1, true);
        }
        if let Some(constant) = self.constant_at(pc) {
            return self.after_constant(pc, &constant);
        }
        match opcode {
            op::DUP1..=op::DUP16 => self.after_dup(pc, u64::from(opcode - op::DUP1) + 1),
            op::SWAP1..=op::SWAP16 => self.after_swap(pc, u64::from(opcode - op::SWAP1) + 1),
            op::POP => self.after_pop(pc),
            op::ISZERO => (self.after_condition(pc, None), false),
            op::LT | op::GT | op::SLT | op::SGT | op::EQ => (self.after_condition(pc, Some(opcode)), false),
            op::JUMP => {
                self.emit(pc, jump::<Block>, 0);
                self.account(opcode);
                (pc + 1, true)
            }
            op::JUMPI => {
                self.emit_with_rest(pc, jumpi::<Block>, 0, 1);
                self.account(opcode);
                (pc + 1, false)
            }
            op::PC => {
                self.emit(pc, push, pc as u64);
                self.account(opcode);
                (pc + 1, false)
            }
            op::DUPN | op::SWAPN | op::EXCHANGE => self.deep(pc, opcode),
            op::STOP | op::RETURN | op::REVERT | op::INVALID | op::SELFDESTRUCT => {
                self.emit_with_rest(pc, table::decoded(opcode), 0, 1);
                self.account(opcode);
                (pc + 1, true)
            }
            op::MLOAD | op::MSTORE | op::MSTORE8 => {
                self.emit(pc, table::decoded(opcode), 0);
                self.account(opcode);
                (pc + 1, false)
            }
            _ => {
                // Bodies out of line want the rest; what needs no operand does not mind one.
                self.emit_with_rest(pc, table::decoded(opcode), 0, 1);
                self.account(opcode);
                (pc + 1, false)
            }
        }
    }

    fn emit_with_rest(&mut self, pc: usize, handler: Handler, operand: u64, size: u32) -> usize {
        let index = self.emit(pc, handler, operand);
        self.rests.push((index as u32, size));
        index
    }

    /// EIP-8024: an immediate that is no number of an item halts.
    fn deep(&mut self, pc: usize, opcode: u8) -> (usize, bool) {
        let immediate = self.byte(pc + 1);
        let decoded = match opcode {
            op::DUPN => decode_single(immediate).map(|n| (dupn::<Block> as Handler, n as u64, n, n + 1)),
            op::SWAPN => decode_single(immediate).map(|n| (swapn::<Block> as Handler, n as u64, n + 1, n + 1)),
            _ => decode_pair(immediate).map(|(n, m)| {
                let need = n.max(m) + 1;
                (exchange::<Block> as Handler, n as u64 | (m as u64) << 16, need, need)
            }),
        };
        match decoded {
            Some((handler, operand, inputs, outputs)) => {
                self.emit(pc, handler, operand);
                self.account_as(3, inputs as i32, outputs as i32);
                (pc + 2, false)
            }
            None => {
                self.emit(pc, halt_invalid_opcode, 0);
                // The refused immediate may itself be a JUMPDEST.
                (pc + 1, true)
            }
        }
    }

    /// Resolves addresses and distances.
    fn finish(self) -> Decoded {
        let Self { code, mut instrs, places, targets, mut pool, pooled, jumps, fork, .. } = self;
        pool.shrink_to_fit();
        for index in pooled {
            let instr = &mut instrs[index as usize];
            instr.operand = &raw const pool[instr.operand as usize] as u64;
        }
        let mut lines = vec![Line::default(); code.len().div_ceil(64)];
        for (pc, _) in &targets {
            lines[*pc as usize / 64].bits |= 1 << (pc % 64);
        }
        let mut before = 0;
        for line in &mut lines {
            line.before = before;
            before += line.bits.count_ones();
        }
        for (index, to, branch) in jumps {
            // A destination is a JUMPDEST, and every JUMPDEST is decoded.
            let Some((_, at)) = rank(&lines, to as usize).and_then(|rank| targets.get(rank)) else { continue };
            let distance = i64::from(*at) - i64::from(index);
            let operand = &mut instrs[index as usize].operand;
            match branch {
                Branch::Always => *operand = distance as u64,
                Branch::Sometimes => *operand |= (distance as u64) << 32,
            }
        }
        Decoded {
            instrs: instrs.into_boxed_slice(),
            places: places.into_boxed_slice(),
            lines: lines.into_boxed_slice(),
            targets: targets.into_iter().map(|(_, index)| index).collect(),
            _pool: pool,
            fork,
        }
    }
}
