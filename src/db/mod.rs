//! [`StateDb`]: the state at the head of a chain, which blocks move forward and reverts move back.
//!
//! In: a state with its header, then blocks. Out: their outcomes; the state, its root and proofs at the head.
//!
//! A block is executed on the head and changes nothing; its outcome is committed afterwards. A commit keeps the values
//! before the block, so that the last blocks can be undone.
//! Relies on: `executor` to execute and check a block. `chain` has the head and its ancestors, `memory` the state.
//! Not here: which of several chains to follow, and the validity of the first head.

mod chain;
mod memory;

use crate::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::rules::chain::ChainConfig;
use crate::exec::rules::ommers::Ancestor;
use crate::exec::wire::Header;
use crate::executor::{BlockInput, BlockOutcome, Executor, Options};
use crate::trie::{AccountProof, StateTries, TrieError};
use alloy_primitives::{Address, B256, Bytes, U256};
use chain::{Chain, Head};
use memory::Memory;

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
}

/// The state at the head of a chain. The state and its tries are in memory.
///
/// Reverts need the values before each of the last 1,024 blocks: about 100 bytes for each account and 64 bytes for each
/// slot that a block changed ([`Self::with_window`]).
///
/// Methods that compute a state root work on the current rayon pool, as those of [`StateTries`] do; [`Self::execute`]
/// works on the executor's.
#[derive(Debug)]
pub struct StateDb {
    chain: Chain,
    state: Memory,
    /// The head that the commit of the last executed block would make. The tries then hold its update, uncommitted.
    executed: Option<Head>,
}

impl StateDb {
    /// The state after the block with the header `head`. BLOCKHASH finds those of the head's ancestors that `state` has
    /// ([`MemoryStore::insert_block_hash`]), and all blocks from the head on.
    ///
    /// # Errors
    /// [`DbError::StateRoot`] if the state's root is not the header's; [`DbError::Tries`].
    pub fn in_memory(state: MemoryStore, head: Header) -> Result<Self, DbError> {
        let (number, expected) = (head.number, head.state_root);
        let db = Self::at_genesis(state, |_| head)?;
        match db.state.root() {
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
        let state = Memory::new(state, tries, head.header.number, head.hash);
        Ok(Self { chain: Chain::new(head, WINDOW), state, executed: None })
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
        let head = self.chain.head.after(&input.block).map_err(InvalidBlock::Wire);
        self.executed = Some(head.inspect_err(|_| tries.rollback())?);
        Ok(outcome)
    }

    /// Makes the block that was executed last the head. Whether [`BlockOutcome::unchecked`] is empty is not asked.
    ///
    /// # Errors
    /// [`DbError::NotExecuted`] if `outcome` is not that of the last execution, or the executed block was dropped.
    pub fn commit(&mut self, outcome: &BlockOutcome) -> Result<(), DbError> {
        let head = self.executed.take_if(|head| head.hash == outcome.hash);
        let head = head.ok_or(DbError::NotExecuted { given: outcome.hash })?;
        self.chain.push(head);
        self.state.commit(outcome, self.chain.reverts());
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
            return Err(DbError::OutOfWindow { number, oldest: head - self.chain.reverts() as u64 });
        }
        while let Some(parent) = self.chain.parent().filter(|parent| parent.header.number >= number) {
            self.state.revert(&parent.header)?;
            self.chain.pop();
        }
        Ok(())
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
        Some(self.state.store())
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
