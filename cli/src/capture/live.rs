//! The parent state of a block as a node gives it, read while our own execution runs: [`LiveState`], a state store.
//!
//! In: what the execution asks for. By witness: nodes and codes are at hand. By proofs: each question becomes calls of
//! `eth_getProof` and `eth_getCode` at the parent, in batches. Hashes of ancestors come from their headers. Out: the
//! answers, read from trie nodes below the parent's state root, so that no answer is believed without its hash.
//! What was read is the witness that the bundle holds.
//! Relies on: `node` for calls, `collapse` for nodes that proofs at the parent lack.

use super::ancestors::Ancestors;
use super::collapse::{Missing, Place, find};
use super::node::{Node, hex};
use super::proof::{ProofJson, proof_call};
use super::rpc::{Call, RpcError};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::keccak::keccak256;
use balustrade::arena::path::NodePath;
use balustrade::{Header, NodeQuery, ParentAccount, SlotQuery, StateStore, StoreError, WitnessStore};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most slots in one call.
const SLOTS_MAX: usize = 256;
/// Longest code in an answer, in bytes.
const CODE: u64 = 1 << 21;

/// How the parent state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// From a witness.
    Witness,
    /// By proofs, of what the execution asks for.
    Proofs,
}

impl Strategy {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Witness => "witness",
            Self::Proofs => "proofs",
        }
    }
}

/// What is known of the state.
struct Known {
    state: WitnessStore,
    /// Accounts that are proven, by hashed address.
    accounts: BTreeMap<B256, Address>,
    /// Slots that are proven, by hashed address and hashed key.
    slots: BTreeMap<(B256, B256), U256>,
    /// Accounts and slots that are proven, as they are asked for.
    proven: BTreeSet<Address>,
    proven_slots: BTreeSet<(Address, U256)>,
    /// An account with each code.
    owners: HashMap<B256, Address>,
}

