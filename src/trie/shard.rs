//! A shard: the nodes of one sixteenth of the state, and the journal that undoes what happened to them.
//!
//! In: references and what to change. Out: the nodes. A changed branch is written in place, its old bytes noted in
//! the journal; a branch that gains or loses children is written anew and the old one kept until commit. So the
//! parent state costs a note per changed child, not a copy per changed node.
//! Relies on: one owner at a time (`update.rs` deals shards to threads).
//! Not here: which nodes to change.

use super::node::{
    Account, Branch, Branch1, Branch2, Branch3, Branch4, Contract, Extension, Head, Item, Kind, LEAF_BYTES, Plain, Ref,
    Slot, Span, branch_kind, encode_account, encode_slot, header_len, item_at, put_header, write_frame,
};
use super::pool::Pool;
use super::prefetch::prefetch;
use crate::arena::keccak::RATE;
use alloy_primitives::{B256, U256};

/// A branch of any size, to read.
#[derive(Clone, Copy)]
pub(super) struct BranchView<'a> {
    pub(super) kind: Kind,
    pub(super) head: &'a Head,
    pub(super) refs: &'a [Ref],
    pub(super) message: &'a [u8],
}

impl BranchView<'_> {
    /// The child's reference; [`Ref::NONE`] where there is no child.
    #[inline(always)]
    pub(super) fn child(&self, nibble: u8) -> Ref {
        if self.head.mask >> nibble & 1 == 0 {
            return Ref::NONE;
        }
        self.refs[super::node::rank(self.head.mask, nibble)]
    }

    /// The 33 bytes of a present child.
    #[inline(always)]
    pub(super) fn item(&self, nibble: u8) -> Item {
        let at = item_at(self.kind, self.head.mask, nibble);
        Item(*self.message[at..].first_chunk().expect("33 bytes for every child"))
    }

    /// Present children by nibble.
    pub(super) fn nibbles(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.head.mask;
        (0..16).filter(move |nibble| mask >> nibble & 1 == 1)
    }
}

/// A branch of any size, to change.
struct BranchMut<'a> {
    head: &'a mut Head,
    refs: &'a mut [Ref],
    message: &'a mut [u8],
}

#[inline(always)]
fn view<const R: usize, const B: usize>(kind: Kind, branch: &Branch<R, B>) -> BranchView<'_> {
    BranchView { kind, head: &branch.head, refs: &branch.refs, message: &branch.message }
}

#[inline(always)]
fn view_mut<const R: usize, const B: usize>(branch: &mut Branch<R, B>) -> BranchMut<'_> {
    BranchMut { head: &mut branch.head, refs: &mut branch.refs, message: &mut branch.message }
}

/// Old contents, one list per kind of thing; each is replayed backwards on its own.
#[derive(Debug, Default)]
struct Journal {
    items: Vec<(Ref, u8, bool, Item)>,
    refs: Vec<(Ref, u8, Ref)>,
    slots: Vec<(u32, [u8; 32])>,
    plains: Vec<(u32, Plain)>,
    contracts: Vec<(u32, Contract)>,
    extensions: Vec<(u32, Extension)>,
    allocated: Vec<Ref>,
    freed: Vec<Ref>,
}

/// A moment in the journal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark([usize; 8]);

/// Nodes of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    branch1: Pool<Branch1>,
    branch2: Pool<Branch2>,
    branch3: Pool<Branch3>,
    branch4: Pool<Branch4>,
    extensions: Pool<Extension>,
    slots: Pool<Slot>,
    plains: Pool<Plain>,
    contracts: Pool<Contract>,
    journal: Journal,
    /// Number of the running update; nodes born in it need no journal.
    epoch: u32,
    /// Number of the running commit interval; for eviction.
    pub(super) age: u32,
}

/// Evaluates `$body` with `$branch` bound to the concrete branch of a reference.
macro_rules! with_branch {
    ($shard:expr, $node:expr, $get:ident, $branch:ident => $body:expr) => {
        match $node.kind() {
            Kind::Branch1 => {
                let $branch = $shard.branch1.$get($node.row());
                $body
            }
            Kind::Branch2 => {
                let $branch = $shard.branch2.$get($node.row());
                $body
            }
            Kind::Branch3 => {
                let $branch = $shard.branch3.$get($node.row());
                $body
            }
            Kind::Branch4 => {
                let $branch = $shard.branch4.$get($node.row());
                $body
            }
            kind => unreachable!("{kind:?} is no branch"),
        }
    };
}

