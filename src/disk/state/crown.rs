//! The crown: the branches above all units, in memory, with the item and the place of each unit.
//!
//! In: units by position; changed leaves. Out: where a key lies, the RLP of the crown's nodes, the
//! state root. A branch is in the crown if the subtrie below it does not fit into a unit; so which
//! branches these are depends on the state alone.
//! Not here: reading units (`unit`), merging leaves (`merge`).

use super::leaf::corrupt;
use super::unit::{hash_item, root_hash};
use crate::arena::keccak::keccak256;
use crate::arena::node::nibble;
use crate::arena::path::{KEY_NIBBLES, NodePath};
use crate::arena::store::{EMPTY_ROOT, StoreError};
use crate::disk::pages::{PageId, UnitKey, UnitPlace};
use crate::trie::{ItemBytes, put_branch, put_extension};
use ahash::RandomState;
use alloy_primitives::B256;
use hashbrown::HashMap;
use rayon::prelude::*;
use std::sync::Arc;

/// Where a unit is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) page: PageId,
    pub(super) index: u16,
    pub(super) leaves: u16,
}

/// What lies below a branch, or at a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Unit(Place),
    /// A branch of the crown by number; an extension may lie above it.
    Branch(u32),
    /// A unit that has no place yet: its row in a list of new units.
    New(u32),
}

/// The item and the place of a new unit, where there is none.
fn placed(_: u32) -> (ItemBytes, Place) {
    unreachable!("all units have places")
}

/// A subtrie and its item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) item: ItemBytes,
    pub(super) link: Link,
}

/// A branch of the crown.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    pub(super) path: NodePath,
    pub(super) mask: u16,
    pub(super) children: Vec<Child>,
    /// Whether its item is to be computed again: items below it or the depth of its top have changed.
    pub(super) is_dirty: bool,
}

impl Branch {
    /// The child at nibble `n`.
    pub(super) fn child(&self, n: u8) -> Option<&Child> {
        let below = self.mask & ((1u32 << n) - 1) as u16;
        (self.mask >> n & 1 == 1).then(|| &self.children[below.count_ones() as usize])
    }

    /// The nibbles of the children.
    pub(super) fn nibbles(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.mask;
        (0..16).filter(move |n| mask >> n & 1 == 1)
    }

    fn put_rlp(&self, out: &mut Vec<u8>) {
        put_branch(self.nibbles().zip(self.children.iter().map(|child| &child.item)), out);
    }
}

/// Where the path to a key or to a node ends in the crown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// No key has this prefix.
    Absent,
    /// In the unit at a path of this length.
    Unit { depth: usize, child: Child },
    /// At a branch of the crown: its number, and the depth of its top, which is an extension if it is less than the
    /// branch's depth.
    Branch { branch: u32, top: usize },
}

/// Branches, of the crown of a checkpoint or of one that is being made.
pub(super) trait Branches {
    fn branch(&self, number: u32) -> &Branch;

    fn branch_mut(&mut self, number: u32) -> &mut Branch;

    /// The top of a trie: `None` is the account trie.
    fn root(&self, owner: Option<&B256>) -> Option<&Child>;

    /// The state root.
    fn state_root(&self) -> B256 {
        self.root(None).map_or(EMPTY_ROOT, |root| root_hash(&root.item))
    }

    /// Follows the first `len` nibbles of `key`.
    fn find(&self, owner: Option<&B256>, key: &B256, len: usize) -> Found {
        let Some(mut child) = self.root(owner) else { return Found::Absent };
        let mut top = 0;
        loop {
            let number = match child.link {
                Link::Unit(_) | Link::New(_) => return Found::Unit { depth: top, child: *child },
                Link::Branch(number) => number,
            };
            let branch = self.branch(number);
            let depth = branch.path.len as usize;
            if (top..depth.min(len)).any(|i| nibble(&branch.path.nibbles, i) != nibble(key, i)) {
                return Found::Absent;
            }
            if len <= depth {
                return Found::Branch { branch: number, top };
            }
            match branch.child(nibble(key, depth)) {
                Some(below) => child = below,
                None => return Found::Absent,
            }
            top = depth + 1;
        }
    }

