//! Merging changed leaves into the crown: units are read, changed, split and joined.
//!
//! In: sorted changes of one trie. Out: the crown with the new branches and units, without items and
//! places; the new units; the units that they replace. A subtrie is a unit if its leaves fit into one
//! and those of the subtrie above do not: so the units depend on the state alone.
//! Relies on: `crown` for items afterwards. Not here: packing units into pages (`checkpoint`).

use super::crown::{Branch, Branches, Child, Draft, Link, Place};
use super::leaf::{AccountLeaf, Leaf, SlotLeaf};
use super::subtrie::group_end;
use super::unit::{UNIT_LEAVES, Unit};
use super::units::Units;
use crate::arena::node::nibble;
use crate::arena::path::{NodePath, fork};
use crate::arena::store::StoreError;
use crate::disk::pages::UnitKey;
use alloy_primitives::B256;

/// Leaves that units of their trie hold.
pub(super) trait InUnit: Leaf {
    /// The leaves of a unit of this kind.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is of the other kind.
    fn of(unit: &Unit) -> Result<&[Self], StoreError>;
}

impl InUnit for AccountLeaf {
    fn of(unit: &Unit) -> Result<&[Self], StoreError> {
        Ok(&unit.accounts()?.leaves)
    }
}

impl InUnit for SlotLeaf {
    fn of(unit: &Unit) -> Result<&[Self], StoreError> {
        Ok(&unit.slots()?.leaves)
    }
}

/// A key's leaf after the change; `None` if there is none.
pub(super) type Change<L> = (B256, Option<L>);

/// A unit that is not in a page yet.
#[derive(Debug)]
pub(super) struct NewUnit<L> {
    pub(super) key: UnitKey,
    pub(super) leaves: Vec<L>,
}

/// A subtrie after its changes.
#[derive(Debug)]
pub(super) enum Sub<L> {
    Empty,
    /// Fits into a unit, perhaps together with its neighbours.
    Leaves(Vec<L>),
    /// As it was, at the same position.
    Kept(Child),
    /// A branch of the crown whose item is to be computed.
    Changed(u32),
}

/// Applies changes to one trie.
pub(super) struct Merge<'a, L> {
    pub(super) crown: &'a mut Draft,
    pub(super) units: &'a Units,
    /// Hashed address of the storage trie's account; `None` for the account trie.
    pub(super) owner: Option<B256>,
    pub(super) new: &'a mut Vec<NewUnit<L>>,
    /// Units that were replaced.
    pub(super) dead: &'a mut Vec<(UnitKey, Place)>,
}

/// Leaves with changes applied.
pub(super) fn merged<L: Leaf>(leaves: &[L], changes: &[Change<L>]) -> Vec<L> {
    let mut out = Vec::with_capacity(leaves.len() + changes.len());
    let mut leaves = leaves.iter().peekable();
    for (key, change) in changes {
        while let Some(leaf) = leaves.next_if(|leaf| leaf.key() < key) {
            out.push(leaf.clone());
        }
        leaves.next_if(|leaf| leaf.key() == key);
        out.extend(change.clone());
    }
    out.extend(leaves.cloned());
    out
}

