//! Blocks, jumps, and instructions that read the program counter or the gas.
//!
//! Contract of this group, in addition to that of the registers (see `machine`):
//! - a jump in byte form goes to a JUMPDEST of the frame's code, as its bit states, so the new `pc` is inside the code;
//! - a jump in decoded form goes to an instruction that `Decoded::target` returned, or by the distance that the decoder
//!   wrote into the operand. Both lead to the first instruction of a block (`begin`), whose operand is a [`Need`];
//! - `begin_block!` compares the stack height with the block's [`Need`] before any other instruction of the
//!   block runs. They all rely on that instead of a check of their own;
//! - fused forms take their second operand from the next instruction, which the decoder emitted after them.
//!
//! [`Need`]: super::super::decode::Need

use super::words::Binary;
use crate::exec::evm::machine::Exit;
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::limbs;
use crate::exec::interpreter::tail::machine::*;

handler! {
    stop [] (r) {
        (*r.vm).set_exit(Exit::Stop);
        leave(r)
    }
}

/// Polls the cancel token; true if the block is cancelled. Then the exit is recorded, and the handler must
/// leave the loop.
///
/// # Safety
/// - `vm` and its machine are live, and nothing else refers to them during the call.
#[cold]
#[inline(never)]
unsafe extern "C" fn is_cancelled(vm: *mut Vm, gas: u64) -> bool {
    // SAFETY: as the caller guarantees.
    unsafe {
        let evm = &mut *(*vm).evm;
        let result = evm.poll(gas);
        (*vm).poll_below = evm.poll_below;
        result.map_err(|halt| (*vm).set_exit(Exit::Halt(halt))).is_err()
    }
}

handler! {
    /// Polls the cancel token and begins the block unless the caller has cancelled.
    #[cold]
    #[inline(never)]
    begin_unless_cancelled [] (r) {
        if is_cancelled(r.vm, r.gas) {
            return leave(r);
        }
        jump_to!(begin, r)
    }
}

handler! {
    /// The first instruction of a block: code's first byte, or a JUMPDEST.
    begin [] (r) {
        begin_block!(r, 0)
    }
}
handler! {
    jumpdest_bytes [] (r) {
        settle!(Bytes, r, op::JUMPDEST);
        if r.gas < (*r.vm).poll_below && is_cancelled(r.vm, r.gas) {
            return leave(r);
        }
        (*(*r.vm).source).mark_reached(r.pc as usize - (*r.vm).code as usize);
        next!(Bytes, r, op::JUMPDEST)
    }
}

handler! {
    /// Dynamic jump from decoded code to a destination that is not a decoded JUMPDEST; `vm.pc` holds it.
    /// Continues in byte form or halts.
    #[cold]
    #[inline(never)]
    jump_to_bytes [] (r) {
        let to = (*r.vm).pc;
        if !(*(*r.vm).source).is_jumpdest(to) {
            jump_to!(halt_invalid_jump, r)
        }
        enter_bytes!(r, to)
    }
}

handler! {
    /// Dynamic jump in byte form to a destination that is not yet marked as reached; `vm.pc` holds it. Halts
    /// unless it is a JUMPDEST.
    #[cold]
    #[inline(never)]
    jump_unmarked [] (r) {
        let to = (*r.vm).pc;
        if !(*(*r.vm).source).is_jumpdest(to) {
            jump_to!(halt_invalid_jump, r)
        }
        r.pc = (*r.vm).code.add(to).cast();
        let handler = (*(*r.vm).table)[usize::from(op::JUMPDEST)];
        jump_to!(handler, r)
    }
}

/// Jumps to a destination taken from the stack.
macro_rules! jump_dynamic {
    ($F:ident, $r:ident, $to:expr) => {{
        let to: Limbs = $to;
        if !limbs::is_small(to) {
            jump_to!(halt_invalid_jump, $r)
        }
        if $F::DECODED {
            let decoded = &*(*$r.vm).decoded;
            let Some(target) = decoded.target(to[0] as usize) else {
                (*$r.vm).pc = to[0] as usize;
                jump_to!(jump_to_bytes, $r)
            };
            $r.pc = target;
            begin_block!($r, (*$r.vm).poll_below)
        } else {
            if !(*(*$r.vm).source).is_marked(to[0] as usize) {
                (*$r.vm).pc = to[0] as usize;
                jump_to!(jump_unmarked, $r)
            }
            $r.pc = (*$r.vm).code.add(to[0] as usize).cast();
            let handler = (*(*$r.vm).table)[usize::from(op::JUMPDEST)];
            jump_to!(handler, $r)
        }
    }};
}

