//! The hot loops, compiled for the machine.
//!
//! The crate is built for any x86-64, which counts bits in a dozen instructions and moves a hash in halves. What every
//! such processor has had for ten years (AVX2, BMI, LZCNT, MOVBE) is asked for here once per phase; the loops below are
//! compiled twice. Everything that is to be compiled for these features must be inlined into them.
//! Not here: what the loops do (`descent.rs`, `hash.rs`, `worker.rs`).
//!
//! Unsafe doors: calling what is compiled for features, behind the question whether they are there. Checked twin: the
//! same code without them.
#![allow(unsafe_code)]

use super::TrieError;
use super::count::HashCount;
use super::descent::{Descent, Shards, Source};
use super::worker::{Context, WideJob, Worker};
use crate::arena::keccak::Width;
use crate::arena::store::StateStore;

/// Whether to use the features; hashing forced to one lane means a plain machine, so that tests see both forms.
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_available(width: Width) -> bool {
    width != Width::One
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
impl Descent {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
    fn descend_tuned(
        &mut self,
        shards: Shards<'_, '_>,
        source: Source<'_>,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        self.descend_here(shards, source, store, width)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
    fn hash_tuned(&mut self, shards: Shards<'_, '_>, width: Width, count: &mut HashCount) {
        self.hash_here(shards, width, count);
    }
}

impl Descent {
    /// [`Self::descend_here`].
    ///
    /// # Errors
    /// [`TrieError::Store`] where a node on the way cannot be had.
    pub(super) fn descend(
        &mut self,
        shards: Shards<'_, '_>,
        source: Source<'_>,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        #[cfg(target_arch = "x86_64")]
        if is_available(width) {
            // SAFETY: the processor has the features.
            return unsafe { self.descend_tuned(shards, source, store, width) };
        }
        self.descend_here(shards, source, store, width)
    }

    /// [`Self::hash_here`].
    pub(super) fn hash(&mut self, shards: Shards<'_, '_>, width: Width, count: &mut HashCount) {
        #[cfg(target_arch = "x86_64")]
        if is_available(width) {
            // SAFETY: the processor has the features.
            return unsafe { self.hash_tuned(shards, width, count) };
        }
        self.hash_here(shards, width, count);
    }
}

#[cfg(target_arch = "x86_64")]
impl Worker {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
    fn fill_accounts_tuned(&mut self, context: &Context<'_>, shards: Shards<'_, '_>, jobs: &[WideJob]) {
        self.fill_accounts_here(context, shards, jobs);
    }
}

impl Worker {
    /// [`Self::fill_accounts_here`].
    pub(super) fn fill_accounts(&mut self, context: &Context<'_>, shards: Shards<'_, '_>, jobs: &[WideJob]) {
        #[cfg(target_arch = "x86_64")]
        if is_available(context.width) {
            // SAFETY: the processor has the features.
            return unsafe { self.fill_accounts_tuned(context, shards, jobs) };
        }
        self.fill_accounts_here(context, shards, jobs);
    }
}
