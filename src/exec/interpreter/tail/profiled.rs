//! The fast loop when it is profiled: before each instruction a handler that reads the clock.
//!
//! Only code as bytes can be watched, since decoded code holds its handlers; instructions are the same functions.
//! Duties: see `machine`.

use super::machine::{Handler, Vm, handler, jump_to};
use super::run_form;
use crate::exec::evm::machine::{Evm, Exit};
use crate::exec::interpreter::profile::OpcodeProfile;

/// Notes an instruction. Out of line: the clock keeps locals whose address escapes, and a handler must not.
///
/// # Safety
/// - `vm`, its machine and its profile are live, and nothing else refers to them during the call.
#[inline(never)]
unsafe extern "C" fn note(vm: *mut Vm, opcode: u8, gas: u64) {
    // SAFETY: as the caller guarantees.
    unsafe {
        let vm = &mut *vm;
        (*vm.profile).next(opcode, gas, (*vm.evm).precompiles.as_deref());
    }
}

handler! {
    /// Notes the instruction, then runs it.
    noted [] (r) {
        let opcode = *r.pc.cast::<u8>();
        note(r.vm, opcode, r.gas);
        let handler = (*(*r.vm).noted)[usize::from(opcode)];
        jump_to!(handler, r)
    }
}

/// Handlers by opcode of a loop that is watched.
pub(super) static NOTED: [Handler; 256] = [noted; 256];

/// Runs the top frame's bytes until it ends or enters another, watched.
pub(in crate::exec::interpreter) fn run_profiled(evm: &mut Evm<'_>, profile: &mut OpcodeProfile) -> Exit {
    profile.resume();
    let exit = run_form::<false>(evm, core::ptr::from_mut(profile));
    // A frame that was entered lies on top of the running one.
    let index = evm.frames.len() - if exit == Exit::Enter { 2 } else { 1 };
    profile.end(evm.frames[index].gas.left, evm.precompiles.as_deref());
    exit
}

/// Runs the top frame's bytes until it ends or enters another: what the watched loop is compared with.
pub(in crate::exec::interpreter) fn run_bytes(evm: &mut Evm<'_>) -> Exit {
    run_form::<false>(evm, core::ptr::null_mut())
}
