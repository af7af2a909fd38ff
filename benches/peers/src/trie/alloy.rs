//! alloy-trie as an incremental engine: stored branch nodes are traversed, changed paths go to its `HashBuilder`.
//!
//! In: a state, then the changes of one block after another. Out: state roots. This is how reth's database path uses
//! the crate: a branch is stored where it has a hashed child branch; what is unchanged below a stored branch enters as
//! a hash, the rest as leaves from sorted arrays. Storage roots are computed in parallel on the current rayon pool.
//! Merging leaves into the arrays is not measured ([`AlloyTries::stage`]): a client writes its flat state elsewhere.

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{BranchNodeCompact, EMPTY_ROOT_HASH, HashBuilder, KECCAK_EMPTY, Nibbles, TrieAccount};
use balustrade::{AccountStatus, StateChanges};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// One trie: sorted leaves with their RLP, and the branches that are stored.
#[derive(Debug, Default)]
struct Stored {
    leaves: Vec<(B256, Vec<u8>)>,
    branches: BTreeMap<Nibbles, BranchNodeCompact>,
}

#[derive(Debug)]
struct AccountEntry {
    account: TrieAccount,
    storage: Stored,
}

impl Default for AccountEntry {
    fn default() -> Self {
        let account = TrieAccount { storage_root: EMPTY_ROOT_HASH, code_hash: KECCAK_EMPTY, ..TrieAccount::default() };
        Self { account, storage: Stored::default() }
    }
}

/// All tries of a state.
#[derive(Debug, Default)]
pub(crate) struct AlloyTries {
    trie: Stored,
    accounts: HashMap<B256, AccountEntry>,
}

/// Changed accounts taken out of the map, by hashed address.
pub(crate) struct Staged {
    entries: Vec<(Address, AccountEntry, Vec<U256>, bool)>,
}

impl Stored {
    /// Merges changed leaves into the sorted array; an empty value removes a leaf. Both sides are sorted.
    fn merge(&mut self, changes: Vec<(B256, Vec<u8>)>) {
        let mut merged = Vec::with_capacity(self.leaves.len() + changes.len());
        let mut old = std::mem::take(&mut self.leaves).into_iter().peekable();
        for (key, value) in changes {
            while let Some(leaf) = old.next_if(|(other, _)| *other < key) {
                merged.push(leaf);
            }
            old.next_if(|(other, _)| *other == key);
            if !value.is_empty() {
                merged.push((key, value));
            }
        }
        merged.extend(old);
        self.leaves = merged;
    }

    /// The root after a change of the leaves at the keys `changed` (sorted).
    fn root(&mut self, changed: &[B256]) -> B256 {
        let mut walk = Walk {
            leaves: &self.leaves,
            branches: &mut self.branches,
            builder: HashBuilder::default().with_updates(true),
            next_leaf: 0,
        };
        walk.subtrie(Nibbles::default(), changed, true);
        let mut builder = walk.builder;
        let root = builder.root();
        let (_, updates) = builder.split();
        self.branches.extend(updates);
        root
    }
}

struct Walk<'a> {
    leaves: &'a [(B256, Vec<u8>)],
    branches: &'a mut BTreeMap<Nibbles, BranchNodeCompact>,
    builder: HashBuilder,
    /// Index of the first leaf that is not processed yet.
    next_leaf: usize,
}

/// The smallest and largest key below a path.
fn bounds(path: &Nibbles) -> (B256, B256) {
    let (mut low, mut high) = (B256::ZERO, B256::repeat_byte(0xff));
    for (index, nibble) in path.iter().enumerate() {
        let (byte, shift) = (index / 2, if index % 2 == 0 { 4 } else { 0 });
        low[byte] |= nibble << shift;
        high[byte] &= !(0xf << shift) | nibble << shift;
    }
    (low, high)
}

fn below<'k>(changed: &'k [B256], path: &Nibbles) -> &'k [B256] {
    let (low, high) = bounds(path);
    let start = changed.partition_point(|key| *key < low);
    let end = start + changed[start..].partition_point(|key| *key <= high);
    &changed[start..end]
}

