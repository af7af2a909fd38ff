//! The tries against `alloy-trie`'s hash builder over a sorted map, for as long and as nastily as time allows.

use super::*;
use crate::arena::store::KECCAK_EMPTY;
use alloy_primitives::{B256, U256};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount};
use std::collections::{BTreeMap, BTreeSet};

/// A small generator (xorshift*), so that failures repeat.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub(super) fn hash(&mut self) -> B256 {
        let mut hash = B256::ZERO;
        hash.chunks_mut(8).for_each(|word| word.copy_from_slice(&self.next().to_be_bytes()));
        hash
    }

    fn value(&mut self) -> U256 {
        match self.below(4) {
            0 => U256::from(self.below(3)),
            1 => U256::from(self.below(1000)),
            2 => U256::from(self.next()) << self.below(190),
            _ => U256::from_be_bytes(self.hash().0),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct ModelAccount {
    nonce: u64,
    balance: U256,
    code_hash: B256,
    storage: BTreeMap<B256, U256>,
}

impl Default for ModelAccount {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, storage: BTreeMap::new() }
    }
}

/// The state by hashed keys.
type Model = BTreeMap<B256, ModelAccount>;

fn model_root(model: &Model) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, account) in model {
        let mut storage = HashBuilder::default();
        for (key, value) in &account.storage {
            storage.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(value));
        }
        let leaf = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: storage.root(),
            code_hash: account.code_hash,
        };
        builder.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(leaf));
    }
    builder.root()
}

/// Owned columns of an update with injected hashed keys.
#[derive(Clone, Debug, Default)]
struct Columns {
    hashed_addresses: Vec<B256>,
    fates: Vec<Fate>,
    nonces: Vec<Option<u64>>,
    balances: Vec<Option<U256>>,
    code_hashes: Vec<Option<B256>>,
    slot_starts: Vec<u32>,
    hashed_slots: Vec<B256>,
    slot_values: Vec<U256>,
}

impl Columns {
    fn with<R>(&self, run: impl FnOnce(&StateUpdate<'_>) -> R) -> R {
        run(&StateUpdate {
            addresses: &vec![Address::ZERO; self.fates.len()],
            fates: &self.fates,
            nonces: &self.nonces,
            balances: &self.balances,
            code_hashes: &self.code_hashes,
            slot_starts: &self.slot_starts,
            slot_keys: &vec![U256::ZERO; self.slot_values.len()],
            slot_values: &self.slot_values,
            hashed_addresses: Some(&self.hashed_addresses),
            hashed_slots: Some(&self.hashed_slots),
        })
    }

    fn apply(&self, model: &mut Model) {
        for (i, key) in self.hashed_addresses.iter().enumerate() {
            if self.fates[i] == Fate::Deleted {
                model.remove(key);
                continue;
            }
            let account = model.entry(*key).or_default();
            if self.fates[i] == Fate::Wiped {
                account.storage.clear();
            }
            account.nonce = self.nonces[i].unwrap_or(account.nonce);
            account.balance = self.balances[i].unwrap_or(account.balance);
            account.code_hash = self.code_hashes[i].unwrap_or(account.code_hash);
            for slot in self.slot_starts[i] as usize..self.slot_starts[i + 1] as usize {
                if self.slot_values[slot].is_zero() {
                    account.storage.remove(&self.hashed_slots[slot]);
                } else {
                    account.storage.insert(self.hashed_slots[slot], self.slot_values[slot]);
                }
            }
        }
    }
}

/// How nasty the keys of a run are.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Uniform, from a pool of this many.
    Uniform(usize),
    /// One base key with the nibble at a random place changed: shared prefixes of all lengths.
    Comb,
    /// Keys that differ in the last two nibbles only: deep branches, embedded nodes.
    Deep,
    /// Prefixes of random lengths of a few keys, continued at random.
    Brush,
}

fn key(kind: Keys, noise: &mut Noise) -> B256 {
    let mut fixed = Noise::new(99 + noise.below(3) as u64 * u64::from(matches!(kind, Keys::Brush)));
    let base = fixed.hash();
    let mut key = base;
    match kind {
        Keys::Uniform(pool) => return Noise::new(1 + noise.below(pool) as u64).hash(),
        Keys::Comb => {
            let at = noise.below(64);
            key[at / 2] ^= (1 + noise.below(3) as u8) << (4 * (1 - at % 2));
            if noise.below(2) == 0 {
                let at = noise.below(64);
                key[at / 2] ^= 1 << (4 * (1 - at % 2));
            }
        }
        Keys::Deep => {
            key[31] = noise.next() as u8;
            if noise.below(4) == 0 {
                key[30] ^= 1 << noise.below(8);
            }
        }
        Keys::Brush => {
            let keep = noise.below(32);
            let tail = Noise::new(1000 + noise.below(6) as u64).hash();
            key[keep..].copy_from_slice(&tail[keep..]);
        }
    }
    key
}

