//! Instruction bodies, shared by all loops.
//!
//! A body sees words, the machine and the gas left, never a stack pointer or a program counter: stack height, static gas
//! and the fork were settled before it runs. What is left to it is its dynamic gas and its effect.

pub mod arithmetic;
pub mod bitwise;
pub mod call;
pub mod control;
pub mod env;
pub mod exp;
pub mod log;
pub mod memory;
pub mod storage;
