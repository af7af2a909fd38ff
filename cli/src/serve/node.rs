//! The node: the state, the tree of known blocks, and the executor.
//!
//! In: blocks on known parents, a head. Out: verdicts; the state at any kept block.
//! There is one state, at the block that was executed last (its *position*). A block on another parent moves it there:
//! blocks are undone down to the common ancestor, and applied from their lists (before Cancun: executed) up to the
//! parent. A read at an older block undoes its descendants in the tries alone, and takes that back afterwards.
//! Not here: protocols (`engine`, `eth`), JSON.

use super::super::engine::{Accepted, Chain, Engine, Failure, List};
use super::super::report;
use super::super::slow_block::SlowBlock;
use super::call::{self, Call, TrieState};
use super::rpc::{RpcError, code};
use super::stats::{BlockStats, SharedStats};
use super::tree::{Changed, Invalid, Known, REORG_MAX, Results, Route, Tree};
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::store::{KECCAK_EMPTY, StateStore};
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade::executor::Roots;
use balustrade::trie::{AccountProof, StateTries};
use balustrade::{
    AccountStatus, ChainRules, DbError, Fork, ListedBlock, ParentAccount, SlotQuery, StateDb, StoreError, TrieError,
};
use serde_json::Value;
use std::sync::Arc;

/// Blocks of a store's log that are read when it is opened.
const LOGGED: u64 = 1_024;

/// Blocks that a state in memory can undo: the position may lie above the head.
const WINDOW: usize = 2 * REORG_MAX as usize;

/// How the execution of a block ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid.
    Valid,
    /// It is not, for this reason.
    Invalid(String),
}

/// The node.
#[derive(Debug)]
pub struct Node {
    engine: Engine,
    chain: Chain,
    /// The chain's fork schedule.
    pub config: ChainConfig,
    /// The known blocks.
    pub tree: Tree,
    /// The block that was executed by the last call, which is not complete in the tree.
    fresh: Option<(B256, Accepted)>,
    /// Figures for the status page.
    pub stats: SharedStats,
    /// Whether the cost of each block is printed.
    prints: bool,
}

/// The state at a block.
pub struct View<'a> {
    store: &'a dyn StateStore,
    tries: &'a mut StateTries,
}

impl View<'_> {
    /// An account; one that does not exist has its default values.
    ///
    /// # Errors
    /// The store failed.
    pub fn account(&self, address: Address) -> Result<ParentAccount, RpcError> {
        let mut out = [ParentAccount::default()];
        self.tries.accounts(self.store, &[address], &mut out).map_err(of_store)?;
        Ok(out[0])
    }

    /// A slot.
    ///
    /// # Errors
    /// The store failed.
    pub fn slot(&self, address: Address, key: U256) -> Result<U256, RpcError> {
        let mut out = [U256::ZERO];
        self.tries.slots(self.store, &[SlotQuery { address, key }], &mut out).map_err(of_store)?;
        Ok(out[0])
    }

    /// The codes with these hashes, each once, as far as they are known; those of accounts without code are left out.
    ///
    /// # Errors
    /// The store failed.
    pub fn codes(&self, mut hashes: Vec<B256>) -> Result<Vec<Bytes>, RpcError> {
        hashes.retain(|hash| *hash != KECCAK_EMPTY);
        hashes.sort_unstable();
        hashes.dedup();
        let mut out = vec![None; hashes.len()];
        self.store.codes(&hashes, &mut out).map_err(of_store)?;
        Ok(out.into_iter().flatten().collect())
    }

    /// Code of an account.
    ///
    /// # Errors
    /// The store failed.
    pub fn code(&self, address: Address) -> Result<Bytes, RpcError> {
        let hash = self.account(address)?.code_hash;
        Ok(self.codes(vec![hash])?.pop().unwrap_or_default())
    }

    /// A proof of an account and slots (EIP-1186).
    ///
    /// # Errors
    /// The store failed.
    pub fn prove(&self, address: Address, keys: &[U256]) -> Result<AccountProof, RpcError> {
        self.tries.prove(self.store, &address, keys).map_err(of_store)
    }

    /// The accounts of a list.
    ///
    /// # Errors
    /// The store failed.
    pub fn accounts(&self, addresses: &[Address]) -> Result<Vec<ParentAccount>, RpcError> {
        let mut out = vec![ParentAccount::default(); addresses.len()];
        self.tries.accounts(self.store, addresses, &mut out).map_err(of_store)?;
        Ok(out)
    }

    /// Runs a call in the environment of the block with this header.
    ///
    /// # Errors
    /// Those of [`call::run`].
    pub fn call(&self, call: &Call, rules: &ChainRules, header: &Header) -> Result<Value, RpcError> {
        call::run(call, rules, header, &TrieState { store: self.store, tries: self.tries })
    }

    /// The trie nodes that a block needs which reads these names and makes these changes.
    ///
    /// # Errors
    /// The store failed.
    pub fn witness(
        &mut self,
        addresses: &[Address],
        slots: &[SlotQuery],
        changed: &Changed,
    ) -> Result<Vec<Bytes>, RpcError> {
        self.tries.witness(self.store, addresses, slots, &changed.after).map_err(of_tries)
    }
}

