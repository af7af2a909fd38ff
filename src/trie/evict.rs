//! Bounded memory: parts of the tries that no recent block visited become stubs again.
//!
//! In: tries without uncommitted updates, and a bound. Out: the same tries, holding less; whoever evicts must have
//! written the nodes (`changes.rs`) to the store that later updates are given. A part is the subtree below a branch;
//! branches carry the number of the last commit interval in which a key below them was updated, and no branch is
//! older than the branches below it, so old parts are whole.
//! Not here: giving memory back to the system (rows are recycled).

use super::StateTries;
use super::node::{Branch1, Branch2, Branch3, Branch4, Contract, Extension, Kind, Plain, Ref, Slot};
use super::shard::Shard;
use rayon::prelude::*;

/// Ages told apart when choosing what to evict; older branches count as this old.
const AGES: usize = 1024;

/// Bytes of one node of each kind, in the order of [`Shard::node_counts`].
const BYTES: [usize; 8] = [
    size_of::<Branch1>(),
    size_of::<Branch2>(),
    size_of::<Branch3>(),
    size_of::<Branch4>(),
    size_of::<Extension>(),
    size_of::<Slot>(),
    size_of::<Plain>(),
    size_of::<Contract>(),
];

fn bytes_of(node: Ref) -> usize {
    match node.kind() {
        Kind::None | Kind::Wide | Kind::Stub => 0,
        kind => BYTES[kind as usize - 1],
    }
}

impl Shard {
    fn bytes(&self) -> usize {
        self.node_counts().iter().zip(BYTES).map(|(count, bytes)| count * bytes).sum()
    }

    fn age_of(&self, branch: Ref) -> usize {
        (self.age.wrapping_sub(self.branch(branch).head.touched) as usize).min(AGES - 1)
    }

    /// Adds the bytes below `node` to the age of the branch they hang on.
    fn weigh(&self, node: Ref, mut age: usize, bytes: &mut [usize; AGES]) {
        if node.kind().is_branch() {
            age = self.age_of(node);
        }
        bytes[age] += bytes_of(node);
        match node.kind() {
            kind if kind.is_branch() => {
                let branch = self.branch(node);
                branch.nibbles().for_each(|n| self.weigh(branch.child(n), age, bytes));
            }
            Kind::Extension => self.weigh(self.extension(node).child, age, bytes),
            Kind::Contract => self.weigh(self.account(node).storage, age, bytes),
            _ => {}
        }
    }

    /// Turns branches below `node` that are older than `age_max` into stubs. Whether `node` itself shall become one.
    fn evict(&mut self, node: Ref, age_max: usize) -> bool {
        match node.kind() {
            kind if kind.is_branch() => {
                if self.age_of(node) > age_max {
                    return true;
                }
                for n in self.branch(node).nibbles() {
                    let branch = self.branch(node);
                    let (child, embedded) = (branch.child(n), branch.head.embedded >> n & 1 == 1);
                    if !embedded && self.evict(child, age_max) {
                        self.free_below(child, &mut Vec::new());
                        self.set_ref(node, n, Ref::STUB);
                    }
                }
            }
            Kind::Extension => {
                let Extension { child, item, .. } = *self.extension(node);
                if item.as_hash().is_some() && self.evict(child, age_max) {
                    self.free_below(child, &mut Vec::new());
                    self.extension_mut(node).child = Ref::STUB;
                }
            }
            Kind::Contract => {
                let mut account = self.account(node);
                if self.evict(account.storage, age_max) {
                    self.free_below(account.storage, &mut Vec::new());
                    account.storage = Ref::STUB;
                    self.set_account(node, &account);
                }
            }
            _ => {}
        }
        false
    }
}

impl StateTries {
    /// Bytes of all nodes in memory, replaced ones that wait for the commit included.
    pub fn memory_bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// Evicts what was not updated for the longest time, until nodes take at most `bytes_max` bytes or only the top
    /// is left. The nodes must be in the store that later updates get. Does nothing while an update is uncommitted.
    pub fn evict(&mut self, bytes_max: usize) {
        if self.memory_bytes() <= bytes_max || self.shards.iter().any(Shard::has_journal) {
            return;
        }
        let mut bytes = [0; AGES];
        let weighed: Vec<[usize; AGES]> = self
            .shards
            .par_iter()
            .zip(&self.top.nodes)
            .map(|(shard, node)| {
                let mut bytes = [0; AGES];
                shard.weigh(*node, 0, &mut bytes);
                bytes
            })
            .collect();
        weighed.iter().flat_map(|shard| shard.iter().enumerate()).for_each(|(age, more)| bytes[age] += more);
        let mut kept = 0;
        let fits = |age_bytes: &&usize| {
            kept += **age_bytes;
            kept <= bytes_max
        };
        let ages = bytes.iter().take_while(fits).count();
        let top = &mut self.top;
        self.shards.par_iter_mut().zip(&mut top.nodes).for_each(|(shard, node)| {
            // `ages` of them fit: the oldest to keep is one less; where none does, everything goes.
            if ages == 0 && node.kind().is_branch() || ages > 0 && shard.evict(*node, ages - 1) {
                shard.free_below(*node, &mut Vec::new());
                *node = Ref::STUB;
            }
        });
        // The journal of these changes is not a way back to anything: the state is the same.
        self.commit();
    }
}
