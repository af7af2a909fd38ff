//! The tail-call loop, the fastest one: each instruction is a function whose last action is a jump to the next one's.
//!
//! In and out: as every loop (see the module above). Program counter, stack pointer, gas, memory pointer and
//! memory limit stay in registers from one instruction to the next. Code runs in one of two forms. In byte form
//! every instruction checks its stack and its gas. The decoded form (`decode::Decoded`) is made once a code has
//! run a few times, and is kept with the code: checks are made per block, constants and jump targets are
//! resolved, and common sequences are fused to one instruction. First only the blocks that have run are
//! decoded; the whole code is decoded only if enough gas is used in the others.
//! Relies on: the compiler turns the last call of a handler into a jump. LLVM does so at optimisation levels 2 and 3
//! (`build.rs` sets `tail_calls`), unless debug assertions put a message's arguments on the native stack. In any other
//! build `LoopKind::Tail` runs the match loop. The tests run every handler on a small native stack.
//! Unsafe boundary: its contract is in `machine`. Not here: instruction bodies that run out of line (`ops`).

mod bodies;
mod decode;
mod handlers;
mod limbs;
mod machine;
mod profiled;
mod table;

pub(super) use profiled::{run_bytes, run_profiled};

use crate::arena::code::Code;
use crate::exec::evm::machine::{CodeRef, Evm, Exit};
use crate::exec::interpreter::profile::OpcodeProfile;
use decode::{Decoded, Extent};
use machine::{Handler, Regs, Vm, input_of, memory_of};
use profiled::NOTED;

/// Gas that a code must have used in byte form, per block reached, before the reached blocks are decoded.
///
/// Decoding costs about 10 ns per byte, most of it for the first access to new memory, and saves about a fifth of the
/// loop's time. A contract runs about a tenth of its code: decoding all codes of a mainnet block takes 20 ms,
/// decoding the blocks reached 1.5 ms, and the decoded code is then close together in memory. In a block whose codes are
/// all new, decoding early costs more than it saves: with 250, such a block takes 1.45 to 1.49 times as long as one
/// with known codes, with 4,000 1.24 times, with 40,000 1.16 to 1.20 times (15 rekeyed and merged mainnet blocks, Xeon with
/// AMX, two threads); the times with known codes differ by less than the noise of 4 %.
const GAS_BEFORE_DECODING: u64 = 40_000;
/// Gas that frames which began in decoded form must have used in byte form since then, per block reached,
/// before the reached blocks are decoded again.
const GAS_BEFORE_DECODING_LATER: u64 = 1_000;
/// Gas that a code must have used in byte form, since the last decoding or in total without one, per byte of
/// code, before the whole code is decoded.
const GAS_BEFORE_WHOLE: u64 = 128;

/// The slot of a decoded form in its [`Code`].
const fn slot(extent: Extent) -> usize {
    match extent {
        Extent::Reached => 0,
        Extent::ReachedLater => 1,
        Extent::Whole => 2,
    }
}

/// The decoded form in which the frame runs, made now if the code has used enough gas; `None` for byte form. A frame
/// continues in the form in which it began.
fn decoded_form<'a>(code: &'a Code, pc: usize, evm: &Evm<'_>) -> Option<&'a Decoded> {
    let fork = evm.rules.fork;
    let made = |extent| code.decoded_if_made::<Decoded>(slot(extent));
    let make = |extent| {
        code.forget_work();
        code.decoded(slot(extent), |code| Decoded::new(code, fork, extent), Decoded::bytes)
    };
    let decoded = match Extent::of_pc(pc) {
        Some((extent, _)) => made(extent)?,
        None => {
            let (work, blocks) = (code.work(), u64::from(code.reached_count()) + 1);
            let newest = [Extent::Whole, Extent::ReachedLater, Extent::Reached]
                .into_iter()
                .find_map(|extent| Some((extent, made(extent)?)));
            let whole = work >= GAS_BEFORE_WHOLE * code.len() as u64;
            match newest {
                Some((Extent::Whole, decoded)) => decoded,
                _ if whole => make(Extent::Whole)?,
                Some((Extent::Reached, _)) if work >= GAS_BEFORE_DECODING_LATER * blocks => make(Extent::ReachedLater)?,
                Some((_, decoded)) => decoded,
                None if work >= GAS_BEFORE_DECODING * blocks => make(Extent::Reached)?,
                None => return None,
            }
        }
    };
    decoded.suits(fork).then_some(decoded)
}

