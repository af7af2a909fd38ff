//! Fusion: sequences of the code that become one decoded instruction.
//!
//! In: a position in the code. Out: one or more emitted instructions, and the position after the sequence.
//! The sequences were chosen by counting what mainnet blocks run: constants that code computes repeatedly
//! (`1 << 160` less 1), the instructions that push an operation's words, comparisons with the jump that they
//! decide, and the stack moves at the end of a function. An operand that does not fit beside a distance or a
//! pointer is in the next instruction, which is never executed.
//! Relies on: only the last instruction of a sequence may charge dynamic gas or grow memory.
//! Not here: single instructions and blocks (the module above).

use super::{Branch, Decoder};
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::handlers::*;
use crate::exec::interpreter::tail::limbs;
use crate::exec::interpreter::tail::machine::{Block, Handler, halt_invalid_opcode};
use crate::exec::interpreter::tail::table::{self, Source};
use alloy_primitives::U256;

/// A constant: the word that one PUSH, or several with operations between them, leave on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constant {
    word: U256,
    /// Byte offset after the sequence.
    next: usize,
}

impl Constant {
    fn small(&self) -> Option<u64> {
        u64::try_from(self.word).ok()
    }

    /// The word if it fits 48 bits, so that 16 bits of an operand are left for other use.
    fn short(&self) -> Option<u64> {
        self.small().filter(|word| *word < 1 << 48)
    }
}

/// The most words on the stack during a constant's computation.
const DEEPEST: usize = 4;
/// The most instructions of a constant's computation.
const LONGEST: usize = 12;

/// The result of an operation on constants; `a` is the top. `None` for operations that are not folded.
fn apply(opcode: u8, a: U256, b: U256) -> Option<U256> {
    let (a, b) = (a.into_limbs(), b.into_limbs());
    Some(U256::from_limbs(match opcode {
        op::ADD => limbs::add(a, b),
        op::SUB => limbs::sub(a, b),
        op::MUL => limbs::mul(a, b),
        op::AND => [a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]],
        op::OR => [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]],
        op::SHL => limbs::shl(a, b),
        op::SHR => limbs::shr(a, b),
        _ => return None,
    }))
}

