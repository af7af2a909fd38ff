//! `bench trie`: measures the state root of a block against the time of the hashing alone.
//!
//! In: generated states and changes. Out: times per shape and number of threads, and their ratio to
//! the limit. The limit is the number of Keccak permutations that the block needs, times the time
//! of one permutation in full batches (measured in the same run), divided by the number of threads.
//! The state is in memory; each block is applied and undone. One thread and several alternate;
//! their roots must be equal.
//! Not here: other tries.

use super::super::report;
use super::{PoolError, median, pool};
use balustrade::StateChanges;
use balustrade::arena::keccak::Width;
use balustrade::trie::workload::{Measured, Workload, measure, permutation_ns};
use balustrade::trie::{StateTries, TrieError};
use serde_json::json;

/// Changed accounts and changed slots of a block.
const SHAPES: [(usize, usize); 3] = [(500, 2_000), (2_000, 10_000), (10_000, 50_000)];
/// Number of different blocks of one shape.
const BLOCKS: u64 = 4;
/// Number of turns for each number of threads.
const TURNS: usize = 5;
/// Number of measured rounds over all blocks in one turn.
const ROUNDS: usize = 2;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrieBenchError {
    /// A block cannot be applied.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// The roots depend on the number of threads.
    #[error("the roots of {changed} + {slots} on {accounts} accounts differ between numbers of threads")]
    Roots {
        /// Number of accounts in the state.
        accounts: u64,
        /// Number of changed accounts.
        changed: usize,
        /// Number of changed slots.
        slots: usize,
    },
    /// The threads could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// One shape on one number of threads.
struct Row {
    accounts: u64,
    shape: (usize, usize),
    threads: usize,
    /// Time of an update including its root.
    median_ns: f64,
    best_ns: f64,
    cold_ns: f64,
    hashes: f64,
    permutations: f64,
    /// Time of the hashing alone on these threads.
    limit_ns: f64,
    /// Time of one thread over the time of these threads, median over the turns.
    scaling: f64,
}

/// Measures and prints the figures for one thread and for `threads` threads.
pub(super) fn run(sizes: &[u64], json: bool, threads: usize, width: Width) -> Result<(), TrieBenchError> {
    let counts = if threads > 1 { vec![1, threads] } else { vec![1] };
    let pools = counts.iter().map(|count| pool(*count)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    for accounts in sizes {
        let workload = Workload { accounts: *accounts };
        let state = workload.state();
        let mut tries = pools[pools.len() - 1].install(|| StateTries::from_flat(&state))?;
        drop(state);
        tries.set_width(width);
        for shape in SHAPES {
            let new = measure_shape(&mut tries, &workload, shape, &pools, width)?;
            if json {
                new.iter().for_each(|row| report::json_line(&row.json()));
            }
            rows.extend(new);
        }
    }
    let over_max = rows.iter().map(Row::over_limit).fold(0.0, f64::max);
    let scaling_min = rows.iter().filter(|row| row.threads > 1).map(|row| row.scaling).fold(f64::INFINITY, f64::min);
    if json {
        let mut summary = json!({"over_keccak_limit_max": over_max, "keccak": width.name()});
        if threads > 1 {
            summary[format!("scaling_{threads}_threads_min")] = json!(scaling_min);
        }
        report::json_line(&json!({"summary": summary}));
        return Ok(());
    }
    print_table(&rows, width);
    Ok(())
}

fn measure_shape(
    tries: &mut StateTries,
    workload: &Workload,
    shape: (usize, usize),
    pools: &[rayon::ThreadPool],
    width: Width,
) -> Result<Vec<Row>, TrieBenchError> {
    let (changed, slots) = shape;
    let blocks: Vec<StateChanges> = (0..BLOCKS).map(|block| workload.block(block, changed, slots)).collect();
    let mut turns: Vec<Vec<Measured>> = pools.iter().map(|_| Vec::with_capacity(TURNS)).collect();
    let mut permutation = f64::INFINITY;
    for _ in 0..TURNS {
        permutation = permutation.min(permutation_ns(width));
        for (pool, turns) in pools.iter().zip(&mut turns) {
            turns.push(pool.install(|| measure(tries, &blocks, ROUNDS))?);
        }
    }
    let Some(first) = turns.iter().flatten().next() else { return Ok(Vec::new()) };
    if turns.iter().flatten().any(|turn| turn.roots != first.roots) {
        return Err(TrieBenchError::Roots { accounts: workload.accounts, changed, slots });
    }
    let row = |(pool, own): (&rayon::ThreadPool, &Vec<Measured>)| {
        let threads = pool.current_num_threads();
        let permutations = first.permutations();
        Row {
            accounts: workload.accounts,
            shape,
            threads,
            median_ns: median(own.iter().flat_map(|turn| turn.update_ns.iter().copied()).collect()),
            best_ns: own.iter().map(Measured::best_ns).fold(f64::INFINITY, f64::min),
            cold_ns: own.first().map_or(f64::NAN, |turn| turn.cold_ns),
            hashes: first.count.hashes as f64 / BLOCKS as f64,
            permutations,
            limit_ns: permutations * permutation / threads as f64,
            scaling: median(turns[0].iter().zip(own).map(|(one, own)| one.median_ns() / own.median_ns()).collect()),
        }
    };
    Ok(pools.iter().zip(&turns).map(row).collect())
}

impl Row {
    /// Time of an update over the limit.
    fn over_limit(&self) -> f64 {
        self.median_ns / self.limit_ns
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "accounts": self.accounts, "changed_accounts": self.shape.0, "changed_slots": self.shape.1,
            "threads": self.threads, "median_ns": self.median_ns, "best_ns": self.best_ns, "cold_ns": self.cold_ns,
            "hashes": self.hashes, "permutations": self.permutations,
            "hashes_per_s": self.hashes * 1e9 / self.median_ns, "keccak_limit_ns": self.limit_ns,
            "over_keccak_limit": self.over_limit(), "scaling": self.scaling,
        })
    }
}

fn print_table(rows: &[Row], width: Width) {
    let mut table = report::table();
    table.set_header([
        "accounts",
        "changed",
        "slots",
        "threads",
        "ms",
        "best",
        "cold",
        "hashes",
        "M hashes/s",
        "limit, ms",
        "over limit",
        "scaling",
    ]);
    for row in rows {
        let ms = |ns: f64| format!("{:.2}", ns / 1e6);
        table.add_row([
            row.accounts.to_string(),
            row.shape.0.to_string(),
            row.shape.1.to_string(),
            row.threads.to_string(),
            ms(row.median_ns),
            ms(row.best_ns),
            ms(row.cold_ns),
            format!("{:.0}", row.hashes),
            format!("{:.1}", row.hashes * 1e3 / row.median_ns),
            ms(row.limit_ns),
            format!("{:.2}", row.over_limit()),
            format!("{:.2}", row.scaling),
        ]);
    }
    report::right_align(&mut table, 0);
    report::line(&table.to_string());
    report::line(&format!(
        "medians; the limit is the number of permutations times their cost in full {} batches, divided by the threads",
        width.name()
    ));
}
