//! Block building.
//!
//! In: a header template, transactions, withdrawals, the parent state. Out: a sealed block with its
//! block access list.
//!
//! The tasks run sequentially and record the block access list; the header's commitments are filled
//! in from what execution produces. For generators, tests and block builders.
//! Not here: how it is done (`transition`); choosing transactions, ommers.

use super::Executor;
use super::transition::{Body, OnInvalid, Transition, TransitionInput};
use crate::arena::cancel::CancelToken;
use crate::arena::store::StateStore;
use crate::exec::block::error::BlockError;
use crate::exec::rules::fork::ChainRules;
use crate::exec::tx::TxOutcome;
use crate::exec::wire::Header;
use crate::trie::StateTries;
use alloy_primitives::Bytes;

/// A block made by [`Executor::build`] or [`Executor::build_body`].
#[derive(Clone, Debug)]
pub struct BuiltBlock {
    /// The sealed header.
    pub header: Header,
    /// RLP of the block.
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928), as recorded.
    pub bal: Bytes,
    /// Requests, type byte first (EIP-7685).
    pub requests: Vec<Vec<u8>>,
    /// Outcome of each transaction.
    pub transactions: Vec<TxOutcome>,
}

impl Executor {
    /// [`Executor::build_body`] without withdrawals and without cancellation.
    ///
    /// # Errors
    /// Those of [`Executor::build_body`].
    pub fn build(
        &mut self,
        rules: &ChainRules,
        template: &Header,
        transactions: &[Vec<u8>],
        store: &dyn StateStore,
        tries: &mut StateTries,
    ) -> Result<BuiltBlock, BlockError> {
        self.build_body(rules, template, Body { transactions, withdrawals: &[] }, store, tries, None)
    }

    /// Executes the transactions of `body` on the parent state and seals a block of them, without
    /// ommers. [`Self::transition`] does the same without the transactions that are invalid.
    ///
    /// `template` has the fields that a builder chooses: parent hash, coinbase, number, gas limit,
    /// timestamp, extra data, mix hash, base fee, excess blob gas, beacon root, slot number,
    /// difficulty. All other fields are filled in. The tries (at the parent's root) are restored
    /// before it returns, earlier uncommitted updates included.
    ///
    /// # Errors
    /// [`BlockError::Invalid`] names the first invalid transaction, or says that the block access
    /// list has more items than the gas limit allows (EIP-7928); [`BlockError::Cancelled`] if
    /// `cancel` was set, with the point that execution had reached.
    pub fn build_body(
        &mut self,
        rules: &ChainRules,
        template: &Header,
        body: Body<'_>,
        store: &dyn StateStore,
        tries: &mut StateTries,
        cancel: Option<&CancelToken>,
    ) -> Result<BuiltBlock, BlockError> {
        let input = TransitionInput { body, cancel, ..TransitionInput::new(rules, template) };
        let Transition { header, block, bal, requests, transactions, .. } =
            self.produce(&input, OnInvalid::Refuse, store, tries)?;
        Ok(BuiltBlock { header, block, bal, requests, transactions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::store::MemoryStore;
    use crate::bal::BalRule;
    use crate::exec::block::error::InvalidBlock;
    use crate::exec::block::system::SYSTEM_CONTRACTS;
    use crate::exec::rules::fork::Fork;
    use crate::trie::EMPTY_ROOT;
    use alloy_primitives::{B256, U256};

    #[test]
    fn a_block_whose_list_exceeds_the_item_limit_is_not_built() {
        let mut store = MemoryStore::default();
        let stop = store.insert_code(Bytes::from_static(&[0]));
        for contract in SYSTEM_CONTRACTS {
            store.insert_account(contract, 1, U256::ZERO, stop, []);
        }
        let rules = ChainRules::mainnet(Fork::Amsterdam);
        let mut tries = StateTries::from_memory(&store).expect("a state in memory");
        let mut executor = Executor::new(1).expect("threads");
        // The list of an empty block contains the six system contracts; each 2,000 gas allow one item.
        let mut build = |gas_limit| {
            let template =
                Header { gas_limit, number: 1, base_fee: Some(7), slot_number: Some(1), ..Header::default() };
            let template = Header {
                excess_blob_gas: Some(0),
                parent_beacon_root: Some(B256::ZERO),
                withdrawals_root: Some(EMPTY_ROOT),
                ..template
            };
            executor.build(&rules, &template, &[], &store, &mut tries)
        };
        let items = SYSTEM_CONTRACTS.len() as u64;
        assert!(build(2_000 * items).is_ok());
        let Err(BlockError::Invalid(invalid)) = build(2_000 * items - 1) else { panic!("the block is built") };
        let InvalidBlock::Bal(error) = *invalid else { panic!("{invalid}") };
        assert!(matches!(error.rule, BalRule::ItemLimit { .. }), "{error}");
    }
}
