//! Samples the stacks of all threads while a closure is called repeatedly.
//!
//! In: the closure, and what to make of a function's name and source file. Out: stacks with their numbers of samples.
//! pprof keeps one address per function and stack, so that all code inlined into a hot function
//! would be attributed to that of the first sample. Many short sessions, each with its own first
//! sample, even this out.
//! Not here: what a stack means (`profile::samples`, `peers`), drawing (`flame`).

use std::collections::HashMap;
use std::ffi::c_void;
use std::time::{Duration, Instant};

/// Requested samples per second of processor time; kernels may limit it to their timer frequency,
/// often 250. A prime, so that sampling does not align with periodic work.
const FREQUENCY: i32 = 997;
/// Length of one session.
const SESSION: Duration = Duration::from_millis(250);

/// Totals of a sampling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampled {
    /// Number of samples.
    pub samples: u64,
    /// Number of sessions.
    pub sessions: usize,
    /// Number of calls of the closure.
    pub repeats: u64,
    /// Processor time of the process during the sampling, if the system reports it.
    pub cpu_ns: Option<u64>,
}

impl Sampled {
    /// Nanoseconds of processor time per call that one sample represents.
    pub fn sample_ns(&self) -> f64 {
        let cpu_ns = self.cpu_ns.map_or(self.samples as f64 * 1e9 / f64::from(FREQUENCY), |ns| ns as f64);
        cpu_ns / self.samples.max(1) as f64 / self.repeats.max(1) as f64
    }
}

/// Samples all threads while `once` is called repeatedly for `length`. `frame` makes a frame from a function's
/// demangled name and source file; the name of an inlined function has no path. `stack` gets the number of the
/// session, the frames of a stack beginning with the innermost function (each with the functions that were inlined
/// into it, innermost first), and the number of its samples.
///
/// # Errors
/// The outer error is that of `once`; the inner one is the profiler's reason why it cannot run.
pub fn sample<F, E>(
    length: Duration,
    frame: impl Fn(&str, Option<&str>) -> F,
    mut once: impl FnMut() -> Result<(), E>,
    mut stack: impl FnMut(usize, &[&[F]], u64),
) -> Result<Result<Sampled, String>, E> {
    let mut sampled = Sampled { cpu_ns: Some(0), ..Sampled::default() };
    let mut names = Names { frame, known: HashMap::new() };
    let begin = Instant::now();
    while begin.elapsed() < length {
        let before = process_cpu_ns();
        let guard = match pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).build() {
            Ok(guard) => guard,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let session = Instant::now();
        while session.elapsed() < SESSION {
            once()?;
            sampled.repeats += 1;
        }
        let between = sampled.cpu_ns.zip(process_cpu_ns()).zip(before);
        sampled.cpu_ns = between.map(|((sum, after), before)| sum + (after - before));
        let report = match guard.report().build_unresolved() {
            Ok(report) => report,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for (addresses, count) in &report.data {
            let addresses: Vec<usize> = addresses.frames.iter().map(|frame| frame.ip() as usize).collect();
            let count = (*count).max(0) as u64;
            sampled.samples += count;
            stack(sampled.sessions, &names.of_stack(&addresses), count);
        }
        sampled.sessions += 1;
    }
    Ok(Ok(sampled))
}

/// Cache of the frames at each address.
struct Names<F, M> {
    frame: M,
    /// The functions at an address, innermost inlined function first, and whether one is the profiler's.
    known: HashMap<usize, (Vec<F>, bool)>,
}

impl<F, M: Fn(&str, Option<&str>) -> F> Names<F, M> {
    /// The functions of a stack, innermost first, without those of the profiler.
    fn of_stack(&mut self, addresses: &[usize]) -> Vec<&[F]> {
        let mut kept = Vec::with_capacity(addresses.len());
        let mut at = 0;
        let mut is_leaf = true;
        while at < addresses.len() {
            // A return address is one instruction after its call; the resolver subtracts one from
            // every address, so the leaf's address is increased by one.
            let address = addresses[at] + usize::from(is_leaf);
            if self.resolve(address) {
                // Frames further in belong to the profiler; the next frame out is the signal
                // trampoline.
                kept.clear();
                (at, is_leaf) = (at + 2, true);
                continue;
            }
            kept.push(address);
            (at, is_leaf) = (at + 1, false);
        }
        kept.iter().map(|address| self.known[address].0.as_slice()).collect()
    }

    /// Adds the functions at an address to the cache; returns whether one is the profiler's.
    fn resolve(&mut self, address: usize) -> bool {
        let Self { frame, known } = self;
        known
            .entry(address)
            .or_insert_with(|| {
                let (mut frames, mut is_profiler) = (Vec::new(), false);
                backtrace::resolve(address as *mut c_void, |symbol| {
                    if let Some(name) = symbol.name() {
                        let name = format!("{name:#}");
                        is_profiler |= name.contains("perf_signal_handler");
                        frames.push(frame(&name, symbol.filename().and_then(|file| file.to_str())));
                    }
                });
                (frames, is_profiler)
            })
            .1
    }
}

/// Processor time that all threads of this process have used, in nanoseconds, from Linux's `/proc`.
pub(super) fn process_cpu_ns() -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Shortens a function's name to the last piece of its path; paths in angle brackets are shortened
/// in the same way.
pub fn shorten(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut piece = String::new();
    let name = name.replace("::{{closure}}", "");
    for letter in name.chars().chain([' ']) {
        match letter {
            ':' => piece.clear(),
            // A semicolon separates frames in folded stacks, so it must not be in a name.
            ';' => piece.push(','),
            '<' | '>' | ',' | ' ' | '(' | ')' | '[' | ']' | '&' => {
                short.push_str(&piece);
                short.push(letter);
                piece.clear();
            }
            letter => piece.push(letter),
        }
    }
    // Arguments that are closures carry no information.
    let end = short.find('<').filter(|at| *at > 0 && short[*at..].contains('{')).unwrap_or(short.len());
    short[..end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_short() {
        assert_eq!(shorten("balustrade::executor::list::execute::{{closure}}::{{closure}}"), "execute");
        assert_eq!(shorten("a::binary<balustrade::a::handlers::Add, b::c::Block>"), "binary<Add, Block>");
        assert_eq!(shorten("<balustrade::x::Y as core::fmt::Debug>::fmt"), "<Y as Debug>fmt");
    }
}
