//! Block bundles: one block with the data needed to execute it.
//!
//! In: the JSON of a bundle. Out: [`Bundle`]. There are three kinds: with a witness (the state root
//! is checked), with a partial pre-state of only what the block reads (no state root), with a
//! complete pre-state (tries are built from it). `blockAccessListSidecar` is optional: the
//! [`ExistenceLog`] that `bal record` writes after the list.
//! Not here: execution.

use super::cost::check_rlp_len;
use super::genesis::BlobScheduleJson;
use super::json::{self, Alloc};
use super::network::{bundle_chain, bundle_rules};
use crate::arena::keccak::keccak256;
use crate::arena::store::MemoryStore;
use crate::bal::ExistenceLog;
use crate::exec::rules::chain::ChainConfig;
use crate::exec::rules::fork::ChainRules;
use crate::exec::rules::ommers::{ANCESTORS_NEEDED, Ancestor};
use crate::exec::wire::Header;
use alloy_primitives::{Address, B256, Bytes};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One block, its parent state and its ancestors.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// File name without folder and extensions.
    pub name: String,
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// The fork's name in the file; if it has none, the name of the fork of its chain.
    pub fork_name: String,
    /// The block's rules; `None` if the fork is not supported.
    pub rules: Option<ChainRules>,
    /// A chain whose schedule gives the block its rules: that of its chain id, or one with the rules of
    /// the bundle's fork in all blocks; `None` if neither does.
    pub chain: Option<ChainConfig>,
    /// The block's hash according to the file.
    pub hash: B256,
    /// The block's RLP.
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928).
    pub bal: Option<Bytes>,
    /// Account events of a block before Cancun that a block access list cannot express.
    pub existence_log: Option<ExistenceLog>,
    /// RLP of the parent's header; some bundles lack it.
    pub parent_header: Option<Bytes>,
    /// Ancestors whose headers the file has, the parent first; at most as many as the ommer rules
    /// need.
    pub ancestors: Vec<Ancestor>,
    /// The parent state.
    pub state: BundleState,
    /// Hashes of ancestors by block number: those of the headers, and those in `blockHashes`.
    pub block_hashes: Vec<(u64, B256)>,
    /// Number of ommers whose headers the source lacks; their rewards cannot be computed.
    pub ommers_omitted: u64,
    /// What the file says that execution produces.
    pub expected: Expected,
}

/// Results of a block according to its bundle; `None` for what the file lacks. They are not needed
/// to execute the block: readers compare them with the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// EIP-2718 encodings of the receipts. Before Byzantium they may have a status in place of the
    /// state root.
    pub receipts: Option<Vec<Bytes>>,
    /// Requests, type byte first (EIP-7685).
    pub requests: Option<Vec<Bytes>>,
    /// Sender of each transaction.
    pub senders: Option<Vec<Address>>,
    /// keccak256 of the block access list's RLP.
    pub bal_hash: Option<B256>,
}

/// The parent state of a bundle.
#[derive(Clone, Debug)]
pub enum BundleState {
    /// Trie nodes and codes below `root`.
    Witness {
        /// State root after the parent.
        root: B256,
        /// RLP of trie nodes, in unspecified order.
        nodes: Vec<Bytes>,
        /// Contract codes, in unspecified order.
        codes: Vec<Bytes>,
    },
    /// The whole state, from which tries can be built. Their root must be `root`.
    Complete {
        /// All accounts, slots and codes.
        store: MemoryStore,
        /// State root after the parent; `None` if the file has none.
        root: Option<B256>,
    },
    /// Only what the block reads; no state root can be computed.
    Partial(MemoryStore),
}

