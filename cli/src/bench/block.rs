//! `bench block`: measures whole blocks, from the raw bytes to the last check, in every mode on one
//! thread and on several.
//!
//! In: the first blocks of the chain that `run` generates. Out: times per mode and number of
//! threads. These alternate; between repeats only analysed code is kept.
//! Not here: given blocks (`run --repeat K --mode all`).

use super::super::contents::no_block;
use super::super::engine::Failure;
use super::super::measure::median;
use super::super::{Status, report};
use super::blocks::{Subject, each_block, elapsed_ns, engines};
use super::{BenchArgs, wrong};
use balustrade::Mode;
use balustrade::exec::wire::Header;
use serde_json::json;

const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];
/// Number of different blocks.
const BLOCKS: usize = 4;
/// Number of measured rounds per block, and of rounds before them that are not measured, since code is analysed after a
/// few runs.
const ROUNDS: (usize, usize) = (9, 2);

/// One mode on one number of threads, summed over all blocks.
struct Row {
    mode: Mode,
    threads: usize,
    /// Sum over the blocks of the median time in nanoseconds.
    ns: f64,
}

/// Measures and prints the results.
pub(super) fn run(args: BenchArgs) -> Result<Status, Failure> {
    let counts = args.thread_counts();
    let mut engines = engines(counts.iter().copied())?;
    let mut rows: Vec<Row> =
        counts.iter().flat_map(|&threads| MODES.map(|mode| Row { mode, threads, ns: 0.0 })).collect();
    let (mut blocks, mut gas) = (0, 0);
    let status = each_block(&[], BLOCKS, &mut engines, &mut |engines, subject| {
        let execute = |subject: &mut Subject<'_>, way: usize| {
            subject.execute(&mut engines[way / MODES.len()], MODES[way % MODES.len()])
        };
        let times = subject.in_turns(ROUNDS, rows.len(), execute, elapsed_ns)?;
        rows.iter_mut().zip(times).for_each(|(row, times)| row.ns += median(&times));
        blocks += 1;
        gas += Header::of_block(subject.block).map_err(|error| wrong(error.to_string()))?.gas_used;
        Ok(())
    });
    if blocks == 0 {
        return Ok(no_block(status));
    }
    print(&rows, (blocks, gas), args);
    Ok(status)
}

fn print(rows: &[Row], (blocks, gas): (usize, u64), args: BenchArgs) {
    let threads = args.threads();
    let of = |mode, threads| rows.iter().find(|row| row.mode == mode && row.threads == threads).map(|row| row.ns);
    let single = of(Mode::Sequential, 1).unwrap_or(f64::NAN);
    if args.json {
        for row in rows {
            report::json_line(&json!({
                "mode": row.mode.name(), "threads": row.threads, "blocks": blocks, "gas": gas, "ns": row.ns,
                "ggas_per_s": gas as f64 / row.ns, "vs_sequential": single / row.ns,
            }));
        }
        report::json_line(&json!({"summary": {
            "blocks": blocks, "gas": gas, "threads": threads,
            "bal_vs_sequential": of(Mode::Bal, threads).map(|ns| single / ns),
            "ggas_per_s": of(Mode::Bal, threads).map(|ns| gas as f64 / ns),
        }}));
        return;
    }
    let mut table = report::table();
    table.set_header(["mode", "threads", "ms per block", "Ggas/s", "vs sequential on 1 thread"]);
    for row in rows {
        table.add_row([
            row.mode.name().to_owned(),
            row.threads.to_string(),
            format!("{:.3}", row.ns / 1e6 / blocks as f64),
            format!("{:.2}", gas as f64 / row.ns),
            format!("{:.2}", single / row.ns),
        ]);
    }
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    report::line(&format!("medians; {blocks} generated blocks of {:.1} Mgas in all", gas as f64 / 1e6));
}
