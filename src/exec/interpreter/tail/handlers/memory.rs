//! Memory instructions: in line if no memory is added, otherwise out of line.
//!
//! Contract of this group, in addition to that of the registers (see `machine`):
//! - a word at `offset` is accessed only if `offset < limit`, which means `offset + 32 <= ` the frame's memory
//!   length, or after `grow_for_word!`, which grew the memory to that end and reloaded pointer and limit;
//! - a range is copied only if both ends were compared with `limit + 31`, the memory's length;
//! - calldata and code do not overlap the frame's memory: `Evm::push_frame` refuses calldata above the caller's memory;
//! - fused forms read a duplicated word at the distance in the operand, which the block's height check covers.

use super::out_of_line::body_settled;
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::machine::*;
use crate::exec::interpreter::tail::{bodies, limbs};

/// Reads the big-endian word at `offset`.
///
/// # Safety
/// - The 32 bytes at `mem + offset` can be read.
#[inline(always)]
unsafe fn read_word(mem: *const u8, offset: usize) -> Limbs {
    // SAFETY: the caller guarantees the 32 bytes.
    unsafe {
        let limb = |index: usize| u64::from_be_bytes(mem.add(offset + 8 * index).cast::<[u8; 8]>().read_unaligned());
        [limb(3), limb(2), limb(1), limb(0)]
    }
}

/// Writes a word at `offset`, big-endian.
///
/// # Safety
/// - The 32 bytes at `mem + offset` can be written.
#[inline(always)]
unsafe fn write_word(mem: *mut u8, offset: usize, word: Limbs) {
    // SAFETY: the caller guarantees the 32 bytes. Volatile, so that the four parts stay in general registers.
    unsafe {
        let at = mem.add(offset).cast::<[u8; 8]>();
        at.write_unaligned(word[3].to_be_bytes());
        at.add(1).write_unaligned(word[2].to_be_bytes());
        at.add(2).write_unaligned(word[1].to_be_bytes());
        at.add(3).write_unaligned(word[0].to_be_bytes());
    }
}

/// Charges the gas in `vm` for memory up to `end` bytes and grows it; false if the gas does not suffice.
///
/// # Safety
/// - `vm` and its machine are live, and nothing else refers to them during the call.
/// - The caller reloads memory pointer and limit before it uses them again.
#[inline(never)]
unsafe extern "C" fn grow_to(vm: *mut Vm, end: u64) -> bool {
    // SAFETY: as the caller guarantees.
    unsafe {
        let vm = &mut *vm;
        let mut left = vm.left;
        let paid = (*vm.evm).expand_to(&mut left, end).is_ok();
        vm.left = left;
        paid
    }
}

/// Grows the memory for a word at the offset on top of the stack, or halts.
macro_rules! grow_for_word {
    ($F:ident, $r:ident, $rest:ident) => {{
        let offset = $r.peek(0);
        // No transaction can pay for memory beyond 2^32 bytes.
        if !limbs::is_small(offset) || offset[0] >> 32 != 0 {
            jump_to!(halt_out_of_gas, $r)
        }
        (*$r.vm).left = $r.gas + $rest;
        if !grow_to($r.vm, offset[0] + 32) {
            jump_to!(halt_out_of_gas, $r)
        }
        $r.gas = (*$r.vm).left;
        $r.reload_memory();
        offset[0] as usize
    }};
}
/// The prepaid static gas of the instructions after this one in its block; 0 in byte form.
macro_rules! rest_behind {
    ($F:ident, $r:ident) => {
        if $F::DECODED { $r.rest() } else { 0 }
    };
}
/// Continues after an instruction that charged dynamic gas.
macro_rules! next_after_charge {
    ($F:ident, $r:ident, $rest:ident, $op:expr) => {{
        if $F::DECODED {
            if $r.gas < $rest {
                $r.pc = $r.pc.add(1);
                jump_to!(to_bytes_exact, $r)
            }
            $r.gas -= $rest;
        }
        next!($F, $r, $op)
    }};
}

