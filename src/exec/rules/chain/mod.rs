//! Chain configuration: determines the rules of a block from its number and its timestamp.
//!
//! In: the block number or timestamp of each step of a chain's fork schedule. Out: [`ChainRules`]
//! for any block of the chain.
//! One table ([`Step::ALL`], `Step::row`) contains the order of the steps, whether each is
//! scheduled by number or by timestamp, and what it changes. [`ChainConfig::rules`] applies its
//! rows in order. The order is that of go-ethereum's `CheckConfigForkOrder`.
//! Not here: the rules of a fork (`fork`), the JSON of a genesis file (`genesis`), total
//! difficulty.

mod named;
#[cfg(test)]
mod tests;

use super::fork::{BlobSchedule, ChainRules, DaoExtraData, DaoTransfer, Fork};
use crate::exec::wire::Header;
use alloy_primitives::{Address, U256};
use core::fmt;

/// One step of a chain's schedule: a fork, or a smaller change that is scheduled separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// EIP-606: EIP-2, 7.
    Homestead,
    /// EIP-779: the DAO transfer, and ten blocks with a rule for the extra data.
    Dao,
    /// EIP-608: EIP-150.
    TangerineWhistle,
    /// EIP-155; must be scheduled together with [`Self::SpuriousDragon`].
    Eip155,
    /// EIP-607 without EIP-155: EIP-160, 161, 170. Called `eip158Block` in genesis files.
    SpuriousDragon,
    /// Meta EIP-609: the rules of [`Fork::Byzantium`], and a delay of the difficulty bomb.
    Byzantium,
    /// Meta EIP-1013: the rules of [`Fork::Constantinople`], and a delay of the difficulty bomb.
    Constantinople,
    /// Meta EIP-1716: the rules of [`Fork::Petersburg`].
    Petersburg,
    /// Meta EIP-1679: the rules of [`Fork::Istanbul`].
    Istanbul,
    /// EIP-2384: delay of the difficulty bomb only.
    MuirGlacier,
    /// Meta EIP-2070: the rules of [`Fork::Berlin`].
    Berlin,
    /// EIP-1559 and the other rules of [`Fork::London`], and a delay of the difficulty bomb.
    London,
    /// EIP-4345: delay of the difficulty bomb only.
    ArrowGlacier,
    /// EIP-5133: delay of the difficulty bomb only.
    GrayGlacier,
    /// EIP-3675 (the merge): the number of the first proof-of-stake block, if it is known.
    Paris,
    /// A block number after the merge (EIP-3675's `FORK_NEXT_VALUE`), from which proof of stake is
    /// in force at the latest.
    MergeNetsplit,
    /// EIP-3651, 3855, 3860, 4895. This step and all later ones are scheduled by timestamp.
    Shanghai,
    /// Meta EIP-7569: the rules of [`Fork::Cancun`].
    Cancun,
    /// Meta EIP-7600: the rules of [`Fork::Prague`].
    Prague,
    /// Meta EIP-7607: the rules of [`Fork::Osaka`].
    Osaka,
    /// First blob-parameter-only fork (EIP-7892).
    Bpo1,
    /// Second blob-parameter-only fork (EIP-7892).
    Bpo2,
    /// Third blob-parameter-only fork (EIP-7892).
    Bpo3,
    /// Fourth blob-parameter-only fork (EIP-7892).
    Bpo4,
    /// Fifth blob-parameter-only fork (EIP-7892).
    Bpo5,
    /// Meta EIP-7773: the rules of [`Fork::Amsterdam`].
    Amsterdam,
}

/// Properties of a step.
#[derive(Clone, Copy, Debug)]
struct StepRow {
    /// Name in a geth-style genesis file.
    key: &'static str,
    /// Whether it is scheduled by timestamp.
    by_time: bool,
    /// Whether later steps may be scheduled without it.
    optional: bool,
    /// The rule set that it activates, if any.
    fork: Option<Fork>,
    /// The delay of the difficulty bomb in blocks from this step on; `None`: unchanged.
    bomb_delay: Option<u64>,
}

impl Step {
    /// Number of steps.
    pub const COUNT: usize = 26;

