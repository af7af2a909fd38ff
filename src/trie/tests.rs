//! Randomised comparison of the tries with `alloy-trie`'s hash builder over a sorted map, with
//! adversarial keys.

mod savepoints;

use super::shard::Shard;
use super::top::Top;
use super::update::Tuning;
use super::*;
use crate::arena::changes::{AccountStatus, StateChanges};
use crate::arena::keccak::Width;
use crate::arena::path::{NodePath, NodeQuery};
use crate::arena::store::{KECCAK_EMPTY, MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError, WitnessStore};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Deterministic random numbers (xorshift*), so that failures can be reproduced.
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

/// An update with chosen hashes of its keys.
#[derive(Clone, Debug, Default)]
struct Columns {
    changes: StateChanges,
    hashed_addresses: Vec<B256>,
    hashed_slots: Vec<B256>,
}

impl Columns {
    fn keys(&self) -> HashedKeys<'_> {
        HashedKeys { addresses: &self.hashed_addresses, slots: &self.hashed_slots }
    }

    fn update(&self, tries: &mut StateTries, store: &dyn StateStore) -> Result<B256, TrieError> {
        tries.update_hashed(&self.changes, self.keys(), store)
    }

    fn witness(&self, tries: &mut StateTries, store: &dyn StateStore) -> Result<Vec<Bytes>, TrieError> {
        tries.witness_of(store, &[], &[], &self.changes, Some(self.keys()))
    }

    fn apply(&self, model: &mut Model) {
        let changes = &self.changes;
        for (i, key) in self.hashed_addresses.iter().enumerate() {
            if changes.statuses[i] == AccountStatus::Deleted {
                model.remove(key);
                continue;
            }
            let account = model.entry(*key).or_default();
            if changes.statuses[i] == AccountStatus::StorageCleared {
                account.storage.clear();
            }
            account.nonce = changes.nonces[i].unwrap_or(account.nonce);
            account.balance = changes.balances[i].unwrap_or(account.balance);
            account.code_hash = changes.code_hashes[i].unwrap_or(account.code_hash);
            for slot in changes.slot_starts[i] as usize..changes.slot_starts[i + 1] as usize {
                if changes.slot_values[slot].is_zero() {
                    account.storage.remove(&self.hashed_slots[slot]);
                } else {
                    account.storage.insert(self.hashed_slots[slot], changes.slot_values[slot]);
                }
            }
        }
    }

    fn push_account(
        &mut self,
        hashed: B256,
        status: AccountStatus,
        nonce: Option<u64>,
        balance: Option<U256>,
        code_hash: Option<B256>,
    ) {
        self.hashed_addresses.push(hashed);
        self.changes.push_account(Address::ZERO, status, nonce, balance, code_hash);
    }

    fn push_slot(&mut self, hashed: B256, value: U256) {
        self.hashed_slots.push(hashed);
        self.changes.push_slot(U256::ZERO, value);
    }
}

/// Distribution of the keys of a run.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Uniform, from a pool of this many keys.
    Uniform(usize),
    /// One base key with one random nibble changed: shared prefixes of all lengths.
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
    let mut columns = Columns::default();
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
        let status = [
            AccountStatus::Kept,
            AccountStatus::Kept,
            AccountStatus::Kept,
            AccountStatus::StorageCleared,
            AccountStatus::Deleted,
        ][noise.below(5)];
        let nonce = (noise.below(2) == 0).then(|| noise.next() >> noise.below(64));
        let balance = (noise.below(2) == 0).then(|| noise.value());
        let code_hash = (noise.below(4) == 0).then(|| [noise.hash(), KECCAK_EMPTY][noise.below(2)]);
        columns.push_account(address, status, nonce, balance, code_hash);
        let mut slot_seen = BTreeSet::new();
        let held: Vec<B256> = model.get(&address).map_or(Vec::new(), |a| a.storage.keys().copied().collect());
        let erase = noise.below(8) == 0;
        for _ in 0..noise.below(3) * noise.below(size) {
            let slot =
                if !held.is_empty() && noise.below(2) == 0 { held[noise.below(held.len())] } else { key(slots, noise) };
            if slot_seen.insert(slot) {
                columns.push_slot(slot, if erase || noise.below(3) == 0 { U256::ZERO } else { noise.value() });
            }
        }
        if erase {
            for slot in held.iter().filter(|slot| slot_seen.insert(**slot)) {
                columns.push_slot(*slot, U256::ZERO);
            }
        }
    }
    columns
}