handler! {
    /// MLOAD that grows the memory; its static gas is charged.
    #[inline(never)]
    mload_growing [F: Form] (r) {
        let rest = rest_behind!(F, r);
        let offset = grow_for_word!(F, r, rest);
        r.poke(0, read_word(r.mem, offset));
        next_after_charge!(F, r, rest, op::MLOAD)
    }
}
handler! {
    /// MSTORE that grows the memory; its static gas is charged.
    #[inline(never)]
    mstore_growing [F: Form] (r) {
        let rest = rest_behind!(F, r);
        let offset = grow_for_word!(F, r, rest);
        write_word(r.mem, offset, r.peek(1));
        r.drop(2);
        next_after_charge!(F, r, rest, op::MSTORE)
    }
}
handler! {
    mload [F: Form] (r) {
        settle!(F, r, op::MLOAD);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(mload_growing::<F>, r)
        }
        r.poke(0, read_word(r.mem, offset[0] as usize));
        next!(F, r, op::MLOAD)
    }
}
handler! {
    mstore [F: Form] (r) {
        settle!(F, r, op::MSTORE);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(mstore_growing::<F>, r)
        }
        write_word(r.mem, offset[0] as usize, r.peek(1));
        r.drop(2);
        next!(F, r, op::MSTORE)
    }
}
handler! {
    mstore8 [F: Form] (r) {
        settle!(F, r, op::MSTORE8);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(body_settled::<bodies::MSTORE8, F>, r)
        }
        *r.mem.add(offset[0] as usize) = r.peek(1)[0] as u8;
        r.drop(2);
        next!(F, r, op::MSTORE8)
    }
}
handler! {
    /// In line if both ranges are inside the memory.
    mcopy [F: Form] (r) {
        settle!(F, r, op::MCOPY);
        let (target, source, len) = (r.peek(0), r.peek(1), r.peek(2));
        let above = target[1] | target[2] | target[3] | source[1] | source[2] | source[3] | len[1] | len[2] | len[3];
        let further = target[0] | source[0] | len[0];
        // All below 2^32, so that no sum wraps. The memory is 31 bytes longer than the limit, unless the limit is 0.
        let inside = (above | further >> 32 == 0)
            && r.limit > 0
            && target[0].max(source[0]) + len[0] <= r.limit as u64 + 31;
        let cost = 3 * len[0].div_ceil(32);
        if !inside || r.gas < cost {
            jump_to!(body_settled::<bodies::MCOPY, F>, r)
        }
        r.gas -= cost;
        if len[0] == 32 {
            write_word(r.mem, target[0] as usize, read_word(r.mem, source[0] as usize));
        } else {
            core::ptr::copy(r.mem.add(source[0] as usize), r.mem.add(target[0] as usize), len[0] as usize);
        }
        r.drop(3);
        next!(F, r, op::MCOPY)
    }
}
/// Copies from a source of `$len` bytes into existing memory, zeros beyond its end; otherwise out of line.
macro_rules! copy_from {
    ($F:ident, $r:ident, $op:ident, $source:expr, $len:expr) => {{
        settle!($F, $r, op::$op);
        let (target, offset, len) = ($r.peek(0), $r.peek(1), $r.peek(2));
        let above = target[1] | target[2] | target[3] | len[1] | len[2] | len[3];
        let inside =
            (above | (target[0] | len[0]) >> 32 == 0) && $r.limit > 0 && target[0] + len[0] <= $r.limit as u64 + 31;
        let cost = 3 * len[0].div_ceil(32);
        if !inside || $r.gas < cost {
            jump_to!(body_settled::<bodies::$op, $F>, $r)
        }
        $r.gas -= cost;
        let available: usize = $len;
        let start = if limbs::is_small(offset) { available.min(offset[0] as usize) } else { available };
        let (len, to) = (len[0] as usize, $r.mem.add(target[0] as usize));
        let copied = len.min(available - start);
        core::ptr::copy_nonoverlapping($source.add(start), to, copied);
        if copied < len {
            to.add(copied).write_bytes(0, len - copied);
        }
        $r.drop(3);
        next!($F, $r, op::$op)
    }};
}
handler! {
    /// Calldata is in the memory of a frame below or in the transaction, so it never overlaps the target.
    calldatacopy [F: Form] (r) {
        copy_from!(F, r, CALLDATACOPY, (*r.vm).input, (*r.vm).input_len)
    }
}
handler! {
    codecopy [F: Form] (r) {
        copy_from!(F, r, CODECOPY, (*r.vm).code, (*(*r.vm).source).len())
    }
}
handler! {
    /// In line if the whole word is inside the calldata.
    calldataload [F: Form] (r) {
        settle!(F, r, op::CALLDATALOAD);
        let (offset, len) = (r.peek(0), (*r.vm).input_len);
        if !limbs::is_small(offset) || len < 32 || offset[0] > len as u64 - 32 {
            jump_to!(body_settled::<bodies::CALLDATALOAD, F>, r)
        }
        r.poke(0, read_word((*r.vm).input, offset[0] as usize));
        next!(F, r, op::CALLDATALOAD)
    }
}
handler! {
    calldatasize [F: Form] (r) {
        settle!(F, r, op::CALLDATASIZE);
        r.push(limbs::small((*r.vm).input_len as u64));
        next!(F, r, op::CALLDATASIZE)
    }
}
/// MLOAD at an offset that was not pushed onto the stack.
macro_rules! load_at {
    ($r:ident, $offset:expr) => {{
        let offset: Limbs = $offset;
        if !limbs::is_small(offset) || offset[0] as usize >= $r.limit {
            $r.push(offset);
            jump_to!(mload_growing::<Block>, $r)
        }
        $r.push(read_word($r.mem, offset[0] as usize));
        skip!($r, 1)
    }};
}
/// MSTORE of the top at an offset that was not pushed onto the stack.
macro_rules! store_at {
    ($r:ident, $offset:expr) => {{
        let offset: Limbs = $offset;
        if !limbs::is_small(offset) || offset[0] as usize >= $r.limit {
            $r.push(offset);
            jump_to!(mstore_growing::<Block>, $r)
        }
        write_word($r.mem, offset[0] as usize, $r.peek(0));
        $r.drop(1);
        skip!($r, 1)
    }};
}
/// The word that DUPn copies. The operand holds its depth in bytes, above the lower half (prepaid gas).
macro_rules! duplicate {
    ($r:ident) => {
        load($r.sp.byte_sub(($r.operand() >> 32) as usize))
    };
}
/// The sum of the word that DUPn copies and a constant of at most 2 bytes, which the operand's upper 16 bits hold.
macro_rules! duplicate_plus {
    ($r:ident) => {{
        let operand = $r.operand();
        limbs::add(load($r.sp.byte_sub((operand >> 32 & 0xffff) as usize)), limbs::small(operand >> 48))
    }};
}
handler! {
    /// PUSH, MLOAD.
    mload_at [] (r) {
        load_at!(r, limbs::small(r.operand() >> 32))
    }
}
handler! {
    /// PUSH, MSTORE.
    mstore_at [] (r) {
        store_at!(r, limbs::small(r.operand() >> 32))
    }
}
handler! {
    /// DUPn, MLOAD.
    mload_dup [] (r) {
        load_at!(r, duplicate!(r))
    }
}
handler! {
    /// DUPn, MSTORE.
    mstore_dup [] (r) {
        store_at!(r, duplicate!(r))
    }
}
handler! {
    /// PUSH of at most 2 bytes, DUPn, ADD, MSTORE.
    mstore_add [] (r) {
        store_at!(r, duplicate_plus!(r))
    }
}
handler! {
    /// DUPn, PUSH of at most 2 bytes, ADD, MLOAD.
    mload_add [] (r) {
        load_at!(r, duplicate_plus!(r))
    }
}
