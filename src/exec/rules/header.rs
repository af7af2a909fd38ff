//! Header validation: rules for a header alone, and rules that relate it to its parent.
//!
//! In: the rules in force, a header or block, its parent's header. Out: the first violated rule;
//! the base fee, excess blob gas and difficulty that follow from a parent.
//! Spec: Yellow Paper 4.3.4, EIP-100, 649, 779, 1234, 1559, 3675, 4788, 4844, 7685, 7843, 7918,
//! 7928, 7934.
//! Not here: commitments to results of execution (receipts, state, requests, block access list),
//! and the ethash seal.

use super::fork::{ChainRules, DaoExtraData, Fork, GAS_PER_BLOB};
use crate::exec::wire::{Block, Header};
use alloy_primitives::{B64, B256, U256, b256};

/// keccak256 of the RLP of the empty list: the ommers hash of every block from Paris on, and the hash of an empty block
/// access list (EIP-7928).
pub const EMPTY_OMMERS_HASH: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");

/// EIP-7918: minimum execution gas whose price a blob must cost.
const BLOB_BASE_COST: u64 = 1 << 13;
/// EIP-1559: base fee in wei per gas of the first London block.
pub(crate) const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// Yellow Paper 4.3.4: minimum gas limit of a block.
const GAS_LIMIT_MIN: u64 = 5_000;
/// Maximum gas limit of a block: 63 bits (ethereum/EIPs#106). The executable specification has no
/// maximum; all clients have this one.
const GAS_LIMIT_MAX: u64 = i64::MAX as u64;