/// A client's two databases: nodes by path, updated and deleted, and nodes by hash, only inserted.
#[derive(Clone, Default)]
struct Database {
    paths: BTreeMap<(B256, NodePath), Vec<u8>>,
    hashes: BTreeMap<B256, Bytes>,
}

impl Database {
    fn apply(&mut self, changes: &NodeChanges) {
        for row in 0..changes.len() {
            let place = (changes.owners[row], changes.paths[row]);
            match changes.changes[row] {
                Change::Put => {
                    let node = changes.node(row);
                    assert_eq!(alloy_primitives::keccak256(node), changes.hashes[row]);
                    self.paths.insert(place, node.to_vec());
                    self.hashes.insert(changes.hashes[row], Bytes::copy_from_slice(node));
                }
                Change::Delete => drop(self.paths.remove(&place)),
                Change::Wipe => self.paths.retain(|(owner, _), _| *owner != changes.owners[row]),
            }
        }
    }
}

impl StateStore for Database {
    fn accounts(&self, _: &[Address], _: &mut [ParentAccount]) -> Result<(), StoreError> {
        Err(StoreError::Failed("not used by these tests".into()))
    }
    fn slots(&self, _: &[SlotQuery], _: &mut [U256]) -> Result<(), StoreError> {
        Err(StoreError::Failed("not used by these tests".into()))
    }
    fn codes(&self, _: &[B256], _: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        Err(StoreError::Failed("not used by these tests".into()))
    }
    fn block_hashes(&self, _: &[u64], _: &mut [B256]) -> Result<(), StoreError> {
        Err(StoreError::Failed("not used by these tests".into()))
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        for (NodeQuery { owner, path, hash }, out) in nodes.iter().zip(out) {
            *out = self.hashes.get(hash).cloned().ok_or(StoreError::MissingNode(*hash))?;
            let at_path = self.paths.get(&(*owner, *path)).map(alloy_primitives::keccak256);
            assert_eq!(at_path, Some(*hash), "{owner} {path:?}");
        }
        Ok(())
    }
}

/// A witness that records the nodes that were read.
struct Asked {
    store: WitnessStore,
    asked: Mutex<BTreeSet<B256>>,
}

impl StateStore for Asked {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.store.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.store.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.store.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.store.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.asked.lock().expect("no panic").extend(nodes.iter().map(|node| node.hash));
        self.store.trie_nodes(nodes, out)
    }
}

/// Every separately stored node, from tries that are wholly in memory.
fn all_nodes(tries: &StateTries) -> BTreeMap<(B256, NodePath), Vec<u8>> {
    type Nodes = BTreeMap<(B256, NodePath), Vec<u8>>;
    type Wide = Vec<(B256, node::Ref)>;
    fn walk(
        shard: &Shard,
        node: node::Ref,
        owner: B256,
        path: NodePath,
        own: bool,
        nodes: &mut Nodes,
        wide: &mut Wide,
    ) {
        use node::Kind;
        let kind = node.kind();
        let mut rlp = Vec::new();
        hash::encode(shard, node, path.len as usize, &mut rlp);
        if own && (rlp.len() >= 32 || path.len == 0) {
            nodes.insert((owner, path), rlp);
        }
        if kind.is_branch() {
            for n in shard.branch(node).nibbles() {
                walk(shard, shard.branch(node).child(n), owner, path.child(n), true, nodes, wide);
            }
        } else if kind == Kind::Extension {
            let extension = shard.extension(node);
            let below = (path.len..extension.end)
                .fold(path, |path, i| path.child(crate::arena::node::nibble(&extension.key, i as usize)));
            walk(shard, extension.child, owner, below, true, nodes, wide);
        } else if kind == Kind::Contract && shard.account(node).storage != node::Ref::NONE {
            let (owner, storage) = (B256::from(*shard.leaf_key(node)), shard.account(node).storage);
            if storage.kind() == Kind::Wide {
                wide.push((owner, storage));
            } else {
                walk(shard, storage, owner, NodePath::default(), true, nodes, wide);
            }
        }
    }
    let (mut nodes, mut wide) = (Nodes::new(), Wide::new());
    let mut spread = |top: &Top, owner: B256, wide: &mut Wide| {
        let root = top.encode(&tries.shards);
        if !root.is_empty() {
            nodes.insert((owner, NodePath::default()), root);
        }
        for (n, shard) in tries.shards.iter().enumerate() {
            let node = top.nodes[n];
            if node != node::Ref::NONE {
                let own = top.single().is_none() || node.kind().is_branch();
                walk(shard, node, owner, NodePath::default().child(n as u8), own, &mut nodes, wide);
            }
        }
    };
    spread(&tries.top, B256::ZERO, &mut wide);
    for (owner, node) in wide {
        spread(tries.wide.get(node), owner, &mut Wide::new());
    }
    nodes
}

