//! Memory of one worker, reused from block to block.
//!
//! In: nothing; the memory of the block before. Out: [`WorkerScratch`], of which each run takes the parts that it needs
//! and returns them.
//! Relies on: each part clears itself when a block begins.
//! Not here: memory that all workers of a block share (`executor`).

use crate::arena::heap::{HeapBytes, sum_heap_bytes};
use crate::bal::Recorder;
use crate::exec::block::providers::Overlay;
use crate::exec::evm::machine::EvmScratch;
use crate::exec::evm::state::StateScratch;
use crate::exec::interpreter::profile::{OpcodeProfile, WorkerProfile};
use crate::exec::interpreter::{LoopKind, Runner};

/// Memory of one worker, reused from block to block.
#[derive(Debug, Default)]
pub struct WorkerScratch {
    /// Rows, journal and logs of the transaction state.
    pub state: StateScratch,
    /// Stack and memory of the machine.
    pub evm: EvmScratch,
    /// Counts and times of the instructions that this worker ran; `None` without profiling.
    profile: Option<Box<OpcodeProfile>>,
    /// Overlay and recorder of sequential execution.
    pub sequential: SequentialScratch,
}

/// Without the counters of a profile.
impl HeapBytes for WorkerScratch {
    fn heap_bytes(&self) -> usize {
        let Self { state, evm, profile: _, sequential: SequentialScratch { overlay, recorder } } = self;
        sum_heap_bytes([state, evm, overlay, recorder])
    }
}

impl WorkerScratch {
    /// Starts profiling: everything that this worker runs from now on adds to `profile`.
    pub fn start_profile(&mut self, profile: WorkerProfile) {
        let WorkerProfile { opcodes, precompiles } = profile;
        (self.profile, self.evm.precompiles) = (Some(Box::new(opcodes)), Some(Box::new(precompiles)));
    }

    /// Ends profiling and returns the profile since [`Self::start_profile`]; `None` where none was started.
    pub fn take_profile(&mut self) -> Option<WorkerProfile> {
        let (opcodes, precompiles) = (self.profile.take()?, self.evm.precompiles.take()?);
        Some(WorkerProfile { opcodes: *opcodes, precompiles: *precompiles })
    }

    /// The runner of this worker's frames. It takes the profile; [`Self::end_run`] returns it.
    pub(in crate::exec) fn begin_run(&mut self, kind: LoopKind) -> Runner {
        Runner { profile: self.profile.take(), ..kind.into() }
    }

    /// Takes the profile back from the runner of [`Self::begin_run`].
    pub(in crate::exec) fn end_run(&mut self, runner: Runner) {
        self.profile = runner.profile;
    }
}

/// Memory of sequential execution: the block's state so far, and the recorded accesses and changes.
#[derive(Debug, Default)]
pub struct SequentialScratch {
    pub(super) overlay: Overlay,
    pub(super) recorder: Recorder,
}
