//! The hot loops, compiled for processor features.
//!
//! The crate is compiled for baseline x86-64, where counting bits takes a dozen instructions and
//! moving a hash takes two 16-byte moves. Features that x86-64 processors have had for ten years
//! (AVX2, BMI, LZCNT, MOVBE) are detected once per phase, and the loops below are compiled twice,
//! with and without them. Code that is to use the features must be inlined into these functions.
//! Not here: the loops themselves (`descent.rs`, `hash.rs`, `worker.rs`).
//!
//! Unsafe boundary: calls of functions compiled for processor features, after detection of these
//! features. Reference implementation: the same code compiled without them.
#![allow(unsafe_code)]

use super::TrieError;
use super::count::HashCount;
use super::descent::{Descent, Shards, Source};
use super::worker::{Context, WideJob, Worker};
use crate::arena::keccak::Width;
use crate::arena::store::StateStore;

/// Whether to use the features. With hashing set to one lane they are not used, so that tests run
/// both versions.
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
    /// [`Self::descend_here`], compiled for the processor's features.
    ///
    /// # Errors
    /// [`TrieError::Store`] if a node on the path cannot be read.
    pub(super) fn descend(
        &mut self,
        shards: Shards<'_, '_>,
        source: Source<'_>,
        store: &dyn StateStore,
        width: Width,
    ) -> Result<(), TrieError> {
        #[cfg(target_arch = "x86_64")]
        if is_available(width) {
            // SAFETY: `is_available` has detected the features that the function is compiled for.
            return unsafe { self.descend_tuned(shards, source, store, width) };
        }
        self.descend_here(shards, source, store, width)
    }

    /// [`Self::hash_here`], compiled for the processor's features.
    pub(super) fn hash(&mut self, shards: Shards<'_, '_>, width: Width, count: &mut HashCount) {
        #[cfg(target_arch = "x86_64")]
        if is_available(width) {
            // SAFETY: `is_available` has detected the features that the function is compiled for.
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
    /// [`Self::fill_accounts_here`], compiled for the processor's features.
    pub(super) fn fill_accounts(&mut self, context: &Context<'_>, shards: Shards<'_, '_>, jobs: &[WideJob]) {
        #[cfg(target_arch = "x86_64")]
        if is_available(context.width) {
            // SAFETY: `is_available` has detected the features that the function is compiled for.
            return unsafe { self.fill_accounts_tuned(context, shards, jobs) };
        }
        self.fill_accounts_here(context, shards, jobs);
    }
}
