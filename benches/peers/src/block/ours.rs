//! Balustrade on whole blocks.

use super::case::Case;
use super::{Arrangement, Stages};
use balustrade::trie::StateTries;
use balustrade::{Binding, BlockInput, BlockOutcome, Executor, Mode, Options};
use std::rc::Rc;

pub(crate) struct Ours {
    name: &'static str,
    case: Rc<Case>,
    executor: Executor,
    tries: StateTries,
    options: Options,
    cold: bool,
    /// Allocations of the last run, freed outside the measured time, as for the peers.
    last: Option<BlockOutcome>,
}

impl Ours {
    pub(crate) fn new(name: &'static str, case: &Rc<Case>, mode: Mode, threads: usize) -> Result<Self, String> {
        let tries = StateTries::from_memory(&case.store).map_err(|error| error.to_string())?;
        let builder = Executor::builder().threads(threads).binding(Binding::OneEach);
        let executor = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { name, case: case.clone(), executor, tries, options: Options::new(mode), cold: false, last: None })
    }

    /// The same arrangement without analysed codes at the start of each run.
    pub(crate) fn cold(mut self) -> Self {
        self.cold = true;
        self
    }
}

impl Arrangement for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) {
        self.last = None;
        self.tries.rollback();
        self.executor.forget_hashes();
        if self.cold {
            self.executor.forget_codes();
        }
    }

    fn run(&mut self) -> Result<Stages, String> {
        let case = &*self.case;
        let mut input = BlockInput::new(&case.rules, case.block.clone()).with_list(case.list.clone());
        input.parent = case.parent.as_ref();
        let outcome = self
            .executor
            .execute(&input, &case.store, Some(&mut self.tries), self.options)
            .map_err(|error| error.to_string())?;
        if let Some(unchecked) = outcome.unchecked.first() {
            return Err(format!("{} was not checked: {}", unchecked.check.name(), unchecked.reason));
        }
        let mut stages = Stages::default();
        for span in &outcome.timeline {
            let workers = if span.worker.is_some() { self.executor.threads() as f64 } else { 1.0 };
            stages.add(span.stage.name(), (span.end_ns - span.start_ns) as f64 / workers);
        }
        self.last = Some(outcome);
        Ok(stages)
    }
}
