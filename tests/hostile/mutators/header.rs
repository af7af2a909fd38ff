//! Mutators of the header's fields.

use super::{Mutator, Parts, flip_bit, special_address};
use crate::hostile::Rng;
use alloy_primitives::{B256, Bloom, U256};
use balustrade::exec::wire::Header;

/// Applies a change that is always possible.
fn set(parts: &mut Parts, change: impl FnOnce(&mut Header)) -> bool {
    change(&mut parts.header);
    true
}

fn hash(rng: &mut Rng) -> B256 {
    B256::from(rng.word())
}

pub(super) const MUTATORS: &[Mutator] = &[
    ("header: list hash", |parts, rng| set(parts, |header| header.block_access_list_hash = Some(hash(rng)))),
    ("header: state root", |parts, rng| set(parts, |header| header.state_root = hash(rng))),
    ("header: receipts root", |parts, rng| set(parts, |header| header.receipts_root = hash(rng))),
    ("header: logs bloom", |parts, rng| {
        let mut bloom = parts.header.logs_bloom.0.0;
        flip_bit(&mut bloom, rng);
        set(parts, |header| header.logs_bloom = Bloom::from(bloom))
    }),
    ("header: requests hash", |parts, rng| set(parts, |header| header.requests_hash = Some(hash(rng)))),
    ("header: gas used", |parts, rng| {
        set(parts, |Header { gas_used: used, .. }| {
            *used = if rng.below(2) == 0 { *used + 1 } else { used.saturating_sub(1) };
        })
    }),
    ("header: gas limit", |parts, rng| {
        set(parts, |Header { gas_limit: limit, gas_used, .. }| {
            let step = *limit / 1024;
            let new = [*limit + 1, limit.wrapping_sub(1), *limit + step, limit.wrapping_sub(step), *gas_used];
            *limit = new[rng.below(5)];
        })
    }),
    ("header: transactions root", |parts, rng| set(parts, |header| header.transactions_root = hash(rng))),
    ("header: withdrawals root", |parts, rng| set(parts, |header| header.withdrawals_root = Some(hash(rng)))),
    ("header: parent hash", |parts, rng| set(parts, |header| header.parent_hash = hash(rng))),
    ("header: number", |parts, rng| {
        set(parts, |header| header.number = [header.number + 1, 0, u64::MAX][rng.below(3)])
    }),
    ("header: timestamp", |parts, rng| {
        set(parts, |Header { timestamp: time, .. }| {
            *time = [*time + 1, 0, time.wrapping_sub(1), u64::MAX][rng.below(4)];
        })
    }),
    ("header: base fee", |parts, rng| {
        set(parts, |header| {
            let fee = header.base_fee.unwrap_or_default();
            header.base_fee = Some([fee + 1, 0, u64::MAX][rng.below(3)]);
        })
    }),
    ("header: blob gas", |parts, rng| {
        set(parts, |header| match rng.below(3) {
            0 => header.blob_gas_used = header.blob_gas_used.map(|used| used + 131_072),
            1 => header.excess_blob_gas = header.excess_blob_gas.map(|excess| excess + 1),
            _ => header.excess_blob_gas = Some(u64::MAX),
        })
    }),
    ("header: beacon root", |parts, rng| set(parts, |header| header.parent_beacon_root = Some(hash(rng)))),
    ("header: coinbase", |parts, rng| set(parts, |header| header.coinbase = special_address(rng))),
    ("header: slot number or randomness", |parts, rng| {
        set(parts, |header| match rng.below(2) {
            0 => header.slot_number = Some(rng.next()),
            _ => header.mix_hash = hash(rng),
        })
    }),
    ("header: extra data", |parts, rng| set(parts, |header| header.extra_data = vec![1; rng.below(40)].into())),
    ("header: proof of work", |parts, rng| {
        set(parts, |header| match rng.below(3) {
            0 => header.difficulty = U256::ONE,
            1 => header.nonce.0[7] ^= 1,
            _ => header.ommers_hash = hash(rng),
        })
    }),
];
