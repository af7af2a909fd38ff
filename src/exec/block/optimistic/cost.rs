//! The cost model: whether running ahead can win, when nobody chose a mode.
//!
//! The bounds are fitted to `balustrade bench cost --threads 2`: 59 blocks of 1 to 128 equal transactions that do not get
//! in each other's way, 21,000 to 3.2 million gas each, whole blocks from raw bytes to last check, modes in turns, medians
//! of 21. Measured on two shared processors, in part disturbed: plain transfers never paid (0.67 to 0.83 of sequential
//! speed: a transfer takes less time than to share it), 31,000 gas a transaction paid from eight on (1.02 to 1.25),
//! 59,000 from two on (1.2 to 1.7). Over these blocks the bounds lose 2 % against always choosing the better mode;
//! always speculating loses 8 %, never 18 %. The command prints the data, the best bounds and these losses.
//! Not here: what an explicit mode does; it always runs as asked. Conflicts, which no count foresees.

/// Gas below which a block takes less time than its workers need to get going.
pub const GAS_MIN: u64 = 110_000;
/// Transactions below which there is nothing to share out.
pub const TX_COUNT_MIN: usize = 2;
/// Gas of a transaction, on the average, below which sharing it costs more than running it.
pub const GAS_PER_TX_MIN: u64 = 25_000;

/// Whether to run a block without a list ahead of its order.
pub fn speculation_pays(threads: usize, tx_count: usize, gas_used: u64) -> bool {
    threads > 1
        && tx_count >= TX_COUNT_MIN
        && gas_used >= GAS_MIN
        && gas_used >= GAS_PER_TX_MIN.saturating_mul(tx_count as u64)
}

#[cfg(test)]
mod tests {
    use super::speculation_pays;

    #[test]
    fn one_thread_or_little_work_runs_in_order() {
        assert!(!speculation_pays(1, 300, 30_000_000));
        assert!(!speculation_pays(8, 1, 30_000_000));
        assert!(!speculation_pays(8, 2, 100_000));
        assert!(!speculation_pays(8, 200, 200 * 21_000), "plain transfers");
        assert!(speculation_pays(2, 100, 8_000_000));
    }
}
