//! Page stores: where pages, units and codes are kept between checkpoints.
//!
//! In: checkpoints. Out: the last complete checkpoint, whatever interrupted the one after it.
//! Not here: what a page holds. A page store neither interprets pages nor checks them; their reader
//! compares units with hashes.

mod encoding;
pub mod files;
pub mod memory;
pub mod redb;
#[cfg(test)]
pub(in crate::disk) mod tests;

pub use self::files::FilePages;
pub use self::memory::MemoryPages;
pub use self::redb::RedbPages;

use super::error::DiskError;
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
    /// Number of the last log record whose changes the state includes, which must be durable before the checkpoint is
    /// made; 0 if it includes none.
    pub record: u64,
}

/// One checkpoint: what changed since the one before.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    /// The block. Its `sequence` is that of the present head plus one.
    pub head: Head,
    /// New pages, each of [`PageStore::page_bytes`] bytes. A number that the state before checkpoint `k` used and the
    /// state of checkpoint `k` does not use may be given to a new page from checkpoint `k + 2` on: until then a store
    /// may have to answer from the checkpoint before `k`.
    pub pages: &'a [(PageId, Vec<u8>)],
    /// New and moved units.
    pub units: &'a [(UnitKey, UnitPlace)],
    /// Units that no longer exist; none of them is in `units`.
    pub removed: &'a [UnitKey],
    /// Codes by keccak256; some may be stored already.
    pub codes: &'a [(B256, Bytes)],
    /// RLP of the header of the block.
    pub header: &'a [u8],
}

/// Number of parts of all units: the account trie by the first nibble of the path, then storage tries by the first nibble
/// of the owner. In this order the units of all parts are in the order of their keys.
pub const PARTS: usize = 32;

/// The part of a unit.
pub fn part_of(key: &UnitKey) -> usize {
    match key.owner {
        None => usize::from(key.path.nibbles[0] >> 4),
        Some(owner) => PARTS / 2 + usize::from(owner[0] >> 4),
    }
}

/// Takes the units of a part; see [`PageStore::units`].
pub type EachPart<'a> = dyn Fn(usize, Vec<(UnitKey, UnitPlace)>) -> Result<(), StoreError> + Sync + 'a;

/// A store of pages, units and codes that changes by whole checkpoints.
pub trait PageStore: Send + Sync + Debug {
    /// Bytes of a page.
    fn page_bytes(&self) -> usize;

    /// Reads pages in one batch; `out` has one element per page, in order.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a page is missing; [`StoreError::Failed`] if the device fails. A number that no page
    /// was ever written to may also give arbitrary bytes.
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

    /// Passes the units of the last complete checkpoint to `each`: once for each part ([`part_of`]) that has units, with
    /// its number and its units in the order of their keys. Several threads of the current rayon pool may call `each`
    /// at the same time.
    ///
    /// # Errors
    /// [`StoreError`], of the store or of `each`.
    fn units(&self, each: &EachPart<'_>) -> Result<(), StoreError>;

    /// Makes a checkpoint durable. Whatever interrupts it, [`Self::head`], [`Self::units`] and the pages that these
    /// name are afterwards those of this checkpoint or those of the one before.
    ///
    /// # Errors
    /// [`StoreError`]. After a failure of the device the store refuses every later checkpoint until it is opened again;
    /// reads answer from the checkpoint before, or fail.
    fn checkpoint(&self, checkpoint: &Checkpoint<'_>) -> Result<(), StoreError>;
}

/// Whether a store whose last checkpoint has the number `last` may take this one.
fn check(checkpoint: &Checkpoint<'_>, last: u64, page_bytes: usize) -> Result<(), DiskError> {
    let sequence = checkpoint.head.sequence;
    if sequence != last + 1 {
        return Err(DiskError::Checkpoint(format!("its number is {sequence}, that of the last checkpoint {last}")));
    }
    match checkpoint.pages.iter().find(|(_, page)| page.len() != page_bytes) {
        Some((id, page)) => {
            let (id, bytes) = (id.0, page.len());
            Err(DiskError::Checkpoint(format!("page {id} has {bytes} bytes, a page of this store has {page_bytes}")))
        }
        None => Ok(()),
    }
}
