//! Blocks, jumps, and what reads the program counter or the gas.

use super::words::Binary;
use crate::exec::evm::Exit;
use crate::exec::interpreter::opcode::op;
use crate::exec::interpreter::tail::limbs;
use crate::exec::interpreter::tail::machine::*;

handler! {
    stop [] (r) {
        (*r.vm).set_exit(Exit::Stop);
        leave(r)
    }
}

/// Settles the block that begins at the program counter and goes on behind its first instruction.
macro_rules! begin_block {
    ($r:ident) => {{
        let need = $r.operand();
        let used = $r.stack_bytes();
        let (gas, least, span) = (need & 0xffff_ffff, (need >> 32 & 0xffff) as usize, (need >> 48) as usize);
        if $r.gas < gas || used.wrapping_sub(least) > span {
            jump_to!(to_bytes_exact, $r)
        }
        $r.gas -= gas;
        skip!($r, 1)
    }};
}

/// The same where a jump leads there, as one does in every loop: now and then it is also looked whether the caller still
/// waits. `poll_below` is 0 or the gas left at that moment; the signed comparison sees it and a lack of gas at once.
macro_rules! begin_after_jump {
    ($r:ident) => {{
        let need = $r.operand();
        let used = $r.stack_bytes();
        let (gas, least, span) = (need & 0xffff_ffff, (need >> 32 & 0xffff) as usize, (need >> 48) as usize);
        let left = $r.gas.wrapping_sub(gas);
        if (left as i64) < (*$r.vm).poll_below as i64 || used.wrapping_sub(least) > span {
            jump_to!(begin_otherwise, $r)
        }
        $r.gas = left;
        skip!($r, 1)
    }};
}

/// Looks whether the caller has given up; true where the loop is to be left.
#[cold]
#[inline(never)]
unsafe extern "C" fn given_up(vm: *mut Vm, gas: u64) -> bool {
    // SAFETY: `vm` and its machine are live and nobody else looks at them meanwhile.
    unsafe {
        let evm = &mut *(*vm).evm;
        let result = evm.poll(gas);
        (*vm).poll_below = evm.poll_below;
        result.map_err(|halt| (*vm).set_exit(Exit::Halt(halt))).is_err()
    }
}

handler! {
    /// Begins a block once it is known that the caller still waits.
    #[cold]
    #[inline(never)]
    begin_otherwise [] (r) {
        if given_up(r.vm, r.gas) {
            return leave(r);
        }
        jump_to!(begin, r)
    }
}
handler! {
    /// The first instruction of a block: code's first byte, or a JUMPDEST.
    begin [] (r) {
        begin_block!(r)
    }
}
handler! {
    jumpdest_bytes [] (r) {
        settle!(Bytes, r, op::JUMPDEST);
        if r.gas < (*r.vm).poll_below && given_up(r.vm, r.gas) {
            return leave(r);
        }
        next!(Bytes, r, op::JUMPDEST)
    }
}

/// Goes to a destination on the stack.
macro_rules! jump_dynamic {
    ($F:ident, $r:ident, $to:expr) => {{
        let to: Limbs = $to;
        if !limbs::is_small(to) {
            jump_to!(halt_invalid_jump, $r)
        }
        if $F::DECODED {
            let decoded = &*(*$r.vm).decoded;
            let Some(target) = decoded.target(to[0] as usize) else { jump_to!(halt_invalid_jump, $r) };
            $r.pc = target;
            begin_after_jump!($r)
        } else {
            if !(*(*$r.vm).source).is_jumpdest(to[0] as usize) {
                jump_to!(halt_invalid_jump, $r)
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
    /// PUSH, JUMP; the operand is the distance in instructions.
    jump_static [] (r) {
        r.pc = r.pc.offset(r.operand() as isize);
        begin_after_jump!(r)
    }
}

/// Takes a static JUMPI: the operand is the rest of this block's gas, and the distance.
macro_rules! branch {
    ($r:ident, $taken:expr) => {{
        if $taken {
            let operand = $r.operand();
            $r.gas += operand & 0xffff_ffff;
            $r.pc = $r.pc.offset((operand as i64 >> 32) as isize);
            begin_after_jump!($r)
        }
        skip!($r, 1)
    }};
}
handler! {
    /// PUSH, JUMPI.
    branch_if [] (r) {
        let taken = !limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken)
    }
}
handler! {
    /// ISZERO, PUSH, JUMPI.
    branch_unless [] (r) {
        let taken = limbs::is_zero(r.peek(0));
        r.drop(1);
        branch!(r, taken)
    }
}
handler! {
    /// Comparison, PUSH, JUMPI, with an ISZERO between where `NEGATED`.
    branch_compare [K: Binary, const NEGATED: bool] (r) {
        let truth = K::apply(r.peek(0), r.peek(1))[0] != 0;
        r.drop(2);
        branch!(r, truth != NEGATED)
    }
}
handler! {
    /// DUP1, PUSH4, EQ, PUSH, JUMPI: a function selector's test. The selector stands in the next instruction's operand.
    branch_selector [] (r) {
        let taken = limbs::eq(r.peek(0), limbs::small((*r.pc.add(1)).operand));
        if taken {
            let operand = r.operand();
            r.gas += operand & 0xffff_ffff;
            r.pc = r.pc.offset((operand as i64 >> 32) as isize);
            begin_after_jump!(r)
        }
        skip!(r, 2)
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
