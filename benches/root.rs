//! Time of a block's state root, compared with the lower bound that Keccak sets and with the usual algorithm.
//!
//! The usual algorithm is the one that clients run on their databases: sorted leaves, stored branch nodes, and
//! alloy-trie's `HashBuilder` over both. Everything is in memory, both start from raw addresses and keys, contestants
//! take turns, and their roots are compared. `ROOT_ACCOUNTS=100000` measures this size of state only.

use alloy_primitives::{B256, keccak256};
use alloy_trie::{BranchNodeCompact, HashBuilder, Nibbles, TrieAccount};
use balustrade::arena::keccak::Width;
use balustrade::trie::workload::{Workload, measure, median, permutation_ns};
use balustrade::{AccountStatus, EMPTY_ROOT, StateChanges, StateTries};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

type Branches = HashMap<Nibbles, BranchNodeCompact>;

/// An account and its RLP.
struct Leaf(TrieAccount, Vec<u8>);

impl AsRef<[u8]> for Leaf {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

/// A database of sorted leaves and stored branches.
#[derive(Default)]
struct Database {
    accounts: BTreeMap<B256, Leaf>,
    account_branches: Branches,
    storage: HashMap<B256, (BTreeMap<B256, Vec<u8>>, Branches)>,
}

/// The least and the greatest key with this prefix, both included.
fn range(prefix: &Nibbles) -> (Bound<B256>, Bound<B256>) {
    let mut low = [0u8; 32];
    let mut high = [0xffu8; 32];
    for (i, nibble) in prefix.iter().enumerate() {
        let shift = 4 * (1 - i % 2);
        low[i / 2] |= nibble << shift;
        high[i / 2] = high[i / 2] & !(0xf << shift) | nibble << shift;
    }
    (Bound::Included(B256::from(low)), Bound::Included(B256::from(high)))
}

fn add_leaves<V: AsRef<[u8]>>(builder: &mut HashBuilder, leaves: &BTreeMap<B256, V>, prefix: &Nibbles) {
    for (key, value) in leaves.range(range(prefix)) {
        builder.add_leaf(Nibbles::unpack(key), value.as_ref());
    }
}

/// Passes the hashes of unchanged subtries and the leaves of changed subtries to the builder.
fn walk<V: AsRef<[u8]>>(
    builder: &mut HashBuilder,
    leaves: &BTreeMap<B256, V>,
    branches: &Branches,
    prefix: Nibbles,
    changed: &[B256],
    visited: &mut Vec<Nibbles>,
) {
    let Some(branch) = branches.get(&prefix) else {
        add_leaves(builder, leaves, &prefix);
        return;
    };
    visited.push(prefix);
    let depth = prefix.len();
    let mut rest = changed;
    let mut hashes = branch.hashes.iter();
    for nibble in 0..16u8 {
        let at = |key: &B256| if depth.is_multiple_of(2) { key[depth / 2] >> 4 } else { key[depth / 2] & 0xf };
        let (below, behind) = rest.split_at(rest.partition_point(|key| at(key) <= nibble));
        rest = behind;
        let mut child = prefix;
        child.push(nibble);
        let hash = branch.hash_mask.is_bit_set(nibble).then(|| hashes.next().expect("one hash per bit"));
        match hash {
            Some(hash) if below.is_empty() => {
                builder.add_branch(child, *hash, branch.tree_mask.is_bit_set(nibble));
            }
            _ if below.is_empty() && !branch.state_mask.is_bit_set(nibble) => {}
            _ if below.is_empty() => add_leaves(builder, leaves, &child),
            _ => walk(builder, leaves, branches, child, below, visited),
        }
    }
}

/// The root after the leaves of `changed`; replaces the stored branches that changed.
fn root_of<V: AsRef<[u8]>>(leaves: &BTreeMap<B256, V>, branches: &mut Branches, changed: &[B256]) -> B256 {
    let mut builder = HashBuilder::default().with_updates(true);
    let mut visited = Vec::new();
    walk(&mut builder, leaves, branches, Nibbles::default(), changed, &mut visited);
    let root = builder.root();
    visited.iter().for_each(|path| drop(branches.remove(path)));
    branches.extend(builder.split().1);
    root
}

impl Database {
    /// Applies a block's changes and returns the state root.
    fn update(&mut self, block: &StateChanges) -> B256 {
        let mut changed = Vec::with_capacity(block.addresses.len());
        for (i, address) in block.addresses.iter().enumerate() {
            let key = keccak256(address);
            changed.push(key);
            if block.statuses[i] == AccountStatus::Deleted {
                self.accounts.remove(&key);
                continue;
            }
            let slots = block.slot_starts[i] as usize..block.slot_starts[i + 1] as usize;
            let storage_root = (!slots.is_empty()).then(|| {
                let (leaves, branches) = self.storage.entry(key).or_default();
                let mut keys = Vec::with_capacity(slots.len());
                for slot in slots {
                    let key = keccak256(block.slot_keys[slot].to_be_bytes::<32>());
                    keys.push(key);
                    let value = block.slot_values[slot];
                    if value.is_zero() {
                        leaves.remove(&key);
                    } else {
                        leaves.insert(key, alloy_rlp::encode(value));
                    }
                }
                keys.sort_unstable();
                root_of(leaves, branches, &keys)
            });
            let empty = TrieAccount { storage_root: EMPTY_ROOT, ..TrieAccount::default() };
            let Leaf(account, rlp) = self.accounts.entry(key).or_insert_with(|| Leaf(empty, Vec::new()));
            account.nonce = block.nonces[i].unwrap_or(account.nonce);
            account.balance = block.balances[i].unwrap_or(account.balance);
            account.code_hash = block.code_hashes[i].unwrap_or(account.code_hash);
            account.storage_root = storage_root.unwrap_or(account.storage_root);
            *rlp = alloy_rlp::encode(*account);
        }
        changed.sort_unstable();
        root_of(&self.accounts, &mut self.account_branches, &changed)
    }
}

/// Number of blocks measured per shape.
const BLOCKS: u64 = 6;
const SHAPES: [(usize, usize); 3] = [(500, 2_000), (2_000, 10_000), (10_000, 50_000)];

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// Applies a chain of blocks with both algorithms and compares the roots; then measures ours alone, with each block
/// rolled back, on one thread and on two.
fn compare(accounts: u64, permutation: f64) {
    let workload = Workload { accounts };
    let state = workload.state();
    let mut database = Database::default();
    let root = database.update(&state);
    let [one, two] = [pool(1), pool(2)];
    let mut tries = StateTries::from_flat(&state).expect("well formed");
    assert_eq!(tries.root(), root, "roots of the whole state");
    drop(state);
    for (i, (changed, slots)) in SHAPES.into_iter().enumerate() {
        let (mut walked, mut ours) = (Vec::new(), Vec::new());
        let chain = (0..BLOCKS).map(|block| workload.block(1000 + i as u64 * BLOCKS + block, changed, slots));
        for block in chain {
            let start = Instant::now();
            let expected = database.update(&block);
            walked.push(start.elapsed().as_nanos() as f64);
            let start = Instant::now();
            let root = one.install(|| tries.update(&block, &balustrade::arena::store::MemoryStore::default()));
            ours.push(start.elapsed().as_nanos() as f64);
            assert_eq!(root, Ok(expected), "roots of a block");
            tries.commit();
        }
        let ratios: Vec<f64> = walked.iter().zip(&ours).map(|(walked, ours)| walked / ours).collect();
        let blocks: Vec<StateChanges> = (0..BLOCKS).map(|block| workload.block(block, changed, slots)).collect();
        let mut run = |pool: &rayon::ThreadPool| pool.install(|| measure(&mut tries, &blocks, 10).expect("in memory"));
        let (single, double) = (run(&one), run(&two));
        let limit = single.permutations() * permutation;
        println!(
            "root {accounts} accounts, {changed} + {slots}: {:.2} ms (best {:.2}), two threads {:.2} ({:.2}), limit {:.2} ms, \
             over it {:.2} ({:.2}); walk {:.1} ms, {:.1} times ours; rollback {:.2} ms; {} hashes, {} permutations",
            single.median_ns() / 1e6,
            single.best_ns() / 1e6,
            double.median_ns() / 1e6,
            double.best_ns() / 1e6,
            limit / 1e6,
            single.over_limit(single.median_ns(), permutation, 1),
            single.over_limit(single.best_ns(), permutation, 1),
            median(&walked) / 1e6,
            median(&ratios),
            median(&single.rollback_ns) / 1e6,
            single.count.hashes / BLOCKS,
            single.count.permutations / BLOCKS,
        );
    }
}

fn roots(criterion: &mut Criterion) {
    let widths: Vec<String> =
        Width::supported().map(|width| format!("{width:?} {:.1}", permutation_ns(width))).collect();
    println!("ns per permutation: {}", widths.join(", "));
    let permutation = permutation_ns(Width::detect());
    let only = std::env::var("ROOT_ACCOUNTS").ok().and_then(|accounts| accounts.parse().ok());
    let sizes = only.map_or(vec![100_000, 1_000_000], |accounts| vec![accounts]);
    for accounts in &sizes {
        compare(*accounts, permutation);
    }
    let workload = Workload { accounts: sizes[0] };
    let mut tries = StateTries::from_flat(&workload.state()).expect("well formed");
    let mut group = criterion.benchmark_group(format!("root/{}", sizes[0]));
    for (changed, slots) in SHAPES {
        let blocks: Vec<StateChanges> = (0..BLOCKS).map(|block| workload.block(block, changed, slots)).collect();
        for threads in [1, 2] {
            let pool = pool(threads);
            group.bench_function(format!("{changed}+{slots}/{threads}"), |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = (iterations as usize).div_ceil(blocks.len());
                    let measured = pool.install(|| measure(&mut tries, &blocks, rounds).expect("in memory"));
                    let ns: f64 = measured.update_ns.iter().take(iterations as usize).sum();
                    Duration::from_nanos(ns as u64)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = roots
}
criterion_main!(benches);
