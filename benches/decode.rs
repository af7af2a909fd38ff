//! Decoding, checking, hashing and encoding of block access lists.
//!
//! In: sample lists of 50 KB, 500 KB and 5 MB; each repetition reads different bytes, because the branch predictor
//! learns a list that it sees twice. Out: first a table that compares with alloy-eip7928 (both interleaved, median and
//! least time, one thread); then criterion's figures.

use alloy_eip7928::{AccountChanges, validate_block_access_list};
use alloy_primitives::Bytes;
use balustrade::bal::{BalColumns, Limits, bal_hash, decode_into, encode_into, sample};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SIZES: [(&str, usize, usize); 3] = [("50 KB", 50_000, 128), ("500 KB", 500_000, 24), ("5 MB", 5_000_000, 6)];

fn limits() -> Limits {
    Limits { tx_count: sample::TX_COUNT, ..Limits::format_only() }
}

fn alloy(bytes: &Bytes) -> Vec<AccountChanges> {
    let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(bytes).expect("sample lists are valid");
    validate_block_access_list(&list, sample::TX_COUNT).expect("sample lists are valid");
    list
}

fn ours(columns: &mut BalColumns, bytes: &Bytes) {
    decode_into(columns, bytes, &limits()).expect("sample lists are valid");
}

fn samples(len_bytes: usize, count: usize) -> Vec<Bytes> {
    (0..count as u64).map(|seed| sample::list(seed, len_bytes).bytes).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Median and least time, in seconds.
fn summary(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort();
    [times[times.len() / 2], times[0]].map(|time| time.as_secs_f64())
}

/// Measures both decoders in turn over the same lists and prints the table; `fresh` is ours without reused memory.
fn compare() {
    println!("{:>8} {:>12} {:>12} {:>12} {:>12} {:>12}", "list", "decode", "fresh", "alloy", "ratio", "GB/s");
    for (name, len_bytes, count) in SIZES {
        let lists = samples(len_bytes, count);
        let mut columns = BalColumns::default();
        let (mut ours_times, mut fresh_times, mut alloy_times) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..(600 / count).min(12) {
            for bytes in &lists {
                ours_times.push(timed(|| ours(&mut columns, black_box(bytes))));
                alloy_times.push(timed(|| drop(black_box(alloy(black_box(bytes))))));
                fresh_times.push(timed(|| {
                    let mut columns = BalColumns::default();
                    ours(&mut columns, black_box(bytes));
                }));
            }
        }
        let times = [ours_times, fresh_times, alloy_times].map(summary);
        let bytes: usize = lists.iter().map(|bytes| bytes.len()).sum::<usize>() / count;
        for (kind, [ours, fresh, alloy]) in [("median", times.map(|t| t[0])), ("least", times.map(|t| t[1]))] {
            let us = |seconds: f64| format!("{:.1} us", seconds * 1e6);
            let (ours_us, fresh, alloy_us) = (us(ours), us(fresh), us(alloy));
            let (ratio, speed) = (alloy / ours, bytes as f64 / ours / 1e9);
            println!("{name:>8} {ours_us:>12} {fresh:>12} {alloy_us:>12} {ratio:>11.2}x {speed:>12.2}  {kind}");
        }
    }
}

fn bench(criterion: &mut Criterion) {
    // `cargo bench` passes --bench; under `cargo test` one small list is enough.
    let is_test = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    let is_profile = std::env::args().any(|arg| arg == "--profile-time");
    if !is_test && !is_profile {
        compare();
    }
    for (name, len_bytes, count) in SIZES.iter().take(if is_test { 1 } else { SIZES.len() }) {
        let lists = samples(*len_bytes, *count);
        let mut next = lists.iter().cycle();
        let mut group = criterion.benchmark_group(format!("list of {name}"));
        group.throughput(Throughput::Bytes(lists[0].len() as u64));
        let mut columns = BalColumns::default();
        group.bench_function("decode", |bencher| {
            bencher.iter_batched(|| next.next().unwrap(), |bytes| ours(&mut columns, bytes), BatchSize::SmallInput);
        });
        let mut next = lists.iter().cycle();
        group.bench_function("decode, alloy", |bencher| {
            bencher.iter_batched(|| next.next().unwrap(), alloy, BatchSize::SmallInput);
        });
        let mut next = lists.iter().cycle();
        group.bench_function("hash", |bencher| {
            bencher.iter_batched(|| next.next().unwrap(), |bytes| bal_hash(bytes), BatchSize::SmallInput);
        });
        let columns: Vec<BalColumns> = (0..*count as u64).map(|seed| sample::list(seed, *len_bytes).columns).collect();
        let (mut next, mut out) = (columns.iter().cycle(), Vec::new());
        group.bench_function("encode", |bencher| {
            bencher.iter_batched(|| next.next().unwrap(), |bal| encode_into(bal, &mut out), BatchSize::SmallInput);
        });
        println!("hash of the last list encoded: {}", bal_hash(&out));
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
