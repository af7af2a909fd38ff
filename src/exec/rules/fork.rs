//! Forks from Frontier to Amsterdam: one row of constants per fork.
//!
//! In: a [`Fork`]. Out: [`ForkRules`], its row of constants; [`ChainRules`], these with a chain's
//! parameters. A rule that is a number is a field. A rule that is either on or off is not a field:
//! the code that applies it compares [`Fork`]s.
//! Spec: the EIP given at each field.
//! Not here: which fork a block belongs to (see [`ChainConfig`](super::chain::ChainConfig)).

use alloy_primitives::{Address, U256, address};

/// Rule sets in the order of their activation on mainnet.
///
/// Forks that only delayed the difficulty bomb (Muir, Arrow and Gray Glacier) or only changed blob
/// parameters (BPO1, BPO2) have no variant; they use the rules of the fork before them. The bomb's
/// delay and the blob schedule are in [`ChainRules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Fork {
    /// Genesis, July 2015.
    Frontier,
    /// EIP-2, 7.
    Homestead,
    /// EIP-150 (Tangerine Whistle).
    TangerineWhistle,
    /// EIP-155, 160, 161, 170.
    SpuriousDragon,
    /// EIP-100, 140, 196, 197, 198, 211, 214, 649, 658.
    Byzantium,
    /// EIP-145, 1014, 1052, 1234, 1283.
    Constantinople,
    /// Constantinople without EIP-1283.
    Petersburg,
    /// EIP-152, 1108, 1344, 1884, 2028, 2200.
    Istanbul,
    /// EIP-2565, 2718, 2929, 2930.
    Berlin,
    /// EIP-1559, 3198, 3529, 3541.
    London,
    /// EIP-3675, 4399 (the merge).
    Paris,
    /// EIP-3651, 3855, 3860, 4895.
    Shanghai,
    /// EIP-1153, 4788, 4844, 5656, 6780, 7516.
    Cancun,
    /// EIP-2537, 2935, 6110, 7002, 7251, 7623, 7685, 7702, 7691.
    Prague,
    /// EIP-7594, 7823, 7825, 7883, 7918, 7934, 7939, 7951.
    Osaka,
    /// EIP-2780, 7708, 7778, 7843, 7928, 7954, 7976, 7981, 7997, 8024, 8037, 8038, 8246, 8282.
    Amsterdam,
}

impl Fork {
    /// All forks, oldest first.
    pub const ALL: [Self; 16] = [
        Self::Frontier,
        Self::Homestead,
        Self::TangerineWhistle,
        Self::SpuriousDragon,
        Self::Byzantium,
        Self::Constantinople,
        Self::Petersburg,
        Self::Istanbul,
        Self::Berlin,
        Self::London,
        Self::Paris,
        Self::Shanghai,
        Self::Cancun,
        Self::Prague,
        Self::Osaka,
        Self::Amsterdam,
    ];

    /// The fork's name in EEST fixtures and bundles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontier => "Frontier",
            Self::Homestead => "Homestead",
            Self::TangerineWhistle => "Tangerine",
            Self::SpuriousDragon => "SpuriousDragon",
            Self::Byzantium => "Byzantium",
            Self::Constantinople => "Constantinople",
            Self::Petersburg => "Petersburg",
            Self::Istanbul => "Istanbul",
            Self::Berlin => "Berlin",
            Self::London => "London",
            Self::Paris => "Paris",
            Self::Shanghai => "Shanghai",
            Self::Cancun => "Cancun",
            Self::Prague => "Prague",
            Self::Osaka => "Osaka",
            Self::Amsterdam => "Amsterdam",
        }
    }

    /// The fork with this name, in the spelling of EEST, geth or bundles; `None` if it is unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "EIP150" | "TangerineWhistle" => Self::TangerineWhistle,
            "EIP158" => Self::SpuriousDragon,
            "ConstantinopleFix" => Self::Petersburg,
            "MuirGlacier" => Self::Istanbul,
            "ArrowGlacier" | "GrayGlacier" => Self::London,
            "Merge" => Self::Paris,
            "BPO1" | "BPO2" => Self::Osaka,
            _ => Self::ALL.into_iter().find(|fork| fork.name() == name)?,
        })
    }

    /// The constants of this fork.
    pub const fn rules(self) -> &'static ForkRules {
        &TABLE[self as usize]
    }
}

