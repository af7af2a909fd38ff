//! Drawing and sealing a block.

use super::devnet::Random;
use super::devnet::transactions::{CHAIN_ID, Signer, withdrawal};
use super::transactions::{Drafter, Unsigned};
use super::world::{SIGNERS, World};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::TxIndex;
use balustrade::arena::store::{EMPTY_ROOT, MemoryStore};
use balustrade::bal::bal_hash;
use balustrade::exec::block::verify::requests_hash;
use balustrade::exec::rules::fork::{ChainRules, Fork, GAS_PER_BLOB};
use balustrade::exec::rules::header::{EMPTY_OMMERS_HASH, next_base_fee, next_difficulty, next_excess_blob_gas};
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade::executor::{Body, BuiltBlock};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, BlockOutcome, Executor, InvalidBlock, Mode, Options};

/// The forks of the generated blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forks {
    /// Three of four blocks follow Amsterdam, the others any fork since Byzantium. (Receipts before Byzantium have
    /// state roots, which [`Executor::build`] does not fill in.)
    All,
    /// Amsterdam alone.
    Amsterdam,
}

/// A sealed block on its parent state.
#[derive(Debug)]
pub struct RandomBlock {
    pub seed: u64,
    pub rules: ChainRules,
    pub parent: Header,
    pub store: MemoryStore,
    /// The tries of `store`, at the root that `parent` names.
    pub tries: StateTries,
    /// Block hashes that BLOCKHASH can read, by number.
    pub block_hashes: Vec<(u64, B256)>,
    pub built: BuiltBlock,
    /// Type of each transaction (EIP-2718).
    pub types: Vec<u8>,
    /// Number of generated transactions that are invalid in the block and were left out.
    pub dropped: usize,
}

/// A block that could not be sealed.
#[derive(Debug)]
pub struct Unbuildable {
    pub seed: u64,
    pub error: String,
}

impl Unbuildable {
    fn new(seed: u64, error: impl std::fmt::Display) -> Self {
        Self { seed, error: error.to_string() }
    }
}

impl RandomBlock {
    /// Executes the block on its parent state. Before Byzantium, receipts contain state roots, which
    /// [`Executor::build`] does not compute: then puts the receipts root into the header first.
    pub fn finish(&mut self, executor: &mut Executor) -> Result<BlockOutcome, BlockError> {
        let result = self.execute(executor);
        let produced = match &result {
            Err(BlockError::Invalid(invalid)) => match **invalid {
                InvalidBlock::ReceiptsRoot { produced, .. } if self.rules.fork < Fork::Byzantium => produced,
                _ => return result,
            },
            _ => return result,
        };
        self.built.header.receipts_root = produced;
        let transactions = Block::decode(self.built.block.clone())
            .map_err(|error| BlockError::from(InvalidBlock::Wire(error)))?
            .transactions;
        let encoded: Vec<&[u8]> =
            (0..transactions.len()).map(|index| transactions.encoded(TxIndex(index as u32))).collect();
        self.built.block = assemble(&self.built.header, &encoded).into();
        self.execute(executor)
    }

    /// Executes the block on its parent state in sequential mode.
    pub fn execute(&mut self, executor: &mut Executor) -> Result<BlockOutcome, BlockError> {
        let input = BlockInput::new(&self.rules, self.built.block.clone()).with_parent(&self.parent);
        let result = executor.execute(&input, &self.store, Some(&mut self.tries), Options::new(Mode::Sequential));
        self.tries.rollback();
        result
    }
}

/// The rules of a fork on the generated chains.
fn rules_of(fork: Fork) -> ChainRules {
    ChainRules { chain_id: CHAIN_ID, ..ChainRules::mainnet(fork) }
}

/// What a block is drawn on, besides the state.
struct Before {
    seed: u64,
    rules: ChainRules,
    parent: Header,
    /// Block hashes that BLOCKHASH can read.
    block_hashes: Vec<(u64, B256)>,
    /// The tries of the state.
    tries: StateTries,
}

/// Generates blocks; keeps keys and threads between blocks.
#[derive(Debug)]
pub struct Generator {
    signers: Vec<Signer>,
    executor: Executor,
    forks: Forks,
}

/// After this many failed attempts to seal a block, all transactions from the first invalid one on are left out.
const ATTEMPTS: usize = 12;

