//! Watch: which instruction touched an account or a slot.
//!
//! In: the events of a loop, names of interest. Out: [`Touch`]es. An instruction names what it touches by its operands, so
//! that it is enough to look at the stack before it; a creation is noted when its frame is entered.
//! Not here: whether a touch made an access (gas may run out before it), what transactions do outside of code.

use super::observe::{Observer, StepView};
use super::opcode::{self, op};
use crate::arena::BlockAccessIndex;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd, FrameKind};
use alloy_primitives::{Address, U256};
use std::collections::{BTreeMap, BTreeSet};

/// Touches kept per name and index; later ones are only counted.
pub const TOUCHES_MAX: usize = 16;

/// An account, or one of its slots.
pub type Name = (Address, Option<U256>);

/// One instruction that names an account or a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Touch {
    /// The transaction, from 0; none in the system calls before and after them.
    pub transaction: Option<u32>,
    /// Depth of the frame, the outermost is 1.
    pub depth: usize,
    /// ADDRESS of the frame: whose storage it works on.
    pub contract: Address,
    /// Position in the code that runs.
    pub pc: usize,
    /// The instruction.
    pub opcode: &'static str,
}

/// Touches of one name at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// The first ones, in order.
    pub first: Vec<Touch>,
    /// All of them.
    pub count: usize,
}

/// Watches for names.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    names: BTreeSet<Name>,
    index: BlockAccessIndex,
    transaction: Option<u32>,
    last: (usize, u8, Address),
    /// What touched them.
    pub touches: BTreeMap<(Name, BlockAccessIndex), Touches>,
}

impl Watch {
    /// A watch for these names.
    pub fn for_names(names: BTreeSet<Name>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Starts a task.
    pub fn begin(&mut self, index: BlockAccessIndex, transaction: Option<u32>) {
        (self.index, self.transaction) = (index, transaction);
    }

    fn touch(&mut self, name: Name, depth: usize) {
        if !self.names.contains(&name) {
            return;
        }
        let (pc, opcode, contract) = self.last;
        let touches = self.touches.entry((name, self.index)).or_default();
        touches.count += 1;
        if touches.first.len() < TOUCHES_MAX {
            let opcode = opcode::name(opcode).unwrap_or("INVALID");
            touches.first.push(Touch { transaction: self.transaction, depth, contract, pc, opcode });
        }
    }
}

impl Observer for Watch {
    const ON: bool = true;

    fn step(&mut self, evm: &Evm<'_>, step: &StepView<'_>) {
        let Some(frame) = evm.frames.last() else { return };
        self.last = (step.pc, step.opcode, frame.address);
        let operand = |from_top: usize| step.stack.len().checked_sub(from_top + 1).map(|at| step.stack[at]);
        let address = |word: U256| Address::from_word(word.into());
        match step.opcode {
            op::SLOAD | op::SSTORE => {
                if let Some(key) = operand(0) {
                    self.touch((frame.address, Some(key)), step.depth);
                }
            }
            op::BALANCE | op::EXTCODESIZE | op::EXTCODECOPY | op::EXTCODEHASH | op::SELFDESTRUCT => {
                if let Some(word) = operand(0) {
                    self.touch((address(word), None), step.depth);
                }
                if step.opcode == op::SELFDESTRUCT {
                    self.touch((frame.address, None), step.depth);
                }
            }
            op::CALL | op::CALLCODE | op::DELEGATECALL | op::STATICCALL => {
                if let Some(word) = operand(1) {
                    self.touch((address(word), None), step.depth);
                }
                if step.opcode == op::CALL && operand(2).is_some_and(|value| !value.is_zero()) {
                    self.touch((frame.address, None), step.depth);
                }
            }
            // The creator's nonce and balance; what is created is known when its frame is entered.
            op::CREATE | op::CREATE2 => self.touch((frame.address, None), step.depth),
            _ => {}
        }
    }

    fn step_end(&mut self, _: &Evm<'_>, _: u64, _: Option<Halt>) {}

    fn enter(&mut self, evm: &Evm<'_>) {
        if let [.., _, frame] = evm.frames.as_slice()
            && frame.kind == FrameKind::Create
        {
            self.touch((frame.address, None), evm.frames.len() - 1);
        }
    }

    fn leave(&mut self, _: &Evm<'_>, _: &FrameEnd) {}
}
