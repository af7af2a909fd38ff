//! Forks, Frontier to Amsterdam: one row of constants and switches per fork.
//!
//! Out: [`ForkRules`], a plain table row. A rule that is a number is a field; a rule that is a mere switch is a
//! comparison of [`Fork`]s at the place where it acts. Sources: the EIP named at each field.
//! Not here: which fork a block belongs to (see [`ChainConfig`](super::chain::ChainConfig)).

use alloy_primitives::{Address, U256, address};

/// Rule sets in the order of their activation on mainnet.
///
/// Forks that only moved the difficulty bomb (Muir, Arrow and Gray Glacier) or only changed blob parameters
/// (BPO1, BPO2) share their neighbour's rules: the bomb's delay and the blob schedule stand in [`ChainRules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
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

    /// The fork's name as the EEST fixtures and bundles write it.
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

    /// The fork of this name, in the spellings of EEST, geth and the bundles.
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
    /// Blobs per block that leave the excess unchanged.
    pub target: u64,
    /// Most blobs in a block.
    pub max: u64,
    /// Denominator of the blob base fee's exponential.
    pub base_fee_update_fraction: u64,
}

impl BlobSchedule {
    /// EIP-4844.
    pub const CANCUN: Self = Self { target: 3, max: 6, base_fee_update_fraction: 3_338_477 };
    /// EIP-7691.
    pub const PRAGUE: Self = Self { target: 6, max: 9, base_fee_update_fraction: 5_007_716 };
    /// EIP-7892, first blob-parameter-only fork.
    pub const BPO1: Self = Self { target: 10, max: 15, base_fee_update_fraction: 8_346_193 };
    /// EIP-7892, second blob-parameter-only fork.
    pub const BPO2: Self = Self { target: 14, max: 21, base_fee_update_fraction: 11_684_671 };
}

/// The deposit contract of mainnet and hoodi (EIP-6110).
pub const MAINNET_DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cBB839Cbe05303d7705Fa");

/// Whether a block carries out EIP-779's transfer, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaoTransfer {
    /// Not at all.
    #[default]
    None,
    /// Before its transactions, at index 0, as EIP-779 has it.
    First,
    /// After them, at index n + 1: where published lists record it for mainnet's block, none of whose transactions can
    /// tell the difference.
    Last,
}

/// What EIP-779 says of the extra data in the ten blocks from the DAO fork on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaoExtraData {
    /// The block is not one of them.
    #[default]
    Free,
    /// It is, on the side of the transfer: the extra data is the mark.
    Required,
    /// It is, on the other side: the extra data is not the mark.
    Forbidden,
}

impl DaoExtraData {
    /// Number of blocks, from the fork on, to which the rule applies.
    pub const BLOCKS: u64 = 10;
    /// The extra data of blocks on the side of the transfer.
    pub const MARK: &'static [u8] = b"dao-hard-fork";
}

/// The rules in force for one block, as its chain's configuration gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRules {
    /// The rule set.
    pub fork: Fork,
    /// EIP-155.
    pub chain_id: u64,
    /// Blob parameters; unused before Cancun.
    pub blob_schedule: BlobSchedule,
    /// Where deposit requests are logged (EIP-6110).
    pub deposit_contract: Address,
    /// Whether this very block carries out the DAO transfer (EIP-779).
    pub dao_transfer: DaoTransfer,
    /// What the extra data must or must not be (EIP-779).
    pub dao_extra_data: DaoExtraData,
    /// By how many blocks the difficulty bomb is delayed (EIP-649, 1234, 2384, 3554, 4345, 5133).
    pub bomb_delay: u64,
    /// EIP-7610: whether a creation fails where the account has storage, though neither nonce nor code (EIP-684). Without
    /// it the created account keeps that storage; for the price of SSTORE its slots were zero before the transaction.
    pub storage_collision: bool,
}

impl ChainRules {
    /// Mainnet's parameters for a fork, BPO2's blob schedule from Amsterdam on, EIP-7610 before Cancun only (see
    /// docs/specification.md).
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

/// Constants of one fork. Gas unless the name says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct ForkRules {
    /// The fork this row belongs to.
    pub fork: Fork,