/// Blob parameters in force (EIP-4844, 7691, 7892).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobSchedule {
    /// Target number of blobs per block, at which the excess remains unchanged.
    pub target: u64,
    /// Maximum number of blobs in a block.
    pub max: u64,
    /// Denominator of the exponent in the blob base fee formula.
    pub base_fee_update_fraction: u64,
}

impl BlobSchedule {
    /// Cancun's blob parameters (EIP-4844).
    pub const CANCUN: Self = Self { target: 3, max: 6, base_fee_update_fraction: 3_338_477 };
    /// Prague's and Osaka's blob parameters (EIP-7691).
    pub const PRAGUE: Self = Self { target: 6, max: 9, base_fee_update_fraction: 5_007_716 };
    /// Blob parameters of the first blob-parameter-only fork (EIP-7892).
    pub const BPO1: Self = Self { target: 10, max: 15, base_fee_update_fraction: 8_346_193 };
    /// Blob parameters of the second blob-parameter-only fork (EIP-7892).
    pub const BPO2: Self = Self { target: 14, max: 21, base_fee_update_fraction: 11_684_671 };
}

/// The deposit contract of mainnet and hoodi (EIP-6110).
pub const MAINNET_DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cBB839Cbe05303d7705Fa");

/// Whether and when a block performs the DAO transfer (EIP-779).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaoTransfer {
    /// No transfer in this block.
    #[default]
    None,
    /// Before the transactions, at block access index 0, as EIP-779 specifies.
    First,
    /// After the transactions, at block access index n + 1. Published block access lists record the
    /// transfer there for mainnet's block; no transaction of that block depends on it.
    Last,
}

/// EIP-779's rule for the extra data in the first ten blocks from the DAO fork on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaoExtraData {
    /// No rule: the block is not one of these ten.
    #[default]
    Free,
    /// On a chain with the transfer: the extra data must be [`DaoExtraData::MARK`].
    Required,
    /// On a chain without the transfer: the extra data must not be [`DaoExtraData::MARK`].
    Forbidden,
}

impl DaoExtraData {
    /// Number of blocks, from the fork on, to which the rule applies.
    pub const BLOCKS: u64 = 10;
    /// Extra data of these blocks on chains with the transfer.
    pub const MARK: &'static [u8] = b"dao-hard-fork";
}

/// The rules in force for one block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRules {
    /// The fork whose rules are in force.
    pub fork: Fork,
    /// The chain id (EIP-155).
    pub chain_id: u64,
    /// Blob parameters (EIP-4844); unused before Cancun.
    pub blob_schedule: BlobSchedule,
    /// Address of the deposit contract, whose logs contain the deposit requests (EIP-6110).
    pub deposit_contract: Address,
    /// Whether and when this block performs the DAO transfer (EIP-779).
    pub dao_transfer: DaoTransfer,
    /// Rule for the header's extra data (EIP-779).
    pub dao_extra_data: DaoExtraData,
    /// Delay of the difficulty bomb in blocks (EIP-649, 1234, 2384, 3554, 4345, 5133).
    pub bomb_delay: u64,
    /// EIP-7610: whether a contract creation fails if the account has storage, even without nonce
    /// and code (for which it fails by EIP-684). If not, the created account keeps that storage,
    /// and the gas of SSTORE is computed as if its slots had been zero before the transaction.
    pub storage_collision: bool,
}

