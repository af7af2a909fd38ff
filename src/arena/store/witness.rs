//! A store over an execution witness: trie nodes by hash, codes, ancestor headers.

use super::{ParentAccount, SlotQuery, StateStore, StoreError};
use ahash::RandomState;
use alloy_primitives::{Address, B256, Bytes, U256};
use hashbrown::HashMap;

type Map<K, V> = HashMap<K, V, RandomState>;

/// The `debug_executionWitness` shape: nodes of the parent state's tries, found by their keccak.
#[derive(Clone, Debug, Default)]
pub struct WitnessStore {
    state_root: B256,
    nodes: Map<B256, Bytes>,
    codes: Map<B256, Bytes>,
    block_hashes: Map<u64, B256>,
}
