//! Cost model: chooses between optimistic and sequential execution when the caller sets no mode.
//!
//! In: number of threads, number of transactions, gas used. Out: whether optimistic execution is expected to be faster.
//! The bounds are fitted to `balustrade bench cost --threads 2`: 59 blocks of 1 to 128 equal transactions without
//! conflicts, 21,000 to 3.2 million gas each, whole blocks from raw bytes to the last check, modes alternating, medians
//! of 21 runs. Measured on two shared processors with some background load; figures are speed relative to sequential
//! execution:
//! - Plain transfers were slower (0.67 to 0.83): distributing a transfer takes longer than running it.
//! - Transactions of 31,000 gas were faster from eight transactions on (1.02 to 1.25).
//! - Transactions of 59,000 gas were faster from two transactions on (1.2 to 1.7).
//!
//! Over these blocks the bounds lose 2 % against always choosing the faster mode; always choosing optimistic execution
//! loses 8 %, never choosing it 18 %. The command prints the data, the best bounds and these losses.
//! Not here: explicitly chosen modes, which always run as chosen; conflicts, which these counts cannot predict.

/// Minimum gas used by a block. Below, the block takes less time than starting the workers.
pub const GAS_MIN: u64 = 110_000;
/// Minimum number of transactions. Below, there is nothing to run in parallel.
pub const TX_COUNT_MIN: usize = 2;
/// Minimum average gas per transaction. Below, distributing a transaction takes longer than running it.
pub const GAS_PER_TX_MIN: u64 = 25_000;

/// Whether optimistic execution is expected to be faster than sequential execution.
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
    fn one_thread_or_little_work_runs_sequentially() {
        assert!(!speculation_pays(1, 300, 30_000_000));
        assert!(!speculation_pays(8, 1, 30_000_000));
        assert!(!speculation_pays(8, 2, 100_000));
        assert!(!speculation_pays(8, 200, 200 * 21_000), "plain transfers");
        assert!(speculation_pays(2, 100, 8_000_000));
    }
}
