//! Decoding: code as instructions of fixed size, with checks per block, resolved constants and jump targets, and fused
//! sequences.
//!
//! In: an analysed [`Code`] and the fork that defines its instructions. Out: [`Decoded`], kept with the code.
//! A block begins at a JUMPDEST (or the code's first byte). It extends to the next JUMPDEST, or to an
//! instruction that ends the frame or always jumps; a JUMPI does not end it. Static gas and stack height of the
//! whole block are checked at its beginning; a taken JUMPI returns the static gas of the rest of the block.
//! This is exact: if the check fails, or if an instruction inside lacks gas, execution continues in byte form
//! from the same instruction with the exact gas (`rest` of [`Place`]), so that decoded code never decides that
//! gas is insufficient. Instructions that read, pass on or charge gas first add the prepaid rest.
//! Code after the end of a block, up to the next JUMPDEST, is unreachable and is not decoded. [`Extent`] may
//! leave out more: blocks that have not run so far, at whose JUMPDESTs a frame continues in byte form. A
//! contract runs about a tenth of its code; the rest then costs no time to decode, and no space between the
//! blocks that run.
//! Not here: when a code is decoded (`tail`), which sequences are fused (`fuse`).

mod fuse;

use super::handlers::*;
use super::machine::{Block, Handler, halt_invalid_opcode, to_bytes_exact};
use super::table;
use crate::arena::code::Code;
use crate::exec::evm::machine::STACK_LIMIT;
use crate::exec::interpreter::opcode::{TABLE, decode_pair, decode_single, op};
use crate::exec::rules::fork::Fork;
use alloy_primitives::U256;

/// One decoded instruction; or, after an instruction with a long constant, two limbs of that constant.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Instr {
    pub(super) head: Head,
    /// The instruction's argument; each handler defines its layout.
    pub(super) operand: u64,
}

/// The first half of an [`Instr`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Head {
    /// The handler that executes the instruction.
    pub(super) handler: Handler,
    limb: u64,
}

impl core::fmt::Debug for Instr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Instr").field("operand", &self.operand).finish_non_exhaustive()
    }
}

/// The requirements of a block, in the layout of the operand of its first instruction. Separate fields, so that each is
/// loaded on its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Need {
    /// Static gas of the block.
    pub(super) gas: u32,
    /// The least height of the stack at the beginning of the block, in bytes.
    pub(super) least: u16,
    /// The greatest height at the beginning of the block, less `least`, in bytes.
    pub(super) span: u16,
}

impl Need {
    fn operand(self) -> u64 {
        let ([g0, g1, g2, g3], [l0, l1], [s0, s1]) =
            (self.gas.to_ne_bytes(), self.least.to_ne_bytes(), self.span.to_ne_bytes());
        u64::from_ne_bytes([g0, g1, g2, g3, l0, l1, s0, s1])
    }
}

/// The position of an instruction in the code, and the prepaid static gas from it to the end of its block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Byte offset in the code.
    pub(super) pc: u32,
    /// Static gas from the instruction to the end of its block.
    pub(super) rest: u32,
}

/// The decoded JUMPDESTs among 64 bytes of code, and the indices of their instructions: one load for a dynamic jump.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// One bit per byte of code.
    bits: u64,
    /// Index of the first JUMPDEST's instruction.
    first: u32,
    /// Distances of the next [`NEAR`] JUMPDESTs' instructions from the first one's, one byte each, lowest byte first.
    further: u32,
}

/// JUMPDESTs of a [`Line`] after its first one whose indices it holds; more than five JUMPDESTs in 64 bytes are rare.
const NEAR: u32 = 4;

/// Which blocks of a code are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first block, and those that have run so far.
    Reached,
    /// The same, decoded a second time after more blocks have run.
    ReachedLater,
    /// All blocks.
    Whole,
}

impl Extent {
    /// The upper bits of a `Frame::pc` that is an index of a decoded instruction of this extent instead of a
    /// byte offset.
    pub(super) const fn mark(self) -> usize {
        let number = match self {
            Self::Reached => 0b100,
            Self::ReachedLater => 0b101,
            Self::Whole => 0b110,
        };
        number << (usize::BITS - 3)
    }

    /// The extent and the instruction index of a `Frame::pc`; `None` if it is a byte offset.
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
    /// Byte offset and instruction index of each decoded JUMPDEST, ascending.
    targets: Box<[(u32, u32)]>,
    fork: Fork,
    extent: Extent,
}

impl Decoded {
    /// Whether it was decoded for this fork.
    #[inline(always)]
    pub(super) fn suits(&self, fork: Fork) -> bool {
        self.fork == fork
    }