impl Decoder<'_> {
    /// The byte offset after the PUSH at `pc`; `None` if there is no PUSH.
    fn behind_push(&self, pc: usize) -> Option<usize> {
        let opcode = self.byte(pc);
        let is_push = (op::PUSH0..=op::PUSH32).contains(&opcode) && self.defined(pc);
        is_push.then(|| pc + 1 + usize::from(opcode - op::PUSH0))
    }

    /// The word of the PUSH at `pc`, whose immediate ends before `next`.
    fn pushed(&self, pc: usize, next: usize) -> U256 {
        let size = next - pc - 1;
        match self.bytes.get(pc + 1..).and_then(|data| data.first_chunk::<8>()) {
            // Most are short. Reading 8 bytes is safe there, because the padding is longer than that.
            Some(data) if size < 8 => U256::from(u64::from_be_bytes(*data) >> 8 >> (56 - 8 * size)),
            _ => U256::from_be_slice(self.bytes.get(pc + 1..next).unwrap_or_default()),
        }
    }

    /// The constant that begins at `pc`: the longest sequence that leaves exactly one word.
    pub(super) fn constant_at(&self, pc: usize) -> Option<Constant> {
        let mut next = self.behind_push(pc)?;
        let mut found = Constant { word: self.pushed(pc, next), next };
        let (mut stack, mut height) = ([found.word, U256::ZERO, U256::ZERO, U256::ZERO], 1);
        for _ in 1..LONGEST {
            let opcode = self.byte(next);
            if next >= self.code.len() || !self.defined(next) {
                break;
            }
            if let Some(behind) = self.behind_push(next) {
                if height == DEEPEST {
                    break;
                }
                stack[height] = self.pushed(next, behind);
                height += 1;
                next = behind;
            } else if opcode == op::NOT {
                stack[height - 1] = !stack[height - 1];
                next += 1;
            } else {
                if height < 2 {
                    break;
                }
                let Some(word) = apply(opcode, stack[height - 1], stack[height - 2]) else { break };
                height -= 1;
                stack[height - 1] = word;
                next += 1;
            }
            if height == 1 {
                found = Constant { word: stack[0], next };
            }
        }
        Some(found)
    }

    fn dup_at(&self, pc: usize) -> Option<u64> {
        let opcode = self.byte(pc);
        (op::DUP1..=op::DUP16).contains(&opcode).then(|| u64::from(opcode - op::DUP1) + 1)
    }

    fn swap_at(&self, pc: usize) -> Option<u64> {
        let opcode = self.byte(pc);
        (op::SWAP1..=op::SWAP16).contains(&opcode).then(|| u64::from(opcode - op::SWAP1) + 1)
    }

    /// The target of a static jump to `word`; `None` if there is no JUMPDEST.
    fn destination(&self, word: &U256) -> Option<u32> {
        let to = u64::try_from(*word).ok()?;
        self.code.is_jumpdest(usize::try_from(to).ok()?).then_some(to as u32)
    }

    /// The target of the PUSH and JUMP or JUMPI (`jump`) at `pc` and the byte offset after them; `None` if
    /// there is no such pair or the target is no JUMPDEST.
    fn static_jump_at(&self, pc: usize, jump: u8) -> Option<(u32, usize)> {
        let next = self.behind_push(pc)?;
        if self.byte(next) != jump || next >= self.code.len() {
            return None;
        }
        Some((self.destination(&self.pushed(pc, next))?, next + 1))
    }

    fn emit_branch(&mut self, pc: usize, handler: Handler, to: u32) {
        let index = self.emit_with_rest(pc, handler, 0, 1);
        self.jumps.push((index as u32, to, Branch::Sometimes));
    }

    /// A branch with an additional operand in the next instruction.
    fn emit_branch_with(&mut self, pc: usize, handler: Handler, to: u32, operand: u64) {
        let index = self.emit_with_rest(pc, handler, 0, 2);
        self.emit(pc, halt_invalid_opcode, operand);
        self.jumps.push((index as u32, to, Branch::Sometimes));
    }

    /// A static jump whose operand holds 32 bits of other data in its lower half.
    fn emit_jump_with(&mut self, pc: usize, handler: Handler, to: u32, low: u64) {
        let index = self.emit(pc, handler, low);
        self.jumps.push((index as u32, to, Branch::Sometimes));
    }

    /// Emits `operation`, which ends before `next`, with words from `source`; fused with the static JUMPI that
    /// it decides, if there is one. Returns the byte offset after the sequence.
    fn operation(&mut self, pc: usize, operation: u8, source: Source, operand: u64, next: usize) -> usize {
        let mut at = next;
        let mut negated = false;
        while self.byte(at) == op::ISZERO {
            negated = !negated;
            at += 1;
        }
        if let Some(handler) = table::branch_of(operation, source, negated)
            && let Some((to, behind)) = self.static_jump_at(at, op::JUMPI)
        {
            self.emit_branch_with(pc, handler, to, operand);
            return behind;
        }
        if let Some(forms) = table::binary_forms(operation) {
            self.emit(pc, forms.of(source), operand);
        }
        next
    }

    /// The opcode at `pc` if it is an operation that has fused forms.
    fn fuses(&self, pc: usize) -> Option<u8> {
        let opcode = self.byte(pc);
        (pc < self.code.len() && self.defined(pc) && table::binary_forms(opcode).is_some()).then_some(opcode)
    }

    /// Emits a constant, fused with the instructions after it. Returns where decoding continues, and whether
    /// the block has ended.
    pub(super) fn after_constant(&mut self, pc: usize, value: &Constant) -> (usize, bool) {
        let next = value.next;
        let follower = self.byte(next);
        if next < self.code.len() && self.defined(next) {
            match follower {
                op::JUMP => {
                    if let Some(to) = self.destination(&value.word) {
                        let index = self.emit(pc, jump_static, 0);
                        self.jumps.push((index as u32, to, Branch::Always));
                        return (next + 1, true);
                    }
                }
                op::JUMPI => {
                    if let Some(to) = self.destination(&value.word) {
                        self.emit_branch(pc, branch_if, to);
                        return (next + 1, false);
                    }
                }
                op::MLOAD | op::MSTORE => {
                    if let Some(offset) = value.small().filter(|offset| *offset < 1 << 32) {
                        let handler = if follower == op::MLOAD { mload_at } else { mstore_at };
                        self.emit_with_rest(pc, handler, offset << 32, 1);
                        return (next + 1, false);
                    }
                }
                op::DUP1..=op::DUP16 => {
                    // DUP1 after a constant copies the constant itself: not fused.
                    let n = u64::from(follower - op::DUP1);
                    if n > 0
                        && let Some(next) = self.constant_dup(pc, value, n)
                    {
                        return (next, false);
                    }
                }
                op::SWAP1..=op::SWAP16 => {
                    let n = u64::from(follower - op::SWAP1) + 1;
                    // SWAP1 before an operation or POP is fused with that instead.
                    let taken = n == 1 && (self.fuses(next + 1).is_some() || self.byte(next + 1) == op::POP);
                    if let Some(word) = value.short().filter(|_| !taken) {
                        self.emit(pc, push_swap, word << 16 | (n * 32));
                        return (next + 1, false);
                    }
                }
                _ if self.fuses(next).is_some() => {
                    if let Some(imm) = value.small() {
                        return (self.operation(pc, follower, Source::Imm, imm, next + 1), false);
                    }
                    if let Some(forms) = table::binary_forms(follower) {
                        self.emit_wide(pc, forms.wide, 0, value.word);
                        return (next + 1, false);
                    }
                }
                _ => {
                    if let Some(next) = self.two_constants(pc, value) {
                        return next;
                    }
                }
            }
        }
        match value.small() {
            Some(imm) => {
                self.emit(pc, push, imm);
            }
            None => self.emit_wide(pc, push_wide, 0, value.word),
        }
        (next, false)
    }

    /// A constant and DUPn; `n` counts from the word below the constant. `None` if the pair is not fused.
    fn constant_dup(&mut self, pc: usize, value: &Constant, n: u64) -> Option<usize> {
        let behind = value.next + 1;
        let offset = n * 32;
        if let Some(operation) = self.fuses(behind) {
            if let Some(word) = value.short() {
                if operation == op::ADD && word >> 16 == 0 && self.byte(behind + 1) == op::MSTORE {
                    self.emit_with_rest(pc, mstore_add, word << 48 | offset << 32, 1);
                    return Some(behind + 2);
                }
                return Some(self.operation(pc, operation, Source::ImmDup, word << 16 | offset, behind + 1));
            }
            let forms = table::binary_forms(operation)?;
            self.emit_wide(pc, forms.wide_dup, offset, value.word);
            return Some(behind + 1);
        }
        // The DUP is fused with the instruction after it instead, if that is possible.
        let is_wanted = matches!(self.byte(behind), op::MLOAD | op::MSTORE | op::ISZERO)
            || self.dup_at(behind).is_some()
            || self.behind_push(behind).is_some();
        let word = value.short().filter(|_| !is_wanted)?;
        self.emit(pc, push_dup, word << 16 | offset);
        Some(behind)
    }

    /// A constant and a second constant or a static jump after it. `None` if they are not fused.
    fn two_constants(&mut self, pc: usize, value: &Constant) -> Option<(usize, bool)> {
        let low = value.small().filter(|word| word >> 32 == 0)?;
        if let Some((to, behind)) = self.static_jump_at(value.next, op::JUMP) {
            self.emit_jump_with(pc, push_jump, to, low);
            return Some((behind, true));
        }
        let second = self.constant_at(value.next)?;
        let high = second.small().filter(|word| word >> 32 == 0)?;
        if second.next >= self.code.len() || self.wants_constant(second.next) {
            return None;
        }
        self.emit(pc, push_push, low | high << 32);
        Some((second.next, false))
    }

    /// Whether the instruction at `pc` can be fused with the constant before it, which is better than a pair of
    /// constants.
    fn wants_constant(&self, pc: usize) -> bool {
        let opcode = self.byte(pc);
        let operation = if self.dup_at(pc).is_some() { self.byte(pc + 1) } else { opcode };
        matches!(opcode, op::JUMP | op::JUMPI | op::MLOAD | op::MSTORE | op::SWAP1..=op::SWAP16)
            || table::binary_forms(operation).is_some()
    }

    /// Emits DUPn, fused with the instructions after it. Returns where decoding continues, and whether the
    /// block has ended.
    pub(super) fn after_dup(&mut self, pc: usize, n: u64) -> (usize, bool) {
        let own = self.byte(pc);
        let offset = n * 32;
        let mut at = pc + 1;
        if let Some(operation) = self.fuses(at) {
            return (self.operation(pc, operation, Source::Dup, offset, at + 1), false);
        }
        if !self.defined(at) {
            self.emit(pc, table::decoded(own), 0);
            return (at, false);
        }
        let follower = self.byte(at);
        if matches!(follower, op::MLOAD | op::MSTORE) {
            self.emit_with_rest(pc, if follower == op::MLOAD { mload_dup } else { mstore_dup }, offset << 32, 1);
            return (at + 1, false);
        }
        // DUPn, any number of ISZERO, PUSH, JUMPI.
        while self.byte(at) == op::ISZERO {
            at += 1;
        }
        if let Some((to, behind)) = self.static_jump_at(at, op::JUMPI) {
            let negated = (at - pc).is_multiple_of(2);
            let handler = if negated { branch_unless_dup } else { branch_if_dup };
            self.emit_branch_with(pc, handler, to, offset);
            return (behind, false);
        }
        if let Some((to, behind)) = self.static_jump_at(pc + 1, op::JUMP) {
            self.emit_jump_with(pc, dup_jump, to, offset);
            return (behind, true);
        }
        if let Some(next) = self.dup_constant(pc, n).or_else(|| self.two_dups(pc, n)) {
            return (next, false);
        }
        if let Some(m) = self.swap_at(pc + 1)
            && !(m == 1 && (self.fuses(pc + 2).is_some() || self.byte(pc + 2) == op::POP))
        {
            self.emit(pc, dup_swap, offset << 16 | (m * 32));
            return (pc + 2, false);
        }
        self.emit(pc, table::decoded(own), 0);
        (pc + 1, false)
    }

    /// DUPn and a constant. `None` if they are not fused.
    fn dup_constant(&mut self, pc: usize, n: u64) -> Option<usize> {
        let offset = n * 32;
        let value = self.constant_at(pc + 1)?;
        let imm = value.short().filter(|_| value.next < self.code.len())?;
        let last = self.byte(value.next);
        // DUP1, PUSH4, EQ, PUSH, JUMPI.
        if n == 1
            && last == op::EQ
            && let Some((to, behind)) = self.static_jump_at(value.next + 1, op::JUMPI)
        {
            self.emit_branch_with(pc, branch_selector, to, imm);
            return Some(behind);
        }
        if let Some(operation) = self.fuses(value.next) {
            if operation == op::ADD && imm >> 16 == 0 && self.byte(value.next + 1) == op::MLOAD {
                self.emit_with_rest(pc, mload_add, imm << 48 | offset << 32, 1);
                return Some(value.next + 2);
            }
            return Some(self.operation(pc, operation, Source::DupImm, imm << 16 | offset, value.next + 1));
        }
        if self.wants_constant(value.next) {
            return None;
        }
        self.emit(pc, dup_push, imm << 16 | offset);
        Some(value.next)
    }

    /// DUPn and DUPm. `None` if they are not fused.
    fn two_dups(&mut self, pc: usize, n: u64) -> Option<usize> {
        let offset = n * 32;
        let m = self.dup_at(pc + 1)?;
        if let Some(operation) = self.fuses(pc + 2) {
            // Relative to the height before both: the second DUP counts from one word higher, and DUP1 copies
            // what the first copied.
            let second = if m == 1 { offset } else { (m - 1) * 32 };
            return Some(self.operation(pc, operation, Source::DupDup, offset << 16 | second, pc + 3));
        }
        if matches!(self.byte(pc + 2), op::MLOAD | op::MSTORE) {
            return None;
        }
        self.emit(pc, dup_dup, offset << 16 | (m * 32));
        Some(pc + 2)
    }

    /// Emits SWAPn, fused with the instructions after it. Returns where decoding continues, and whether the
    /// block has ended.
    pub(super) fn after_swap(&mut self, pc: usize, n: u64) -> (usize, bool) {
        let at = pc + 1;
        let swapped = table::binary_forms(self.byte(at)).map(|forms| forms.of(Source::Swapped));
        if n == 1
            && self.defined(at)
            && let Some(handler) = swapped.or_else(|| table::heavy_swapped_of(self.byte(at)))
        {
            self.emit(pc, handler, 0);
            return (at + 1, false);
        }
        // One or two SWAPs, then POPs, then possibly the JUMP that returns from a function.
        let second = self.swap_at(at);
        let pops_at = if second.is_some() { at + 1 } else { at };
        let mut end = pops_at;
        while self.byte(end) == op::POP {
            end += 1;
        }
        let pops = (end - pops_at) as u64;
        let jumps = self.byte(end) == op::JUMP && end < self.code.len();
        let handler: Handler = match (second, pops, jumps) {
            (None, 0, true) => swap_jump,
            (None, 1.., true) => swap_pops_jump,
            (Some(_), 1.., true) => swap_swap_pops_jump,
            (None, 1, false) => swap_pop,
            (None, 1.., false) => swap_pops,
            (Some(_), 1.., false) => swap_swap_pops,
            // A second SWAP1 before an operation is fused with that instead.
            (Some(1), 0, _) if self.fuses(end).is_some() || table::heavy_swapped_of(self.byte(end)).is_some() => {
                return self.plain_swap(pc);
            }
            (Some(_), 0, false) => swap_swap,
            (Some(_), 0, true) | (None, 0, false) => return self.plain_swap(pc),
        };
        let (first, second_bytes, popped) = (n * 32, second.unwrap_or(0) * 32, pops * 32);
        self.emit(pc, handler, first | (second_bytes << 16) | (popped << 32));
        if jumps {
            end += 1;
        }
        (end, jumps)
    }

    fn plain_swap(&mut self, pc: usize) -> (usize, bool) {
        let own = self.byte(pc);
        self.emit(pc, table::decoded(own), 0);
        (pc + 1, false)
    }

    /// Emits POPs and possibly the JUMP that returns from a function. Returns where decoding continues, and
    /// whether the block has ended.
    pub(super) fn after_pop(&mut self, pc: usize) -> (usize, bool) {
        let mut end = pc;
        while self.byte(end) == op::POP {
            end += 1;
        }
        let count = (end - pc) as u64;
        let jumps = self.byte(end) == op::JUMP && end < self.code.len();
        let handler: Handler = match (jumps, count) {
            (true, _) => pops_jump,
            (false, 1) => pop::<Block>,
            (false, _) => pop_many,
        };
        self.emit(pc, handler, count * 32);
        if jumps {
            end += 1;
        }
        (end, jumps)
    }

    /// Emits ISZERO (`compare` is `None`) or a comparison, with the ISZEROs and the static JUMPI after it.
    /// Returns the byte offset after the sequence.
    pub(super) fn after_condition(&mut self, pc: usize, compare: Option<u8>) -> usize {
        let own = self.byte(pc);
        let mut at = pc + 1;
        let mut negated = compare.is_none();
        while self.byte(at) == op::ISZERO {
            negated = !negated;
            at += 1;
        }
        if let Some((to, behind)) = self.static_jump_at(at, op::JUMPI) {
            let handler = match compare {
                None if negated => branch_unless,
                None => branch_if,
                Some(compare) => table::branch_compare_of(compare, negated),
            };
            self.emit_branch(pc, handler, to);
            return behind;
        }
        self.emit(pc, table::decoded(own), 0);
        pc + 1
    }
}
