//! `bench senders`: compares batched sender recovery with libsecp256k1 and k256, which recover one
//! sender at a time; with bundles, its effect on whole blocks.
//!
//! In: bundles, or nothing: valid signatures are generated. Out: a table, or one JSON object per batch size or block and
//! last `{"summary": {...}}`. Figures are printed only if all implementations agree on every sender; a difference is an
//! error. Of a block, the time in `bal` mode from the raw bytes to the last check is measured, with senders recovered
//! one at a time by libsecp256k1 and in batches, on one thread and on several.
//!
//! Every figure is the median over rounds in which the implementations alternate (for signatures in both orders),
//! so that a slowdown of the machine affects all of them. A ratio is the peer's time over the time
//! of the batched recovery: above 1 the latter is faster.

use super::super::contents::no_block;
use super::super::engine::Failure;
use super::super::measure::{PoolError, geomean, least, median, median_ratio, pool};
use super::super::{Status, report};
use super::blocks::{Subject, each_block, elapsed_ns, engines};
use super::{BenchArgs, wrong};
use alloy_primitives::{Address, U256, keccak256};
use balustrade::Mode;
use balustrade::exec::senders::{Signature, recover_batch, recover_scalar};
use balustrade::exec::wire::Block;
use balustrade::executor::Recovery;
use k256::ecdsa::{RecoveryId, Signature as PeerSignature, VerifyingKey};
use serde_json::json;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

/// Batch sizes: incomplete groups, one group of lanes, pairs of groups, and the number of
/// signatures of a block.
const BATCHES: [usize; 14] = [1, 2, 3, 4, 7, 8, 9, 16, 24, 32, 64, 128, 256, 1024];
/// Batch size of the summary's figure and of the measurement on several threads.
const HEADLINE_BATCH: usize = 64;
const ROUNDS: usize = 31;
/// k256 takes about three times as long, so fewer rounds are measured.
const K256_ROUNDS: usize = 3;
/// Minimal number of signatures per measurement, so that the clock's resolution does not matter.
const SIGNATURES_MIN: usize = 128;

/// Number of measured rounds per block, and of rounds before them that are not measured, since code is analysed after a
/// few runs.
const BLOCK_ROUNDS: (usize, usize) = (11, 2);

/// Nanoseconds per signature for one batch size.
struct Row {
    batch: usize,
    ours_ns: f64,
    libsecp256k1_ns: f64,
    k256_ns: f64,
    /// Median over the rounds of the ratio of times within a round.
    vs_libsecp256k1: f64,
}

/// Measures generated signatures and prints the results; the last measurement uses all threads at once.
pub(super) fn run(args: BenchArgs) -> Result<Status, Failure> {
    let (json, threads) = (args.json, args.threads());
    let signatures = made_up_signatures(BATCHES.into_iter().max().unwrap_or(HEADLINE_BATCH));
    let mut rows = Vec::new();
    for batch in BATCHES {
        let row = measure(&signatures[..batch])?;
        if json {
            report::json_line(&json!({"batch": batch, "ours_ns": row.ours_ns, "libsecp256k1_ns": row.libsecp256k1_ns,
                    "k256_ns": row.k256_ns, "vs_libsecp256k1": row.vs_libsecp256k1,
                    "vs_k256": row.k256_ns / row.ours_ns}));
        }
        rows.push(row);
    }
    let scaling = measure_threads(&signatures[..HEADLINE_BATCH], threads)?;
    let headline = rows.iter().find(|row| row.batch == HEADLINE_BATCH).map_or(f64::NAN, |row| row.vs_libsecp256k1);
    let least = least(rows.iter().map(|row| row.vs_libsecp256k1));
    if json {
        report::json_line(&json!({"summary": {"vs_libsecp256k1_batch64": headline, "vs_libsecp256k1_min": least,
                "threads": threads, "threads_scaling": scaling}}));
        return Ok(Status::Good);
    }
    let mut table = report::table();
    table.set_header(["batch", "ours, ns", "libsecp256k1, ns", "k256, ns", "vs libsecp256k1", "vs k256"]);
    for row in &rows {
        table.add_row([
            row.batch.to_string(),
            format!("{:.0}", row.ours_ns),
            format!("{:.0}", row.libsecp256k1_ns),
            format!("{:.0}", row.k256_ns),
            format!("{:.2}", row.vs_libsecp256k1),
            format!("{:.2}", row.k256_ns / row.ours_ns),
        ]);
    }
    report::right_align(&mut table, 0);
    report::line(&table.to_string());
    report::line(&format!(
        "{threads} threads recover {scaling:.2} times as many senders as one thread in the same time."
    ));
    Ok(Status::Good)
}

/// Generates valid signatures: any r that is the x coordinate of a curve point is valid.
fn made_up_signatures(count: usize) -> Vec<Signature> {
    let mut seed = U256::ZERO;
    let mut next = || {
        seed = keccak256(seed.to_be_bytes::<32>()).into();
        seed
    };
    let draw = || Signature { hash: next().into(), r: next(), s: next() >> 1, y_parity: next().bit(0), low_s: true };
    std::iter::repeat_with(draw).filter(|signature| recover_scalar(signature).is_some()).take(count).collect()
}

