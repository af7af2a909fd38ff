//! Instruction bodies, shared by our dispatch loops.
//!
//! In: the words that the instruction takes, the machine, the gas left. Out: a result word, or the halt. A body charges
//! dynamic gas and has the instruction's effect.
//! Relies on: the loop has checked stack height and fork and has charged static gas.
//! Not here: stack pointer and program counter.

pub mod arithmetic;
pub mod bitwise;
pub mod call;
pub mod control;
pub mod env;
pub mod exp;
pub mod log;
pub mod memory;
pub mod storage;
