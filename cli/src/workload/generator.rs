//! A family's transactions, block after block, each filled to the gas that was asked for and checked in all modes.
//!
//! In: a world and a family. Out: sealed blocks with what was proved about them. A block takes the longest row of
//! transactions that comes nearest to the gas; the rest of the row waits for the next block.
//! Relies on: a prefix of the row behaves in a block as the whole row did. Not here: files.

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

/// Gas limit of a block that is only built to see what its transactions use.
const UNLIMITED: u64 = 1 << 50;
/// Transactions of the first try.
const FIRST_TRY: usize = 16;
/// Bytes of a block's RLP besides its transactions, and around each of them.
const BLOCK_OVERHEAD: usize = 8_192;
const TX_OVERHEAD: usize = 5;

/// What kept a block from taking another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The gas asked for.
    Gas,
    /// The size of a block (EIP-7934).
    Bytes,
}

impl Bound {
    /// As tables and JSON write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gas => "gas",
            Self::Bytes => "bytes",
        }
    }
}

/// A block, and what all modes agreed on.
#[derive(Debug)]
pub struct Made {
    /// The sealed block.
    pub built: BuiltBlock,
    /// The proof.
    pub outcome: BlockOutcome,
    /// Who signed each transaction.
    pub senders: Vec<Address>,
    /// Accounts and slots that the list names.
    pub list_items: usize,
    /// What it is filled up to.
    pub bound: Bound,
}

impl Made {
    /// Transactions that were included and failed; none, as families are made.
    pub fn failed(&self) -> usize {
        self.outcome.transactions.iter().filter(|transaction| !transaction.success).count()
    }
}

/// The state of a chain and the transactions waiting for it.
pub struct Generator {
    /// The command that makes the same blocks.
    pub source: String,
    /// Where the chain stands.
    pub chain: Chain,
    /// The chain's rules.
    pub rules: ChainRules,
    engine: Engine,
    world: World,
    family: Box<dyn Family>,
    gas_limit: u64,
    encoded: Vec<Vec<u8>>,
    senders: Vec<Address>,
    blobs: Vec<u64>,
    /// Transactions of the last block.
    guess: usize,
}

impl Generator {
    /// At the genesis of a world to which the family has added its contracts.
    ///
    /// # Errors
    /// [`Failure::Host`]: no tries can be built.
    pub fn new(engine: Engine, mut world: World, family: Box<dyn Family>, source: String) -> Result<Self, Failure> {
        // Twice the gas asked for keeps the base fee where it is; room for the largest transaction beside the others.
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

    /// Builds the next block and executes it in every mode; the chain stays where it is.
    ///
    /// # Errors
    /// [`Failure`]: a transaction cannot stand in a block, or the modes disagree.
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
    /// As there.
    pub fn advance(&mut self, made: &Made) -> Result<(), WorkloadError> {
        let (block, list) = (&made.built.block, Some(&made.built.bal).into());
        self.engine.execute_or_record(&mut self.chain, &self.rules, block, list, Some(Mode::Bal), true)?;
        Ok(())
    }

    /// How many of the waiting transactions come nearest to the gas asked for; draws as many as it needs.
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
                    // The nearer of the two, and never an empty block.
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

    /// Draws transactions until `count` wait.
    fn draw(&mut self, count: usize) {
        while self.encoded.len() < count {
            let signed = self.family.next(&mut self.world);
            self.world.blobs_left -= signed.blobs.min(self.world.blobs_left);
            self.encoded.push(signed.encoded);
            self.senders.push(signed.sender);
            self.blobs.push(signed.blobs);
        }
    }

    /// How many of the waiting transactions fit into a block by their size.
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
