//! A state on disk: pages at the last checkpoint, and the log of blocks since then.
//!
//! In: changes of blocks. Out: the state after them; at [`Disk::open`] the state as of the last
//! acknowledged commit, whatever interrupted the process.
//! A commit appends one record to the log and syncs it. A checkpoint follows when the changes in
//! memory exceed a bound. Opening applies the lists of the records behind the last checkpoint, without
//! execution, and compares the state root after each with its header.
//! Relies on: `disk` for files, `record` for what a record holds. Not here: the head (`chain`).

use super::chain::Head;
use super::record::{
    Hashed, changes_of, decode_before, decode_existence, decode_hashes, encode_before, encode_existence, encode_hashes,
};
use super::{DbError, Link, LoggedBlock, Opened};
use crate::arena::changes::StateChanges;
use crate::arena::keccak::keccak256;
use crate::arena::path::NodeQuery;
use crate::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::disk::log::{Entry, Log, LogOpened, Record, RecordKind};
use crate::disk::pages::Head as CheckpointHead;
use crate::disk::state::DiskState;
use crate::disk::store::{OpenOptions, PagesKind, Store};
use crate::exec::wire::Header;
use crate::trie::{HashedKeys, StateTries};
use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Number of ancestors whose hashes BLOCKHASH returns.
const BLOCK_HASHES: u64 = 256;
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
    /// Changes in memory, in bytes, from which on a commit makes a checkpoint.
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

/// The state at the head.
#[derive(Debug)]
pub(super) struct Disk {
    store: DiskStore,
    /// The tries of the head's state; on top of it at most one executed block, uncommitted.
    tries: StateTries,
    log: Log,
    /// Log records of the last blocks that can be reverted, the head's last.
    records: VecDeque<u64>,
    /// Log record of the checkpoint before the last one.
    former_checkpoint: u64,
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
    pub fn add(&mut self, accounts: &crate::StateChanges) -> Result<(), StoreError> {
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
        accounts: &crate::StateChanges,
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
        let header = header(state.checkpoint_root());
        let (number, hash, state_root) = (header.number, header.hash(), header.state_root);
        let rlp = rlp_of(&header);
        hashes.insert(number, hash);
        let parts: [&[u8]; 2] = [&rlp, &encode_hashes(hashes.iter())];
        let record = log.append(&Entry { kind: RecordKind::Block, block: number, hash, parts: &parts })?;
        log.sync()?;
        let head = CheckpointHead { number, hash, state_root, record, ..head };
        state.checkpoint(head, &rlp, true)?;
        let tries = StateTries::from_root(state_root);
        let records = VecDeque::new();
        let store = DiskStore { state, hashes };
        Ok((Self { store, tries, log, records, former_checkpoint: record, options, is_detached: false }, header))
    }

    /// Opens the state in a store as of the last commit. Returns the heads down to the oldest one that can be reverted
    /// to, the newest last.
    pub(super) fn open(
        (Store { pages, log, .. }, cut): (Store, LogOpened),
        options: DiskOptions,
        window: usize,
    ) -> Result<(Self, Vec<Head>, Opened), DbError> {
        let state = DiskState::open(Arc::from(pages), options.cache_bytes)?;
        let checkpoint = state.checkpoint_head();
        if state.checkpoint_header().is_empty() {
            return Err(DbError::Unfinished);
        }
        let header = Header::decode(state.checkpoint_header()).map_err(|error| DbError::Record(error.to_string()))?;
        let mut disk = Self {
            tries: StateTries::from_root(checkpoint.state_root),
            store: DiskStore { state, hashes: BTreeMap::new() },
            log,
            records: VecDeque::new(),
            former_checkpoint: checkpoint.record,
            options,
            is_detached: false,
        };
        disk.store.hashes.insert(checkpoint.number, checkpoint.hash);
        let mut heads: Vec<Head> = Vec::new();
        let mut opened = Opened { cut_bytes: cut.cut_bytes, ..Opened::default() };
        let mut next = disk.log.first();
        while next < disk.log.next() {
            let record = disk.log.read(next)?;
            let is_new = record.number > checkpoint.record;
            disk.replay(&record, is_new, &mut heads)?;
            if record.number == checkpoint.record && heads.last().is_some_and(|head| head.hash != checkpoint.hash) {
                return Err(DbError::Record(format!("block {} is not the one of the checkpoint", record.block)));
            }
            opened.blocks += u64::from(is_new);
            next += 1;
        }
        if heads.is_empty() {
            heads.push(Head::of_header(header));
        }
        // The log may end within a range of blocks of which only the last root was compared.
        heads.last().map_or(Ok(()), |head| check_root(&head.header, disk.tries.root()))?;
        while heads.len() > window + 1 {
            heads.remove(0);
        }
        let excess = disk.records.len().saturating_sub(heads.len() - 1);
        disk.records.drain(..excess);
        Ok((disk, heads, opened))
    }

