//! `bench senders INPUT...`: measures the effect of batched sender recovery on whole blocks.
//!
//! In: bundles. Out: per block the median time in `bal` mode, from the raw bytes to the last check,
//! with senders recovered one at a time by libsecp256k1 and in batches, on one thread and on
//! several; and the median of the ratios per round.
//! Not here: recovery alone (`bench_senders`).

use super::super::contents::{each_content, no_block};
use super::super::engine::{Chain, Engine, Failure, List};
use super::super::{Status, interrupt, report};
use super::{BenchArgs, median};
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use balustrade::executor::Recovery;
use balustrade::formats::{Bundle, Content};
use serde_json::json;
use std::path::PathBuf;

/// Number of measured rounds; [`WARM_UP`] rounds before them are not measured, since code is
/// analysed after a few runs.
const ROUNDS: usize = 11;
const WARM_UP: usize = 2;

/// One block on one number of threads.
struct Row {
    block: String,
    transactions: usize,
    threads: usize,
    one_by_one_ns: f64,
    batched_ns: f64,
    /// Median over the rounds of the time with single recovery over the time with batches.
    ratio: f64,
}

/// Measures and prints the results.
pub(super) fn run(inputs: &[PathBuf], bench: BenchArgs) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let threads = bench.threads();
    let counts = if threads > 1 { vec![1, threads] } else { vec![1] };
    let engine = |count: &usize| Engine::new(Some(*count as u16), LoopKind::default());
    let mut engines = match counts.iter().map(engine).collect::<Result<Vec<_>, _>>() {
        Ok(engines) => engines,
        Err(error) => {
            report::complain(&error);
            return Status::Unusable;
        }
    };
    let (mut rows, mut status) = (Vec::new(), Status::Good);
    each_content(inputs, &mut |name, content| {
        let result = match content {
            Ok(Content::Bundle(bundle)) => measure(&mut engines, &counts, &bundle, &mut rows),
            Ok(Content::Tests(_)) => Err(Failure::Host("the file holds tests, not a bundle".into())),
            Err(error) => Err(Failure::Host(error.to_string())),
        };
        if let Err(error) = result {
            report::complain(&format_args!("{name}: {error}"));
            status = Status::Unusable;
        }
    });
    if rows.is_empty() {
        return no_block(status);
    }
    print(&rows, &counts, bench.json);
    status
}

fn measure(engines: &mut [Engine], counts: &[usize], bundle: &Bundle, rows: &mut Vec<Row>) -> Result<(), Failure> {
    let Some(rules) = bundle.rules else {
        return Err(Failure::Host(format!("the fork {} is not supported", bundle.fork_name)));
    };
    let mut chain = Chain::of_bundle(bundle)?;
    let given = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
    let list = engines[0].complete_list(&mut chain, &rules, &bundle.block, given)?;
    let mut transactions = 0;
    let mut times = vec![[Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)]; counts.len()];
    for round in 0..ROUNDS + WARM_UP {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            for (recovery, times) in [Recovery::OneByOne, Recovery::Batched].into_iter().zip(times) {
                engine.recovery = recovery;
                let done = engine.execute_or_record(
                    &mut chain,
                    &rules,
                    &bundle.block,
                    list.as_list(),
                    Some(Mode::Bal),
                    false,
                )?;
                transactions = done.outcome.transactions.len();
                if round >= WARM_UP {
                    times.push(done.outcome.elapsed_ns as f64);
                }
            }
        }
    }
    for (threads, [one_by_one, batched]) in counts.iter().zip(times) {
        let ratios = one_by_one.iter().zip(&batched).map(|(one, batch)| one / batch).collect();
        rows.push(Row {
            block: bundle.name.clone(),
            transactions,
            threads: *threads,
            one_by_one_ns: median(one_by_one),
            batched_ns: median(batched),
            ratio: median(ratios),
        });
    }
    Ok(())
}

fn print(rows: &[Row], counts: &[usize], json: bool) {
    let geomean = |threads: usize| {
        let logs: Vec<f64> = rows.iter().filter(|row| row.threads == threads).map(|row| row.ratio.ln()).collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
    };
    if json {
        for row in rows {
            report::json_line(&json!({
                "block": row.block, "transactions": row.transactions, "threads": row.threads,
                "libsecp256k1_ns": row.one_by_one_ns, "batched_ns": row.batched_ns, "ratio": row.ratio,
            }));
        }
        let geomeans: serde_json::Map<String, serde_json::Value> =
            counts.iter().map(|threads| (format!("geomean_ratio_{threads}"), json!(geomean(*threads)))).collect();
        report::json_line(&json!({"summary": geomeans}));
        return;
    }
    let mut table = report::table();
    table.set_header(["block", "txs", "threads", "one by one, ms", "batched, ms", "ratio"]);
    for row in rows {
        table.add_row([
            row.block.clone(),
            row.transactions.to_string(),
            row.threads.to_string(),
            format!("{:.3}", row.one_by_one_ns / 1e6),
            format!("{:.3}", row.batched_ns / 1e6),
            format!("{:.2}", row.ratio),
        ]);
    }
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    for threads in counts {
        report::line(&format!("geometric mean on {threads} threads: {:.2}", geomean(*threads)));
    }
}