impl Generator {
    /// A generator whose builder uses one thread.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn new(forks: Forks) -> Result<Self, String> {
        let signers: Vec<Signer> = (0..SIGNERS as u64).filter_map(Signer::new).collect();
        debug_assert_eq!(signers.len(), SIGNERS);
        let executor = Executor::new(1).map_err(|error| error.to_string())?;
        Ok(Self { signers, executor, forks })
    }

    /// The block of this seed.
    ///
    /// # Errors
    /// When the builder refuses the block for another reason than a transaction.
    pub fn block(&mut self, seed: u64) -> Result<RandomBlock, Unbuildable> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xba1a_57ad);
        let fork = match self.forks {
            Forks::All if random.below(4) == 0 => Fork::ALL[4 + random.below(12) as usize],
            _ => Fork::Amsterdam,
        };
        let rules = rules_of(fork);
        let mut world = World::draw(&mut random, &rules, &self.signers);
        let tries = StateTries::from_memory(&world.store).map_err(|error| Unbuildable::new(seed, error))?;
        let parent = draw_parent(&mut random, &rules, tries.root());
        let block_hashes = ancestors(&parent);
        self.next(&mut random, Before { seed, rules, parent, block_hashes, tries }, &mut world)
    }

    /// A chain of blocks of one fork, from Spurious Dragon on, on a genesis with a random state. A block's parent state
    /// is the state after the block before it.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn chain(&mut self, fork: Fork, seed: u64, count: usize) -> Result<Vec<RandomBlock>, Unbuildable> {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xc4a1_57ad);
        let rules = rules_of(fork);
        let mut world = World::draw(&mut random, &rules, &self.signers);
        let mut parent = Header { number: 0, ..draw_parent(&mut random, &rules, B256::ZERO) };
        parent.slot_number = parent.slot_number.map(|_| 0);
        let (mut blocks, mut block_hashes): (Vec<RandomBlock>, Vec<_>) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let tries = StateTries::from_memory(&world.store).map_err(|error| Unbuildable::new(seed, error))?;
            if blocks.is_empty() {
                parent.state_root = tries.root();
            }
            block_hashes.push((parent.number, parent.hash()));
            let before = Before { seed, rules, parent, block_hashes: block_hashes.clone(), tries };
            let mut block = self.next(&mut random, before, &mut world)?;
            let outcome = block.finish(&mut self.executor).map_err(|error| Unbuildable::new(seed, error))?;
            outcome.changes.apply_to(&mut world.store);
            for (nonce, signer) in world.nonces.iter_mut().zip(&self.signers) {
                *nonce = world.store.account(&signer.address).map_or(0, |account| account.nonce);
            }
            parent = block.built.header.clone();
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The next block on the state of `world`.
    fn next(&mut self, random: &mut Random, before: Before, world: &mut World) -> Result<RandomBlock, Unbuildable> {
        let Before { seed, rules, parent, block_hashes, mut tries } = before;
        let fork = rules.fork;
        let unbuildable = |error: BlockError| Unbuildable::new(seed, error);
        block_hashes.iter().for_each(|(number, hash)| world.store.insert_block_hash(*number, *hash));
        let template = draw_template(random, &rules, &parent, world.coinbase);
        let withdrawals = draw_withdrawals(random, fork, world, &self.signers);

        let mut drafter = Drafter {
            blobs_left: if fork >= Fork::Cancun { rules.blob_schedule.max } else { 0 },
            base_fee: template.base_fee.unwrap_or_default(),
            block_gas: template.gas_limit,
            random: &mut *random,
            world: &mut *world,
            rules: &rules,
            signers: &self.signers,
        };
        let most = if drafter.random.below(4) == 0 { 40 } else { 12 };
        let count = 1 + drafter.random.below(most);
        let mut drafts: Vec<Unsigned> = (0..count).map(|_| drafter.next()).collect();
        let drawn = drafts.len();

        let means = Sealing { rules: &rules, template: &template, withdrawals: &withdrawals, store: &world.store };
        let mut built = self.seal(&means, &mut drafts, &mut tries).map_err(unbuildable)?;
        // Seals again with gas limits near the gas that some transactions used: these run out of gas, or barely do not.
        if random.below(3) == 0 && tighten(random, &mut drafts, &built) {
            built = self.seal(&means, &mut drafts, &mut tries).map_err(unbuildable)?;
        }
        Ok(RandomBlock {
            seed,
            rules,
            parent,
            tries,
            block_hashes,
            types: drafts.iter().map(|unsigned| unsigned.draft.tx_type).collect(),
            dropped: drawn - drafts.len(),
            built,
            store: world.store.clone(),
        })
    }

    /// Seals a block of the drafts and removes the invalid ones.
    fn seal(
        &mut self,
        means: &Sealing<'_>,
        drafts: &mut Vec<Unsigned>,
        tries: &mut StateTries,
    ) -> Result<BuiltBlock, BlockError> {
        let sign = |unsigned: &Unsigned| unsigned.draft.sign(&self.signers[unsigned.sender]);
        let mut signed: Vec<Vec<u8>> = drafts.iter().map(sign).collect();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let body = Body { transactions: &signed, withdrawals: means.withdrawals };
            match self.executor.build_body(means.rules, means.template, body, means.store, tries, None) {
                Ok(built) => return Ok(built),
                Err(error) => {
                    let BlockError::Invalid(invalid) = &error else { return Err(error) };
                    let InvalidBlock::Tx { index, .. } = **invalid else { return Err(error) };
                    let at = index.0 as usize;
                    let end = if attempt < ATTEMPTS { at + 1 } else { signed.len() };
                    signed.drain(at..end);
                    drafts.drain(at..end);
                }
            }
        }
    }
}

