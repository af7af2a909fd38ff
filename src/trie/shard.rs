//! A shard: the nodes of one sixteenth of the state, and the undo journal of their changes.
//!
//! In: references and changes. Out: nodes. Hashes in a branch are changed in place, and the old
//! ones are added to the journal. A branch that gains or loses children is also changed in place if
//! it keeps its size class; otherwise it is rewritten elsewhere, and the old one is kept until
//! commit. So the parent state costs a journal entry per changed child, not a copy per changed
//! node.
//! Relies on: one owner at a time (`update.rs` assigns shards to threads).
//! Not here: which nodes to change.

use super::lines::{Lines, RUN_MAX};
use super::node::{
    Account, CONTRACT, EXTENSION, Extension, HEAD, Item, Kind, LEAF_BYTES, PLAIN, Ref, SLOT, Span, branch_kind,
    encode_account, encode_slot, field, header_len, item_at, item_of_rank, message_len, put_header, rank, write_frame,
};
use crate::arena::keccak::RATE;
use crate::arena::prefetch::{Head, LINE};
use alloy_primitives::{B256, U256};
use smallvec::SmallVec;

/// Read access to a branch of any size.
#[derive(Clone, Copy)]
pub(super) struct BranchView<'a> {
    pub(super) kind: Kind,
    /// Present children by nibble.
    pub(super) mask: u16,
    bytes: &'a [u8],
}

impl<'a> BranchView<'a> {
    /// Mask of embedded children: those whose RLP is stored in the message itself.
    #[inline(always)]
    pub(super) fn embedded(&self) -> u16 {
        u16::from_le_bytes(*field(self.bytes, 2))
    }

    /// Number of the commit interval in which a key below was last visited.
    pub(super) fn touched(&self) -> u32 {
        u32::from_le_bytes(*field(self.bytes, 8))
    }

    /// The child's reference; [`Ref::NONE`] if there is no child.
    #[inline(always)]
    pub(super) fn child(&self, nibble: u8) -> Ref {
        if self.mask >> nibble & 1 == 0 { Ref::NONE } else { self.child_at(rank(self.mask, nibble)) }
    }

    /// The reference of the child with `rank` children before it.
    #[inline(always)]
    pub(super) fn child_at(&self, rank: usize) -> Ref {
        Ref::from_bytes(field(self.bytes, HEAD + 4 * rank))
    }

    /// The 33 bytes of a present child.
    #[inline(always)]
    pub(super) fn item(&self, nibble: u8) -> Item {
        Item(*field(self.message(), item_at(self.kind, self.mask, nibble)))
    }

    /// The padded message.
    #[inline(always)]
    pub(super) fn message(&self) -> &'a [u8] {
        &self.bytes[self.kind.message_at()..]
    }

    /// Present children by nibble.
    pub(super) fn nibbles(&self) -> impl Iterator<Item = u8> + Clone + use<> {
        let mask = self.mask;
        (0..16).filter(move |nibble| mask >> nibble & 1 == 1)
    }
}

/// The `N` bytes from `at` on, to write.
#[inline(always)]
fn field_mut<const N: usize>(bytes: &mut [u8], at: usize) -> &mut [u8; N] {
    bytes[at..].first_chunk_mut().expect("a field is within its node")
}

/// Offsets of a child's reference and item.
#[derive(Clone, Copy)]
struct Place {
    reference: usize,
    item: usize,
}

impl Place {
    fn first(kind: Kind) -> Self {
        Self { reference: 0, item: header_len(kind) }
    }

    /// The place of `nibble`, which may be 16: the end.
    fn of(kind: Kind, mask: u16, nibble: u8) -> Self {
        let before = (u32::from(mask) & ((1 << nibble) - 1)).count_ones() as usize;
        Self { reference: 4 * before, item: header_len(kind) + nibble as usize + 32 * before }
    }

    /// The next position, after one with or without a child.
    fn after(self, child: bool) -> Self {
        if child {
            Self { reference: self.reference + 4, item: self.item + 33 }
        } else {
            Self { item: self.item + 1, ..self }
        }
    }
}

fn copy_run(to: &mut [u8], at: usize, from: &[u8], run: core::ops::Range<usize>) {
    to[at..at + run.len()].copy_from_slice(&from[run]);
}

