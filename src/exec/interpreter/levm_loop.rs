//! A loop in the shape of ethrex's LEVM, for research: a table of handlers, with all state in the frame.
//!
//! In and out: as every loop (see the module above). Program counter, gas and stack height live in the frame; every
//! instruction loads, changes and stores them. Each handler checks its own stack, charges its own gas and
//! returns whether to continue. On our host and state this shows what LEVM's dispatch costs, apart from what
//! its state costs.
//! Only with the feature `reference-loop`, because it serves comparison alone. It is not a crate beside the comparison:
//! a loop changes the frame's private fields, on whose consistency the tail loop's unsafe code relies.
//! Relies on: `match_loop::step`. Not here: instruction bodies (`ops`); speed is no goal.

use super::match_loop::{Registers, step};
use crate::arena::code::Code;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{CodeRef, Evm, Exit};

/// What the loop does after a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Continue,
    Leave(Exit),
}

type Handler = fn(&mut Evm<'_>, &Code) -> Result<Outcome, Halt>;

/// Executes one instruction on the state kept in the frame.
fn handler<const OPCODE: u8>(evm: &mut Evm<'_>, code: &Code) -> Result<Outcome, Halt> {
    let frame = evm.frame();
    let base = frame.stack_base;
    let mut regs = Registers { pc: frame.pc, left: frame.gas.left, top: base + frame.stack_len };
    let index = evm.frames.len() - 1;
    let outcome = step(evm, &mut regs, code, base, OPCODE);
    // If the instruction entered an inner frame, that is now on top.
    let frame = &mut evm.frames[index];
    (frame.pc, frame.gas.left, frame.stack_len) = (regs.pc, regs.left, regs.top - base);
    Ok(match outcome? {
        None => Outcome::Continue,
        Some(exit) => Outcome::Leave(exit),
    })
}

/// Handlers by opcode.
static TABLE: [Handler; 256] = {
    macro_rules! row {
        ($high:literal: $($low:literal)*) => { [$(handler::<{ $high * 16 + $low }> as Handler),*] };
    }
    macro_rules! rows {
        ($($high:literal)*) => { [$(row!($high: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)),*] };
    }
    let rows: [[Handler; 16]; 16] = rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let mut table = [rows[0][0]; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = rows[index / 16][index % 16];
        index += 1;
    }
    table
};

/// Runs the top frame until it ends or enters another frame.
pub(super) fn run(evm: &mut Evm<'_>) -> Exit {
    let code: CodeRef<'_> = evm.frame().code.clone();
    loop {
        let opcode = code.padded()[evm.frame().pc];
        match TABLE[usize::from(opcode)](evm, &code) {
            Ok(Outcome::Continue) => {}
            Ok(Outcome::Leave(exit)) => return exit,
            Err(halt) => return Exit::Halt(halt),
        }
    }
}