/// A violated header rule, for a header alone or in relation to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum HeaderFault {
    #[error("the parent hash is not the hash of the parent")]
    ParentHash,
    #[error("the number is not the parent's plus one")]
    Number,
    #[error("the timestamp is not later than the parent's")]
    Timestamp,
    #[error("the gas limit {limit} is not within 1/1024 of the parent's, {parent}")]
    GasLimit { limit: u64, parent: u64 },
    #[error("gas used {used} exceeds the gas limit {limit}")]
    GasUsedAboveLimit { used: u64, limit: u64 },
    #[error("the gas limit {0} is below 5000")]
    GasLimitTooLow(u64),
    #[error("the gas limit {0} is 2^63 or more")]
    GasLimitTooBig(u64),
    #[error("extra data of {0} bytes, 32 are allowed")]
    ExtraData(usize),
    #[error("the extra data is that of the other side of the DAO fork")]
    DaoExtraData,
    #[error("base fee {claimed:?}, the parent's gives {expected}")]
    BaseFee { claimed: Option<u64>, expected: u64 },
    #[error("difficulty {claimed}, the parent's gives {expected}")]
    Difficulty { claimed: U256, expected: U256 },
    #[error("difficulty or nonce are not those of a proof-of-stake block")]
    ProofOfStake,
    #[error("a proof-of-stake block has no ommers")]
    OmmersAfterMerge,
    #[error("the field {field} is missing: every {} block has it", fork.name())]
    FieldMissing { field: &'static str, fork: Fork },
    #[error("the block has the field {field}, which {} blocks do not have", fork.name())]
    FieldUnknown { field: &'static str, fork: Fork },
    #[error("excess blob gas {claimed:?}, the parent's gives {expected}")]
    ExcessBlobGas { claimed: Option<u64>, expected: u64 },
    #[error("blob gas used {claimed}, the transactions use {produced}")]
    BlobGasUsed { claimed: u64, produced: u64 },
    #[error("blob gas used {used} exceeds the limit {max}")]
    BlobGasAboveLimit { used: u64, max: u64 },
    #[error("the block of {0} bytes is over the size limit")]
    BlockSize(usize),
    #[error("the transactions root does not match the body")]
    TransactionsRoot,
    #[error("the withdrawals root does not match the body")]
    WithdrawalsRoot,
    #[error("the ommers hash does not match the body")]
    Ommers,
}

impl HeaderFault {
    pub(in crate::exec) fn eest_classes(&self) -> &'static [&'static str] {
        match self {
            Self::ParentHash => &["BlockException.UNKNOWN_PARENT"],
            Self::Number => &["BlockException.INVALID_BLOCK_NUMBER"],
            Self::Timestamp => &["BlockException.INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT"],
            Self::GasLimit { .. } | Self::GasLimitTooLow(_) => &["BlockException.INVALID_GASLIMIT"],
            Self::GasUsedAboveLimit { .. } => {
                &["BlockException.INVALID_GAS_USED_ABOVE_LIMIT", "BlockException.INVALID_GAS_USED"]
            }
            Self::GasLimitTooBig(_) => &["BlockException.GASLIMIT_TOO_BIG", "BlockException.INVALID_GASLIMIT"],
            Self::ExtraData(_) => &["BlockException.EXTRA_DATA_TOO_BIG"],
            Self::DaoExtraData => &["BlockException.EXTRA_DATA_INVALID_DAO"],
            Self::BaseFee { .. } => &["BlockException.INVALID_BASEFEE_PER_GAS"],
            Self::Difficulty { .. } => &["BlockException.INVALID_DIFFICULTY"],
            Self::ProofOfStake => &["BlockException.IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS"],
            Self::OmmersAfterMerge => &["BlockException.IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS"],
            Self::FieldMissing { field: "excess_blob_gas", .. }
            | Self::FieldUnknown { field: "excess_blob_gas", .. } => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INCORRECT_EXCESS_BLOB_GAS"]
            }
            Self::FieldMissing { field: "blob_gas_used", .. } | Self::FieldUnknown { field: "blob_gas_used", .. } => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INCORRECT_BLOB_GAS_USED"]
            }
            Self::FieldMissing { field: "requests_hash", .. } | Self::FieldUnknown { field: "requests_hash", .. } => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.INVALID_REQUESTS"]
            }
            Self::FieldMissing { .. } | Self::FieldUnknown { .. } => {
                &["BlockException.INCORRECT_BLOCK_FORMAT", "BlockException.RLP_STRUCTURES_ENCODING"]
            }
            Self::ExcessBlobGas { .. } => &["BlockException.INCORRECT_EXCESS_BLOB_GAS"],
            Self::BlobGasUsed { .. } => &["BlockException.INCORRECT_BLOB_GAS_USED"],
            Self::BlobGasAboveLimit { .. } => &[
                "BlockException.BLOB_GAS_USED_ABOVE_LIMIT",
                "TransactionException.TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
                "TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED",
            ],
            Self::BlockSize(_) => &["BlockException.RLP_BLOCK_LIMIT_EXCEEDED"],
            Self::TransactionsRoot => &["BlockException.INVALID_TRANSACTIONS_ROOT"],
            Self::WithdrawalsRoot => &["BlockException.INVALID_WITHDRAWALS_ROOT"],
            Self::Ommers => &["BlockException.INVALID_UNCLES_HASH", "BlockException.UNCLES_HASH_INVALID"],
        }
    }
}

/// Checks the rules that do not need the parent.
///
/// # Errors
/// The first violated rule.
pub fn check_alone(rules: &ChainRules, block: &Block) -> Result<(), HeaderFault> {
    let header = &block.header;
    let since = |since: Fork| rules.fork >= since;
    check_presence(rules, header)?;
    check_field(rules.fork, "withdrawals", block.withdrawals.is_some(), since(Fork::Shanghai))?;
    if block.encoded_len() > rules.fork_rules().block_size_max {
        return Err(HeaderFault::BlockSize(block.encoded_len()));
    }
    check_values(rules, header)?;
    if since(Fork::Cancun) {
        let produced = check_blob_gas(rules, block)?;
        let claimed = header.blob_gas_used.unwrap_or_default();
        if claimed != produced {
            return Err(HeaderFault::BlobGasUsed { claimed, produced });
        }
    }
    Ok(())
}

/// Checks the rules that need neither the parent nor the body.
///
/// # Errors
/// The first violated rule.
pub fn check_without_body(rules: &ChainRules, header: &Header) -> Result<(), HeaderFault> {
    check_presence(rules, header)?;
    check_values(rules, header)?;
    let (used, max) = (header.blob_gas_used.unwrap_or_default(), rules.blob_schedule.max * GAS_PER_BLOB);
    if used > max { Err(HeaderFault::BlobGasAboveLimit { used, max }) } else { Ok(()) }
}

