//! [`StateDb`]: the state at the head of a chain, which blocks move forward and reverts move back.
//!
//! In: a state with its header, then blocks. Out: their outcomes; the state, its root and proofs at the head.
//!
//! A block is executed on the head and changes nothing; its outcome is committed afterwards. A commit keeps the values
//! before the block, so that the last blocks can be undone.
//! [`StateDb::apply`] moves the state forward by block access lists, without execution.
//! Relies on: `executor` to execute and check a block. `chain` has the head and its ancestors, `memory` the state.
//! Not here: which of several chains to follow, and the validity of the first head.

mod apply;
mod chain;
#[cfg(feature = "disk")]
mod disk;
mod memory;
mod merge;
#[cfg(feature = "disk")]
mod record;
mod window;
mod within;

pub use apply::{Applied, ApplyError, ListedBlock};
#[cfg(feature = "disk")]
pub use disk::{DiskOptions, NewState};
pub use window::{Replay, ReplayError, WindowOptions};
pub use within::StateWithin;

use crate::arena::changes::StateChanges;
use crate::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
#[cfg(feature = "disk")]
use crate::bal::ExistenceLog;
#[cfg(feature = "disk")]
use crate::disk::log::LogOpened;
#[cfg(feature = "disk")]
use crate::disk::store::{Description, Store};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::rules::chain::ChainConfig;
#[cfg(feature = "disk")]
use crate::exec::rules::fork::Fork;
use crate::exec::rules::ommers::Ancestor;
use crate::exec::wire::{Header, WireError};
use crate::executor::{BlockInput, BlockOutcome, Executor, Options, Roots};
use crate::trie::{AccountProof, StateTries, TrieError};
use alloy_primitives::{Address, B256, Bytes, U256};
use chain::{Chain, Head};
#[cfg(feature = "disk")]
use disk::Disk;
use memory::Memory;
#[cfg(feature = "disk")]
use std::path::Path;

/// Number of last blocks that [`StateDb::revert_to`] can undo, unless [`StateDb::with_window`] sets another number.
const WINDOW: usize = 1_024;

/// Why a [`StateDb`] refused a call. The state and the head are then unchanged, unless the error says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The state does not have the root that the header of its block has.
    #[error("the state has the root {found}, but the header of block {number} has the state root {expected}")]
    StateRoot {
        /// Number of the block.
        number: u64,
        /// State root of the header.
        expected: B256,
        /// Root of the state.
        found: B256,
    },
    /// The outcome is not that of the block which was executed last on the head.
    #[error("block {given} is not the block that was executed last on the head; execute it before it is committed")]
    NotExecuted {
        /// Hash of the outcome's block.
        given: B256,
    },
    /// A block above the head.
    #[error("block {number} is above the head, block {head}")]
    AboveHead {
        /// The block number that was asked for.
        number: u64,
        /// Number of the head.
        head: u64,
    },
    /// The values before the blocks above this one are no longer kept.
    #[error("block {number} is out of the window of reverts: the oldest block that can be the head is {oldest}")]
    OutOfWindow {
        /// The block number that was asked for.
        number: u64,
        /// Number of the oldest block to which the head can return.
        oldest: u64,
    },
    /// The tries of the state cannot be built or updated.
    #[error(transparent)]
    Tries(#[from] TrieError),
    /// The store of the state failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files of the state failed.
    #[cfg(feature = "disk")]
    #[error(transparent)]
    Disk(#[from] crate::disk::DiskError),
    /// A record of the log that is whole does not hold what it should.
    #[cfg(feature = "disk")]
    #[error("a record of the log cannot be applied: {0}; restore the store from a copy, or create it again")]
    Record(String),
    /// The creation of the state was interrupted.
    #[cfg(feature = "disk")]
    #[error("the creation of the store was interrupted; delete its folder and create it again")]
    Unfinished,
}

/// What opening a state on disk found.
#[cfg(feature = "disk")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Blocks and reverts of the log that were applied on top of the last checkpoint.
    pub blocks: u64,
    /// Bytes cut from the log: a record at its end that was never acknowledged.
    pub cut_bytes: u64,
}

/// Where the state is.
#[derive(Debug)]
enum State {
    Memory(Box<Memory>),
    #[cfg(feature = "disk")]
    Disk(Box<Disk>),
}

