//! Comparison of savepoints with a reference implementation: the whole state as a map, with its
//! root computed from scratch.

use super::*;
use crate::arena::path::NodeQuery;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A store of nodes that fails, or reports cancellation, after a number of calls.
struct Breaking<'a> {
    store: &'a Database,
    calls_left: AtomicUsize,
    checks_left: AtomicUsize,
}

impl<'a> Breaking<'a> {
    fn new(store: &'a Database, calls: usize, checks: usize) -> Self {
        Self { store, calls_left: AtomicUsize::new(calls), checks_left: AtomicUsize::new(checks) }
    }
}

fn count_down(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl StateStore for Breaking<'_> {
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
        if !count_down(&self.calls_left) {
            return Err(StoreError::Failed("as planned".into()));
        }
        self.store.trie_nodes(nodes, out)
    }
    fn is_cancelled(&self) -> bool {
        !count_down(&self.checks_left)
    }
}

/// A savepoint with the expected state.
struct Layer {
    savepoint: Savepoint,
    model: Model,
    root: B256,
    log: NodeChanges,
}

/// Counts of events, to check that the random sequences cover them.
#[derive(Debug, Default)]
struct Counts {
    broken: usize,
    rolled_back: usize,
    stale: usize,
    deepest: usize,
}

/// Updates, savepoints, failures, rollbacks and commits in random order, on two tries: one in
/// memory, whose log is the store of the other, from which nodes are repeatedly evicted.
fn random_stacks(seed: u64, steps: usize, accounts: Keys, slots: Keys, tuning: Tuning, counts: &mut Counts) {
    let mut noise = Noise::new(seed);
    let mut tries = StateTries::empty();
    tries.tuning = tuning;
    tries.set_log(true);
    let mut kept = StateTries::from_root(EMPTY_ROOT);
    kept.tuning = tuning;
    let mut database = Database::default();
    let (mut model, mut committed) = (Model::new(), Model::new());
    let mut layers: Vec<Layer> = Vec::new();
    let mut kept_layers: Vec<Savepoint> = Vec::new();
    let mut discarded: Vec<Savepoint> = Vec::new();
    for step in 0..steps {
        let place = format!("seed {seed} step {step} {accounts:?} {slots:?}");
        match noise.below(8) {
            // A savepoint of the present state; sometimes twice of the same state.
            0..4 => {
                let (savepoint, kept_savepoint) = (tries.savepoint(), kept.savepoint());
                assert_eq!(savepoint, tries.savepoint(), "{place}");
                if layers.last().is_none_or(|layer| layer.savepoint != savepoint) {
                    let log = tries.changes().cloned().expect("logged");
                    layers.push(Layer { savepoint, model: model.clone(), root: tries.root(), log });
                    kept_layers.push(kept_savepoint);
                }
                counts.deepest = counts.deepest.max(layers.len());
                // Several updates per block, as before Byzantium.
                for _ in 0..1 + noise.below(3) / 2 {
                    let columns = random_update(&mut noise, accounts, slots, &model, 10);
                    let root = tries.root();
                    let breaking = if noise.below(2) == 0 {
                        Breaking::new(&database, noise.below(4), usize::MAX)
                    } else {
                        Breaking::new(&database, usize::MAX, noise.below(3))
                    };
                    match columns.update(&mut kept, &breaking) {
                        Err(TrieError::Store(StoreError::Failed(_) | StoreError::Cancelled)) => {
                            counts.broken += 1;
                            assert_eq!(kept.root(), root, "{place}");
                            check_nodes(&kept);
                            assert_eq!(columns.update(&mut kept, &database).err(), None, "{place}");
                        }
                        other => assert_eq!(other.err(), None, "{place}"),
                    }
                    columns.apply(&mut model);
                    assert_eq!(columns.update(&mut tries, &database), Ok(model_root(&model)), "{place}");
                    assert_eq!(kept.root(), tries.root(), "{place}");
                }
            }
            // Rolls back to one of the savepoints, which stays valid.
            4..6 if !layers.is_empty() => {
                let row = noise.below(layers.len());
                counts.rolled_back += layers.len() - row;
                layers.truncate(row + 1);
                discarded.extend(kept_layers.drain(row + 1..));
                let layer = &layers[row];
                assert_eq!(tries.rollback_to(layer.savepoint), Ok(()), "{place}");
                assert_eq!(kept.rollback_to(kept_layers[row]), Ok(()), "{place}");
                model = layer.model.clone();
                assert_eq!(layer.root, model_root(&model), "{place}");
                assert_eq!(tries.changes(), Some(&layer.log), "{place}");
            }
            6 => {
                tries.rollback();
                kept.rollback();
                layers.clear();
                discarded.append(&mut kept_layers);
                model = committed.clone();
            }
            _ => {
                database.apply(tries.changes().expect("logged"));
                tries.commit();
                kept.commit();
                layers.clear();
                discarded.append(&mut kept_layers);
                committed = model.clone();
                same_nodes(&database, &tries, &place);
                if noise.below(2) == 0 {
                    kept.evict(noise.below(20_000));
                }
            }
        }
        // A rollback to the last commit keeps the savepoint of that commit.
        let current = kept.savepoint();
        discarded.retain(|savepoint| *savepoint != current);
        assert_eq!(tries.root(), model_root(&model), "{place}");
        assert_eq!(kept.root(), tries.root(), "{place}");
        check_nodes(&tries);
        check_nodes(&kept);
        if let Some(stale) = discarded.pop() {
            counts.stale += 1;
            assert_eq!(kept.rollback_to(stale), Err(TrieError::StaleSavepoint), "{place}");
            assert_eq!(kept.root(), tries.root(), "{place}");
            assert_eq!(tries.rollback_to(current), Err(TrieError::StaleSavepoint), "of other tries, {place}");
        }
    }
}