impl Shard {
    /// Starts an update: what exists now is journaled when it changes.
    pub(super) fn begin(&mut self) -> Mark {
        self.epoch = self.epoch.wrapping_add(1);
        let j = &self.journal;
        Mark([
            j.items.len(),
            j.refs.len(),
            j.slots.len(),
            j.plains.len(),
            j.contracts.len(),
            j.extensions.len(),
            j.allocated.len(),
            j.freed.len(),
        ])
    }

    /// Forgets how to go back and recycles replaced nodes.
    pub(super) fn commit(&mut self) {
        let mut freed = core::mem::take(&mut self.journal.freed);
        for node in freed.drain(..) {
            self.recycle(node);
        }
        self.journal.freed = freed;
        let j = &mut self.journal;
        clear(&mut j.items);
        clear(&mut j.refs);
        clear(&mut j.slots);
        clear(&mut j.plains);
        clear(&mut j.contracts);
        clear(&mut j.extensions);
        clear(&mut j.allocated);
        clear(&mut j.freed);
        self.age = self.age.wrapping_add(1);
    }

    /// Goes back to `mark`.
    pub(super) fn rollback(&mut self, mark: &Mark) {
        let [items, refs, slots, plains, contracts, extensions, allocated, freed] = mark.0;
        let mut j = core::mem::take(&mut self.journal);
        for (node, nibble, embedded, item) in j.items.drain(items..).rev() {
            self.put_item(node, nibble, embedded, &item);
        }
        for (node, nibble, child) in j.refs.drain(refs..).rev() {
            let branch = self.branch_mut(node);
            branch.refs[super::node::rank(branch.head.mask, nibble)] = child;
        }
        for (row, value) in j.slots.drain(slots..).rev() {
            self.slots.get_mut(row).0[32..].copy_from_slice(&value);
        }
        for (row, old) in j.plains.drain(plains..).rev() {
            *self.plains.get_mut(row) = old;
        }
        for (row, old) in j.contracts.drain(contracts..).rev() {
            *self.contracts.get_mut(row) = old;
        }
        for (row, old) in j.extensions.drain(extensions..).rev() {
            *self.extensions.get_mut(row) = old;
        }
        for node in j.allocated.drain(allocated..) {
            self.recycle(node);
        }
        j.freed.truncate(freed);
        self.journal = j;
    }

    fn recycle(&mut self, node: Ref) {
        let row = node.row();
        match node.kind() {
            Kind::Branch1 => self.branch1.free(row),
            Kind::Branch2 => self.branch2.free(row),
            Kind::Branch3 => self.branch3.free(row),
            Kind::Branch4 => self.branch4.free(row),
            Kind::Extension => self.extensions.free(row),
            Kind::Slot => self.slots.free(row),
            Kind::Plain => self.plains.free(row),
            Kind::Contract => self.contracts.free(row),
            Kind::None | Kind::Wide | Kind::Stub => {}
        }
    }

    /// Lets go of a node at the next commit.
    pub(super) fn free(&mut self, node: Ref) {
        self.journal.freed.push(node);
    }

    fn made(&mut self, kind: Kind, row: u32) -> Ref {
        let node = Ref::new(kind, row);
        self.journal.allocated.push(node);
        node
    }

