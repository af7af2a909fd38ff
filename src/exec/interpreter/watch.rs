//! Access watcher: records which instructions touch given accounts and slots.
//!
//! In: the events of a loop; the accounts and slots of interest. Out: [`Touch`]es. The operands of an
//! instruction tell what it touches, so the stack before it suffices; a created account is recorded when its
//! frame is entered.
//! Not here: whether a touch became an access (gas may run out before), and what transactions access outside of code.

use super::observe::{Observer, StepView};
use super::opcode::{self, op};
use crate::arena::BlockAccessIndex;
use crate::exec::evm::halt::Halt;
use crate::exec::evm::machine::{Evm, FrameEnd, FrameKind};
use alloy_primitives::{Address, U256};
use std::collections::{BTreeMap, BTreeSet};

/// Touches kept per account or slot and block access index; later ones are only counted.
pub const TOUCHES_MAX: usize = 16;

/// An account (`None`), or one of its slots, by key.
pub type Name = (Address, Option<U256>);

/// One instruction whose operands refer to a watched account or slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Touch {
    /// The transaction's index, from 0; `None` in the system calls before and after the transactions.
    pub transaction: Option<u32>,
    /// Depth of the frame; that of the outermost frame is 1.
    pub depth: usize,
    /// ADDRESS of the frame: the contract whose storage it accesses.
    pub contract: Address,
    /// Position in the code that runs.
    pub pc: usize,
    /// The instruction's mnemonic.
    pub opcode: &'static str,
}

/// Touches of one account or slot at one block access index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// The first [`TOUCHES_MAX`] touches, in order.
    pub first: Vec<Touch>,
    /// The number of all touches.
    pub count: usize,
}

/// Observer that records touches of given accounts and slots.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    names: BTreeSet<Name>,
    index: BlockAccessIndex,
    transaction: Option<u32>,
    last: (usize, u8, Address),
    /// The touches, by account or slot and block access index.
    pub touches: BTreeMap<(Name, BlockAccessIndex), Touches>,
}

impl Watch {
    /// A watch for these accounts and slots.
    pub fn for_names(names: BTreeSet<Name>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Starts a task: the touches that follow belong to this index and transaction.
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
            // The creator's nonce and balance change; the created address is recorded when its frame is entered.
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
