//! Flamegraphs: the time of each contestant by function, one file for each.
//!
//! In: a contestant, run repeatedly. Out: `FOLDER/SUBJECT-CONTESTANT.svg`. Only samples inside the contestant's
//! measured time are drawn: on the calling thread those inside a run, on all other threads all, as they only work
//! during runs.
//! Not here: Balustrade's own stages (`balustrade profile`).

use crate::PeersError;
use balustrade_cli::measure::flame::{self, Stacks};
use balustrade_cli::measure::sampler::{sample, shorten};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

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
    let mut stacks = Stacks::new();
    let once = || {
        contestant.prepare();
        on_the_clock(contestant)
    };
    let sampled = sample(LENGTH, Function::new, once, |_, stack, count| {
        if let Some(folded) = folded(&stack.concat()) {
            *stacks.entry(folded).or_default() += count;
        }
    });
    let mismatch = |difference| PeersError::Mismatch { what: subject.to_owned(), who, difference };
    sampled.map_err(mismatch)?.map_err(unusable)?;
    let svg = flame::svg(format!("{subject}: {who}"), &stacks, MIN_WIDTH).map_err(unusable)?;
    fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
    fs::write(&path, svg).map_err(|error| unusable(error.to_string()))
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

/// A function on a stack.
#[derive(Clone, Debug)]
struct Function {
    /// Name without path and generic arguments.
    name: String,
    /// Whether it is drawn: closures and functions of the standard library and of rayon are not.
    is_drawn: bool,
}

impl Function {
    fn new(name: &str, file: Option<&str>) -> Self {
        let file = file.unwrap_or_default();
        let is_drawn = !file.contains("/library/") && !file.contains("/rayon") && !name.contains('{');
        let short = shorten(name);
        let bare = match short.rsplit_once('>') {
            Some((_, method)) if !method.is_empty() => method,
            _ => short.split('<').next().unwrap_or_default(),
        };
        Self { name: bare.to_owned(), is_drawn }
    }
}

/// The part of a stack inside the measured time, in the folded format, below the kind of its thread; `None` if the stack
/// is outside. The innermost function is the first.
fn folded(stack: &[Function]) -> Option<String> {
    let outwards_to = |mark: &str| stack.iter().position(|function| function.name == mark);
    let (thread, inside) = match (outwards_to(MARK), outwards_to(CALLER)) {
        (Some(mark), _) => ("caller", &stack[..mark]),
        (None, Some(_)) => return None,
        (None, None) => ("workers", stack),
    };
    let mut names = vec![thread];
    names.extend(inside.iter().rev().filter(|function| function.is_drawn).map(|function| function.name.as_str()));
    names.dedup();
    Some(names.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_time_is_drawn() {
        let stack = |names: &[&str]| folded(&names.iter().map(|name| Function::new(name, None)).collect::<Vec<_>>());
        let inside =
            ["a::add<b::C>", "<d::E as f::G>::run", "h::{{closure}}", "peers::flame::on_the_clock<i::J>", "main"];
        assert_eq!(stack(&inside).as_deref(), Some("caller;run;add"));
        assert_eq!(stack(&["prepare", "peers::flame::record_flamegraph<i::J>"]), None);
        assert_eq!(stack(&["k", "k"]).as_deref(), Some("workers;k"));
    }
}
