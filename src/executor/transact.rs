//! Execution of transactions without the rest of a block, as state tests need it.
//!
//! In: a block, of which only the transactions and the header fields that instructions read are
//! used. Out: the state root and the logs hash.
//! Not here: system calls, rewards, withdrawals, header commitments.

use super::Executor;
use super::input::Options;
use super::outcome::logs_hash;
use super::recover::{RecoveryContext, recover};
use super::root::{undo_on_error, update_from_recording};
use crate::arena::cancel::CancelToken;
use crate::arena::store::{Guarded, StateStore};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::tasks::{BlockContext, run_sequential};
use crate::exec::rules::fork::ChainRules;
use crate::exec::rules::header::check_blob_gas;
use crate::exec::wire::Block;
use crate::trie::StateTries;
use alloy_primitives::{B256, Bytes};
use std::time::Instant;

/// Result of [`Executor::transact`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transacted {
    /// State root after the transactions.
    pub state_root: B256,
    /// keccak256 of the RLP of all their logs.
    pub logs_hash: B256,
}

impl Executor {
    /// Runs only the transactions of a block, sequentially whatever `options.mode` is, on the
    /// parent state. Of the header only the fields that instructions read matter. The tries (at the
    /// parent's root) then hold the update, uncommitted, on top of what was uncommitted before.
    ///
    /// # Errors
    /// [`BlockError::Invalid`] names the first invalid transaction; [`BlockError::Cancelled`] if
    /// `cancel` was set. The tries are then exactly as before the call, earlier uncommitted updates
    /// included.
    pub fn transact(
        &mut self,
        rules: &ChainRules,
        block: Bytes,
        store: &dyn StateStore,
        tries: &mut StateTries,
        options: Options,
        cancel: Option<&CancelToken>,
    ) -> Result<Transacted, BlockError> {
        let Self { pool, codes, scratches, trace, .. } = self;
        let trace = trace.as_ref();
        let store: &dyn StateStore = &Guarded { store, cancel };
        pool.install(|| {
            let block = Block::decode(block).map_err(InvalidBlock::Wire)?;
            check_blob_gas(rules, &block).map_err(InvalidBlock::Header)?;
            let recovered = recover(rules, &block, RecoveryContext { cancel, ..RecoveryContext::default() })?;
            let context = BlockContext::new(rules, &block, recovered.rows(), options.loop_kind);
            let mut context = context.traced(trace);
            context.system_phases = false;
            context.cancel = cancel;
            let mut scratch = scratches[0].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let (executed, recording) = run_sequential(&context, store, codes, &mut scratch, Instant::now())?;
            let tx_count = block.transactions.len();
            let update =
                |tries: Option<&mut StateTries>| update_from_recording(rules, tx_count, store, &recording, tries);
            let (_, roots) = undo_on_error(Some(tries), update)?;
            let logs_hash = logs_hash(&executed.logs, tx_count);
            Ok(Transacted { state_root: roots.state.unwrap_or_default(), logs_hash })
        })
    }
}
