//! The table, and JSON lines.

use super::measure::{Kind, Measured, Sample};
use balustrade_cli::workload::state_changes::ChangingState;
use serde_json::{Value, json};

/// The median of a figure.
fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count => (figures[(count - 1) / 2] + figures[count / 2]) / 2.0,
    }
}

/// The figures of one store and one kind of block. Times in milliseconds, medians but for `later`.
struct Line {
    kind: Kind,
    total: f64,
    read: f64,
    root: f64,
    durable: f64,
    /// Deferred work per block: the mean, with what was left at the end.
    later: Option<f64>,
    cpu: f64,
    reads: f64,
    read_mib: f64,
    written_mib: f64,
}

fn line(measured: &Measured, kind: Kind) -> Line {
    let samples = &measured.samples[kind as usize];
    let later = (kind == Kind::Next && !samples.is_empty()).then(|| {
        let during: f64 = samples.iter().map(|sample| sample.later).sum();
        (during + measured.rest) / samples.len() as f64
    });
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Line {
        kind,
        total: median(samples, Sample::total),
        read: median(samples, |sample| sample.read),
        root: median(samples, |sample| sample.root),
        durable: median(samples, |sample| sample.durable),
        later,
        cpu: median(samples, |sample| sample.counters.cpu_ns as f64 / 1e6),
        reads: median(samples, |sample| sample.counters.reads as f64),
        read_mib: median(samples, |sample| mib(sample.counters.read_bytes)),
        written_mib: median(samples, |sample| mib(sample.counters.written_bytes)),
    }
}

fn per_row(bytes: u64, workload: &ChangingState) -> f64 {
    let (accounts, slots) = workload.rows();
    bytes as f64 / (accounts + slots) as f64
}

/// Prints one table; ratios are to the first store.
pub(crate) fn table(workload: &ChangingState, measured: &[Measured]) {
    let (accounts, slots) = workload.rows();
    println!("{accounts} accounts, {slots} slots; milliseconds per block; bytes on disk per row, new and at the end\n");
    println!(
        "{:<17} {:<5} {:>7} {:>6} {:>6} {:>7} {:>6} {:>6} {:>6} {:>7} {:>8} {:>6}",
        "store", "block", "ms", "read", "root", "durable", "later", "cpu", "reads", "MiB in", "MiB out", "ratio"
    );
    for kind in Kind::ALL {
        let Some(first) = measured.first().map(|measured| line(measured, kind)) else { return };
        for store in measured {
            let line = line(store, kind);
            println!(
                "{:<17} {:<5} {:>7.1} {:>6.1} {:>6.1} {:>7.1} {:>6} {:>6.1} {:>6.0} {:>7.1} {:>8.1} {:>6.2}",
                store.name,
                line.kind.name(),
                line.total,
                line.read,
                line.root,
                line.durable,
                line.later.map_or_else(String::new, |later| format!("{later:.1}")),
                line.cpu,
                line.reads,
                line.read_mib,
                line.written_mib,
                line.total / first.total,
            );
        }
    }
    println!();
    for store in measured {
        let (new, end) = (per_row(store.filled_bytes, workload), per_row(store.bytes, workload));
        let open = store.open.iter().copied().fold(f64::INFINITY, f64::min);
        let fill = store.fill;
        println!("{:<17} {new:>6.0} {end:>6.0} bytes a row; opened in {open:.0} ms; filled in {fill:.0} s", store.name);
    }
    println!();
}

/// Prints a JSON line for each store.
pub(crate) fn json(workload: &ChangingState, measured: &[Measured]) {
    let (accounts, slots) = workload.rows();
    for store in measured {
        let kinds: serde_json::Map<String, Value> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let line = line(store, kind);
                let value = json!({
                    "blocks": store.samples[kind as usize].len(),
                    "ms": line.total, "read_ms": line.read, "root_ms": line.root, "durable_ms": line.durable,
                    "later_ms": line.later, "cpu_ms": line.cpu, "device_reads": line.reads,
                    "read_mib": line.read_mib, "written_mib": line.written_mib,
                });
                (kind.name().to_owned(), value)
            })
            .collect();
        println!(
            "{}",
            json!({
                "store": store.name, "accounts": accounts, "slots": slots, "blocks": kinds,
                "bytes_per_row_new": per_row(store.filled_bytes, workload),
                "bytes_per_row": per_row(store.bytes, workload),
                "open_ms": store.open, "fill_s": store.fill,
            })
        );
    }
}