impl ChainRules {
    /// Mainnet's parameters for a fork: BPO2's blob schedule from Amsterdam on, EIP-7610 only
    /// before Cancun (see docs/specification.md).
    pub const fn mainnet(fork: Fork) -> Self {
        let blob_schedule = match fork {
            Fork::Prague | Fork::Osaka => BlobSchedule::PRAGUE,
            Fork::Amsterdam => BlobSchedule::BPO2,
            _ => BlobSchedule::CANCUN,
        };
        let bomb_delay = match fork {
            Fork::Byzantium => 3_000_000,
            Fork::Constantinople | Fork::Petersburg | Fork::Istanbul => 5_000_000,
            Fork::Berlin => 9_000_000,
            Fork::London => 9_700_000,
            _ => 0,
        };
        Self {
            fork,
            chain_id: 1,
            blob_schedule,
            deposit_contract: MAINNET_DEPOSIT_CONTRACT,
            dao_transfer: DaoTransfer::None,
            dao_extra_data: DaoExtraData::Free,
            bomb_delay,
            storage_collision: (fork as u8) < Fork::Cancun as u8,
        }
    }

    /// The constants of the fork.
    pub const fn fork_rules(&self) -> &'static ForkRules {
        self.fork.rules()
    }
}

/// Constants of one fork. Values are gas unless stated otherwise.
#[derive(Clone, Copy, Debug)]
pub struct ForkRules {
    /// The fork this row belongs to.
    pub fork: Fork,

    // Transactions.
    /// Base cost of a transaction: 21,000; 12,000 with EIP-2780.
    pub tx_base: u64,
    /// Additional base cost of a creation transaction (EIP-2; with EIP-2780 `CREATE_ACCESS`).
    pub tx_create: u64,
    /// Cost per non-zero byte of calldata (EIP-2028).
    pub tx_data_nonzero: u64,
    /// Floor cost per token of calldata (EIP-7623: 10 per token; EIP-7976: 64 per byte); 0 before
    /// Prague.
    pub tx_floor_per_token: u64,
    /// Cost per access list entry (EIP-2930, 7981, 8038).
    pub tx_access_list_address: u64,
    /// Cost per storage key of an access list (EIP-2930, 7981, 8038).
    pub tx_access_list_key: u64,
    /// Cost per authorization (EIP-7702).
    pub tx_authorization: u64,
    /// Maximum execution gas of a transaction (EIP-7825).
    pub tx_gas_limit_max: u64,
    /// The refund is at most gas used divided by this (EIP-3529).
    pub refund_quotient: u64,

    // Size limits, bytes.
    /// Maximum size of deployed code in bytes (EIP-170, 7954).
    pub code_size_max: usize,
    /// Maximum size of init code in bytes (EIP-3860, 7954).
    pub initcode_size_max: usize,

    // Account and storage access: the flat cost before Berlin, the cold access cost from Berlin on.
    /// BALANCE; cold account access from Berlin on.
    pub balance: u64,
    /// EXTCODESIZE and EXTCODECOPY before Berlin.
    pub extcode: u64,
    /// EXTCODEHASH before Berlin.
    pub extcodehash: u64,
    /// SLOAD; cold slot access from Berlin on.
    pub sload: u64,
    /// CALL family before Berlin.
    pub call: u64,
    /// SELFDESTRUCT (EIP-150).
    pub selfdestruct: u64,
    /// Warm access (EIP-2929); 0 before Berlin.
    pub warm_access: u64,
    /// Additional cost of a call that transfers value.
    pub call_value: u64,
    /// Additional cost of a call or SELFDESTRUCT that creates an account.
    pub new_account: u64,
    /// CREATE and CREATE2.
    pub create: u64,
    /// Cost per byte of deployed code.
    pub code_deposit_byte: u64,
    /// Cost of EXP per byte of the exponent (EIP-160).
    pub exp_byte: u64,

    // SSTORE.
    /// First write of a slot in a transaction, from zero to non-zero.
    pub sstore_set: u64,
    /// Any other first write of a slot in a transaction.
    pub sstore_reset: u64,
    /// Refund for clearing (EIP-3529).
    pub sstore_clear_refund: i64,

