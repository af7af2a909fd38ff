//! The journal: records by which the changes of a frame are reverted.
//!
//! In: a record per change. A frame takes a [`Checkpoint`] when it begins; a revert pops and undoes all later records.
//! What was loaded stays loaded after a revert: it counts as accessed.
//! Not here: which changes are recorded (`accounts`, `slots`).

use super::TxState;
use super::rows::flag;
use crate::arena::{AccountId, CodeId, SlotId};
use crate::exec::rules::fork::Fork;
use alloy_primitives::U256;

/// A record that undoes one change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    AccountFlag(AccountId, u8),
    SlotWarm(SlotId),
    Balance(AccountId, U256),
    Nonce(AccountId, u64),
    Code(AccountId, CodeId),
    Slot(SlotId, U256),
    Transient(u32, U256),
}

/// A position in the journal and in the logs, to which the state can be reverted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    undo: u32,
    logs: u32,
    log_bytes: u32,
}

impl TxState<'_> {
    /// The current position, for [`Self::revert`].
    #[inline]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            undo: self.rows.undo.len() as u32,
            logs: self.logs.len() as u32,
            log_bytes: self.logs.data.len() as u32,
        }
    }

    /// Reverts all changes since the checkpoint. What was loaded stays accessed.
    pub fn revert(&mut self, to: Checkpoint) {
        while self.rows.undo.len() > to.undo as usize {
            let Some(undo) = self.rows.undo.pop() else { break };
            match undo {
                Undo::AccountFlag(id, flags) => {
                    // A revert does not undo the touch of RIPEMD-160: in block 2,675,119 of mainnet such a
                    // touch deleted the account.
                    let cleared = self.fork >= Fork::SpuriousDragon;
                    let keep = if cleared && self.rows.accounts[id].precompile == 3 { flag::TOUCHED } else { 0 };
                    self.rows.accounts[id].flags &= !flags | keep;
                }
                Undo::SlotWarm(id) => self.rows.slots[id].flags &= !flag::WARM,
                Undo::Balance(id, balance) => self.rows.accounts[id].balance = balance,
                Undo::Nonce(id, nonce) => self.rows.accounts[id].nonce = nonce,
                Undo::Code(id, code) => self.rows.accounts[id].code = code,
                Undo::Slot(id, value) => self.rows.slots[id].value = value,
                Undo::Transient(index, value) => self.rows.transient[index as usize].2 = value,
            }
        }
        self.logs.truncate(to.logs as usize, to.log_bytes as usize);
    }
}
