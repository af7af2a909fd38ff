//! The journal: small records that undo what a frame did.
//!
//! A frame notes a [`Checkpoint`]; a revert pops records down to it. What was loaded stays loaded: it was accessed.

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

/// A point that a frame can be undone to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    undo: u32,
    logs: u32,
    log_bytes: u32,
}

impl TxState<'_> {
    /// The point to which [`Self::revert`] can return.
    #[inline]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            undo: self.undo.len() as u32,
            logs: self.logs.len() as u32,
            log_bytes: self.logs.data.len() as u32,
        }
    }

    /// Undoes everything since the checkpoint. What was loaded stays accessed.
    pub fn revert(&mut self, to: Checkpoint) {
        while self.undo.len() > to.undo as usize {
            let Some(undo) = self.undo.pop() else { break };
            match undo {
                Undo::AccountFlag(id, flags) => {
                    // The touch of RIPEMD-160 outlives a revert: block 2,675,119 of mainnet deleted it so.
                    let cleared = self.fork >= Fork::SpuriousDragon;
                    let keep = if cleared && self.accounts[id].precompile == 3 { flag::TOUCHED } else { 0 };
                    self.accounts[id].flags &= !flags | keep;
                }
                Undo::SlotWarm(id) => self.slots[id].flags &= !flag::WARM,
                Undo::Balance(id, balance) => self.accounts[id].balance = balance,
                Undo::Nonce(id, nonce) => self.accounts[id].nonce = nonce,
                Undo::Code(id, code) => self.accounts[id].code = code,
                Undo::Slot(id, value) => self.slots[id].value = value,
                Undo::Transient(index, value) => self.transient[index as usize].2 = value,
            }
        }
        self.logs.truncate(to.logs as usize, to.log_bytes as usize);
    }
}
