//! A state on disk: pages at the last checkpoint, and the log of blocks since then.
//!
//! In: changes of blocks. Out: the state after them; at [`Disk::open`] the state as of the last
//! acknowledged commit, whatever interrupted the process.
//! A commit appends one record per block to the log and syncs it. A checkpoint begins when the changes
//! in memory exceed a bound; it is made beside the next blocks. Opening applies the lists of the
//! records behind the last checkpoint, without execution, and compares the state root after each with its header.
//! Relies on: `disk` for files, `record` for what a record holds. Not here: the head (`chain`).

use super::chain::{BLOCK_HASHES, Head, forgotten_hash, keep_last};
use super::record::{
    Before, Hashed, changes_of, decode_existence, decode_hashes, encode_before, encode_existence, encode_hashes,
};
use super::{DbError, Link, LoggedBlock, Opened};
use crate::arena::changes::StateChanges;
use crate::arena::keccak::keccak256;
use crate::arena::path::NodeQuery;
use crate::arena::store::{ParentAccount, SlotQuery, StateStore, StoreError};
use crate::disk::log::{Entry, Log, LogOpened, Record, RecordKind};
use crate::disk::pages::Head as CheckpointHead;
use crate::disk::state::DiskState;
use crate::disk::store::{OpenOptions, PagesKind, Store};
use crate::exec::wire::Header;
use crate::trie::{HashedKeys, StateTries};
use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Rows of one call: as many as a block has, since one call is one batch of pages.
const CALL_ROWS: usize = 8_192;
/// Changes of a new state that are written together, in bytes.
const NEW_STATE_BYTES: usize = 256 << 20;
/// Flag of a record: SELFDESTRUCT removes storage in this block (before Cancun).
const CLEARS_STORAGE: u8 = 1;
/// Flag of a record: the block was applied in a range of which only the last root was compared with its header.
const ROOT_UNCHECKED: u8 = 2;

/// How a state on disk is kept.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Files: how pages are read, how many records are synced together, whether a damaged log is cut.
    pub files: OpenOptions,
    /// Page store of a new state.
    pub pages: PagesKind,
    /// Bytes of a page of a new state.
    pub page_bytes: u32,
    /// Memory in bytes for units that were read lately.
    pub cache_bytes: u64,
    /// Changes in memory, in bytes, from which on a commit begins a checkpoint. Up to twice as much is in memory while
    /// it is made.
    pub checkpoint_bytes: usize,
    /// Memory in bytes for trie nodes; more are kept only if they changed since the last checkpoint.
    pub tries_bytes: usize,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            files: OpenOptions::default(),
            pages: PagesKind::default(),
            page_bytes: 4096,
            cache_bytes: 256 << 20,
            checkpoint_bytes: 64 << 20,
            tries_bytes: 1 << 30,
        }
    }
}

/// The state in pages, with the hashes of ancestors.
#[derive(Debug)]
struct DiskStore {
    state: DiskState,
    hashes: BTreeMap<u64, B256>,
}

impl StateStore for DiskStore {
    fn call_rows(&self) -> usize {
        CALL_ROWS
    }
    fn announce(&self, accounts: &[Address], slots: &[SlotQuery]) -> Result<(), StoreError> {
        self.state.load(accounts, slots)
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.state.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.state.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.state.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        for (number, out) in numbers.iter().zip(out) {
            *out = *self.hashes.get(number).ok_or(StoreError::MissingBlockHash(*number))?;
        }
        Ok(())
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.state.trie_nodes(nodes, out)
    }
}

/// The state at the head without its log.
#[derive(Debug)]
struct Tip {
    store: DiskStore,
    /// The tries of the head's state; on top of it at most one executed block, uncommitted.
    tries: StateTries,
    /// Log records of the last blocks, the head's last: those that can be reverted, the block before them, whose header a
    /// revert needs, and the ancestors whose hashes BLOCKHASH returns after that.
    records: VecDeque<u64>,
}

/// The state at the head.
#[derive(Debug)]
pub(super) struct Disk {
    tip: Tip,
    log: Log,
    /// Age of the tries at the checkpoint that is being made.
    stored_age: u32,
    options: DiskOptions,
    /// Whether commits and reverts change memory alone.
    is_detached: bool,
}