fn of_store(error: StoreError) -> RpcError {
    RpcError::server(error.to_string())
}

fn of_tries(error: TrieError) -> RpcError {
    RpcError::server(error.to_string())
}

fn of_db(error: DbError) -> RpcError {
    RpcError::server(error.to_string())
}

/// The error for a block that is known no more, or whose state is.
pub fn pruned(what: &str) -> RpcError {
    RpcError::new(code::PRUNED, format!("Pruned history unavailable: {what}"))
}

impl Node {
    /// A node at the head of a state. With `prints`, the cost of each block is written to standard output.
    ///
    /// # Errors
    /// The log of the store cannot be read.
    pub fn new(mut engine: Engine, db: StateDb, config: ChainConfig, prints: bool) -> Result<Self, DbError> {
        engine.watch_hashes = true;
        let head = db.head().clone();
        let genesis = |header: &Header| assemble::<&[u8]>(header, &[]).into();
        let mut logged = Vec::new();
        // A state in memory has no log.
        if db.disk().is_some() {
            let first = (db.oldest() + 1).max(head.number.saturating_sub(LOGGED));
            for number in first..=head.number {
                let block = db.block(number)?;
                let Ok(header) = Header::of_block(&block.block) else { continue };
                let body = Block::decode(block.block.clone()).is_ok().then_some(block.block);
                logged.push(Known::new(header, body, Some(block.bal), None));
            }
        }
        let tree = if logged.is_empty() {
            let is_genesis = head.number == 0;
            let (block, list) = (is_genesis.then(|| genesis(&head)), is_genesis.then(|| Bytes::from_static(&[0xc0])));
            Tree::new(Known::new(head, block, list, None))
        } else {
            let mut logged = logged.into_iter();
            let mut tree = logged.next().map(Tree::new);
            for known in logged {
                if let Some(tree) = &mut tree {
                    let hash = known.hash;
                    tree.insert(known);
                    tree.set_head(hash);
                }
            }
            tree.unwrap_or_else(|| Tree::new(Known::new(head, None, None, None)))
        };
        // The window of a state on disk is that of its log.
        let db = if db.disk().is_some() { db } else { db.with_window(WINDOW) };
        let chain = Chain::of_db(db.with_schedule(config.clone()));
        let stats = SharedStats::default();
        let node = Self { engine, chain, config, tree, fresh: None, stats, prints };
        node.note_head();
        Ok(node)
    }

    /// The executor, at the end.
    pub fn into_engine(self) -> Engine {
        self.engine
    }

    /// Rules of a block with this number and time.
    pub fn rules(&self, number: u64, timestamp: u64) -> ChainRules {
        self.config.rules(number, timestamp)
    }

    /// The block at which the state is.
    pub fn position(&self) -> B256 {
        self.chain.head_hash()
    }

    fn db(&mut self) -> Result<&mut StateDb, RpcError> {
        self.chain.db().map_err(of_failure)
    }

    /// Completes the tree with the block that was executed last, and prints its cost. Called after the response was sent,
    /// and before the next call.
    pub fn settle(&mut self) {
        let Some((hash, accepted)) = self.fresh.take() else { return };
        if self.prints {
            report::json_line(&SlowBlock::new(&accepted, None, &self.chain, &self.engine));
        }
        let Some(known) = self.tree.get(&hash) else { return };
        self.stats.lock().push(BlockStats::of(&accepted, known.list.as_ref().map_or(0, |list| list.len())));
        let (header, block, list) = (known.header.clone(), known.block.clone(), known.list.clone());
        let Accepted { outcome, lowest_hash, .. } = accepted;
        let results =
            Results { receipts: outcome.receipts, transactions: outcome.transactions, logs: outcome.logs, lowest_hash };
        let changed = Changed { after: outcome.changes, before: outcome.before };
        self.tree.insert(Known::new(header, block, list, Some((results, changed))));
        let position = self.position();
        self.tree.prune(&position);
    }

    /// The way from the position to a block, if the state can be moved there.
    fn route(&self, to: &B256) -> Result<Route, RpcError> {
        self.tree.route(&self.position(), to).ok_or_else(|| pruned("the state of this block is not kept"))
    }

