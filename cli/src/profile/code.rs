//! Computes the figures of instructions and precompiles from the workers' measurements.
//!
//! In: the measurements of several executions. Out: [`CodeTimes`] per execution. The time of the
//! clock readings is subtracted; a row that would become negative is set to zero. Executions slower
//! than the median are left out, since other processes delayed them.
//! Not here: measuring (`measure`).

use super::data::{CodeCell, CodeRow, CodeTimes, ContractRow};
use alloy_primitives::{Address, B256};
use balustrade::exec::interpreter::opcode;
use balustrade::exec::interpreter::profile::{OUTSIDE, OpcodeProfile, Row, WorkerProfile};
use std::collections::BTreeMap;

/// One execution in the profiled form of the loop.
#[derive(Debug)]
pub struct Watched {
    /// Measurements per worker.
    pub workers: Vec<WorkerProfile>,
    /// Time of all its tasks in nanoseconds.
    pub tasks_ns: u64,
    /// Whether instructions were timed, or the same form of the loop ran without measuring.
    pub timed: bool,
}

/// Mean of the faster half of some times, since the slower half was delayed by other processes.
pub fn faster_half(mut ns: Vec<u64>) -> f64 {
    ns.sort_unstable();
    ns.truncate(ns.len().div_ceil(2));
    ns.iter().sum::<u64>() as f64 / ns.len().max(1) as f64
}

/// Names of the precompiles, by address.
const PRECOMPILES: [&str; 18] = [
    "",
    "ECRECOVER",
    "SHA256",
    "RIPEMD160",
    "IDENTITY",
    "MODEXP",
    "BN254_ADD",
    "BN254_MUL",
    "BN254_PAIRING",
    "BLAKE2F",
    "POINT_EVALUATION",
    "BLS12_G1ADD",
    "BLS12_G1MSM",
    "BLS12_G2ADD",
    "BLS12_G2MSM",
    "BLS12_PAIRING",
    "BLS12_MAP_FP_TO_G1",
    "BLS12_MAP_FP2_TO_G2",
];

fn precompile_name(number: u16) -> String {
    match PRECOMPILES.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None if number == 0x100 => "P256VERIFY".to_owned(),
        None => format!("{number:#x}"),
    }
}

fn opcode_name(code: u16) -> String {
    let name = u8::try_from(code).ok().and_then(opcode::name);
    name.map_or_else(|| format!("{code:#04x} (undefined)"), str::to_owned)
}

/// Difference between the third and the first quartile.
pub fn interquartile_range(mut ns: Vec<f64>) -> f64 {
    ns.sort_by(f64::total_cmp);
    match ns.len() {
        0 => 0.0,
        count => ns[(3 * count / 4).min(count - 1)] - ns[count / 4],
    }
}

/// One row of figures per execution and worker.
type Runs = Vec<Vec<Row>>;