fn same_nodes(database: &Database, tries: &StateTries, place: &str) {
    let expected = all_nodes(tries);
    for (place_of, node) in &expected {
        assert!(database.paths.get(place_of) == Some(node), "not logged or wrong: {place_of:?}, {place}");
    }
    for place_of in database.paths.keys() {
        assert!(expected.contains_key(place_of), "not deleted: {place_of:?}, {place}");
    }
}

/// Runs one sequence of updates on three tries: one wholly in memory, one resolved from the root
/// for every update, and one that keeps resolved nodes. The log of the first is the store of the
/// other two.
fn random_run_with_stores(seed: u64, steps: usize, accounts: Keys, slots: Keys, tuning: Tuning) {
    let mut noise = Noise::new(seed);
    let mut tries = StateTries::empty();
    tries.tuning = tuning;
    tries.set_log(true);
    let (mut model, mut database) = (Model::new(), Database::default());
    let mut kept = StateTries::from_root(EMPTY_ROOT);
    kept.tuning = tuning;
    for step in 0..steps {
        let place = format!("seed {seed} step {step} {accounts:?} {slots:?}");
        let columns = random_update(&mut noise, accounts, slots, &model, 10);
        let parent = tries.root();
        if noise.below(6) == 0 {
            let root = columns.update(&mut tries, &database).expect("in memory");
            assert_eq!(columns.update(&mut kept, &database), Ok(root), "{place}");
            tries.rollback();
            kept.rollback();
            check_nodes(&kept);
            assert_eq!(kept.root(), parent);
            continue;
        }
        let nodes = columns.witness(&mut tries, &database).expect("in memory");
        let stored = columns.witness(&mut kept, &database).expect("stored");
        assert_eq!(tries.root(), parent);
        let sorted = |nodes: &[Bytes]| nodes.iter().cloned().collect::<BTreeSet<Bytes>>();
        assert_eq!(sorted(&nodes), sorted(&stored), "{place}");
        columns.apply(&mut model);
        let root = columns.update(&mut tries, &database).expect("in memory");
        assert_eq!(root, model_root(&model), "{place}");
        let witness = Asked { store: WitnessStore::new(parent, nodes, []), asked: Mutex::default() };
        let from_witness = columns.update(&mut StateTries::from_root(parent), &witness);
        assert_eq!(from_witness, Ok(root), "{place}");
        let asked = witness.asked.into_inner().expect("no panic");
        let extra = witness.store.node_count() - asked.len();
        assert_eq!(extra, 0, "nodes unasked for, {place}");
        let mut fresh = StateTries::from_root(parent);
        assert_eq!(columns.update(&mut fresh, &database), Ok(root), "{place}");
        check_nodes(&fresh);
        assert_eq!(columns.update(&mut kept, &database), Ok(root), "{place}");
        check_nodes(&kept);
        if noise.below(3) > 0 {
            kept.commit();
            if noise.below(3) == 0 {
                kept.evict(noise.below(20_000));
                check_nodes(&kept);
                assert_eq!(kept.root(), root);
            }
            database.apply(tries.changes().expect("logged"));
            tries.commit();
            same_nodes(&database, &tries, &place);
        } else {
            // Several updates, one commit.
            let columns = random_update(&mut noise, accounts, slots, &model, 10);
            columns.apply(&mut model);
            let root = columns.update(&mut tries, &database).expect("in memory");
            assert_eq!(root, model_root(&model), "{place}");
            assert_eq!(columns.update(&mut kept, &database), Ok(root), "{place}");
            database.apply(tries.changes().expect("logged"));
            tries.commit();
            kept.commit();
            same_nodes(&database, &tries, &place);
        }
    }
}

#[test]
fn stores_follow_the_log() {
    for (i, accounts) in NASTY.into_iter().enumerate() {
        for (j, slots) in NASTY.into_iter().enumerate() {
            random_run_with_stores((i * 10 + j) as u64, 40, accounts, slots, Tuning::default());
        }
    }
}