    /// Refuses a block that lies too far below the head.
    fn check_depth(&self, of: &B256) -> Result<(), RpcError> {
        let number = self.tree.get(of).map_or(0, |known| known.header.number);
        if number + REORG_MAX >= self.tree.head().header.number {
            return Ok(());
        }
        Err(pruned(&format!("states are kept of the head and {REORG_MAX} blocks below it")))
    }

    /// Moves the state to a known block.
    ///
    /// # Errors
    /// 4444: the way there is not kept; -32000: the state failed.
    pub fn move_to(&mut self, to: &B256) -> Result<(), RpcError> {
        if self.position() == *to {
            return Ok(());
        }
        let route = self.route(to)?;
        let number = route.ancestor.header.number;
        let lacks_list = |known: &Arc<Known>| known.block.is_none() || known.list.is_none();
        if route.redo.iter().any(lacks_list) {
            return Err(pruned("a block on the way is not kept"));
        }
        match self.db()?.revert_to(number) {
            Err(error @ DbError::OutOfWindow { .. }) => {
                return Err(RpcError::new(code::REORG, format!("Too deep reorg: {error}")));
            }
            reverted => reverted.map_err(of_db)?,
        }
        let mut listed = Vec::new();
        for known in &route.redo {
            let (Some(block), Some(list)) = (known.block.clone(), known.list.clone()) else { continue };
            let rules = self.rules(known.header.number, known.header.timestamp);
            if rules.fork >= Fork::Cancun {
                listed.push(ListedBlock { rules, block, bal: Some(list) });
                continue;
            }
            self.engine
                .execute_or_record(&mut self.chain, &rules, &block, List::default(), None, true)
                .map_err(of_failure)?;
        }
        if !listed.is_empty() {
            self.db()?.apply(&listed, Roots::Last).map_err(|error| RpcError::server(error.to_string()))?;
        }
        Ok(())
    }

    /// Executes a block whose parent is known; a valid one is added to the tree, and the state is then at it. After an
    /// invalid one the state is where it was.
    ///
    /// # Errors
    /// The environment failed, not the block.
    pub fn execute(&mut self, header: Header, block: Bytes, list: Option<Bytes>) -> Result<Verdict, RpcError> {
        self.settle();
        let hash = header.hash();
        let before = self.position();
        self.check_depth(&header.parent_hash)?;
        self.move_to(&header.parent_hash)?;
        let rules = self.config.rules_of(&header);
        let given = List::from(list.as_ref());
        match self.engine.execute_or_record(&mut self.chain, &rules, &block, given, None, true) {
            Ok(accepted) => {
                if let Some(unchecked) = accepted.outcome.unchecked.first() {
                    // The state has moved already; it must not stay at a block that is not proven.
                    self.move_back(&header, &before)?;
                    return Err(RpcError::server(format!("the block could not be checked: {unchecked}")));
                }
                let list = Some(accepted.outcome.bal.clone());
                self.tree.insert(Known::new(header, Some(block), list, None));
                self.fresh = Some((hash, accepted));
                Ok(Verdict::Valid)
            }
            Err(Failure::Invalid { what, classes }) => {
                let latest_valid = Some(self.latest_valid(&header.parent_hash));
                self.tree.insert_invalid(hash, Invalid { latest_valid, reason: what.clone(), classes });
                self.move_to(&before)?;
                Ok(Verdict::Invalid(what))
            }
            Err(failure) => {
                let error = of_failure(failure);
                self.move_to(&before)?;
                Err(error)
            }
        }
    }

    /// Undoes a block that is not in the tree.
    fn move_back(&mut self, header: &Header, before: &B256) -> Result<(), RpcError> {
        self.db()?.revert_to(header.number.saturating_sub(1)).map_err(of_db)?;
        self.move_to(before)
    }

    /// What is named as last valid ancestor where this block is it: zero for a block before the merge.
    pub fn latest_valid(&self, hash: &B256) -> B256 {
        let is_proof_of_work = self.tree.get(hash).is_some_and(|known| !known.header.difficulty.is_zero());
        // The genesis of a chain that starts after the merge may have a difficulty.
        let is_genesis = self.tree.get(hash).is_some_and(|known| known.header.number == 0);
        if is_proof_of_work && !is_genesis { B256::ZERO } else { *hash }
    }

