//! Draws sampled stacks as a flamegraph.
//!
//! In: folded stacks. Out: SVG. Not here: sampling (`sampler`).

use inferno::flamegraph::{self, Options, TextTruncateDirection};
use std::collections::BTreeMap;

/// Stacks with their numbers of samples: frames separated by semicolons, the outermost first.
pub type Stacks = BTreeMap<String, u64>;

/// Stacks in the usual folded format: the stack, a space, the number of samples.
pub fn folded(stacks: &Stacks) -> String {
    stacks.iter().map(|(stack, samples)| format!("{stack} {samples}\n")).collect()
}

/// A flamegraph as SVG; frames narrower than `min_width` percent are left out, since they cannot be read and would make
/// the file large.
///
/// # Errors
/// A description: there are no samples.
pub fn svg(title: String, stacks: &Stacks, min_width: f64) -> Result<String, String> {
    let mut options = Options::default();
    options.title = title;
    options.count_name = "samples".to_owned();
    options.deterministic = true;
    // The beginning of a name says which module and function it is.
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.min_width = min_width;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded(stacks).lines(), &mut svg).map_err(|error| error.to_string())?;
    String::from_utf8(svg).map_err(|error| error.to_string())
}
