//! Code decoded once: instructions at fixed size, checks per block, pushed constants and jump targets resolved, common
//! sequences fused.
//!
//! In: an analysed [`Code`] and the fork whose instructions count. Out: [`Decoded`], kept beside the code.
//! A block runs from a JUMPDEST (or the code's first byte) to the next one, or to what ends a frame or always jumps. A
//! JUMPI does not end it. Static gas and stack height of the whole block are checked where it begins; a taken JUMPI
//! gives the rest of the gas back. Why that is exact: whenever the check fails, and whenever an instruction inside lacks
//! gas, execution goes on in byte form from that very place with the exact gas (`rest` of [`Place`]), so that decoded code
//! never decides that gas is short. Instructions that show, pass on or charge gas add the rest before they run.
//! Code behind an unconditional end that no JUMPDEST precedes is unreachable and is not decoded. [`Extent`] may leave out
//! more: blocks that have not run so far, at whose JUMPDESTs a frame goes on in byte form. A contract runs about a tenth
//! of its code, so that the rest costs neither time to decode nor room between what runs.
//! Not here: when code is worth decoding (`tail`), which sequences are one instruction (`fuse`).

mod fuse;

use super::handlers::*;
use super::machine::{Block, Handler, halt_invalid_opcode, to_bytes_exact};
use super::table;
use crate::arena::code::Code;
use crate::exec::evm::machine::STACK_LIMIT;
use crate::exec::interpreter::opcode::{TABLE, decode_pair, decode_single, op};
use crate::exec::rules::fork::Fork;
use alloy_primitives::U256;

/// One decoded instruction; or, behind one with a long constant, two of that word's limbs.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Instr {
    pub(super) head: Head,
    /// What it needs to know; each handler says how it reads it.
    pub(super) operand: u64,
}

/// The first half of an [`Instr`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Head {
    /// What runs it.
    pub(super) handler: Handler,
    limb: u64,
}

impl core::fmt::Debug for Instr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Instr").field("operand", &self.operand).finish_non_exhaustive()
    }
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

/// The decoded JUMPDESTs among 64 bytes of code, and where their instructions are: all that a jump needs in one place.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// One bit per byte.
    bits: u64,
    /// Position of the first one's instruction.
    first: u32,
    /// How much further those of the next [`NEAR`] are, a byte each from the lowest.
    further: u32,
}

/// JUMPDESTs of a [`Line`] that it places beside its first one; more than five in 64 bytes are rare.
const NEAR: u32 = 4;

/// Which blocks of a code are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first one, and those that have run so far.
    Reached,
    /// The same, looked at again later.
    ReachedLater,
    /// All.
    Whole,
}

impl Extent {
    /// Marks a `Frame::pc` that counts decoded instructions of this extent instead of bytes.
    pub(super) const fn mark(self) -> usize {
        let number = match self {
            Self::Reached => 0b100,
            Self::ReachedLater => 0b101,
            Self::Whole => 0b110,
        };
        number << (usize::BITS - 3)
    }

    /// The extent whose instructions a `Frame::pc` counts, and how many; nothing where it counts bytes.
    pub(super) const fn of_pc(pc: usize) -> Option<(Self, usize)> {
        let extent = match pc >> (usize::BITS - 3) {
            0b100 => Self::Reached,
            0b101 => Self::ReachedLater,
            0b110 => Self::Whole,
            _ => return None,
        };
        Some((extent, pc & (usize::MAX >> 3)))
    }
}

/// A code's decoded form.
#[derive(Debug)]
pub(super) struct Decoded {
    instrs: Box<[Instr]>,
    places: Box<[Place]>,
    lines: Box<[Line]>,
    /// Byte offset and position of each decoded JUMPDEST, ascending.
    targets: Box<[(u32, u32)]>,
    fork: Fork,
    extent: Extent,
}

impl Decoded {
    /// Whether the decoded form holds for this fork.
    #[inline(always)]
    pub(super) fn suits(&self, fork: Fork) -> bool {
        self.fork == fork
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let Self { instrs, places, lines, targets, .. } = self;
        size_of_val(&**instrs) + size_of_val(&**places) + size_of_val(&**lines) + size_of_val(&**targets)
    }

