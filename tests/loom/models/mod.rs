//! The models: what must hold after any order of events. Beside each stand broken ones, which must fail.

mod claims;
mod prefetch;
mod signers;
mod tasks;
mod versions;

/// Explores `model` with at most `preemptions` forced switches, unless the environment asks for more.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}