handler! {
    jump [F: Form] (r) {
        settle!(F, r, op::JUMP);
        let to = r.peek(0);
        r.drop(1);
        jump_dynamic!(F, r, to)
    }
}
handler! {
    jumpi [F: Form] (r) {
        settle!(F, r, op::JUMPI);
        let (to, condition) = (r.peek(0), r.peek(1));
        r.drop(2);
        if !limbs::is_zero(condition) {
            if F::DECODED {
                r.gas += r.operand();
            }
            jump_dynamic!(F, r, to)
        }
        next!(F, r, op::JUMPI)
    }
}
handler! {
    /// PUSH, JUMP. The operand is the distance in instructions.
    jump_static [] (r) {
        jump_by!(r, r.operand() as isize)
    }
}

handler! {
    /// PUSH, JUMPI.
    branch_if [] (r) {
        let taken = !limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken, 1)
    }
}
handler! {
    /// ISZERO, PUSH, JUMPI.
    branch_unless [] (r) {
        let taken = limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken, 1)
    }
}
handler! {
    /// Comparison, PUSH, JUMPI, with an ISZERO after the comparison if `NEGATED`.
    branch_compare [K: Binary, const NEGATED: bool] (r) {
        let truth = K::apply(r.peek(0), r.peek(1))[0] != 0;
        r.drop(2);
        branch!(r, truth != NEGATED, 1)
    }
}
handler! {
    /// DUP1, PUSH4, EQ, PUSH, JUMPI: comparison with a function selector, which is the next instruction's operand.
    branch_selector [] (r) {
        let taken = limbs::eq(r.peek(0), limbs::small((*r.pc.add(1)).operand));
        branch!(r, taken, 2)
    }
}
handler! {
    /// DUPn, PUSH, JUMPI. The DUP's operand is in the next instruction.
    branch_if_dup [] (r) {
        let taken = !limbs::is_zero(load(r.sp.byte_sub((*r.pc.add(1)).operand as usize)));
        branch!(r, taken, 2)
    }
}
handler! {
    /// DUPn, ISZERO, PUSH, JUMPI. The DUP's operand is in the next instruction.
    branch_unless_dup [] (r) {
        let taken = limbs::is_zero(load(r.sp.byte_sub((*r.pc.add(1)).operand as usize)));
        branch!(r, taken, 2)
    }
}
handler! {
    /// PUSH of at most 4 bytes, PUSH, JUMP.
    push_jump [] (r) {
        let operand = r.operand();
        r.push(limbs::small(operand & 0xffff_ffff));
        jump_far!(r, operand)
    }
}
handler! {
    /// DUPn, PUSH, JUMP.
    dup_jump [] (r) {
        let operand = r.operand();
        r.push(load(r.sp.byte_sub((operand & 0xffff_ffff) as usize)));
        jump_far!(r, operand)
    }
}

// Returns from functions. The operand holds three byte counts: the depth of the first SWAP, of the second SWAP,
// and the size of the words dropped.

handler! {
    /// POPs, JUMP.
    pops_jump [] (r) {
        r.sp = r.sp.byte_sub(r.operand() as usize);
        let to = r.peek(0);
        r.drop(1);
        jump_dynamic!(Block, r, to)
    }
}
handler! {
    /// SWAPn, JUMP.
    swap_jump [] (r) {
        let other = r.sp.sub(1).byte_sub((r.operand() & 0xffff) as usize);
        let to = load(other);
        store(other, r.peek(0));
        r.drop(1);
        jump_dynamic!(Block, r, to)
    }
}
handler! {
    /// SWAPn, POPs, JUMP.
    swap_pops_jump [] (r) {
        let operand = r.operand();
        store(r.sp.sub(1).byte_sub((operand & 0xffff) as usize), r.peek(0));
        r.sp = r.sp.byte_sub((operand >> 32) as usize);
        let to = r.peek(0);
        r.drop(1);
        jump_dynamic!(Block, r, to)
    }
}
handler! {
    /// SWAPn, SWAPm, POPs, JUMP.
    swap_swap_pops_jump [] (r) {
        let operand = r.operand();
        let (first, second) = (r.sp.sub(1).byte_sub((operand & 0xffff) as usize), r.sp.sub(1).byte_sub((operand >> 16 & 0xffff) as usize));
        let word = load(first);
        store(first, r.peek(0));
        store(second, word);
        r.sp = r.sp.byte_sub((operand >> 32) as usize);
        let to = r.peek(0);
        r.drop(1);
        jump_dynamic!(Block, r, to)
    }
}
handler! {
    pc_bytes [] (r) {
        settle!(Bytes, r, op::PC);
        r.push(limbs::small((r.pc as usize - (*r.vm).code as usize) as u64));
        next!(Bytes, r, op::PC)
    }
}
handler! {
    gas [F: Form] (r) {
        settle!(F, r, op::GAS);
        let left = if F::DECODED { r.gas + r.operand() } else { r.gas };
        r.push(limbs::small(left));
        next!(F, r, op::GAS)
    }
}
