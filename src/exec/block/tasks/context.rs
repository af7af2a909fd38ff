//! What all tasks of a block share, and how one task runs.
//!
//! In: a decoded block, its senders, the rules of its fork; then an index and the state at that index. Out: the task's
//! outcome, with the state settled but not committed.
//! Relies on: `tx` for transactions, `system` for the phases before and after them.
//! Not here: the order of tasks and what becomes of their changes (`sequential`, `from_bal`).

use super::error::TaskError;
use crate::arena::cancel::CancelToken;
use crate::arena::{BlockAccessIndex, Id, TxIndex};
use crate::exec::block::admission::BlockGas;
use crate::exec::block::error::BlockError;
use crate::exec::block::system::{Rewards, SystemInputs};
use crate::exec::evm::machine::{BlockEnv, Evm};
use crate::exec::interpreter::trace::{Eip3155, TraceSink};
use crate::exec::interpreter::{LoopKind, Runner};
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::rules::header::blob_base_fee;
use crate::exec::senders::rows::SenderRows;
use crate::exec::tx::{TxInput, TxInvalid, TxOutcome};
use crate::exec::wire::Block;
use alloy_primitives::U256;

/// Inputs that all tasks of a block share.
#[derive(Debug)]
pub struct BlockContext<'b> {
    /// The chain's rules at this block.
    pub rules: &'b ChainRules,
    /// The block.
    pub block: &'b Block,
    /// The block's fields that instructions read.
    pub env: BlockEnv,
    /// Senders of its transactions and authorities of its authorizations (EIP-7702).
    pub senders: SenderRows<'b>,
    /// The dispatch loop that runs frames.
    pub loop_kind: LoopKind,
    /// Whether the system phases before and after the transactions run. State tests have neither.
    pub system_phases: bool,
    /// Receives the EIP-3155 trace of the transactions. The tasks of a traced block run one after another.
    pub trace: Option<&'b TraceSink>,
    /// Cancels the block.
    pub cancel: Option<&'b CancelToken>,
    inputs: SystemInputs,
}

impl<'b> BlockContext<'b> {
    /// A context with system phases, without trace and without cancellation.
    pub fn new(rules: &'b ChainRules, block: &'b Block, senders: SenderRows<'b>, loop_kind: LoopKind) -> Self {
        let header = &block.header;
        let env = BlockEnv {
            chain_id: rules.chain_id,
            number: header.number,
            timestamp: header.timestamp,
            coinbase: header.coinbase,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee.unwrap_or_default(),
            difficulty: if rules.fork >= Fork::Paris {
                U256::from_be_bytes(header.mix_hash.0)
            } else {
                header.difficulty
            },
            blob_base_fee: blob_base_fee(rules, header.excess_blob_gas.unwrap_or_default()),
            slot_number: header.slot_number.unwrap_or_default(),
        };
        Self {
            rules,
            block,
            env,
            senders,
            loop_kind,
            system_phases: true,
            trace: None,
            cancel: None,
            inputs: SystemInputs::of(rules.fork_rules(), block),
        }
    }

    /// The same context with the given trace sink, or without tracing.
    pub fn traced(self, trace: Option<&'b TraceSink>) -> Self {
        Self { trace, ..self }
    }

    /// The same context with other rewards than those of the fork.
    pub fn with_rewards(mut self, rewards: Rewards) -> Self {
        self.inputs.rewards = rewards;
        self
    }

    /// Number of transactions.
    pub fn tx_count(&self) -> usize {
        self.block.transactions.len()
    }

    fn tx_input(&'b self, index: TxIndex) -> TxInput<'b> {
        let transactions = &self.block.transactions;
        TxInput {
            transactions,
            index,
            sender: self.senders.sender(index),
            authorities: self.senders.authorities(transactions.authorization_rows(index)),
        }
    }

    /// The transaction at `index`; `None` for the phases before and after the transactions.
    pub(in crate::exec) fn tx_at(&self, index: BlockAccessIndex) -> Option<TxIndex> {
        let tx = TxIndex(index.0.checked_sub(1)?);
        (tx.index() < self.tx_count()).then_some(tx)
    }

    /// Checks that the gas limit of the transaction at `index` fits into the gas left in the block. System phases
    /// always pass.
    pub(in crate::exec) fn admit(&self, index: BlockAccessIndex, gas: &BlockGas) -> Result<(), TxInvalid> {
        let Some(tx) = self.tx_at(index) else { return Ok(()) };
        let tx_limit = self.block.transactions.row(tx).gas_limit;
        gas.admit(self.rules.fork_rules(), self.block.header.gas_limit, tx_limit)
    }

    /// The error of a block that was cancelled before the task at `index` was done.
    pub(in crate::exec) fn cancelled_at(&self, index: BlockAccessIndex) -> BlockError {
        BlockError::Cancelled(format!("before the task at index {} of 0 to {} was done", index.0, self.tx_count() + 1))
    }

    /// Runs the next task of a sequential run: [`Self::run_task`] if its transaction is admitted, as [`Self::admit`]
    /// tells.
    pub(in crate::exec) fn run_admitted(
        &'b self,
        evm: &mut Evm<'b>,
        runner: &mut Runner,
        index: BlockAccessIndex,
        admitted: Result<(), TxInvalid>,
        requests: &mut Vec<Vec<u8>>,
    ) -> Result<TxOutcome, BlockError> {
        let result = match (admitted, self.tx_at(index)) {
            // A fault that the transaction has independent of the state and of the block's gas takes precedence over
            // too little gas left in the block.
            (Err(fault), Some(tx)) => Err(evm.static_fault(&self.tx_input(tx)).unwrap_or(fault).into()),
            _ => self.run_task(evm, runner, index, requests),
        };
        result.map_err(|error| error.into_block_error(index))
    }

    /// Runs the task at `index` on the state of `evm`. Afterwards the state is settled but not committed.
    pub(in crate::exec) fn run_task(
        &'b self,
        evm: &mut Evm<'b>,
        runner: &mut Runner,
        index: BlockAccessIndex,
        requests: &mut Vec<Vec<u8>>,
    ) -> Result<TxOutcome, TaskError> {
        evm.state.set_index(index);
        runner.trace = None;
        match self.tx_at(index) {
            Some(tx) => self.run_tx(evm, runner, tx),
            // Logs of system calls appear in no receipt.
            None => self.run_phase(evm, runner, index, requests).map(|()| TxOutcome::default()),
        }
    }

    fn run_tx(&'b self, evm: &mut Evm<'b>, runner: &mut Runner, tx: TxIndex) -> Result<TxOutcome, TaskError> {
        let Some(sink) = self.trace else {
            return Ok(evm.execute_tx(&self.tx_input(tx), runner)?);
        };
        runner.trace = Some(Box::new(Eip3155::new(sink.clone())));
        evm.return_data.clear();
        let outcome = evm.execute_tx(&self.tx_input(tx), runner)?;
        if let Some(trace) = &mut runner.trace {
            trace.summary(tx.0, &evm.return_data, outcome.gas_paid, outcome.success);
        }
        Ok(outcome)
    }

    /// Runs the system phase before the transactions (index 0) or after them.
    fn run_phase(
        &'b self,
        evm: &mut Evm<'b>,
        runner: &mut Runner,
        index: BlockAccessIndex,
        requests: &mut Vec<Vec<u8>>,
    ) -> Result<(), TaskError> {
        if !self.system_phases {
            return Ok(());
        }
        if index.0 == 0 {
            evm.pre_execution(&self.inputs, runner)?;
        } else {
            evm.post_execution(&self.inputs, self.block, requests, runner)?;
        }
        Ok(())
    }
}
