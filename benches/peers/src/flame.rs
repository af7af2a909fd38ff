//! Flamegraphs: where each contestant's time goes, one file for each.
//!
//! In: a contestant, run again and again. Out: `FOLDER/SUBJECT-CONTESTANT.svg`. Only what is on the contestant's clock is
//! drawn: on the calling thread what lies inside of a run, on all others everything, as they only work during runs.
//! Not here: Balustrade's own stages (`balustrade profile`).

use crate::PeersError;
use pprof::{Frames, ProfilerGuardBuilder, Report, Symbol};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// Samples per second of processor time; not a divisor of anything.
const FREQUENCY: i32 = 997;
/// Each contestant is sampled for so long.
const LENGTH: Duration = Duration::from_secs(3);
/// Percent of the whole; what is narrower cannot be read.
const MIN_WIDTH: f64 = 0.3;
/// As they stand in stacks, where inlined functions have no path.
const MARK: &str = "on_the_clock";
const CALLER: &str = "record_flamegraph";

/// Samples one contestant: `prepare` off its clock, `run` on it.
///
/// # Errors
/// What `run` says in words; a file that cannot be written, a profiler that the system refuses.
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

/// Who can be sampled.
pub(crate) trait Sampled {
    /// Off the clock.
    fn prepare(&mut self) {}
    /// On the clock.
    fn run(&mut self) -> Result<(), String>;
}

/// Stacks of the calling thread that go through here are on the clock.
#[inline(never)]
fn on_the_clock<C: Sampled + ?Sized>(contestant: &mut C) -> Result<(), String> {
    // Something is left to do after the call, so that it is no jump.
    black_box(contestant.run())
}

/// Leaves the functions of one frame that say something, under short names.
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

/// A function's name without its path and without what it is generic over.
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
    // An implementation of a trait ends with its method; only odd names leave nothing.
    if short.is_empty() { name.chars().take(60).collect() } else { short.to_owned() }
}

/// Leaves what is on the clock, without the frames around it, and all workers as one.
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