/// Recovers one sender with k256. It does not check Ethereum's rules for signatures, which the
/// generated ones satisfy.
fn recover_k256(signature: &Signature) -> Option<Address> {
    let parts = PeerSignature::from_scalars(signature.r.to_be_bytes::<32>(), signature.s.to_be_bytes::<32>()).ok()?;
    let id = RecoveryId::new(signature.y_parity, false);
    let key = VerifyingKey::recover_from_prehash(signature.hash.as_slice(), &parts, id).ok()?;
    Some(Address::from_raw_public_key(key.to_sec1_point(false).as_bytes().get(1..)?))
}

/// Checks that all implementations agree, then measures them alternately.
fn measure(signatures: &[Signature]) -> Result<Row, Failure> {
    let batch = signatures.len();
    let mut out = vec![None; batch];
    recover_batch(signatures, &mut out);
    for (row, (signature, found)) in signatures.iter().zip(&out).enumerate() {
        for (peer, sender) in [("libsecp256k1", recover_scalar(signature)), ("k256", recover_k256(signature))] {
            if sender != *found {
                let what = format!("{peer} recovers another sender than the batch for signature {row} of {batch}");
                return Err(wrong(what));
            }
        }
    }
    let passes = SIGNATURES_MIN.div_ceil(batch);
    let mut ours = |passes: usize| {
        let start = Instant::now();
        (0..passes).for_each(|_| recover_batch(black_box(signatures), &mut out));
        start.elapsed().as_nanos() as f64 / (passes * batch) as f64
    };
    let one_by_one = |recover: fn(&Signature) -> Option<Address>| {
        let start = Instant::now();
        for signature in (0..passes).flat_map(|_| signatures) {
            black_box(recover(black_box(signature)));
        }
        start.elapsed().as_nanos() as f64 / (passes * batch) as f64
    };
    // The number of batched passes is chosen to take about as long as the peer's, so that
    // interruptions by a busy machine affect both equally.
    let own_passes = passes * (one_by_one(recover_scalar) / ours(passes)).round().clamp(1.0, 32.0) as usize;
    let (mut ours_ns, mut libsecp256k1_ns, mut k256_ns) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let (own, peer) = if round % 2 == 0 {
            let own = ours(own_passes);
            (own, one_by_one(recover_scalar))
        } else {
            let peer = one_by_one(recover_scalar);
            (ours(own_passes), peer)
        };
        ours_ns.push(own);
        libsecp256k1_ns.push(peer);
        if round < K256_ROUNDS {
            k256_ns.push(one_by_one(recover_k256));
        }
    }
    Ok(Row {
        batch,
        ours_ns: median(&ours_ns),
        libsecp256k1_ns: median(&libsecp256k1_ns),
        k256_ns: median(&k256_ns),
        vs_libsecp256k1: median_ratio(&libsecp256k1_ns, &ours_ns),
    })
}

/// Ratio of the signatures that `threads` threads recover to those of one thread in the same time;
/// the two measurements alternate.
fn measure_threads(signatures: &[Signature], threads: usize) -> Result<f64, PoolError> {
    /// Batches per thread in one round: tens of milliseconds, far above the cost of starting a
    /// thread.
    const BATCHES_PER_ROUND: usize = 200;
    let (one, many) = (pool(1)?, pool(threads)?);
    let time = |pool: &rayon::ThreadPool| {
        let start = Instant::now();
        pool.broadcast(|_| {
            let mut out = vec![None; signatures.len()];
            (0..BATCHES_PER_ROUND).for_each(|_| recover_batch(black_box(signatures), &mut out));
        });
        start.elapsed().as_secs_f64()
    };
    let ratios: Vec<f64> = (0..21).map(|_| threads as f64 * time(&one) / time(&many)).collect();
    Ok(median(&ratios))
}

/// One block on one number of threads.
struct BlockRow {
    block: String,
    transactions: usize,
    threads: usize,
    one_by_one_ns: f64,
    batched_ns: f64,
    /// Median over the rounds of the time with single recovery over the time with batches.
    ratio: f64,
}

/// Measures whole blocks and prints the results.
pub(super) fn run_blocks(inputs: &[PathBuf], args: BenchArgs) -> Result<Status, Failure> {
    const WAYS: [Recovery; 2] = [Recovery::OneByOne, Recovery::Batched];
    let counts = args.thread_counts();
    let mut engines = engines(counts.iter().copied())?;
    let mut rows = Vec::new();
    let status = each_block(inputs, 0, &mut engines, &mut |engines, subject| {
        let ways = WAYS.len() * counts.len();
        let execute = |subject: &mut Subject<'_>, way: usize| {
            let engine = &mut engines[way / WAYS.len()];
            engine.recovery = WAYS[way % WAYS.len()];
            subject.execute(engine, Mode::Bal)
        };
        let times = subject.in_turns(BLOCK_ROUNDS, ways, execute, elapsed_ns)?;
        let block = Block::decode(subject.block.clone()).map_err(|error| wrong(error.to_string()))?;
        for (threads, times) in counts.iter().zip(times.chunks_exact(WAYS.len())) {
            rows.push(BlockRow {
                block: subject.name.to_owned(),
                transactions: block.transactions.len(),
                threads: *threads,
                one_by_one_ns: median(&times[0]),
                batched_ns: median(&times[1]),
                ratio: median_ratio(&times[0], &times[1]),
            });
        }
        Ok(())
    });
    if rows.is_empty() {
        return Ok(no_block(status));
    }
    print_blocks(&rows, &counts, args.json);
    Ok(status)
}

fn print_blocks(rows: &[BlockRow], counts: &[usize], json: bool) {
    let geomean = |threads: usize| geomean(rows.iter().filter(|row| row.threads == threads).map(|row| row.ratio));
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
