//! Bottom up: the hash of every visited node, eight to a kernel call.
//!
//! In: the visits of a descent, shapes settled. Out: the digests, each written into its parent's message, and those
//! of roots into `roots`. Leaves of all tries go first, in one sweep; then branches level by level, where they lie.
//! Relies on: children are listed at greater depths than their parents.

use super::descent::{CLEAN, DEAD, Descent, RESHAPED, ROOT, Shards, TOOK_OVER, Visit};
use super::node::{Item, Kind, LEAF_BYTES, Ref, Span, message_len, pack_branch};
use super::shard::Shard;
use crate::arena::keccak::{LANES_MAX, Lanes, RATE, Width, block_count, keccak256};
use alloy_primitives::B256;
use smallvec::SmallVec;

/// Visits between asking for a branch's message and hashing it.
const AHEAD: usize = 16;

/// What an update hashed: the measure of the work that no implementation can avoid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCount {
    /// Messages: nodes and keys.
    pub hashes: u64,
    /// Keccak permutations that they take.
    pub permutations: u64,
}

impl core::ops::AddAssign for HashCount {
    fn add_assign(&mut self, other: Self) {
        self.hashes += other.hashes;
        self.permutations += other.permutations;
    }
}

impl HashCount {
    #[inline(always)]
    pub(super) fn add(&mut self, messages: usize, blocks: usize) {
        self.hashes += messages as u64;
        self.permutations += (messages * blocks) as u64;
    }
}

/// Encoded nodes of one block (leaves, extensions) waiting for a full kernel call.
struct Encoded {
    bytes: [[u8; LEAF_BYTES]; LANES_MAX],
    spans: [Span; LANES_MAX],
    visits: [u32; LANES_MAX],
    used: usize,
}

/// Branches of one block count waiting for a full kernel call.
#[derive(Clone, Copy, Default)]
struct Branches {
    visits: [u32; LANES_MAX],
    used: usize,
}

impl Descent {
    #[inline(always)]
    fn is_void(&self, visit: &Visit) -> bool {
        visit.state & (CLEAN | DEAD) != 0
            || (self.removals && visit.parent & ROOT == 0 && self.visits[visit.parent as usize].state & TOOK_OVER != 0)
    }

    /// Hands a node's hash, or its RLP where that is shorter than 32 bytes, to the node above.
    #[inline(always)]
    fn deliver(&mut self, shards: Shards<'_, '_>, v: u32, item: &Item) {
        let visit = self.visits[v as usize];
        if visit.parent & ROOT != 0 {
            let hash = item.as_hash().copied().unwrap_or_else(|| keccak256(item.as_rlp()));
            self.roots[(visit.parent & !ROOT) as usize].hash = hash;
            return;
        }
        let above = self.visits[visit.parent as usize].node;
        let shard = &mut *shards[visit.shard as usize];
        if above.kind() == Kind::Extension {
            shard.change_extension(above, |extension| extension.item = *item);
        } else if self.visits[visit.parent as usize].state & RESHAPED != 0 {
            shard.set_item(above, visit.nibble, item);
        } else {
            shard.set_item_at(above, visit.nibble, visit.at as usize, item);
        }
    }

    /// Hints that the visit's hash will be handed to the node above soon.
    #[inline(always)]
    fn prefetch_above(&self, shards: &[&mut Shard], visit: &Visit) {
        if visit.parent & ROOT == 0 {
            shards[visit.shard as usize].prefetch_item(self.visits[visit.parent as usize].node, visit.at as usize);
        }
    }

    /// Hashes everything that was visited.
    pub(super) fn hash(&mut self, shards: Shards<'_, '_>, width: Width, count: &mut HashCount) {
        let mut encoded = Encoded {
            bytes: [[0; LEAF_BYTES]; LANES_MAX],
            spans: [Span { start: 0, len: 0 }; LANES_MAX],
            visits: [0; LANES_MAX],
            used: 0,
        };
        self.hash_leaves(shards, width, &mut encoded, count);
        let mut waiting = [Branches::default(); 4];
        for depth in (0..self.levels.len()).rev() {
            for i in 0..self.levels[depth].len() {
                if let Some(ahead) = self.levels[depth].get(i + AHEAD) {
                    let visit = &self.visits[*ahead as usize];
                    shards[visit.shard as usize].prefetch_message(visit.node);
                    self.prefetch_above(shards, visit);
                }
                let v = self.levels[depth][i];
                let visit = self.visits[v as usize];
                let kind = visit.node.kind();
                if kind.is_leaf() || kind == Kind::None || self.is_void(&visit) {
                    continue;
                }
                let shard = &*shards[visit.shard as usize];
                if kind == Kind::Extension {
                    let span = shard.extension(visit.node).encode_padded(&mut encoded.bytes[encoded.used]);
                    self.queue_encoded(shards, width, v, span, &mut encoded, count);
                    continue;
                }
                let blocks = kind.blocks();
                let queue = &mut waiting[blocks - 1];
                queue.visits[queue.used] = v;
                queue.used += 1;
                if queue.used == LANES_MAX {
                    self.hash_branches(shards, width, queue, blocks, count);
                }
            }
            for (i, queue) in waiting.iter_mut().enumerate() {
                self.hash_branches(shards, width, queue, i + 1, count);
            }
            self.hash_encoded(shards, width, &mut encoded, count);
        }
    }