impl<L: InUnit> Merge<'_, L> {
    /// A trie's top as a link.
    pub(super) fn top(&mut self, sub: Sub<L>) -> Option<Child> {
        self.child(sub, NodePath::default())
    }

    fn fits(&self, leaves: &[L]) -> bool {
        // A page holds every single leaf.
        leaves.len() == 1
            || leaves.len() <= UNIT_LEAVES
                && leaves.iter().map(Leaf::page_len).sum::<usize>() <= self.units.unit_bytes_max()
    }

    fn child(&mut self, sub: Sub<L>, path: NodePath) -> Option<Child> {
        let link = match sub {
            Sub::Empty => return None,
            Sub::Kept(child) => return Some(child),
            Sub::Changed(number) => Link::Branch(number),
            Sub::Leaves(leaves) => {
                self.new.push(NewUnit { key: UnitKey { owner: self.owner, path }, leaves });
                Link::New(self.new.len() as u32 - 1)
            }
        };
        Some(Child { item: [0; 33], link })
    }

    /// The subtrie of these leaves, with its top at `depth`.
    pub(super) fn place(&mut self, mut leaves: Vec<L>, depth: usize) -> Sub<L> {
        let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else { return Sub::Empty };
        if self.fits(&leaves) {
            return Sub::Leaves(leaves);
        }
        let end = fork(first.key(), last.key(), depth);
        let path = NodePath::new(first.key(), end);
        let mut branch = Branch { path, is_dirty: true, ..Branch::default() };
        while !leaves.is_empty() {
            let n = nibble(leaves[0].key(), end);
            let rest = leaves.split_off(group_end(&leaves, 0, end));
            let sub = self.place(leaves, end + 1);
            branch.children.extend(self.child(sub, path.child(n)));
            branch.mask |= 1 << n;
            leaves = rest;
        }
        Sub::Changed(self.crown.add(branch))
    }

    fn read(&self, path: NodePath, child: Child) -> Result<Unit, StoreError> {
        self.units.one(UnitKey { owner: self.owner, path }, child)
    }

    /// Applies `changes`, all below `child`, whose top is at `depth`.
    ///
    /// # Errors
    /// [`StoreError`] if a unit cannot be read.
    pub(super) fn merge(
        &mut self,
        child: Option<Child>,
        depth: usize,
        changes: &[Change<L>],
    ) -> Result<Sub<L>, StoreError> {
        let Some(child) = child else {
            return Ok(self.place(changes.iter().filter_map(|(_, leaf)| leaf.clone()).collect(), depth));
        };
        let [(first, _), ..] = changes else { return Ok(Sub::Kept(child)) };
        let number = match child.link {
            Link::Branch(number) => number,
            Link::New(_) => return Err(StoreError::Failed("a unit without a place was merged".into())),
            Link::Unit(place) => {
                let path = NodePath::new(first, depth);
                let unit = self.read(path, child)?;
                let leaves = merged(L::of(&unit)?, changes);
                self.dead.push((UnitKey { owner: self.owner, path }, place));
                return Ok(self.place(leaves, depth));
            }
        };
        let path = self.crown.branch(number).path;
        let end = path.len as usize;
        let trunk = B256::from(path.nibbles);
        let fork_of = |key: &B256| fork(key, &trunk, depth).min(end);
        // Absent keys that leave the extension are deleted already.
        let matters = |(key, leaf): &Change<L>| leaf.is_some() || fork_of(key) == end;
        let mut kept = Vec::new();
        let changes = if changes.iter().all(matters) {
            changes
        } else {
            kept.extend(changes.iter().filter(|change| matters(change)).cloned());
            &kept
        };
        let [(first, _), ..] = changes else { return Ok(Sub::Kept(child)) };
        let (last, _) = &changes[changes.len() - 1];
        let split = fork_of(first).min(fork_of(last));
        if split < end {
            // New keys leave the extension above the branch: another branch is made there.
            let along = nibble(&path.nibbles, split);
            let mut parts = Vec::new();
            for n in 0..16 {
                let group = part(changes, split, n);
                let sub =
                    if n == along { self.moved(child, split + 1, group)? } else { self.merge(None, split + 1, group)? };
                parts.push(sub);
            }
            return self.combine(parts, NodePath::new(&path.nibbles, split), depth);
        }
        let branch = self.crown.take(number);
        let mut parts = Vec::with_capacity(16);
        for n in 0..16 {
            parts.push(self.merge(branch.child(n).copied(), end + 1, part(changes, end, n))?);
        }
        self.combine(parts, path, depth)
    }

    /// [`Self::merge`] for a branch whose top moves to `depth`.
    fn moved(&mut self, child: Child, depth: usize, changes: &[Change<L>]) -> Result<Sub<L>, StoreError> {
        let sub = self.merge(Some(child), depth, changes)?;
        Ok(self.touched(sub))
    }

    /// Notes that the item of a branch changes, as its top moves.
    fn touched(&mut self, sub: Sub<L>) -> Sub<L> {
        match sub {
            Sub::Kept(Child { link: Link::Branch(number), .. }) => {
                self.crown.branch_mut(number).is_dirty = true;
                Sub::Changed(number)
            }
            sub => sub,
        }
    }

    /// The subtrie of sixteen parts below a branch at `path`, whose top is at `depth`.
    fn combine(&mut self, parts: Vec<Sub<L>>, path: NodePath, depth: usize) -> Result<Sub<L>, StoreError> {
        let mut leaves = Some(0);
        let mut live = 0;
        for part in &parts {
            let more = match part {
                Sub::Empty => continue,
                Sub::Leaves(more) => Some(more.len()),
                Sub::Kept(Child { link: Link::Unit(place), .. }) => Some(place.leaves as usize),
                Sub::Kept(_) | Sub::Changed(_) => None,
            };
            live += 1;
            leaves = leaves.zip(more).map(|(leaves, more)| leaves + more);
        }
        if live == 0 {
            return Ok(Sub::Empty);
        }
        if leaves.is_some_and(|leaves| leaves <= UNIT_LEAVES) {
            let mut all = Vec::new();
            for (n, part) in parts.into_iter().enumerate() {
                match part {
                    Sub::Leaves(leaves) => all.extend(leaves),
                    Sub::Kept(child) => {
                        let below = path.child(n as u8);
                        let unit = self.read(below, child)?;
                        all.extend_from_slice(L::of(&unit)?);
                        if let Link::Unit(place) = child.link {
                            self.dead.push((UnitKey { owner: self.owner, path: below }, place));
                        }
                    }
                    Sub::Empty | Sub::Changed(_) => {}
                }
            }
            return Ok(self.place(all, depth));
        }
        if live == 1 {
            let only = parts.into_iter().find(|part| !matches!(part, Sub::Empty)).unwrap_or(Sub::Empty);
            return Ok(self.touched(only));
        }
        let mut branch = Branch { path, is_dirty: true, ..Branch::default() };
        for (n, part) in parts.into_iter().enumerate() {
            if let Some(child) = self.child(part, path.child(n as u8)) {
                branch.mask |= 1 << n;
                branch.children.push(child);
            }
        }
        Ok(Sub::Changed(self.crown.add(branch)))
    }
}

/// The changes whose keys have nibble `n` at `depth`; all agree before it.
fn part<L>(changes: &[Change<L>], depth: usize, n: u8) -> &[Change<L>] {
    let lo = changes.partition_point(|(key, _)| nibble(key, depth) < n);
    let hi = changes.partition_point(|(key, _)| nibble(key, depth) <= n);
    &changes[lo..hi]
}

/// Removes a storage trie with all its units.
pub(super) fn drop_storage(crown: &mut Draft, owner: &B256, dead: &mut Vec<(UnitKey, Place)>) {
    let Some(root) = crown.root(Some(owner)).copied() else { return };
    crown.set_root(Some(*owner), None);
    crown.visit(NodePath::default(), &root, &mut |path, _, place| {
        dead.push((UnitKey { owner: Some(*owner), path }, place));
    });
    let mut links = vec![root.link];
    while let Some(link) = links.pop() {
        if let Link::Branch(number) = link {
            links.extend(crown.take(number).children.into_iter().map(|child| child.link));
        }
    }
}