/// The state after the parent of a block.
pub struct LiveState {
    node: Arc<Node>,
    strategy: Strategy,
    /// Number of the block.
    number: u64,
    known: Mutex<Known>,
    ancestors: Mutex<Ancestors>,
    /// The first call that failed.
    failed: Mutex<Option<RpcError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveState {
    /// The state after `parent`, with the nodes and codes that are at hand.
    pub fn new(
        node: Arc<Node>,
        strategy: Strategy,
        (parent, ancestors): (&Header, Ancestors),
        (nodes, codes): (Vec<Bytes>, Vec<Bytes>),
    ) -> Self {
        let known = Known {
            state: WitnessStore::new(parent.state_root, nodes, codes),
            accounts: BTreeMap::new(),
            slots: BTreeMap::new(),
            proven: BTreeSet::new(),
            proven_slots: BTreeSet::new(),
            owners: HashMap::new(),
        };
        Self {
            node,
            strategy,
            number: parent.number + 1,
            known: Mutex::new(known),
            ancestors: Mutex::new(ancestors),
            failed: Mutex::new(None),
        }
    }

    /// The first call that failed since the last time.
    pub fn take_failed(&self) -> Option<RpcError> {
        lock(&self.failed).take()
    }

    /// Everything that was read: trie nodes and codes.
    pub fn state(&self) -> WitnessStore {
        lock(&self.known).state.clone()
    }

    /// Headers of the ancestors down to `number` and those that BLOCKHASH asked for, the parent first.
    ///
    /// # Errors
    /// [`RpcError`]: the node does not give them.
    pub fn headers(&self, number: u64) -> Result<Vec<Header>, RpcError> {
        let mut ancestors = lock(&self.ancestors);
        ancestors.reach(number, &self.node)?;
        Ok(ancestors.needed().to_vec())
    }

    /// Keeps the first error of a call, and makes it one of the store.
    fn noted(&self, error: RpcError) -> StoreError {
        let (cancelled, text) = (error.is_cancelled(), error.to_string());
        lock(&self.failed).get_or_insert(error);
        if cancelled { StoreError::Cancelled } else { StoreError::Failed(text) }
    }

    /// Asks for the proofs of accounts and slots that are not known.
    ///
    /// # Errors
    /// [`RpcError`]: a call failed, or a proof does not lead from the parent's state root to its account and slots.
    pub fn prove(&self, wanted: &BTreeMap<Address, Vec<U256>>) -> Result<(), RpcError> {
        let mut known = lock(&self.known);
        let mut asked: Vec<(Address, Vec<U256>)> = Vec::new();
        for (address, keys) in wanted {
            let keys: BTreeSet<U256> =
                keys.iter().filter(|key| !known.proven_slots.contains(&(*address, **key))).copied().collect();
            if !keys.is_empty() {
                let keys: Vec<U256> = keys.into_iter().collect();
                asked.extend(keys.chunks(SLOTS_MAX).map(|keys| (*address, keys.to_vec())));
            } else if !known.proven.contains(address) {
                asked.push((*address, Vec::new()));
            }
        }
        let calls: Vec<Call> = asked.iter().map(|(address, keys)| proof_call(address, keys, self.number - 1)).collect();
        let proofs: Vec<ProofJson> = self.node.client.calls(&calls)?;
        for (((address, keys), call), proof) in asked.into_iter().zip(calls).zip(proofs) {
            known.state.insert_nodes(proof.account_proof);
            known.state.insert_nodes(proof.storage_proof.into_iter().flat_map(|slot| slot.proof));
            known.read(&address, &keys).map_err(|error| call.wrong(incomplete(&error)))?;
        }
        Ok(())
    }

    /// Finds nodes that no proof at the parent had, for the state root.
    fn complete(&self, nodes: &[NodeQuery]) -> Result<(), RpcError> {
        // The lock is not held while keys are searched.
        let missing: Vec<Missing> = {
            let known = lock(&self.known);
            nodes.iter().filter(|node| !known.has(node)).map(|node| known.missing(node)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let found = find(&self.node, self.number, &missing)?;
        lock(&self.known).state.insert_nodes(found);
        Ok(())
    }

    /// Asks for codes that are not known.
    fn fetch_codes(&self, hashes: &[B256]) -> Result<(), RpcError> {
        let mut known = lock(&self.known);
        let mut codes = vec![None; hashes.len()];
        // A witness store always answers; codes that it lacks are `None`.
        let _ = known.state.codes(hashes, &mut codes);
        let absent = hashes.iter().zip(codes).filter(|(_, code)| code.is_none()).map(|(hash, _)| *hash);
        let wanted: Vec<(B256, Address)> = absent.filter_map(|hash| Some((hash, *known.owners.get(&hash)?))).collect();
        let at = hex(self.number - 1);
        let calls: Vec<Call> =
            wanted.iter().map(|(_, owner)| Call::new("eth_getCode", vec![json!(owner), json!(at)], CODE)).collect();
        let codes: Vec<Bytes> = self.node.client.calls(&calls)?;
        for (((hash, _), call), code) in wanted.iter().zip(&calls).zip(codes) {
            let found = known.state.insert_code(code);
            if found != *hash {
                return Err(call.wrong(format!("the code hashes to {found}, the account has {hash}")));
            }
        }
        Ok(())
    }
}

impl Known {
    /// Reads an account and slots, and notes that they are known.
    fn read(&mut self, address: &Address, keys: &[U256]) -> Result<(), StoreError> {
        let mut account = [ParentAccount::default()];
        self.state.accounts(&[*address], &mut account)?;
        let queries: Vec<SlotQuery> = keys.iter().map(|key| SlotQuery { address: *address, key: *key }).collect();
        self.state.slots(&queries, &mut vec![U256::ZERO; keys.len()])?;
        let hashed = keccak256(address);
        self.accounts.insert(hashed, *address);
        self.proven.insert(*address);
        self.owners.insert(account[0].code_hash, *address);
        for key in keys {
            self.slots.insert((hashed, keccak256(key.to_be_bytes::<32>())), *key);
            self.proven_slots.insert((*address, *key));
        }
        Ok(())
    }

    fn has(&self, node: &NodeQuery) -> bool {
        self.state.trie_nodes(&[*node], &mut [Bytes::new()]).is_ok()
    }

    /// A missing node with an account or a slot that the block touched below the node's parent.
    fn missing(&self, node: &NodeQuery) -> Missing {
        let len = usize::from(node.path.len).saturating_sub(1);
        let parent = NodePath::new(&node.path.nibbles, len);
        let above = |key: &B256| NodePath::new(&key.0, len) == parent;
        // Keys that begin with the parent's path follow one another.
        let from = B256::from(parent.nibbles);
        let touched = if node.owner == B256::ZERO {
            let mut below = self.accounts.range(from..);
            below.next().filter(|(key, _)| above(key)).map(|(_, address)| Place { address: *address, slot: None })
        } else {
            let mut below = self.slots.range((node.owner, from)..);
            let slot = below.next().filter(|((owner, key), _)| *owner == node.owner && above(key));
            slot.and_then(|(_, key)| Some(Place { address: *self.accounts.get(&node.owner)?, slot: Some(*key) }))
        };
        Missing { node: *node, owner: self.accounts.get(&node.owner).copied(), touched }
    }
}

/// What a proof lacks, without advice for files.
fn incomplete(error: &StoreError) -> String {
    match error {
        StoreError::MissingNode(hash) => format!("the proof lacks the trie node {hash}"),
        StoreError::MissingPath { hash, depth, .. } => {
            format!("the proof lacks the trie node {hash}, {depth} nibbles below the root")
        }
        error => format!("the proof: {error}"),
    }
}

impl StateStore for LiveState {
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        if self.strategy == Strategy::Witness {
            return Ok(());
        }
        let mut wanted: BTreeMap<Address, Vec<U256>> = accounts.iter().map(|address| (*address, Vec::new())).collect();
        slots.iter().for_each(|slot| wanted.entry(slot.address).or_default().push(slot.key));
        self.prove(&wanted).map_err(|error| self.noted(error))
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.announce(addresses, &[])?;
        lock(&self.known).state.accounts(addresses, out)
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.announce(&[], slots)?;
        lock(&self.known).state.slots(slots, out)
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        if self.strategy == Strategy::Proofs {
            self.fetch_codes(hashes).map_err(|error| self.noted(error))?;
        }
        lock(&self.known).state.codes(hashes, out)
    }

    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        let mut ancestors = lock(&self.ancestors);
        for (number, out) in numbers.iter().zip(out) {
            ancestors.reach(*number, &self.node).map_err(|error| self.noted(error))?;
            *out = ancestors.hash(*number).ok_or(StoreError::MissingBlockHash(*number))?;
        }
        Ok(())
    }

    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        if self.strategy == Strategy::Proofs {
            self.complete(nodes).map_err(|error| self.noted(error))?;
        }
        lock(&self.known).state.trie_nodes(nodes, out)
    }
}