fn random_update(noise: &mut Noise, accounts: Keys, slots: Keys, model: &Model, size: usize) -> Columns {
    let mut columns = Columns { slot_starts: vec![0], ..Columns::default() };
    let mut seen = BTreeSet::new();
    let present: Vec<B256> = model.keys().copied().collect();
    for _ in 0..noise.below(size) + 1 {
        let address = if !present.is_empty() && noise.below(2) == 0 {
            present[noise.below(present.len())]
        } else {
            key(accounts, noise)
        };
        if !seen.insert(address) {
            continue;
        }
        columns.hashed_addresses.push(address);
        columns.fates.push([Fate::Kept, Fate::Kept, Fate::Kept, Fate::Wiped, Fate::Deleted][noise.below(5)]);
        columns.nonces.push((noise.below(2) == 0).then(|| noise.next() >> noise.below(64)));
        columns.balances.push((noise.below(2) == 0).then(|| noise.value()));
        columns.code_hashes.push((noise.below(4) == 0).then(|| [noise.hash(), KECCAK_EMPTY][noise.below(2)]));
        let mut slot_seen = BTreeSet::new();
        let held: Vec<B256> = model.get(&address).map_or(Vec::new(), |a| a.storage.keys().copied().collect());
        let erase = noise.below(8) == 0;
        for _ in 0..noise.below(3) * noise.below(size) {
            let slot =
                if !held.is_empty() && noise.below(2) == 0 { held[noise.below(held.len())] } else { key(slots, noise) };
            if slot_seen.insert(slot) {
                columns.hashed_slots.push(slot);
                columns.slot_values.push(if erase || noise.below(3) == 0 { U256::ZERO } else { noise.value() });
            }
        }
        if erase {
            for slot in held.iter().filter(|slot| slot_seen.insert(**slot)) {
                columns.hashed_slots.push(*slot);
                columns.slot_values.push(U256::ZERO);
            }
        }
        columns.slot_starts.push(columns.hashed_slots.len() as u32);
    }
    columns
}

fn random_run(seed: u64, steps: usize, accounts: Keys, slots: Keys, width: Width, size: usize) {
    let mut noise = Noise::new(seed);
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    tries.set_width(width);
    let (mut committed, mut model) = (Model::new(), Model::new());
    for step in 0..steps {
        let columns = random_update(&mut noise, accounts, slots, &model, size);
        columns.apply(&mut model);
        let root = columns.with(|update| tries.update(update, &store)).expect("nothing to fetch");
        assert_eq!(root, model_root(&model), "seed {seed} step {step} {accounts:?} {slots:?} {width:?}");
        assert_eq!(root, tries.root());
        check_nodes(&tries);
        match noise.below(4) {
            0 => {
                tries.rollback();
                model = committed.clone();
                assert_eq!(tries.root(), model_root(&model), "rollback, seed {seed} step {step}");
                check_nodes(&tries);
            }
            1 | 2 => {
                tries.commit();
                committed = model.clone();
            }
            _ => {}
        }
    }
}