/// Inputs of sealing a block, besides its transactions.
struct Sealing<'a> {
    rules: &'a ChainRules,
    template: &'a Header,
    withdrawals: &'a [Vec<u8>],
    store: &'a MemoryStore,
}

/// Sets gas limits of some transactions near the gas that they used; returns whether any was changed.
fn tighten(random: &mut Random, drafts: &mut [Unsigned], built: &BuiltBlock) -> bool {
    let mut changed = false;
    for (unsigned, outcome) in drafts.iter_mut().zip(&built.transactions) {
        if random.below(3) == 0 {
            let used = if random.below(2) == 0 { outcome.gas_paid } else { outcome.gas_execution + outcome.gas_state };
            unsigned.draft.gas_limit = match random.below(4) {
                0 => used,
                1 => used.saturating_sub(1),
                2 => used.saturating_sub(random.below(used / 2 + 1)),
                _ => used + random.below(3_000),
            };
            changed = true;
        }
    }
    changed
}

fn draw_parent(random: &mut Random, rules: &ChainRules, state_root: B256) -> Header {
    let fork = rules.fork;
    let since = |since: Fork| fork >= since;
    let gas_limit = [60_000_000, 60_000_000, 30_000_000, 8_000_000][random.below(4) as usize];
    let number = match random.below(4) {
        0 => random.below(4),
        1 => 8_190 + random.below(4),
        _ => 250 + random.below(10),
    };
    let base_fee = [7, 1_000_000_000, 30_000_000_000][random.below(3) as usize];
    let excess = random.below(12) * rules.blob_schedule.base_fee_update_fraction;
    Header {
        parent_hash: keccak256(number.to_be_bytes()),
        ommers_hash: EMPTY_OMMERS_HASH,
        state_root,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        difficulty: if since(Fork::Paris) { U256::ZERO } else { U256::from(10_000_000) },
        number,
        gas_limit,
        gas_used: if random.below(2) == 0 { gas_limit / 2 } else { random.below(gas_limit) },
        timestamp: 1_800_000_000 + random.below(20_000),
        base_fee: since(Fork::London).then_some(base_fee),
        withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT),
        blob_gas_used: since(Fork::Cancun).then_some(random.below(rules.blob_schedule.max + 1) * GAS_PER_BLOB),
        excess_blob_gas: since(Fork::Cancun).then_some(excess),
        parent_beacon_root: since(Fork::Cancun).then_some(B256::ZERO),
        requests_hash: since(Fork::Prague).then(|| requests_hash(&[])),
        block_access_list_hash: since(Fork::Amsterdam).then(|| bal_hash(&[alloy_rlp::EMPTY_LIST_CODE])),
        slot_number: since(Fork::Amsterdam).then_some(number),
        ..Header::default()
    }
}

/// Numbers and hashes of the last 256 blocks; the parent is last.
fn ancestors(parent: &Header) -> Vec<(u64, B256)> {
    let first = parent.number.saturating_sub(255);
    let mut hashes: Vec<_> = (first..parent.number).map(|number| (number, keccak256(number.to_le_bytes()))).collect();
    hashes.push((parent.number, parent.hash()));
    hashes
}

fn draw_template(random: &mut Random, rules: &ChainRules, parent: &Header, coinbase: Address) -> Header {
    let since = |since: Fork| rules.fork >= since;
    let (number, timestamp) = (parent.number + 1, parent.timestamp + 1 + random.below(30));
    Header {
        parent_hash: parent.hash(),
        coinbase,
        number,
        difficulty: if since(Fork::Paris) { U256::ZERO } else { next_difficulty(rules, number, timestamp, parent) },
        gas_limit: parent.gas_limit + random.below(1_000),
        timestamp,
        extra_data: Bytes::from_static(b"random"),
        mix_hash: keccak256(random.next_u64().to_be_bytes()),
        base_fee: since(Fork::London).then(|| next_base_fee(parent)),
        excess_blob_gas: since(Fork::Cancun).then(|| next_excess_blob_gas(rules, parent)),
        parent_beacon_root: since(Fork::Cancun).then(|| keccak256(timestamp.to_be_bytes())),
        slot_number: since(Fork::Amsterdam).then(|| number + random.below(100)),
        ..Header::default()
    }
}

fn draw_withdrawals(random: &mut Random, fork: Fork, world: &World, signers: &[Signer]) -> Vec<Vec<u8>> {
    if fork < Fork::Shanghai {
        return Vec::new();
    }
    let first = random.below(1_000);
    (first..first + random.below(5))
        .map(|index| {
            let to = match random.below(4) {
                0 => signers[random.below(SIGNERS as u64) as usize].address,
                1 => Address::from_slice(&keccak256(index.to_be_bytes())[12..]),
                2 => world.coinbase,
                _ => world.addresses[random.below(world.addresses.len() as u64) as usize],
            };
            let gwei = [0, 1, 18_000_000, u64::MAX][random.below(4) as usize];
            withdrawal(index, random.below(1_000_000), to, gwei)
        })
        .collect()
}
