//! ethrex-trie kept resident: the account trie and all storage tries, updated in place.
//!
//! In: a state, then the changes of one block after another. Out: state roots. The work is split as ethrex splits it
//! with a block access list: storage tries in parallel, those with many changed slots and the account trie over sixteen
//! workers by first nibble; keys of a trie are written in ascending order. Hashes of unchanged nodes are cached in the
//! nodes. Tasks run on the current rayon pool.
//! Not here: collecting nodes for the database.

use ethrex_common::constants::EMPTY_KECCAK_HASH;
use ethrex_common::types::AccountState;
use ethrex_common::{Address, H256, U256};
use ethrex_crypto::NativeCrypto;
use ethrex_crypto::keccak::keccak_hash;
use ethrex_rlp::encode::RLPEncode;
use ethrex_trie::node::{BranchNode, ExtensionNode, LeafNode};
use ethrex_trie::{EMPTY_TRIE_HASH, Node, NodeRef, Trie, TrieError};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A storage trie with at least this many changed slots is split over sixteen workers (ethrex's own threshold).
const SPLIT_SLOTS: usize = 2048;

/// Status of an account after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountStatus {
    /// Exists, with its storage.
    Kept,
    /// Exists, but its old storage is cleared.
    StorageCleared,
    /// Does not exist any more.
    Removed,
    /// Exists unless it is empty (EIP-161). A block access list does not say more.
    KeptUnlessEmpty,
}

/// One block's changes of one account; `None` keeps the field.
#[derive(Clone, Debug)]
pub(crate) struct AccountChange {
    pub(crate) address: Address,
    pub(crate) status: AccountStatus,
    pub(crate) nonce: Option<u64>,
    pub(crate) balance: Option<U256>,
    pub(crate) code_hash: Option<H256>,
    /// Slots by unhashed key; zero deletes.
    pub(crate) slots: Vec<(H256, U256)>,
}

/// An account's leaf and its storage trie.
#[derive(Clone, Debug, Default)]
struct Resident {
    state: AccountState,
    storage: NodeRef,
}

/// All tries of a state.
#[derive(Debug, Default)]
pub(crate) struct EthrexTries {
    accounts: FxHashMap<H256, Resident>,
    root: NodeRef,
}

/// One account's update while the block is applied.
struct Job<'a> {
    key: H256,
    change: &'a AccountChange,
    resident: Resident,
    removed: bool,
}

impl EthrexTries {
    /// Applies a block's changes and returns the state root.
    pub(crate) fn update(&mut self, changes: &[AccountChange]) -> Result<H256, TrieError> {
        let keys: Vec<H256> = changes.par_iter().map(|change| H256(keccak_hash(change.address))).collect();
        let mut jobs: Vec<Job<'_>> = keys
            .into_iter()
            .zip(changes)
            .map(|(key, change)| {
                let resident = self.accounts.remove(&key).unwrap_or_default();
                Job { key, change, resident, removed: change.status == AccountStatus::Removed }
            })
            .collect();
        // The largest first, so that small ones balance the load of the pool at the end.
        jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.change.slots.len()));
        jobs.par_iter_mut().with_max_len(1).try_for_each(Job::run)?;

        jobs.sort_unstable_by_key(|job| job.key);
        let mut leaves = Vec::with_capacity(jobs.len());
        for job in jobs {
            if job.removed {
                leaves.push((job.key, Vec::new()));
            } else {
                leaves.push((job.key, job.resident.state.encode_to_vec()));
                self.accounts.insert(job.key, job.resident);
            }
        }
        update_split(&mut self.root, &mut leaves)?;
        Ok(root_hash(&self.root))
    }

    /// A copy that shares no node, so that an update of the copy does not change the original.
    #[allow(dead_code)]
    pub(crate) fn deep_copy(&self) -> Self {
        let accounts = self
            .accounts
            .par_iter()
            .map(|(key, resident)| (*key, Resident { state: resident.state, storage: deep_copy(&resident.storage) }))
            .collect();
        Self { accounts, root: deep_copy(&self.root) }
    }

    /// An account's leaf.
    pub(crate) fn account(&self, address: Address) -> Option<AccountState> {
        self.accounts.get(&H256(keccak_hash(address))).map(|resident| resident.state)
    }
}

impl Job<'_> {
    fn run(&mut self) -> Result<(), TrieError> {
        let Self { change, resident, .. } = &mut *self;
        match change.status {
            AccountStatus::Kept | AccountStatus::KeptUnlessEmpty => {}
            AccountStatus::StorageCleared => {
                resident.storage = NodeRef::default();
                resident.state.storage_root = EMPTY_TRIE_HASH;
            }
            AccountStatus::Removed => return Ok(()),
        }
        let state = &mut resident.state;
        state.nonce = change.nonce.unwrap_or(state.nonce);
        state.balance = change.balance.unwrap_or(state.balance);
        state.code_hash = change.code_hash.unwrap_or(state.code_hash);
        let empty = state.nonce == 0 && state.balance.is_zero() && state.code_hash == *EMPTY_KECCAK_HASH;
        if empty && change.status == AccountStatus::KeptUnlessEmpty {
            self.removed = true;
            return Ok(());
        }
        if change.slots.is_empty() {
            return Ok(());
        }
        let leaf = |(key, value): &(H256, U256)| {
            let encoded = if value.is_zero() { Vec::new() } else { value.encode_to_vec() };
            (H256(keccak_hash(key)), encoded)
        };
        let split = change.slots.len() >= SPLIT_SLOTS;
        let mut leaves: Vec<(H256, Vec<u8>)> =
            if split { change.slots.par_iter().map(leaf).collect() } else { change.slots.iter().map(leaf).collect() };
        leaves.sort_unstable_by_key(|(key, _)| *key);
        if split {
            update_split(&mut resident.storage, &mut leaves)?;
        } else {
            write(&mut resident.storage, &mut leaves)?;
        }
        resident.state.storage_root = root_hash(&resident.storage);
        Ok(())
    }
}