    /// All steps in the order in which a chain activates them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Homestead,
        Self::Dao,
        Self::TangerineWhistle,
        Self::Eip155,
        Self::SpuriousDragon,
        Self::Byzantium,
        Self::Constantinople,
        Self::Petersburg,
        Self::Istanbul,
        Self::MuirGlacier,
        Self::Berlin,
        Self::London,
        Self::ArrowGlacier,
        Self::GrayGlacier,
        Self::Paris,
        Self::MergeNetsplit,
        Self::Shanghai,
        Self::Cancun,
        Self::Prague,
        Self::Osaka,
        Self::Bpo1,
        Self::Bpo2,
        Self::Bpo3,
        Self::Bpo4,
        Self::Bpo5,
        Self::Amsterdam,
    ];

    /// The steps that can change the blob parameters. Steps after Prague without own parameters
    /// keep the previous ones.
    pub const BLOBS: [Self; 9] = [
        Self::Cancun,
        Self::Prague,
        Self::Osaka,
        Self::Bpo1,
        Self::Bpo2,
        Self::Bpo3,
        Self::Bpo4,
        Self::Bpo5,
        Self::Amsterdam,
    ];

    const fn row(self) -> StepRow {
        const fn number(key: &'static str, fork: Option<Fork>, bomb_delay: Option<u64>) -> StepRow {
            StepRow { key, by_time: false, optional: fork.is_none(), fork, bomb_delay }
        }
        const fn time(key: &'static str, fork: Option<Fork>) -> StepRow {
            StepRow { key, by_time: true, optional: fork.is_none(), fork, bomb_delay: None }
        }
        match self {
            Self::Homestead => number("homesteadBlock", Some(Fork::Homestead), None),
            Self::Dao => number("daoForkBlock", None, None),
            Self::TangerineWhistle => number("eip150Block", Some(Fork::TangerineWhistle), None),
            Self::Eip155 => StepRow { optional: false, ..number("eip155Block", None, None) },
            Self::SpuriousDragon => number("eip158Block", Some(Fork::SpuriousDragon), None),
            Self::Byzantium => number("byzantiumBlock", Some(Fork::Byzantium), Some(3_000_000)),
            Self::Constantinople => number("constantinopleBlock", Some(Fork::Constantinople), Some(5_000_000)),
            Self::Petersburg => number("petersburgBlock", Some(Fork::Petersburg), None),
            Self::Istanbul => number("istanbulBlock", Some(Fork::Istanbul), None),
            Self::MuirGlacier => number("muirGlacierBlock", None, Some(9_000_000)),
            Self::Berlin => number("berlinBlock", Some(Fork::Berlin), None),
            Self::London => number("londonBlock", Some(Fork::London), Some(9_700_000)),
            Self::ArrowGlacier => number("arrowGlacierBlock", None, Some(10_700_000)),
            Self::GrayGlacier => number("grayGlacierBlock", None, Some(11_400_000)),
            // No `fork` in these two: they do not determine the merge alone, see
            // `ChainConfig::is_proof_of_stake`.
            Self::Paris => number("parisBlock", None, None),
            Self::MergeNetsplit => number("mergeNetsplitBlock", None, None),
            Self::Shanghai => time("shanghaiTime", Some(Fork::Shanghai)),
            Self::Cancun => time("cancunTime", Some(Fork::Cancun)),
            Self::Prague => time("pragueTime", Some(Fork::Prague)),
            Self::Osaka => time("osakaTime", Some(Fork::Osaka)),
            Self::Bpo1 => time("bpo1Time", None),
            Self::Bpo2 => time("bpo2Time", None),
            Self::Bpo3 => time("bpo3Time", None),
            Self::Bpo4 => time("bpo4Time", None),
            Self::Bpo5 => time("bpo5Time", None),
            Self::Amsterdam => time("amsterdamTime", Some(Fork::Amsterdam)),
        }
    }

    /// The step's name in a geth-style genesis file, such as `londonBlock` or `cancunTime`.
    pub const fn key(self) -> &'static str {
        self.row().key
    }

    /// The step with this name in a geth-style genesis file, ignoring ASCII case; `None` if it is
    /// unknown.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.key().eq_ignore_ascii_case(key))
    }

    /// Whether the step is scheduled by timestamp; otherwise by block number.
    pub const fn is_by_time(self) -> bool {
        self.row().by_time
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Why a chain or its schedule is not supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is no public chain with this name.
    #[error("no chain is called {0}; there are mainnet, sepolia, hoodi, holesky, and genesis files")]
    UnknownChain(String),
    /// The schedule has a fork that this executor does not implement.
    #[error("the fork {0} is not known")]
    UnknownFork(String),
    /// The chain uses something other than proof of work and proof of stake.
    #[error("chains with {0} are not supported")]
    Unsupported(&'static str),
    /// A required step is not scheduled, but a later one is.
    #[error("{missing} is not enabled, but {later} is, at {at}")]
    NotEnabled {
        /// The missing step.
        missing: Step,
        /// The later step.
        later: Step,
        /// Its block number or timestamp.
        at: u64,
    },
    /// Two steps are scheduled in the wrong order.
    #[error("{earlier} is enabled at {earlier_at}, but {later} at {later_at}")]
    OutOfOrder {
        /// The step that must come first.
        earlier: Step,
        /// Its block number or timestamp.
        earlier_at: u64,
        /// The step that must not come before it.
        later: Step,
        /// Its block number or timestamp.
        later_at: u64,
    },
    /// EIP-155 and EIP-158 are scheduled at different numbers. No rule set exists for the blocks in
    /// between.
    #[error("eip155Block and eip158Block differ")]
    SplitSpuriousDragon,
    /// A blob-parameter-only step without blob parameters.
    #[error("the blob schedule lacks an entry for {0}")]
    MissingBlobSchedule(Step),
    /// A step's blob parameters have a base fee update fraction of zero, which is a division by
    /// zero.
    #[error("the base fee update fraction of {0} is zero")]
    ZeroUpdateFraction(Step),
}

/// A chain: its identity, its fork schedule and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainConfig {
    /// The chain id (EIP-155).
    pub chain_id: u64,
    /// Block number or timestamp of each step, indexed by [`Step`]; `None`: not scheduled.
    pub steps: [Option<u64>; Step::COUNT],
    /// Whether the chain performs the DAO transfer (EIP-779). If not, it rejects blocks with the
    /// transfer's extra data.
    pub dao_support: bool,
    /// Total difficulty at which proof of work ends (EIP-3675). This module does not compute total
    /// difficulty. Zero means a chain with proof of stake from the genesis on; for other values see
    /// [`Self::rules_of`].
    pub terminal_total_difficulty: Option<U256>,
    /// Address of the deposit contract, whose logs contain the deposit requests (EIP-6110).
    pub deposit_contract: Address,
    /// Blob parameters, indexed by [`Step`]; `None`: the step keeps the previous ones.
    pub blobs: [Option<BlobSchedule>; Step::COUNT],
    /// Whether EIP-7610 is in force, for all forks; `None`: depends on the fork as in
    /// [`ChainRules::mainnet`].
    pub storage_collision: Option<bool>,
}

