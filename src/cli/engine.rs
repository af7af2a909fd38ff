//! The one place where commands meet the library's executor.
//!
//! In: a chain's head state, a block's bytes, a mode. Out: what the executor proved, or why it refused.
//! Not here: what a test or a user expects.

use super::ModeArg;
use super::input::{BlockTest, Bundle, FixtureBlock};
use alloy_primitives::{B256, Bytes};
use balustrade::arena::store::{MemoryStore, WitnessStore};
use balustrade::exec::fork::ChainRules;
use balustrade::exec::wire::{Block, Header};

/// How one block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In parallel from its list.
    Bal,
    /// One transaction after another, recording the list.
    Sequential,
}

impl Mode {
    /// As `--mode` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bal => "bal",
            Self::Sequential => "sequential",
        }
    }
}

/// What the executor proved about a block.
#[derive(Clone, Debug)]
pub struct Executed {
    /// How it ran.
    pub mode: Mode,
    /// Block hash.
    pub hash: B256,
    /// Height.
    pub number: u64,
    /// Transactions.
    pub transactions: usize,
    /// The header's gas used.
    pub gas_used: u64,
    /// Block gas, execution and state.
    pub gas_dimensions: (u64, u64),
    /// Receipts in their EIP-2718 encoding.
    pub receipts: Vec<Bytes>,
    /// RLP of the list: given, or recorded.
    pub bal: Bytes,
    /// State root after the block; `None` where no trie is at hand.
    pub state_root: Option<B256>,
    /// Checks that could not be made, each with its reason.
    pub unchecked: Vec<&'static str>,
    /// When each stage ran, on the clock that starts with the raw bytes.
    pub stages: Vec<Stage>,
    /// Nanoseconds from the raw bytes to the last check.
    pub elapsed_ns: u64,
}

/// One stage's run on the block's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stage {
    /// decode, read, recover, execute, verify or root.
    pub stage: &'static str,
    /// Which thread, for stages that run on several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// Nanoseconds.
    pub start_ns: u64,
    /// Nanoseconds.
    pub end_ns: u64,
}

/// Why there is no [`Executed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The block or its list is invalid.
    #[error("{what}")]
    Invalid {
        /// The located error.
        what: String,
        /// Exception names of the execution-spec tests that describe it.
        classes: Vec<&'static str>,
    },
    /// The host is at fault: a store, the pool, an unsupported fork.
    #[error("{0}")]
    Host(String),
}

impl Executed {
    /// In what two executions of one block differ, if they do.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let differs = |what: &str| Some(format!("{} and {} differ in {what}", self.mode.name(), other.mode.name()));
        if self.receipts != other.receipts {
            return differs("receipts");
        }
        if self.bal != other.bal {
            return differs("the block access list");
        }
        if self.gas_dimensions != other.gas_dimensions {
            return differs("block gas");
        }
        if self.state_root != other.state_root { differs("the state root") } else { None }
    }
}

/// The state at the head of a chain, and what a block needs of its ancestors.
#[derive(Debug)]
pub struct Chain {
    head: Option<Header>,
    head_hash: B256,
}

impl Chain {
    /// At the genesis of a test. Its header must hold the root of the pre-state.
    pub fn of_test(test: &BlockTest) -> Result<Self, Failure> {
        let genesis = Block::decode(test.genesis.clone()).map_err(|error| Failure::Host(error.to_string()))?;
        Ok(Self { head_hash: genesis.header_hash, head: Some(genesis.header) })
    }

    /// At the parent of a bundle's block.
    pub fn of_bundle(bundle: &Bundle) -> Result<Self, Failure> {
        let parent = bundle.parent_header.as_ref().map(|rlp| Header::decode(rlp)).transpose();
        let parent = parent.map_err(|error| Failure::Host(format!("the parent's header: {error}")))?;
        Ok(Self { head_hash: parent.as_ref().map_or(B256::ZERO, Header::hash), head: parent })
    }

    /// Hash of the last block kept, or of the genesis.
    pub const fn head_hash(&self) -> B256 {
        self.head_hash
    }

    /// The rules of a test's block: its own header's number and time decide; where it has none that can be read, those
    /// of the block after the head.
    pub fn rules_of(&self, test: &BlockTest, block: &FixtureBlock) -> Option<ChainRules> {
        let network = test.network.as_ref()?;
        let (number, timestamp) = match (Header::of_block(&block.rlp), &self.head) {
            (Ok(header), _) => (header.number, header.timestamp),
            (Err(_), Some(head)) => (head.number.saturating_add(1), head.timestamp.saturating_add(1)),
            (Err(_), None) => (0, 0),
        };
        Some(network.rules(number, timestamp))
    }
}

/// An executor with its threads, arenas and analysed codes, kept across blocks.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// An engine with this many threads for a block; one per processor where not given.
    pub fn new(threads: Option<u16>) -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Executes a block on the chain's head. Without a mode its list decides: `bal` with one, else `sequential`. In
    /// `bal` mode a block without a list gets one recorded first, off the clock. The head moves if the block is valid
    /// and `keep` is set.
    ///
    /// # Errors
    /// [`Failure`]; the chain is then as before.
    pub fn execute_or_record(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        bal: Option<&Bytes>,
        mode: Option<Mode>,
        keep: bool,
    ) -> Result<Executed, Failure> {
        let mode = mode.unwrap_or(if bal.is_some() { Mode::Bal } else { Mode::Sequential });
        if mode == Mode::Bal && bal.is_none() {
            let recorded = self.execute(chain, rules, block, None, Mode::Sequential, false)?;
            return self.execute(chain, rules, block, Some(&recorded.bal), mode, keep);
        }
        self.execute(chain, rules, block, bal, mode, keep)
    }

    /// Executes once. A list given to sequential mode must be the one that it records.
    fn execute(
        &mut self,
        chain: &mut Chain,
        rules: &ChainRules,
        block: &Bytes,
        bal: Option<&Bytes>,
        mode: Mode,
        keep: bool,
    ) -> Result<Executed, Failure> {
        Err(Failure::Host("none".into()))
    }
}

/// The executions that `--mode` asks for; `None` leaves the choice to [`Engine::execute_or_record`].
pub const fn modes(mode: Option<ModeArg>) -> &'static [Option<Mode>] {
    match mode {
        None => &[None],
        Some(ModeArg::Bal) => &[Some(Mode::Bal)],
        Some(ModeArg::Sequential) => &[Some(Mode::Sequential)],
        Some(ModeArg::All) => &[Some(Mode::Sequential), Some(Mode::Bal)],
    }
}