    // EIP-8037 state gas; all 0 before Amsterdam.
    /// State gas of a new account.
    pub state_new_account: u64,
    /// State gas of a new slot.
    pub state_storage_set: u64,
    /// State gas of a new delegation.
    pub state_auth_base: u64,
    /// State gas per byte of deployed code.
    pub state_code_byte: u64,

    // Block.
    /// Reward in wei of the beneficiary of a proof-of-work block; 0 from Paris on.
    pub block_reward: u64,
    /// Maximum size of a block's RLP in bytes (EIP-7934).
    pub block_size_max: usize,
    /// Maximum number of blobs of one transaction (EIP-7594); before Osaka only the block's maximum
    /// applies.
    pub tx_blobs_max: u64,
}

/// Maximum gas limit of a transaction (EIP-7825); with EIP-8037, of its execution gas.
pub const TX_GAS_LIMIT_MAX: u64 = 1 << 24;
/// Gas stipend that a call with value adds to the callee's gas.
pub const CALL_STIPEND: u64 = 2_300;
/// EIP-8038: cost of the first write to an account within a transaction.
pub const ACCOUNT_WRITE: u64 = 9_000;
/// EIP-8038: cost of the first write to a slot within a transaction.
pub const STORAGE_WRITE: u64 = 10_000;
/// EIP-2780: cost of a value transfer to another account.
pub const TX_VALUE_COST: u64 = 6_000;
/// EIP-2780: cost of the recipient's cold access.
pub const TX_RECIPIENT_COST: u64 = 3_000;
/// EIP-3860: cost per 32-byte word of init code.
pub const INITCODE_WORD: u64 = 2;
/// EIP-4844: blob gas per blob.
pub const GAS_PER_BLOB: u64 = 1 << 17;
/// EIP-8037: maximum of `tx.gas` (ethereum/EIPs#12311).
pub const TX_MAX_TOTAL_GAS_LIMIT: u64 = u32::MAX as u64;

const FRONTIER: ForkRules = ForkRules {
    fork: Fork::Frontier,
    tx_base: 21_000,
    tx_create: 0,
    tx_data_nonzero: 68,
    tx_floor_per_token: 0,
    tx_access_list_address: 0,
    tx_access_list_key: 0,
    tx_authorization: 0,
    tx_gas_limit_max: u64::MAX,
    refund_quotient: 2,
    code_size_max: usize::MAX,
    initcode_size_max: usize::MAX,
    balance: 20,
    extcode: 20,
    extcodehash: 400,
    sload: 50,
    call: 40,
    selfdestruct: 0,
    warm_access: 0,
    call_value: 9_000,
    new_account: 25_000,
    create: 32_000,
    code_deposit_byte: 200,
    exp_byte: 10,
    sstore_set: 20_000,
    sstore_reset: 5_000,
    sstore_clear_refund: 15_000,
    state_new_account: 0,
    state_storage_set: 0,
    state_auth_base: 0,
    state_code_byte: 0,
    block_reward: 5_000_000_000_000_000_000,
    block_size_max: usize::MAX,
    tx_blobs_max: u64::MAX,
};
const HOMESTEAD: ForkRules = ForkRules { fork: Fork::Homestead, tx_create: 32_000, ..FRONTIER };
const TANGERINE: ForkRules = ForkRules {
    fork: Fork::TangerineWhistle,
    balance: 400,
    extcode: 700,
    sload: 200,
    call: 700,
    selfdestruct: 5_000,
    ..HOMESTEAD
};
const SPURIOUS_DRAGON: ForkRules =
    ForkRules { fork: Fork::SpuriousDragon, exp_byte: 50, code_size_max: 24_576, ..TANGERINE };
const BYZANTIUM: ForkRules =
    ForkRules { fork: Fork::Byzantium, block_reward: 3_000_000_000_000_000_000, ..SPURIOUS_DRAGON };
const CONSTANTINOPLE: ForkRules =
    ForkRules { fork: Fork::Constantinople, block_reward: 2_000_000_000_000_000_000, ..BYZANTIUM };
