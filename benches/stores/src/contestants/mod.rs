//! What every store does with a block, each in a module.

mod mdbx;
mod nomt;
mod ours;
mod redb;
mod rocks;

pub(crate) use self::mdbx::Mdbx;
pub(crate) use self::nomt::NomtStore;
pub(crate) use self::ours::Ours;
pub(crate) use self::redb::Redb;
pub(crate) use self::rocks::Rocks;

use super::workload::Rows;
use alloy_primitives::B256;
use balustrade_cli::workload::state::State;
use balustrade_cli::workload::state_changes::ChangingBlock;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::Path;
use std::sync::Arc;

/// An error of a store: six libraries, six types.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Threads that read rows of the other stores at the same time, so that their reads reach the device side by side.
pub(crate) const READERS: usize = 32;
/// Rows that one reader takes at a time.
pub(crate) const READ_TOGETHER: usize = 32;
/// Memory in bytes that each of the other stores may use as a cache of its own; MDBX has the system's page cache only.
pub(crate) const CACHE_BYTES: usize = 1 << 30;

/// A store with a state in it. The calls for a block are `read`, `root`, `commit` and `later`, in this order.
pub(crate) trait Contestant {
    /// Name in the table.
    fn name(&self) -> &'static str;

    /// The folder with all of its files.
    fn folder(&self) -> &Path;

    /// Whether [`Self::root`] returns the state root of Ethereum.
    fn has_state_root(&self) -> bool;

    /// Creates the store in its folder, which does not exist yet, and closes it. Returns its state root.
    ///
    /// # Errors
    /// Those of the store.
    fn fill(&mut self, state: &State) -> Result<Option<B256>, Failure>;

    /// Opens the store.
    ///
    /// # Errors
    /// Those of the store.
    fn open(&mut self) -> Result<(), Failure>;

    /// Closes the store, and with it all of its caches.
    ///
    /// # Errors
    /// Those of the store.
    fn close(&mut self) -> Result<(), Failure>;

    /// Reads all names of a block.
    ///
    /// # Errors
    /// Those of the store.
    fn read(&mut self, block: &ChangingBlock) -> Result<Rows, Failure>;

    /// Computes the root after the block; `None` if the store has none. `is_cold`: trie nodes are not in memory.
    ///
    /// # Errors
    /// Those of the store.
    fn root(&mut self, block: &ChangingBlock, is_cold: bool) -> Result<Option<B256>, Failure>;

    /// Makes the block durable.
    ///
    /// # Errors
    /// Those of the store.
    fn commit(&mut self, block: &ChangingBlock) -> Result<(), Failure>;

    /// Work that the store has put off: as much as is due after a block, or all of it.
    ///
    /// # Errors
    /// Those of the store.
    fn later(&mut self, all: bool) -> Result<(), Failure>;
}

/// Makes [`READERS`] threads.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn readers() -> Result<Arc<ThreadPool>, Failure> {
    Ok(Arc::new(ThreadPoolBuilder::new().num_threads(READERS).build()?))
}