/// Computes the rows of `runs`, per execution. All times are in nanoseconds: `unwatched_ns` is the
/// time of all tasks in the profiled form of the loop without measuring, `shipped_ns` in the form
/// that runs outside of profiling.
pub fn code_times(mut runs: Vec<Watched>, unwatched_ns: f64, shipped_ns: f64, loop_name: &str) -> CodeTimes {
    runs.sort_by_key(|run| run.tasks_ns);
    runs.truncate(runs.len().div_ceil(2));
    let (repeats, workers) = (runs.len(), runs.iter().map(|run| run.workers.len()).max().unwrap_or(0));
    let ticks_as_ns = |ticks: f64| match runs.first().and_then(|run| run.workers.first()) {
        // A million ticks are converted, so that rounding to whole nanoseconds is negligible.
        Some(worker) => ticks * worker.opcodes.nanoseconds(1_000_000) as f64 / 1e6,
        None => 0.0,
    };

    let mut opcodes: BTreeMap<u16, Runs> = BTreeMap::new();
    let mut precompiles: BTreeMap<u16, Runs> = BTreeMap::new();
    let mut contracts: BTreeMap<(Address, B256), Runs> = BTreeMap::new();
    let (mut burned_gas, mut returned_gas) = (0, 0);
    for (at, run) in runs.iter().enumerate() {
        let runs_of = || vec![vec![Row::default(); workers]; repeats];
        let add = |rows: &mut BTreeMap<u16, Runs>, worker: usize, code: u16, row: &Row| {
            rows.entry(code).or_insert_with(runs_of)[at][worker].add(row);
        };
        for (number, worker) in run.workers.iter().enumerate() {
            for (code, row) in worker.opcodes.rows().iter().enumerate().filter(|(_, row)| row.readings > 0) {
                add(&mut opcodes, number, code as u16, row);
            }
            for precompile in worker.precompiles.rows() {
                add(&mut precompiles, number, precompile.number, &precompile.row);
            }
            for contract in worker.opcodes.contracts() {
                let key = (contract.address, contract.code_hash);
                contracts.entry(key).or_insert_with(runs_of)[at][number].add(&contract.row);
            }
            burned_gas += worker.opcodes.burned_gas();
            returned_gas += worker.opcodes.returned_gas();
        }
    }
    let readings = opcodes.values().flatten().flatten().map(|row| row.readings).sum::<u64>() as f64;
    let readings = readings / repeats.max(1) as f64;
    let tasks_ns = runs.iter().map(|run| run.tasks_ns).sum::<u64>() as f64 / repeats.max(1) as f64;
    // Between other instructions a clock reading costs at most as much as alone, since the
    // processor overlaps it with other work. A larger difference is noise.
    let reading_alone_ns = ticks_as_ns(OpcodeProfile::reading_ticks());
    let reading_ns = ((tasks_ns - unwatched_ns) / readings.max(1.0)).clamp(0.0, reading_alone_ns);
    let code_row = |code: u16, name: String, runs: &Runs| {
        let cells = |run: &Vec<Row>| -> Vec<CodeCell> {
            let net = |row: &Row| (ticks_as_ns(row.ticks as f64) - row.readings as f64 * reading_ns).max(0.0);
            // A stipend may make the gas of a call negative.
            let gas = |row: &Row| row.gas.cast_signed() as f64;
            let cell = |row: &Row| CodeCell { count: row.count as f64, gas: gas(row), ns: net(row) };
            run.iter().map(cell).collect()
        };
        let cells: Vec<Vec<CodeCell>> = runs.iter().map(cells).collect();
        let spread_ns = interquartile_range(cells.iter().map(|run| run.iter().map(|cell| cell.ns).sum()).collect());
        let workers = trimmed_means(&cells);
        let mut total = CodeCell::default();
        workers.iter().for_each(|worker| total.add(worker));
        CodeRow { code, name, total, spread_ns, workers }
    };
    let contract_row = |(&(address, code_hash), runs): (&(Address, B256), &Runs)| {
        let CodeRow { total, .. } = code_row(0, String::new(), runs);
        ContractRow { address, code_hash, total }
    };
    let mut contracts: Vec<ContractRow> = contracts.iter().map(contract_row).collect();
    contracts.sort_by(|a, b| b.total.ns.total_cmp(&a.total.ns));
    let outside = opcodes.remove(&(OUTSIDE as u16)).map(|runs| code_row(0, String::new(), &runs));
    CodeTimes {
        loop_name: loop_name.to_owned(),
        repeats: runs.len(),
        reading_ns,
        reading_alone_ns,
        readings,
        watched_ns: tasks_ns,
        unwatched_ns,
        shipped_ns,
        burned_gas: burned_gas / runs.len().max(1) as u64,
        returned_gas: returned_gas / runs.len().max(1) as u64,
        outside_ns: outside.map_or(0.0, |row| row.total.ns),
        opcodes: opcodes.iter().map(|(code, runs)| code_row(*code, opcode_name(*code), runs)).collect(),
        precompiles: precompiles.iter().map(|(code, runs)| code_row(*code, precompile_name(*code), runs)).collect(),
        contracts,
    }
}

/// Means per worker over the executions whose time, summed over all workers, is at most one and a
/// half times the median; the others were delayed by other processes.
fn trimmed_means(runs: &[Vec<CodeCell>]) -> Vec<CodeCell> {
    let ns = |run: &Vec<CodeCell>| run.iter().map(|worker| worker.ns).sum::<f64>();
    let mut sorted: Vec<f64> = runs.iter().map(ns).collect();
    sorted.sort_by(f64::total_cmp);
    let most = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0) * 1.5;
    let kept: Vec<&Vec<CodeCell>> = runs.iter().filter(|run| ns(run) <= most).collect();
    let mut means = vec![CodeCell::default(); runs.first().map_or(0, Vec::len)];
    for run in &kept {
        means.iter_mut().zip(run.iter()).for_each(|(mean, worker)| mean.add(worker));
    }
    for mean in &mut means {
        let count = kept.len().max(1) as f64;
        *mean = CodeCell { count: mean.count / count, gas: mean.gas / count, ns: mean.ns / count };
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_that_was_interrupted_does_not_count() {
        let run = |a, b| [a, b].map(|ns| CodeCell { count: 1.0, gas: 3.0, ns }).to_vec();
        let means = trimmed_means(&[run(2.0, 2.0), run(3.0, 1.0), run(900.0, 2.0), run(1.0, 3.0)]);
        assert_eq!(means, run(2.0, 2.0));
    }

    #[test]
    fn the_interquartile_range_leaves_out_the_extremes() {
        assert_eq!(interquartile_range(vec![9_000.0, 4.0, 3.0, 1.0, 0.0, 2.0, 5.0, 6.0]), 4.0);
        assert_eq!((interquartile_range(Vec::new()), interquartile_range(vec![7.0])), (0.0, 0.0));
    }

    #[test]
    fn precompiles_have_names() {
        assert_eq!(precompile_name(1), "ECRECOVER");
        assert_eq!(precompile_name(0x11), "BLS12_MAP_FP2_TO_G2");
        assert_eq!(precompile_name(0x100), "P256VERIFY");
        assert_eq!(opcode_name(0x0c), "0x0c (undefined)");
    }
}
