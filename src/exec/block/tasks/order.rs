//! The order in which the tasks of a block with a block access list are taken.
//!
//! In: the gas limits of the transactions, the number of workers. Out: block access indices.
//! Relies on: nothing about the tasks but their gas limits; any order gives the same result.
//! Not here: handing the tasks out (`schedule`).

use crate::exec::rules::fork::TX_GAS_LIMIT_MAX;

/// Number of leading transactions that keep their place in the order: their senders are recovered first.
const HEAD: usize = 16;
/// A transaction is moved forward if its gas exceeds this fraction (1/64) of the gas of one worker's part.
const LONG_SHARE: u64 = 64;

/// The order in which `workers` take the tasks of a block in `bal` mode, as block access indices; empty for block
/// order.
///
/// The first 16 transactions keep their place. Of the others, those with a high gas limit come first, in descending
/// order, so that no worker runs a long one after the others are done. A gas limit is an upper bound, so every
/// transaction that comes late is short. `gas_limit` returns the gas limit of a transaction by its position in the
/// block, from 0; `transactions` is their number.
pub fn task_order(transactions: usize, gas_limit: impl Fn(usize) -> u64, workers: usize) -> Vec<u32> {
    if workers < 2 || transactions <= HEAD {
        return Vec::new();
    }
    let gas = |index: &u32| gas_limit(*index as usize - 1).min(TX_GAS_LIMIT_MAX);
    let (head, indices) = (HEAD as u32, transactions as u32);
    let sum = (head + 1..=indices).map(|index| gas(&index)).fold(0, u64::saturating_add);
    let long_min = sum / (LONG_SHARE * workers as u64);
    let mut order = Vec::with_capacity(transactions + 2);
    order.extend(0..=head);
    order.extend((head + 1..=indices).filter(|index| gas(index) > long_min));
    order[HEAD + 1..].sort_by_key(|index| core::cmp::Reverse(gas(index)));
    order.extend((head + 1..=indices).filter(|index| gas(index) <= long_min));
    order.push(indices + 1);
    order
}
