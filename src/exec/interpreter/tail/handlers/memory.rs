//! Memory: in line where no byte is new, the rest out of line.

use super::out_of_line::body_settled;
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::machine::*;
use crate::exec::interpreter::tail::{bodies, limbs};

#[inline(always)]
unsafe fn read_word(mem: *const u8, offset: usize) -> Limbs {
    // SAFETY: the caller checked that 32 bytes from `offset` belong to the frame.
    unsafe {
        let limb = |index: usize| u64::from_be_bytes(mem.add(offset + 8 * index).cast::<[u8; 8]>().read_unaligned());
        [limb(3), limb(2), limb(1), limb(0)]
    }
}

#[inline(always)]
unsafe fn write_word(mem: *mut u8, offset: usize, word: Limbs) {
    // SAFETY: as in `read_word`. Volatile keeps the halves in general registers.
    unsafe {
        let at = mem.add(offset).cast::<[u8; 8]>();
        at.write_unaligned(word[3].to_be_bytes());
        at.add(1).write_unaligned(word[2].to_be_bytes());
        at.add(2).write_unaligned(word[1].to_be_bytes());
        at.add(3).write_unaligned(word[0].to_be_bytes());
    }
}

handler! {
    mload [F: Form] (r) {
        settle!(F, r, op::MLOAD);
        let offset = r.peek(0);
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            jump_to!(body_settled::<bodies::MLOAD, F>, r)
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
            jump_to!(body_settled::<bodies::MSTORE, F>, r)
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
    /// In line where both ranges lie inside the memory.
    mcopy [F: Form] (r) {
        settle!(F, r, op::MCOPY);
        let (target, source, len) = (r.peek(0), r.peek(1), r.peek(2));
        let above = target[1] | target[2] | target[3] | source[1] | source[2] | source[3] | len[1] | len[2] | len[3];
        let further = target[0] | source[0] | len[0];
        // Below 2^32 each, so that no sum wraps; the memory is 31 bytes longer than the limit, where there is any.
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
handler! {
    /// PUSH, MLOAD.
    mload_at [] (r) {
        let offset = r.operand();
        if offset as usize >= r.limit {
            r.push(limbs::small(offset));
            jump_to!(body_settled::<bodies::MLOAD, Block>, r)
        }
        r.push(read_word(r.mem, offset as usize));
        skip!(r, 1)
    }
}
handler! {
    /// PUSH, MSTORE.
    mstore_at [] (r) {
        let offset = r.operand();
        if offset as usize >= r.limit {
            r.push(limbs::small(offset));
            jump_to!(body_settled::<bodies::MSTORE, Block>, r)
        }
        write_word(r.mem, offset as usize, r.peek(0));
        r.drop(1);
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, MLOAD.
    mload_dup [] (r) {
        let offset = load(r.sp.byte_sub(r.operand() as usize));
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            r.push(offset);
            jump_to!(body_settled::<bodies::MLOAD, Block>, r)
        }
        r.push(read_word(r.mem, offset[0] as usize));
        skip!(r, 1)
    }
}
handler! {
    /// DUPn, MSTORE.
    mstore_dup [] (r) {
        let offset = load(r.sp.byte_sub(r.operand() as usize));
        if !limbs::is_small(offset) || offset[0] as usize >= r.limit {
            r.push(offset);
            jump_to!(body_settled::<bodies::MSTORE, Block>, r)
        }
        write_word(r.mem, offset[0] as usize, r.peek(0));
        r.drop(1);
        skip!(r, 1)
    }
}
