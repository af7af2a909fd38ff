//! Measurements and test settings of an executor (feature `internals`).
//!
//! In: an [`Executor`]. Out: profiles of its workers, its codes, emptied caches, a random order of tasks.
//! Not here: traces, which hosts use too ([`Executor::trace_to`]).

use super::Executor;
use crate::arena::code::CodeArena;
use crate::exec::interpreter::profile::{OpcodeProfile, WorkerProfile};

impl Executor {
    /// Contract codes kept from earlier blocks.
    pub fn codes(&self) -> &CodeArena {
        &self.codes
    }

    /// Empties the caches of mapping key hashes, so that the next block computes them again (for
    /// benches).
    pub fn forget_hashes(&mut self) {
        for scratch in &mut self.scratches {
            scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).evm.forget_hashes();
        }
    }

    /// Drops all codes: the next block loads those that it runs from the store.
    pub fn forget_codes(&mut self) {
        self.codes.evict(0);
    }

    /// Counts and times instructions and precompiles from now on, until [`Self::take_profile`].
    /// Blocks run slower. If not `timed`, the profiled form of the loop runs, but nothing is
    /// measured (see [`OpcodeProfile::untimed`]).
    pub fn start_profile(&mut self, timed: bool) {
        for scratch in &mut self.scratches {
            let opcodes = if timed { OpcodeProfile::default() } else { OpcodeProfile::untimed() };
            let profile = WorkerProfile { opcodes, ..WorkerProfile::default() };
            scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).start_profile(profile);
        }
    }

    /// What each worker measured since [`Self::start_profile`], by worker; empty without a call of
    /// it. A transaction that optimistic mode executed several times counts each time.
    pub fn take_profile(&mut self) -> Vec<WorkerProfile> {
        let scratches = self.scratches.iter_mut();
        scratches
            .filter_map(|scratch| scratch.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take_profile())
            .collect()
    }

    /// For tests: workers take tasks in a random order drawn from `seed` instead of block order.
    pub fn shuffle_tasks(&mut self, seed: Option<u64>) {
        self.shuffle = seed;
    }
}