/// Walks everything in memory: every stored hash is that of the node below, and no node is lost or used twice.
fn check_nodes(tries: &StateTries) {
    fn walk(shard: &Shard, node: node::Ref, depth: usize, counts: &mut [usize; 8]) -> Option<node::Item> {
        use node::Kind;
        let kind = node.kind();
        match kind {
            Kind::None | Kind::Stub => return None,
            _ => counts[kind as usize - 1] += 1,
        }
        if kind.is_branch() {
            let branch = shard.branch(node);
            assert!(branch.head.mask.count_ones() >= 2);
            for n in branch.nibbles() {
                assert_ne!(branch.child(n), node::Ref::NONE, "child {n} at depth {depth}");
                if let Some(item) = walk(shard, branch.child(n), depth + 1, counts) {
                    assert_eq!(item.as_rlp(), branch.item(n).as_rlp(), "child {n} at depth {depth}");
                }
            }
        } else if kind == Kind::Extension {
            let extension = shard.extension(node);
            assert_eq!(extension.start as usize, depth);
            if let Some(item) = walk(shard, extension.child, extension.end as usize, counts) {
                assert_eq!(item.as_rlp(), extension.item.as_rlp(), "below an extension at depth {depth}");
            }
        } else if kind != Kind::Slot {
            let account = shard.account(node);
            assert_eq!(account.storage == node::Ref::NONE, account.storage_root == EMPTY_ROOT);
            if walk(shard, account.storage, 0, counts).is_some() {
                let root = hash::root_hash(shard, account.storage, 0, &mut HashCount::default());
                assert_eq!(root, account.storage_root);
            }
        }
        Some(hash::small_item(shard, node, depth, &mut HashCount::default()))
    }
    for (n, shard) in tries.shards.iter().enumerate() {
        let mut counts = [0; 8];
        if let Some(item) = walk(shard, tries.top.nodes[n], 1, &mut counts) {
            assert_eq!(item.as_hash(), Some(&tries.top.hashes[n]));
        }
        let waiting = shard.waiting();
        let held: Vec<usize> = shard.node_counts().iter().zip(waiting).map(|(used, waiting)| used - waiting).collect();
        assert_eq!(counts[..], held[..], "nodes lost or freed twice in shard {n}");
    }
}

const NASTY: [Keys; 5] = [Keys::Uniform(24), Keys::Uniform(300), Keys::Comb, Keys::Deep, Keys::Brush];

#[test]
fn random_sequences_in_every_width() {
    for width in Width::supported() {
        for (i, accounts) in NASTY.into_iter().enumerate() {
            for (j, slots) in NASTY.into_iter().enumerate() {
                random_run((i * 10 + j) as u64, 60, accounts, slots, width, 12);
            }
        }
    }
}

#[test]
fn random_sequences_of_large_updates_on_several_threads() {
    for threads in [1, 2, 3, 8, 16] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            for accounts in [Keys::Uniform(4000), Keys::Comb, Keys::Brush] {
                random_run(threads as u64, 8, accounts, Keys::Uniform(200), Width::detect(), 200);
            }
        });
    }
}

#[test]
fn empty_and_single() {
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    assert_eq!(tries.root(), EMPTY_ROOT);
    assert_eq!(tries.update(&StateUpdate::default(), &store), Ok(EMPTY_ROOT));
    let mut columns = Columns { slot_starts: vec![0, 0], ..Columns::default() };
    columns.hashed_addresses.push(B256::repeat_byte(0x11));
    columns.fates.push(Fate::Kept);
    columns.nonces.push(Some(1));
    columns.balances.push(None);
    columns.code_hashes.push(None);
    let mut model = Model::new();
    columns.apply(&mut model);
    assert_eq!(columns.with(|update| tries.update(update, &store)), Ok(model_root(&model)));
    columns.fates[0] = Fate::Deleted;
    assert_eq!(columns.with(|update| tries.update(update, &store)), Ok(EMPTY_ROOT));
    tries.rollback();
    assert_eq!(tries.root(), EMPTY_ROOT);
}

#[test]
fn malformed_updates_change_nothing() {
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    let address = [Address::repeat_byte(1); 2];
    let twice = StateUpdate {
        addresses: &address,
        fates: &[Fate::Kept; 2],
        nonces: &[None; 2],
        balances: &[None; 2],
        code_hashes: &[None; 2],
        slot_starts: &[0, 0, 0],
        ..StateUpdate::default()
    };
    assert!(matches!(tries.update(&twice, &store), Err(TrieError::Duplicate(_))));
    assert_eq!(tries.root(), EMPTY_ROOT);
    let slots = StateUpdate {
        slot_starts: &[0, 2, 2],
        slot_keys: &[U256::ONE; 2],
        slot_values: &[U256::ONE; 2],
        addresses: &[Address::repeat_byte(1), Address::repeat_byte(2)],
        ..twice
    };
    assert!(matches!(tries.update(&slots, &store), Err(TrieError::Duplicate(_))));
    for starts in [&[0u32, 3, 2][..], &[0, 2], &[0, 2, 9], &[]] {
        let update = StateUpdate { slot_starts: starts, ..slots };
        assert!(matches!(tries.update(&update, &store), Err(TrieError::Malformed(_))));
    }
    let update = StateUpdate { nonces: &[None], ..slots };
    assert!(matches!(tries.update(&update, &store), Err(TrieError::Malformed(_))));
    assert_eq!(tries.root(), EMPTY_ROOT);
}
