//! Bounded memory: parts of the tries that no recent block has visited are replaced by stubs.
//!
//! In: tries without uncommitted updates, and a bound in bytes. Out: the same tries with fewer
//! nodes in memory. The caller must have written the nodes (`changes.rs`) to the store of later
//! updates. The unit of eviction is the subtree below a branch. Branches hold the number of the
//! last commit interval in which a key below them was updated, and no branch is older than the
//! branches below it, so whole subtrees are evicted.
//! Not here: returning memory to the system (rows are recycled).

use super::StateTries;
use super::node::{Extension, Kind, Ref};
use super::shard::Shard;
use crate::arena::prefetch::LINE;
use rayon::prelude::*;

/// Number of ages distinguished when choosing what to evict; older branches count as the oldest.
const AGES: usize = 1024;

/// The kinds of nodes, in the order of [`Shard::node_counts`].
const KINDS: [Kind; 8] = [
    Kind::Branch1,
    Kind::Branch2,
    Kind::Branch3,
    Kind::Branch4,
    Kind::Extension,
    Kind::Slot,
    Kind::Plain,
    Kind::Contract,
];

impl Shard {
    fn bytes(&self) -> usize {
        self.node_counts().iter().zip(KINDS).map(|(count, kind)| count * kind.lines() * LINE).sum()
    }

    fn age_of(&self, branch: Ref) -> usize {
        (self.age.wrapping_sub(self.branch(branch).touched()) as usize).min(AGES - 1)
    }

    /// Adds the bytes of the nodes below `node` to the age of the nearest branch above each.
    fn weigh(&self, node: Ref, mut age: usize, bytes: &mut [usize; AGES]) {
        if node.kind().is_branch() {
            age = self.age_of(node);
        }
        bytes[age] += node.kind().lines() * LINE;
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

    /// Replaces branches below `node` that are older than `age_max` by stubs. Returns whether
    /// `node` itself is to be replaced.
    fn evict(&mut self, node: Ref, age_max: usize) -> bool {
        match node.kind() {
            kind if kind.is_branch() => {
                if self.age_of(node) > age_max {
                    return true;
                }
                for n in self.branch(node).nibbles() {
                    let branch = self.branch(node);
                    let (child, embedded) = (branch.child(n), branch.embedded() >> n & 1 == 1);
                    if !embedded && self.evict(child, age_max) {
                        self.free_below(child, &mut Vec::new());
                        self.set_ref(node, n, Ref::STUB);
                    }
                }
            }
            Kind::Extension => {
                let Extension { child, item, .. } = self.extension(node);
                if item.as_hash().is_some() && self.evict(child, age_max) {
                    self.free_below(child, &mut Vec::new());
                    self.change_extension(node, |extension| extension.child = Ref::STUB);
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
    /// Bytes of all nodes in memory, including replaced nodes that are kept until the commit.
    pub fn memory_bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// Notes that the store of later updates has all nodes of the committed state: [`Self::evict`] then keeps the nodes
    /// that are updated from here on.
    pub fn mark_stored(&mut self) {
        self.mark_stored_at(self.age());
    }

    /// [`Self::mark_stored`] for the state that was committed when the tries had this [`Self::age`].
    pub(crate) fn mark_stored_at(&mut self, age: u32) {
        self.stored_age = Some(age);
    }

    /// The number of the present commit interval.
    pub(crate) fn age(&self) -> u32 {
        self.shards.first().map_or(0, |shard| shard.age)
    }

    /// Evicts the nodes that were not updated for the longest time, until the others take at most
    /// `bytes_max` bytes or only those are left that must stay: the top, and nodes updated after
    /// [`Self::mark_stored`]. The others must be in the store of later updates. Does nothing while an
    /// update is uncommitted.
    pub fn evict(&mut self, bytes_max: usize) {
        if self.memory_bytes() <= bytes_max || self.shards.iter().any(Shard::has_journal) {
            return;
        }
        let age = self.shards.first().map_or(0, |shard| shard.age);
        // Branches visited after the mark have an age of less than this.
        let ages_kept = self.stored_age.map_or(0, |stored| age.wrapping_sub(stored) as usize + 1);
        if ages_kept >= AGES {
            return;
        }
        let mut bytes = [0; AGES];
        // The nodes directly below the tops, by shard.
        let Self { shards, top, wide, .. } = self;
        let mut nodes: Vec<Vec<&mut Ref>> = shards.iter().map(|_| Vec::new()).collect();
        for top in wide.tops_mut().iter_mut().chain([top]) {
            nodes.iter_mut().zip(&mut top.nodes).for_each(|(nodes, node)| nodes.push(node));
        }
        let weighed: Vec<[usize; AGES]> = shards
            .par_iter()
            .zip(&nodes)
            .map(|(shard, nodes)| {
                let mut bytes = [0; AGES];
                nodes.iter().for_each(|node| shard.weigh(**node, 0, &mut bytes));
                bytes
            })
            .collect();
        weighed.iter().flat_map(|shard| shard.iter().enumerate()).for_each(|(age, more)| bytes[age] += more);
        let mut kept = 0;
        let fits = |age_bytes: &&usize| {
            kept += **age_bytes;
            kept <= bytes_max
        };
        let ages = bytes.iter().take_while(fits).count().max(ages_kept);
        shards.par_iter_mut().zip(&mut nodes).for_each(|(shard, nodes)| {
            for node in nodes {
                // `ages` ages fit, so the oldest one to keep is `ages - 1`; if none fits,
                // everything is evicted.
                if ages == 0 && node.kind().is_branch() || ages > 0 && shard.evict(**node, ages - 1) {
                    shard.free_below(**node, &mut Vec::new());
                    **node = Ref::STUB;
                }
            }
        });
        // Eviction does not change the state, so its journal is discarded.
        self.commit();
    }
}
