//! The known valid blocks: a tree with the canonical chain in it.
//!
//! In: blocks, and which of them is the head. Out: blocks by hash and number, paths between two blocks.
//! Bounded in blocks and bytes: the oldest blocks are forgotten first, and of a block its state changes before its body.
//! Also the invalid blocks, with their reasons.
//! Not here: the state (`node`).

use alloy_primitives::{B256, Bytes};
use balustrade::StateChanges;
use balustrade::arena::keccak::keccak256_many;
use balustrade::exec::block::tasks::BlockLogs;
use balustrade::exec::tx::TxOutcome;
use balustrade::exec::wire::{Block, Header, ReceiptList};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

/// Most blocks above a common ancestor that a reorganization undoes, and ancestors of the head whose state is kept.
pub const REORG_MAX: u64 = 128;
/// Ancestors of the head whose bodies are kept.
const HISTORY: u64 = 1_024;
/// Most blocks, those of other branches included.
const BLOCKS_MAX: usize = 4_096;
/// Most bytes of blocks, lists, receipts and changes.
const BYTES_MAX: usize = 1 << 30;
/// Invalid blocks that are remembered.
const INVALID_MAX: usize = 1_024;

/// What the execution of a block gave.
#[derive(Debug, Default)]
pub struct Results {
    /// Receipts in their EIP-2718 encoding.
    pub receipts: ReceiptList,
    /// Outcome of each transaction.
    pub transactions: Vec<TxOutcome>,
    /// Logs by transaction.
    pub logs: BlockLogs,
    /// The lowest block number whose hash the block asked for (BLOCKHASH).
    pub lowest_hash: Option<u64>,
}

/// What a block changed in the state.
#[derive(Debug, Default)]
pub struct Changed {
    /// Values after the block.
    pub after: StateChanges,
    /// Values before the block.
    pub before: StateChanges,
}

/// A valid block.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Hash of the header.
    pub hash: B256,
    /// The header.
    pub header: Header,
    /// RLP of the block; `None` for the first head of a store whose log does not have it.
    pub block: Option<Bytes>,
    /// RLP of its block access list, the given or the recorded one.
    pub list: Option<Bytes>,
    /// What its execution gave; `None` if it was executed by an earlier process, or is forgotten.
    pub results: Option<Arc<Results>>,
    /// What it changed; `None` if it was executed by an earlier process, or is forgotten.
    pub changed: Option<Arc<Changed>>,
    /// Hashes of the transactions, computed when they are first asked for.
    transaction_hashes: OnceLock<Vec<B256>>,
    bytes: usize,
}

impl Known {
    /// A block with its list, and what its execution gave.
    pub fn new(
        header: Header,
        block: Option<Bytes>,
        list: Option<Bytes>,
        executed: Option<(Results, Changed)>,
    ) -> Self {
        let (results, changed) = executed.map(|(results, changed)| (Arc::new(results), Arc::new(changed))).unzip();
        let known = Self { hash: header.hash(), header, block, list, results, changed, ..Self::default() };
        Self { bytes: known.count_bytes(), ..known }
    }

    /// The same without what it changed.
    fn without_changes(&self) -> Self {
        let known = Self { changed: None, ..self.clone() };
        Self { bytes: known.count_bytes(), ..known }
    }

    /// About how much memory it takes.
    fn count_bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let of_changes = |changes: &StateChanges| {
            let codes: usize = changes.codes.iter().map(|(_, code)| code.len() + 64).sum();
            changes.addresses.len() * 128 + changes.slot_keys.len() * 64 + codes
        };
        let of_results = |results: &Arc<Results>| {
            // Logs are about as long as the receipts that hold them.
            let receipts: usize = results.receipts.iter().map(<[u8]>::len).sum();
            2 * receipts + results.transactions.len() * 160
        };
        // With the hashes of the transactions.
        let results = self.results.as_ref().map_or(0, of_results);
        let changed = self.changed.as_ref().map_or(0, |both| of_changes(&both.after) + of_changes(&both.before));
        1_024 + len(&self.block) + len(&self.list) + results + changed
    }

    /// Hashes of the transactions; none if the body is not kept.
    pub fn transaction_hashes(&self) -> &[B256] {
        self.transaction_hashes.get_or_init(|| {
            let Some(Ok(block)) = self.block.clone().map(Block::decode) else { return Vec::new() };
            let mut hashes = Vec::new();
            block.transactions.hashes(0..block.transactions.len(), &mut hashes, &keccak256_many);
            hashes
        })
    }

    /// Hash of the parent.
    const fn parent(&self) -> B256 {
        self.header.parent_hash
    }
}

