//! Writes the sampled stacks as files: folded stacks, and a flamegraph as SVG.

use super::data::Profile;
use inferno::flamegraph::{self, Options, TextTruncateDirection};
use std::collections::BTreeMap;

/// Folded stacks of all blocks in the usual format: frames separated by semicolons, a space, the
/// number of samples.
pub fn folded(profiles: &[Profile]) -> String {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, samples) in profiles.iter().flat_map(|profile| &profile.stacks) {
        *sums.entry(stack).or_default() += samples;
    }
    sums.iter().map(|(stack, samples)| format!("{stack} {samples}\n")).collect()
}

/// A flamegraph of all blocks as SVG, with the stages at its base.
///
/// # Errors
/// A description: there are no samples.
pub fn svg(profiles: &[Profile]) -> Result<String, String> {
    let names: Vec<&str> = profiles.iter().map(|profile| profile.block.as_str()).collect();
    let mut options = Options::default();
    options.title = match profiles.first() {
        Some(first) => {
            format!("{}: {} mode, {} threads, {} loop", names.join(", "), first.mode, first.threads, first.loop_name)
        }
        None => String::new(),
    };
    options.count_name = "samples".to_owned();
    options.deterministic = true;
    // The beginning of a name says which module and function it is.
    options.text_truncate_direction = TextTruncateDirection::Right;
    // Narrower frames (in percent of the width) cannot be read and would make the file large.
    options.min_width = 0.05;
    let folded = folded(profiles);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg).map_err(|error| error.to_string())?;
    String::from_utf8(svg).map_err(|error| error.to_string())
}
