//! `bench stream`: measures what code costs that a client meets for the first time.
//!
//! In: bundles in the order in which a client meets the blocks, or none: then blocks of the chain that `run` generates.
//! Out: for each block the median times in `bal` mode of three arrangements, which alternate:
//! - *cold*: an executor that knows no code;
//! - *stream*: an executor that has executed the blocks before it once each, and this one never;
//! - *hot*: an executor that has executed this block several times.
//!
//! All have their threads and their memory from the blocks before. Not here: other implementations (`peers`).

use super::super::engine::{Engine, Failure};
use super::super::measure::{geomean, median};
use super::super::{Status, contents, report};
use super::BenchArgs;
use super::blocks::{Subject, each_block, elapsed_ns, engines};
use balustrade::Mode;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Number of generated blocks without inputs.
const BLOCKS: usize = 20;
/// Executions before a hot one, since code is decoded after a few.
const WARM_UP: usize = 3;
/// Place of the executor that executes each block cold, and of the one that executes it hot; those behind stream.
const COLD: usize = 0;
const HOT: usize = 1;

/// Options of `bench stream`.
#[derive(Clone, Debug, Args)]
pub struct StreamArgs {
    /// Bundles in block order: files, folders, .tar.gz or .tar.zst archives; without any, blocks of the generated chain
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Number of executions of each block in each arrangement; the median is reported
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Median times of a block in nanoseconds.
struct Row {
    name: String,
    hot: f64,
    cold: f64,
    stream: f64,
}

/// Measures and prints the results.
pub(super) fn run(args: &StreamArgs) -> Result<Status, Failure> {
    let (runs, threads) = (args.runs as usize, args.bench.threads());
    let mut engines = engines((0..HOT + 1 + runs).map(|_| threads))?;
    let mut rows = Vec::new();
    let status = each_block(&args.inputs, BLOCKS, &mut engines, &mut |engines, subject| {
        rows.push(measure(engines, subject, runs)?);
        Ok(())
    });
    if rows.is_empty() {
        return Ok(contents::no_block(status));
    }
    print(&rows, threads, args.bench.json);
    Ok(status)
}

fn measure(engines: &mut [Engine], subject: &mut Subject<'_>, runs: usize) -> Result<Row, Failure> {
    for _ in 0..WARM_UP {
        subject.execute(&mut engines[HOT], Mode::Bal)?;
    }
    // One way per executor; a way that streams runs in the first round alone, since the next would not be its first.
    let mut times: [Vec<f64>; 3] = Default::default();
    for run in 0..runs {
        engines[COLD].forget_codes();
        for (times, way) in times.iter_mut().zip([COLD, HOT, HOT + 1 + run]) {
            engines[way].forget_hashes();
            times.push(elapsed_ns(&subject.execute(&mut engines[way], Mode::Bal)?));
        }
    }
    let [cold, hot, stream] = times.map(|times| median(&times));
    Ok(Row { name: subject.name.to_owned(), hot, cold, stream })
}

/// The sum of the times in milliseconds, and the geometric means of the ratios to hot.
fn summary(rows: &[Row]) -> ([f64; 3], [f64; 2]) {
    let ms = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / 1e6;
    let times = [ms(|row| row.hot), ms(|row| row.cold), ms(|row| row.stream)];
    let ratios =
        [geomean(rows.iter().map(|row| row.cold / row.hot)), geomean(rows.iter().map(|row| row.stream / row.hot))];
    (times, ratios)
}

fn print(rows: &[Row], threads: usize, is_json: bool) {
    let ([hot, cold, stream], [cold_ratio, stream_ratio]) = summary(rows);
    if is_json {
        let times = |hot: f64, cold: f64, stream: f64| json!({"hot_ms": hot, "cold_ms": cold, "stream_ms": stream});
        for row in rows {
            let mut line = times(row.hot / 1e6, row.cold / 1e6, row.stream / 1e6);
            line["name"] = Value::from(row.name.as_str());
            report::json_line(&line);
        }
        let mut line = times(hot, cold, stream);
        line["threads"] = Value::from(threads);
        line["blocks"] = Value::from(rows.len());
        line["cold_over_hot"] = Value::from(cold_ratio);
        line["stream_over_hot"] = Value::from(stream_ratio);
        return report::json_line(&json!({ "summary": line }));
    }
    let mut table = report::table();
    table.set_header(["block", "hot, ms", "cold, ms", "stream, ms", "cold/hot", "stream/hot"]);
    let mut add = |name: &str, times: [f64; 3], ratios: [f64; 2]| {
        let ms = times.map(|ms| format!("{ms:.2}"));
        let ratios = ratios.map(|ratio| format!("{ratio:.2}"));
        table.add_row([name.to_owned()].into_iter().chain(ms).chain(ratios));
    };
    for row in rows {
        let times = [row.hot, row.cold, row.stream].map(|ns| ns / 1e6);
        add(&row.name, times, [row.cold / row.hot, row.stream / row.hot]);
    }
    add("sum; geometric mean", [hot, cold, stream], [cold_ratio, stream_ratio]);
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    report::line(&format!("medians; {} blocks from their lists on {threads} threads", rows.len()));
}
