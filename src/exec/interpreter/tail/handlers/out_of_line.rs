//! Instructions whose bodies run out of line, and how they leave the loop.
//!
//! Contract of this group, in addition to that of the registers (see `machine`):
//! - the stack height was compared with what the instruction takes and leaves: by `settle!` in byte form, by
//!   the block in decoded form;
//! - a body is safe code over words by value. It may grow the memory and push a frame, which reallocates the columns.
//!   Afterwards memory pointer and limit are reloaded if the instruction can grow memory; if a frame was
//!   pushed, the loop is left without another access to stack or memory;
//! - a body neither removes the running frame nor changes its stack.

use crate::exec::evm::machine::Exit;
use crate::exec::interpreter::opcode::{TABLE_CONST, op};
use crate::exec::interpreter::tail::bodies::{Body, Flow};
use crate::exec::interpreter::tail::machine::*;
use alloy_primitives::U256;

/// Runs a body on its words; true if the loop must be left.
///
/// # Safety
/// - `vm` and its machine are live, and nothing else refers to them during the call.
/// - The words that the instruction takes are below `sp` on the frame's stack, and there is room for its result.
#[inline(never)]
unsafe extern "C" fn outlined<B: Body>(vm: *mut Vm, sp: *mut U256) -> bool {
    let info = const { TABLE_CONST[B::OP as usize] };
    let (inputs, outputs) = (info.inputs as usize, info.outputs as usize);
    // SAFETY: as the caller guarantees.
    unsafe {
        let first = sp.sub(inputs);
        // Written out, because `array::from_fn` goes through memory.
        let word = |index: usize| U256::from_limbs(if index < inputs { load(first.add(index)) } else { [0; 4] });
        let words = [word(0), word(1), word(2), word(3), word(4), word(5), word(6)];
        let vm = &mut *vm;
        let mut left = vm.left;
        let flow = B::run(&mut *vm.evm, &mut left, &words);
        vm.left = left;
        match flow {
            Ok(Flow::Next) => return false,
            Ok(Flow::Push(word)) => {
                debug_assert_eq!(outputs, 1);
                store(first, word.into_limbs());
                return false;
            }
            Ok(Flow::Leave(exit)) => vm.set_exit(exit),
            Err(halt) => vm.set_exit(Exit::Halt(halt)),
        }
        true
    }
}

/// Whether an instruction may grow the frame's memory.
const fn grows_memory(opcode: u8) -> bool {
    matches!(
        opcode,
        op::KECCAK256
            | op::CALLDATACOPY
            | op::CODECOPY
            | op::EXTCODECOPY
            | op::RETURNDATACOPY
            | op::MLOAD
            | op::MSTORE
            | op::MSTORE8
            | op::MCOPY
            | op::LOG0
            ..=op::LOG4 | op::CREATE | op::CREATE2 | op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL
    )
}

handler! {
    /// Stores what the frame needs to continue, and leaves the loop.
    #[inline(never)]
    leave_after [B: Body, F: Form] (r) {
        let info = const { TABLE_CONST[B::OP as usize] };
        // A new frame may have reallocated the stack. The old pointer serves only to compute the distance to
        // the old base.
        r.sp = r.sp.wrapping_sub(info.inputs as usize);
        r.gas = (*r.vm).left;
        (*r.vm).pc = if F::DECODED {
            let decoded = &*(*r.vm).decoded;
            (decoded.index(r.pc) + 1) | decoded.mark()
        } else {
            r.pc as usize - (*r.vm).code as usize + 1
        };
        leave(r)
    }
}

/// After a body: updates stack pointer, memory and gas, and continues with the next instruction.
macro_rules! after_body {
    ($B:ident, $F:ident, $r:ident, $rest:expr) => {{
        let info = const { TABLE_CONST[$B::OP as usize] };
        $r.sp = $r.sp.sub(info.inputs as usize).add(info.outputs as usize);
        $r.gas = (*$r.vm).left;
        if const { grows_memory($B::OP) } {
            $r.reload_memory();
        }
        if $F::DECODED {
            let rest: u64 = $rest;
            if $r.gas < rest {
                $r.pc = $r.pc.add(1);
                jump_to!(to_bytes_exact, $r)
            }
            $r.gas -= rest;
        }
        next!($F, $r, $B::OP)
    }};
}

handler! {
    /// An instruction with a body out of line.
    body [B: Body, F: Form] (r) {
        settle!(F, r, B::OP);
        let rest = if F::DECODED { r.rest() } else { 0 };
        (*r.vm).left = r.gas + rest;
        if outlined::<B>(r.vm, r.sp) {
            jump_to!(leave_after::<B, F>, r)
        }
        after_body!(B, F, r, rest)
    }
}

handler! {
    /// The same after its static gas was charged.
    #[inline(never)]
    body_settled [B: Body, F: Form] (r) {
        let rest = if F::DECODED { r.rest() } else { 0 };
        (*r.vm).left = r.gas + rest;
        if outlined::<B>(r.vm, r.sp) {
            jump_to!(leave_after::<B, F>, r)
        }
        after_body!(B, F, r, rest)
    }
}
