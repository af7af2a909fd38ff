//! `bench block`: measures whole blocks, from the raw bytes to the last check, in every mode on one
//! thread and on several.
//!
//! In: the first blocks of the chain that `run` generates. Out: times per mode and number of
//! threads. These alternate; between repeats only analysed code is kept.
//! Not here: given blocks (`run --repeat K --mode all`).

use super::super::devnet::Devnet;
use super::super::engine::{Accepted, Chain, Engine, Failure};
use super::super::report;
use super::median;
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use serde_json::json;

const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];
/// Number of different blocks.
const BLOCKS: usize = 4;
/// Number of measured rounds per block; [`WARM_UP`] rounds before them are not measured, since code
/// is analysed after a few runs.
const ROUNDS: usize = 9;
const WARM_UP: usize = 2;

/// One mode on one number of threads, summed over all blocks.
struct Row {
    mode: Mode,
    threads: usize,
    /// Sum over the blocks of the median time in nanoseconds.
    ns: f64,
}

/// Measures and prints the results.
pub(super) fn run(json: bool, threads: usize) -> Result<(), Failure> {
    let counts = if threads > 1 { vec![1, threads] } else { vec![1] };
    let engine = |count: &usize| Engine::new(Some(*count as u16), LoopKind::default());
    let mut engines = counts.iter().map(engine).collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<Row> =
        counts.iter().flat_map(|&threads| MODES.map(|mode| Row { mode, threads, ns: 0.0 })).collect();
    let rules = Devnet::rules();
    let mut devnet = Devnet::default();
    let mut chain = Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header)?;
    let mut gas = 0;
    for _ in 0..BLOCKS {
        let built = engines[0].build_devnet(&mut chain, &mut devnet)?;
        gas += built.header.gas_used;
        let mut times = vec![Vec::with_capacity(ROUNDS); rows.len()];
        let mut first: Option<Accepted> = None;
        for round in 0..ROUNDS + WARM_UP {
            for (engine, times) in engines.iter_mut().zip(times.chunks_mut(MODES.len())) {
                for (mode, times) in MODES.into_iter().zip(times) {
                    let list = Some(&built.bal).filter(|_| mode == Mode::Bal).into();
                    let done = engine.execute_or_record(&mut chain, &rules, &built.block, list, Some(mode), false)?;
                    if let Some(what) = first.as_ref().and_then(|first| first.difference(&done)) {
                        return Err(Failure::Invalid { what, classes: Vec::new() });
                    }
                    if round >= WARM_UP {
                        times.push(done.outcome.elapsed_ns as f64);
                    }
                    first.get_or_insert(done);
                }
            }
        }
        rows.iter_mut().zip(times).for_each(|(row, times)| row.ns += median(times));
        let list = Some(&built.bal).into();
        engines[0].execute_or_record(&mut chain, &rules, &built.block, list, Some(Mode::Sequential), true)?;
    }
    print(&rows, gas, threads, json);
    Ok(())
}

fn print(rows: &[Row], gas: u64, threads: usize, json: bool) {
    let of = |mode, threads| rows.iter().find(|row| row.mode == mode && row.threads == threads).map(|row| row.ns);
    let single = of(Mode::Sequential, 1).unwrap_or(f64::NAN);
    if json {
        for row in rows {
            report::json_line(&json!({
                "mode": row.mode.name(), "threads": row.threads, "blocks": BLOCKS, "gas": gas, "ns": row.ns,
                "ggas_per_s": gas as f64 / row.ns, "vs_sequential": single / row.ns,
            }));
        }
        report::json_line(&json!({"summary": {
            "blocks": BLOCKS, "gas": gas, "threads": threads,
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
            format!("{:.3}", row.ns / 1e6 / BLOCKS as f64),
            format!("{:.2}", gas as f64 / row.ns),
            format!("{:.2}", single / row.ns),
        ]);
    }
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    report::line(&format!("medians; {BLOCKS} generated blocks of {:.1} Mgas in all", gas as f64 / 1e6));
}