    /// The first instruction.
    #[inline(always)]
    pub(super) fn start(&self) -> *const Instr {
        self.instrs.as_ptr()
    }

    /// What marks a `Frame::pc` of this form.
    #[inline(always)]
    pub(super) fn mark(&self) -> usize {
        self.extent.mark()
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

    /// The instruction at which a frame goes on, which is the first or stands behind one that entered a frame: with the
    /// gas to the end of its block, which that one's operand holds.
    #[inline]
    pub(super) fn resumed_at(&self, index: usize) -> Option<(*const Instr, u32)> {
        let rest = index.checked_sub(1).and_then(|before| self.instrs.get(before)).map_or(0, |entered| entered.operand);
        Some((self.pointer(index)?, rest as u32))
    }

    /// The JUMPDEST at a byte offset, if it is decoded.
    #[inline(always)]
    pub(super) fn target(&self, pc: usize) -> Option<*const Instr> {
        let Line { bits, first, further } = *self.lines.get(pc / 64)?;
        if bits >> (pc % 64) & 1 == 0 {
            return None;
        }
        let rank = (bits & ((1 << (pc % 64)) - 1)).count_ones();
        let index = if rank <= NEAR {
            first + (u64::from(further) << 8 >> (8 * rank) & 0xff) as u32
        } else {
            self.far_target(pc)?
        };
        self.pointer(index as usize)
    }

    /// An instruction, as a pointer that may walk on to those around it, which one made of a reference to it may not.
    #[inline(always)]
    fn pointer(&self, index: usize) -> Option<*const Instr> {
        (index < self.instrs.len()).then(|| self.instrs.as_ptr().wrapping_add(index))
    }

    /// Position of the JUMPDEST at a byte offset, by search.
    #[inline(never)]
    fn far_target(&self, pc: usize) -> Option<u32> {
        position_of(&self.targets, pc as u32)
    }

    /// Decodes `code` for `fork`.
    pub(super) fn new(code: &Code, fork: Fork, extent: Extent) -> Self {
        let (wanted, room) = match extent {
            Extent::Whole => (code.jumpdest_bits().collect(), code.len() / 2 + 4),
            Extent::Reached | Extent::ReachedLater => {
                (code.reached_bits().collect(), 16 * (code.reached_count() as usize + 1))
            }
        };
        let mut decoder = Decoder {
            code,
            bytes: code.padded(),
            fork,
            extent,
            wanted,
            instrs: Vec::with_capacity(room),
            places: Vec::with_capacity(room),
            targets: Vec::new(),
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
    extent: Extent,
    /// The JUMPDESTs whose blocks are decoded, one bit per byte of code.
    wanted: Vec<u64>,
    instrs: Vec<Instr>,
    places: Vec<Place>,
    /// Byte offset and position of each decoded JUMPDEST, ascending.
    targets: Vec<(u32, u32)>,
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
        self.instrs.push(Instr { head: Head { handler }, operand });
        // `rest` holds the gas before it until the block is closed.
        self.places.push(Place { pc: pc as u32, rest: self.block.gas });
        self.instrs.len() - 1
    }

    /// Adds an instruction with a word that fits no operand.
    fn emit_wide(&mut self, pc: usize, handler: Handler, operand: u64, word: U256) {
        self.emit(pc, handler, operand);
        let place = Place { pc: pc as u32, rest: self.block.gas };
        let [a, b, c, d] = word.into_limbs();
        for (limb, operand) in [(a, b), (c, d)] {
            self.instrs.push(Instr { head: Head { limb }, operand });
            self.places.push(place);
        }
    }

    /// Accounts for the instructions of the code from `pc` up to `next`.
    fn account(&mut self, mut pc: usize, next: usize) {
        while pc < next {
            let info = &TABLE[usize::from(self.byte(pc))];
            self.account_as(info.gas, i32::from(info.inputs), i32::from(info.outputs));
            pc += 1 + usize::from(info.immediate);
        }
    }

    fn account_as(&mut self, gas: u16, inputs: i32, outputs: i32) {
        let block = &mut self.block;
        block.gas += u32::from(gas);
        block.need = block.need.max(inputs - block.height);
        block.height += outputs - inputs;
        block.max = block.max.max(block.height);
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
                if self.wanted.get(pc / 64).is_none_or(|word| word >> (pc % 64) & 1 == 0) {
                    self.emit(pc, to_bytes_exact, 0);
                    pc = self.next_wanted(pc);
                    if pc >= len {
                        break;
                    }
                    continue;
                }
                self.close();
                self.targets.push((pc as u32, self.instrs.len() as u32));
                self.open(pc);
                self.account(pc, pc + 1);
                pc += 1;
                continue;
            }
            let (next, ends) = self.instruction(pc, opcode);
            // Those with an immediate that moves words have accounted for it, and one that is undefined costs nothing.
            if !matches!(opcode, op::DUPN | op::SWAPN | op::EXCHANGE) && self.defined(pc) {
                self.account(pc, next);
            }
            pc = next;
            if ends {
                pc = self.next_wanted(pc);
                if pc >= len {
                    break;
                }
            }
        }
        // Positions behind the last instruction are looked up, never run.
        self.emit(len, stop, 0);
        self.close();
    }

