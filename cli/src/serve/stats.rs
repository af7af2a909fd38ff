//! Figures of the node for the status page and for Prometheus, readable while a block is executed.
//!
//! In: executed blocks, answered calls. Out: the last blocks, and counters.

use super::super::engine::Accepted;
use super::super::report::busy_ns;
use alloy_primitives::B256;
use balustrade::executor::Stage;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Blocks that are shown.
const BLOCKS: usize = 100;

/// One executed block.
#[derive(Clone, Debug)]
pub struct BlockStats {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// Number of transactions.
    pub transactions: usize,
    /// Gas used.
    pub gas: u64,
    /// Mode of execution.
    pub mode: &'static str,
    /// Length of the block access list.
    pub list_bytes: usize,
    /// Nanoseconds from the raw bytes to the last check.
    pub total_ns: u64,
    /// Nanoseconds in which each stage was at work, in the order of [`Stage::ALL`].
    pub stages_ns: [u64; Stage::ALL.len()],
}

impl BlockStats {
    /// The figures of a block.
    pub fn of(accepted: &Accepted, list_bytes: usize) -> Self {
        let outcome = &accepted.outcome;
        Self {
            number: outcome.number,
            hash: outcome.hash,
            transactions: outcome.transactions.len(),
            gas: outcome.gas_used,
            mode: accepted.mode.name(),
            list_bytes,
            total_ns: outcome.elapsed_ns,
            stages_ns: Stage::ALL.map(|stage| busy_ns(&outcome.timeline, stage)),
        }
    }
}

/// All figures.
#[derive(Debug, Default)]
pub struct Stats {
    /// The last executed blocks, the oldest first.
    pub blocks: VecDeque<BlockStats>,
    /// Number, hash and time of the head.
    pub head: (u64, B256, u64),
    /// Blocks in the tree.
    pub blocks_known: usize,
    /// Bytes of the tree.
    pub bytes_known: usize,
    /// Invalid blocks that are remembered.
    pub invalid_known: usize,
    /// Blocks executed since the start.
    pub executed: u64,
    /// Their gas.
    pub gas: u64,
    /// Their time in nanoseconds.
    pub ns: u64,
    /// Payloads by status: valid, invalid, syncing.
    pub payloads: [u64; 3],
    /// Calls and those that ended with an error, on the engine port and on the public one.
    pub calls: [[u64; 2]; 2],
    /// Requests without a valid token.
    pub unauthorized: u64,
}

impl Stats {
    /// Adds an executed block.
    pub fn push(&mut self, block: BlockStats) {
        self.executed += 1;
        self.gas += block.gas;
        self.ns += block.total_ns;
        if self.blocks.len() == BLOCKS {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }
}

/// Figures that several threads share.
#[derive(Clone, Debug, Default)]
pub struct SharedStats(Arc<Mutex<Stats>>);

impl SharedStats {
    /// The figures; no caller holds them while it waits.
    pub fn lock(&self) -> MutexGuard<'_, Stats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
