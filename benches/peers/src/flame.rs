//! Flamegraphs: the time of each contestant by function, one file for each.
//!
//! In: a contestant, run repeatedly. Out: `FOLDER/SUBJECT-CONTESTANT.svg`. Only samples inside the contestant's
//! measured time are drawn: on the calling thread those inside a run, on all other threads all, as they only work
//! during runs.
//! Not here: Balustrade's own stages (`balustrade profile`).

use crate::PeersError;
use pprof::{Frames, ProfilerGuardBuilder, Report, Symbol};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// Samples per second of processor time; a prime, so that sampling does not align with periodic work.
const FREQUENCY: i32 = 997;
/// Sampling time of each contestant.
const LENGTH: Duration = Duration::from_secs(3);
/// Least width of a drawn frame, in percent of the whole; narrower ones are illegible.
const MIN_WIDTH: f64 = 0.3;
/// Function names as they appear in stacks, where inlined functions have no path.
const MARK: &str = "on_the_clock";
const CALLER: &str = "record_flamegraph";

/// Samples one contestant: `run` is measured, `prepare` is not.
///
/// # Errors
/// An error of `run`; the file cannot be written; the system refuses the profiler.
pub(crate) fn record_flamegraph<C: Sampled + ?Sized>(
    folder: &Path,
    subject: &str,
    who: &'static str,
    contestant: &mut C,
) -> Result<(), PeersError> {
    let path = folder.join(format!("{subject}-{who}.svg"));
    let unusable = |reason: String| PeersError::Input { path: path.clone(), reason };
    let guard =
        ProfilerGuardBuilder::default().frequency(FREQUENCY).build().map_err(|error| unusable(error.to_string()))?;
    let begin = Instant::now();
    while begin.elapsed() < LENGTH {
        contestant.prepare();
        on_the_clock(contestant).map_err(|difference| PeersError::Mismatch {
            what: subject.to_owned(),
            who,
            difference,
        })?;
    }
    let mut report = guard.report().build().map_err(|error| unusable(error.to_string()))?;
    drop(guard);
    keep_clocked(&mut report);

    let mut options = pprof::flamegraph::Options::default();
    options.title = format!("{subject}: {who}");
    options.min_width = MIN_WIDTH;
    options.deterministic = true;
    fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
    let file = File::create(&path).map_err(|error| unusable(error.to_string()))?;
    report.flamegraph_with_options(file, &mut options).map_err(|error| unusable(error.to_string()))
}

/// A contestant that can be sampled.
pub(crate) trait Sampled {
    /// Not measured: restores the state before a run.
    fn prepare(&mut self) {}
    /// Measured: one run.
    fn run(&mut self) -> Result<(), String>;
}

/// Marker frame: stacks of the calling thread that contain this function are inside the measured time.
#[inline(never)]
fn on_the_clock<C: Sampled + ?Sized>(contestant: &mut C) -> Result<(), String> {
    // The statement after the call prevents a tail call, which would remove this frame from the stack.
    black_box(contestant.run())
}

/// Keeps the informative functions of one frame, under short names.
fn simplify(symbols: &mut Vec<Symbol>) {
    let says_something = |symbol: &Symbol| {
        let file = symbol.filename.as_deref().and_then(Path::to_str).unwrap_or_default();
        !file.contains("/library/") && !file.contains("/rayon") && !symbol.name().contains("{")
    };
    symbols.retain(says_something);
    for symbol in symbols.iter_mut() {
        symbol.name = Some(shorten(&symbol.name()).into_bytes());
    }
    symbols.dedup_by(|inner, outer| inner.name == outer.name);
}

/// A function's name without path and generic arguments.
fn shorten(name: &str) -> String {
    let mut depth = 0_usize;
    let mut bare = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    let short = bare.trim_end_matches("::").rsplit("::").next().unwrap_or_default();
    // A trait implementation ends with its method's name; only unusual names leave an empty string.
    if short.is_empty() { name.chars().take(60).collect() } else { short.to_owned() }
}

/// Keeps the measured samples without the frames around them, and merges all workers into one.
fn keep_clocked(report: &mut Report) {
    let mut kept: HashMap<Frames, isize> = HashMap::new();
    for (mut frames, count) in report.data.drain() {
        let outwards_to = |mark: &str| {
            (frames.frames.iter()).position(|symbols| symbols.iter().any(|symbol| shorten(&symbol.name()) == mark))
        };
        match (outwards_to(MARK), outwards_to(CALLER)) {
            (Some(mark), _) => {
                frames.frames.truncate(mark);
                frames.thread_name = "caller".to_owned();
            }
            (None, Some(_)) => continue,
            (None, None) => frames.thread_name = "workers".to_owned(),
        }
        frames.thread_id = 0;
        frames.frames.iter_mut().for_each(simplify);
        frames.frames.retain(|symbols| !symbols.is_empty());
        *kept.entry(frames).or_default() += count;
    }
    report.data = kept;
}
