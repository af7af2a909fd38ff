//! Diagnosis: every difference between a block's access list and its execution, with the
//! instructions that caused it.
//!
//! In: a block with its block access list. Out: [`Diagnosis`], independent of the number of
//! threads. The tasks run sequentially to record the correct list and, if the two lists differ,
//! once more with the differing accounts and slots watched.
//! Not here: whether the block is valid (`Executor::execute`), existence logs of forks before
//! Cancun.

use super::Executor;
use super::input::BlockInput;
use super::recover::{RecoveryContext, recover};
use crate::arena::BlockAccessIndex;
use crate::arena::store::{Guarded, StateStore};
use crate::bal::{self, BalField, Divergence, DivergenceValue, Limits};
use crate::exec::block::diagnose::{Recorded, run_recorded};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::tasks::BlockContext;
use crate::exec::interpreter::LoopKind;
use crate::exec::interpreter::watch::Touch;
use crate::exec::wire::Block;
use alloy_primitives::{Address, Bytes, U256};
use core::fmt;
use std::collections::BTreeSet;

/// All differences between a block access list and execution.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Diagnosis {
    /// The differences, by account, then field, slot and index.
    pub points: Vec<Point>,
    /// Index at which execution failed, and the error. The list was compared up to there.
    pub stopped: Option<(BlockAccessIndex, BlockError)>,
    /// RLP of the block access list that execution produces.
    pub produced: Bytes,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Point {
    /// The account.
    pub address: Address,
    /// Field of its entry; `account`: whether the account is listed.
    pub field: BalField,
    /// The slot, for the two storage fields.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub slot: Option<U256>,
    /// The block access index, for changes.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub index: Option<u32>,
    /// Value in the given list; `None` if it has none.
    pub claimed: Option<DivergenceValue>,
    /// Value that execution produced; `None` if it produced none.
    pub produced: Option<DivergenceValue>,
    /// The first instructions that accessed it, in order (at [`Self::index`], if there is one).
    /// Empty if no code did: the account is then a sender, fee recipient, withdrawal recipient or
    /// authority, or was not accessed.
    pub touches: Vec<Touch>,
    /// Number of all such instructions, those not in `touches` included.
    pub touch_count: usize,
}

impl Point {
    fn of(divergence: Divergence) -> Self {
        let Divergence { address, field, slot, index, a, b } = divergence;
        Self { address, field, slot, index, claimed: a, produced: b, touches: Vec::new(), touch_count: 0 }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.field)?;
        if let Some(slot) = self.slot {
            write!(f, " slot {slot:#x}")?;
        }
        if let Some(index) = self.index {
            write!(f, " index {index}")?;
        }
        let side = |value: &Option<DivergenceValue>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
        write!(f, ": claimed {}, produced {}", side(&self.claimed), side(&self.produced))?;
        for Touch { transaction, depth, contract, pc, opcode } in &self.touches {
            let whose = transaction.map_or("a system call".to_owned(), |tx| format!("transaction {tx}"));
            write!(f, "\n    {opcode} at pc {pc} of {contract}, depth {depth}, {whose}")?;
        }
        match self.touch_count - self.touches.len() {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

/// A cancelled run gives no diagnosis.
fn check_not_cancelled(recorded: &Recorded) -> Result<(), BlockError> {
    match &recorded.stopped {
        Some((_, error @ BlockError::Cancelled(_))) => Err(error.clone()),
        _ => Ok(()),
    }
}

impl Executor {
    /// Compares the block's access list with what execution on the parent state produces and
    /// reports every difference.
    ///
    /// # Errors
    /// The block or the list does not decode ([`InvalidBlock::Wire`], [`InvalidBlock::Bal`]), there
    /// is no list ([`InvalidBlock::BalPresence`]), or the run was cancelled.
    pub fn diagnose(&mut self, input: &BlockInput<'_>, store: &dyn StateStore) -> Result<Diagnosis, BlockError> {
        let store: &dyn StateStore = &Guarded { store, cancel: input.cancel };
        let block = Block::decode(input.block.clone()).map_err(InvalidBlock::Wire)?;
        let given = input.bal.as_ref().ok_or(InvalidBlock::BalPresence)?;
        let claimed = bal::decode(given, &Limits::format_only()).map_err(InvalidBlock::Bal)?;
        let Self { pool, codes, scratches, .. } = self;
        pool.install(|| {
            let recovered =
                recover(input.rules, &block, RecoveryContext { cancel: input.cancel, ..RecoveryContext::default() })?;
            let mut context = BlockContext::new(input.rules, &block, recovered.rows(), LoopKind::default());
            context.cancel = input.cancel;
            let mut scratch = scratches[0].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let recorded = run_recorded(&context, store, codes, &mut scratch, BTreeSet::new());
            check_not_cancelled(&recorded)?;
            let divergences = bal::diff(&claimed, &recorded.list.columns);
            let mut points: Vec<Point> = divergences.into_iter().map(Point::of).collect();
            if let Some((stopped, _)) = &recorded.stopped {
                // Entries of later indices, or without an index, may belong to tasks that did not
                // run.
                points.retain(|point| match point.index {
                    Some(index) => index < stopped.0,
                    None => point.produced.is_some(),
                });
            }
            let names = points.iter().map(|point| (point.address, point.slot)).collect::<BTreeSet<_>>();
            if !names.is_empty() {
                let watched = run_recorded(&context, store, codes, &mut scratch, names);
                check_not_cancelled(&watched)?;
                for point in &mut points {
                    let name = (point.address, point.slot);
                    let of_name = watched.touches.iter().filter(|((touched, _), _)| *touched == name);
                    let at = of_name.filter(|((_, at), _)| point.index.is_none_or(|index| at.0 == index));
                    for (_, touches) in at {
                        point.touch_count += touches.count;
                        let room = crate::exec::interpreter::watch::TOUCHES_MAX - point.touches.len();
                        point.touches.extend(touches.first.iter().take(room).cloned());
                    }
                }
            }
            Ok(Diagnosis { points, stopped: recorded.stopped, produced: recorded.list.bytes })
        })
    }
}