const PETERSBURG: ForkRules = ForkRules { fork: Fork::Petersburg, ..CONSTANTINOPLE };
const ISTANBUL: ForkRules =
    ForkRules { fork: Fork::Istanbul, tx_data_nonzero: 16, balance: 700, extcodehash: 700, sload: 800, ..PETERSBURG };
const BERLIN: ForkRules = ForkRules {
    fork: Fork::Berlin,
    balance: 2_600,
    extcode: 2_600,
    extcodehash: 2_600,
    sload: 2_100,
    call: 2_600,
    warm_access: 100,
    sstore_reset: 2_900,
    tx_access_list_address: 2_400,
    tx_access_list_key: 1_900,
    ..ISTANBUL
};
const LONDON: ForkRules = ForkRules { fork: Fork::London, refund_quotient: 5, sstore_clear_refund: 4_800, ..BERLIN };
const PARIS: ForkRules = ForkRules { fork: Fork::Paris, block_reward: 0, ..LONDON };
const SHANGHAI: ForkRules = ForkRules { fork: Fork::Shanghai, initcode_size_max: 49_152, ..PARIS };
const CANCUN: ForkRules = ForkRules { fork: Fork::Cancun, ..SHANGHAI };
const PRAGUE: ForkRules = ForkRules { fork: Fork::Prague, tx_floor_per_token: 10, tx_authorization: 25_000, ..CANCUN };
const OSAKA: ForkRules = ForkRules {
    fork: Fork::Osaka,
    tx_gas_limit_max: TX_GAS_LIMIT_MAX,
    block_size_max: 8_388_608,
    tx_blobs_max: 6,
    ..PRAGUE
};
/// EIP-8037: state gas per byte of state (`cost_per_state_byte`), a constant.
const CPSB: u64 = 1_530;
const AMSTERDAM: ForkRules = ForkRules {
    fork: Fork::Amsterdam,
    tx_base: 12_000,
    tx_create: 12_000,
    tx_floor_per_token: 16,
    // EIP-8038's 2,900 and 2,000, plus EIP-7981's 64 per byte of address and key.
    tx_access_list_address: 2_900 + 20 * 64,
    tx_access_list_key: 2_000 + 32 * 64,
    tx_authorization: 7_816,
    code_size_max: 65_536,
    initcode_size_max: 131_072,
    balance: 3_000,
    extcode: 3_000,
    extcodehash: 3_000,
    call: 3_000,
    call_value: ACCOUNT_WRITE + CALL_STIPEND,
    // No execution gas for creating an account; EIP-8037 charges state gas instead
    // (`state_new_account`).
    new_account: 0,
    create: ACCOUNT_WRITE + 3_000,
    code_deposit_byte: 0,
    sstore_clear_refund: 11_616,
    state_new_account: 120 * CPSB,
    state_storage_set: 64 * CPSB,
    state_auth_base: 23 * CPSB,
    state_code_byte: CPSB,
    ..OSAKA
};

static TABLE: [ForkRules; 16] = [
    FRONTIER,
    HOMESTEAD,
    TANGERINE,
    SPURIOUS_DRAGON,
    BYZANTIUM,
    CONSTANTINOPLE,
    PETERSBURG,
    ISTANBUL,
    BERLIN,
    LONDON,
    PARIS,
    SHANGHAI,
    CANCUN,
    PRAGUE,
    OSAKA,
    AMSTERDAM,
];

impl ForkRules {
    /// Whether this fork is `fork` or a later one.
    #[inline(always)]
    pub fn at_least(&self, fork: Fork) -> bool {
        self.fork >= fork
    }

    /// The block reward in wei.
    pub fn reward(&self) -> U256 {
        U256::from(self.block_reward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_at_its_forks_position() {
        for fork in Fork::ALL {
            assert_eq!(fork.rules().fork, fork);
            assert_eq!(Fork::from_name(fork.name()), Some(fork));
        }
    }
}