    // Transactions.
    /// Flat cost of a transaction: 21,000; 12,000 under EIP-2780.
    pub tx_base: u64,
    /// Extra flat cost of a creation (EIP-2; under EIP-2780 `CREATE_ACCESS`).
    pub tx_create: u64,
    /// Per non-zero byte of calldata (EIP-2028).
    pub tx_data_nonzero: u64,
    /// Floor per token of calldata (EIP-7623: 10 per token; EIP-7976: 64 per byte); 0 before Prague.
    pub tx_floor_per_token: u64,
    /// Access list entry (EIP-2930, 7981, 8038).
    pub tx_access_list_address: u64,
    /// Access list storage key.
    pub tx_access_list_key: u64,
    /// Per authorization (EIP-7702).
    pub tx_authorization: u64,
    /// Most execution gas of a transaction (EIP-7825).
    pub tx_gas_limit_max: u64,
    /// Refund is at most `gas used / quotient` (EIP-3529).
    pub refund_quotient: u64,

    // Size limits, bytes.
    /// Most bytes of deployed code (EIP-170, 7954).
    pub code_size_max: usize,
    /// Most bytes of init code (EIP-3860, 7954).
    pub initcode_size_max: usize,

    // Account and storage access. Before Berlin the flat price; from Berlin on the cold one.
    /// BALANCE; cold account access from Berlin on.
    pub balance: u64,
    /// EXTCODESIZE and EXTCODECOPY before Berlin.
    pub extcode: u64,
    /// EXTCODEHASH before Berlin.
    pub extcodehash: u64,
    /// SLOAD before Berlin; cold slot access after.
    pub sload: u64,
    /// CALL family before Berlin.
    pub call: u64,
    /// SELFDESTRUCT (EIP-150).
    pub selfdestruct: u64,
    /// Warm access (EIP-2929); 0 before.
    pub warm_access: u64,
    /// Value-bearing call.
    pub call_value: u64,
    /// Call or self-destruct that brings an account into being.
    pub new_account: u64,
    /// CREATE and CREATE2.
    pub create: u64,
    /// Per byte of deployed code.
    pub code_deposit_byte: u64,
    /// EXP, per byte of the exponent (EIP-160).
    pub exp_byte: u64,

    // SSTORE.
    /// 0 to non-zero.
    pub sstore_set: u64,
    /// Any other first write.
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
    /// Wei that the beneficiary of a proof-of-work block earns.
    pub block_reward: u64,
    /// Most bytes of a block's RLP (EIP-7934).
    pub block_size_max: usize,
    /// Most blobs of one transaction (EIP-7594); the block's limit before Osaka.
    pub tx_blobs_max: u64,
}

/// EIP-7825, and the execution dimension's bound in EIP-8037.
pub const TX_GAS_LIMIT_MAX: u64 = 1 << 24;
/// Gas that a value-bearing call gives its callee for free.
pub const CALL_STIPEND: u64 = 2_300;
/// EIP-8038: the first write to an account within a transaction.
pub const ACCOUNT_WRITE: u64 = 9_000;
/// EIP-8038: the first write to a slot within a transaction.
pub const STORAGE_WRITE: u64 = 10_000;
/// EIP-2780: a value transfer to another account.
pub const TX_VALUE_COST: u64 = 6_000;
/// EIP-2780: the recipient's cold access.
pub const TX_RECIPIENT_COST: u64 = 3_000;
/// EIP-3860: per word of init code.
pub const INITCODE_WORD: u64 = 2;
/// EIP-4844: gas of one blob.
pub const GAS_PER_BLOB: u64 = 1 << 17;
/// EIP-8037: `tx.gas` may not exceed it (ethereum/EIPs#12311).
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
/// EIP-8037: state gas per byte, fixed.
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
    // The execution part of bringing an account into being; EIP-8037 charges the state part beside it.
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
    fn every_row_stands_at_its_own_fork() {
        for fork in Fork::ALL {
            assert_eq!(fork.rules().fork, fork);
            assert_eq!(Fork::from_name(fork.name()), Some(fork));
        }
    }
}