impl Walk<'_> {
    /// Passes everything below `path` to the builder; `stored` says whether a stored branch may exist there.
    fn subtrie(&mut self, path: Nibbles, changed: &[B256], stored: bool) {
        let found = if stored { self.take_branch(&path) } else { None };
        let (low, high) = bounds(&path);
        let Some((at, branch)) = found else { return self.leaves_until(&low, &high) };
        // An extension may lead to the branch; new keys may leave the extension before or after it.
        let (branch_low, branch_high) = bounds(&at);
        if branch_low > low {
            self.leaves_before(&low, &branch_low);
        }
        let changed_below = below(changed, &at);
        for nibble in 0..16u8 {
            let mut child = at;
            child.push(nibble);
            let changed_child = below(changed_below, &child);
            if !changed_child.is_empty() {
                self.subtrie(child, changed_child, branch.tree_mask.is_bit_set(nibble));
            } else if branch.hash_mask.is_bit_set(nibble) {
                let hash = branch.hash_for_nibble(nibble);
                self.builder.add_branch(child, hash, branch.tree_mask.is_bit_set(nibble));
            } else if branch.state_mask.is_bit_set(nibble) {
                self.subtrie(child, &[], branch.tree_mask.is_bit_set(nibble));
            }
        }
        if branch_high < high {
            self.leaves_after(&branch_high, &high);
        }
    }

    /// Takes the topmost stored branch at or below `path`; the update stores it again if it still exists.
    fn take_branch(&mut self, path: &Nibbles) -> Option<(Nibbles, BranchNodeCompact)> {
        if let Some(branch) = self.branches.remove(path) {
            return Some((*path, branch));
        }
        let at = *self.branches.range(*path..).next()?.0;
        if !at.starts_with(path) {
            return None;
        }
        self.branches.remove(&at).map(|branch| (at, branch))
    }

    fn seek(&mut self, low: &B256) {
        // Starts from the last position, because the next key is usually near.
        let rest = &self.leaves[self.next_leaf..];
        let mut step = 1;
        while step < rest.len() && rest[step].0 < *low {
            step *= 2;
        }
        let start = step / 2;
        let end = (step + 1).min(rest.len());
        let offset = if rest.first().is_some_and(|leaf| leaf.0 < *low) {
            start + rest[start..end].partition_point(|leaf| leaf.0 < *low)
        } else {
            0
        };
        self.next_leaf += offset;
    }

    fn leaves_until(&mut self, low: &B256, high: &B256) {
        self.seek(low);
        while let Some((key, value)) = self.leaves.get(self.next_leaf).filter(|(key, _)| key <= high) {
            self.builder.add_leaf_unchecked(Nibbles::unpack(key), value);
            self.next_leaf += 1;
        }
    }

    fn leaves_before(&mut self, low: &B256, end: &B256) {
        self.seek(low);
        while let Some((key, value)) = self.leaves.get(self.next_leaf).filter(|(key, _)| key < end) {
            self.builder.add_leaf_unchecked(Nibbles::unpack(key), value);
            self.next_leaf += 1;
        }
    }

    fn leaves_after(&mut self, start: &B256, high: &B256) {
        self.seek(start);
        if self.leaves.get(self.next_leaf).is_some_and(|(key, _)| key == start) {
            self.next_leaf += 1;
        }
        self.leaves_until(start, high);
    }
}

fn rlp(value: &impl Encodable) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.length());
    value.encode(&mut out);
    out
}

impl AlloyTries {
    /// Not measured: merges the changes into the sorted arrays, so that the update finds the new state there.
    pub(crate) fn stage(&mut self, update: &StateChanges) -> Staged {
        let mut entries = Vec::with_capacity(update.addresses.len());
        let mut leaves = Vec::with_capacity(update.addresses.len());
        for (row, address) in update.addresses.iter().enumerate() {
            let key = keccak256(address);
            let mut entry = self.accounts.remove(&key).unwrap_or_default();
            let status = update.statuses[row];
            if status != AccountStatus::Kept {
                entry.storage = Stored::default();
                entry.account.storage_root = EMPTY_ROOT_HASH;
            }
            let account = &mut entry.account;
            account.nonce = update.nonces[row].unwrap_or(account.nonce);
            account.balance = update.balances[row].unwrap_or(account.balance);
            account.code_hash = update.code_hashes[row].unwrap_or(account.code_hash);
            let mut slot_leaves: Vec<(B256, Vec<u8>)> = update
                .slots(row)
                .map(|(key, value)| {
                    let encoded = if value.is_zero() { Vec::new() } else { rlp(&value) };
                    (keccak256(B256::from(key)), encoded)
                })
                .collect();
            slot_leaves.sort_unstable_by_key(|leaf| leaf.0);
            entry.storage.merge(slot_leaves);
            let removed = status == AccountStatus::Deleted;
            // Only the length matters here: the update overwrites the leaf once the storage root is known.
            leaves.push((key, if removed { Vec::new() } else { vec![0] }));
            entries.push((*address, entry, update.slots(row).map(|(key, _)| key).collect(), removed));
        }
        leaves.sort_unstable_by_key(|leaf| leaf.0);
        self.trie.merge(leaves);
        Staged { entries }
    }

    /// Measured: hashes keys, updates the storage tries, encodes the accounts and updates the account trie.
    pub(crate) fn update(&mut self, staged: &mut Staged) -> B256 {
        let mut keys: Vec<(B256, usize)> = staged
            .entries
            .par_iter_mut()
            .enumerate()
            .map(|(row, (address, entry, slots, removed))| {
                if !slots.is_empty() && !*removed {
                    let mut changed: Vec<B256> = slots.iter().map(|slot| keccak256(B256::from(*slot))).collect();
                    changed.sort_unstable();
                    entry.account.storage_root = entry.storage.root(&changed);
                }
                (keccak256(*address), row)
            })
            .collect();
        keys.sort_unstable();
        let mut at = 0;
        for (key, row) in &keys {
            let (_, entry, _, removed) = &staged.entries[*row];
            if !removed {
                at += self.trie.leaves[at..].partition_point(|leaf| leaf.0 < *key);
                self.trie.leaves[at].1 = rlp(&entry.account);
            }
        }
        let changed: Vec<B256> = keys.into_iter().map(|(key, _)| key).collect();
        self.trie.root(&changed)
    }

    /// Not measured: puts the changed accounts back into the map.
    pub(crate) fn settle(&mut self, staged: Staged) {
        for (address, entry, _, removed) in staged.entries {
            if !removed {
                self.accounts.insert(keccak256(address), entry);
            }
        }
    }
}