/// Checks the values of single fields.
fn check_values(rules: &ChainRules, header: &Header) -> Result<(), HeaderFault> {
    check_bounds(rules, header)?;
    let is_proof_of_stake = rules.fork >= Fork::Paris;
    if is_proof_of_stake && (!header.difficulty.is_zero() || header.nonce != B64::ZERO) {
        return Err(HeaderFault::ProofOfStake);
    }
    if is_proof_of_stake && header.ommers_hash != EMPTY_OMMERS_HASH {
        return Err(HeaderFault::OmmersAfterMerge);
    }
    Ok(())
}

/// Checks that each field introduced by a fork is present from that fork on, and absent before.
///
/// # Errors
/// [`HeaderFault::FieldMissing`] or [`HeaderFault::FieldUnknown`] with the first wrong field.
pub fn check_presence(rules: &ChainRules, header: &Header) -> Result<(), HeaderFault> {
    let since = |since: Fork| rules.fork >= since;
    for (name, present, expected) in [
        ("base_fee_per_gas", header.base_fee.is_some(), since(Fork::London)),
        ("withdrawals_root", header.withdrawals_root.is_some(), since(Fork::Shanghai)),
        ("blob_gas_used", header.blob_gas_used.is_some(), since(Fork::Cancun)),
        ("excess_blob_gas", header.excess_blob_gas.is_some(), since(Fork::Cancun)),
        ("parent_beacon_block_root", header.parent_beacon_root.is_some(), since(Fork::Cancun)),
        ("requests_hash", header.requests_hash.is_some(), since(Fork::Prague)),
        ("block_access_list_hash", header.block_access_list_hash.is_some(), since(Fork::Amsterdam)),
        ("slot_number", header.slot_number.is_some(), since(Fork::Amsterdam)),
    ] {
        check_field(rules.fork, name, present, expected)?;
    }
    Ok(())
}

/// Checks that a field of the header or the body is present exactly if the fork has it.
fn check_field(fork: Fork, field: &'static str, present: bool, expected: bool) -> Result<(), HeaderFault> {
    match (present, expected) {
        (false, true) => Err(HeaderFault::FieldMissing { field, fork }),
        (true, false) => Err(HeaderFault::FieldUnknown { field, fork }),
        _ => Ok(()),
    }
}

/// Checks the bounds of single fields: extra data, gas limit, gas used.
///
/// # Errors
/// The first violated bound.
pub fn check_bounds(rules: &ChainRules, header: &Header) -> Result<(), HeaderFault> {
    if header.extra_data.len() > 32 {
        return Err(HeaderFault::ExtraData(header.extra_data.len()));
    }
    let is_marked = *header.extra_data == *DaoExtraData::MARK;
    match rules.dao_extra_data {
        DaoExtraData::Required if !is_marked => return Err(HeaderFault::DaoExtraData),
        DaoExtraData::Forbidden if is_marked => return Err(HeaderFault::DaoExtraData),
        _ => {}
    }
    if header.gas_limit < GAS_LIMIT_MIN {
        return Err(HeaderFault::GasLimitTooLow(header.gas_limit));
    }
    if header.gas_limit > GAS_LIMIT_MAX {
        return Err(HeaderFault::GasLimitTooBig(header.gas_limit));
    }
    if header.gas_used > header.gas_limit {
        return Err(HeaderFault::GasUsedAboveLimit { used: header.gas_used, limit: header.gas_limit });
    }
    Ok(())
}

/// Blob gas of the block's transactions (EIP-4844).
///
/// # Errors
/// [`HeaderFault::BlobGasAboveLimit`] when it exceeds the schedule's maximum.
pub fn check_blob_gas(rules: &ChainRules, block: &Block) -> Result<u64, HeaderFault> {
    let used = block.transactions.blob_count() as u64 * GAS_PER_BLOB;
    let max = rules.blob_schedule.max * GAS_PER_BLOB;
    if used > max { Err(HeaderFault::BlobGasAboveLimit { used, max }) } else { Ok(used) }
}

