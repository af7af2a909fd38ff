//! The cost model: whether running ahead can win, when nobody chose a mode.
//!
//! The bounds are chosen, not fitted: blocks below them run in well under a millisecond, so that workers, cells and
//! versions cannot be earned back. On one thread speculation costs 0 to 20 % more CPU than running in order.
//! Not here: what an explicit mode does; it always runs as asked.

/// Gas below which a block takes less time than its workers need to get going.
pub const GAS_MIN: u64 = 500_000;
/// Transactions below which there is too little to share out.
pub const TX_COUNT_MIN: usize = 4;

/// Whether to run a block without a list ahead of its order.
pub fn speculation_pays(threads: usize, tx_count: usize, gas_used: u64) -> bool {
    threads > 1 && tx_count >= TX_COUNT_MIN && gas_used >= GAS_MIN
}

#[cfg(test)]
mod tests {
    use super::speculation_pays;

    #[test]
    fn one_thread_or_little_work_runs_in_order() {
        assert!(!speculation_pays(1, 300, 30_000_000));
        assert!(!speculation_pays(8, 1, 30_000_000));
        assert!(!speculation_pays(8, 10, 210_000));
        assert!(speculation_pays(2, 100, 8_000_000));
    }
}
