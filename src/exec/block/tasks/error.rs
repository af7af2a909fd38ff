//! Why one task failed, before it is known which task decides the block's error.
//!
//! In: errors of a transaction, of a system phase, of the comparison with a block access list. Out: [`TaskError`], and
//! the block's error for a task at a given index.
//! Relies on: `block::error`, which defines the errors of a block.
//! Not here: which of several failed tasks is reported (`from_bal`, `optimistic`).

use crate::arena::store::StoreError;
use crate::arena::{BlockAccessIndex, TxIndex};
use crate::exec::block::error::{BlockError, InternalFault, InvalidBlock, Mismatch, MismatchField};
use crate::exec::block::system::PhaseError;
use crate::exec::block::verify::TaskDifference;
use crate::exec::evm::halt::Fault;
use crate::exec::tx::{TxError, TxInvalid};

/// Why a task failed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::exec) enum TaskError {
    Tx(TxInvalid),
    Phase(Box<InvalidBlock>),
    Mismatch(Box<Mismatch>),
    Internal(InternalFault),
    Fault(Fault),
}

impl From<TaskDifference> for TaskError {
    fn from(difference: TaskDifference) -> Self {
        match difference {
            TaskDifference::Mismatch(mismatch) => Self::Mismatch(mismatch),
            TaskDifference::Internal(fault) => Self::Internal(fault),
        }
    }
}

impl From<TxInvalid> for TaskError {
    fn from(invalid: TxInvalid) -> Self {
        Self::Tx(invalid)
    }
}

impl From<TxError> for TaskError {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Invalid(invalid) => Self::Tx(invalid),
            TxError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<PhaseError> for TaskError {
    fn from(error: PhaseError) -> Self {
        match error {
            PhaseError::Invalid(invalid) => Self::Phase(invalid),
            PhaseError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl TaskError {
    /// Converts to the block's error, for the task at `index`.
    pub(in crate::exec) fn into_block_error(self, index: BlockAccessIndex) -> BlockError {
        let mismatch = |address, field, slot| {
            let index = Some(index);
            InvalidBlock::Mismatch(Box::new(Mismatch { address, field, slot, index, claimed: None, produced: None }))
                .into()
        };
        match self {
            Self::Tx(fault) => InvalidBlock::Tx { index: TxIndex(index.0.saturating_sub(1)), fault }.into(),
            Self::Phase(invalid) => BlockError::Invalid(invalid),
            Self::Mismatch(mismatch) => InvalidBlock::Mismatch(mismatch).into(),
            Self::Internal(fault) => fault.into(),
            Self::Fault(Fault::UnlistedAccount(address)) => mismatch(address, MismatchField::UnlistedAccount, None),
            Self::Fault(Fault::UnlistedSlot(address, key)) => mismatch(address, MismatchField::UnlistedSlot, Some(key)),
            Self::Fault(Fault::Store(error)) if error != StoreError::Cancelled => BlockError::Store(error),
            Self::Fault(fault) => BlockError::Cancelled(format!("at index {}: {fault}", index.0)),
        }
    }
}
