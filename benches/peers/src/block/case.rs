//! One block with its parent state: the input of every arrangement.
//!
//! In: a block bundle with a complete pre-state and a list. Out: [`Case`]: the raw bytes, the rules and the flat state.
//! Relies on: the library's reader of bundles.

use alloy_primitives::{B256, Bytes, U256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore, StateStore};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::formats::{Bundle, BundleState, Content, Document};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A block to execute.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) rules: ChainRules,
    pub(crate) block: Bytes,
    pub(crate) list: Bytes,
    pub(crate) header: Header,
    pub(crate) parent: Option<Header>,
    pub(crate) transactions: usize,
    pub(crate) store: MemoryStore,
    pub(crate) codes: Vec<(B256, Bytes)>,
    pub(crate) block_hashes: Vec<(u64, B256)>,
}

/// Fields of a bundle that the library's reader ignores.
#[derive(Deserialize)]
struct Extra {
    family: Option<String>,
}

impl Case {
    /// Reads a bundle; the error says why its block cannot be compared.
    pub(crate) fn read(document: &Document) -> Result<Self, String> {
        let content = Content::parse(document, None).map_err(|error| error.to_string())?;
        let Content::Bundle(bundle) = content else { return Err("no block bundle".to_owned()) };
        let Bundle { name, rules, block, bal, parent_header, state, block_hashes, .. } = *bundle;
        let rules = rules.ok_or("its fork is not supported")?;
        if rules.fork < Fork::Amsterdam {
            return Err("the peers are compared on Amsterdam blocks only".to_owned());
        }
        let BundleState::Complete { store, .. } = state else { return Err("its pre-state is incomplete".to_owned()) };
        let header = Header::of_block(&block).map_err(|error| error.to_string())?;
        let parent = parent_header.map(|rlp| Header::decode(&rlp)).transpose().map_err(|error| error.to_string())?;
        let transactions = balustrade::exec::wire::Block::decode(block.clone()).map_err(|error| error.to_string())?;
        let hashes: BTreeSet<B256> = store.iter().map(|(_, account)| account.code_hash).collect();
        let hashes: Vec<B256> = hashes.into_iter().filter(|hash| *hash != KECCAK_EMPTY).collect();
        let mut found = vec![None; hashes.len()];
        store.codes(&hashes, &mut found).map_err(|error| error.to_string())?;
        let codes = hashes.into_iter().zip(found).filter_map(|(hash, code)| Some((hash, code?))).collect();
        let extra: Extra = serde_json::from_slice(&document.bytes).map_err(|error| error.to_string())?;
        Ok(Self {
            name,
            family: extra.family.unwrap_or_else(|| "other".to_owned()),
            rules,
            block,
            list: bal.ok_or("it has no list")?,
            header,
            parent,
            transactions: transactions.transactions.len(),
            store,
            codes,
            block_hashes,
        })
    }

    /// Accounts: address, nonce, balance, code hash.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (alloy_primitives::Address, u64, U256, B256)> + '_ {
        self.store.iter().map(|(address, account)| (*address, account.nonce, account.balance, account.code_hash))
    }

    /// Storage slots of all accounts: address, key, value.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (alloy_primitives::Address, U256, U256)> + '_ {
        self.store
            .iter()
            .flat_map(|(address, account)| account.storage.iter().map(|(key, value)| (*address, *key, *value)))
    }
}
