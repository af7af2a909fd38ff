//! The fast loop: each instruction is a function whose last act is to jump to the next instruction's function.
//!
//! Program counter, stack pointer, gas, memory pointer and memory limit live in registers from one instruction to the
//! next. Code runs in one of two forms. As bytes every instruction checks its stack and its gas. As `decode::Decoded`,
//! made once a code has been run a few times and kept beside it, checks are made per block, constants and jump targets
//! are resolved and common sequences are one instruction.
//! Relies on: the compiler turning the last call of a handler into a jump, which LLVM does at optimisation levels 2 and 3
//! (`build.rs` sets `tail_calls`) as long as no debug assertion puts a message's arguments on the native stack. In any
//! other build `LoopKind::Tail` runs the match loop; the tests run every handler on a small stack. Door to unsafe code:
//! see `machine`.

mod bodies;
mod decode;
mod handlers;
mod limbs;
mod machine;
mod profiled;
mod table;

pub use profiled::{run_bytes, run_profiled};

use crate::arena::code::Code;
use crate::exec::evm::{CodeRef, Evm, Exit};
use crate::exec::interpreter::profile::OpcodeProfile;
use decode::Decoded;
use handlers::DECODED_PC;
use machine::{Handler, Regs, Vm, input_of, memory_of};
use profiled::NOTED;

/// Gas that a code must have burnt as bytes, per byte of it, before it is decoded.
///
/// Decoding costs some 1.6 ns a byte, and decoded code saves about a fifth of the loop's time (0.1 ns a gas and less), so
/// it pays after 16 gas a byte at the earliest. Most codes of a mainnet block never get there within a block, and a block
/// whose codes were all decoded on their third run took three times as long as the ones before and after.
const GAS_BEFORE_DECODING: u64 = 64;
/// The place that this loop's decoded codes have beside the code.
const DECODED_SLOT: usize = 0;

/// The decoded form to run, if the code has one or deserves one now.
fn decoded_form<'a>(code: &'a Code, evm: &Evm<'_>) -> Option<&'a Decoded> {
    let decoded = match code.decoded_if_made::<Decoded>(DECODED_SLOT) {
        Some(decoded) => decoded,
        None if code.work() < GAS_BEFORE_DECODING * code.bytes().len() as u64 => return None,
        None => code.decoded(DECODED_SLOT, |code| Decoded::new(code, evm.rules.fork))?,
    };
    decoded.suits(evm.rules.fork).then_some(decoded)
}

/// Runs the top frame until it ends or enters another.
pub fn run(evm: &mut Evm<'_>) -> Exit {
    run_form::<true>(evm, core::ptr::null_mut())
}

/// Runs the top frame, in decoded form where `DECODE` allows and the code has it; watched by `profile` unless that is null.
#[inline(always)]
fn run_form<const DECODE: bool>(evm: &mut Evm<'_>, profile: *mut OpcodeProfile) -> Exit {
    let frame = &evm.frames[evm.frames.len() - 1];
    let source: *const Code = &*frame.code;
    let (pc, gas_before, stack_base, stack_len) = (frame.pc, frame.gas.left, frame.stack_base, frame.stack_len);
    let is_arena = matches!(frame.code, CodeRef::Arena(_));
    // SAFETY: the frame, and with it the code, stays while the loop runs: only frames above it come and go, and a move of
    // the frame column moves the handle, not the code.
    let code: &Code = unsafe { &*source };
    let decoded =
        if DECODE && (pc & DECODED_PC != 0 || (pc == 0 && is_arena)) { decoded_form(code, evm) } else { None };
    let (mem, limit) = memory_of(evm);
    let base = evm.stack[stack_base..].as_mut_ptr();
    let mut vm = Vm::new(core::ptr::from_mut(evm).cast(), table::bytes(evm.rules.fork), base, code);
    vm.poll_below = evm.poll_below;
    (vm.input, vm.input_len) = input_of(evm);
    if !profile.is_null() {
        (vm.profile, vm.noted, vm.table) = (profile, vm.table, &raw const NOTED);
    }
    // SAFETY: the stack column has room for a full stack at the base of every frame, and `stack_len` words of it are in use.
    let sp = unsafe { base.add(stack_len) };
    let mut regs = Regs { pc: vm.code.cast(), sp, gas: gas_before, vm: &raw mut vm, mem, limit };
    let mut byte_pc = Some(pc);
    if let Some(decoded) = decoded {
        vm.decoded = decoded;
        if let Some((at, place)) = decoded.at(pc & !DECODED_PC) {
            byte_pc = match gas_before.checked_sub(u64::from(place.rest)) {
                Some(rest) => {
                    (regs.pc, regs.gas) = (at, rest);
                    None
                }
                None => Some(place.pc as usize),
            };
        }
    }
    let first: Handler = match byte_pc {
        Some(byte_pc) => {
            vm.decoded = core::ptr::null();
            let bytes = code.padded();
            regs.pc = bytes[byte_pc..].as_ptr().cast();
            // SAFETY: it points to one of the static tables.
            unsafe { (*vm.table)[usize::from(bytes[byte_pc])] }
        }
        // SAFETY: `at` gave a pointer into the instructions.
        None => unsafe { (*regs.pc).handler },
    };
    // Last, so that no write to `vm` itself comes between the pointer and its use.
    regs.vm = &raw mut vm;
    // SAFETY: all pointers in `regs` and `vm` were just made from live values that nobody else touches during the call.
    unsafe { first(regs.pc, regs.sp, regs.gas, regs.vm, regs.mem, regs.limit) };
    let (left, sp, pc, exit) = (vm.left, vm.sp, vm.pc, vm.exit());
    // A frame that was entered lies on top of the running one.
    let (index, handed_on) = match exit {
        Exit::Enter => (evm.frames.len() - 2, evm.frames[evm.frames.len() - 1].gas.left),
        _ => (evm.frames.len() - 1, 0),
    };
    if decoded.is_none() && is_arena {
        code.count_work((gas_before - left).saturating_sub(handed_on));
    }
    let frame = &mut evm.frames[index];
    (frame.pc, frame.gas.left) = (pc, left);
    frame.stack_len = (sp as usize).wrapping_sub(base as usize) / 32;
    exit
}
