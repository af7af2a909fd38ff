//! `bench cost`: measures where speculative execution is faster than sequential execution, as the
//! basis of the cost model's bounds.
//!
//! In: nothing; blocks of 1 to 128 equal transactions are generated, each from its own account to
//! its own contract: plain transfers, and hash loops of several lengths. Out: each block's median
//! time in `sequential` and in `optimistic` mode on the given threads, measured alternately; the
//! bounds that fit these times best; the loss of the bounds in use.
//! The loss of a set of bounds is the mean of ln(time of the chosen mode / time of the faster mode)
//! over all blocks.
//! Not here: blocks with conflicts between transactions, which the model cannot predict from
//! counts.

use super::super::devnet::Devnet;
use super::super::engine::{Chain, Engine, Failure, List};
use super::super::measure::median;
use super::super::{Status, report};
use super::BenchArgs;
use super::blocks::{Subject, elapsed_ns};
use alloy_primitives::{Address, U256};
use balustrade::Mode;
use balustrade::exec::block::optimistic::cost::{GAS_MIN, GAS_PER_TX_MIN, TX_COUNT_MIN};
use balustrade::exec::interpreter::LoopKind;
use serde_json::json;

/// Numbers of transactions per block.
const COUNTS: [usize; 11] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128];
/// Numbers of hash rounds per transaction; 0 is a plain transfer.
const ROUNDS: [u64; 6] = [0, 30, 300, 1_500, 6_000, 30_000];
/// Upper bounds of the gas of one round, and of the transaction around the loop.
const ROUND_GAS: u64 = 160;
const AROUND_GAS: u64 = 60_000;
/// Maximal gas of a block; combinations above it are left out.
const GAS_MAX: u64 = 58_000_000;
/// Number of measured rounds, and of rounds before them that are not measured.
const TURNS: (usize, usize) = (21, 3);

/// Median times of one block in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    transactions: usize,
    gas: u64,
    sequential: f64,
    optimistic: f64,
}

/// Lower bounds of speculation: a block below any of them is executed sequentially.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bounds {
    gas: u64,
    tx_count: usize,
    gas_per_tx: u64,
}

/// The bounds of the cost model in use.
const IN_FORCE: Bounds = Bounds { gas: GAS_MIN, tx_count: TX_COUNT_MIN, gas_per_tx: GAS_PER_TX_MIN };

impl Sample {
    fn gas_per_tx(&self) -> u64 {
        self.gas / self.transactions.max(1) as u64
    }

    /// The loss of these bounds on this block: ln(time of the chosen mode / time of the faster
    /// mode).
    fn loss(&self, bounds: Bounds) -> f64 {
        let Bounds { gas, tx_count, gas_per_tx } = bounds;
        let speculates = self.transactions >= tx_count && self.gas >= gas && self.gas_per_tx() >= gas_per_tx;
        let chosen = if speculates { self.optimistic } else { self.sequential };
        (chosen / self.sequential.min(self.optimistic)).ln()
    }
}

fn mean_loss(samples: &[Sample], bounds: Bounds) -> f64 {
    samples.iter().map(|sample| sample.loss(bounds)).sum::<f64>() / samples.len().max(1) as f64
}

/// The bounds of least loss among the measured values; of equal losses the highest bounds, which
/// speculate least.
fn fit(samples: &[Sample]) -> Bounds {
    let sorted = |of: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = samples.iter().map(of).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let (gases, gases_per_tx) = (sorted(|sample| sample.gas), sorted(Sample::gas_per_tx));
    let mut best = (mean_loss(samples, IN_FORCE), IN_FORCE);
    for (gas, tx_count) in gases.iter().flat_map(|gas| COUNTS.map(|count| (*gas, count))) {
        for &gas_per_tx in &gases_per_tx {
            let bounds = Bounds { gas, tx_count, gas_per_tx };
            let loss = mean_loss(samples, bounds);
            if loss < best.0 || (loss == best.0 && bounds > best.1) {
                best = (loss, bounds);
            }
        }
    }
    best.1
}

/// Address of the contract of the transaction at index `number`.
fn contract(number: usize) -> Address {
    Address::left_padding_from(&(0x4a54_0000 + number as u32).to_be_bytes())
}

/// Measures and prints the results.
pub(super) fn run(args: BenchArgs) -> Result<Status, Failure> {
    let threads = args.threads();
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
            let (chain, rules, block, list) = (&mut chain, &rules, &built.block, List::default());
            let mut subject = Subject { name: "generated", chain, rules, block, list };
            let execute = |subject: &mut Subject<'_>, way: usize| {
                subject.execute(&mut engine, [Mode::Sequential, Mode::Optimistic][way])
            };
            let times = subject.in_turns(TURNS, 2, execute, elapsed_ns)?;
            let (sequential, optimistic) = (median(&times[0]), median(&times[1]));
            samples.push(Sample { transactions: count, gas: built.header.gas_used, sequential, optimistic });
        }
    }
    print(&samples, threads, args.json);
    Ok(Status::Good)
}

fn print(samples: &[Sample], threads: usize, json: bool) {
    let fitted = fit(samples);
    let always = Bounds { gas: 0, tx_count: 0, gas_per_tx: 0 };
    let losses = [
        ("fitted", mean_loss(samples, fitted)),
        ("in force", mean_loss(samples, IN_FORCE)),
        ("always sequential", mean_loss(samples, Bounds { gas: u64::MAX, ..always })),
        ("always optimistic", mean_loss(samples, always)),
    ];
    let bounds_json = |Bounds { gas, tx_count, gas_per_tx }: Bounds| json!({"gas": gas, "transactions": tx_count, "gas_per_transaction": gas_per_tx});
    if json {
        for sample in samples {
            report::json_line(&json!({
                "transactions": sample.transactions, "gas": sample.gas,
                "sequential_ns": sample.sequential, "optimistic_ns": sample.optimistic,
            }));
        }
        report::json_line(&json!({"summary": {
            "blocks": samples.len(), "threads": threads,
            "fitted": bounds_json(fitted), "in_force": bounds_json(IN_FORCE),
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
    for (what, Bounds { gas, tx_count, gas_per_tx }) in [("fitted", fitted), ("in force", IN_FORCE)] {
        report::line(&format!(
            "{what}, {threads} threads: at least {gas} gas, {tx_count} transactions, {gas_per_tx} gas per transaction"
        ));
    }
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
            let pays = transactions >= 6 && gas >= 700_000 && gas / transactions as u64 >= 50_000;
            let (sequential, optimistic) = if pays { (2.0, 1.0) } else { (1.0, 1.5) };
            Sample { transactions, gas, sequential, optimistic }
        };
        let samples: Vec<Sample> = COUNTS
            .into_iter()
            .flat_map(|count| [21_000, 50_000, 100_000, 700_000].map(|gas| sample(count, gas * count as u64)))
            .chain([sample(6, 700_000), sample(128, 700_000)])
            .collect();
        let fitted = fit(&samples);
        assert_eq!(mean_loss(&samples, fitted), 0.0, "{fitted:?}");
        let always = Bounds { gas: 0, tx_count: 0, gas_per_tx: 0 };
        assert!(mean_loss(&samples, always) > 0.0);
        assert!(samples.iter().filter(|sample| sample.optimistic < sample.sequential).all(|sample| {
            sample.gas >= fitted.gas
                && sample.transactions >= fitted.tx_count
                && sample.gas_per_tx() >= fitted.gas_per_tx
        }));
    }
}
