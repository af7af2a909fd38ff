//! Savepoints: states between uncommitted updates that can be restored.
//!
//! In: tries with an undo journal per update (`shard.rs`, `wide.rs`). Out: any state since the last
//! commit that was marked. So several blocks can be uncommitted, and the last of them undone. A
//! savepoint is a copy of the account trie's top and a few journal lengths; no node is copied, and
//! updates cost the same with and without savepoints.

use super::changes::LogLength;
use super::update::Saved;
use core::sync::atomic::{AtomicU64, Ordering};

/// Handle of a state that [`StateTries::rollback_to`](super::StateTries::rollback_to) restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(pub(super) u64);

/// Number of the next savepoint. One sequence per process, so that a savepoint of other tries is
/// detected.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The valid savepoints, oldest first. The first one is the state of the last commit and always
/// present.
#[derive(Debug)]
pub(super) struct Savepoints(pub(super) Vec<Entry>);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) savepoint: Savepoint,
    pub(super) saved: Saved,
    pub(super) log: LogLength,
}

impl Entry {
    pub(super) fn new(saved: Saved, log: LogLength) -> Self {
        Self { savepoint: Savepoint(NEXT.fetch_add(1, Ordering::Relaxed)), saved, log }
    }
}

impl Savepoints {
    /// Only the savepoint of a commit.
    pub(super) fn at_commit(saved: Saved) -> Self {
        Self(vec![Entry::new(saved, LogLength::default())])
    }
}
