//! Draws a family's transactions and builds blocks of a requested amount of gas, which are verified
//! in all modes.
//!
//! In: a world and a family. Out: sealed blocks with their outcomes. A block takes the number of
//! transactions whose gas comes nearest to the requested gas; drawn transactions that are left wait
//! for the next block.
//! Relies on: the first transactions of a queue use the same gas in a block of their own as in a
//! block of the whole queue. Not here: files.

use super::super::devnet::Devnet;
use super::super::engine::{Chain, Engine, Failure};
use super::world::World;
use super::{Family, WorkloadError};
use alloy_primitives::Address;
use balustrade::bal::{self, Limits};
use balustrade::exec::rules::fork::ChainRules;
use balustrade::exec::wire::Header;
use balustrade::executor::{Body, BuiltBlock};
use balustrade::{BlockOutcome, Mode};

/// Gas limit of a block that is built only to measure the gas of its transactions.
const UNLIMITED: u64 = 1 << 50;
/// Number of transactions in the first trial block.
const FIRST_TRY: usize = 16;
/// Upper bounds in bytes of a block's RLP without its transactions, and of the RLP header of each
/// transaction.
const BLOCK_OVERHEAD: usize = 8_192;
const TX_OVERHEAD: usize = 5;

/// The limit that kept a block from taking another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The requested gas.
    Gas,
    /// The maximal size of a block (EIP-7934).
    Bytes,
}

impl Bound {
    /// The name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gas => "gas",
            Self::Bytes => "bytes",
        }
    }
}

/// A block and the outcome on which all modes agree.
#[derive(Debug)]
pub struct Made {
    /// The sealed block.
    pub built: BuiltBlock,
    /// The outcome of the execution.
    pub outcome: BlockOutcome,
    /// The sender of each transaction.
    pub senders: Vec<Address>,
    /// Number of accounts and slots in the block access list.
    pub list_items: usize,
    /// The limit to which the block is filled.
    pub bound: Bound,
}

impl Made {
    /// Number of included transactions that failed; families are designed so that none does.
    pub fn failed(&self) -> usize {
        self.outcome.transactions.iter().filter(|transaction| !transaction.success).count()
    }
}

/// The state of a chain and the drawn transactions that no block contains yet.
pub struct Generator {
    /// The command line that generates the same blocks.
    pub source: String,
    /// The chain, whose head is the last block made.
    pub chain: Chain,
    /// The rules of the chain.
    pub rules: ChainRules,
    engine: Engine,
    world: World,
    family: Box<dyn Family>,
    gas_limit: u64,
    encoded: Vec<Vec<u8>>,
    senders: Vec<Address>,
    blobs: Vec<u64>,
    /// Number of transactions to try first: a little more than those of the last block.
    guess: usize,
}

impl Generator {
    /// Creates a generator at the genesis of a world to which the family has added its contracts.
    ///
    /// # Errors
    /// [`Failure::Host`]: the tries cannot be built.
    pub fn new(engine: Engine, mut world: World, family: Box<dyn Family>, source: String) -> Result<Self, Failure> {
        // A gas limit of twice the requested gas keeps the base fee constant (EIP-1559). The second
        // bound leaves space for the largest transaction.
        let gas_limit = (2 * world.gas).max(world.gas + 2 * world.tx_gas_max);
        let state = core::mem::take(&mut world.store);
        let chain = Chain::at_genesis(state, |root| Header { gas_limit, ..Devnet::genesis_header(root) })?;
        Ok(Self {
            source,
            chain,
            rules: Devnet::rules(),
            engine,
            world,
            family,
            gas_limit,
            encoded: Vec::new(),
            senders: Vec::new(),
            blobs: Vec::new(),
            guess: FIRST_TRY,
        })
    }