    #[inline(always)]
    pub(super) fn branch(&self, node: Ref) -> BranchView<'_> {
        with_branch!(self, node, get, branch => view(node.kind(), branch))
    }

    #[inline(always)]
    fn branch_mut(&mut self, node: Ref) -> BranchMut<'_> {
        with_branch!(self, node, get_mut, branch => view_mut(branch))
    }

    #[inline(always)]
    pub(super) fn extension(&self, node: Ref) -> &Extension {
        self.extensions.get(node.row())
    }

    /// Hints that a node's head (or whole leaf) will be read soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, node: Ref) {
        let row = node.row();
        match node.kind() {
            Kind::Branch1 => prefetch(self.branch1.get(row), 0, 64),
            Kind::Branch2 => prefetch(self.branch2.get(row), 0, 64),
            Kind::Branch3 => prefetch(self.branch3.get(row), 0, 64),
            Kind::Branch4 => prefetch(self.branch4.get(row), 0, 128),
            Kind::Extension => prefetch(self.extensions.get(row), 0, 128),
            Kind::Slot => prefetch(self.slots.get(row), 0, 64),
            Kind::Plain => prefetch(self.plains.get(row), 0, 64),
            Kind::Contract => prefetch(self.contracts.get(row), 0, 192),
            Kind::None | Kind::Wide | Kind::Stub => {}
        }
    }

    /// Hints that a branch's message will be hashed soon.
    #[inline(always)]
    pub(super) fn prefetch_message(&self, node: Ref) {
        let row = node.row();
        match node.kind() {
            Kind::Branch1 => prefetch(self.branch1.get(row), 0, 192),
            Kind::Branch2 => prefetch(self.branch2.get(row), 0, 320),
            Kind::Branch3 => prefetch(self.branch3.get(row), 0, 512),
            Kind::Branch4 => prefetch(self.branch4.get(row), 0, 640),
            _ => {}
        }
    }

    /// A new branch with the children of `mask`: no references, no hashes yet.
    pub(super) fn new_branch(&mut self, mask: u16) -> Ref {
        let node = self.alloc_branch(branch_kind(mask.count_ones()));
        let (epoch, age) = (self.epoch, self.age);
        let branch = self.branch_mut(node);
        *branch.head = Head { mask, embedded: 0, born: epoch, touched: age };
        branch.refs.fill(Ref::NONE);
        write_frame(mask, branch.message);
        node
    }

    /// A branch with the children of `mask`, those that `old` has too taken over from it; lets go of `old`.
    pub(super) fn reshape(&mut self, old: Ref, mask: u16) -> Ref {
        let kind = branch_kind(mask.count_ones());
        let node = self.alloc_branch(kind);
        let (epoch, age) = (self.epoch, self.age);
        let mut frame = [0; 4 * RATE];
        let mut refs = [Ref::NONE; 16];
        let was = self.branch(old);
        let (mut from, mut to) = (header_len(was.kind), put_header(mask, &mut frame));
        let (mut ref_from, mut ref_to) = (0, 0);
        for nibble in 0..16 {
            let (had, has) = (was.head.mask >> nibble & 1 == 1, mask >> nibble & 1 == 1);
            if has {
                let item: &mut [u8; 33] = frame[to..].first_chunk_mut().expect("room for sixteen children");
                if had {
                    *item = *was.message[from..].first_chunk().expect("33 bytes for every child");
                    refs[ref_to] = was.refs[ref_from];
                } else {
                    item[0] = 0xa0;
                }
                ref_to += 1;
                to += 33;
            } else {
                frame[to] = 0x80;
                to += 1;
            }
            ref_from += usize::from(had);
            from += if had { 33 } else { 1 };
        }
        let embedded = was.head.embedded & mask;
        frame[to] = 0x80;
        frame[to + 1] = 0x01;
        frame[branch_blocks(kind) * RATE - 1] |= 0x80;
        let branch = self.branch_mut(node);
        *branch.head = Head { mask, embedded, born: epoch, touched: age };
        branch.refs.copy_from_slice(&refs[..branch.refs.len()]);
        branch.message.copy_from_slice(&frame[..branch.message.len()]);
        self.free(old);
        node
    }

    fn alloc_branch(&mut self, kind: Kind) -> Ref {
        let row = match kind {
            Kind::Branch1 => self.branch1.alloc(),
            Kind::Branch2 => self.branch2.alloc(),
            Kind::Branch3 => self.branch3.alloc(),
            _ => self.branch4.alloc(),
        };
        self.made(kind, row)
    }

    fn put_item(&mut self, node: Ref, nibble: u8, embedded: bool, item: &Item) {
        let kind = node.kind();
        let branch = self.branch_mut(node);
        let at = item_at(kind, branch.head.mask, nibble);
        *branch.message[at..].first_chunk_mut().expect("33 bytes for every child") = item.0;
        branch.head.embedded = branch.head.embedded & !(1 << nibble) | u16::from(embedded) << nibble;
    }

    /// Writes what the parent's message says of a present child.
    #[inline]
    pub(super) fn set_item(&mut self, node: Ref, nibble: u8, item: &Item) {
        let at = item_at(node.kind(), self.branch(node).head.mask, nibble);
        self.set_item_at(node, nibble, at, item);
    }

    /// Writes what the parent's message says of a present child, whose 33 bytes start at `at`.
    #[inline(always)]
    pub(super) fn set_item_at(&mut self, node: Ref, nibble: u8, at: usize, item: &Item) {
        let epoch = self.epoch;
        let branch = self.branch_mut(node);
        debug_assert_eq!(at, item_at(node.kind(), branch.head.mask, nibble));
        let place: &mut [u8; 33] = branch.message[at..].first_chunk_mut().expect("33 bytes for every child");
        let bit = 1u16 << nibble;
        let old = (branch.head.born != epoch).then_some((branch.head.embedded & bit != 0, Item(*place)));
        *place = item.0;
        if item.0[0] != 0xa0 {
            branch.head.embedded |= bit;
        } else if branch.head.embedded & bit != 0 {
            branch.head.embedded &= !bit;
        }
        if let Some((embedded, old)) = old {
            self.journal.items.push((node, nibble, embedded, old));
        }
    }

    /// Hints that [`Self::set_item_at`] will write there soon.
    #[inline(always)]
    pub(super) fn prefetch_item(&self, node: Ref, at: usize) {
        let row = node.row();
        let (head, bytes) = (size_of::<Head>(), 33);
        match node.kind() {
            Kind::Branch1 => prefetch(self.branch1.get(row), head + 12 + at, bytes),
            Kind::Branch2 => prefetch(self.branch2.get(row), head + 28 + at, bytes),
            Kind::Branch3 => prefetch(self.branch3.get(row), head + 48 + at, bytes),
            Kind::Branch4 => prefetch(self.branch4.get(row), head + 64 + at, bytes),
            _ => {}
        }
    }

    /// Writes a present child's reference.
    #[inline]
    pub(super) fn set_ref(&mut self, node: Ref, nibble: u8, child: Ref) {
        let epoch = self.epoch;
        let branch = self.branch_mut(node);
        let place = &mut branch.refs[super::node::rank(branch.head.mask, nibble)];
        let old = core::mem::replace(place, child);
        if branch.head.born != epoch && old != child {
            self.journal.refs.push((node, nibble, old));
        }
    }

    /// Notes that a key below the branch is being visited; returns its children's mask.
    #[inline(always)]
    pub(super) fn touch(&mut self, node: Ref) -> u16 {
        let age = self.age;
        let head = self.branch_mut(node).head;
        if head.touched != age {
            head.touched = age;
        }
        head.mask
    }

    /// A new extension.
    pub(super) fn new_extension(&mut self, extension: Extension) -> Ref {
        let row = self.extensions.alloc();
        *self.extensions.get_mut(row) = extension;
        self.made(Kind::Extension, row)
    }

    /// An extension to change; its old content is journaled.
    pub(super) fn extension_mut(&mut self, node: Ref) -> &mut Extension {
        let extension = self.extensions.get_mut(node.row());
        self.journal.extensions.push((node.row(), *extension));
        extension
    }

    /// A new storage leaf.
    pub(super) fn new_slot(&mut self, key: &B256, value: &U256) -> Ref {
        let row = self.slots.alloc();
        let slot = self.slots.get_mut(row);
        slot.0[..32].copy_from_slice(key.as_slice());
        slot.0[32..].copy_from_slice(&value.to_be_bytes::<32>());
        self.made(Kind::Slot, row)
    }

    /// A storage leaf's new value.
    #[inline]
    pub(super) fn set_slot(&mut self, node: Ref, value: &U256) {
        let slot = self.slots.get_mut(node.row());
        let place = slot.0.last_chunk_mut::<32>().expect("a slot has 64 bytes");
        self.journal.slots.push((node.row(), *place));
        *place = value.to_be_bytes();
    }

    /// A storage leaf's value.
    pub(super) fn slot_value(&self, node: Ref) -> U256 {
        U256::from_be_slice(&self.slots.get(node.row()).0[32..])
    }

    /// A leaf's whole hashed key.
    #[inline(always)]
    pub(super) fn leaf_key(&self, node: Ref) -> &[u8; 32] {
        match node.kind() {
            Kind::Slot => self.slots.get(node.row()).0.first_chunk().expect("a slot has 64 bytes"),
            Kind::Plain => &self.plains.get(node.row()).key,
            Kind::Contract => &self.contracts.get(node.row()).key,
            kind => unreachable!("{kind:?} is no leaf"),
        }
    }

    /// A new account leaf.
    pub(super) fn new_account(&mut self, key: &[u8; 32], account: &Account) -> Ref {
        let kind = account.kind();
        let row = if kind == Kind::Plain { self.plains.alloc() } else { self.contracts.alloc() };
        let node = self.made(kind, row);
        self.put_account(node, key, account);
        node
    }

    fn put_account(&mut self, node: Ref, key: &[u8; 32], account: &Account) {
        if node.kind() == Kind::Plain {
            let [a, b, c, _] = *account.balance.as_limbs();
            *self.plains.get_mut(node.row()) = Plain { key: *key, nonce: account.nonce, balance: [a, b, c] };
        } else {
            *self.contracts.get_mut(node.row()) = Contract {
                key: *key,
                balance: account.balance,
                storage_root: account.storage_root,
                code_hash: account.code_hash,
                nonce: account.nonce,
                storage: account.storage,
            };
        }
    }

    /// An account leaf's new fields; where they need another kind of leaf, the new one is returned and the old let go.
    pub(super) fn set_account(&mut self, node: Ref, account: &Account) -> Ref {
        let key = *self.leaf_key(node);
        if account.kind() != node.kind() {
            self.free(node);
            return self.new_account(&key, account);
        }
        match node.kind() {
            Kind::Plain => self.journal.plains.push((node.row(), *self.plains.get(node.row()))),
            _ => self.journal.contracts.push((node.row(), *self.contracts.get(node.row()))),
        }
        self.put_account(node, &key, account);
        node
    }

    /// An account leaf's fields.
    #[inline]
    pub(super) fn account(&self, node: Ref) -> Account {
        match node.kind() {
            Kind::Plain => {
                let plain = self.plains.get(node.row());
                let [a, b, c] = plain.balance;
                Account { nonce: plain.nonce, balance: U256::from_limbs([a, b, c, 0]), ..Account::default() }
            }
            Kind::Contract => {
                let contract = self.contracts.get(node.row());
                Account {
                    nonce: contract.nonce,
                    balance: contract.balance,
                    storage_root: contract.storage_root,
                    code_hash: contract.code_hash,
                    storage: contract.storage,
                }
            }
            kind => unreachable!("{kind:?} is no account"),
        }
    }

    /// Encodes and pads a leaf that lies `depth` nibbles below its root.
    #[inline]
    pub(super) fn encode_leaf(&self, node: Ref, depth: usize, out: &mut [u8; LEAF_BYTES]) -> Span {
        match node.kind() {
            Kind::Slot => encode_slot(self.slots.get(node.row()), depth, out),
            _ => encode_account(self.leaf_key(node), &self.account(node), depth, out),
        }
    }

    /// Lets go of a node and everything below it; wide storage tries below are added to `wide`.
    pub(super) fn free_below(&mut self, node: Ref, wide: &mut Vec<u32>) {
        match node.kind() {
            Kind::None | Kind::Stub => return,
            Kind::Wide => {
                wide.push(node.row());
                return;
            }
            Kind::Slot | Kind::Plain => {}
            Kind::Contract => {
                let storage = self.contracts.get(node.row()).storage;
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
        let Journal { items, refs, slots, plains, contracts, extensions, allocated, freed } = &self.journal;
        !(items.is_empty() && refs.is_empty() && slots.is_empty() && plains.is_empty())
            || !(contracts.is_empty() && extensions.is_empty() && allocated.is_empty() && freed.is_empty())
    }

    /// Nodes let go of that wait for the commit, in the order of [`Self::node_counts`].
    #[cfg(test)]
    pub(super) fn waiting(&self) -> [usize; 8] {
        let mut counts = [0; 8];
        self.journal.freed.iter().for_each(|node| counts[node.kind() as usize - 1] += 1);
        counts
    }

    /// Nodes in memory, by kind: branches of one to four blocks, extensions, slots, plain accounts, other accounts.
    pub(super) fn node_counts(&self) -> [usize; 8] {
        [
            self.branch1.used(),
            self.branch2.used(),
            self.branch3.used(),
            self.branch4.used(),
            self.extensions.used(),
            self.slots.used(),
            self.plains.used(),
            self.contracts.used(),
        ]
    }
}

/// Rows of journal that are kept allocated between commits; a larger one (a state built at once) is given back.
const JOURNAL_KEPT: usize = 1 << 18;

fn clear<T>(rows: &mut Vec<T>) {
    rows.clear();
    rows.shrink_to(JOURNAL_KEPT);
}

/// Keccak blocks of a branch's message.
#[inline(always)]
pub(super) fn branch_blocks(kind: Kind) -> usize {
    kind as usize - Kind::Branch1 as usize + 1
}

const _: () = assert!(size_of::<Branch1>() == 192 && size_of::<Branch2>() == 320);
const _: () = assert!(size_of::<Branch3>() == 512 && size_of::<Branch4>() == 640);
const _: () = assert!(size_of::<Slot>() == 64 && size_of::<Plain>() == 64 && size_of::<Contract>() == 192);
const _: () = assert!(4 * RATE <= size_of::<Branch4>());
