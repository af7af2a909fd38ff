//! A block of transfers of nothing to accounts that do not exist. Before Spurious Dragon they are empty accounts
//! afterwards (EIP-161), which a block access list cannot express.
//!
//! Needs the modules `random` and `signed` beside it.

use crate::random::block::RandomBlock;
use crate::signed::{Call, PRICE, fund, secret};
use alloy_primitives::{Address, U256};
use balustrade::Executor;
use balustrade::arena::store::{EMPTY_ROOT, MemoryStore};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::{EMPTY_OMMERS_HASH, next_difficulty};
use balustrade::exec::wire::Header;
use balustrade::trie::StateTries;

/// The recipients, one per transaction.
pub(crate) const RECEIVERS: [Address; 6] = [
    Address::repeat_byte(0xe1),
    Address::repeat_byte(0xe2),
    Address::repeat_byte(0xe3),
    Address::repeat_byte(0xe4),
    Address::repeat_byte(0xe5),
    Address::repeat_byte(0xe6),
];

/// The block in a fork before London, or in Paris. The sender is the account of key 0.
pub(crate) fn zero_transfers(fork: Fork, executor: &mut Executor) -> RandomBlock {
    let rules = ChainRules::mainnet(fork);
    let mut store = MemoryStore::default();
    fund(&mut store, 1);
    let mut tries = StateTries::from_memory(&store).expect("a small state");
    let base_fee = (fork >= Fork::London).then_some(7);
    let parent = Header {
        ommers_hash: EMPTY_OMMERS_HASH,
        state_root: tries.root(),
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        difficulty: if fork < Fork::Paris { U256::from(1 << 20) } else { U256::ZERO },
        gas_limit: 1_000_000,
        gas_used: 500_000,
        base_fee,
        ..Header::default()
    };
    let template = Header {
        parent_hash: parent.hash(),
        difficulty: if fork < Fork::Paris { next_difficulty(&rules, 1, 12, &parent) } else { U256::ZERO },
        number: 1,
        timestamp: 12,
        gas_limit: 1_000_000,
        base_fee,
        ..Header::default()
    };
    let transactions: Vec<Vec<u8>> = RECEIVERS
        .into_iter()
        .zip(0..)
        .map(|(to, nonce)| {
            Call { nonce, gas: 21_000, to: Some(to), value: 0, data: &[] }.sign_unprotected(&secret(0), PRICE)
        })
        .collect();
    let built = executor.build(&rules, &template, &transactions, &store, &mut tries).expect("valid");
    let mut block = RandomBlock {
        seed: 0,
        rules,
        block_hashes: vec![(0, parent.hash())],
        parent,
        store,
        tries,
        built,
        types: vec![0; transactions.len()],
        dropped: 0,
    };
    block.finish(executor).unwrap_or_else(|error| panic!("{}: {error}", fork.name()));
    block
}
