//! The instructions as handlers, each for both forms of code. Contract and duties: see `machine`.

mod control;
mod memory;
mod out_of_line;
mod stack;
mod words;

pub(super) use control::*;
pub(super) use memory::*;
pub(super) use out_of_line::*;
pub(super) use stack::*;
pub(super) use words::*;