impl ChainConfig {
    /// A chain without scheduled steps: Frontier rules in every block. Blob parameters of Cancun
    /// and Prague are preset to those of EIP-4844 and EIP-7691.
    pub const fn frontier(chain_id: u64) -> Self {
        let mut blobs = [None; Step::COUNT];
        blobs[Step::Cancun as usize] = Some(BlobSchedule::CANCUN);
        blobs[Step::Prague as usize] = Some(BlobSchedule::PRAGUE);
        Self {
            chain_id,
            steps: [None; Step::COUNT],
            dao_support: false,
            terminal_total_difficulty: None,
            deposit_contract: Address::ZERO,
            blobs,
            storage_collision: None,
        }
    }

    /// The same configuration with `step` scheduled at the block number or timestamp `at`.
    pub const fn with(mut self, step: Step, at: u64) -> Self {
        self.steps[step as usize] = Some(at);
        self
    }

    /// The same configuration with blob parameters `schedule` from `step` on.
    pub const fn with_blobs(mut self, step: Step, schedule: BlobSchedule) -> Self {
        self.blobs[step as usize] = Some(schedule);
        self
    }

    /// The block number or timestamp of a step; `None`: not scheduled.
    pub const fn at(&self, step: Step) -> Option<u64> {
        self.steps[step as usize]
    }

    /// The scheduled steps in order, with their block numbers or timestamps.
    pub fn schedule(&self) -> impl Iterator<Item = (Step, u64)> {
        Step::ALL.into_iter().filter_map(|step| Some((step, self.at(step)?)))
    }