fn root_hash(root: &NodeRef) -> H256 {
    if !root.is_valid() {
        return EMPTY_TRIE_HASH;
    }
    root.compute_hash_no_alloc(&mut Vec::with_capacity(600), &NativeCrypto).finalize(&NativeCrypto)
}

/// A hashed key with its new RLP; an empty value removes the key.
type Leaf = (H256, Vec<u8>);

/// Writes leaves in ascending order and takes their values.
fn write(root: &mut NodeRef, leaves: &mut [Leaf]) -> Result<(), TrieError> {
    let mut trie = Trie::new_temp_with_root(std::mem::take(root));
    for (key, value) in leaves {
        if value.is_empty() {
            trie.remove(&key.0)?;
        } else {
            trie.insert(key.0.to_vec(), std::mem::take(value))?;
        }
    }
    *root = trie.root;
    Ok(())
}

/// [`write`] with one task per first nibble if the root is a branch; the tasks also compute the hashes.
fn update_split(root: &mut NodeRef, leaves: &mut [Leaf]) -> Result<(), TrieError> {
    let Some(choices) = take_choices(root) else { return write(root, leaves) };
    let mut shards = Vec::with_capacity(16);
    let mut rest = leaves;
    for (nibble, child) in choices.into_iter().enumerate() {
        let end = rest.partition_point(|(key, _)| usize::from(key.0[0] >> 4) == nibble);
        let (own, others) = std::mem::take(&mut rest).split_at_mut(end);
        rest = others;
        shards.push((nibble, child, own));
    }
    let done: Vec<NodeRef> = shards
        .into_par_iter()
        .with_max_len(1)
        .map(|(nibble, child, leaves)| {
            if leaves.is_empty() {
                return Ok(child);
            }
            let mut shard = NodeRef::default();
            if child.is_valid() {
                let mut alone = std::array::from_fn(|_| NodeRef::default());
                alone[nibble] = child;
                shard = NodeRef::from(Node::from(BranchNode::new(alone)));
            }
            write(&mut shard, leaves)?;
            let child = below(shard, nibble);
            if child.is_valid() {
                child.compute_hash_no_alloc(&mut Vec::with_capacity(600), &NativeCrypto);
            }
            Ok(child)
        })
        .collect::<Result<_, TrieError>>()?;
    let mut choices: [NodeRef; 16] = std::array::from_fn(|_| NodeRef::default());
    for (choice, child) in choices.iter_mut().zip(done) {
        *choice = child;
    }
    *root = match choices.iter().filter(|choice| choice.is_valid()).count() {
        0 => NodeRef::default(),
        1 => return Err(TrieError::InvalidInput),
        _ => NodeRef::from(Node::from(BranchNode::new(choices))),
    };
    Ok(())
}

/// Takes the children of a root that is a branch with at least three of them (so that it stays a branch if one is
/// removed).
fn take_choices(root: &mut NodeRef) -> Option<[NodeRef; 16]> {
    let NodeRef::Node(node, _) = root else { return None };
    let Node::Branch(branch) = Arc::make_mut(node) else { return None };
    if branch.choices.iter().filter(|choice| choice.is_valid()).count() < 3 {
        return None;
    }
    Some(std::mem::replace(&mut branch.choices, std::array::from_fn(|_| NodeRef::default())))
}

/// The node below the only child `nibble` of a shard's root, for every kind of root node.
fn below(shard: NodeRef, nibble: usize) -> NodeRef {
    let NodeRef::Node(node, _) = shard else { return NodeRef::default() };
    match Arc::unwrap_or_clone(node) {
        Node::Branch(mut branch) => std::mem::take(&mut branch.choices[nibble]),
        Node::Extension(ExtensionNode { prefix, child }) if prefix.len() == 1 => child,
        Node::Extension(ExtensionNode { prefix, child }) => {
            NodeRef::from(Node::from(ExtensionNode { prefix: prefix.offset(1), child }))
        }
        Node::Leaf(LeafNode { partial, value }) => {
            NodeRef::from(Node::from(LeafNode { partial: partial.offset(1), value }))
        }
    }
}

fn deep_copy(node: &NodeRef) -> NodeRef {
    match node {
        NodeRef::Hash(hash) => NodeRef::Hash(*hash),
        NodeRef::Node(node, hash) => {
            let copy = match &**node {
                Node::Branch(branch) => {
                    let mut copy = BranchNode::new(std::array::from_fn(|index| deep_copy(&branch.choices[index])));
                    copy.value = branch.value.clone();
                    Node::from(copy)
                }
                Node::Extension(extension) => {
                    Node::from(ExtensionNode { prefix: extension.prefix.clone(), child: deep_copy(&extension.child) })
                }
                Node::Leaf(leaf) => Node::from(leaf.clone()),
            };
            NodeRef::Node(Arc::new(copy), hash.clone())
        }
    }
}