impl State {
    fn store(&self) -> &dyn StateStore {
        match self {
            Self::Memory(memory) => memory.store(),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.store(),
        }
    }

    fn parts(&mut self) -> (&dyn StateStore, &mut StateTries) {
        match self {
            Self::Memory(memory) => memory.parts(),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.parts(),
        }
    }

    fn rollback(&mut self) {
        match self {
            Self::Memory(memory) => memory.rollback(),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.rollback(),
        }
    }

    fn trim(&mut self, blocks: usize) {
        match self {
            Self::Memory(memory) => memory.trim(blocks),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.trim(blocks),
        }
    }

    /// Makes the next blocks, whose update the tries have, a part of the chain. `changes`, in order, have the effect of all
    /// of them. The last `reverts` blocks can then be reverted.
    fn commit(&mut self, links: &[Link<'_>], changes: &[&StateChanges], reverts: usize) -> Result<(), DbError> {
        match self {
            Self::Memory(memory) => {
                memory.commit(links, changes, reverts);
                Ok(())
            }
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.commit(links, changes, reverts),
        }
    }

    fn revert(&mut self, parent: &Header) -> Result<(), DbError> {
        match self {
            Self::Memory(memory) => memory.revert(parent),
            #[cfg(feature = "disk")]
            Self::Disk(disk) => disk.revert(parent),
        }
    }
}

/// A block that was executed and is not committed.
#[derive(Debug)]
struct Executed {
    head: Head,
    #[cfg(feature = "disk")]
    block: Bytes,
    /// Whether SELFDESTRUCT removes storage in this block (before Cancun).
    #[cfg(feature = "disk")]
    clears_storage: bool,
}

/// A block that becomes the head, with what is kept of it.
#[derive(Debug)]
struct Link<'a> {
    head: &'a Head,
    /// The values before the block.
    before: &'a StateChanges,
    #[cfg(feature = "disk")]
    block: &'a Bytes,
    #[cfg(feature = "disk")]
    bal: &'a Bytes,
    #[cfg(feature = "disk")]
    existence_log: &'a ExistenceLog,
    /// Whether SELFDESTRUCT removes storage in this block (before Cancun).
    #[cfg(feature = "disk")]
    clears_storage: bool,
    /// Whether the state root after the block was compared with its header.
    #[cfg(feature = "disk")]
    has_root: bool,
}

/// A block as the log of a state on disk has it.
#[cfg(feature = "disk")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBlock {
    /// The block's RLP. Only its header, if it was applied without its body ([`ListedBlock::of_header`]).
    pub block: Bytes,
    /// RLP of its block access list (EIP-7928), which was recorded if the block had none.
    pub bal: Bytes,
    /// Account events of a block before Cancun that the list cannot express.
    pub existence_log: ExistenceLog,
}

/// The state at the head of a chain, in memory or (with the feature `disk`) on disk.
///
/// In memory, reverts need the values before each of the last 1,024 blocks: about 100 bytes for each account and 64 bytes for each
/// slot that a block changed ([`Self::with_window`]).
///
/// Methods that compute a state root work on the current rayon pool, as those of [`StateTries`] do; [`Self::execute`]
/// works on the executor's.
#[derive(Debug)]
pub struct StateDb {
    chain: Chain,
    state: State,
    /// The last executed block, if it is not committed. The tries then hold its update, uncommitted.
    executed: Option<Executed>,
}

impl Executed {
    /// The block of `input`, whose parent is `parent`.
    fn new(parent: &Head, input: &BlockInput<'_>) -> Result<Self, WireError> {
        Ok(Self {
            head: parent.after(&input.block)?,
            #[cfg(feature = "disk")]
            block: input.block.clone(),
            #[cfg(feature = "disk")]
            clears_storage: input.rules.fork < Fork::Cancun,
        })
    }

    /// The block with what is kept of its outcome.
    fn link<'a>(&'a self, outcome: &'a BlockOutcome) -> Link<'a> {
        Link {
            head: &self.head,
            before: &outcome.before,
            #[cfg(feature = "disk")]
            block: &self.block,
            #[cfg(feature = "disk")]
            bal: &outcome.bal,
            #[cfg(feature = "disk")]
            existence_log: &outcome.existence_log,
            #[cfg(feature = "disk")]
            clears_storage: self.clears_storage,
            #[cfg(feature = "disk")]
            has_root: outcome.state_root.is_some(),
        }
    }
}