    /// Size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let Self { instrs, places, lines, targets, .. } = self;
        size_of_val(&**instrs) + size_of_val(&**places) + size_of_val(&**lines) + size_of_val(&**targets)
    }

    /// The first instruction.
    #[inline(always)]
    pub(super) fn start(&self) -> *const Instr {
        self.instrs.as_ptr()
    }

    /// The upper bits of a `Frame::pc` in this form.
    #[inline(always)]
    pub(super) fn mark(&self) -> usize {
        self.extent.mark()
    }

    /// Index of an instruction.
    #[inline(always)]
    pub(super) fn index(&self, at: *const Instr) -> usize {
        (at as usize - self.start() as usize) / size_of::<Instr>()
    }

    /// Position of an instruction in the code, and its prepaid gas.
    #[inline]
    pub(super) fn place(&self, at: *const Instr) -> Place {
        self.places.get(self.index(at)).copied().unwrap_or_default()
    }

    /// The instruction at which a frame starts or continues: the first one, or the one after an instruction
    /// that entered a frame. With it the gas to the end of its block, which the operand of the instruction
    /// before it holds.
    #[inline]
    pub(super) fn resumed_at(&self, index: usize) -> Option<(*const Instr, u32)> {
        let rest = index.checked_sub(1).and_then(|before| self.instrs.get(before)).map_or(0, |entered| entered.operand);
        Some((self.pointer(index)?, rest as u32))
    }

    /// The instruction of the JUMPDEST at a byte offset, if it is decoded.
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

    /// A pointer to an instruction that is valid for all instructions, unlike one made from a reference to a
    /// single one.
    #[inline(always)]
    fn pointer(&self, index: usize) -> Option<*const Instr> {
        (index < self.instrs.len()).then(|| self.instrs.as_ptr().wrapping_add(index))
    }

    /// Index of the instruction of the JUMPDEST at a byte offset, by binary search.
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
    /// Words needed on the stack at the beginning of the block.
    need: i32,
    /// The greatest height inside the block, relative to its beginning.
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
    /// Byte offset and instruction index of each decoded JUMPDEST, ascending.
    targets: Vec<(u32, u32)>,
    /// Static jumps: instruction index, byte offset of the target, layout of the operand.
    jumps: Vec<(u32, u32, Branch)>,
    /// Instructions of the open block whose operand includes the gas after them, and how many instructions'
    /// places each takes.
    rests: Vec<(u32, u32)>,
    block: OpenBlock,
}

/// Where the operand of a static jump holds the distance: the whole operand, or its upper half.
#[derive(Clone, Copy)]
enum Branch {
    Always,
    Sometimes,
}

impl Decoder<'_> {
    fn byte(&self, pc: usize) -> u8 {
        self.bytes.get(pc).copied().unwrap_or(op::STOP)
    }

    /// Whether the fork defines the opcode at `pc`; immediates are not checked.
    fn defined(&self, pc: usize) -> bool {
        TABLE[usize::from(self.byte(pc))].defined(self.fork)
    }

    /// Adds an instruction that begins at byte `pc`.
    fn emit(&mut self, pc: usize, handler: Handler, operand: u64) -> usize {
        self.instrs.push(Instr { head: Head { handler }, operand });
        // `rest` holds the block's gas before the instruction until the block is closed.
        self.places.push(Place { pc: pc as u32, rest: self.block.gas });
        self.instrs.len() - 1
    }

    /// Adds an instruction with a constant that does not fit its operand.
    fn emit_wide(&mut self, pc: usize, handler: Handler, operand: u64, word: U256) {
        self.emit(pc, handler, operand);
        let place = Place { pc: pc as u32, rest: self.block.gas };
        let [a, b, c, d] = word.into_limbs();
        for (limb, operand) in [(a, b), (c, d)] {
            self.instrs.push(Instr { head: Head { limb }, operand });
            self.places.push(place);
        }
    }

    /// Adds gas and stack effect of the instructions from byte `pc` up to `next` to the open block.
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
        // `least <= used <= least + span`, in bytes. A block that fits no stack requires more than a stack ever holds.
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
            // DUPN, SWAPN and EXCHANGE were accounted in `deep`; an undefined opcode costs nothing.
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
        // A STOP after the last instruction, so that the place after it exists for lookups. It is never executed.
        self.emit(len, stop, 0);
        self.close();
    }

    /// The byte offset of the next wanted block at or after `pc`; the code's length if there is none.
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

    /// Decodes the instruction at `pc`, fused with those after it where possible. Returns where decoding
    /// continues, and whether the block has ended.
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
                // Bodies out of line need the rest in their operand; other handlers ignore it.
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

    /// DUPN, SWAPN and EXCHANGE (EIP-8024); an invalid immediate halts.
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
                // The invalid immediate may itself be a JUMPDEST.
                (pc + 1, true)
            }
        }
    }

    /// Builds the lookup table of JUMPDESTs and resolves the distances of static jumps.
    fn finish(self) -> Decoded {
        let Self { code, mut instrs, mut places, targets, jumps, fork, extent, .. } = self;
        let mut lines = vec![Line::default(); code.len().div_ceil(64)];
        for (pc, index) in &targets {
            let line = &mut lines[*pc as usize / 64];
            let rank = line.bits.count_ones();
            if rank == 0 {
                line.first = *index;
            } else if rank <= NEAR {
                // The distance fits a byte: 64 bytes of code decode to about a hundred instructions at most.
                line.further |= (index - line.first) << (8 * (rank - 1));
            }
            line.bits |= 1 << (pc % 64);
        }
        // The target is a JUMPDEST. If it is not decoded, it gets a block that continues in byte form.
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

/// Instruction index of the JUMPDEST at a byte offset, if it is decoded.
fn position_of(targets: &[(u32, u32)], pc: u32) -> Option<u32> {
    let at = targets.binary_search_by_key(&pc, |(pc, _)| *pc).ok()?;
    Some(targets[at].1)
}
