//! What measurements share: turns, medians and ratios, thread pools, and the things that are measured.
//!
//! In: closures and workloads. Out: figures. `balustrade bench`, `balustrade profile`, the Criterion benches and the
//! `peers` package use this module, so that each thing is set up and run in one way.
//! Not here: printing, and other implementations (`peers`).

pub mod device;
pub mod flame;
pub mod sampler;
pub mod stored;
pub mod tries;
pub mod workload;

use balustrade::Binding;
use balustrade::executor::pool_builder;

/// Takes samples of several contestants in turns, so that other load on the machine affects all of them alike; returns
/// the samples of each. The first `warm_up` rounds are not counted.
///
/// # Errors
/// The first error of `sample`, whose argument is the contestant's number.
pub fn in_turns<T, E>(
    (rounds, warm_up): (usize, usize),
    contestants: usize,
    mut sample: impl FnMut(usize) -> Result<T, E>,
) -> Result<Vec<Vec<T>>, E> {
    let mut samples: Vec<Vec<T>> = (0..contestants).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds + warm_up {
        for (contestant, samples) in samples.iter_mut().enumerate() {
            let sample = sample(contestant)?;
            if round >= warm_up {
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

/// The median: of an even number the mean of the middle two; NaN if there are none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |row: usize| sorted.get(row).copied().unwrap_or(f64::NAN);
    (at(sorted.len().saturating_sub(1) / 2) + at(sorted.len() / 2)) / 2.0
}

/// The median over rounds of `peer / ours`; NaN if there are none.
pub fn median_ratio(peer: &[f64], ours: &[f64]) -> f64 {
    let ratios: Vec<f64> = peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect();
    median(&ratios)
}

/// The geometric mean; NaN if there are no figures.
pub fn geomean(figures: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for figure in figures {
        sum += figure.ln();
        count += 1;
    }
    (sum / f64::from(count)).exp()
}

/// The least figure; NaN if there are none.
pub fn least(figures: impl IntoIterator<Item = f64>) -> f64 {
    figures.into_iter().fold(f64::NAN, f64::min)
}

/// The system refused to start threads.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {error}")]
pub struct PoolError {
    threads: usize,
    error: rayon::ThreadPoolBuildError,
}

/// Starts a thread pool of this size, each thread bound to a processor where that is possible: a thread that wakes on a
/// busy processor waits there for a time slice, which would distort the figures.
///
/// # Errors
/// [`PoolError`]: the system refuses the threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, PoolError> {
    let threads = threads.max(1);
    pool_builder(threads, Binding::OneEach, "balustrade").build().map_err(|error| PoolError { threads, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_means() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!(median_ratio(&[4.0, 9.0, 2.0], &[2.0, 3.0, 1.0]), 2.0);
        assert!((geomean([1.0, 4.0]) - 2.0).abs() < 1e-12);
        assert_eq!(least([2.0, 1.0]), 1.0);
        assert!(median(&[]).is_nan() && geomean([]).is_nan() && least([]).is_nan());
    }

    #[test]
    fn contestants_take_turns() {
        let mut calls = Vec::new();
        let samples = in_turns((2, 1), 2, |contestant| {
            calls.push(contestant);
            Ok::<_, ()>(calls.len())
        });
        assert_eq!(samples, Ok(vec![vec![3, 5], vec![4, 6]]));
        assert_eq!(calls, [0, 1, 0, 1, 0, 1]);
        assert_eq!(in_turns((1, 0), 2, |contestant| if contestant == 0 { Ok(()) } else { Err("a") }), Err("a"));
    }
}