    /// Where the next wanted block begins that no block before it runs into.
    fn next_wanted(&self, pc: usize) -> usize {
        let bits = &self.wanted;
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
                (pc + 1, true)
            }
            op::JUMPI => {
                self.emit_with_rest(pc, jumpi::<Block>, 0, 1);
                (pc + 1, false)
            }
            op::PC => {
                self.emit(pc, push, pc as u64);
                (pc + 1, false)
            }
            op::DUPN | op::SWAPN | op::EXCHANGE => self.deep(pc, opcode),
            op::STOP | op::RETURN | op::REVERT | op::INVALID | op::SELFDESTRUCT => {
                self.emit_with_rest(pc, table::decoded(opcode), 0, 1);
                (pc + 1, true)
            }
            _ => {
                // Bodies out of line want the rest; what needs no operand does not mind one.
                self.emit_with_rest(pc, table::decoded(opcode), 0, 1);
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
        let Self { code, mut instrs, mut places, targets, jumps, fork, extent, .. } = self;
        let mut lines = vec![Line::default(); code.len().div_ceil(64)];
        for (pc, index) in &targets {
            let line = &mut lines[*pc as usize / 64];
            let rank = line.bits.count_ones();
            if rank == 0 {
                line.first = *index;
            } else if rank <= NEAR {
                // No 64 bytes of code decode to more than some hundred instructions.
                line.further |= (index - line.first) << (8 * (rank - 1));
            }
            line.bits |= 1 << (pc % 64);
        }
        // A destination is a JUMPDEST; one that is not decoded gets a block that goes on in byte form.
        let decoded_at = |to: u32| position_of(&targets, to);
        let mut absent: Vec<u32> = jumps.iter().map(|(_, to, _)| *to).filter(|to| decoded_at(*to).is_none()).collect();
        absent.sort_unstable();
        absent.dedup();
        let absent_at = instrs.len() as u32;
        for pc in &absent {
            let always = Need { gas: 0, least: 0, span: u16::MAX };
            instrs.push(Instr { head: Head { handler: begin }, operand: always.operand() });
            instrs.push(Instr { head: Head { handler: to_bytes_exact }, operand: 0 });
            places.extend([Place { pc: *pc, rest: 0 }; 2]);
        }
        for (index, to, branch) in jumps {
            let absent = || absent_at + 2 * absent.partition_point(|pc| *pc < to) as u32;
            let distance = i64::from(decoded_at(to).unwrap_or_else(absent)) - i64::from(index);
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
            targets: targets.into_boxed_slice(),
            fork,
            extent,
        }
    }
}

/// Position of the JUMPDEST at a byte offset, if it is decoded.
fn position_of(targets: &[(u32, u32)], pc: u32) -> Option<u32> {
    let at = targets.binary_search_by_key(&pc, |(pc, _)| *pc).ok()?;
    Some(targets[at].1)
}