/// Old contents, one list per kind of change; each list is replayed backwards separately.
#[derive(Debug, Default)]
struct Journal {
    /// Branches that gained one child in place, and its nibble.
    grown: Vec<(Ref, u8)>,
    /// Branches whose set of children changed otherwise in place, and their previous bytes.
    reshaped: Vec<Ref>,
    reshaped_bytes: Vec<u8>,
    /// Branches in which hashes of children changed, with the mask of these children; the old
    /// hashes, by branch, then by nibble.
    branches: Vec<(Ref, u16)>,
    hashes: Vec<[u8; 32]>,
    /// Previous items of children that were or are embedded.
    items: Vec<(Ref, u8, bool, Item)>,
    refs: Vec<(Ref, u8, Ref)>,
    slots: Vec<(u32, [u8; 32])>,
    plains: Vec<(u32, [u8; PLAIN])>,
    contracts: Vec<(u32, [u8; CONTRACT])>,
    extensions: Vec<(u32, [u8; EXTENSION])>,
    allocated: Vec<Ref>,
    freed: Vec<Ref>,
    /// Lengths of all lists at the start of each update since the last commit.
    updates: Vec<[usize; 13]>,
}

/// A position in the journal: the number of updates before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(usize);

/// Nodes of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    lines: Lines,
    /// Number of allocated nodes, by kind.
    counts: [usize; 8],
    journal: Journal,
    /// Number of the current update; changes of nodes created in it are not journaled.
    epoch: u32,
    /// Number of the current commit interval; for eviction.
    pub(super) age: u32,
}

