//! Savepoints: states between uncommitted updates that can be restored.
//!
//! In: tries with an undo journal per update (`shard.rs`, `wide.rs`). Out: any state since the last
//! commit that was marked. So several blocks can be uncommitted, and the last of them undone. A
//! savepoint is a copy of the account trie's top and a few journal lengths; no node is copied, and
//! updates cost the same with and without savepoints.

use super::changes::{LogLength, NodeChanges};

use super::error::TrieError;
use super::shard::Shard;
use super::tries::StateTries;
use super::update::Saved;
use core::sync::atomic::{AtomicU64, Ordering};

/// Handle of a state that [`StateTries::rollback_to`] restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint(u64);

/// Number of the next savepoint. One sequence per process, so that a savepoint of other tries is
/// detected.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The valid savepoints, oldest first. The first one is the state of the last commit and always
/// present.
#[derive(Debug)]
pub(super) struct Savepoints(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    savepoint: Savepoint,
    saved: Saved,
    log: LogLength,
}

impl Entry {
    fn new(saved: Saved, log: LogLength) -> Self {
        Self { savepoint: Savepoint(NEXT.fetch_add(1, Ordering::Relaxed)), saved, log }
    }
}

impl Savepoints {
    /// Only the savepoint of a commit.
    pub(super) fn at_commit(saved: Saved) -> Self {
        Self(vec![Entry::new(saved, LogLength::default())])
    }
}

impl StateTries {
    /// Marks the present state, uncommitted updates included, so that [`Self::rollback_to`] can
    /// restore it.
    ///
    /// Savepoints form a stack. A savepoint is discarded by [`Self::commit`], by
    /// [`Self::rollback`], and by [`Self::rollback_to`] an older one. For a state that is already
    /// marked the existing savepoint is returned.
    pub fn savepoint(&mut self) -> Savepoint {
        let saved = self.parts().save();
        if let Some(last) = self.savepoints.0.last()
            && last.saved.is_same_update(&saved)
        {
            return last.savepoint;
        }
        let log = self.changes().map_or_else(LogLength::default, NodeChanges::length);
        let entry = Entry::new(saved, log);
        let savepoint = entry.savepoint;
        self.savepoints.0.push(entry);
        savepoint
    }

    /// Undoes all updates since `savepoint`, which stays valid; later savepoints are discarded.
    /// Updates before it that were uncommitted stay uncommitted.
    ///
    /// # Errors
    /// [`TrieError::StaleSavepoint`]; the tries do not change.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), TrieError> {
        let entries = &self.savepoints.0;
        let row = entries.binary_search_by_key(&savepoint.0, |entry| entry.savepoint.0);
        self.restore(row.map_err(|_| TrieError::StaleSavepoint)?);
        Ok(())
    }

    /// Makes all updates since the last commit permanent and recycles the memory of the nodes that
    /// they replaced. All savepoints are discarded.
    pub fn commit(&mut self) {
        self.shards.iter_mut().for_each(Shard::commit);
        self.wide.commit();
        self.savepoints = Savepoints::at_commit(self.parts().save());
        self.clear_changes();
    }

    /// Undoes all updates since the last commit. All savepoints are discarded but that of the last
    /// commit's state.
    pub fn rollback(&mut self) {
        self.restore(0);
    }

    /// Restores the savepoint at this row.
    fn restore(&mut self, row: usize) {
        self.savepoints.0.truncate(row + 1);
        let Some(Entry { saved, log, .. }) = self.savepoints.0.last() else { return };
        let (saved, log) = (saved.clone(), *log);
        self.parts().undo(saved);
        if let Some(changes) = &mut self.changes {
            changes.truncate(log);
        }
    }
}
