//! Logs of one worker's tasks, as columns.
//!
//! In: each log when it is emitted. Out: logs by index. Not here: gas of logs, and their RLP in receipts.

use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use alloy_primitives::{Address, B256};

/// Logs of one worker's tasks, in the order of emission.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Address of the emitting contract, by log.
    pub addresses: Vec<Address>,
    /// Number of topics and topics, by log; unused topics are zero.
    pub topics: Vec<(u8, [B256; 4])>,
    /// End of each log's data in `data`.
    pub data_ends: Vec<u32>,
    /// Data of all logs, one after the other.
    pub data: Vec<u8>,
}

impl HeapBytes for Logs {
    fn heap_bytes(&self) -> usize {
        sum_heap_bytes([&self.addresses, &self.topics, &self.data_ends, &self.data])
    }
}

impl Logs {
    /// An empty column set with the capacity of `other`, and some more for logs that are reverted.
    pub fn with_room_of(other: &Self) -> Self {
        let room = |len: usize| len + len / 8 + 16;
        let (logs, bytes) = (room(other.len()), room(other.data.len()));
        Self {
            addresses: Vec::with_capacity(logs),
            topics: Vec::with_capacity(logs),
            data_ends: Vec::with_capacity(logs),
            data: Vec::with_capacity(bytes),
        }
    }

    /// Number of logs.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is no log.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Adds a log with at most four topics.
    pub fn push(&mut self, address: Address, topics: &[B256], data: &[u8]) {
        let mut padded = [B256::ZERO; 4];
        padded[..topics.len()].copy_from_slice(topics);
        self.addresses.push(address);
        self.topics.push((topics.len() as u8, padded));
        self.data.extend_from_slice(data);
        self.data_ends.push(self.data.len() as u32);
    }

    /// Log `index`: emitting address, topics, data.
    pub fn get(&self, index: usize) -> (&Address, &[B256], &[u8]) {
        let start = index.checked_sub(1).map_or(0, |before| self.data_ends[before] as usize);
        let (count, topics) = &self.topics[index];
        let data = &self.data[start..self.data_ends[index] as usize];
        (&self.addresses[index], &topics[..usize::from(*count)], data)
    }

    pub(super) fn truncate(&mut self, logs: usize, bytes: usize) {
        self.addresses.truncate(logs);
        self.topics.truncate(logs);
        self.data_ends.truncate(logs);
        self.data.truncate(bytes);
    }

    /// Removes all logs and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0, 0);
    }
}
