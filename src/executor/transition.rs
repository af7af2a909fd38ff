//! State transition: the block that given transactions make, without those that are invalid. Block building is the same
//! with the rule that none may be.
//!
//! In: a header template, transactions, withdrawals, rewards, the parent state. Out: the sealed block with its block
//! access list, and everything that execution produced.
//!
//! The tasks run sequentially and record the block access list; the header's commitments are filled in from what
//! execution produces.
//! Not here: choosing transactions; ommers as headers.

use super::Executor;
use super::check::check_item_limit;
use super::outcome::{logs_hash, receipts_of};
use super::recover::{RecoveryContext, recover};
use super::root::roots_from_recording;
use crate::arena::cancel::CancelToken;
use crate::arena::changes::StateChanges;
use crate::arena::store::{Guarded, StateStore};
use crate::arena::{Id, TxIndex};
use crate::bal;
use crate::exec::block::admission::BlockGas;
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::system::Rewards;
use crate::exec::block::tasks::{BlockContext, BlockLogs, Selection, run_selecting, run_sequential};
use crate::exec::block::verify::requests_hash;
use crate::exec::interpreter::LoopKind;
use crate::exec::rules::fork::{ChainRules, Fork};
use crate::exec::rules::header::check_blob_gas;
use crate::exec::tx::{TxInvalid, TxOutcome};
use crate::exec::wire::{Block, Header, ReceiptList, Transactions, WireError, assemble_with_withdrawals};
use crate::trie::{EMPTY_ROOT, StateTries, ordered_root};
use alloy_primitives::{Address, B256, Bytes, U256};
use std::time::Instant;

/// Body of a block to build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    /// EIP-2718 encodings of the transactions, in order.
    pub transactions: &'a [Vec<u8>],
    /// RLP of each withdrawal (EIP-4895) in order; none before Shanghai.
    pub withdrawals: &'a [Vec<u8>],
}

impl<'a> From<&'a Vec<Vec<u8>>> for Body<'a> {
    fn from(transactions: &'a Vec<Vec<u8>>) -> Self {
        Self { transactions, withdrawals: &[] }
    }
}

/// What [`Executor::transition`] executes. [`TransitionInput::new`] makes one; the fields add to it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TransitionInput<'a> {
    /// Rules of the block's fork and chain.
    pub rules: &'a ChainRules,
    /// The fields that a builder chooses: parent hash, coinbase, number, gas limit, timestamp, extra data, mix hash,
    /// base fee, excess blob gas, beacon root, slot number, difficulty. All other fields are filled in.
    pub template: &'a Header,
    /// Transactions and withdrawals.
    pub body: Body<'a>,
    /// Beneficiary of each ommer, and by how much its number is below the block's.
    pub ommers: &'a [(Address, u64)],
    /// Reward in wei of a block without ommers; `None`: nothing is credited, and the beneficiary is not accessed.
    pub reward: Option<U256>,
    /// Which interpreter loop executes the code.
    pub loop_kind: LoopKind,
    /// Token that cancels the execution.
    pub cancel: Option<&'a CancelToken>,
}

impl<'a> TransitionInput<'a> {
    /// A block without transactions, withdrawals and ommers, with the reward of its fork.
    pub fn new(rules: &'a ChainRules, template: &'a Header) -> Self {
        let reward = rules.fork_rules().reward();
        Self {
            rules,
            template,
            body: Body::default(),
            ommers: &[],
            reward: (!reward.is_zero()).then_some(reward),
            loop_kind: LoopKind::default(),
            cancel: None,
        }
    }
}

/// Result of [`Executor::transition`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transition {
    /// The sealed header. Its ommers hash is that of a block without ommers.
    pub header: Header,
    /// RLP of the block of the included transactions.
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928), as recorded.
    pub bal: Bytes,
    /// Position in the input of each included transaction.
    pub included: Vec<usize>,
    /// The transactions that are not included, by position.
    pub rejected: Vec<Rejected>,
    /// Why the block is invalid although its transactions are valid: a deposit log, a request contract, the size of its
    /// block access list. The phase after the transactions then left no change if it failed.
    pub fault: Option<Box<InvalidBlock>>,
    /// Outcome of each included transaction.
    pub transactions: Vec<TxOutcome>,
    /// Logs by included transaction.
    pub logs: BlockLogs,
    /// keccak256 of the RLP of all logs.
    pub logs_hash: B256,
    /// Receipts in their EIP-2718 encoding.
    pub receipts: ReceiptList,
    /// State root after each included transaction, which receipts contain before Byzantium; `None` from Byzantium on.
    pub receipt_roots: Option<Vec<B256>>,
    /// Requests, type byte first (EIP-7685).
    pub requests: Vec<Vec<u8>>,
    /// Gas in both dimensions (execution and state), and the gas that senders paid for.
    pub gas: BlockGas,
    /// Everything that changed, with its value after the block.
    pub changes: StateChanges,
}