/// Runs the top frame until it ends or enters another frame.
pub(super) fn run(evm: &mut Evm<'_>) -> Exit {
    run_form::<true>(evm, core::ptr::null_mut())
}

/// Runs the top frame, in decoded form if `DECODE` allows it and the code has one. Observed by `profile`,
/// unless that is null.
#[inline(always)]
fn run_form<const DECODE: bool>(evm: &mut Evm<'_>, profile: *mut OpcodeProfile) -> Exit {
    evm.assert_frame_fits();
    let frame = &evm.frames[evm.frames.len() - 1];
    let source: *const Code = &*frame.code;
    let (pc, gas_before, stack_base, stack_len) = (frame.pc, frame.gas.left, frame.stack_base, frame.stack_len);
    let is_arena = matches!(frame.code, CodeRef::Arena(_));
    // SAFETY: the frame, and with it the code, exists while the loop runs: only frames above it are pushed and
    // popped, and a reallocation of the frame column moves the reference to the code, not the code.
    let code: &Code = unsafe { &*source };
    let decoded =
        if DECODE && is_arena && (pc == 0 || Extent::of_pc(pc).is_some()) { decoded_form(code, pc, evm) } else { None };
    let (mem, limit) = memory_of(evm);
    let base = evm.stack[stack_base..].as_mut_ptr();
    let mut vm = Vm::new(core::ptr::from_mut(evm).cast(), table::bytes(evm.rules.fork), base, code);
    vm.poll_below = evm.poll_below;
    (vm.input, vm.input_len) = input_of(evm);
    if !profile.is_null() {
        (vm.profile, vm.noted, vm.table) = (profile, vm.table, &raw const NOTED);
    }
    // SAFETY: the stack column has room for a full stack at the frame's base, and at most that many words are
    // in use, as was just checked.
    let sp = unsafe { base.add(stack_len) };
    let mut regs = Regs { pc: vm.code.cast(), sp, gas: gas_before, vm: &raw mut vm, mem, limit };
    let mut byte_pc = Some(pc);
    if let Some(decoded) = decoded {
        vm.decoded = decoded;
        let index = Extent::of_pc(pc).map_or(0, |(_, index)| index);
        if let Some((at, rest)) = decoded.resumed_at(index) {
            byte_pc = match gas_before.checked_sub(u64::from(rest)) {
                Some(rest) => {
                    (regs.pc, regs.gas) = (at, rest);
                    None
                }
                None => Some(decoded.place(at).pc as usize),
            };
        }
    }
    let first: Handler = match byte_pc {
        Some(byte_pc) => {
            (vm.decoded, vm.bytes_from) = (core::ptr::null(), gas_before);
            let bytes = code.padded();
            regs.pc = bytes[byte_pc..].as_ptr().cast();
            // SAFETY: `vm.table` points to one of the static tables.
            unsafe { (*vm.table)[usize::from(bytes[byte_pc])] }
        }
        // SAFETY: `resumed_at` returned a pointer into the instructions.
        None => unsafe { (*regs.pc).head.handler },
    };
    // Taken last, so that no write to `vm` itself comes between taking the pointer and its use.
    regs.vm = &raw mut vm;
    // SAFETY: all pointers in `regs` and `vm` were just made from live values that nothing else accesses during
    // the call.
    unsafe { first(regs.pc, regs.sp, regs.gas, regs.vm, regs.mem, regs.limit) };
    let (left, sp, pc, exit) = (vm.left, vm.sp, vm.pc, vm.exit());
    // If the frame entered another one, that is now on top of it.
    let (index, handed_on) = match exit {
        Exit::Enter => (evm.frames.len() - 2, evm.frames[evm.frames.len() - 1].gas.left),
        _ => (evm.frames.len() - 1, 0),
    };
    if vm.decoded.is_null() && is_arena {
        code.count_work(vm.bytes_from.saturating_sub(left).saturating_sub(handed_on));
    }
    let frame = &mut evm.frames[index];
    (frame.pc, frame.gas.left) = (pc, left);
    frame.stack_len = (sp as usize).wrapping_sub(base as usize) / 32;
    exit
}
