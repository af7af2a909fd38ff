//! `bench cost`: where running ahead pays; the measurements behind the bounds of the cost model.
//!
//! In: nothing. Blocks of 1 to 128 equal transactions, each from its own account to its own contract: plain transfers,
//! and loops of hashes of several lengths. Out: each block's median time in `sequential` and in `optimistic` mode on the
//! given threads, taken in turns; the bounds that fit these times best; what the bounds in force lose against them.
//! The loss of a pair of bounds is the mean of ln(time chosen / time of the better mode) over all blocks.
//! Not here: blocks whose transactions get in each other's way, which no count foresees.

use super::super::devnet::Devnet;
use super::super::engine::{Chain, Engine, Failure, List};
use super::super::report;
use super::median;
use alloy_primitives::{Address, U256};
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::optimistic::cost::{GAS_MIN, TX_COUNT_MIN};
use serde_json::json;

/// Transactions per block.
const COUNTS: [usize; 11] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128];
/// Rounds of hashing per transaction; none: a plain transfer.
const ROUNDS: [u64; 6] = [0, 30, 300, 1_500, 6_000, 30_000];
/// Gas of a round, at most, and of all around the loop.
const ROUND_GAS: u64 = 160;
const AROUND_GAS: u64 = 60_000;
/// Blocks of more gas do not fit.
const GAS_MAX: u64 = 58_000_000;
/// Turns that count, after [`WARM_UP`] that do not.
const TURNS: usize = 21;
const WARM_UP: usize = 3;

/// One block's times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    transactions: usize,
    gas: u64,
    sequential: f64,
    optimistic: f64,
}

impl Sample {
    /// What bounds lose on this block: ln(time chosen / better time).
    fn loss(&self, gas_min: u64, tx_count_min: usize) -> f64 {
        let speculates = self.transactions >= tx_count_min && self.gas >= gas_min;
        let chosen = if speculates { self.optimistic } else { self.sequential };
        (chosen / self.sequential.min(self.optimistic)).ln()
    }
}

fn mean_loss(samples: &[Sample], gas_min: u64, tx_count_min: usize) -> f64 {
    samples.iter().map(|sample| sample.loss(gas_min, tx_count_min)).sum::<f64>() / samples.len().max(1) as f64
}

/// The bounds of least loss; of equal ones the highest, which speculate least.
fn fit(samples: &[Sample]) -> (u64, usize) {
    let mut gases: Vec<u64> = samples.iter().map(|sample| sample.gas).collect();
    gases.sort_unstable();
    let pairs = COUNTS.iter().flat_map(|count| gases.iter().map(move |gas| (*gas, *count)));
    let loss = |pair: &(u64, usize)| mean_loss(samples, pair.0, pair.1);
    let better = |best: (u64, usize), pair: (u64, usize)| {
        let (old, new) = (loss(&best), loss(&pair));
        if new < old || (new == old && pair > best) { pair } else { best }
    };
    pairs.reduce(better).unwrap_or((GAS_MIN, TX_COUNT_MIN))
}

/// The contract of the `number`-th transaction.
fn contract(number: usize) -> Address {
    Address::left_padding_from(&(0x4a54_0000 + number as u32).to_be_bytes())
}