    /// Makes a known block the head. The state follows.
    ///
    /// # Errors
    /// -38006: the reorganization is too deep.
    pub fn set_head(&mut self, hash: B256) -> Result<(), RpcError> {
        self.settle();
        let too_deep = |why: &str| RpcError::new(code::REORG, format!("Too deep reorg: {why}"));
        let head = self.tree.head().hash;
        let Some(route) = self.tree.route(&head, &hash) else {
            return Err(too_deep("the common ancestor is not kept"));
        };
        if route.undo.len() as u64 > REORG_MAX {
            return Err(too_deep(&format!("{} blocks, and {REORG_MAX} are kept", route.undo.len())));
        }
        // A descendant of the new head may already be executed: then nothing has to be undone.
        if !self.tree.is_ancestor(&hash, &self.position()) {
            self.move_to(&hash)?;
        }
        self.tree.set_head(hash);
        let position = self.position();
        self.tree.prune(&position);
        self.note_head();
        Ok(())
    }

    /// Makes the canonical block with this number the head, and forgets all blocks above it and on other branches.
    ///
    /// # Errors
    /// The block is not known, or its state is not kept.
    pub fn roll_back(&mut self, number: u64) -> Result<(), RpcError> {
        self.settle();
        let hash = self.tree.canonical(number).map(|known| known.hash);
        let hash = hash.ok_or_else(|| RpcError::server(format!("block {number} is not on the chain")))?;
        self.move_to(&hash)?;
        self.tree.set_head(hash);
        self.tree.keep_canonical();
        let gone = |hash: &B256, tree: &Tree| tree.get(hash).is_none();
        if self.tree.safe.is_some_and(|hash| gone(&hash, &self.tree)) {
            self.tree.safe = None;
        }
        if self.tree.finalized.is_some_and(|hash| gone(&hash, &self.tree)) {
            self.tree.finalized = None;
        }
        self.note_head();
        Ok(())
    }

    fn note_head(&self) {
        let head = self.tree.head();
        let mut stats = self.stats.lock();
        stats.head = (head.header.number, head.hash, head.header.timestamp);
        (stats.blocks_known, stats.bytes_known) = (self.tree.len(), self.tree.bytes());
        stats.invalid_known = self.tree.invalid_count();
    }

    /// Calls `run` with the state after a known block.
    ///
    /// # Errors
    /// 4444: the state is not kept; those of `run`.
    pub fn at<T>(
        &mut self,
        hash: &B256,
        run: impl FnOnce(&mut View<'_>) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.settle();
        self.check_depth(hash)?;
        let route = self.route(hash)?;
        // Storage that SELFDESTRUCT removed (before Cancun) is not in the values before a block.
        let can_undo = |known: &Arc<Known>| {
            known.changed.as_ref().is_some_and(|both| !both.before.statuses.contains(&AccountStatus::StorageCleared))
        };
        if route.redo.is_empty() && route.undo.iter().all(can_undo) {
            let (store, tries) = self.db()?.parts();
            let mut undone = Ok(());
            for known in &route.undo {
                let Some(changed) = &known.changed else { continue };
                undone = undone.and_then(|()| tries.update(&changed.before, store).map(drop));
            }
            let expected = route.ancestor.header.state_root;
            let result = match undone {
                Err(error) => Err(of_tries(error)),
                Ok(()) if tries.root() != expected => {
                    Err(RpcError::new(code::INTERNAL, "the state before a block does not have the root of its parent"))
                }
                Ok(()) => run(&mut View { store, tries }),
            };
            tries.rollback();
            return result;
        }
        let before = self.position();
        self.move_to(hash)?;
        let (store, tries) = self.db()?.parts();
        let result = run(&mut View { store, tries });
        self.move_to(&before)?;
        result
    }

    /// Calls `run` with the executor and the state moved to a known block, and moves it back afterwards.
    ///
    /// # Errors
    /// 4444: the state is not kept; those of `run`.
    pub fn on<T>(
        &mut self,
        hash: &B256,
        run: impl FnOnce(&mut Engine, &mut StateDb) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.settle();
        self.check_depth(hash)?;
        let before = self.position();
        self.move_to(hash)?;
        let result = match self.chain.db() {
            Ok(db) => run(&mut self.engine, db),
            Err(failure) => Err(of_failure(failure)),
        };
        self.move_to(&before)?;
        result
    }

    /// Calls `run` with the executor and the chain moved to a known block, and moves it back afterwards.
    ///
    /// # Errors
    /// 4444: the state is not kept; those of `run`.
    pub fn on_chain<T>(
        &mut self,
        hash: &B256,
        run: impl FnOnce(&mut Engine, &mut Chain) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.settle();
        self.check_depth(hash)?;
        let before = self.position();
        self.move_to(hash)?;
        let result = run(&mut self.engine, &mut self.chain);
        self.move_to(&before)?;
        result
    }

    /// Writes a state on disk, so that opening it applies no block of its log.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn close(&mut self) -> Result<(), RpcError> {
        self.settle();
        self.db()?.checkpoint().map_err(of_db)
    }
}

/// An error of the environment.
pub fn of_failure(failure: Failure) -> RpcError {
    RpcError::server(failure.to_string())
}