    /// Passes the position and the place of each unit below `child` to `each`; `path` is that of `child`.
    fn visit(&self, path: NodePath, child: &Child, each: &mut dyn FnMut(NodePath, &ItemBytes, Place)) {
        match child.link {
            Link::Unit(place) => each(path, &child.item, place),
            Link::New(_) => {}
            Link::Branch(number) => {
                let branch = self.branch(number);
                for (n, child) in branch.nibbles().zip(&branch.children) {
                    self.visit(branch.path.child(n), child, each);
                }
            }
        }
    }

    /// The unit at this position.
    fn unit(&self, key: &UnitKey) -> Option<(ItemBytes, Place)> {
        match self.find(key.owner.as_ref(), &B256::from(key.path.nibbles), KEY_NIBBLES) {
            Found::Unit { depth, child: Child { item, link: Link::Unit(place) } } if depth == key.path.len as usize => {
                Some((item, place))
            }
            _ => None,
        }
    }

    /// Computes the item of a subtrie whose top is at `depth`; `new` returns the item of a new unit, and its place.
    fn settle(&mut self, child: &mut Child, depth: usize, new: &dyn Fn(u32) -> (ItemBytes, Place)) {
        match child.link {
            Link::Unit(_) => {}
            Link::New(row) => {
                let (item, place) = new(row);
                *child = Child { item, link: Link::Unit(place) };
            }
            Link::Branch(number) => {
                if !self.branch(number).is_dirty {
                    return;
                }
                let mut branch = core::mem::take(self.branch_mut(number));
                let below = branch.path.len as usize + 1;
                branch.children.iter_mut().for_each(|child| self.settle(child, below, new));
                branch.is_dirty = false;
                let mut rlp = Vec::with_capacity(544);
                branch.put_rlp(&mut rlp);
                child.item = hash_item(&keccak256(&rlp));
                if depth < branch.path.len as usize {
                    rlp.clear();
                    put_extension(&branch.path.nibbles, depth, branch.path.len as usize, &child.item, &mut rlp);
                    // Keys that agree in 58 nibbles or more do not occur, so an extension takes 32 bytes or more.
                    child.item = hash_item(&keccak256(&rlp));
                }
                *self.branch_mut(number) = branch;
            }
        }
    }
}

/// The branches above all units of the account trie and of the storage tries that have units.
#[derive(Debug, Default)]
pub(super) struct Crown {
    branches: Vec<Branch>,
    free: Vec<u32>,
    pub(super) accounts: Option<Child>,
    pub(super) storages: HashMap<B256, Child, RandomState>,
}

impl Branches for Crown {
    fn branch(&self, number: u32) -> &Branch {
        &self.branches[number as usize]
    }

    fn branch_mut(&mut self, number: u32) -> &mut Branch {
        &mut self.branches[number as usize]
    }

    fn root(&self, owner: Option<&B256>) -> Option<&Child> {
        match owner {
            None => self.accounts.as_ref(),
            Some(owner) => self.storages.get(owner),
        }
    }
}