/// The fields of a bundle's JSON that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with the fields of a bundle")]
pub(super) struct BundleJson {
    #[serde(deserialize_with = "json::u64")]
    chain_id: u64,
    fork: Option<String>,
    blob_schedule: Option<BlobScheduleJson>,
    deposit_contract: Option<Address>,
    #[serde(deserialize_with = "json::u64")]
    number: u64,
    hash: B256,
    block: Bytes,
    parent_header: Option<Bytes>,
    #[serde(default)]
    headers: Vec<Bytes>,
    pre_state_root: Option<B256>,
    #[serde(default)]
    pre_state_complete: bool,
    #[serde(default)]
    block_hashes: BTreeMap<u64, B256>,
    witness: Option<WitnessJson>,
    #[serde(default)]
    codes: Vec<Bytes>,
    #[serde(default)]
    pre_state: Alloc,
    block_access_list: Option<Bytes>,
    #[serde(rename = "blockAccessListSidecar")]
    block_access_list_existence_log: Option<ExistenceLog>,
    block_access_list_hash: Option<B256>,
    ommers_omitted: Option<json::Quantity>,
    receipts: Option<Vec<Bytes>>,
    requests: Option<Vec<Bytes>>,
    senders: Option<Vec<Address>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `state` and `codes`")]
struct WitnessJson {
    state: Vec<Bytes>,
    #[serde(default)]
    codes: Vec<Bytes>,
}

impl BundleJson {
    /// Whether this is a top-level key of a bundle. The keys of a file of tests are test names.
    pub(super) fn has_key(key: &str) -> bool {
        const KEYS: &str = "network chainId fork family blobSchedule depositContract number hash source verified block parentHeader \
                            headers preStateRoot preStateComplete blockHashes witness codes senders preState receipts \
                            requests blockAccessList blockAccessListHash \
                            blockAccessListSidecar ommersOmitted stats";
        KEYS.split(' ').any(|known| known == key)
    }

    /// Determines the rules, the kind of state and the ancestors' hashes.
    ///
    /// # Errors
    /// In words: a header does not decode, a witness has no root, or the block or its block access
    /// list is too long.
    pub(super) fn into_bundle(self, name: String) -> Result<Bundle, String> {
        check_rlp_len("a block", self.block.len())?;
        check_rlp_len("a block access list", self.block_access_list.as_ref().map_or(0, |list| list.len()))?;
        let mut block_hashes: Vec<(u64, B256)> = self.block_hashes.into_iter().collect();
        let mut parent_root = self.pre_state_root;
        let mut ancestors = Vec::new();
        for rlp in self.headers.iter().chain(&self.parent_header) {
            let header = Header::decode(rlp).map_err(|error| format!("an ancestor's header: {error}"))?;
            block_hashes.push((header.number, keccak256(rlp)));
            ancestors.push(header);
        }
        ancestors.dedup();
        let ancestors = ancestors.into_iter().rev().take(ANCESTORS_NEEDED).map(Ancestor::of_header).collect();
        if let (None, Some(rlp)) = (parent_root, &self.parent_header) {
            let header = Header::decode(rlp).map_err(|error| format!("the parent's header: {error}"))?;
            parent_root = Some(header.state_root);
        }
        block_hashes.sort_unstable();
        block_hashes.dedup();
        let state = match self.witness {
            Some(witness) => BundleState::Witness {
                root: parent_root.ok_or("a witness needs preStateRoot or parentHeader")?,
                nodes: witness.state,
                codes: witness.codes,
            },
            None => {
                let mut store = self.pre_state.into_store(self.codes);
                for (number, hash) in &block_hashes {
                    store.insert_block_hash(*number, *hash);
                }
                if self.pre_state_complete {
                    BundleState::Complete { store, root: parent_root }
                } else {
                    BundleState::Partial(store)
                }
            }
        };
        // A block whose header does not decode is refused when it is executed; here its number is
        // taken from the file.
        let header =
            Header::of_block(&self.block).unwrap_or_else(|_| Header { number: self.number, ..Header::default() });
        let schedule = self.blob_schedule.map(Into::into);
        let rules = bundle_rules(self.fork.as_deref(), self.chain_id, &header, schedule);
        let rules = rules.map(|rules| ChainRules {
            deposit_contract: self.deposit_contract.unwrap_or(rules.deposit_contract),
            ..rules
        });
        let chain = rules.as_ref().and_then(|rules| bundle_chain(self.fork.as_deref(), self.chain_id, &header, rules));
        let fork_name = self.fork.unwrap_or_else(|| match rules {
            Some(rules) => rules.fork.name().to_owned(),
            None => format!("of chain {}", self.chain_id),
        });
        Ok(Bundle {
            name,
            chain_id: self.chain_id,
            rules,
            chain,
            fork_name,
            ancestors,
            hash: self.hash,
            block: self.block,
            bal: self.block_access_list,
            existence_log: self.block_access_list_existence_log,
            parent_header: self.parent_header,
            state,
            block_hashes,
            ommers_omitted: self.ommers_omitted.map_or(0, |count| count.0.saturating_to()),
            expected: Expected {
                receipts: self.receipts,
                requests: self.requests,
                senders: self.senders,
                bal_hash: self.block_access_list_hash,
            },
        })
    }
}