/// Why a block is invalid.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// Its last valid ancestor; `None` if that cannot be said.
    pub latest_valid: Option<B256>,
    /// The reason.
    pub reason: String,
    /// Names of the execution-spec-tests exceptions that describe it; empty where its parent is the reason.
    pub classes: Vec<&'static str>,
}

/// The way from one block to another.
#[derive(Debug)]
pub struct Route {
    /// Their last common ancestor.
    pub ancestor: Arc<Known>,
    /// Blocks of the first branch above it, newest first.
    pub undo: Vec<Arc<Known>>,
    /// Blocks of the second branch above it, oldest first.
    pub redo: Vec<Arc<Known>>,
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    blocks: HashMap<B256, Arc<Known>>,
    /// Hashes in the order in which the blocks came.
    order: VecDeque<B256>,
    bytes: usize,
    canonical: BTreeMap<u64, B256>,
    head: B256,
    /// The safe block, where it was named.
    pub safe: Option<B256>,
    /// The finalized block, where it was named.
    pub finalized: Option<B256>,
    invalid: HashMap<B256, Invalid>,
    invalid_order: VecDeque<B256>,
}

impl Tree {
    /// A tree of one block, which is the head.
    pub fn new(first: Known) -> Self {
        let (head, number) = (first.hash, first.header.number);
        let mut tree = Self {
            blocks: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            canonical: BTreeMap::from([(number, head)]),
            head,
            safe: None,
            finalized: None,
            invalid: HashMap::new(),
            invalid_order: VecDeque::new(),
        };
        tree.insert(first);
        tree
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Bytes of blocks, lists, receipts and changes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of invalid blocks that are remembered.
    pub fn invalid_count(&self) -> usize {
        self.invalid.len()
    }

    /// The block with this hash.
    pub fn get(&self, hash: &B256) -> Option<&Arc<Known>> {
        self.blocks.get(hash)
    }

    /// The head of the canonical chain.
    pub fn head(&self) -> &Arc<Known> {
        &self.blocks[&self.head]
    }

    /// The canonical block with this number.
    pub fn canonical(&self, number: u64) -> Option<&Arc<Known>> {
        self.blocks.get(self.canonical.get(&number)?)
    }

    /// The lowest canonical number that is known.
    pub fn oldest(&self) -> u64 {
        self.canonical.first_key_value().map_or(0, |(number, _)| *number)
    }

    /// Whether the block is on the canonical chain.
    pub fn is_canonical(&self, known: &Known) -> bool {
        self.canonical.get(&known.header.number) == Some(&known.hash)
    }

    /// Adds a block; one with the same hash is replaced.
    pub fn insert(&mut self, known: Known) {
        let (hash, bytes) = (known.hash, known.bytes);
        self.forget_invalid(&hash);
        self.bytes += bytes;
        match self.blocks.insert(hash, Arc::new(known)) {
            Some(before) => self.bytes -= before.bytes,
            None => self.order.push_back(hash),
        }
    }

    fn remove(&mut self, hash: &B256) {
        if let Some(known) = self.blocks.remove(hash) {
            self.bytes -= known.bytes;
            self.order.retain(|other| other != hash);
            if self.is_canonical(&known) {
                self.canonical.remove(&known.header.number);
            }
        }
    }

    /// The way from block `from` to block `to`; `None` if one of them, or their common ancestor, is not known.
    pub fn route(&self, from: &B256, to: &B256) -> Option<Route> {
        let (mut a, mut b) = (self.get(from)?, self.get(to)?);
        let (mut undo, mut redo) = (Vec::new(), Vec::new());
        while a.hash != b.hash {
            if a.header.number >= b.header.number {
                undo.push(Arc::clone(a));
                a = self.get(&a.parent())?;
            } else {
                redo.push(Arc::clone(b));
                b = self.get(&b.parent())?;
            }
        }
        redo.reverse();
        Some(Route { ancestor: Arc::clone(a), undo, redo })
    }

    /// Whether `ancestor` is `of` or one of its ancestors.
    pub fn is_ancestor(&self, ancestor: &B256, of: &B256) -> bool {
        let Some(wanted) = self.get(ancestor).map(|known| known.header.number) else { return false };
        let mut at = self.get(of);
        while let Some(known) = at.filter(|known| known.header.number >= wanted) {
            if known.hash == *ancestor {
                return true;
            }
            at = self.get(&known.parent());
        }
        false
    }

    /// Makes a known block the head of the canonical chain.
    pub fn set_head(&mut self, hash: B256) {
        let Some(mut at) = self.get(&hash).cloned() else { return };
        self.head = hash;
        drop(self.canonical.split_off(&(at.header.number + 1)));
        while self.canonical.insert(at.header.number, at.hash) != Some(at.hash) {
            match self.get(&at.parent()) {
                Some(parent) => at = Arc::clone(parent),
                None => break,
            }
        }
        // Numbers below a gap belong to another branch.
        let lowest = at.header.number;
        if self.canonical.contains_key(&lowest) && self.get(&at.parent()).is_none() {
            self.canonical = self.canonical.split_off(&lowest);
        }
    }

    /// Forgets all blocks above the head, and those of other branches.
    pub fn keep_canonical(&mut self) {
        let other = |known: &&Arc<Known>| !self.is_canonical(known);
        let hashes: Vec<B256> = self.blocks.values().filter(other).map(|known| known.hash).collect();
        hashes.iter().for_each(|hash| self.remove(hash));
    }

    /// Forgets what is too much; `pinned` stays.
    pub fn prune(&mut self, pinned: &B256) {
        let head = self.head().header.number;
        let mut stay = VecDeque::new();
        while let Some(hash) = self.order.front().copied() {
            let Some(known) = self.blocks.get(&hash) else {
                self.order.pop_front();
                continue;
            };
            let is_old = known.header.number + HISTORY < head;
            let is_too_much = self.bytes > BYTES_MAX || self.blocks.len() > BLOCKS_MAX;
            if !is_old && !is_too_much {
                break;
            }
            if hash == self.head || hash == *pinned {
                self.order.pop_front();
                stay.push_back(hash);
                continue;
            }
            self.remove(&hash);
        }
        for hash in stay.into_iter().rev() {
            self.order.push_front(hash);
        }
        // The state of older blocks is not asked for.
        if let Some(number) = head.checked_sub(REORG_MAX + 1)
            && let Some(known) = self.canonical(number).filter(|known| known.changed.is_some())
        {
            let without = known.without_changes();
            self.insert(without);
        }
    }

    /// Why a block is invalid, if it is known to be.
    pub fn invalid(&self, hash: &B256) -> Option<&Invalid> {
        self.invalid.get(hash)
    }

    /// Remembers an invalid block.
    pub fn insert_invalid(&mut self, hash: B256, invalid: Invalid) {
        if self.invalid.insert(hash, invalid).is_none() {
            self.invalid_order.push_back(hash);
        }
        while self.invalid_order.len() > INVALID_MAX {
            if let Some(oldest) = self.invalid_order.pop_front() {
                self.invalid.remove(&oldest);
            }
        }
    }

    fn forget_invalid(&mut self, hash: &B256) {
        if self.invalid.remove(hash).is_some() {
            self.invalid_order.retain(|other| other != hash);
        }
    }
}