/// A transaction that is not included.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rejected {
    /// Position in the input, from 0.
    pub index: usize,
    /// Why.
    pub reason: Rejection,
}

/// Why a transaction is not included in a [`Transition`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Its encoding is invalid.
    #[error("malformed transaction: {0}")]
    Wire(WireError),
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(TxInvalid),
}

impl Rejection {
    /// Exception classes of the execution-spec tests that apply to this error, the most specific first.
    pub fn eest_classes(&self) -> Vec<&'static str> {
        match self {
            Self::Wire(error) => error.eest_classes().to_vec(),
            Self::Invalid(fault) => vec![fault.eest_class()],
        }
    }
}

/// What becomes of the block where a transaction is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnInvalid {
    /// There is no block.
    Refuse,
    /// The transaction is left out.
    LeaveOut,
}

impl Executor {
    /// Executes the transactions on the parent state and seals a block of those that are valid, each in the place where
    /// it stands. One that is not leaves no trace in gas, logs, block access list and state. All forks.
    ///
    /// The tries (at the parent's root) are restored before it returns, earlier uncommitted updates included. The EIP-3155
    /// lines of [`Self::trace_to`] are written; `transactionIndex` counts all transactions.
    ///
    /// # Errors
    /// Those that say nothing about the block: the store failed, or it was cancelled; and [`BlockError::Invalid`] if a
    /// withdrawal is malformed.
    pub fn transition(
        &mut self,
        input: &TransitionInput<'_>,
        store: &dyn StateStore,
        tries: &mut StateTries,
    ) -> Result<Transition, BlockError> {
        self.produce(input, OnInvalid::LeaveOut, store, tries)
    }

