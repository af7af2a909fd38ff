//! `bench senders`: compares batched sender recovery with libsecp256k1 and k256, which recover one
//! sender at a time.
//!
//! In: nothing; valid signatures are generated. Out: a table, or one JSON object per batch size and
//! last `{"summary": {...}}`. Figures are printed only if all three implementations agree on every
//! sender; a difference is an error.
//!
//! Every figure is the median over rounds in which the implementations alternate, in both orders,
//! so that a slowdown of the machine affects all of them. A ratio is the peer's time over the time
//! of the batched recovery: above 1 the latter is faster.
//! Not here: whole blocks (`bench::senders`).

use super::bench_pool::{PoolError, pool};
use super::report;
use super::report::median;
use std::hint::black_box;
use std::time::Instant;

use alloy_primitives::{Address, U256, keccak256};
use balustrade::exec::senders::{Signature, recover_batch, recover_scalar};
use k256::ecdsa::{RecoveryId, Signature as PeerSignature, VerifyingKey};
use serde_json::json;

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

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Two implementations recovered different senders.
    #[error("{peer} recovers another sender than the batch for signature {row} of {batch}")]
    Mismatch {
        /// The other implementation.
        peer: &'static str,
        /// Index of the signature in the batch.
        row: usize,
        /// Number of signatures in the batch.
        batch: usize,
    },
    /// The threads could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Nanoseconds per signature for one batch size.
struct Row {
    batch: usize,
    ours_ns: f64,
    libsecp256k1_ns: f64,
    k256_ns: f64,
    /// Median over the rounds of the ratio of times within a round.
    vs_libsecp256k1: f64,
}

/// Measures and prints the results; the last measurement uses `threads` threads at once.
pub fn run(json: bool, threads: usize) -> Result<(), BenchError> {
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
    let scaling = measure_threads(&signatures[..HEADLINE_BATCH], threads.max(1))?;
    let headline = rows.iter().find(|row| row.batch == HEADLINE_BATCH).map_or(f64::NAN, |row| row.vs_libsecp256k1);
    let least = rows.iter().map(|row| row.vs_libsecp256k1).fold(f64::INFINITY, f64::min);
    if json {
        report::json_line(&json!({"summary": {"vs_libsecp256k1_batch64": headline, "vs_libsecp256k1_min": least,
                "threads": threads.max(1), "threads_scaling": scaling}}));
        return Ok(());
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
        "{} threads recover {scaling:.2} times as many senders as one thread in the same time.",
        threads.max(1)
    ));
    Ok(())
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
fn measure(signatures: &[Signature]) -> Result<Row, BenchError> {
    let batch = signatures.len();
    let mut out = vec![None; batch];
    recover_batch(signatures, &mut out);
    for (row, (signature, found)) in signatures.iter().zip(&out).enumerate() {
        for (peer, sender) in [("libsecp256k1", recover_scalar(signature)), ("k256", recover_k256(signature))] {
            if sender != *found {
                return Err(BenchError::Mismatch { peer, row, batch });
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
    let (mut ours_ns, mut libsecp256k1_ns, mut k256_ns, mut ratios) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let (own, peer) = if round % 2 == 0 {
            let own = ours(own_passes);
            (own, one_by_one(recover_scalar))
        } else {
            let peer = one_by_one(recover_scalar);
            (ours(own_passes), peer)
        };
        ratios.push(peer / own);
        ours_ns.push(own);
        libsecp256k1_ns.push(peer);
        if round < K256_ROUNDS {
            k256_ns.push(one_by_one(recover_k256));
        }
    }
    Ok(Row {
        batch,
        ours_ns: median(ours_ns),
        libsecp256k1_ns: median(libsecp256k1_ns),
        k256_ns: median(k256_ns),
        vs_libsecp256k1: median(ratios),
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
    let ratios = (0..21).map(|_| threads as f64 * time(&one) / time(&many)).collect();
    Ok(median(ratios))
}