impl Crown {
    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let children: usize = self.branches.iter().map(|branch| branch.children.capacity()).sum();
        self.branches.capacity() * size_of::<Branch>()
            + children * size_of::<Child>()
            + self.storages.capacity() * size_of::<(B256, Child)>()
    }

    /// RLP of the crown's node at a path of `len` nibbles to or above `branch`; `None` if there is no node of that depth.
    pub(super) fn node(&self, branch: u32, top: usize, len: usize) -> Option<Vec<u8>> {
        let branch = self.branch(branch);
        let depth = branch.path.len as usize;
        let mut rlp = Vec::with_capacity(544);
        branch.put_rlp(&mut rlp);
        if len == depth {
            return Some(rlp);
        }
        if len != top {
            return None;
        }
        let item = hash_item(&keccak256(&rlp));
        rlp.clear();
        put_extension(&branch.path.nibbles, top, depth, &item, &mut rlp);
        Some(rlp)
    }

    /// The number of leaves below a subtrie.
    pub(super) fn count(&self, child: &Child) -> usize {
        match child.link {
            Link::Unit(place) => place.leaves as usize,
            Link::New(_) => 0,
            Link::Branch(number) => self.branch(number).children.iter().map(|child| self.count(child)).sum(),
        }
    }

    /// Adds the units of a trie to `out`; `root` is the trie's top.
    pub(super) fn units(&self, owner: Option<B256>, root: &Child, out: &mut Vec<(UnitKey, Child)>) {
        self.visit(NodePath::default(), root, &mut |path, item, place| {
            out.push((UnitKey { owner, path }, Child { item: *item, link: Link::Unit(place) }));
        });
    }

    /// The crown above the units of one part ([`PageStore::units`](crate::disk::pages::PageStore::units)), in the order of
    /// their keys. The top of the account trie is at depth 1 if there are units below depth 0.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they are not the units of tries.
    pub(super) fn of_part(units: &[(UnitKey, UnitPlace)]) -> Result<Self, StoreError> {
        let mut crown = Self::default();
        for trie in units.chunk_by(|(a, _), (b, _)| a.owner == b.owner) {
            let UnitKey { owner, path } = trie[0].0;
            let depth = usize::from(owner.is_none() && path.len > 0);
            let mut root = crown.link(trie, depth)?;
            crown.settle(&mut root, depth, &placed);
            match owner {
                None => crown.accounts = Some(root),
                Some(owner) => drop(crown.storages.insert(owner, root)),
            }
        }
        Ok(crown)
    }

    /// The crown above all units, of the crowns of their parts, with the numbers of these.
    pub(super) fn join(mut parts: Vec<(usize, Self)>) -> Self {
        parts.sort_unstable_by_key(|(part, _)| *part);
        let mut branches = 0;
        let starts: Vec<u32> = parts
            .iter()
            .map(|(_, crown)| {
                branches += crown.branches.len() as u32;
                branches - crown.branches.len() as u32
            })
            .collect();
        parts.par_iter_mut().zip(starts).for_each(|((_, crown), start)| crown.renumber(start));
        let mut whole = Self::default();
        whole.branches.reserve_exact(branches as usize);
        let mut tops = Vec::new();
        for (part, crown) in parts {
            whole.branches.extend(crown.branches);
            whole.storages.extend(crown.storages);
            tops.extend(crown.accounts.map(|top| (part, top)));
        }
        whole.accounts = match &tops[..] {
            [] => None,
            [(_, top)] => {
                // It has been hashed as the top of a part.
                if let Link::Branch(number) = top.link {
                    whole.branch_mut(number).is_dirty = true;
                }
                Some(*top)
            }
            tops => {
                let mask = tops.iter().fold(0, |mask, (part, _)| mask | 1 << part);
                let children = tops.iter().map(|(_, top)| *top).collect();
                whole.branches.push(Branch { mask, children, is_dirty: true, ..Branch::default() });
                Some(Child { item: [0; 33], link: Link::Branch(branches) })
            }
        };
        if let Some(mut root) = whole.accounts {
            whole.settle(&mut root, 0, &placed);
            whole.accounts = Some(root);
        }
        whole
    }

    /// Adds `start` to the numbers of all branches.
    fn renumber(&mut self, start: u32) {
        let below = self.branches.iter_mut().flat_map(|branch| &mut branch.children);
        for child in below.chain(self.storages.values_mut()).chain(&mut self.accounts) {
            if let Link::Branch(number) = &mut child.link {
                *number += start;
            }
        }
    }

    fn link(&mut self, units: &[(UnitKey, UnitPlace)], depth: usize) -> Result<Child, StoreError> {
        let wrong = || corrupt("the units do not form a trie");
        let [(UnitKey { path: first, .. }, place), rest @ ..] = units else { return Err(wrong()) };
        let Some((UnitKey { path: last, .. }, _)) = rest.last() else {
            if first.len as usize != depth {
                return Err(wrong());
            }
            let link = Link::Unit(Place { page: place.page, index: place.index, leaves: place.leaves });
            return Ok(Child { item: place.item, link });
        };
        let ends = first.len.min(last.len) as usize;
        let fork = (depth..ends).find(|i| nibble(&first.nibbles, *i) != nibble(&last.nibbles, *i)).ok_or_else(wrong)?;
        let mut branch = Branch { path: NodePath::new(&first.nibbles, fork), is_dirty: true, ..Branch::default() };
        for group in units.chunk_by(|(a, _), (b, _)| nibble(&a.path.nibbles, fork) == nibble(&b.path.nibbles, fork)) {
            if group.iter().any(|(key, _)| (key.path.len as usize) <= fork) {
                return Err(wrong());
            }
            let n = nibble(&group[0].0.path.nibbles, fork);
            if branch.mask >> n != 0 {
                return Err(wrong());
            }
            branch.mask |= 1 << n;
            let child = self.link(group, fork + 1)?;
            branch.children.push(child);
        }
        self.branches.push(branch);
        Ok(Child { item: [0; 33], link: Link::Branch(self.branches.len() as u32 - 1) })
    }

    /// Makes the changes of a [`Draft`] of this crown.
    pub(super) fn apply(&mut self, edit: Edit) {
        let Edit { branches, free, next, accounts, storages } = edit;
        self.branches.resize_with(next as usize, Branch::default);
        for (number, branch) in branches {
            self.branches[number as usize] = branch;
        }
        (self.free, self.accounts) = (free, accounts);
        for (owner, root) in storages {
            match root {
                Some(root) => drop(self.storages.insert(owner, root)),
                None => drop(self.storages.remove(&owner)),
            }
        }
    }
}