impl Shard {
    /// The present position in the journal.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.journal.updates.len())
    }

    /// Starts an update: changes of nodes that exist now are journaled.
    pub(super) fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        let j = &mut self.journal;
        j.updates.push([
            j.grown.len(),
            j.reshaped.len(),
            j.reshaped_bytes.len(),
            j.branches.len(),
            j.hashes.len(),
            j.items.len(),
            j.refs.len(),
            j.slots.len(),
            j.plains.len(),
            j.contracts.len(),
            j.extensions.len(),
            j.allocated.len(),
            j.freed.len(),
        ]);
    }

    /// Clears the journal and recycles replaced nodes.
    pub(super) fn commit(&mut self) {
        let mut freed = core::mem::take(&mut self.journal.freed);
        for node in freed.drain(..) {
            self.recycle(node);
        }
        self.journal.freed = freed;
        let j = &mut self.journal;
        j.updates.clear();
        clear(&mut j.grown);
        clear(&mut j.reshaped);
        j.reshaped_bytes.clear();
        j.reshaped_bytes.shrink_to(16 * JOURNAL_KEPT);
        clear(&mut j.branches);
        clear(&mut j.hashes);
        clear(&mut j.items);
        clear(&mut j.refs);
        clear(&mut j.slots);
        clear(&mut j.plains);
        clear(&mut j.contracts);
        clear(&mut j.extensions);
        clear(&mut j.allocated);
        clear(&mut j.freed);
        self.age = self.age.wrapping_add(1);
        self.lines.reserve();
    }

    /// Restores the state at `mark`, one update after the other, since the lists do not record the
    /// order of entries in different lists.
    pub(super) fn rollback(&mut self, mark: Mark) {
        let mut j = core::mem::take(&mut self.journal);
        while j.updates.len() > mark.0
            && let Some(start) = j.updates.pop()
        {
            self.replay(&mut j, &start);
        }
        self.journal = j;
    }

    fn replay(&mut self, j: &mut Journal, start: &[usize; 13]) {
        let [
            grown,
            reshaped,
            reshaped_bytes,
            branches,
            hashes,
            items,
            refs,
            slots,
            plains,
            contracts,
            extensions,
            allocated,
            freed,
        ] = *start;
        // Within an update a branch's entries in other lists are older than its copy, since none is
        // made after it is reshaped.
        for node in j.reshaped.drain(reshaped..).rev() {
            let bytes = self.branch_mut(node);
            let at = j.reshaped_bytes.len() - bytes.len();
            bytes.copy_from_slice(&j.reshaped_bytes[at..]);
            j.reshaped_bytes.truncate(at);
        }
        debug_assert_eq!(j.reshaped_bytes.len(), reshaped_bytes);
        let mut olds = j.hashes.drain(hashes..).rev();
        for (node, nibbles) in j.branches.drain(branches..).rev() {
            let (kind, mask) = (node.kind(), self.branch(node).mask);
            let bytes = self.branch_mut(node);
            for nibble in (0..16).rev().filter(|nibble| nibbles >> nibble & 1 == 1) {
                let place = field_mut(bytes, kind.message_at() + item_at(kind, mask, nibble) + 1);
                *place = olds.next().unwrap_or(*place);
            }
        }
        drop(olds);
        for (node, nibble, embedded, item) in j.items.drain(items..).rev() {
            self.put_item(node, nibble, embedded, &item);
        }
        for (node, nibble, child) in j.refs.drain(refs..).rev() {
            let mask = self.branch(node).mask;
            *self.child_mut(node, rank(mask, nibble)) = child.to_bytes();
        }
        // A branch grows before its other entries are made, and these entries are relative to the
        // new set of children.
        for (node, nibble) in j.grown.drain(grown..).rev() {
            self.shrink(node, nibble);
        }
        for (line, value) in j.slots.drain(slots..).rev() {
            self.lines.array_mut::<SLOT>(line)[32..].copy_from_slice(&value);
        }
        for (line, old) in j.plains.drain(plains..).rev() {
            *self.lines.array_mut(line) = old;
        }
        for (line, old) in j.contracts.drain(contracts..).rev() {
            *self.lines.array_mut(line) = old;
        }
        for (line, old) in j.extensions.drain(extensions..).rev() {
            *self.lines.array_mut(line) = old;
        }
        for node in j.allocated.drain(allocated..) {
            self.recycle(node);
        }
        j.freed.truncate(freed);
    }

    fn recycle(&mut self, node: Ref) {
        let kind = node.kind();
        if kind.lines() > 0 {
            self.counts[kind as usize - 1] -= 1;
            self.lines.free(node.row(), kind.lines());
        }
    }

    /// Frees a node at the next commit.
    pub(super) fn free(&mut self, node: Ref) {
        self.journal.freed.push(node);
    }

    /// Allocates a node of `kind` with undefined content.
    #[inline(always)]
    fn make(&mut self, kind: Kind) -> Ref {
        let node = Ref::new(kind, self.lines.alloc(kind.lines()));
        self.counts[kind as usize - 1] += 1;
        self.journal.allocated.push(node);
        node
    }

    #[inline(always)]
    pub(super) fn branch(&self, node: Ref) -> BranchView<'_> {
        let kind = node.kind();
        debug_assert!(kind.is_branch());
        let bytes = self.lines.bytes(node.row(), kind.branch_len());
        BranchView { kind, mask: u16::from_le_bytes(*field(bytes, 0)), bytes }
    }

    #[inline(always)]
    fn branch_mut(&mut self, node: Ref) -> &mut [u8] {
        debug_assert!(node.kind().is_branch());
        self.lines.bytes_mut(node.row(), node.kind().branch_len())
    }

    #[inline(always)]
    fn child_mut(&mut self, node: Ref, rank: usize) -> &mut [u8; 4] {
        field_mut(self.branch_mut(node), HEAD + 4 * rank)
    }

    /// Hints that a node's head and references (or the whole leaf) will be read soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, node: Ref) {
        self.lines.prefetch(node.row(), node.kind().head_lines());
    }

    /// Address of the part of a node that a descent reads, for prefetch.
    #[inline(always)]
    pub(super) fn head(&self, node: Ref) -> Head {
        let lines = node.kind().head_lines();
        if lines == 0 { Head::default() } else { Head::new(self.lines.address(node.row()), lines > 1) }
    }

    /// Hints that a branch's message will be hashed soon.
    #[inline(always)]
    pub(super) fn prefetch_message(&self, node: Ref) {
        if node.kind().is_branch() {
            self.lines.prefetch(node.row(), node.kind().lines());
        }
    }

    #[inline(always)]
    fn put_head(bytes: &mut [u8], mask: u16, embedded: u16, born: u32, touched: u32) {
        *field_mut(bytes, 0) = mask.to_le_bytes();
        *field_mut(bytes, 2) = embedded.to_le_bytes();
        *field_mut(bytes, 4) = born.to_le_bytes();
        *field_mut(bytes, 8) = touched.to_le_bytes();
    }

    /// Creates a branch with the children of `mask`; references and hashes are not set.
    pub(super) fn new_branch(&mut self, mask: u16) -> Ref {
        let node = self.make(branch_kind(mask.count_ones()));
        let (epoch, age) = (self.epoch, self.age);
        let bytes = self.branch_mut(node);
        Self::put_head(bytes, mask, 0, epoch, age);
        let (head, message) = bytes.split_at_mut(node.kind().message_at());
        head[HEAD..].fill(0);
        write_frame(mask, message);
        node
    }

    /// Changes the set of children of `old` to `mask`, keeping the references and items of common
    /// children. The branch stays in place if its size class does not change; otherwise a new one
    /// is created and `old` is freed at the next commit.
    pub(super) fn reshape(&mut self, old: Ref, mask: u16) -> Ref {
        let kind = branch_kind(mask.count_ones());
        let stays = kind == old.kind();
        let mut had = self.branch(old).mask;
        if stays && had & !mask == 0 {
            while had != mask {
                had |= 1 << (mask & !had).trailing_zeros();
                self.grow(old, had);
            }
            return old;
        }
        let node = if stays { old } else { self.make(kind) };
        let (epoch, age) = (self.epoch, self.age);
        let was = self.branch(old);
        let (old_kind, old_mask, embedded) = (was.kind, was.mask, was.embedded() & mask);
        let is_old = u32::from_le_bytes(*field(was.bytes, 4)) != epoch;
        let copy = SmallVec::<[u8; RUN_MAX * LINE]>::from_slice(was.bytes);
        if stays && is_old {
            self.journal.reshaped.push(old);
            self.journal.reshaped_bytes.extend_from_slice(&copy);
        }
        let (old_refs, old_message) = (&copy[HEAD..], &copy[old_kind.message_at()..]);

        let bytes = self.branch_mut(node);
        Self::put_head(bytes, mask, embedded, epoch, age);
        let (head, message) = bytes.split_at_mut(kind.message_at());
        let refs = &mut head[HEAD..];
        put_header(mask, message);
        // Between nibbles whose children are added or removed, references and message are copied in
        // one piece.
        let mut from = Place::first(old_kind);
        let mut to = Place::first(kind);
        let mut changed = old_mask ^ mask;
        loop {
            let next = changed.trailing_zeros().min(16) as u8;
            let end = Place::of(old_kind, old_mask, next);
            copy_run(refs, to.reference, old_refs, from.reference..end.reference);
            copy_run(message, to.item, old_message, from.item..end.item);
            to.reference += end.reference - from.reference;
            to.item += end.item - from.item;
            if next == 16 {
                break;
            }
            let comes = mask >> next & 1 == 1;
            from = end.after(!comes);
            if comes {
                *field_mut(refs, to.reference) = Ref::NONE.to_bytes();
                *field_mut(message, to.item) = Item::default().0;
            } else {
                message[to.item] = 0x80;
            }
            to = to.after(comes);
            changed &= changed - 1;
        }
        message[to.item..].fill(0);
        message[to.item] = 0x80;
        message[to.item + 1] = 0x01;
        *field_mut(message, kind.blocks() * RATE - 1) = [message[kind.blocks() * RATE - 1] | 0x80];
        if !stays {
            self.free(old);
        }
        node
    }

    /// Inserts one child in a branch that keeps its size class.
    fn grow(&mut self, node: Ref, mask: u16) {
        let Self { lines, journal, epoch, .. } = self;
        let kind = node.kind();
        let bytes = lines.bytes_mut(node.row(), kind.branch_len());
        let old_mask = u16::from_le_bytes(*field(bytes, 0));
        let nibble = (mask & !old_mask).trailing_zeros() as u8;
        if u32::from_le_bytes(*field(bytes, 4)) != *epoch {
            journal.grown.push((node, nibble));
        }
        *field_mut(bytes, 0) = mask.to_le_bytes();
        let (before, children) = (rank(mask, nibble), old_mask.count_ones() as usize);
        let place = HEAD + 4 * before;
        bytes.copy_within(place..HEAD + 4 * children, place + 4);
        *field_mut(bytes, place) = Ref::NONE.to_bytes();
        // The byte of the absent child is replaced by 33 bytes; the first byte of the padding moves
        // too.
        let message = &mut bytes[kind.message_at()..];
        let end = message_len(old_mask) + 1;
        let at = item_of_rank(kind, nibble, before);
        message.copy_within(at + 1..end, at + 33);
        *field_mut(message, at) = Item::default().0;
        put_header(mask, message);
        message[kind.blocks() * RATE - 1] |= 0x80;
    }

    /// Undoes [`Self::grow`].
    fn shrink(&mut self, node: Ref, nibble: u8) {
        let kind = node.kind();
        let bytes = self.branch_mut(node);
        let mask = u16::from_le_bytes(*field(bytes, 0));
        let (old_mask, before) = (mask & !(1 << nibble), rank(mask, nibble));
        let embedded = u16::from_le_bytes(*field(bytes, 2)) & old_mask;
        *field_mut(bytes, 0) = old_mask.to_le_bytes();
        *field_mut(bytes, 2) = embedded.to_le_bytes();
        let place = HEAD + 4 * before;
        bytes.copy_within(place + 4..HEAD + 4 * mask.count_ones() as usize, place);
        let message = &mut bytes[kind.message_at()..];
        let at = item_of_rank(kind, nibble, before);
        message.copy_within(at + 33..message_len(mask), at + 1);
        message[at] = 0x80;
        put_header(old_mask, message);
        let end = message_len(old_mask);
        message[end..].fill(0);
        message[end] = 0x01;
        message[kind.blocks() * RATE - 1] |= 0x80;
    }

    fn put_item(&mut self, node: Ref, nibble: u8, embedded: bool, item: &Item) {
        let kind = node.kind();
        let BranchView { mask, .. } = self.branch(node);
        let bits = self.branch(node).embedded();
        let bytes = self.branch_mut(node);
        *field_mut(bytes, kind.message_at() + item_at(kind, mask, nibble)) = item.0;
        let bits = bits & !(1 << nibble) | u16::from(embedded) << nibble;
        *field_mut(bytes, 2) = bits.to_le_bytes();
    }

    /// Writes the item of a present child to the branch's message.
    pub(super) fn set_item(&mut self, node: Ref, nibble: u8, item: &Item) {
        let (kind, mask, epoch) = (node.kind(), self.branch(node).mask, self.epoch);
        let bytes = self.branch_mut(node);
        let (born, embedded) = (u32::from_le_bytes(*field(bytes, 4)), u16::from_le_bytes(*field(bytes, 2)));
        let bit = 1u16 << nibble;
        let is_embedded = item.0[0] != 0xa0;
        *field_mut(bytes, 2) = ((embedded & !bit) | (bit * u16::from(is_embedded))).to_le_bytes();
        let place: &mut [u8; 33] = field_mut(bytes, kind.message_at() + item_at(kind, mask, nibble));
        let old = Item(*place);
        *place = item.0;
        if born != epoch {
            self.journal.items.push((node, nibble, embedded & bit != 0, old));
        }
    }

    /// Writes the hashes of children to a branch's message: nibble, offset in the message and hash,
    /// by nibble.
    #[inline(always)]
    pub(super) fn set_hashes<'a>(&mut self, node: Ref, hashes: impl Iterator<Item = (u8, usize, &'a B256)>) {
        let kind = node.kind();
        let Self { lines, journal, epoch, .. } = self;
        let bytes = lines.bytes_mut(node.row(), kind.branch_len());
        let is_old = u32::from_le_bytes(*field(bytes, 4)) != *epoch;
        let mut nibbles = 0u16;
        for (nibble, at, hash) in hashes {
            let place: &mut [u8; 33] = field_mut(bytes, kind.message_at() + at);
            if place[0] == 0xa0 {
                let place = field_mut(place, 1);
                if is_old {
                    journal.hashes.push(*place);
                    nibbles |= 1 << nibble;
                }
                *place = hash.0;
            } else {
                if is_old {
                    journal.items.push((node, nibble, true, Item(*place)));
                }
                *place = Item::hash(hash).0;
                let embedded = u16::from_le_bytes(*field(bytes, 2)) & !(1 << nibble);
                *field_mut(bytes, 2) = embedded.to_le_bytes();
            }
        }
        if nibbles != 0 {
            journal.branches.push((node, nibbles));
        }
    }

    /// As [`Self::set_hashes`], for a branch none of whose children is or was embedded.
    #[inline(always)]
    pub(super) fn replace_hashes<'a>(&mut self, node: Ref, hashes: impl Iterator<Item = (u8, usize, &'a B256)>) {
        let kind = node.kind();
        let Self { lines, journal, epoch, .. } = self;
        let bytes = lines.bytes_mut(node.row(), kind.branch_len());
        let is_old = u32::from_le_bytes(*field(bytes, 4)) != *epoch;
        let mut nibbles = 0u16;
        for (nibble, at, hash) in hashes {
            let place = field_mut(bytes, kind.message_at() + at + 1);
            if is_old {
                journal.hashes.push(*place);
                nibbles |= 1 << nibble;
            }
            *place = hash.0;
        }
        if nibbles != 0 {
            journal.branches.push((node, nibbles));
        }
    }

    /// Writes a present child's reference.
    #[inline]
    pub(super) fn set_ref(&mut self, node: Ref, nibble: u8, child: Ref) {
        let epoch = self.epoch;
        let mask = self.branch(node).mask;
        let rank = rank(mask, nibble);
        let bytes = self.branch_mut(node);
        let born = u32::from_le_bytes(*field(bytes, 4));
        let place: &mut [u8; 4] = field_mut(bytes, HEAD + 4 * rank);
        let old = Ref::from_bytes(place);
        *place = child.to_bytes();
        if born != epoch && old != child {
            self.journal.refs.push((node, nibble, old));
        }
    }

    /// Records the current commit interval as the branch's last visit; returns its mask of
    /// children.
    #[inline(always)]
    pub(super) fn touch(&mut self, node: Ref) -> u16 {
        let age = self.age;
        let head: &mut [u8; HEAD] = self.lines.array_mut(node.row());
        let touched = field_mut(head, 8);
        if u32::from_le_bytes(*touched) != age {
            *touched = age.to_le_bytes();
        }
        u16::from_le_bytes(*field(head, 0))
    }

    /// A new extension.
    pub(super) fn new_extension(&mut self, extension: Extension) -> Ref {
        let node = self.make(Kind::Extension);
        *self.lines.array_mut(node.row()) = extension.to_bytes();
        node
    }

    pub(super) fn extension(&self, node: Ref) -> Extension {
        Extension::from_bytes(self.lines.array(node.row()))
    }

    /// Changes an extension; its old content is journaled.
    pub(super) fn change_extension(&mut self, node: Ref, change: impl FnOnce(&mut Extension)) {
        let bytes = self.lines.array_mut(node.row());
        self.journal.extensions.push((node.row(), *bytes));
        let mut extension = Extension::from_bytes(bytes);
        change(&mut extension);
        *bytes = extension.to_bytes();
    }

    /// A new storage leaf.
    #[inline(always)]
    pub(super) fn new_slot(&mut self, key: &B256, value: &U256) -> Ref {
        let node = self.make(Kind::Slot);
        let slot = self.lines.array_mut::<SLOT>(node.row());
        *field_mut(slot, 0) = key.0;
        *field_mut(slot, 32) = value.to_be_bytes::<32>();
        node
    }

    /// A storage leaf's new value.
    #[inline(always)]
    pub(super) fn set_slot(&mut self, node: Ref, value: &U256) {
        let place: &mut [u8; 32] = field_mut(self.lines.array_mut::<SLOT>(node.row()), 32);
        self.journal.slots.push((node.row(), *place));
        *place = value.to_be_bytes();
    }

    /// A storage leaf's value.
    pub(super) fn slot_value(&self, node: Ref) -> U256 {
        U256::from_be_bytes(*field::<32>(self.lines.array::<SLOT>(node.row()), 32))
    }

    /// A leaf's whole hashed key.
    #[inline(always)]
    pub(super) fn leaf_key(&self, node: Ref) -> &[u8; 32] {
        debug_assert!(node.kind().is_leaf());
        self.lines.array(node.row())
    }

    /// A new account leaf.
    #[inline(always)]
    pub(super) fn new_account(&mut self, key: &[u8; 32], account: &Account) -> Ref {
        let node = self.make(account.kind());
        self.put_account(node, key, account);
        node
    }

    #[inline(always)]
    fn put_account(&mut self, node: Ref, key: &[u8; 32], account: &Account) {
        if node.kind() == Kind::Plain {
            *self.lines.array_mut(node.row()) = account.to_plain(key);
        } else {
            *self.lines.array_mut(node.row()) = account.to_contract(key);
        }
    }

    /// Sets an account leaf's fields. If they need another kind of leaf, a new one is created and
    /// returned, and the old one is freed at the next commit.
    #[inline(always)]
    pub(super) fn set_account(&mut self, node: Ref, account: &Account) -> Ref {
        let key = *self.leaf_key(node);
        if account.kind() != node.kind() {
            self.free(node);
            return self.new_account(&key, account);
        }
        match node.kind() {
            Kind::Plain => self.journal.plains.push((node.row(), *self.lines.array(node.row()))),
            _ => self.journal.contracts.push((node.row(), *self.lines.array(node.row()))),
        }
        self.put_account(node, &key, account);
        node
    }

    /// An account leaf's fields.
    #[inline(always)]
    pub(super) fn account(&self, node: Ref) -> Account {
        match node.kind() {
            Kind::Plain => Account::from_plain(self.lines.array(node.row())),
            Kind::Contract => Account::from_contract(self.lines.array(node.row())),
            kind => unreachable!("{kind:?} is no account"),
        }
    }

    /// Encodes and pads a leaf `depth` nibbles below its root.
    #[inline(always)]
    pub(super) fn encode_leaf(&self, node: Ref, depth: usize, out: &mut [u8; LEAF_BYTES]) -> Span {
        match node.kind() {
            Kind::Slot => encode_slot(self.lines.array(node.row()), depth, out),
            _ => encode_account(self.leaf_key(node), &self.account(node), depth, out),
        }
    }

    /// Frees a node and its descendants at the next commit; wide storage tries among them are added
    /// to `wide`.
    pub(super) fn free_below(&mut self, node: Ref, wide: &mut Vec<u32>) {
        match node.kind() {
            Kind::None | Kind::Stub => return,
            Kind::Wide => {
                wide.push(node.row());
                return;
            }
            Kind::Slot | Kind::Plain => {}
            Kind::Contract => {
                let storage = self.account(node).storage;
                self.free_below(storage, wide);
            }
            Kind::Extension => {
                let child = self.extension(node).child;
                self.free_below(child, wide);
            }
            Kind::Branch1 | Kind::Branch2 | Kind::Branch3 | Kind::Branch4 => {
                for nibble in self.branch(node).nibbles() {
                    let child = self.branch(node).child(nibble);
                    self.free_below(child, wide);
                }
            }
        }
        self.free(node);
    }

    /// Whether anything changed since the last commit.
    pub(super) fn has_journal(&self) -> bool {
        let j = &self.journal;
        let branches =
            [j.grown.len(), j.reshaped.len(), j.hashes.len(), j.items.len(), j.refs.len(), j.extensions.len()];
        let leaves = [j.slots.len(), j.plains.len(), j.contracts.len()];
        let nodes = [j.allocated.len(), j.freed.len()];
        branches.iter().chain(&leaves).chain(&nodes).any(|rows| *rows > 0)
    }

    /// Number of freed nodes that are kept until the commit, in the order of [`Self::node_counts`].
    #[cfg(test)]
    pub(super) fn waiting(&self) -> [usize; 8] {
        let mut counts = [0; 8];
        self.journal.freed.iter().for_each(|node| counts[node.kind() as usize - 1] += 1);
        counts
    }

    /// Number of nodes in memory, by kind: branches of one to four blocks, extensions, slots, plain
    /// accounts, other accounts.
    pub(super) fn node_counts(&self) -> [usize; 8] {
        self.counts
    }
}

/// Journal rows that are kept allocated between commits; the memory of a larger journal (a state
/// built at once) is freed.
const JOURNAL_KEPT: usize = 1 << 18;

fn clear<T>(rows: &mut Vec<T>) {
    rows.clear();
    rows.shrink_to(JOURNAL_KEPT);
}
