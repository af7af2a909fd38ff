//! The head of a chain with the ancestors that its next block needs, and the heads to which it can return.
//!
//! In: a header, then the bytes of each next block. Out: the head and its ancestry, also after a revert.
//! Not here: the state (`memory`), the hashes that BLOCKHASH reads (they are in the store).

use crate::exec::rules::chain::ChainConfig;
use crate::exec::rules::ommers::{ANCESTORS_NEEDED, Ancestor, Ancestry};
use crate::exec::wire::{Header, WireError};
use alloy_primitives::{B256, Bytes};
use std::collections::VecDeque;

/// A block that is or was the head.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) header: Header,
    pub(super) hash: B256,
    /// The block itself and those before it, newest first, as far as ommer checks need them; empty after the merge.
    pub(super) ancestors: Vec<Ancestor>,
}

impl Head {
    /// The block with this header; the blocks before it are not known.
    pub(super) fn of_header(header: Header) -> Self {
        let ancestors = vec![Ancestor::of_header(header.clone())];
        Self { hash: header.hash(), ancestors, header }
    }

    /// The head that `block` makes, which is a child of this one.
    pub(super) fn after(&self, block: &Bytes) -> Result<Self, WireError> {
        let header = Header::of_block(block)?;
        let mut ancestors = Vec::new();
        if !header.difficulty.is_zero() {
            ancestors.push(Ancestor::of_block(block.clone())?);
            ancestors.extend(self.ancestors.iter().take(ANCESTORS_NEEDED - 1).cloned());
        }
        Ok(Self { hash: header.hash(), ancestors, header })
    }
}

/// The head, and the last heads before it.
#[derive(Debug)]
pub(super) struct Chain {
    /// The fork schedule, where it is known.
    pub(super) schedule: Option<ChainConfig>,
    pub(super) head: Head,
    /// The heads before, the parent last; at most `window`.
    former: VecDeque<Head>,
    window: usize,
}

impl Chain {
    pub(super) const fn new(head: Head, window: usize) -> Self {
        Self { schedule: None, head, former: VecDeque::new(), window }
    }

    /// The newest of `heads`, which is their last one; the chain can return to the others. There is at least one.
    #[cfg(feature = "disk")]
    pub(super) fn of_heads(mut heads: Vec<Head>, window: usize) -> Option<Self> {
        let head = heads.pop()?;
        Some(Self { schedule: None, head, former: heads.into(), window })
    }

    /// Number of blocks that can be reverted after the next `blocks`.
    pub(super) fn reverts_after(&self, blocks: usize) -> usize {
        (self.former.len() + blocks).min(self.window)
    }

    /// The ancestors of the next block, if the schedule is known.
    pub(super) fn ancestry(&self) -> Option<Ancestry<'_>> {
        self.schedule.as_ref().map(|chain| Ancestry { chain, blocks: &self.head.ancestors })
    }

    /// Number of blocks that can be reverted.
    pub(super) fn reverts(&self) -> usize {
        self.former.len()
    }

    /// Sets the greatest number of blocks that can be reverted.
    pub(super) fn set_window(&mut self, window: usize) {
        self.window = window;
        self.trim();
    }

    fn trim(&mut self) {
        let excess = self.former.len().saturating_sub(self.window);
        self.former.drain(..excess);
    }

    /// Makes a child of the head the head.
    pub(super) fn push(&mut self, head: Head) {
        self.former.push_back(core::mem::replace(&mut self.head, head));
        self.trim();
    }

    /// The parent of the head, if the head can be reverted.
    pub(super) fn parent(&self) -> Option<&Head> {
        self.former.back()
    }

    /// Makes the head's parent the head.
    pub(super) fn pop(&mut self) {
        if let Some(parent) = self.former.pop_back() {
            self.head = parent;
        }
    }
}
