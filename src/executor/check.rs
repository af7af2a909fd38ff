//! What a block's bytes must fulfil before anything runs, and the roots that header and body must agree on.

use super::input::BlockInput;
use super::outcome::{Check, Unchecked};
use crate::arena::TxIndex;
use crate::exec::error::{BlockError, InvalidBlock};
use crate::exec::fork::Fork;
use crate::exec::header::{HeaderFault, check_against_parent, check_alone};
use crate::exec::ommers::check_ommers;
use crate::exec::wire::Block;
use crate::trie::ordered_root;

/// A block whose own header is in order, and what of that could not be checked.
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
        None => unchecked.push(Unchecked { check: Check::ParentRules, reason: "the parent's header is not given" }),
    }
    if input.ommers_omitted {
        unchecked.push(Unchecked { check: Check::Ommers, reason: "the source dropped the ommers of this block" });
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

/// The roots that header and body must agree on; a task of its own beside execution.
pub(super) fn check_body_roots(block: &Block) -> Result<(), HeaderFault> {
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