    /// Checks the order and completeness of the schedule, as go-ethereum's `CheckConfigForkOrder`
    /// does. Stricter in one point: Cancun, Prague and Osaka must be scheduled if a later fork is,
    /// because each rule set here includes the earlier ones.
    ///
    /// # Errors
    /// The first violation, in order of the steps: [`ChainError::NotEnabled`],
    /// [`ChainError::OutOfOrder`]; then [`ChainError::SplitSpuriousDragon`],
    /// [`ChainError::ZeroUpdateFraction`], [`ChainError::MissingBlobSchedule`].
    pub fn check(&self) -> Result<(), ChainError> {
        let mut last: Option<(Step, Option<u64>)> = None;
        for step in Step::ALL {
            let at = self.at(step);
            if let (Some((earlier, earlier_at)), Some(later_at)) = (last, at) {
                match earlier_at {
                    None => return Err(ChainError::NotEnabled { missing: earlier, later: step, at: later_at }),
                    Some(earlier_at) if earlier.is_by_time() == step.is_by_time() && earlier_at > later_at => {
                        return Err(ChainError::OutOfOrder { earlier, earlier_at, later: step, later_at });
                    }
                    Some(_) => {}
                }
            }
            if !step.row().optional || at.is_some() {
                last = Some((step, at));
            }
        }
        if self.at(Step::Eip155) != self.at(Step::SpuriousDragon) {
            return Err(ChainError::SplitSpuriousDragon);
        }
        for step in Step::BLOBS {
            let must_have = step.row().fork.is_none() || matches!(step, Step::Cancun | Step::Prague);
            match self.blobs[step as usize] {
                Some(schedule) if schedule.base_fee_update_fraction == 0 => {
                    return Err(ChainError::ZeroUpdateFraction(step));
                }
                None if must_have && self.at(step).is_some() => return Err(ChainError::MissingBlobSchedule(step)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a step is in force at this block number and timestamp. Steps scheduled by timestamp
    /// require London.
    fn is_active(&self, step: Step, number: u64, timestamp: u64) -> bool {
        let is_since = |step: Step, now: u64| self.at(step).is_some_and(|at| at <= now);
        match step {
            // On a chain without Petersburg, it is in force together with Constantinople.
            Step::Petersburg if self.at(step).is_none() => is_since(Step::Constantinople, number),
            _ if step.is_by_time() => is_since(Step::London, number) && is_since(step, timestamp),
            _ => is_since(step, number),
        }
    }

    /// Whether block number and timestamp alone determine that the block is a proof-of-stake block.
    fn is_proof_of_stake(&self, number: u64, timestamp: u64) -> bool {
        let active = |step| self.is_active(step, number, timestamp);
        let from_the_start = self.terminal_total_difficulty == Some(U256::ZERO) && active(Step::London);
        from_the_start || active(Step::Paris) || active(Step::MergeNetsplit) || active(Step::Shanghai)
    }

    /// The rules of the block with this number and timestamp. If the merge depends on a total
    /// difficulty, and neither [`Step::Paris`] nor a later step is in force, the block counts as a
    /// proof-of-work block.
    pub fn rules(&self, number: u64, timestamp: u64) -> ChainRules {
        let mut rules = ChainRules {
            chain_id: self.chain_id,
            deposit_contract: self.deposit_contract,
            ..ChainRules::mainnet(Fork::Frontier)
        };
        for step in Step::ALL {
            if !self.is_active(step, number, timestamp) {
                continue;
            }
            let StepRow { fork, bomb_delay, .. } = step.row();
            rules.fork = fork.unwrap_or(rules.fork);
            rules.bomb_delay = bomb_delay.unwrap_or(rules.bomb_delay);
            rules.blob_schedule = self.blobs[step as usize].unwrap_or(rules.blob_schedule);
        }
        if self.is_proof_of_stake(number, timestamp) {
            (rules.fork, rules.bomb_delay) = (rules.fork.max(Fork::Paris), 0);
        }
        let by_fork = ChainRules::mainnet(rules.fork).storage_collision;
        rules.storage_collision = self.storage_collision.unwrap_or(by_fork);
        if let Some(first) = self.at(Step::Dao)
            && (first..first.saturating_add(DaoExtraData::BLOCKS)).contains(&number)
        {
            rules.dao_transfer = match first {
                _ if !self.dao_support || number != first => DaoTransfer::None,
                1_920_000 if self.chain_id == 1 => DaoTransfer::Last,
                _ => DaoTransfer::First,
            };
            rules.dao_extra_data = if self.dao_support { DaoExtraData::Required } else { DaoExtraData::Forbidden };
        }
        rules
    }

    /// The rules of the block with this header. If the merge depends on a total difficulty and its
    /// first block is not known, a London header with difficulty zero counts as a proof-of-stake
    /// header, because a proof-of-work header cannot have difficulty zero. Whether the total
    /// difficulty was reached is not checked.
    pub fn rules_of(&self, header: &Header) -> ChainRules {
        let mut rules = self.rules(header.number, header.timestamp);
        let is_open = self.terminal_total_difficulty.is_some() && self.at(Step::Paris).is_none();
        if is_open && header.difficulty.is_zero() && rules.fork == Fork::London {
            (rules.fork, rules.bomb_delay) = (Fork::Paris, 0);
        }
        rules
    }
}
