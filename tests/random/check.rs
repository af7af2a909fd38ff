//! Executes one block in all modes on 1, 2, 3 and 8 threads, and in the other dispatch loops, and compares the results.

use super::block::RandomBlock;
use alloy_primitives::Bytes;
use balustrade::bal::ExistenceLog;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::Fork;
use balustrade::{BlockInput, BlockOutcome, Executor, Mode, Options};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

const THREADS: [usize; 4] = [1, 2, 3, 8];
const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];

/// Two executions of a block that differ, or one that refuses it.
#[derive(Debug)]
pub struct Difference {
    pub way: String,
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.way, self.what)
    }
}

/// Counts over the blocks that were executed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub blocks: u64,
    pub executions: u64,
    pub transactions: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Generated transactions that the builder left out.
    pub dropped: u64,
    /// Transactions by EIP-2718 type.
    pub by_type: [u64; 5],
    pub by_fork: BTreeMap<Fork, u64>,
    pub gas: u64,
    pub requests: u64,
    pub creations: u64,
    pub logs: u64,
    /// Slots with another value after the block.
    pub slots: u64,
    pub list_bytes: u64,
}

impl Tally {
    /// Adds the counts of another tally.
    pub fn merge(&mut self, other: &Self) {
        let Self { blocks, executions, transactions, failed, dropped, by_type, by_fork, gas, requests, .. } = self;
        *blocks += other.blocks;
        *executions += other.executions;
        *transactions += other.transactions;
        *failed += other.failed;
        *dropped += other.dropped;
        by_type.iter_mut().zip(other.by_type).for_each(|(own, count)| *own += count);
        other.by_fork.iter().for_each(|(fork, count)| *by_fork.entry(*fork).or_default() += count);
        *gas += other.gas;
        *requests += other.requests;
        self.creations += other.creations;
        self.logs += other.logs;
        self.slots += other.slots;
        self.list_bytes += other.list_bytes;
    }

    fn add(&mut self, block: &RandomBlock, outcome: &BlockOutcome) {
        self.blocks += 1;
        self.transactions += outcome.transactions.len() as u64;
        self.failed += outcome.transactions.iter().filter(|tx| !tx.success).count() as u64;
        self.dropped += block.dropped as u64;
        block.types.iter().for_each(|tx_type| self.by_type[usize::from(*tx_type)] += 1);
        *self.by_fork.entry(block.rules.fork).or_default() += 1;
        self.gas += outcome.gas_used;
        // All requests of one type form one byte string: the type byte, then their data (EIP-7685).
        self.requests += outcome.requests.iter().filter(|request| request.len() > 1).count() as u64;
        self.creations += outcome.transactions.iter().filter(|tx| tx.created.is_some()).count() as u64;
        self.logs += outcome.transactions.iter().map(|tx| tx.logs.len() as u64).sum::<u64>();
        self.slots += outcome.changes.slot_keys.len() as u64;
        self.list_bytes += outcome.bal.len() as u64;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forks: Vec<String> = self.by_fork.iter().map(|(fork, count)| format!("{} {count}", fork.name())).collect();
        let types = self.by_type.map(|count| count.to_string()).join(" ");
        write!(
            out,
            "{} blocks ({}), {} executions, {} transactions (types 0 to 4: {types}; {} failed, {} creations, {} taken \
             out), {} gas, {} logs, {} slots changed, {} kinds of requests, {} list bytes",
            self.blocks,
            forks.join(", "),
            self.executions,
            self.transactions,
            self.failed,
            self.creations,
            self.dropped,
            self.gas,
            self.logs,
            self.slots,
            self.requests,
            self.list_bytes,
        )
    }
}

/// Executes blocks in every combination; keeps the executors between blocks.
#[derive(Debug)]
pub struct Checker {
    executors: Vec<Executor>,
    pub tally: Tally,
}

