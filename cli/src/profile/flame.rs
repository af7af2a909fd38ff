//! The sampled stacks of all blocks, folded and as a flamegraph.
//!
//! In: profiles. Out: text. Not here: drawing (`measure::flame`).

use super::super::measure::flame::{self, Stacks};
use super::data::Profile;

/// Folded stacks of all blocks.
pub fn folded(profiles: &[Profile]) -> String {
    flame::folded(&sums(profiles))
}

/// A flamegraph of all blocks as SVG, with the stages at its base.
///
/// # Errors
/// A description: there are no samples.
pub fn svg(profiles: &[Profile]) -> Result<String, String> {
    let names: Vec<&str> = profiles.iter().map(|profile| profile.block.as_str()).collect();
    let title = profiles.first().map_or_else(String::new, |first| {
        format!("{}: {} mode, {} threads, {} loop", names.join(", "), first.mode, first.threads, first.loop_name)
    });
    flame::svg(title, &sums(profiles), 0.05)
}

fn sums(profiles: &[Profile]) -> Stacks {
    let mut sums = Stacks::new();
    for (stack, samples) in profiles.iter().flat_map(|profile| &profile.stacks) {
        *sums.entry(stack.clone()).or_default() += samples;
    }
    sums
}