    /// [`Self::transition`], or block building, which refuses invalid transactions and writes no trace.
    pub(super) fn produce(
        &mut self,
        input: &TransitionInput<'_>,
        on_invalid: OnInvalid,
        store: &dyn StateStore,
        tries: &mut StateTries,
    ) -> Result<Transition, BlockError> {
        let TransitionInput { rules, template, body, ommers, reward, loop_kind, cancel } = *input;
        let leaves_out = on_invalid == OnInvalid::LeaveOut;
        let fork = rules.fork;
        let mut header = with_placeholders(template, rules, body.withdrawals);
        self.codes.evict(self.code_bytes_max);
        let Self { pool, codes, scratches, trace, .. } = self;
        let trace = trace.as_ref().filter(|_| leaves_out);
        let store: &dyn StateStore = &Guarded { store, cancel };
        pool.install(|| {
            let Candidates { transactions, mut places, mut rejected } = match on_invalid {
                OnInvalid::Refuse => Candidates::all(body.transactions),
                OnInvalid::LeaveOut => Candidates::well_formed(body.transactions),
            };
            let unsealed = assemble_with_withdrawals(&header, &transactions, body.withdrawals);
            let mut block = Block::decode(unsealed.into()).map_err(InvalidBlock::Wire)?;
            if !leaves_out && fork >= Fork::Cancun {
                check_blob_gas(rules, &block).map_err(InvalidBlock::Header)?;
            }

            let recovered = recover(rules, &block, RecoveryContext { cancel, ..RecoveryContext::default() })?;
            let mut context = BlockContext::new(rules, &block, recovered.rows(), loop_kind).traced(trace);
            context = context.with_rewards(Rewards { block: reward, ommers: ommers.to_vec() });
            context.cancel = cancel;
            let mut scratch = scratches[0].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let clock = Instant::now();
            let (executed, recording, selection) = if leaves_out {
                run_selecting(&context, store, codes, &mut scratch, clock)?
            } else {
                let (executed, recording) = run_sequential(&context, store, codes, &mut scratch, clock)?;
                (executed, recording, Selection::default())
            };

            let Selection { rejected: left_out, mut fault, .. } = selection;
            let mut transactions = transactions;
            if !left_out.is_empty() {
                let reason = |&(tx, fault): &(TxIndex, TxInvalid)| Rejected {
                    index: places[tx.index()],
                    reason: Rejection::Invalid(fault),
                };
                rejected.extend(left_out.iter().map(reason));
                rejected.sort_by_key(|rejected| rejected.index);
                // They were left out in order.
                let is_left_out = |tx: usize| left_out.binary_search_by_key(&tx, |(tx, _)| tx.index()).is_ok();
                let kept: Vec<usize> = (0..places.len()).filter(|tx| !is_left_out(*tx)).collect();
                transactions = kept.iter().map(|tx| transactions[*tx]).collect();
                places = kept.iter().map(|tx| places[*tx]).collect();
                let unsealed = assemble_with_withdrawals(&header, &transactions, body.withdrawals);
                block = Block::decode(unsealed.into()).map_err(InvalidBlock::Wire)?;
            }
            header.ommers_hash = block.ommers_hash();
            header.transactions_root = ordered_root(&transactions);
            if fork >= Fork::Cancun {
                header.blob_gas_used = Some(check_blob_gas(rules, &block).map_err(InvalidBlock::Header)?);
            }
            let (changes, roots) = roots_from_recording(rules, transactions.len(), store, &recording, Some(tries))?;
            let receipts = receipts_of(&block, &executed, roots.by_transaction.as_deref());
            let items: Vec<&[u8]> = receipts.iter().collect();
            header.receipts_root = ordered_root(&items);
            header.logs_bloom = *receipts.bloom();
            header.gas_used = executed.gas.used();
            header.requests_hash = (fork >= Fork::Prague).then(|| requests_hash(&executed.requests));
            if fork >= Fork::Amsterdam {
                match check_item_limit(&recording.list, transactions.len(), header.gas_limit) {
                    Err(BlockError::Invalid(invalid)) if leaves_out => drop(fault.get_or_insert(invalid)),
                    checked => checked?,
                }
            }
            let bal = recording.list.bytes.clone();
            header.block_access_list_hash = (fork >= Fork::Amsterdam).then(|| bal::bal_hash(&bal));
            header.state_root = roots.state.unwrap_or_default();
            let block = assemble_with_withdrawals(&header, &transactions, body.withdrawals).into();
            Ok(Transition {
                header,
                block,
                bal,
                included: places,
                rejected,
                fault,
                logs_hash: logs_hash(&executed.logs, executed.outcomes.len()),
                transactions: executed.outcomes,
                logs: executed.logs,
                receipts,
                receipt_roots: roots.by_transaction,
                requests: executed.requests,
                gas: executed.gas,
                changes,
            })
        })
    }
}

/// The template with the withdrawals root, and with placeholders of values not known yet: an optional field of a header
/// is encoded only if all earlier ones are present.
fn with_placeholders(template: &Header, rules: &ChainRules, withdrawals: &[Vec<u8>]) -> Header {
    let since = |fork: Fork| rules.fork >= fork;
    let withdrawals_root = || if withdrawals.is_empty() { EMPTY_ROOT } else { ordered_root(&as_slices(withdrawals)) };
    Header {
        withdrawals_root: since(Fork::Shanghai).then(withdrawals_root),
        blob_gas_used: since(Fork::Cancun).then_some(0),
        requests_hash: since(Fork::Prague).then_some(B256::ZERO),
        block_access_list_hash: since(Fork::Amsterdam).then_some(B256::ZERO),
        ..template.clone()
    }
}

/// The transactions to execute.
struct Candidates<'a> {
    transactions: Vec<&'a [u8]>,
    /// The position of each in the input.
    places: Vec<usize>,
    /// Those whose encoding is invalid.
    rejected: Vec<Rejected>,
}

impl<'a> Candidates<'a> {
    /// All transactions of the input.
    fn all(input: &'a [Vec<u8>]) -> Self {
        Self { transactions: as_slices(input), places: (0..input.len()).collect(), rejected: Vec::new() }
    }

    /// The transactions whose encoding is valid.
    fn well_formed(input: &'a [Vec<u8>]) -> Self {
        let mut candidates = Self { transactions: Vec::new(), places: Vec::new(), rejected: Vec::new() };
        for (index, transaction) in input.iter().enumerate() {
            match Transactions::decode_one(Bytes::copy_from_slice(transaction)) {
                Ok(_) => {
                    candidates.transactions.push(transaction);
                    candidates.places.push(index);
                }
                Err(error) => candidates.rejected.push(Rejected { index, reason: Rejection::Wire(error) }),
            }
        }
        candidates
    }
}

fn as_slices(items: &[Vec<u8>]) -> Vec<&[u8]> {
    items.iter().map(Vec::as_slice).collect()
}