impl Checker {
    /// Executors with 1, 2, 3 and 8 threads.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new() -> Result<Self, String> {
        let executors = THREADS.map(|threads| Executor::new(threads).map_err(|error| error.to_string()));
        Ok(Self { executors: executors.into_iter().collect::<Result<_, _>>()?, tally: Tally::default() })
    }

    /// Executes a block in every mode with every number of threads by the default loop, and by each other loop in one
    /// mode and with one number of threads, which the seed chooses. All must accept it, with all checks made, and with
    /// the same receipts, outcomes, requests, list, existence log, changes, gas and root.
    ///
    /// # Errors
    /// The first execution that refuses the block or differs from the first one.
    pub fn check(&mut self, block: &mut RandomBlock) -> Result<(), Box<Difference>> {
        let default = LoopKind::default();
        let ways = MODES.into_iter().flat_map(|mode| (0..THREADS.len()).map(move |pool| (mode, pool, default)));
        let others = LoopKind::ALL.into_iter().filter(|kind| *kind != default).enumerate().map(|(row, kind)| {
            let turn = block.seed as usize + row;
            (MODES[turn % MODES.len()], turn / MODES.len() % THREADS.len(), kind)
        });
        let ways: Vec<_> = ways.chain(others).collect();
        let mut first: Option<BlockOutcome> = None;
        for (mode, pool, kind) in ways {
            let way = || format!("{} with {} threads, loop {}", mode.name(), THREADS[pool], kind.name());
            let differs = |what: String| Box::new(Difference { way: way(), what });
            let given = match (&first, mode) {
                (Some(first), Mode::Bal) => Some((first.bal.clone(), &first.existence_log)),
                _ => None,
            };
            let options = Options::new(mode).with_loop(kind);
            let outcome = execute(&mut self.executors[pool], block, given, options).map_err(differs)?;
            self.tally.executions += 1;
            match &first {
                None => {
                    if outcome.bal != block.built.bal {
                        return Err(differs("another list than the builder's".to_owned()));
                    }
                    self.tally.add(block, &outcome);
                    first = Some(outcome);
                }
                Some(first) => difference(first, &outcome).map_or(Ok(()), |what| Err(differs(what.to_owned())))?,
            }
        }
        Ok(())
    }
}

/// Executes the block and rolls its tries back.
fn execute(
    executor: &mut Executor,
    block: &mut RandomBlock,
    given: Option<(Bytes, &ExistenceLog)>,
    options: Options,
) -> Result<BlockOutcome, String> {
    let RandomBlock { rules, parent, store, tries, built, .. } = block;
    let mut input = BlockInput::new(rules, built.block.clone()).with_parent(parent);
    if let Some((bal, existence_log)) = given {
        input = input.with_list(bal);
        input.existence_log = (rules.fork < Fork::Cancun).then_some(existence_log);
    }
    let result = catch_unwind(AssertUnwindSafe(|| executor.execute(&input, store, Some(tries), options)));
    tries.rollback();
    let outcome = match result {
        Ok(result) => result.map_err(|error| error.to_string())?,
        Err(_) => {
            let threads = executor.threads();
            *executor = Executor::new(threads).map_err(|error| error.to_string())?;
            return Err("a panic".to_owned());
        }
    };
    // Ethash seals are never verified; every other check must have been made.
    let seal_only = rules.fork < Fork::Paris;
    let unchecked = outcome.unchecked.iter().filter(|one| !(seal_only && one.check.name() == "seal"));
    match unchecked.map(|one| one.check.name()).next() {
        Some(name) => Err(format!("unchecked: {name}")),
        None => Ok(outcome),
    }
}

/// Name of the first part in which two outcomes differ.
fn difference(first: &BlockOutcome, other: &BlockOutcome) -> Option<&'static str> {
    let transactions = |outcome: &BlockOutcome| -> Vec<_> {
        let row = |tx: &balustrade::exec::tx::TxOutcome| {
            (tx.success, tx.gas_paid, tx.gas_execution, tx.gas_state, tx.logs.len(), tx.created)
        };
        outcome.transactions.iter().map(row).collect()
    };
    let parts = [
        ("hash", first.hash == other.hash),
        ("receipts", first.receipts.iter().eq(other.receipts.iter())),
        ("outcomes of transactions", transactions(first) == transactions(other)),
        ("requests", first.requests == other.requests),
        ("gas", first.gas == other.gas && first.gas_used == other.gas_used),
        ("list", first.bal == other.bal),
        ("existence_log", first.existence_log == other.existence_log),
        ("changes", first.changes == other.changes),
        ("state root", first.state_root == other.state_root),
        ("what was not checked", first.unchecked == other.unchecked),
    ];
    parts.into_iter().find(|(_, equal)| !equal).map(|(name, _)| name)
}
