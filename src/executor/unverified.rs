//! Execution that is compared with nothing, to explain why a block was rejected.
//!
//! In: a block on its parent state. Out: [`Unverified`]: what execution produces, whatever the
//! header and the block access list say. The tasks run sequentially.
//! Not here: whether the block is valid (`Executor::execute`), the differences between a block
//! access list and the execution (`diagnose`).

use super::Executor;
use super::input::BlockInput;
use super::outcome::receipts_of;
use super::recover::{RecoveryContext, recover};
use super::root::roots_from_recording;
use crate::arena::changes::StateChanges;
use crate::arena::store::{Guarded, StateStore};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::tasks::{BlockContext, run_sequential};
use crate::exec::interpreter::LoopKind;
use crate::exec::tx::TxOutcome;
use crate::exec::wire::{Block, ReceiptList};
use crate::trie::StateTries;
use alloy_primitives::{Address, B256};
use std::time::Instant;

/// What a block's execution produces. It proves nothing about the block.
#[derive(Debug)]
pub struct Unverified {
    /// Sender of each transaction, from its signature.
    pub senders: Vec<Option<Address>>,
    /// Outcome of each transaction.
    pub transactions: Vec<TxOutcome>,
    /// Receipts in their EIP-2718 encoding. Before Byzantium they contain state roots if tries were
    /// given, else the status.
    pub receipts: ReceiptList,
    /// Requests, type byte first (EIP-7685).
    pub requests: Vec<Vec<u8>>,
    /// Gas used by the block, as the header should state it.
    pub gas_used: u64,
    /// Everything that changed, with its value after the block.
    pub changes: StateChanges,
    /// State root after the block; `None` without tries.
    pub state_root: Option<B256>,
}

impl Executor {
    /// Executes the block on the parent state and returns what it produces, without comparing it
    /// with the header or a block access list. The tries (at the parent's root) are restored before
    /// it returns, earlier uncommitted updates included.
    ///
    /// # Errors
    /// [`BlockError::Invalid`] if the block does not decode or a transaction is invalid;
    /// [`BlockError::Store`]; [`BlockError::Cancelled`].
    pub fn execute_unverified(
        &mut self,
        input: &BlockInput<'_>,
        store: &dyn StateStore,
        tries: Option<&mut StateTries>,
    ) -> Result<Unverified, BlockError> {
        let BlockInput { rules, cancel, .. } = *input;
        let store: &dyn StateStore = &Guarded { store, cancel };
        let block = Block::decode(input.block.clone()).map_err(InvalidBlock::Wire)?;
        let Self { pool, codes, scratches, .. } = self;
        pool.install(|| {
            let recovered = recover(rules, &block, RecoveryContext { cancel, ..RecoveryContext::default() })?;
            let mut context = BlockContext::new(rules, &block, recovered.rows(), LoopKind::default());
            context.cancel = cancel;
            let mut scratch = scratches[0].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let (executed, recording) = run_sequential(&context, store, codes, &mut scratch, Instant::now())?;
            let (changes, roots) = roots_from_recording(rules, block.transactions.len(), store, &recording, tries)?;
            Ok(Unverified {
                receipts: receipts_of(&block, &executed, roots.by_transaction.as_deref()),
                senders: recovered.senders,
                gas_used: executed.gas.used(),
                transactions: executed.outcomes,
                requests: executed.requests,
                changes,
                state_root: roots.state,
            })
        })
    }
}
