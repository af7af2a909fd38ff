//! Checks before execution: the parent state, the header, the existence log; and, in parallel with
//! execution, the transactions root and the withdrawals root. After execution: the size of a recorded
//! list.
//!
//! In: a [`BlockInput`]. Out: the decoded block and the checks that could not be made
//! ([`Unchecked`]).
//! Not here: other checks of what execution produces (`outcome`).

use super::input::BlockInput;
use super::job::{Job, last_index};
use super::outcome::{Check, Unchecked};
use super::timeline::Stage;
use crate::arena::TxIndex;
use crate::bal::{self, BalColumns, ExistenceColumns, ExistenceFault, Limits, RecordedList};
use crate::exec::block::error::{BlockError, InternalFault, InvalidBlock};
use crate::exec::rules::fork::Fork;
use crate::exec::rules::header::{HeaderFault, check_against_parent, check_alone};
use crate::exec::rules::ommers::check_ommers;
use crate::exec::wire::{Block, Header};
use crate::trie::{StateTries, ordered_root};

/// The given existence log with the account ids of the given list; empty if one of them is missing.
///
/// # Errors
/// [`InvalidBlock::Existence`]: the log is not canonical, or is not empty for a block of Cancun or
/// later.
pub(super) fn resolve_existence_log(
    job: &Job<'_>,
    list: Option<&BalColumns>,
) -> Result<ExistenceColumns, InvalidBlock> {
    let Some(existence_log) = job.input.existence_log else { return Ok(ExistenceColumns::default()) };
    if job.input.rules.fork >= Fork::Cancun && !existence_log.is_empty() {
        return Err(InvalidBlock::Existence(ExistenceFault::AfterCancun));
    }
    let last = last_index(job.block.transactions.len());
    let resolved = match list {
        Some(list) => existence_log.resolve(list, last),
        None => existence_log.check(last).map(|()| ExistenceColumns::default()),
    };
    resolved.map_err(InvalidBlock::Existence)
}

/// Refuses a recorded list with more items than the block's gas limit allows (EIP-7928). A given list is refused when
/// it is decoded.
pub(super) fn check_item_limit(recorded: &RecordedList, tx_count: usize, gas_limit: u64) -> Result<(), BlockError> {
    let limits = Limits::amsterdam(tx_count, gas_limit);
    if limits.item_count_max.is_some_and(|max| recorded.columns.item_count() as u64 > max) {
        bal::decode(&recorded.bytes, &limits).map_err(InvalidBlock::Bal)?;
        return Err(InternalFault::ItemLimit.into());
    }
    Ok(())
}

/// Compares the tries' root with the parent header's state root, if both are given.
pub(super) fn check_parent_state(parent: Option<&Header>, tries: Option<&StateTries>) -> Result<(), BlockError> {
    match (parent.map(|parent| parent.state_root), tries.map(StateTries::root)) {
        (Some(expected), Some(actual)) if expected != actual => Err(BlockError::ParentState { expected, actual }),
        _ => Ok(()),
    }
}

/// Decodes a block and checks its header. Returns the checks that could not be made.
pub(super) fn decode(input: &BlockInput<'_>) -> Result<(Block, Vec<Unchecked>), BlockError> {
    let block = Block::decode(input.block.clone()).map_err(InvalidBlock::Wire)?;
    let mut unchecked = Vec::new();
    check_header(input, &block, &mut unchecked)?;
    Ok((block, unchecked))
}

fn check_header(input: &BlockInput<'_>, block: &Block, unchecked: &mut Vec<Unchecked>) -> Result<(), BlockError> {
    check_alone(input.rules, block).map_err(InvalidBlock::Header)?;
    match input.parent {
        Some(parent) => check_against_parent(input.rules, &block.header, parent).map_err(InvalidBlock::Header)?,
        None => {
            let reason = "the parent's header is not given";
            unchecked.push(Unchecked { check: Check::ParentRules, reason });
            unchecked.push(Unchecked { check: Check::ParentState, reason });
        }
    }
    if input.ommers_omitted && input.rules.fork < Fork::Paris && block.ommers.is_empty() {
        let reason = "the source dropped the ommers of this block";
        unchecked.push(Unchecked { check: Check::Ommers, reason });
        unchecked.push(Unchecked { check: Check::OmmerRules, reason });
    } else if block.ommers_hash() != block.header.ommers_hash {
        return Err(InvalidBlock::Header(HeaderFault::Ommers).into());
    } else if let Some(reason) = check_ommers(block, input.ancestry)
        .map_err(|(index, fault)| BlockError::from(InvalidBlock::Ommer { index, fault }))?
    {
        unchecked.push(Unchecked { check: Check::OmmerRules, reason });
    }
    if input.rules.fork < Fork::Paris {
        unchecked.push(Unchecked { check: Check::Seal, reason: "ethash is not verified" });
    }
    Ok(())
}

/// Compares the transactions root and the withdrawals root with the header; a task that runs in
/// parallel with execution.
pub(super) fn check_body_roots(job: &Job<'_>) -> Result<(), HeaderFault> {
    let start = job.clock.now();
    let result = compare_body_roots(job.block);
    job.clock.record(Stage::BodyRoots, start);
    result
}

fn compare_body_roots(block: &Block) -> Result<(), HeaderFault> {
    let transactions: Vec<&[u8]> =
        (0..block.transactions.len()).map(|index| block.transactions.encoded(TxIndex(index as u32))).collect();
    if ordered_root(&transactions) != block.header.transactions_root {
        return Err(HeaderFault::TransactionsRoot);
    }
    if let Some(root) = block.header.withdrawals_root {
        let withdrawals: Vec<&[u8]> = block.withdrawals_encoded().collect();
        if ordered_root(&withdrawals) != root {
            return Err(HeaderFault::WithdrawalsRoot);
        }
    }
    Ok(())
}