    /// Builds the next block and executes it in every mode; the chain's head does not change.
    ///
    /// # Errors
    /// [`Failure`]: a transaction is not valid in the block, or the modes disagree.
    pub fn next_block(&mut self) -> Result<Made, WorkloadError> {
        let parent = self.chain.head().cloned().unwrap_or_default();
        let template = Header { gas_limit: self.gas_limit, ..Devnet::template(&parent) };
        let withdrawals = self.family.withdrawals(template.number);
        self.world.blobs_left = self.rules.blob_schedule.max.saturating_sub(self.blobs.iter().sum());
        let (count, bound) = self.fill(&template, &withdrawals)?;
        self.guess = count + count / 50 + 1;
        let body = Body { transactions: &self.encoded[..count], withdrawals: &withdrawals };
        let built = self.engine.build(&mut self.chain, &self.rules, &template, body)?;
        let mut run = |mode| {
            let list = Some(&built.bal).into();
            self.engine.execute_or_record(&mut self.chain, &self.rules, &built.block, list, Some(mode), false)
        };
        let sequential = run(Mode::Sequential)?;
        for mode in [Mode::Optimistic, Mode::Bal] {
            if let Some(what) = sequential.difference(&run(mode)?) {
                return Err(Failure::Invalid { what, classes: Vec::new() }.into());
            }
        }
        let items = bal::decode(&built.bal, &Limits::format_only()).map_or(0, |columns| columns.item_count());
        let senders = self.senders.drain(..count).collect();
        self.encoded.drain(..count);
        self.blobs.drain(..count);
        Ok(Made { built, outcome: sequential.outcome, senders, list_items: items, bound })
    }

    /// Makes a block of [`Self::next_block`] the head.
    ///
    /// # Errors
    /// [`Failure`]: the block is not valid on the current head.
    pub fn advance(&mut self, made: &Made) -> Result<(), WorkloadError> {
        let (block, list) = (&made.built.block, Some(&made.built.bal).into());
        self.engine.execute_or_record(&mut self.chain, &self.rules, block, list, Some(Mode::Bal), true)?;
        Ok(())
    }

    /// Returns the number of drawn transactions whose gas comes nearest to the requested gas, and
    /// draws as many as it needs.
    fn fill(&mut self, template: &Header, withdrawals: &[Vec<u8>]) -> Result<(usize, Bound), WorkloadError> {
        let target = self.world.gas;
        let unlimited = Header { gas_limit: UNLIMITED, ..template.clone() };
        let mut count = self.guess;
        loop {
            self.draw(count);
            let fitting = self.fitting_bytes();
            let count_now = count.min(fitting);
            let body = Body { transactions: &self.encoded[..count_now], withdrawals };
            let built = self.engine.build(&mut self.chain, &self.rules, &unlimited, body)?;
            let (mut execution, mut state, mut before) = (0, 0, 0);
            for (index, outcome) in built.transactions.iter().enumerate() {
                execution += outcome.gas_execution;
                state += outcome.gas_state;
                let used = u64::max(execution, state);
                if used >= target {
                    // Take the nearer of the two candidates, but never make an empty block.
                    let without = target - before < used - target && index > 0;
                    return Ok((if without { index } else { index + 1 }, Bound::Gas));
                }
                before = used;
            }
            if fitting < count {
                return Ok((fitting, Bound::Bytes));
            }
            let needed = count as u128 * u128::from(target) / u128::from(before.max(1));
            count = (needed as usize + needed as usize / 50 + 2).clamp(count + 1, 64 * count);
        }
    }

    /// Draws transactions until `count` are waiting.
    fn draw(&mut self, count: usize) {
        while self.encoded.len() < count {
            let signed = self.family.next(&mut self.world);
            self.world.blobs_left -= signed.blobs.min(self.world.blobs_left);
            self.encoded.push(signed.encoded);
            self.senders.push(signed.sender);
            self.blobs.push(signed.blobs);
        }
    }

    /// Number of waiting transactions that fit into a block by its maximal size.
    fn fitting_bytes(&self) -> usize {
        let mut left = self.rules.fork_rules().block_size_max.saturating_sub(BLOCK_OVERHEAD);
        self.encoded
            .iter()
            .take_while(|encoded| {
                let size = encoded.len() + TX_OVERHEAD;
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .count()
    }
}
