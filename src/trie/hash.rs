//! Bottom-up pass: hashes every visited node, eight nodes per call of the Keccak kernel.
//!
//! In: the visits of a descent after `collapse.rs`; leaves have been encoded and hashed when they
//! were visited or filled. Out: the digests, each in its parent's message, and those of the tries'
//! tops in `roots`. Branches are hashed in place, level by level: each copies the digests of its
//! children from the column `digests`, so that its cache lines are accessed once.
//! Relies on: children are listed at greater depths than their parents.
//! Not here: the Keccak kernels (`arena::keccak`).

use super::count::HashCount;
use super::descent::{BELOW_EXTENSION, CLEAN, DEAD, Descent, EMBEDDED, RESHAPED, ROOT, Shards, TOOK_OVER, Visit};
use super::node::{Item, Kind, LEAF_BYTES, Ref, Span, item_at, message_len, pack_branch};
use super::shard::Shard;
use crate::arena::keccak::{LANES_MAX, Lanes, RATE, Width, block_count, hash_eight_blocks, keccak256};
use alloy_primitives::B256;
use smallvec::SmallVec;

/// Number of branches whose messages are prefetched together.
const BURST: usize = 8;

/// Branches of one block count that wait for a full kernel call.
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

    /// Encodes a visit's leaf; it is hashed together with the next ones.
    #[inline(always)]
    pub(super) fn encode_leaf(&mut self, shard: &Shard, v: usize) {
        let Visit { node, depth, .. } = self.visits[v];
        let span = shard.encode_leaf(node, depth as usize, &mut self.encoded.bytes[self.encoded.used]);
        self.queue_encoded(v, span);
    }

    /// Queues the node encoded in the next free row of `encoded`. A node that is embedded or too
    /// long for one block is handled at once instead.
    #[inline(always)]
    fn queue_encoded(&mut self, v: usize, span: Span) {
        let encoded = &mut *self.encoded;
        if span.len < 32 || span.len >= RATE {
            let item = to_item(&encoded.bytes[encoded.used][span.start..span.start + span.len], &mut encoded.count);
            return self.note_item(v, &item);
        }
        encoded.spans[encoded.used] = span;
        encoded.visits[encoded.used] = v as u32;
        encoded.used += 1;
        if encoded.used == LANES_MAX {
            self.hash_encoded();
        }
    }

    fn hash_encoded(&mut self) {
        let encoded = &mut *self.encoded;
        let mut digests = [B256::ZERO; LANES_MAX];
        let block = |i: usize| encoded.bytes[i][encoded.spans[i].start..].first_chunk().expect("a padded block");
        if encoded.used < LANES_MAX || !hash_eight_blocks(encoded.width, &core::array::from_fn(block), &mut digests) {
            let mut lanes = Lanes::default();
            for (bytes, span) in encoded.bytes.iter().zip(&encoded.spans).take(encoded.used) {
                lanes.push(&bytes[span.start..], span.len);
            }
            digests = lanes.hash(encoded.width);
        }
        encoded.count.add(encoded.used, 1);
        let (visits, used) = (encoded.visits, encoded.used);
        encoded.used = 0;
        for (v, digest) in visits[..used].iter().zip(&digests) {
            self.note(*v as usize, digest);
        }
    }

    /// Stores a node's hash for its parent.
    #[inline(always)]
    fn note(&mut self, v: usize, digest: &B256) {
        let parent = self.visits[v].parent;
        if parent & ROOT != 0 {
            self.roots[(parent & !ROOT) as usize].hash = *digest;
            return;
        }
        if self.digests.len() <= v {
            self.digests.resize(self.visits.len(), B256::ZERO);
        }
        self.digests[v] = *digest;
    }

    /// Stores a node's hash for its parent, or its RLP if that is shorter than 32 bytes.
    fn note_item(&mut self, v: usize, item: &Item) {
        let visit = &mut self.visits[v];
        if let Some(hash) = item.as_hash() {
            visit.state &= !EMBEDDED;
            return self.note(v, hash);
        }
        let rlp = item.as_rlp();
        if visit.parent & ROOT != 0 {
            return self.note(v, &keccak256(rlp));
        }
        visit.state |= EMBEDDED;
        self.note(v, &B256::right_padding_from(rlp));
    }

    /// The item of a visit's node in its parent.
    fn item_of(&self, v: usize) -> Item {
        let digest = &self.digests[v];
        if self.visits[v].state & EMBEDDED == 0 { Item::hash(digest) } else { Item::embedded(digest.as_slice()) }
    }

    /// Copies a digest just stored to the parent if that is an extension, which is encoded from its
    /// fields.
    #[inline(always)]
    fn hand_to_extension(&mut self, shards: Shards<'_, '_>, v: usize) {
        let visit = self.visits[v];
        if visit.state & BELOW_EXTENSION != 0 && visit.parent & ROOT == 0 {
            let (above, item) = (self.visits[visit.parent as usize].node, self.item_of(v));
            shards[visit.shard as usize].change_extension(above, |extension| extension.item = item);
        }
    }

    /// Writes the new digests of a branch's children to its message.
    #[inline(always)]
    fn take_digests(&mut self, shard: &mut Shard, v: usize) {
        let Visit { node, state, .. } = self.visits[v];
        let children = self.children_of(v);
        let (visits, digests) = (&self.visits[children.clone()], &self.digests[children]);
        let states = visits.iter().fold(0, |all, child| all | child.state);
        if states & (CLEAN | DEAD | EMBEDDED) | state & RESHAPED == 0 && shard.branch(node).embedded() == 0 {
            let children = visits.iter().zip(digests);
            return shard
                .replace_hashes(node, children.map(|(child, digest)| (child.nibble, child.at as usize, digest)));
        }
        let changed = visits.iter().zip(digests).filter(|(child, _)| child.state & (CLEAN | DEAD) == 0);
        if states & EMBEDDED != 0 {
            for (child, digest) in changed {
                let is_embedded = child.state & EMBEDDED != 0;
                let item = if is_embedded { Item::embedded(digest.as_slice()) } else { Item::hash(digest) };
                shard.set_item(node, child.nibble, &item);
            }
        } else if state & RESHAPED != 0 {
            let (kind, mask) = (node.kind(), shard.branch(node).mask);
            let place = |nibble| item_at(kind, mask, nibble);
            shard.set_hashes(node, changed.map(|(child, digest)| (child.nibble, place(child.nibble), digest)));
        } else {
            shard.set_hashes(node, changed.map(|(child, digest)| (child.nibble, child.at as usize, digest)));
        }
    }

    /// Whether the leaf that replaced the visit's node was already hashed at its old position.
    fn was_hashed(&self, mut v: usize) -> bool {
        let node = self.visits[v].node;
        while let Some(child) = self.children_of(v).find(|child| self.visits[*child].node == node) {
            let state = self.visits[child].state;
            if state & TOOK_OVER == 0 {
                return state & (CLEAN | DEAD | EMBEDDED) == 0;
            }
            v = child;
        }
        false
    }

    /// Hints that the messages of a burst of branches will be hashed soon.
    #[inline(always)]
    fn prefetch_messages(&self, shards: &[&mut Shard], depth: usize, start: usize) {
        let level = &self.inner[depth];
        let end = level.len().min(start + BURST);
        for v in level.get(start..end).unwrap_or_default() {
            let visit = &self.visits[*v as usize];
            shards[visit.shard as usize].prefetch_message(visit.node);
        }
    }

    /// Hashes all visited nodes except leaves, which have been hashed or are queued in `encoded`.
    /// `tuned.rs` compiles this for processor features.
    #[inline(always)]
    pub(super) fn hash_here(&mut self, shards: Shards<'_, '_>, width: Width, count: &mut HashCount) {
        self.encoded.width = width;
        self.hash_encoded();
        self.digests.resize(self.visits.len(), B256::ZERO);
        let mut waiting = [Branches::default(); 4];
        for depth in (0..self.inner.len()).rev() {
            if self.inner[depth].is_empty() {
                continue;
            }
            self.prefetch_messages(shards, depth, 0);
            for i in 0..self.inner[depth].len() {
                if i % BURST == 0 {
                    self.prefetch_messages(shards, depth, i + BURST);
                }
                let v = self.inner[depth][i] as usize;
                let visit = self.visits[v];
                if self.is_void(&visit) {
                    continue;
                }
                let shard = &mut *shards[visit.shard as usize];
                let kind = visit.node.kind();
                if kind.is_branch() {
                    self.take_digests(shard, v);
                    let queue = &mut waiting[kind.blocks() - 1];
                    queue.visits[queue.used] = v as u32;
                    queue.used += 1;
                    if queue.used == LANES_MAX {
                        queue.used = 0;
                        self.hash_branches(shards, width, &queue.visits, count);
                    }
                } else if kind == Kind::Extension {
                    let span = shard.extension(visit.node).encode_padded(&mut self.encoded.bytes[self.encoded.used]);
                    self.queue_encoded(v, span);
                } else if kind.is_leaf() {
                    // The leaf replaced a branch: a hash computed for its old position is not used.
                    if self.was_hashed(v) {
                        self.encoded.count.remove_leaf();
                    }
                    self.encode_leaf(shard, v);
                }
            }
            self.hash_waiting(shards, width, &mut waiting, count);
            self.hash_encoded();
        }
        *count += core::mem::take(&mut self.encoded.count);
    }

    /// Hashes the remaining branches of a level, the largest first. With eight lanes, branches of
    /// different sizes share a call, since the rest of one size rarely fills it.
    fn hash_waiting(
        &mut self,
        shards: Shards<'_, '_>,
        width: Width,
        waiting: &mut [Branches; 4],
        count: &mut HashCount,
    ) {
        let mut visits = [0; 4 * LANES_MAX];
        let mut used = 0;
        for queue in waiting.iter_mut().rev() {
            for v in &queue.visits[..core::mem::take(&mut queue.used)] {
                visits[used] = *v;
                used += 1;
            }
            if width != Width::Eight {
                self.hash_branches(shards, width, &visits[..core::mem::take(&mut used)], count);
            }
        }
        for visits in visits[..used].chunks(LANES_MAX) {
            self.hash_branches(shards, width, visits, count);
        }
    }

    /// Hashes at most [`LANES_MAX`] branches.
    #[inline(always)]
    fn hash_branches(&mut self, shards: Shards<'_, '_>, width: Width, visits: &[u32], count: &mut HashCount) {
        let mut lanes = Lanes::default();
        let (mut hashed, mut used) = ([0; LANES_MAX], 0);
        let mut special = SmallVec::<[u32; LANES_MAX]>::new();
        for v in visits {
            let visit = &self.visits[*v as usize];
            let branch = shards[visit.shard as usize].branch(visit.node);
            if branch.embedded() != 0 {
                special.push(*v);
                continue;
            }
            lanes.push(branch.message(), message_len(branch.mask));
            count.add(1, branch.kind.blocks());
            hashed[used] = *v;
            used += 1;
        }
        let digests = lanes.hash(width);
        for (v, digest) in hashed[..used].iter().zip(&digests) {
            self.note(*v as usize, digest);
            self.hand_to_extension(shards, *v as usize);
        }
        // Branches with embedded children are packed first, since their message in memory is not
        // their RLP.
        for v in special {
            let visit = self.visits[v as usize];
            let item = small_item(&*shards[visit.shard as usize], visit.node, visit.depth as usize, count);
            self.note_item(v as usize, &item);
            self.hand_to_extension(shards, v as usize);
        }
    }
}

/// The item of a node with this RLP in its parent.
fn to_item(rlp: &[u8], count: &mut HashCount) -> Item {
    if rlp.len() < 32 {
        return Item::embedded(rlp);
    }
    count.add(1, block_count(rlp.len()));
    Item::hash(&keccak256(rlp))
}

/// The item of any node in its parent, computed singly; for rare kinds and for the few nodes at the
/// top.
pub(super) fn small_item(shard: &Shard, node: Ref, depth: usize, count: &mut HashCount) -> Item {
    let mut rlp = Vec::with_capacity(4 * RATE);
    encode(shard, node, depth, &mut rlp);
    to_item(&rlp, count)
}

/// Appends a node's RLP, with the hashes of children as presently stored.
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

/// The root hash of a trie with the top `node`; a root is hashed even if its RLP is shorter than 32
/// bytes.
pub(super) fn root_hash(shard: &Shard, node: Ref, depth: usize, count: &mut HashCount) -> B256 {
    let item = small_item(shard, node, depth, count);
    item.as_hash().copied().unwrap_or_else(|| keccak256(item.as_rlp()))
}
