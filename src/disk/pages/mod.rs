//! Page stores: where pages, units and codes are kept between checkpoints.
//!
//! In: checkpoints. Out: the last complete checkpoint, whatever interrupted the one after it.
//! Not here: what a page holds. A page store neither interprets pages nor checks them; their reader
//! compares units with hashes.

use crate::arena::path::NodePath;
use crate::arena::store::StoreError;
use crate::trie::ItemBytes;
use alloy_primitives::{B256, Bytes};
use core::fmt::Debug;

/// Number of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// Position of a unit: the trie, and the path of the subtrie's top node in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey {
    /// Hashed address of the storage trie's account; `None` for the account trie.
    pub owner: Option<B256>,
    /// Path of the unit's top node.
    pub path: NodePath,
}

/// Where the leaves of a unit are, and how its parent refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitPlace {
    /// The page.
    pub page: PageId,
    /// Number of the unit in the page.
    pub index: u16,
    /// Number of leaves.
    pub leaves: u16,
    /// The top node as its parent encodes it: 0xa0 and its hash, or its RLP if that is shorter than 32 bytes.
    pub item: ItemBytes,
}

/// The block whose state a checkpoint holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the checkpoint, counted from 1.
    pub sequence: u64,
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// State root after the block.
    pub state_root: B256,
}

/// One checkpoint: what changed since the one before.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    /// The block. Its `sequence` is that of the present head plus one.
    pub head: Head,
    /// New pages, each of [`PageStore::page_bytes`] bytes. No head that can still be read names their numbers.
    pub pages: &'a [(PageId, Vec<u8>)],
    /// New and moved units.
    pub units: &'a [(UnitKey, UnitPlace)],
    /// Units that no longer exist.
    pub removed: &'a [UnitKey],
    /// Codes by keccak256; some may be stored already.
    pub codes: &'a [(B256, Bytes)],
    /// RLP of the header of the block.
    pub header: &'a [u8],
}

/// A store of pages, units and codes that changes by whole checkpoints.
pub trait PageStore: Send + Sync + Debug {
    /// Bytes of a page.
    fn page_bytes(&self) -> usize;

    /// Reads pages in one batch; `out` has one element per page, in order.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a page was never written; [`StoreError::Failed`] if the device fails.
    fn read(&self, pages: &[PageId], out: &mut [Bytes]) -> Result<(), StoreError>;

    /// Codes by keccak256; `None` for codes that were never stored.
    ///
    /// # Errors
    /// [`StoreError`].
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError>;

    /// The last complete checkpoint and the RLP of its header; `None` for an empty store.
    ///
    /// # Errors
    /// [`StoreError`].
    fn head(&self) -> Result<Option<(Head, Bytes)>, StoreError>;

    /// Passes all units of the last complete checkpoint to `each`: those of the account trie in the order of their
    /// paths, then those of each storage trie, in the order of owners and paths.
    ///
    /// # Errors
    /// [`StoreError`], of the store or of `each`.
    fn units(&self, each: &mut dyn FnMut(UnitKey, UnitPlace) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// Makes a checkpoint durable. Whatever interrupts it, [`Self::head`], [`Self::units`] and the pages that these
    /// name are afterwards those of this checkpoint or those of the one before.
    ///
    /// # Errors
    /// [`StoreError`]. The store is then at the checkpoint before, or it fails every later call until it is opened again.
    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError>;
}
