//! The tail-call loop under a profile: before each instruction a handler reads the clock.
//!
//! Only code in byte form can be observed, because decoded code contains its handlers. Instructions run in the same
//! functions as without a profile. Contract and duties of handlers: see `machine`.

use super::machine::{Handler, Vm, handler, jump_to};
use super::run_form;
use crate::exec::evm::machine::{Evm, Exit};
use crate::exec::interpreter::profile::OpcodeProfile;

/// Records an instruction. Out of line, because the clock has locals whose address escapes, which a handler
/// must not have.
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
    /// Records the instruction, then runs it.
    noted [] (r) {
        let opcode = *r.pc.cast::<u8>();
        note(r.vm, opcode, r.gas);
        let handler = (*(*r.vm).noted)[usize::from(opcode)];
        jump_to!(handler, r)
    }
}

/// Handlers by opcode of a profiled loop.
pub(super) static NOTED: [Handler; 256] = [noted; 256];

/// Runs the top frame in byte form, observed by `profile`, until it ends or enters another frame.
pub(in crate::exec::interpreter) fn run_profiled(evm: &mut Evm<'_>, profile: &mut OpcodeProfile) -> Exit {
    profile.resume();
    let exit = run_form::<false>(evm, core::ptr::from_mut(profile));
    // If the frame entered another one, that is now on top of it.
    let index = evm.frames.len() - if exit == Exit::Enter { 2 } else { 1 };
    profile.end(evm.frames[index].gas.left, evm.precompiles.as_deref());
    exit
}

/// Runs the top frame in byte form, without an observer: the baseline for the profiled loop.
pub(in crate::exec::interpreter) fn run_bytes(evm: &mut Evm<'_>) -> Exit {
    run_form::<false>(evm, core::ptr::null_mut())
}