/// Adds accounts to a state that is being created.
#[derive(Debug)]
pub struct NewState<'a> {
    state: &'a mut DiskState,
}

impl NewState<'_> {
    /// Adds accounts with their slots, given as changes of the state so far, and codes. The slots of an account may be
    /// added in several calls. Accounts that are sorted by the keccak256 of their addresses are written once; others cost
    /// more writes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add(&mut self, accounts: &StateChanges) -> Result<(), StoreError> {
        self.state.apply(accounts)?;
        self.write()
    }

    /// [`Self::add`] for a source that knows the keccak256 of each address and slot key only: the unhashed keys in
    /// `accounts` are ignored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_hashed(
        &mut self,
        accounts: &StateChanges,
        addresses: &[B256],
        slots: &[B256],
    ) -> Result<(), StoreError> {
        self.state.apply_hashed(accounts, addresses, slots)?;
        self.write()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.state.changed_bytes() < NEW_STATE_BYTES {
            return Ok(());
        }
        self.state.checkpoint(CheckpointHead::default(), &Bytes::new(), false).map(drop)
    }
}

impl Tip {
    /// The state of the last checkpoint.
    fn new(state: DiskState, hashes: BTreeMap<u64, B256>) -> Self {
        let mut tries = StateTries::from_root(state.checkpoint_root());
        tries.mark_stored();
        Self { store: DiskStore { state, hashes }, tries, records: VecDeque::new() }
    }

    /// Forgets the records that reverts of the last `blocks` blocks do not need.
    fn trim(&mut self, blocks: usize) {
        keep_last(&mut self.records, blocks + 1 + BLOCK_HASHES as usize);
    }

    /// Takes a record of the log into account; applies it if it is behind the checkpoint.
    fn replay(&mut self, log: &Log, record: &Record, is_new: bool, heads: &mut VecDeque<Head>) -> Result<(), DbError> {
        match (record.kind, &record.parts[..]) {
            (RecordKind::Block, [header, hashes]) => {
                let header = Header::decode(header).map_err(|error| DbError::Record(error.to_string()))?;
                self.store.hashes.extend(decode_hashes(hashes)?);
                self.records.push_back(record.number);
                heads.push_back(Head::of_header(header));
            }
            (RecordKind::Block, [block, list, existence, before, flags]) => {
                let head = match heads.back() {
                    Some(parent) => parent.after(block),
                    None => Header::of_block(block).map(Head::of_header),
                };
                let head = head.map_err(|error| DbError::Record(error.to_string()))?;
                if head.hash != record.hash {
                    return Err(DbError::Record(format!("block {} has another hash", record.block)));
                }
                if head.header.block_access_list_hash.is_some_and(|hash| hash != keccak256(list)) {
                    return Err(DbError::Record(format!("the list of block {} has another hash", record.block)));
                }
                if is_new {
                    let flags = flags.first().copied().unwrap_or_default();
                    let changes = changes_of(list, existence, flags & CLEARS_STORAGE != 0, &self.store)?;
                    self.advance(&Hashed::of(changes), &head.header, flags & ROOT_UNCHECKED == 0)?;
                }
                Before::decode(before)?;
                self.store.hashes.insert(head.header.number, head.hash);
                self.records.push_back(record.number);
                heads.push_back(head);
            }
            (RecordKind::Revert, _) => {
                if is_new && let Some(undone) = self.records.back() {
                    let before = before(log, *undone)?;
                    let parent = heads.iter().rev().nth(1).map(|head| head.header.clone());
                    let parent = parent.ok_or_else(|| DbError::Record("a revert without its block".into()))?;
                    self.advance(&before, &parent, true)?;
                }
                if let (Some(head), Some(_)) = (heads.pop_back(), self.records.pop_back()) {
                    self.store.hashes.remove(&head.header.number);
                }
            }
            _ => return Err(DbError::Record(format!("the record of block {} has other parts", record.block))),
        }
        Ok(())
    }