    fn hash_branches(
        &mut self,
        shards: Shards<'_, '_>,
        width: Width,
        queue: &mut Branches,
        blocks: usize,
        count: &mut HashCount,
    ) {
        let mut lanes = Lanes::default();
        let (mut hashed, mut used) = ([0; LANES_MAX], 0);
        let mut special = SmallVec::<[u32; LANES_MAX]>::new();
        for v in &queue.visits[..queue.used] {
            let visit = &self.visits[*v as usize];
            let branch = shards[visit.shard as usize].branch(visit.node);
            if branch.embedded() != 0 {
                special.push(*v);
                continue;
            }
            lanes.push(branch.message(), message_len(branch.mask));
            hashed[used] = *v;
            used += 1;
        }
        queue.used = 0;
        let digests = lanes.hash(width);
        count.add(used, blocks);
        for (v, digest) in hashed[..used].iter().zip(&digests) {
            self.deliver(shards, *v, &Item::hash(digest));
        }
        // A message with embedded children is not what is hashed.
        for v in special {
            let visit = self.visits[v as usize];
            let item = small_item(&*shards[visit.shard as usize], visit.node, visit.depth as usize, count);
            self.deliver(shards, v, &item);
        }
    }

    fn hash_leaves(&mut self, shards: Shards<'_, '_>, width: Width, encoded: &mut Encoded, count: &mut HashCount) {
        for v in 0..self.visits.len() {
            if let Some(visit) = self.visits.get(v + 2 * AHEAD)
                && visit.node.kind().is_leaf()
            {
                shards[visit.shard as usize].prefetch(visit.node);
                self.prefetch_above(shards, visit);
            }
            let visit = self.visits[v];
            if !visit.node.kind().is_leaf() || self.is_void(&visit) {
                continue;
            }
            let shard = &*shards[visit.shard as usize];
            let out = &mut encoded.bytes[encoded.used];
            let span = shard.encode_leaf(visit.node, visit.depth as usize, out);
            self.queue_encoded(shards, width, v as u32, span, encoded, count);
        }
        self.hash_encoded(shards, width, encoded, count);
    }

    /// Takes the node that was encoded into the next free row of `encoded`: to be hashed with others, or, embedded or
    /// too long for one block, at once.
    #[inline(always)]
    fn queue_encoded(
        &mut self,
        shards: Shards<'_, '_>,
        width: Width,
        v: u32,
        span: Span,
        encoded: &mut Encoded,
        count: &mut HashCount,
    ) {
        if span.len < 32 || span.len >= RATE {
            let item = to_item(&encoded.bytes[encoded.used][span.start..span.start + span.len], count);
            return self.deliver(shards, v, &item);
        }
        encoded.spans[encoded.used] = span;
        encoded.visits[encoded.used] = v;
        encoded.used += 1;
        if encoded.used == LANES_MAX {
            self.hash_encoded(shards, width, encoded, count);
        }
    }

    fn hash_encoded(&mut self, shards: Shards<'_, '_>, width: Width, encoded: &mut Encoded, count: &mut HashCount) {
        let mut lanes = Lanes::default();
        for (bytes, span) in encoded.bytes.iter().zip(&encoded.spans).take(encoded.used) {
            lanes.push(&bytes[span.start..], span.len);
        }
        let digests = lanes.hash(width);
        count.add(encoded.used, 1);
        for (v, digest) in encoded.visits[..encoded.used].iter().zip(&digests) {
            self.deliver(shards, *v, &Item::hash(digest));
        }
        encoded.used = 0;
    }
}

/// What stands for a node of that RLP in its parent.
fn to_item(rlp: &[u8], count: &mut HashCount) -> Item {
    if rlp.len() < 32 {
        return Item::embedded(rlp);
    }
    count.add(1, block_count(rlp.len()));
    Item::hash(&keccak256(rlp))
}

/// What stands for any node in its parent, one at a time: the rare kinds, and the few nodes at the very top.
pub(super) fn small_item(shard: &Shard, node: Ref, depth: usize, count: &mut HashCount) -> Item {
    let mut rlp = Vec::with_capacity(4 * RATE);
    encode(shard, node, depth, &mut rlp);
    to_item(&rlp, count)
}

/// Appends a node's RLP, its children's hashes as they stand.
pub(super) fn encode(shard: &Shard, node: Ref, depth: usize, out: &mut Vec<u8>) {
    match node.kind() {
        Kind::Extension => {
            let mut bytes = [0; RATE];
            let len = shard.extension(node).encode(depth, &mut bytes);
            out.extend_from_slice(&bytes[..len]);
        }
        Kind::Slot | Kind::Plain | Kind::Contract => {
            let mut bytes = [0; LEAF_BYTES];
            let span = shard.encode_leaf(node, depth, &mut bytes);
            out.extend_from_slice(&bytes[span.start..span.start + span.len]);
        }
        Kind::Branch1 | Kind::Branch2 | Kind::Branch3 | Kind::Branch4 => {
            let branch = shard.branch(node);
            if branch.embedded() == 0 {
                out.extend_from_slice(&branch.message()[..message_len(branch.mask)]);
            } else {
                let mut bytes = [0; 4 * RATE];
                let len = pack_branch(branch.kind, branch.mask, branch.message(), &mut bytes);
                out.extend_from_slice(&bytes[..len]);
            }
        }
        Kind::None | Kind::Wide | Kind::Stub => {}
    }
}

/// The hash of a whole trie whose top node is `node`: never embedded.
pub(super) fn root_hash(shard: &Shard, node: Ref, depth: usize, count: &mut HashCount) -> B256 {
    let item = small_item(shard, node, depth, count);
    item.as_hash().copied().unwrap_or_else(|| keccak256(item.as_rlp()))
}