#[test]
fn stores_follow_the_log_of_wide_tries() {
    let tuning = Tuning { parallel_rows_min: 0, wide_slots_min: 3 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
    pool.install(|| {
        for (j, slots) in NASTY.into_iter().enumerate() {
            random_run_with_stores(100 + j as u64, 80, Keys::Uniform(5), slots, tuning);
        }
    });
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
        let root = columns.update(&mut tries, &store).expect("nothing to fetch");
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

/// Checks all nodes in memory: every stored hash is that of the child, and no node is leaked or
/// referenced twice.
fn check_nodes(tries: &StateTries) {
    fn walk(shard: &Shard, node: node::Ref, depth: usize, counts: &mut [usize; 8]) -> Option<node::Item> {
        use node::Kind;
        let kind = node.kind();
        match kind {
            Kind::None | Kind::Stub | Kind::Wide => return None,
            _ => counts[kind as usize - 1] += 1,
        }
        if kind.is_branch() {
            let branch = shard.branch(node);
            assert!(branch.mask.count_ones() >= 2);
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
        for top in tries.wide.tops().iter().chain([&tries.top]) {
            if let Some(item) = walk(shard, top.nodes[n], 1, &mut counts) {
                assert_eq!(item.as_hash(), Some(&top.hashes[n]));
            }
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
    assert_eq!(tries.update(&StateChanges::default(), &store), Ok(EMPTY_ROOT));
    let mut columns = Columns::default();
    columns.push_account(B256::repeat_byte(0x11), AccountStatus::Kept, Some(1), None, None);
    let mut model = Model::new();
    columns.apply(&mut model);
    assert_eq!(columns.update(&mut tries, &store), Ok(model_root(&model)));
    columns.changes.statuses[0] = AccountStatus::Deleted;
    assert_eq!(columns.update(&mut tries, &store), Ok(EMPTY_ROOT));
    tries.rollback();
    assert_eq!(tries.root(), EMPTY_ROOT);
}

#[test]
fn malformed_updates_change_nothing() {
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    let mut twice = StateChanges::default();
    for _ in 0..2 {
        twice.push_account(Address::repeat_byte(1), AccountStatus::Kept, None, None, None);
    }
    assert!(matches!(tries.update(&twice, &store), Err(TrieError::Duplicate(_))));
    assert_eq!(tries.root(), EMPTY_ROOT);
    let mut slots = StateChanges::default();
    slots.push_account(Address::repeat_byte(1), AccountStatus::Kept, None, None, None);
    slots.push_slot(U256::ONE, U256::ONE);
    slots.push_slot(U256::ONE, U256::ONE);
    slots.push_account(Address::repeat_byte(2), AccountStatus::Kept, None, None, None);
    assert!(matches!(tries.update(&slots, &store), Err(TrieError::Duplicate(_))));
    for starts in [&[0u32, 3, 2][..], &[0, 2], &[0, 2, 9], &[]] {
        let update = StateChanges { slot_starts: starts.to_vec(), ..slots.clone() };
        assert!(matches!(tries.update(&update, &store), Err(TrieError::Malformed(_))));
    }
    let keys = HashedKeys { addresses: &[B256::ZERO; 2], slots: &[B256::ZERO] };
    assert!(matches!(tries.update_hashed(&slots, keys, &store), Err(TrieError::Malformed(_))));
    let update = StateChanges { nonces: vec![None], ..slots };
    assert!(matches!(tries.update(&update, &store), Err(TrieError::Malformed(_))));
    assert_eq!(tries.root(), EMPTY_ROOT);
}

#[test]
fn valid_proofs_are_accepted_and_altered_ones_refused() {
    let mut noise = Noise::new(7);
    for accounts in [0usize, 1, 2, 3, 40, 300] {
        let mut memory = MemoryStore::default();
        let addresses: Vec<Address> = (0..accounts).map(|_| Address::from_word(noise.hash())).collect();
        for address in &addresses {
            let slots: Vec<(U256, U256)> =
                (0..noise.below(20)).map(|_| (U256::from(noise.below(50)), U256::from(noise.next() | 1))).collect();
            memory.insert_account(*address, noise.next() >> 50, U256::from(noise.next()), KECCAK_EMPTY, slots);
        }
        let tries = StateTries::from_memory(&memory).expect("small");
        let absent = Address::repeat_byte(0xee);
        for address in addresses.iter().chain([&absent]) {
            let keys: Vec<U256> = (0..52).map(U256::from).collect();
            let proof = tries.prove(&memory, address, &keys).expect("in memory");
            let account = verify_account(&tries.root(), address, &proof.nodes).expect("holds");
            assert_eq!(account, proof.account);
            assert_eq!(account.is_some(), *address != absent);
            let mut parent = [ParentAccount::default()];
            memory.accounts(&[*address], &mut parent).expect("memory");
            assert_eq!(parent[0].balance, account.map_or(U256::ZERO, |account| account.balance));
            let storage_root = account.map_or(EMPTY_ROOT, |account| account.storage_root);
            for slot in &proof.slots {
                let mut value = [U256::ZERO];
                memory.slots(&[SlotQuery { address: *address, key: slot.key }], &mut value).expect("memory");
                assert_eq!(slot.value, value[0]);
                assert_eq!(verify_slot(&storage_root, &slot.key, &slot.nodes), Ok(value[0]));
                let key = Nibbles::unpack(alloy_primitives::keccak256(slot.key.to_be_bytes::<32>()));
                let expected = (!value[0].is_zero()).then(|| alloy_rlp::encode(value[0]));
                alloy_trie::proof::verify_proof(storage_root, key, expected, &slot.nodes).expect("holds for alloy");
                if !slot.nodes.is_empty() {
                    let end = slot.nodes.len() - 1;
                    assert!(verify_slot(&storage_root, &slot.key, &slot.nodes[..end]).is_err());
                    let mut forged = slot.nodes.clone();
                    let mut bytes = forged[end].to_vec();
                    let at = noise.below(bytes.len());
                    bytes[at] ^= 1 << noise.below(8);
                    forged[end] = bytes.into();
                    assert!(verify_slot(&storage_root, &slot.key, &forged).is_err());
                    forged = slot.nodes.clone();
                    forged.push(slot.nodes[0].clone());
                    assert!(verify_slot(&storage_root, &slot.key, &forged).is_err());
                }
            }
        }
    }
}

#[test]
fn wrong_or_missing_nodes_of_a_store_are_errors() {
    let mut noise = Noise::new(3);
    let mut tries = StateTries::empty();
    tries.set_log(true);
    let mut database = Database::default();
    let columns = random_update(&mut noise, Keys::Uniform(500), Keys::Uniform(300), &Model::new(), 200);
    let parent = columns.update(&mut tries, &database).expect("in memory");
    database.apply(tries.changes().expect("logged"));
    tries.commit();
    let mut model = Model::new();
    columns.apply(&mut model);
    let change = random_update(&mut noise, Keys::Uniform(500), Keys::Uniform(300), &model, 60);
    let root = change.update(&mut tries, &database).expect("in memory");

    for hash in database.hashes.keys().copied().collect::<Vec<_>>() {
        for lie in [None, Some(0), Some(1), Some(2)] {
            let mut store = database.clone();
            let node = store.hashes.remove(&hash).expect("listed");
            if let Some(lie) = lie {
                let mut bytes = node.to_vec();
                match lie {
                    0 => bytes[node.len() / 2] ^= 1,
                    1 => bytes.truncate(node.len() - 1),
                    _ => bytes.clear(),
                }
                store.hashes.insert(hash, bytes.into());
            }
            let mut partial = StateTries::from_root(parent);
            match change.update(&mut partial, &store) {
                Ok(found) => assert_eq!(found, root, "the node was not needed"),
                Err(TrieError::Store(StoreError::MissingNode(missing))) => assert_eq!((missing, lie), (hash, None)),
                Err(TrieError::Store(StoreError::Corrupt(_))) => assert!(lie.is_some()),
                Err(other) => panic!("{other}"),
            }
            if partial.root() == parent {
                assert_eq!(change.update(&mut partial, &database), Ok(root), "tried again");
            }
        }
    }
}

#[test]
fn many_small_updates_before_one_commit() {
    // State roots after every transaction, as in receipts before Byzantium.
    let mut noise = Noise::new(11);
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    let mut model = Model::new();
    let start = random_update(&mut noise, Keys::Uniform(400), Keys::Uniform(50), &model, 300);
    start.apply(&mut model);
    start.update(&mut tries, &store).expect("in memory");
    tries.commit();
    let parent = tries.root();
    for _ in 0..100 {
        let columns = random_update(&mut noise, Keys::Uniform(400), Keys::Uniform(50), &model, 3);
        columns.apply(&mut model);
        let root = columns.update(&mut tries, &store).expect("in memory");
        assert_eq!(root, model_root(&model));
    }
    tries.rollback();
    assert_eq!(tries.root(), parent);
    check_nodes(&tries);
    let sendable = |_: &(dyn Send + Sync)| {};
    sendable(&tries);
}