    /// Applies changes, after which the state must have the root of `header` if `compares` is set.
    fn advance(&mut self, hashed: &Hashed, header: &Header, compares: bool) -> Result<(), DbError> {
        self.update(hashed, header, compares)?;
        self.keep(|state| state.apply_hashed(&hashed.changes, &hashed.addresses, &hashed.slots))
    }

    /// Updates the tries by changes, after which they must have the root of `header` if `compares` is set; undoes the
    /// update if not.
    fn update(&mut self, hashed: &Hashed, header: &Header, compares: bool) -> Result<(), DbError> {
        let keys = HashedKeys { addresses: &hashed.addresses, slots: &hashed.slots };
        let found = self.tries.update_hashed(&hashed.changes, keys, &self.store)?;
        if compares {
            check_root(header, found).inspect_err(|_| self.tries.rollback())?;
        }
        Ok(())
    }

    /// Commits the update of the tries; `apply` makes the same changes to the state. The log has them already, so after
    /// an error only opening the store again leads to the right state.
    fn keep(&mut self, apply: impl FnOnce(&mut DiskState) -> Result<(), StoreError>) -> Result<(), DbError> {
        apply(&mut self.store.state).map_err(|error| self.store.state.fail(error))?;
        self.tries.commit();
        Ok(())
    }
}

/// The values before the block of a record.
fn before(log: &Log, record: u64) -> Result<Hashed, DbError> {
    let record = log.read(record)?;
    let [_, _, _, before, _] = &record.parts[..] else {
        return Err(DbError::Record(format!("the record of block {} has other parts", record.block)));
    };
    Ok(Before::decode(before)?.hash())
}