#[test]
fn stacked_updates_are_undone_layer_by_layer() {
    let mut counts = Counts::default();
    for (i, accounts) in NASTY.into_iter().enumerate() {
        for (j, slots) in NASTY.into_iter().enumerate() {
            random_stacks((i * 10 + j) as u64, 60, accounts, slots, Tuning::default(), &mut counts);
        }
    }
    assert!(counts.broken > 50 && counts.rolled_back > 200 && counts.stale > 50 && counts.deepest > 5, "{counts:?}");
}

#[test]
fn stacked_updates_of_wide_tries_are_undone_layer_by_layer() {
    let tuning = Tuning { parallel_rows_min: 0, wide_slots_min: 3 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
    let mut counts = Counts::default();
    pool.install(|| {
        for (j, slots) in NASTY.into_iter().enumerate() {
            random_stacks(100 + j as u64, 100, Keys::Uniform(5), slots, tuning, &mut counts);
        }
    });
    assert!(counts.broken > 20 && counts.rolled_back > 50 && counts.stale > 20 && counts.deepest > 5, "{counts:?}");
}

#[test]
fn a_stack_has_the_roots_of_updates_committed_one_by_one() {
    let mut noise = Noise::new(17);
    let store = MemoryStore::default();
    let (mut stacked, mut single) = (StateTries::empty(), StateTries::empty());
    let mut model = Model::new();
    let mut layers = Vec::new();
    for _ in 0..20 {
        let columns = random_update(&mut noise, Keys::Uniform(300), Keys::Uniform(60), &model, 40);
        layers.push((stacked.savepoint(), stacked.root()));
        columns.apply(&mut model);
        let root = columns.update(&mut single, &store);
        single.commit();
        assert_eq!(columns.update(&mut stacked, &store), root);
        assert_eq!(root, Ok(model_root(&model)));
    }
    for (savepoint, root) in layers.into_iter().rev() {
        assert_eq!(stacked.rollback_to(savepoint), Ok(()));
        assert_eq!(stacked.root(), root);
        check_nodes(&stacked);
    }
    assert_eq!(stacked.root(), EMPTY_ROOT);
}

#[test]
fn savepoints_are_discarded_by_commits_and_older_ones() {
    let mut noise = Noise::new(19);
    let store = MemoryStore::default();
    let mut tries = StateTries::empty();
    let mut update = |tries: &mut StateTries| {
        let columns = random_update(&mut noise, Keys::Uniform(300), Keys::Uniform(60), &Model::new(), 20);
        columns.update(tries, &store).expect("in memory")
    };
    let start = tries.savepoint();
    let first = update(&mut tries);
    let after_first = tries.savepoint();
    assert_ne!(start, after_first);
    update(&mut tries);
    let after_second = tries.savepoint();
    assert_eq!(tries.rollback_to(after_first), Ok(()));
    assert_eq!(tries.root(), first);
    assert_eq!(tries.rollback_to(after_second), Err(TrieError::StaleSavepoint));
    // The same number of updates does not make it valid again.
    let other = update(&mut tries);
    assert_eq!(tries.rollback_to(after_second), Err(TrieError::StaleSavepoint));
    assert_eq!(tries.root(), other);
    assert_eq!(tries.rollback_to(after_first), Ok(()));
    tries.commit();
    assert_eq!(tries.rollback_to(after_first), Err(TrieError::StaleSavepoint));
    assert_eq!(tries.rollback_to(start), Err(TrieError::StaleSavepoint));
    assert_eq!(tries.root(), first);
}
