//! The blocks that a bench measures, one after another.
//!
//! In: bundles, or none: then blocks of the chain that `run` generates. Out: a [`Subject`] for each, and the status of
//! the command. Not here: what is measured.

use super::super::contents::each_content;
use super::super::devnet::Devnet;
use super::super::engine::{Accepted, Chain, Engine, Failure, List};
use super::super::measure::in_turns;
use super::super::{Status, interrupt, report};
use alloy_primitives::Bytes;
use balustrade::Mode;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::formats::{Bundle, Content};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Starts an engine for each of these numbers of threads.
pub(super) fn engines(counts: impl IntoIterator<Item = usize>) -> Result<Vec<Engine>, Failure> {
    counts.into_iter().map(|count| Engine::new(Some(count as u16), LoopKind::default())).collect()
}

/// A block on top of its chain's head, which does not change.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) chain: &'a mut Chain,
    pub(super) rules: &'a ChainRules,
    pub(super) block: &'a Bytes,
    pub(super) list: List<'a>,
}

impl Subject<'_> {
    /// Executes the block; the list is given in `bal` mode alone.
    pub(super) fn execute(&mut self, engine: &mut Engine, mode: Mode) -> Result<Accepted, Failure> {
        let list = if mode == Mode::Bal { self.list } else { List::default() };
        engine.execute_or_record(self.chain, self.rules, self.block, list, Some(mode), false)
    }

    /// Executes the block in several ways in turns; returns what `keep` takes of each counted execution, by way.
    ///
    /// # Errors
    /// The first error of `execute`, whose second argument is the number of the way; two executions differ.
    pub(super) fn in_turns<T>(
        &mut self,
        rounds: (usize, usize),
        ways: usize,
        mut execute: impl FnMut(&mut Self, usize) -> Result<Accepted, Failure>,
        keep: impl Fn(&Accepted) -> T,
    ) -> Result<Vec<Vec<T>>, Failure> {
        let mut first: Option<Accepted> = None;
        in_turns(rounds, ways, |way| {
            let done = execute(self, way)?;
            if let Some(what) = first.as_ref().and_then(|first| first.difference(&done)) {
                return Err(Failure::Invalid { what, classes: Vec::new() });
            }
            let kept = keep(&done);
            first.get_or_insert(done);
            Ok(kept)
        })
    }
}

/// Time of an execution in nanoseconds, from the raw bytes to the last check.
pub(super) fn elapsed_ns(accepted: &Accepted) -> f64 {
    accepted.outcome.elapsed_ns as f64
}

/// Calls `measure` with every block of the inputs; without inputs, with `generated` blocks of the generated chain.
/// Lists that a bundle lacks are recorded before. Errors are printed; the next input follows. Stops after Ctrl-C.
pub(super) fn each_block(
    inputs: &[PathBuf],
    generated: usize,
    engines: &mut [Engine],
    measure: &mut Measure<'_>,
) -> Status {
    if let Err(status) = interrupt::install() {
        return status;
    }
    let mut status = Status::Good;
    if inputs.is_empty() {
        status = status_of("the generated chain", devnet(generated, engines, measure));
    }
    each_content(inputs, &mut |name, content| {
        let result = match content {
            Ok(Content::Bundle(bundle)) => measure_bundle(&bundle, engines, measure),
            Ok(Content::Tests(_)) => Err(Failure::Host("the file is no bundle".into())),
            Err(error) => Err(Failure::Host(error.to_string())),
        };
        status = status.max(status_of(name, result));
    });
    status
}

/// The status of a result; prints its error.
fn status_of(name: &str, result: Result<(), Failure>) -> Status {
    let Err(failure) = result else { return Status::Good };
    report::complain(&format_args!("{name}: {failure}"));
    failed(&failure)
}

/// The status of a bench that failed in this way.
pub(super) fn failed(failure: &Failure) -> Status {
    if matches!(failure, Failure::Host(_)) { Status::Unusable } else { Status::Failed }
}

type Measure<'a> = dyn FnMut(&mut [Engine], &mut Subject<'_>) -> Result<(), Failure> + 'a;

fn measure_bundle(bundle: &Bundle, engines: &mut [Engine], measure: &mut Measure<'_>) -> Result<(), Failure> {
    let Bundle { name, rules, fork_name, block, .. } = bundle;
    let rules = &rules.ok_or_else(|| Failure::Host(format!("the fork {fork_name} is not supported")))?;
    let chain = &mut Chain::of_bundle(bundle)?;
    let given = List { bal: bundle.bal.as_ref(), existence_log: bundle.existence_log.as_ref() };
    let list = engines[0].complete_list(chain, rules, block, given)?;
    measure(engines, &mut Subject { name, chain, rules, block, list: list.as_list() })
}

fn devnet(generated: usize, engines: &mut [Engine], measure: &mut Measure<'_>) -> Result<(), Failure> {
    let mut devnet = Devnet::default();
    let rules = &Devnet::rules();
    let chain = &mut Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header)?;
    for number in 1..=generated {
        if interrupt::flow() != ControlFlow::Continue(()) {
            break;
        }
        let built = engines[0].build_devnet(chain, &mut devnet)?;
        let (name, block, list) = (format!("devnet-{number:02}"), &built.block, Some(&built.bal).into());
        measure(engines, &mut Subject { name: &name, chain, rules, block, list })?;
        engines[0].execute_or_record(chain, rules, block, list, Some(Mode::Bal), true)?;
    }
    Ok(())
}