impl StateDb {
    /// The state after the block with the header `head`. BLOCKHASH finds those of the head's ancestors that `state` has
    /// ([`MemoryStore::insert_block_hash`]), and all blocks from the head on.
    ///
    /// # Errors
    /// [`DbError::StateRoot`] if the state's root is not the header's; [`DbError::Tries`].
    pub fn in_memory(state: MemoryStore, head: Header) -> Result<Self, DbError> {
        let (number, expected) = (head.number, head.state_root);
        let mut db = Self::at_genesis(state, |_| head)?;
        match db.root() {
            found if found == expected => Ok(db),
            found => Err(DbError::StateRoot { number, expected, found }),
        }
    }

    /// The state of a genesis, whose header is made from the state root.
    ///
    /// # Errors
    /// [`DbError::Tries`].
    pub fn at_genesis(state: MemoryStore, header: impl FnOnce(B256) -> Header) -> Result<Self, DbError> {
        let tries = StateTries::from_memory(&state)?;
        let head = Head::of_header(header(tries.root()));
        let state = State::Memory(Box::new(Memory::new(state, tries, head.header.number, head.hash)));
        Ok(Self { chain: Chain::new(head, WINDOW), state, executed: None })
    }

    /// Creates a state on disk in the folder `path`, which must not exist or be empty. `fill` adds its accounts; `header`
    /// makes the header of its block from the state root; `hashes` are those of ancestors that BLOCKHASH returns, by
    /// number. `chain_id` (EIP-155) and `genesis`, the hash of the genesis block, are noted in the folder.
    ///
    /// # Errors
    /// [`DbError::StateRoot`] if the header has another state root; other [`DbError`]s. The folder of an interrupted
    /// creation is refused by [`Self::open`].
    #[cfg(feature = "disk")]
    pub fn create(
        path: &Path,
        options: DiskOptions,
        (chain_id, genesis): (u64, Option<B256>),
        hashes: impl IntoIterator<Item = (u64, B256)>,
        fill: impl FnOnce(&mut NewState<'_>) -> Result<(), DbError>,
        header: impl FnOnce(B256) -> Header,
    ) -> Result<Self, DbError> {
        let description = Description::new(options.pages, options.page_bytes, chain_id, genesis.unwrap_or_default())?;
        Self::in_store(Store::create(path, description, &options.files)?, options, hashes, fill, header)
    }

    /// [`Self::create`] in an empty store.
    ///
    /// # Errors
    /// [`DbError`].
    #[cfg(feature = "disk")]
    fn in_store(
        store: Store,
        options: DiskOptions,
        hashes: impl IntoIterator<Item = (u64, B256)>,
        fill: impl FnOnce(&mut NewState<'_>) -> Result<(), DbError>,
        header: impl FnOnce(B256) -> Header,
    ) -> Result<Self, DbError> {
        let (disk, header) = Disk::create(store, options, hashes.into_iter().collect(), fill, header)?;
        let chain = Chain::new(Head::of_header(header), WINDOW);
        Ok(Self { chain, state: State::Disk(Box::new(disk)), executed: None })
    }

    /// [`Self::create`] with the accounts, codes and block hashes of a store in memory, as the state after `head`.
    ///
    /// # Errors
    /// [`DbError::StateRoot`] if the state's root is not the header's; other [`DbError`]s.
    #[cfg(feature = "disk")]
    pub fn create_from(
        path: &Path,
        options: DiskOptions,
        ids: (u64, Option<B256>),
        state: &MemoryStore,
        head: Header,
    ) -> Result<Self, DbError> {
        let hashes = state.iter_block_hashes().map(|(number, hash)| (*number, *hash));
        Self::create(path, options, ids, hashes, |new| Ok(new.add(&StateChanges::from_memory(state))?), |_| head)
    }

    /// Opens the state on disk in the folder `path` as of the last commit that was acknowledged, whatever ended the
    /// process that wrote it.
    ///
    /// # Errors
    /// [`DbError`]: another process has opened it, it is damaged, or its creation was interrupted.
    #[cfg(feature = "disk")]
    pub fn open(path: &Path, options: DiskOptions) -> Result<(Self, Opened), DbError> {
        Self::of_store(Store::open(path, &options.files)?, options)
    }

    /// [`Self::create_from`] in an empty store, for instance on a simulated disk.
    ///
    /// # Errors
    /// [`DbError`].
    #[cfg(all(feature = "disk", feature = "internals"))]
    pub fn create_in(store: Store, options: DiskOptions, state: &MemoryStore, head: Header) -> Result<Self, DbError> {
        Self::in_store(store, options, [], |new| Ok(new.add(&StateChanges::from_memory(state))?), |_| head)
    }

    /// [`Self::open`] for a store that is open, for instance on a simulated disk.
    ///
    /// # Errors
    /// [`DbError`].
    #[cfg(all(feature = "disk", feature = "internals"))]
    pub fn open_in(store: (Store, LogOpened), options: DiskOptions) -> Result<(Self, Opened), DbError> {
        Self::of_store(store, options)
    }

    #[cfg(feature = "disk")]
    fn of_store(store: (Store, LogOpened), options: DiskOptions) -> Result<(Self, Opened), DbError> {
        let (disk, heads, opened) = Disk::open(store, options, WINDOW)?;
        let chain = Chain::of_heads(heads, WINDOW).ok_or_else(|| DbError::Record("no block".into()))?;
        Ok((Self { chain, state: State::Disk(Box::new(disk)), executed: None }, opened))
    }

    /// Writes all changes to the pages of a state on disk, so that opening it applies no block of the log. Drops a block
    /// that was executed and not committed. Does nothing for a state in memory.
    ///
    /// # Errors
    /// [`DbError`]. The state must then be opened again; no committed block is lost.
    #[cfg(feature = "disk")]
    pub fn checkpoint(&mut self) -> Result<(), DbError> {
        self.drop_executed();
        match &mut self.state {
            State::Memory(_) => Ok(()),
            State::Disk(disk) => disk.checkpoint(&self.chain.head),
        }
    }

    /// The state in pages; `None` for a state in memory.
    #[cfg(all(feature = "disk", feature = "internals"))]
    pub fn disk(&self) -> Option<&crate::disk::state::DiskState> {
        match &self.state {
            State::Memory(_) => None,
            State::Disk(disk) => Some(disk.state()),
        }
    }

    /// Root of the tries, an executed block included.
    fn root(&mut self) -> B256 {
        self.state.parts().1.root()
    }

    /// The same with the chain's fork schedule, which the rules for ommers need (before the merge).
    pub fn with_schedule(mut self, schedule: ChainConfig) -> Self {
        self.chain.schedule = Some(schedule);
        self
    }

    /// The same with the head and the blocks before it, newest first, which the rules for ommers need before the merge:
    /// [`ANCESTORS_NEEDED`](crate::chain::ANCESTORS_NEEDED) of them, or all down to the genesis. From here on they are
    /// kept. Default: the head alone.
    pub fn with_ancestors(mut self, ancestors: Vec<Ancestor>) -> Self {
        self.chain.head.ancestors = ancestors;
        self
    }

    /// The same with another number of last blocks that can be reverted.
    pub fn with_window(mut self, blocks: usize) -> Self {
        self.chain.set_window(blocks);
        self.state.trim(self.chain.reverts());
        self
    }

    /// Executes a block on the head. `input.parent` and, where the schedule is known, `input.ancestry` are replaced by
    /// those of the head. The head and the state do not change until [`Self::commit`]; the next call of a method that
    /// needs the head's tries drops the executed block.
    ///
    /// # Errors
    /// Those of [`Executor::execute`].
    pub fn execute(
        &mut self,
        executor: &mut Executor,
        input: &BlockInput<'_>,
        options: Options,
    ) -> Result<BlockOutcome, BlockError> {
        self.run(input, |input, store, tries| executor.execute(input, store, Some(tries), options))
    }

    /// [`Self::execute`] with any function in place of [`Executor::execute`]: it may wrap the store.
    ///
    /// # Errors
    /// Those of `run`, which leaves the tries unchanged then.
    #[cfg(feature = "internals")]
    pub fn execute_with(
        &mut self,
        input: &BlockInput<'_>,
        run: impl FnOnce(&BlockInput<'_>, &dyn StateStore, &mut StateTries) -> Result<BlockOutcome, BlockError>,
    ) -> Result<BlockOutcome, BlockError> {
        self.run(input, run)
    }

    fn run(
        &mut self,
        input: &BlockInput<'_>,
        run: impl FnOnce(&BlockInput<'_>, &dyn StateStore, &mut StateTries) -> Result<BlockOutcome, BlockError>,
    ) -> Result<BlockOutcome, BlockError> {
        self.drop_executed();
        let mut input = input.clone();
        input.parent = Some(&self.chain.head.header);
        input.ancestry = self.chain.ancestry().or(input.ancestry);
        let (store, tries) = self.state.parts();
        let outcome = run(&input, store, tries)?;
        let executed = Executed::new(&self.chain.head, &input).map_err(InvalidBlock::Wire);
        self.executed = Some(executed.inspect_err(|_| tries.rollback())?);
        Ok(outcome)
    }

    /// Executes consecutive blocks together and commits those that were proven; returns their outcomes. If there are
    /// fewer than blocks, the next one has to be executed alone.
    ///
    /// # Errors
    /// [`DbError`] if a block could not be committed.
    fn execute_window(
        &mut self,
        executor: &mut Executor,
        blocks: &[BlockInput<'_>],
        options: Options,
        roots: Roots,
    ) -> Result<Vec<BlockOutcome>, DbError> {
        self.drop_executed();
        let mut inputs = blocks.to_vec();
        if let Some(first) = inputs.first_mut() {
            first.parent = Some(&self.chain.head.header);
        }
        let mut executed: Vec<Executed> = Vec::with_capacity(inputs.len());
        for input in &inputs {
            let parent = executed.last().map_or(&self.chain.head, |before| &before.head);
            let Ok(block) = Executed::new(parent, input) else { break };
            executed.push(block);
        }
        let (store, tries) = self.state.parts();
        let outcomes = executor.execute_window(&inputs[..executed.len()], store, tries, options, roots);
        executed.truncate(outcomes.len());
        let links: Vec<Link<'_>> = executed.iter().zip(&outcomes).map(|(block, outcome)| block.link(outcome)).collect();
        let changes: Vec<&StateChanges> = outcomes.iter().map(|outcome| &outcome.changes).collect();
        let reverts = self.chain.reverts_after(links.len());
        executor.install(|| self.state.commit(&links, &changes, reverts))?;
        executed.into_iter().for_each(|block| self.chain.push(block.head));
        Ok(outcomes)
    }

    /// Makes the block that was executed last the head. Whether [`BlockOutcome::unchecked`] is empty is not asked.
    ///
    /// # Errors
    /// [`DbError::NotExecuted`] if `outcome` is not that of the last execution, or the executed block was dropped.
    pub fn commit(&mut self, outcome: &BlockOutcome) -> Result<(), DbError> {
        let executed = self.executed.take_if(|executed| executed.head.hash == outcome.hash);
        let executed = executed.ok_or(DbError::NotExecuted { given: outcome.hash })?;
        let links = [executed.link(outcome)];
        self.state.commit(&links, &[&outcome.changes], self.chain.reverts_after(1))?;
        self.chain.push(executed.head);
        Ok(())
    }

    /// Undoes all blocks above block `number`, newest first. The state root after each must be that of the header.
    ///
    /// # Errors
    /// [`DbError::AboveHead`], [`DbError::OutOfWindow`]. [`DbError::StateRoot`] and [`DbError::Tries`] mean that the
    /// state is damaged; the head is then the block that could not be undone.
    pub fn revert_to(&mut self, number: u64) -> Result<(), DbError> {
        self.drop_executed();
        let head = self.head().number;
        let blocks = head.checked_sub(number).ok_or(DbError::AboveHead { number, head })?;
        if blocks > self.chain.reverts() as u64 {
            return Err(DbError::OutOfWindow { number, oldest: self.oldest() });
        }
        while let Some(parent) = self.chain.parent().filter(|parent| parent.header.number >= number) {
            self.state.revert(&parent.header)?;
            self.chain.pop();
        }
        Ok(())
    }

    /// Number of the oldest block to which [`Self::revert_to`] can return.
    pub fn oldest(&self) -> u64 {
        self.head().number - self.chain.reverts() as u64
    }

    /// The block with this number from the log of a state on disk, which has those above [`Self::oldest`].
    ///
    /// # Errors
    /// [`DbError::AboveHead`]; [`DbError::OutOfWindow`] if the log has no longer the block, or the state is in memory;
    /// other [`DbError`]s if the log cannot be read.
    #[cfg(feature = "disk")]
    pub fn block(&self, number: u64) -> Result<LoggedBlock, DbError> {
        let head = self.head().number;
        let back = head.checked_sub(number).ok_or(DbError::AboveHead { number, head })?;
        let found = match &self.state {
            State::Memory(_) => None,
            State::Disk(disk) => disk.block(usize::try_from(back).unwrap_or(usize::MAX))?,
        };
        found.ok_or_else(|| DbError::OutOfWindow { number, oldest: self.oldest() })
    }

    /// The same at block `number`, without its files: commits change memory alone from now on, no block can be reverted, and
    /// the folder keeps the state that it has. The memory that the changes take is not bounded.
    ///
    /// # Errors
    /// Those of [`Self::revert_to`].
    #[cfg(feature = "disk")]
    pub fn detached(mut self, number: u64) -> Result<Self, DbError> {
        if let State::Disk(disk) = &mut self.state {
            disk.detach();
        }
        self.revert_to(number)?;
        Ok(self.with_window(0))
    }

    /// Header of the head.
    pub const fn head(&self) -> &Header {
        &self.chain.head.header
    }

    /// Hash of the head.
    pub const fn head_hash(&self) -> B256 {
        self.chain.head.hash
    }

    /// State root at the head.
    pub const fn state_root(&self) -> B256 {
        self.chain.head.header.state_root
    }

    /// The account at the head; one that does not exist has its default values.
    ///
    /// # Errors
    /// Those of the store: none in memory.
    pub fn account(&self, address: Address) -> Result<ParentAccount, StoreError> {
        let mut out = [ParentAccount::default()];
        self.store().accounts(&[address], &mut out)?;
        Ok(out[0])
    }

    /// The value of a slot at the head. `key` is that of SLOAD and SSTORE, not hashed.
    ///
    /// # Errors
    /// Those of the store: none in memory.
    pub fn slot(&self, address: Address, key: U256) -> Result<U256, StoreError> {
        let mut out = [U256::ZERO];
        self.store().slots(&[SlotQuery { address, key }], &mut out)?;
        Ok(out[0])
    }

    /// The code with this keccak256; `None` if no account ever had it.
    ///
    /// # Errors
    /// Those of the store: none in memory.
    pub fn code(&self, hash: B256) -> Result<Option<Bytes>, StoreError> {
        let mut out = [None];
        self.store().codes(&[hash], &mut out)?;
        let [code] = out;
        Ok(code)
    }

    /// A proof of an account at the head and of some of its slots (EIP-1186). Drops a block that was executed and not
    /// committed.
    ///
    /// # Errors
    /// Those of the store: none in memory.
    pub fn prove(&mut self, address: Address, keys: &[U256]) -> Result<AccountProof, StoreError> {
        self.drop_executed();
        let (store, tries) = self.state.parts();
        tries.prove(store, &address, keys)
    }

    /// The state at the head.
    pub fn store(&self) -> &dyn StateStore {
        self.state.store()
    }

    /// The state at the head, if all of it is in memory.
    #[cfg(feature = "internals")]
    pub fn memory(&self) -> Option<&MemoryStore> {
        match &self.state {
            State::Memory(memory) => Some(memory.store()),
            #[cfg(feature = "disk")]
            State::Disk(_) => None,
        }
    }

    /// The state and the tries at the head, for work that leaves the tries as they are ([`Executor::build`],
    /// [`StateTries::witness`]). Drops a block that was executed and not committed.
    #[cfg(feature = "internals")]
    pub fn parts(&mut self) -> (&dyn StateStore, &mut StateTries) {
        self.drop_executed();
        self.state.parts()
    }

    /// Returns the tries to the head's state.
    fn drop_executed(&mut self) {
        if self.executed.take().is_some() {
            self.state.rollback();
        }
    }
}