/// What a [`Draft`] changes.
#[derive(Debug)]
pub(super) struct Edit {
    /// Changed and new branches, and empty ones in place of those that were removed.
    branches: HashMap<u32, Branch, RandomState>,
    /// Numbers without a branch.
    free: Vec<u32>,
    /// The first number that was never used.
    next: u32,
    accounts: Option<Child>,
    /// Changed tops of storage tries; `None` for those that were removed.
    storages: HashMap<B256, Option<Child>, RandomState>,
}

/// A crown that is made from another one, which others read meanwhile.
#[derive(Debug)]
pub(super) struct Draft {
    base: Arc<Crown>,
    edit: Edit,
}

impl Branches for Draft {
    fn branch(&self, number: u32) -> &Branch {
        self.edit.branches.get(&number).unwrap_or_else(|| self.base.branch(number))
    }

    fn branch_mut(&mut self, number: u32) -> &mut Branch {
        self.edit.branches.entry(number).or_insert_with(|| self.base.branch(number).clone())
    }

    fn root(&self, owner: Option<&B256>) -> Option<&Child> {
        match owner {
            None => self.edit.accounts.as_ref(),
            Some(owner) => self.edit.storages.get(owner).map_or_else(|| self.base.root(Some(owner)), Option::as_ref),
        }
    }
}

impl Draft {
    pub(super) fn new(base: Arc<Crown>) -> Self {
        let (free, next, accounts) = (base.free.clone(), base.branches.len() as u32, base.accounts);
        let edit = Edit { branches: HashMap::default(), free, next, accounts, storages: HashMap::default() };
        Self { base, edit }
    }

    /// The changes; the crown below is no longer shared with this.
    pub(super) fn into_edit(self) -> Edit {
        self.edit
    }

    pub(super) fn add(&mut self, branch: Branch) -> u32 {
        let number = self.edit.free.pop().unwrap_or_else(|| {
            self.edit.next += 1;
            self.edit.next - 1
        });
        self.edit.branches.insert(number, branch);
        number
    }

    pub(super) fn take(&mut self, number: u32) -> Branch {
        self.edit.free.push(number);
        let changed = self.edit.branches.insert(number, Branch::default());
        changed.unwrap_or_else(|| self.base.branch(number).clone())
    }

    /// Sets or removes the top of a trie: `None` is the account trie.
    pub(super) fn set_root(&mut self, owner: Option<B256>, root: Option<Child>) {
        match owner {
            None => self.edit.accounts = root,
            Some(owner) => drop(self.edit.storages.insert(owner, root)),
        }
    }

    /// Changes the place of a unit that is in the crown.
    pub(super) fn move_unit(&mut self, key: &UnitKey, place: Place) {
        let mut number = None;
        let Some(mut child) = self.root(key.owner.as_ref()).copied() else { return };
        while let Link::Branch(branch) = child.link {
            let n = nibble(&key.path.nibbles, self.branch(branch).path.len as usize);
            let Some(below) = self.branch(branch).child(n) else { return };
            child = *below;
            number = Some((branch, n));
        }
        let moved = Child { link: Link::Unit(place), ..child };
        match (number, key.owner) {
            (Some((branch, n)), _) => {
                let branch = self.branch_mut(branch);
                let row = (branch.mask & ((1u32 << n) - 1) as u16).count_ones() as usize;
                branch.children[row] = moved;
            }
            (None, owner) => self.set_root(owner, Some(moved)),
        }
    }
}
