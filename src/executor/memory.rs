//! How much memory an executor holds between blocks.
//!
//! In: an idle executor. Out: bytes of heap memory, by purpose.
//! Relies on: each part counts the capacity of its collections (`arena::heap`).
//! Not here: the stacks of the threads, the tries and the store, which belong to the caller.

use super::Executor;
use crate::arena::heap::HeapBytes;
use crate::exec::block::tasks::WorkerScratch;
use std::sync::Mutex;

/// Bytes of heap memory that an [`Executor`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryUse {
    /// Contract codes with their decoded forms; an estimate. Bounded by
    /// [`ExecutorBuilder::code_bytes_max`](super::ExecutorBuilder::code_bytes_max) at the beginning of each block.
    pub codes: usize,
    /// Working memory of all threads: rows of accounts and slots, journals, stacks, EVM memory, caches. It has the size
    /// that the largest block so far needed.
    pub scratch: usize,
    /// Columns of the block access list and ids of its accounts and slots; as large as those of the largest list so
    /// far, and those of the largest window of blocks.
    pub columns: usize,
}

impl MemoryUse {
    /// All of it.
    pub const fn total(&self) -> usize {
        self.codes + self.scratch + self.columns
    }
}

impl Executor {
    /// Bytes of heap memory that are kept from one block to the next. What is made for one block alone is freed with it
    /// or belongs to its outcome, and is not counted.
    pub fn memory_bytes(&self) -> MemoryUse {
        let of_worker = |scratch: &Mutex<WorkerScratch>| {
            scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).heap_bytes()
        };
        let lists = self.lists.iter().map(HeapBytes::heap_bytes).sum::<usize>();
        MemoryUse {
            codes: self.codes.bytes_held(),
            scratch: self.scratches.iter().map(of_worker).sum(),
            columns: self.bal.heap_bytes() + self.id_map.heap_bytes() + lists,
        }
    }
}