/// Measures and prints.
pub(super) fn run(json: bool, threads: usize) -> Result<(), Failure> {
    let mut engine = Engine::new(Some(threads as u16), LoopKind::default())?;
    let rules = Devnet::rules();
    let mut samples = Vec::new();
    for rounds in ROUNDS {
        for count in COUNTS {
            let gas_limit = if rounds == 0 { 21_000 } else { AROUND_GAS + rounds * ROUND_GAS };
            if gas_limit * count as u64 > GAS_MAX {
                continue;
            }
            let mut devnet = Devnet::default();
            let mut state = devnet.genesis_state();
            let code = state.insert_code(Devnet::hashing_code().into());
            (0..count)
                .for_each(|at| state.insert_account(contract(at), 1, U256::ZERO, code, [(U256::ZERO, U256::ONE)]));
            let mut chain = Chain::at_genesis(state, Devnet::genesis_header)?;
            let Some(template) = chain.head().map(Devnet::template) else { continue };
            let base_fee = template.base_fee.unwrap_or_default();
            let transactions: Vec<_> =
                (0..count).map(|at| devnet.hashing_call(at, contract(at), rounds, gas_limit, base_fee)).collect();
            let built = engine.build(&mut chain, &rules, &template, &transactions)?;
            let mut times = [Vec::new(), Vec::new()];
            for turn in 0..WARM_UP + TURNS {
                for (mode, times) in [Mode::Sequential, Mode::Optimistic].into_iter().zip(&mut times) {
                    let list = List::default();
                    let done = engine.execute_or_record(&mut chain, &rules, &built.block, list, Some(mode), false)?;
                    if turn >= WARM_UP {
                        times.push(done.outcome.elapsed_ns as f64);
                    }
                }
            }
            let [sequential, optimistic] = times.map(median);
            samples.push(Sample { transactions: count, gas: built.header.gas_used, sequential, optimistic });
        }
    }
    print(&samples, threads, json);
    Ok(())
}

fn print(samples: &[Sample], threads: usize, json: bool) {
    let (gas_min, tx_count_min) = fit(samples);
    let losses = [
        ("fitted", mean_loss(samples, gas_min, tx_count_min)),
        ("in force", mean_loss(samples, GAS_MIN, TX_COUNT_MIN)),
        ("always sequential", mean_loss(samples, u64::MAX, 0)),
        ("always optimistic", mean_loss(samples, 0, 0)),
    ];
    if json {
        for sample in samples {
            report::json_line(&json!({
                "transactions": sample.transactions, "gas": sample.gas,
                "sequential_ns": sample.sequential, "optimistic_ns": sample.optimistic,
            }));
        }
        report::json_line(&json!({"summary": {
            "blocks": samples.len(), "threads": threads,
            "gas_min": gas_min, "tx_count_min": tx_count_min,
            "gas_min_in_force": GAS_MIN, "tx_count_min_in_force": TX_COUNT_MIN,
            "loss_fitted": losses[0].1, "loss_in_force": losses[1].1,
            "loss_sequential": losses[2].1, "loss_optimistic": losses[3].1,
        }}));
        return;
    }
    let mut table = report::table();
    table.set_header(["txs", "kgas", "sequential µs", "optimistic µs", "sequential / optimistic"]);
    for sample in samples {
        table.add_row([
            sample.transactions.to_string(),
            format!("{:.0}", sample.gas as f64 / 1e3),
            format!("{:.0}", sample.sequential / 1e3),
            format!("{:.0}", sample.optimistic / 1e3),
            format!("{:.2}", sample.sequential / sample.optimistic),
        ]);
    }
    report::right_align(&mut table, 0);
    report::line(&table.to_string());
    report::line(&format!("fitted on {threads} threads: {gas_min} gas and {tx_count_min} transactions at least"));
    report::line(&format!("in force: {GAS_MIN} gas and {TX_COUNT_MIN} transactions at least"));
    for (what, loss) in losses {
        report::line(&format!("mean loss against the better mode, {what}: {:.1} %", 100.0 * loss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_finds_the_bounds_that_the_times_follow() {
        let sample = |transactions: usize, gas: u64| {
            let pays = transactions >= 6 && gas >= 700_000;
            let (sequential, optimistic) = if pays { (2.0, 1.0) } else { (1.0, 1.5) };
            Sample { transactions, gas, sequential, optimistic }
        };
        let samples: Vec<Sample> = COUNTS
            .into_iter()
            .flat_map(|count| [21_000, 100_000, 700_000].map(|gas| sample(count, gas * count as u64)))
            .chain([sample(128, 700_000)])
            .collect();
        let (gas_min, tx_count_min) = fit(&samples);
        assert_eq!(mean_loss(&samples, gas_min, tx_count_min), 0.0);
        assert_eq!((gas_min, tx_count_min), (700_000, 6));
        assert!(mean_loss(&samples, 0, 0) > 0.0);
    }
}