impl Disk {
    /// Creates a state in an empty store; `fill` adds its accounts, `header` makes the header of its block from the state
    /// root.
    pub(super) fn create(
        Store { pages, mut log, .. }: Store,
        options: DiskOptions,
        mut hashes: BTreeMap<u64, B256>,
        fill: impl FnOnce(&mut NewState<'_>) -> Result<(), DbError>,
        header: impl FnOnce(B256) -> Header,
    ) -> Result<(Self, Header), DbError> {
        let mut state = DiskState::open(Arc::from(pages), options.cache_bytes)?;
        fill(&mut NewState { state: &mut state })?;
        let head = CheckpointHead::default();
        state.checkpoint(head, &Bytes::new(), false)?;
        let found = state.checkpoint_root();
        let header = header(found);
        let (number, hash, state_root) = (header.number, header.hash(), header.state_root);
        if found != state_root {
            return Err(DbError::StateRoot { number, expected: state_root, found });
        }
        let rlp = rlp_of(&header);
        hashes.insert(number, hash);
        let parts: [&[u8]; 2] = [&rlp, &encode_hashes(hashes.iter())];
        let record = log.append(&Entry { kind: RecordKind::Block, block: number, hash, parts: &parts })?;
        log.sync()?;
        let head = CheckpointHead { number, hash, state_root, record, ..head };
        state.checkpoint(head, &rlp, true)?;
        let mut tip = Tip::new(state, hashes);
        tip.records.push_back(record);
        Ok((Self { tip, log, stored_age: 0, options, is_detached: false }, header))
    }

    /// Opens the state in a store as of the last commit. Returns the heads down to the oldest one that can be reverted
    /// to, the newest last.
    pub(super) fn open(
        (Store { pages, log, .. }, cut): (Store, LogOpened),
        options: DiskOptions,
        window: usize,
    ) -> Result<(Self, VecDeque<Head>, Opened), DbError> {
        let state = DiskState::open(Arc::from(pages), options.cache_bytes)?;
        let checkpoint = state.checkpoint_head();
        if state.checkpoint_header().is_empty() {
            return Err(DbError::Unfinished);
        }
        let header = Header::decode(state.checkpoint_header()).map_err(|error| DbError::Record(error.to_string()))?;
        let mut tip = Tip::new(state, BTreeMap::from([(checkpoint.number, checkpoint.hash)]));
        let mut heads: VecDeque<Head> = VecDeque::new();
        let mut opened = Opened { cut_bytes: cut.cut_bytes, ..Opened::default() };
        for record in log.records(log.first()) {
            let record = record?;
            let is_new = record.number > checkpoint.record;
            tip.replay(&log, &record, is_new, &mut heads)?;
            if record.number == checkpoint.record && heads.back().is_some_and(|head| head.hash != checkpoint.hash) {
                return Err(DbError::Record(format!("block {} is not the one of the checkpoint", record.block)));
            }
            opened.blocks += u64::from(is_new);
        }
        if heads.is_empty() {
            heads.push_back(Head::of_header(header));
        }
        // The log may end within a range of blocks of which only the last root was compared.
        heads.back().map_or(Ok(()), |head| check_root(&head.header, tip.tries.root()))?;
        keep_last(&mut heads, window + 1);
        tip.trim(heads.len() - 1);
        Ok((Self { tip, log, stored_age: 0, options, is_detached: false }, heads, opened))
    }

    pub(super) fn store(&self) -> &dyn StateStore {
        &self.tip.store
    }

    pub(super) fn parts(&mut self) -> (&dyn StateStore, &mut StateTries) {
        (&self.tip.store, &mut self.tip.tries)
    }

    /// Undoes the update of an executed block.
    pub(super) fn rollback(&mut self) {
        self.tip.tries.rollback();
    }

    /// Keeps what reverts of the last `blocks` blocks need.
    pub(super) fn trim(&mut self, blocks: usize) {
        self.tip.trim(blocks);
    }

    /// Makes the next blocks durable and then the last of them the head; `changes`, in order, have the effect of all of
    /// them, and the tries have their update. The last `reverts` blocks can then be reverted.
    ///
    /// # Errors
    /// [`DbError`]; the blocks are then not committed, and their update is undone.
    pub(super) fn commit(
        &mut self,
        links: &[Link<'_>],
        changes: &[&StateChanges],
        reverts: usize,
    ) -> Result<(), DbError> {
        let appended = self.end_checkpoint(false).and_then(|()| self.append(links));
        let records = appended.inspect_err(|_| self.tip.tries.rollback())?;
        self.tip.records.extend(records);
        self.trim(reverts);
        self.tip.keep(|state| changes.iter().try_for_each(|changes| state.apply(changes)))?;
        for Link { head, .. } in links {
            self.tip.store.hashes.insert(head.header.number, head.hash);
            if let Some(number) = forgotten_hash(head.header.number, reverts) {
                self.tip.store.hashes.remove(&number);
            }
        }
        if let Some(last) = links.last()
            && !self.is_detached
            && self.tip.store.state.changed_bytes() >= self.options.checkpoint_bytes
        {
            self.end_checkpoint(true)?;
            self.begin_checkpoint(last.head)?;
        }
        Ok(())
    }

    /// Appends one record per block, with at most one sync.
    fn append(&mut self, links: &[Link<'_>]) -> Result<Vec<u64>, DbError> {
        if self.is_detached {
            return Ok(Vec::new());
        }
        let mut records = Vec::with_capacity(links.len());
        for (at, link) in links.iter().enumerate() {
            let state = &self.tip.store.state;
            let before = encode_before(link.before, |address| Ok(state.storage(&keccak256(address))?))?;
            let flags = [u8::from(link.clears_storage) * CLEARS_STORAGE + u8::from(!link.has_root) * ROOT_UNCHECKED];
            let parts: [&[u8]; 5] = [link.block, link.bal, &encode_existence(link.existence_log), &before, &flags];
            let (block, hash) = (link.head.header.number, link.head.hash);
            let entry = Entry { kind: RecordKind::Block, block, hash, parts: &parts };
            records.push(if at + 1 == links.len() { self.log.append(&entry)? } else { self.log.write(&entry)? });
        }
        Ok(records)
    }

    /// Writes all changes to pages and removes log segments that are not needed any more.
    ///
    /// # Errors
    /// [`DbError`]. The store must then be opened again; nothing that was committed is lost.
    pub(super) fn checkpoint(&mut self, head: &Head) -> Result<(), DbError> {
        if self.is_detached {
            return Ok(());
        }
        self.end_checkpoint(true)?;
        let state = &self.tip.store.state;
        if state.is_clean() && state.checkpoint_head().hash == head.hash {
            return Ok(());
        }
        let former = state.checkpoint_head().record;
        let (checkpoint, header) = self.next_checkpoint(head)?;
        self.tip.store.state.checkpoint(checkpoint, &header, true)?;
        self.stored(former)
    }

    /// Begins to write all changes to pages, beside the next blocks.
    fn begin_checkpoint(&mut self, head: &Head) -> Result<(), DbError> {
        let (checkpoint, header) = self.next_checkpoint(head)?;
        Ok(self.tip.store.state.begin(checkpoint, &header)?)
    }

    /// Ends the checkpoint that is being made, if it is complete; `waits`: when it is.
    fn end_checkpoint(&mut self, waits: bool) -> Result<(), DbError> {
        let former = self.tip.store.state.checkpoint_head().record;
        match self.tip.store.state.finish(waits)? {
            Some(_) => self.stored(former),
            None => Ok(()),
        }
    }

    /// Head and header (RLP) of a checkpoint of the present state, which the log has then.
    fn next_checkpoint(&mut self, head: &Head) -> Result<(CheckpointHead, Bytes), DbError> {
        self.log.sync()?;
        self.stored_age = self.tip.tries.age();
        self.tip.tries.evict(self.options.tries_bytes);
        let Header { number, state_root, .. } = head.header;
        let record = self.log.next() - 1;
        let checkpoint = CheckpointHead { number, hash: head.hash, state_root, record, ..CheckpointHead::default() };
        Ok((checkpoint, rlp_of(&head.header)))
    }

    /// Notes that a checkpoint is complete. `former` is the log record of the one before.
    fn stored(&mut self, former: u64) -> Result<(), DbError> {
        self.tip.tries.mark_stored_at(self.stored_age);
        let oldest = self.tip.records.front().copied().unwrap_or(former);
        self.log.prune(oldest.min(former))?;
        Ok(())
    }

    /// Undoes the last block; `parent` is the header of the block before.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) fn revert(&mut self, parent: &Header) -> Result<(), DbError> {
        self.end_checkpoint(false)?;
        let Some(record) = self.tip.records.back().copied() else { return Ok(()) };
        let before = before(&self.log, record)?;
        self.tip.update(&before, parent, true)?;
        if !self.is_detached {
            let (block, hash) = (parent.number, parent.hash());
            let entry = Entry { kind: RecordKind::Revert, block, hash, parts: &[] };
            self.log.append(&entry).inspect_err(|_| self.tip.tries.rollback())?;
        }
        self.tip.keep(|state| state.apply_hashed(&before.changes, &before.addresses, &before.slots))?;
        self.tip.records.pop_back();
        self.tip.store.hashes.remove(&(parent.number + 1));
        Ok(())
    }

    /// From now on commits and reverts change memory alone.
    pub(super) fn detach(&mut self) {
        self.is_detached = true;
    }

    /// The block that was committed `back` blocks before the head, if the log is known to have it.
    pub(super) fn block(&self, back: usize) -> Result<Option<LoggedBlock>, DbError> {
        let Some(record) = self.tip.records.iter().rev().nth(back) else { return Ok(None) };
        let record = self.log.read(*record)?;
        match &record.parts[..] {
            [block, bal, existence, _, _] => Ok(Some(LoggedBlock {
                block: block.clone(),
                bal: bal.clone(),
                existence_log: decode_existence(existence)?,
            })),
            // The start of the store.
            [_, _] => Ok(None),
            _ => Err(DbError::Record(format!("the record of block {} has other parts", record.block))),
        }
    }

    /// Statistics of the state on disk.
    pub(super) fn state(&self) -> &DiskState {
        &self.tip.store.state
    }
}

/// Compares the root of the state with that of the header of its block.
fn check_root(header: &Header, found: B256) -> Result<(), DbError> {
    let (number, expected) = (header.number, header.state_root);
    if found == expected { Ok(()) } else { Err(DbError::StateRoot { number, expected, found }) }
}

fn rlp_of(header: &Header) -> Bytes {
    let mut rlp = Vec::new();
    header.encode(&mut rlp);
    rlp.into()
}
