//! A state on disk as `StateDb` uses it, but with blocks that are not executed.
//!
//! In: a folder, blocks of `workload::state_changes`. Out: values, state roots, durable blocks.
//! The calls are those of `StateDb` around execution: all names announced in one batch, the root from
//! the tries, one log record appended and synced, a checkpoint when enough has changed. A record holds
//! the values after and before the block, as the list and its values before do.

use super::super::workload::state::State;
use super::super::workload::state_changes::ChangingBlock;
use alloy_primitives::{B256, Bytes, U256};
use balustrade::db::DiskOptions;
use balustrade::disk::log::{Entry, Log, RecordKind};
use balustrade::disk::pages::{Head, PageStore};
use balustrade::disk::state::{DiskState, Written};
use balustrade::disk::store::{Description, Store};
use balustrade::{DbError, ParentAccount, StateStore, StateTries};
use std::path::Path;
use std::sync::Arc;

/// Rows of a new state that are added together.
const CHUNK_ROWS: usize = 1 << 20;
/// Changes of a new state that are written together, in bytes.
const NEW_STATE_BYTES: usize = 256 << 20;

/// What a block reads: the row of each of its accounts, and the value of each of its slots.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Accounts.
    pub accounts: Vec<ParentAccount>,
    /// Slots.
    pub slots: Vec<U256>,
}

/// An open state.
#[derive(Debug)]
pub struct Stored {
    /// The state; its page reads and sizes can be asked.
    pub state: DiskState,
    tries: StateTries,
    log: Log,
    number: u64,
    root: B256,
    options: DiskOptions,
}

impl Stored {
    /// Creates a state in a folder that does not exist, and closes it. `progress` gets the number of accounts of each
    /// part. Returns the state root.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn fill(
        folder: &Path,
        options: &DiskOptions,
        state: &State,
        mut progress: impl FnMut(usize),
    ) -> Result<B256, DbError> {
        let description = Description::new(options.pages, options.page_bytes, 1, B256::ZERO)?;
        let Store { pages, .. } = Store::create(folder, description, &options.files)?;
        let mut filled = DiskState::open(Arc::from(pages), options.cache_bytes)?;
        for chunk in state.chunks(CHUNK_ROWS) {
            filled.apply_hashed(&chunk.changes, &chunk.keys, &chunk.slot_keys)?;
            if filled.changed_bytes() >= NEW_STATE_BYTES {
                filled.checkpoint(Head::default(), &Bytes::new(), false)?;
            }
            progress(chunk.keys.len());
        }
        filled.checkpoint(Head::default(), &Bytes::new(), false)?;
        Ok(filled.checkpoint_root())
    }

    /// Opens the files of a state: its pages and its log, locked.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn files(folder: &Path, options: &DiskOptions) -> Result<(Arc<dyn PageStore>, Log), DbError> {
        let (Store { pages, log, .. }, _) = Store::open(folder, &options.files)?;
        Ok((Arc::from(pages), log))
    }

    /// Opens a state whose last checkpoint has all of its blocks.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open((pages, log): (Arc<dyn PageStore>, Log), options: &DiskOptions) -> Result<Self, DbError> {
        let state = DiskState::open(pages, options.cache_bytes)?;
        let (root, number) = (state.checkpoint_root(), state.checkpoint_head().number);
        Ok(Self { state, tries: StateTries::from_root(root), log, number, root, options: *options })
    }

    /// Reads all names of a block.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn read(&self, block: &ChangingBlock) -> Result<Values, DbError> {
        let (addresses, queries) = (block.addresses(), block.queries());
        self.state.load(&addresses, &queries)?;
        let mut values = Values::default();
        values.accounts.resize(addresses.len(), ParentAccount::default());
        self.state.accounts(&addresses, &mut values.accounts)?;
        values.slots.resize(queries.len(), U256::ZERO);
        self.state.slots(&queries, &mut values.slots)?;
        Ok(values)
    }

    /// Computes the state root after a block.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn root(&mut self, block: &ChangingBlock) -> Result<B256, DbError> {
        self.root = self.tries.update(&block.changes, &self.state)?;
        Ok(self.root)
    }

    /// Makes a block durable whose root was computed. Returns the bytes of its record's parts.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn commit(&mut self, block: &ChangingBlock, before: &Values) -> Result<usize, DbError> {
        let fields = |row: usize| (before.accounts[row].nonce, before.accounts[row].balance);
        let old = block.list_with(fields, |row| before.slots[row]);
        let parts: [&[u8]; 2] = [&block.list, &old];
        let (number, hash) = (block.number, B256::from(U256::from(block.number)));
        self.log.append(&Entry { kind: RecordKind::Block, block: number, hash, parts: &parts })?;
        self.state.apply(&block.changes)?;
        self.tries.commit();
        self.number = number;
        Ok(block.list.len() + old.len())
    }

    /// Writes the changes to pages if there are as many as the options say, or if `all` is set and there are any.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn checkpoint(&mut self, all: bool) -> Result<Option<Written>, DbError> {
        if self.state.is_clean() || !all && self.state.changed_bytes() < self.options.checkpoint_bytes {
            return Ok(None);
        }
        let record = self.log.next() - 1;
        let head = Head { number: self.number, state_root: self.root, record, ..Head::default() };
        let written = self.state.checkpoint(head, &Bytes::new(), true)?;
        self.tries.mark_stored();
        self.tries.evict(self.options.tries_bytes);
        self.log.prune(record)?;
        Ok(Some(written))
    }
}