/// Checks the rules that relate a header to its parent's. `rules` are those of the child.
///
/// # Errors
/// The first violated rule.
pub fn check_against_parent(rules: &ChainRules, header: &Header, parent: &Header) -> Result<(), HeaderFault> {
    if header.parent_hash != parent.hash() {
        return Err(HeaderFault::ParentHash);
    }
    if parent.number.checked_add(1) != Some(header.number) {
        return Err(HeaderFault::Number);
    }
    if header.timestamp <= parent.timestamp {
        return Err(HeaderFault::Timestamp);
    }
    let london = rules.fork >= Fork::London;
    // EIP-1559: the first London block's limit is compared with twice the parent's, because the gas
    // target (half the limit) replaces the old limit.
    let first_london = london && parent.base_fee.is_none();
    let parent_limit = if first_london { parent.gas_limit.saturating_mul(2) } else { parent.gas_limit };
    if header.gas_limit.abs_diff(parent_limit) >= parent_limit / 1024 {
        return Err(HeaderFault::GasLimit { limit: header.gas_limit, parent: parent_limit });
    }
    if london {
        let expected = next_base_fee(parent);
        if header.base_fee != Some(expected) {
            return Err(HeaderFault::BaseFee { claimed: header.base_fee, expected });
        }
    }
    if rules.fork >= Fork::Cancun {
        let expected = next_excess_blob_gas(rules, parent);
        if header.excess_blob_gas != Some(expected) {
            return Err(HeaderFault::ExcessBlobGas { claimed: header.excess_blob_gas, expected });
        }
    }
    if rules.fork < Fork::Paris {
        let expected = next_difficulty(rules, header.number, header.timestamp, parent);
        if header.difficulty != expected {
            return Err(HeaderFault::Difficulty { claimed: header.difficulty, expected });
        }
    }
    Ok(())
}

/// The base fee of `parent`'s child in wei per gas (EIP-1559).
pub fn next_base_fee(parent: &Header) -> u64 {
    let Some(base_fee) = parent.base_fee else { return INITIAL_BASE_FEE };
    let target = parent.gas_limit / 2;
    if target == 0 || parent.gas_used == target {
        return base_fee;
    }
    let delta = |distance: u64| (u128::from(base_fee) * u128::from(distance) / u128::from(target) / 8) as u64;
    if parent.gas_used > target {
        base_fee.saturating_add(delta(parent.gas_used - target).max(1))
    } else {
        base_fee - delta(target - parent.gas_used).min(base_fee)
    }
}

/// The excess blob gas of `parent`'s child (EIP-4844, 7691, 7918). `rules` are those of the child.
pub fn next_excess_blob_gas(rules: &ChainRules, parent: &Header) -> u64 {
    let schedule = rules.blob_schedule;
    let excess = parent.excess_blob_gas.unwrap_or_default();
    let used = parent.blob_gas_used.unwrap_or_default();
    let target = schedule.target.saturating_mul(GAS_PER_BLOB);
    let sum = excess.saturating_add(used);
    if sum < target {
        return 0;
    }
    if rules.fork >= Fork::Osaka && schedule.max > 0 {
        let reserve = U256::from(BLOB_BASE_COST) * U256::from(parent.base_fee.unwrap_or_default());
        let price = U256::from(GAS_PER_BLOB).saturating_mul(blob_base_fee(rules, excess));
        if reserve > price {
            let part = u128::from(used) * u128::from(schedule.max.saturating_sub(schedule.target));
            return excess.saturating_add((part / u128::from(schedule.max)) as u64);
        }
    }
    sum - target
}

/// The blob base fee in wei per blob gas: EIP-4844's exponential function of the excess. Saturates
/// at `U256::MAX`.
pub fn blob_base_fee(rules: &ChainRules, excess_blob_gas: u64) -> U256 {
    fake_exponential(1, excess_blob_gas, rules.blob_schedule.base_fee_update_fraction)
}

/// EIP-4844: approximately `factor * e^(numerator / denominator)`, by its Taylor series.
fn fake_exponential(factor: u64, numerator: u64, denominator: u64) -> U256 {
    let (numerator, denominator) = (U256::from(numerator), U256::from(denominator.max(1)));
    let mut output = U256::ZERO;
    let mut term = U256::from(factor) * denominator;
    let mut i = U256::ONE;
    while !term.is_zero() {
        // No sender can pay a fee of more than 256 bits, so the exact value is irrelevant.
        let Some(sum) = output.checked_add(term) else { return U256::MAX };
        output = sum;
        let Some(product) = term.checked_mul(numerator) else { return U256::MAX };
        term = product / (denominator * i);
        i += U256::ONE;
    }
    output / denominator
}