    /// Takes a record of the log into account; applies it if it is behind the checkpoint.
    fn replay(&mut self, record: &Record, is_new: bool, heads: &mut Vec<Head>) -> Result<(), DbError> {
        match (record.kind, &record.parts[..]) {
            (RecordKind::Block, [header, hashes]) => {
                let header = Header::decode(header).map_err(|error| DbError::Record(error.to_string()))?;
                self.store.hashes.extend(decode_hashes(hashes)?);
                heads.push(Head::of_header(header));
            }
            (RecordKind::Block, [block, list, existence, before, flags]) => {
                let head = match heads.last() {
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
                decode_before(before)?;
                self.store.hashes.insert(head.header.number, head.hash);
                self.records.push_back(record.number);
                heads.push(head);
            }
            (RecordKind::Revert, _) => {
                if is_new && let Some(undone) = self.records.back() {
                    let before = self.before(*undone)?;
                    let parent = heads.iter().rev().nth(1).map(|head| head.header.clone());
                    let parent = parent.ok_or_else(|| DbError::Record("a revert without its block".into()))?;
                    self.advance(&before, &parent, true)?;
                }
                if let (Some(head), Some(_)) = (heads.pop(), self.records.pop_back()) {
                    self.store.hashes.remove(&head.header.number);
                }
            }
            _ => return Err(DbError::Record(format!("the record of block {} has other parts", record.block))),
        }
        Ok(())
    }

    /// Applies changes, after which the state must have the root of `header` if `compares` is set.
    fn advance(&mut self, hashed: &Hashed, header: &Header, compares: bool) -> Result<(), DbError> {
        let keys = HashedKeys { addresses: &hashed.addresses, slots: &hashed.slots };
        let found = self.tries.update_hashed(&hashed.changes, keys, &self.store)?;
        if compares {
            check_root(header, found).inspect_err(|_| self.tries.rollback())?;
        }
        self.store.state.apply_hashed(&hashed.changes, &hashed.addresses, &hashed.slots)?;
        self.tries.commit();
        Ok(())
    }

    /// The values before the block of a record.
    fn before(&self, record: u64) -> Result<Hashed, DbError> {
        let record = self.log.read(record)?;
        let [_, _, _, before, _] = &record.parts[..] else {
            return Err(DbError::Record(format!("the record of block {} has other parts", record.block)));
        };
        decode_before(before)
    }

    pub(super) fn store(&self) -> &dyn StateStore {
        &self.store
    }

    pub(super) fn parts(&mut self) -> (&dyn StateStore, &mut StateTries) {
        (&self.store, &mut self.tries)
    }

    /// Undoes the update of an executed block.
    pub(super) fn rollback(&mut self) {
        self.tries.rollback();
    }

    /// Keeps the records of the last `blocks` blocks.
    pub(super) fn trim(&mut self, blocks: usize) {
        let excess = self.records.len().saturating_sub(blocks);
        self.records.drain(..excess);
    }

    /// Makes the next blocks durable and then the last of them the head; `changes` are those of all of them, which the tries
    /// have. The last `reverts` blocks can then be reverted.
    ///
    /// # Errors
    /// [`DbError`]; the blocks are then not committed, and their update is undone.
    pub(super) fn commit(&mut self, links: &[Link<'_>], changes: &StateChanges, reverts: usize) -> Result<(), DbError> {
        let result = self.append(links);
        if result.is_err() {
            self.tries.rollback();
        }
        self.records.extend(result?);
        self.trim(reverts);
        if let Err(error) = self.store.state.apply(changes) {
            // The log has the blocks already: opening the store again applies them.
            self.store.state.fail(error.clone());
            return Err(error.into());
        }
        self.tries.commit();
        for Link { head, .. } in links {
            self.store.hashes.insert(head.header.number, head.hash);
            if let Some(number) = head.header.number.checked_sub(reverts as u64 + BLOCK_HASHES) {
                self.store.hashes.remove(&number);
            }
        }
        if let Some(last) = links.last()
            && self.store.state.changed_bytes() >= self.options.checkpoint_bytes
        {
            self.checkpoint(last.head)?;
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
            let state = &self.store.state;
            let before = encode_before(link.before, |address| Ok(state.storage(&keccak256(address))?))?;
            let is_last = at + 1 == links.len();
            let flags = [u8::from(link.clears_storage) * CLEARS_STORAGE + u8::from(!is_last) * ROOT_UNCHECKED];
            let parts: [&[u8]; 5] = [link.block, link.bal, &encode_existence(link.existence_log), &before, &flags];
            let (block, hash) = (link.head.header.number, link.head.hash);
            let entry = Entry { kind: RecordKind::Block, block, hash, parts: &parts };
            records.push(if is_last { self.log.append(&entry)? } else { self.log.write(&entry)? });
        }
        Ok(records)
    }

    /// Writes all changes to pages and removes log segments that are not needed any more.
    ///
    /// # Errors
    /// [`DbError`]. The store must then be opened again; nothing that was committed is lost.
    pub(super) fn checkpoint(&mut self, head: &Head) -> Result<(), DbError> {
        if self.is_detached || self.store.state.is_clean() && self.store.state.checkpoint_head().hash == head.hash {
            return Ok(());
        }
        self.log.sync()?;
        let former = self.store.state.checkpoint_head().record;
        let Header { number, state_root, .. } = head.header;
        let record = self.log.next() - 1;
        let checkpoint = CheckpointHead { number, hash: head.hash, state_root, record, ..CheckpointHead::default() };
        self.store.state.checkpoint(checkpoint, &rlp_of(&head.header), true)?;
        self.former_checkpoint = former;
        self.tries.mark_stored();
        self.tries.evict(self.options.tries_bytes);
        // One record more than can be reverted: it has the header of the oldest head.
        let oldest = self.records.front().map_or(record, |oldest| oldest.saturating_sub(BLOCK_HASHES));
        self.log.prune(oldest.min(self.former_checkpoint))?;
        Ok(())
    }

    /// Undoes the last block; `parent` is the header of the block before.
    ///
    /// # Errors
    /// [`DbError`].
    pub(super) fn revert(&mut self, parent: &Header) -> Result<(), DbError> {
        let Some(record) = self.records.back().copied() else { return Ok(()) };
        let before = self.before(record)?;
        let keys = HashedKeys { addresses: &before.addresses, slots: &before.slots };
        let found = self.tries.update_hashed(&before.changes, keys, &self.store)?;
        self.tries.rollback();
        check_root(parent, found)?;
        if !self.is_detached {
            let (block, hash) = (parent.number, parent.hash());
            self.log.append(&Entry { kind: RecordKind::Revert, block, hash, parts: &[] })?;
        }
        self.advance(&before, parent, true)?;
        self.records.pop_back();
        self.store.hashes.remove(&(parent.number + 1));
        Ok(())
    }

    /// From now on commits and reverts change memory alone.
    pub(super) fn detach(&mut self) {
        self.is_detached = true;
    }

    /// The block that was committed `back` blocks before the head, if it can be reverted.
    pub(super) fn block(&self, back: usize) -> Result<Option<LoggedBlock>, DbError> {
        let Some(record) = self.records.iter().rev().nth(back) else { return Ok(None) };
        let record = self.log.read(*record)?;
        match &record.parts[..] {
            [block, bal, existence, _, _] => Ok(Some(LoggedBlock {
                block: block.clone(),
                bal: bal.clone(),
                existence_log: decode_existence(existence)?,
            })),
            _ => Err(DbError::Record(format!("the record of block {} has other parts", record.block))),
        }
    }

    /// Statistics of the state on disk.
    pub(super) fn state(&self) -> &DiskState {
        &self.store.state
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

/// Adds all accounts of a store in memory.
pub(super) fn add_memory(state: &mut NewState<'_>, store: &MemoryStore) -> Result<(), DbError> {
    let mut changes = crate::StateChanges::default();
    for (address, account) in store.iter() {
        let (nonce, balance, code_hash) = (Some(account.nonce), Some(account.balance), Some(account.code_hash));
        changes.push_account(*address, crate::AccountStatus::Kept, nonce, balance, code_hash);
        account.storage.iter().for_each(|(key, value)| changes.push_slot(*key, *value));
    }
    changes.codes = store.iter_codes().map(|(hash, code)| (*hash, code.clone())).collect();
    Ok(state.add(&changes)?)
}
