//! The result of executing a block, in block order.
//!
//! In: the outcome of each transaction, appended in block order. Out: [`Executed`]: outcomes, logs, requests, gas, and
//! when each task ran.
//! Relies on: `admission` for the block's gas, `system` for deposit requests.
//! Not here: receipts, their root, and the other commitments of the header (`executor`).

use super::context::BlockContext;
use super::error::TaskError;
use crate::arena::{BlockAccessIndex, Id, TxIndex};
use crate::exec::block::admission::BlockGas;
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::system::collect_deposits;
use crate::exec::evm::state::Logs;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::tx::TxOutcome;
use crate::exec::wire::ReceiptLogs;
use alloy_primitives::Address;

/// The time that one task took on a worker, in nanoseconds since the start of the block's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskSpan {
    /// Block access index of the task.
    pub index: BlockAccessIndex,
    /// Number of the worker that ran it.
    pub worker: u32,
    /// Index of the worker's thread in the rayon pool.
    pub thread: u32,
    /// Start, ns.
    pub start_ns: u64,
    /// End, ns.
    pub end_ns: u64,
}

/// Index of the current thread in its rayon pool; 0 outside a pool.
pub fn current_thread() -> u32 {
    rayon::current_thread_index().unwrap_or_default() as u32
}

/// Logs of a block in transaction order.
#[derive(Clone, Debug, Default)]
pub struct BlockLogs {
    pub(in crate::exec) workers: Vec<Logs>,
    /// For each transaction, the worker that ran it and the range in that worker's logs.
    pub(in crate::exec) ranges: Vec<(u32, core::ops::Range<usize>)>,
}

impl BlockLogs {
    /// Logs of one transaction, each as emitter, topics and data.
    pub fn of(
        &self,
        tx: TxIndex,
    ) -> impl ExactSizeIterator<Item = (&Address, &[alloy_primitives::B256], &[u8])> + Clone {
        let (worker, range) = &self.ranges[tx.index()];
        let logs = &self.workers[*worker as usize];
        range.clone().map(move |index| logs.get(index))
    }
}

/// Result of executing a block, before roots are computed.
#[derive(Debug, Default)]
pub struct Executed {
    /// Outcome of each transaction.
    pub outcomes: Vec<TxOutcome>,
    /// Logs of all transactions.
    pub logs: BlockLogs,
    /// Requests, type byte first (EIP-7685).
    pub requests: Vec<Vec<u8>>,
    /// Gas of the block.
    pub gas: BlockGas,
    /// Start and end of each task, by block access index.
    pub spans: Vec<TaskSpan>,
    /// The encoded logs and blooms of receipts, one element per worker; empty where workers did not encode them.
    pub receipt_logs: Vec<ReceiptLogs>,
    /// For each transaction, its element of `receipt_logs` and the row in there; empty where `receipt_logs` is.
    pub receipt_places: Vec<(u32, u32)>,
}

impl Executed {
    /// An empty result with capacity for `tx_count` transactions.
    pub(in crate::exec) fn with_room_for(tx_count: usize) -> Self {
        Self {
            outcomes: Vec::with_capacity(tx_count),
            logs: BlockLogs { workers: Vec::new(), ranges: Vec::with_capacity(tx_count) },
            spans: Vec::with_capacity(tx_count + 2),
            ..Self::default()
        }
    }

    /// Appends the result of the next transaction in block order, after checking that its gas limit fits into the gas
    /// left.
    ///
    /// # Errors
    /// A fault of the transaction alone, else [`TxInvalid::GasAllowance`], else the task's error.
    pub(in crate::exec) fn include(
        &mut self,
        context: &BlockContext<'_>,
        index: BlockAccessIndex,
        worker: u32,
        result: Result<TxOutcome, TaskError>,
    ) -> Result<(), BlockError> {
        let is_static = matches!(&result, Err(TaskError::Tx(fault)) if fault.is_static());
        let admitted = if is_static { Ok(()) } else { context.admit(index, &self.gas).map_err(TaskError::from) };
        let outcome = admitted.and(result).map_err(|error| error.into_block_error(index))?;
        self.push(worker, outcome);
        Ok(())
    }

    /// Appends the outcome of the next transaction in block order.
    pub(super) fn push(&mut self, worker: u32, outcome: TxOutcome) {
        self.gas.add(&outcome);
        self.logs.ranges.push((worker, outcome.logs.clone()));
        self.outcomes.push(outcome);
    }

    /// Collects the deposit requests from the logs (EIP-6110) and puts them before the other requests.
    pub(in crate::exec) fn add_deposits(&mut self, rules: &ChainRules) -> Result<(), InvalidBlock> {
        if rules.fork < Fork::Prague {
            return Ok(());
        }
        let mut deposits = vec![0x00];
        for index in 0..self.outcomes.len() {
            let tx = TxIndex::new(index);
            collect_deposits(&rules.deposit_contract, tx, self.logs.of(tx), &mut deposits)?;
        }
        if deposits.len() > 1 {
            self.requests.insert(0, deposits);
        }
        Ok(())
    }
}
