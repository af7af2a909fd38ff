//! The models: properties that hold for every interleaving. Each has tests with weakened synchronisation, which must
//! fail.

mod claims;
mod prefetch;
mod recovery;
mod tasks;
mod versions;

/// Explores `model` with at most `preemptions` preemptions, unless `LOOM_MAX_PREEMPTIONS` is set.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}