/// The difficulty of `parent`'s child with this number and timestamp (Yellow Paper; EIP-2, 100,
/// 649, 1234, 2384, 3554).
pub fn next_difficulty(rules: &ChainRules, number: u64, timestamp: u64, parent: &Header) -> U256 {
    let step = parent.difficulty / U256::from(2048);
    let elapsed = timestamp.saturating_sub(parent.timestamp);
    let minimum = U256::from(131_072);
    let adjusted = if rules.fork >= Fork::Homestead {
        let (start, period) = match rules.fork {
            fork if fork >= Fork::Byzantium => (if parent.ommers_hash == EMPTY_OMMERS_HASH { 1 } else { 2 }, 9),
            _ => (1, 10),
        };
        let notches = (elapsed / period).min(start + 99);
        if notches <= start {
            parent.difficulty + step * U256::from(start - notches)
        } else {
            parent.difficulty.saturating_sub(step * U256::from(notches - start))
        }
    } else if elapsed < 13 {
        parent.difficulty + step
    } else {
        parent.difficulty.saturating_sub(step)
    };
    let adjusted = adjusted.max(minimum);
    let period = number.saturating_sub(rules.bomb_delay) / 100_000;
    match period {
        0 | 1 => adjusted,
        _ => (adjusted + (U256::ONE << ((period - 2).min(255) as usize))).max(minimum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::rules::fork::BlobSchedule;
    use crate::exec::wire::assemble;

    #[test]
    fn base_fees_follow_eip_1559() {
        let parent =
            |gas_used| Header { base_fee: Some(1_000_000_000), gas_limit: 20_000_000, gas_used, ..Header::default() };
        assert_eq!(next_base_fee(&parent(10_000_000)), 1_000_000_000);
        assert_eq!(next_base_fee(&parent(9_000_000)), 987_500_000);
        assert_eq!(next_base_fee(&parent(11_000_000)), 1_012_500_000);
        assert_eq!(next_base_fee(&parent(0)), 875_000_000);
    }

    /// A header within the bounds of single fields.
    fn plain() -> Header {
        Header { gas_limit: 30_000_000, ..Header::default() }
    }

    #[test]
    fn a_field_of_another_fork_is_named_with_the_fork() {
        let check = |fork, header: Header| {
            check_presence(&ChainRules::mainnet(fork), &header).map_err(|fault| fault.to_string())
        };
        let london = Header { base_fee: Some(7), ..plain() };
        assert_eq!(check(Fork::Paris, london.clone()), Ok(()));
        assert_eq!(
            check(Fork::Shanghai, london.clone()),
            Err("the field withdrawals_root is missing: every Shanghai block has it".to_owned())
        );
        assert_eq!(
            check(Fork::Berlin, london),
            Err("the block has the field base_fee_per_gas, which Berlin blocks do not have".to_owned())
        );
    }

    #[test]
    fn bounds_of_single_fields() {
        let rules = ChainRules::mainnet(Fork::Frontier);
        let check = |header: Header| check_bounds(&rules, &header);
        assert_eq!(check(plain()), Ok(()));
        assert_eq!(check(Header { gas_limit: 5_000, ..plain() }), Ok(()));
        assert_eq!(check(Header { gas_limit: 4_999, ..plain() }), Err(HeaderFault::GasLimitTooLow(4_999)));
        assert_eq!(check(Header { gas_limit: (1 << 63) - 1, ..plain() }), Ok(()));
        assert_eq!(check(Header { gas_limit: 1 << 63, ..plain() }), Err(HeaderFault::GasLimitTooBig(1 << 63)));
        assert_eq!(check(Header { gas_used: 30_000_000, ..plain() }), Ok(()));
        let (used, limit) = (30_000_001, 30_000_000);
        let above = HeaderFault::GasUsedAboveLimit { used, limit };
        assert_eq!(check(Header { gas_used: used, ..plain() }), Err(above));
        let extra = |len: usize| Header { extra_data: vec![0; len].into(), ..plain() };
        assert_eq!([check(extra(32)), check(extra(33))], [Ok(()), Err(HeaderFault::ExtraData(33))]);
    }

    #[test]
    fn extra_data_follows_the_side_of_the_dao_fork() {
        let marked = Header { extra_data: DaoExtraData::MARK.into(), ..plain() };
        let other = Header { extra_data: b"dao-hard-fork!".as_slice().into(), ..plain() };
        for (side, of_marked, of_other) in [
            (DaoExtraData::Free, Ok(()), Ok(())),
            (DaoExtraData::Required, Ok(()), Err(HeaderFault::DaoExtraData)),
            (DaoExtraData::Forbidden, Err(HeaderFault::DaoExtraData), Ok(())),
        ] {
            let rules = ChainRules { dao_extra_data: side, ..ChainRules::mainnet(Fork::Homestead) };
            assert_eq!(check_bounds(&rules, &marked), of_marked, "{side:?}");
            assert_eq!(check_bounds(&rules, &other), of_other, "{side:?}");
        }
    }

    #[test]
    fn fields_are_present_from_their_fork_on() {
        let of_fork = |fork: Fork| {
            let since = |since: Fork| fork >= since;
            Header {
                base_fee: since(Fork::London).then_some(7),
                withdrawals_root: since(Fork::Shanghai).then_some(B256::ZERO),
                blob_gas_used: since(Fork::Cancun).then_some(0),
                excess_blob_gas: since(Fork::Cancun).then_some(0),
                parent_beacon_root: since(Fork::Cancun).then_some(B256::ZERO),
                requests_hash: since(Fork::Prague).then_some(B256::ZERO),
                block_access_list_hash: since(Fork::Amsterdam).then_some(B256::ZERO),
                slot_number: since(Fork::Amsterdam).then_some(0),
                ..plain()
            }
        };
        let shape = |fork: Fork| {
            [Fork::London, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Amsterdam].map(|since| fork >= since)
        };
        for rules_of in Fork::ALL {
            for header_of in Fork::ALL {
                let checked = check_presence(&ChainRules::mainnet(rules_of), &of_fork(header_of));
                assert_eq!(checked.is_ok(), shape(rules_of) == shape(header_of), "{rules_of:?}, {header_of:?}");
            }
        }
    }

    /// A child of `parent` that satisfies all rules in relation to it.
    fn child(rules: &ChainRules, parent: &Header, gas_limit: u64) -> Header {
        let (number, timestamp) = (parent.number + 1, parent.timestamp + 12);
        let since = |since: Fork| rules.fork >= since;
        Header {
            parent_hash: parent.hash(),
            number,
            timestamp,
            gas_limit,
            base_fee: since(Fork::London).then(|| next_base_fee(parent)),
            excess_blob_gas: since(Fork::Cancun).then(|| next_excess_blob_gas(rules, parent)),
            difficulty: if since(Fork::Paris) { U256::ZERO } else { next_difficulty(rules, number, timestamp, parent) },
            ..Header::default()
        }
    }

    #[test]
    fn gas_limits_move_by_less_than_a_1024th() {
        let rules = ChainRules::mainnet(Fork::Shanghai);
        let parent = Header { base_fee: Some(7), gas_limit: 1_024_000, ..Header::default() };
        let check = |limit| check_against_parent(&rules, &child(&rules, &parent, limit), &parent);
        let fault = |limit| Err(HeaderFault::GasLimit { limit, parent: 1_024_000 });
        assert_eq!([1_023_001, 1_024_999].map(check), [Ok(()); 2]);
        assert_eq!([1_023_000, 1_025_000].map(check), [fault(1_023_000), fault(1_025_000)]);
    }

    #[test]
    fn the_first_block_of_london_doubles_its_gas_limit_and_starts_its_base_fee() {
        let rules = ChainRules::mainnet(Fork::London);
        let parent = Header { difficulty: U256::from(1_000_000), gas_limit: 1_024_000, ..Header::default() };
        let first = child(&rules, &parent, 2_048_000);
        assert_eq!((first.base_fee, check_against_parent(&rules, &first, &parent)), (Some(1_000_000_000), Ok(())));
        let fault = HeaderFault::GasLimit { limit: 1_024_000, parent: 2_048_000 };
        assert_eq!(check_against_parent(&rules, &child(&rules, &parent, 1_024_000), &parent), Err(fault));
        let dear = Header { base_fee: Some(1_000_000_001), ..first };
        let fault = HeaderFault::BaseFee { claimed: Some(1_000_000_001), expected: 1_000_000_000 };
        assert_eq!(check_against_parent(&rules, &dear, &parent), Err(fault));
    }

    #[test]
    fn the_excess_of_blob_gas_follows_the_childs_schedule() {
        let excess = |fork, blob_schedule, base_fee, excess: u64, used: u64| {
            let rules = ChainRules { blob_schedule, ..ChainRules::mainnet(fork) };
            let parent = Header {
                base_fee: Some(base_fee),
                excess_blob_gas: Some(excess),
                blob_gas_used: Some(used * GAS_PER_BLOB),
                ..Header::default()
            };
            next_excess_blob_gas(&rules, &parent)
        };
        // EIP-4844: blob gas that the parent used above the target becomes excess.
        assert_eq!(excess(Fork::Cancun, BlobSchedule::CANCUN, 7, 0, 3), 0);
        assert_eq!(excess(Fork::Cancun, BlobSchedule::CANCUN, 7, 0, 6), 3 * GAS_PER_BLOB);
        // EIP-7691, with a parent of the previous fork: the child's target applies.
        assert_eq!(excess(Fork::Prague, BlobSchedule::PRAGUE, 7, GAS_PER_BLOB, 6), GAS_PER_BLOB);
        // EIP-7892: the same in the first block of a blob-parameter-only fork.
        let dear = 100 * GAS_PER_BLOB * 14;
        assert_eq!(excess(Fork::Osaka, BlobSchedule::BPO1, 7, dear, 15), dear + 5 * GAS_PER_BLOB);
        assert_eq!(excess(Fork::Osaka, BlobSchedule::BPO2, 7, dear, 21), dear + 7 * GAS_PER_BLOB);
        // EIP-7918: below the reserve price (8,192 execution gas for the 131,072 gas of a blob) the
        // excess does not decrease.
        for (schedule, target, max) in
            [(BlobSchedule::PRAGUE, 6, 9), (BlobSchedule::BPO1, 10, 15), (BlobSchedule::BPO2, 14, 21)]
        {
            let used = target * GAS_PER_BLOB;
            // With a blob base fee of 1 wei both prices are equal at a base fee of 16.
            assert_eq!(excess(Fork::Osaka, schedule, 16, used, target), used, "no reserve price: {schedule:?}");
            let scaled = used + used * (max - target) / max;
            assert_eq!(excess(Fork::Osaka, schedule, 17, used, target), scaled, "{schedule:?}");
            assert_eq!(excess(Fork::Prague, schedule, 17, used, target), used, "not before Osaka: {schedule:?}");
        }
        // The parent of the first block with blob gas has no blob gas fields.
        let rules = ChainRules::mainnet(Fork::Cancun);
        assert_eq!(next_excess_blob_gas(&rules, &Header::default()), 0);
    }

    #[test]
    fn proof_of_stake_headers() {
        let rules = ChainRules::mainnet(Fork::Paris);
        let sealed = |header: Header| {
            let block = Block::decode(assemble::<Vec<u8>>(&header, &[]).into()).expect("well-formed");
            check_alone(&rules, &block)
        };
        let valid = Header { base_fee: Some(7), ommers_hash: EMPTY_OMMERS_HASH, ..plain() };
        assert_eq!(sealed(valid.clone()), Ok(()));
        let nonce = B64::repeat_byte(1);
        assert_eq!(sealed(Header { nonce, ..valid.clone() }), Err(HeaderFault::ProofOfStake));
        let difficulty = U256::ONE;
        assert_eq!(sealed(Header { difficulty, ..valid.clone() }), Err(HeaderFault::ProofOfStake));
        assert_eq!(sealed(Header { ommers_hash: B256::ZERO, ..valid }), Err(HeaderFault::OmmersAfterMerge));
    }

    #[test]
    fn the_blob_base_fee_is_one_without_excess_and_saturates() {
        let rules = ChainRules::mainnet(Fork::Cancun);
        assert_eq!(blob_base_fee(&rules, 0), U256::ONE);
        assert_eq!(blob_base_fee(&rules, 10 * GAS_PER_BLOB * 3), U256::from(3));
        assert_eq!(blob_base_fee(&rules, u64::MAX), U256::MAX);
    }
}
