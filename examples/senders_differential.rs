//! Compares batched sender recovery with libsecp256k1 on random signatures.
//!
//! `cargo run --release --example senders_differential -- [COUNT] [THREADS] [SEED]`: COUNT valid signatures (default
//! one million) plus the invalid ones that are drawn meanwhile, in batches of 1 to 200. Prints one line of JSON; exit
//! status 1 after the first difference.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::U256;
use balustrade::exec::senders::{Signature, recover_batch, recover_scalar};

/// xorshift64* (Vigna 2016), with a different seed for each thread.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn word(&mut self) -> U256 {
        U256::from_limbs([self.next(), self.next(), self.next(), self.next()])
    }

    /// Mostly uniform; one in sixteen with long runs of zeros or ones.
    fn scalar(&mut self) -> U256 {
        match self.next() % 32 {
            0 => self.word() >> (self.next() % 256) as usize,
            1 => U256::MAX << (self.next() % 256) as usize,
            _ => self.word(),
        }
    }
}

/// Compares until `count` valid signatures agree, or until a thread finds a difference; returns the numbers of valid
/// and of invalid signatures.
fn compare(count: u64, seed: u64, failed: &AtomicBool) -> (u64, u64) {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut valid, mut invalid) = (0, 0);
    let mut out = vec![None; 200];
    while valid < count && !failed.load(Ordering::Relaxed) {
        let batch_len = 1 + numbers.next() % 200;
        let batch: Vec<_> = (0..batch_len)
            .map(|_| Signature {
                hash: numbers.scalar().into(),
                r: numbers.scalar(),
                s: numbers.scalar(),
                y_parity: numbers.next() & 1 == 1,
                low_s: numbers.next().is_multiple_of(16),
            })
            .collect();
        recover_batch(&batch, &mut out);
        for (signature, found) in batch.iter().zip(&out) {
            let wanted = recover_scalar(signature);
            if *found != wanted {
                failed.store(true, Ordering::Relaxed);
                eprintln!("batch of {batch_len}: {found:?} instead of {wanted:?} for {signature:?}");
                return (valid, invalid);
            }
            if wanted.is_some() { valid += 1 } else { invalid += 1 }
        }
    }
    (valid, invalid)
}

fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let argument = |i: usize, default| arguments.get(i).copied().unwrap_or(default);
    let (count, threads, seed) = (argument(0, 1_000_000), argument(1, 1).max(1), argument(2, 1));
    let failed = AtomicBool::new(false);
    let start = std::time::Instant::now();
    let (valid, invalid) = std::thread::scope(|scope| {
        let failed = &failed;
        let workers: Vec<_> = (0..threads)
            .map(|i| scope.spawn(move || compare(count.div_ceil(threads), seed * 1000 + i, failed)))
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    let agreed = !failed.into_inner() && valid >= count;
    println!(
        r#"{{"agreed":{agreed},"valid":{valid},"invalid":{invalid},"seed":{seed},"seconds":{:.1}}}"#,
        start.elapsed().as_secs_f64()
    );
    if agreed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
