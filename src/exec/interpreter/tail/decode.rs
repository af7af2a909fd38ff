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
//! Not here: when code is worth decoding (`mod`).

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

/// Where an instruction stands in the code, and the static gas from it to the end of its block, which is prepaid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Byte offset.
    pub(super) pc: u32,
    /// Gas.
    pub(super) rest: u32,
}

/// A code's decoded form.
#[derive(Debug)]
pub(super) struct Decoded {
    instrs: Box<[Instr]>,
    places: Box<[Place]>,
    /// By byte offset: index of the JUMPDEST there, 0 where there is none.
    targets: Box<[u32]>,
    /// Words of more than 8 bytes; instructions point at them.
    _pool: Box<[U256]>,
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
        Some((self.instrs.get(index)?, *self.places.get(index)?))
    }

    /// The JUMPDEST at a byte offset.
    #[inline(always)]
    pub(super) fn target(&self, pc: usize) -> Option<*const Instr> {
        match self.targets.get(pc) {
            Some(&index) if index != 0 => self.instrs.get(index as usize).map(|instr| instr as *const Instr),
            _ => None,
        }
    }

    /// Decodes `code` for `fork`.
    pub(super) fn new(code: &Code, fork: Fork) -> Self {
        let mut decoder = Decoder {
            code,
            bytes: code.padded(),
            fork,
            instrs: Vec::with_capacity(code.len() / 2 + 4),
            places: Vec::with_capacity(code.len() / 2 + 4),
            targets: vec![0; code.len()],
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
    targets: Vec<u32>,
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

/// What a PUSH pushes.
#[derive(Clone, Copy)]
struct Push {
    word: U256,
    /// Byte offset of what follows.
    next: usize,
}

impl Push {
    fn small(&self) -> Option<u64> {
        u64::try_from(self.word).ok()
    }
}

impl Decoder<'_> {
    fn byte(&self, pc: usize) -> u8 {
        self.bytes.get(pc).copied().unwrap_or(op::STOP)
    }

    /// The byte at `pc` if it is an instruction of the fork that needs no look at its immediate.
    fn defined(&self, pc: usize) -> bool {
        TABLE[usize::from(self.byte(pc))].defined(self.fork)
    }

    fn push_at(&self, pc: usize) -> Option<Push> {
        let opcode = self.byte(pc);
        if !(op::PUSH0..=op::PUSH32).contains(&opcode) || !self.defined(pc) {
            return None;
        }
        let next = pc + 1 + usize::from(opcode - op::PUSH0);
        let data = self.bytes.get(pc + 1..next).unwrap_or_default();
        Some(Push { word: U256::from_be_slice(data), next })
    }

    fn dup_at(&self, pc: usize) -> Option<u64> {
        let opcode = self.byte(pc);
        (op::DUP1..=op::DUP16).contains(&opcode).then(|| u64::from(opcode - op::DUP1) + 1)
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
        self.instrs[begin].operand = u64::from(gas) | (least as u64) << 32 | (span as u64) << 48;
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
                self.targets[pc] = self.instrs.len() as u32;
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
        if let Some(push) = self.push_at(pc) {
            return self.after_push(pc, push);
        }
        match opcode {
            op::DUP1..=op::DUP16 => (self.after_dup(pc, u64::from(opcode - op::DUP1) + 1), false),
            op::SWAP1..=op::SWAP16 => (self.after_swap(pc, u64::from(opcode - op::SWAP1) + 1), false),
            op::POP => {
                let mut next = pc;
                while self.byte(next) == op::POP {
                    next += 1;
                }
                let count = next - pc;
                self.emit(pc, if count == 1 { pop::<Block> } else { pop_many }, count as u64 * 32);
                (0..count).for_each(|_| self.account(op::POP));
                (next, false)
            }
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

    /// A static jump's target, if the word is one.
    fn destination(&self, push: &Push) -> Option<u32> {
        let to = push.small()?;
        self.code.is_jumpdest(usize::try_from(to).ok()?).then_some(to as u32)
    }

    fn emit_branch(&mut self, pc: usize, handler: Handler, to: u32) {
        let index = self.emit_with_rest(pc, handler, 0, 1);
        self.jumps.push((index as u32, to, Branch::Sometimes));
    }

    fn emit_wide(&mut self, pc: usize, handler: Handler, word: U256) {
        let index = self.emit(pc, handler, self.pool.len() as u64);
        self.pool.push(word);
        self.pooled.push(index as u32);
    }

    fn after_push(&mut self, pc: usize, value: Push) -> (usize, bool) {
        let own = self.byte(pc);
        let next = value.next;
        let follower = self.byte(next);
        if next < self.code.len() && self.defined(next) {
            match follower {
                op::JUMP => {
                    if let Some(to) = self.destination(&value) {
                        let index = self.emit(pc, jump_static, 0);
                        self.jumps.push((index as u32, to, Branch::Always));
                        self.account_run(&[own, follower]);
                        return (next + 1, true);
                    }
                }
                op::JUMPI => {
                    if let Some(to) = self.destination(&value) {
                        self.emit_branch(pc, branch_if, to);
                        self.account_run(&[own, follower]);
                        return (next + 1, false);
                    }
                }
                op::MLOAD | op::MSTORE => {
                    if let Some(offset) = value.small().filter(|offset| *offset < 1 << 32) {
                        let handler = if follower == op::MLOAD { mload_at } else { mstore_at };
                        self.emit(pc, handler, offset);
                        self.account_run(&[own, follower]);
                        return (next + 1, false);
                    }
                }
                op::DUP1..=op::DUP16 => {
                    // PUSH, DUPn, operation. DUP1 would copy the constant itself.
                    let n = u64::from(follower - op::DUP1);
                    let last = self.byte(next + 1);
                    if n > 0
                        && let Some(imm) = value.small().filter(|imm| *imm < 1 << 48)
                        && let Some(forms) = table::binary_forms(last).filter(|_| self.defined(next + 1))
                    {
                        self.emit(pc, forms.imm_dup, (imm << 16) | (n * 32));
                        self.account_run(&[own, follower, last]);
                        return (next + 2, false);
                    }
                }
                _ => {
                    if let Some(forms) = table::binary_forms(follower) {
                        match value.small() {
                            Some(imm) => {
                                self.emit(pc, forms.imm, imm);
                            }
                            None => self.emit_wide(pc, forms.wide, value.word),
                        }
                        self.account_run(&[own, follower]);
                        return (next + 1, false);
                    }
                    if let Some(second) = self.push_at(next)
                        && let (Some(low), Some(high)) = (value.small(), second.small())
                        && low >> 32 | high >> 32 == 0
                        && second.next < self.code.len()
                        && !self.fuses_with_push(second.next)
                    {
                        self.emit(pc, push_push, low | high << 32);
                        self.account_run(&[own, follower]);
                        return (second.next, false);
                    }
                }
            }
        }
        match value.small() {
            Some(imm) => {
                self.emit(pc, push, imm);
            }
            None => self.emit_wide(pc, push_wide, value.word),
        }
        self.account(own);
        (next, false)
    }

    /// Whether the instruction at `pc` would rather be fused with the PUSH before it than leave that to a pair of pushes.
    fn fuses_with_push(&self, pc: usize) -> bool {
        let follower = self.byte(pc);
        let operation = if self.dup_at(pc).is_some() { self.byte(pc + 1) } else { follower };
        matches!(follower, op::JUMP | op::JUMPI | op::MLOAD | op::MSTORE) || table::binary_forms(operation).is_some()
    }

    fn after_dup(&mut self, pc: usize, n: u64) -> usize {
        let own = self.byte(pc);
        let follower = self.byte(pc + 1);
        let offset = n * 32;
        if !self.defined(pc + 1) {
            self.emit(pc, table::decoded(own), 0);
            self.account(own);
            return pc + 1;
        }
        if let Some(forms) = table::binary_forms(follower) {
            self.emit(pc, forms.dup, offset);
            self.account_run(&[own, follower]);
            return pc + 2;
        }
        if matches!(follower, op::MLOAD | op::MSTORE) {
            self.emit(pc, if follower == op::MLOAD { mload_dup } else { mstore_dup }, offset);
            self.account_run(&[own, follower]);
            return pc + 2;
        }
        if let Some(value) = self.push_at(pc + 1)
            && let Some(imm) = value.small().filter(|imm| *imm < 1 << 48)
            && value.next < self.code.len()
        {
            let last = self.byte(value.next);
            // DUP1, PUSH4, EQ, PUSH, JUMPI.
            if n == 1
                && last == op::EQ
                && let Some(to) = self.push_at(value.next + 1)
                && let Some(target) = self.destination(&to)
                && self.byte(to.next) == op::JUMPI
            {
                let index = self.emit_with_rest(pc, branch_selector, 0, 2);
                self.emit(pc, halt_invalid_opcode, imm);
                self.jumps.push((index as u32, target, Branch::Sometimes));
                self.account_run(&[own, follower, last, self.byte(value.next + 1), op::JUMPI]);
                return to.next + 1;
            }
            if let Some(forms) = table::binary_forms(last).filter(|_| self.defined(value.next)) {
                self.emit(pc, forms.dup_imm, (imm << 16) | offset);
                self.account_run(&[own, follower, last]);
                return value.next + 1;
            }
            if !self.fuses_with_push(value.next) {
                self.emit(pc, dup_push, (imm << 16) | offset);
                self.account_run(&[own, follower]);
                return value.next;
            }
        }
        if let Some(m) = self.dup_at(pc + 1) {
            let last = self.byte(pc + 2);
            if let Some(forms) = table::binary_forms(last).filter(|_| self.defined(pc + 2)) {
                // The second DUP counts from one word higher; DUP1 there copies what the first one copied.
                let second = if m == 1 { offset } else { (m - 1) * 32 };
                self.emit(pc, forms.dup_dup, (offset << 16) | second);
                self.account_run(&[own, follower, last]);
                return pc + 3;
            }
            if !matches!(last, op::MLOAD | op::MSTORE) {
                self.emit(pc, dup_dup, (offset << 16) | (m * 32));
                self.account_run(&[own, follower]);
                return pc + 2;
            }
        }
        self.emit(pc, table::decoded(own), 0);
        self.account(own);
        pc + 1
    }

    fn after_swap(&mut self, pc: usize, n: u64) -> usize {
        let own = self.byte(pc);
        let follower = self.byte(pc + 1);
        if follower == op::POP {
            self.emit(pc, swap_pop, n * 32);
            self.account_run(&[own, follower]);
            return pc + 2;
        }
        let swapped = table::binary_forms(follower).map(|forms| forms.swapped);
        if n == 1
            && self.defined(pc + 1)
            && let Some(handler) = swapped.or_else(|| table::heavy_swapped_of(follower))
        {
            self.emit(pc, handler, 0);
            self.account_run(&[own, follower]);
            return pc + 2;
        }
        self.emit(pc, table::decoded(own), 0);
        self.account(own);
        pc + 1
    }

    /// ISZERO (`compare` absent) or a comparison, with the ISZEROs and the static JUMPI that follow.
    fn after_condition(&mut self, pc: usize, compare: Option<u8>) -> usize {
        let own = self.byte(pc);
        let mut at = pc + 1;
        let mut negated = compare.is_none();
        while self.byte(at) == op::ISZERO {
            negated = !negated;
            at += 1;
        }
        if let Some(value) = self.push_at(at)
            && self.byte(value.next) == op::JUMPI
            && value.next < self.code.len()
            && let Some(to) = self.destination(&value)
        {
            let handler = match compare {
                None if negated => branch_unless,
                None => branch_if,
                Some(compare) => table::branch_compare_of(compare, negated),
            };
            self.emit_branch(pc, handler, to);
            self.account(own);
            (pc + 1..at).for_each(|_| self.account(op::ISZERO));
            self.account_run(&[self.byte(at), op::JUMPI]);
            return value.next + 1;
        }
        self.emit(pc, table::decoded(own), 0);
        self.account(own);
        pc + 1
    }

    /// Resolves addresses and distances.
    fn finish(self) -> Decoded {
        let Self { mut instrs, places, targets, pool, pooled, jumps, fork, .. } = self;
        let pool = pool.into_boxed_slice();
        for index in pooled {
            let instr = &mut instrs[index as usize];
            instr.operand = &raw const pool[instr.operand as usize] as u64;
        }
        for (index, to, branch) in jumps {
            let distance = i64::from(targets[to as usize]) - i64::from(index);
            let operand = &mut instrs[index as usize].operand;
            match branch {
                Branch::Always => *operand = distance as u64,
                Branch::Sometimes => *operand |= (distance as u64) << 32,
            }
        }
        Decoded {
            instrs: instrs.into_boxed_slice(),
            places: places.into_boxed_slice(),
            targets: targets.into_boxed_slice(),
            _pool: pool,
            fork,
        }
    }
}
