//! `bench bal`: decodes block access lists to validated columns, and hashes them.
//!
//! In: generated lists. Out: nanoseconds per list for decoding, hashing, and both at once.
//! Consecutive measurements use different lists, since the branch predictor learns a list that it
//! decodes repeatedly. Decoding includes validation and reuses the columns of the previous list
//! (`cold`: new columns).
//! Not here: other decoders.

use super::super::engine::Failure;
use super::super::measure::{least, median, pool};
use super::super::{Status, report};
use super::{BenchArgs, wrong};
use balustrade::bal::{BalColumns, BalError, Limits, bal_hash, decode_into, sample};
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

/// Name, length in bytes, and number of different lists.
const SIZES: [(&str, usize, u64); 3] = [("50 KB", 50_000, 128), ("500 KB", 500_000, 24), ("5 MB", 5_000_000, 6)];
/// Approximate number of decodings of each size.
const REPEATS: u64 = 240;
/// Maximal number of decodings of one list.
const PASSES_MAX: u64 = 8;

/// Median nanoseconds per list of one size.
struct Row {
    list: &'static str,
    bytes: usize,
    decode_ns: f64,
    cold_ns: f64,
    hash_ns: f64,
    /// Decoding and hashing at the same time, on two threads where there are several.
    both_ns: f64,
}

/// Measures and prints the results.
pub(super) fn run(args: BenchArgs) -> Result<Status, Failure> {
    let (json, threads) = (args.json, args.threads());
    let pool = pool(threads)?;
    let limits = Limits { tx_count: sample::TX_COUNT, ..Limits::format_only() };
    let mut rows = Vec::new();
    for size in SIZES {
        let row = measure(&pool, &limits, size)?;
        if json {
            report::json_line(&json!({
                "list": row.list, "bytes": row.bytes, "threads": threads, "decode_ns": row.decode_ns,
                "decode_cold_ns": row.cold_ns, "hash_ns": row.hash_ns, "decode_and_hash_ns": row.both_ns,
                "decode_gb_per_s": row.bytes as f64 / row.decode_ns, "hash_gb_per_s": row.bytes as f64 / row.hash_ns,
                "hash_share": row.hash_ns / (row.hash_ns + row.decode_ns),
            }));
        }
        rows.push(row);
    }
    if json {
        report::json_line(&json!({"summary": {
            "threads": threads,
            "decode_gb_per_s_min": least(rows.iter().map(|row| row.bytes as f64 / row.decode_ns)),
            "hash_share_min": least(rows.iter().map(|row| row.hash_ns / (row.hash_ns + row.decode_ns))),
        }}));
        return Ok(Status::Good);
    }
    let mut table = report::table();
    table.set_header([
        "list",
        "bytes",
        "decode, us",
        "cold, us",
        "hash, us",
        "both, us",
        "decode GB/s",
        "hash share %",
    ]);
    for row in &rows {
        let us = |ns: f64| format!("{:.1}", ns / 1e3);
        table.add_row([
            row.list.to_owned(),
            row.bytes.to_string(),
            us(row.decode_ns),
            us(row.cold_ns),
            us(row.hash_ns),
            us(row.both_ns),
            format!("{:.2}", row.bytes as f64 / row.decode_ns),
            format!("{:.0}", 100.0 * row.hash_ns / (row.hash_ns + row.decode_ns)),
        ]);
    }
    report::right_align(&mut table, 1);
    report::line(&table.to_string());
    report::line(&format!("medians; decoding includes validation; both: decoding beside hashing on {threads} threads"));
    Ok(Status::Good)
}

/// Measures all four figures alternately over the same lists.
fn measure(
    pool: &rayon::ThreadPool,
    limits: &Limits,
    (list, len_bytes, count): (&'static str, usize, u64),
) -> Result<Row, Failure> {
    let lists: Vec<_> = (0..count).map(|seed| sample::list(seed, len_bytes).bytes).collect();
    let mut columns = BalColumns::default();
    let refused = |error: BalError| wrong(format!("a sample list is refused: {error}"));
    for bytes in &lists {
        decode_into(&mut columns, bytes, limits).map_err(refused)?;
        if balustrade::bal::encode(&columns) != *bytes {
            let len = bytes.len();
            return Err(wrong(format!("a sample list of {len} bytes is encoded to other bytes after decoding")));
        }
    }
    let (mut decode, mut cold, mut hash, mut both) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for bytes in (0..(REPEATS / count).min(PASSES_MAX)).flat_map(|_| &lists) {
        let start = Instant::now();
        decode_into(&mut columns, black_box(bytes), limits).map_err(refused)?;
        decode.push(start.elapsed().as_nanos() as f64);

        let start = Instant::now();
        black_box(bal_hash(black_box(bytes)));
        hash.push(start.elapsed().as_nanos() as f64);

        let start = Instant::now();
        let mut fresh = BalColumns::default();
        decode_into(&mut fresh, black_box(bytes), limits).map_err(refused)?;
        cold.push(start.elapsed().as_nanos() as f64);

        both.push(pool.install(|| {
            let start = Instant::now();
            let (_, decoded) = rayon::join(|| black_box(bal_hash(bytes)), || decode_into(&mut columns, bytes, limits));
            decoded.map(|_| start.elapsed().as_nanos() as f64).map_err(refused)
        })?);
    }
    let bytes = lists.iter().map(|bytes| bytes.len()).sum::<usize>() / lists.len().max(1);
    let [decode_ns, cold_ns, hash_ns, both_ns] = [decode, cold, hash, both].map(|times| median(&times));
    Ok(Row { list, bytes, decode_ns, cold_ns, hash_ns, both_ns })
}
