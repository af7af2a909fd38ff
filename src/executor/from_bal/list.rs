//! The block access list of one block: decoded, and with everything that is computed from it before the first task.
//!
//! In: the list's RLP, the existence log, memory of the block before. Out: [`DecodedList`], or the first rule that the
//! list or the log breaks.
//! Relies on: `bal` to decode, `feasible` for the gas that the list may cost.
//! Not here: the list's hash (`job`), the parent state, the comparison with execution.

use super::feasible::check_feasible;
use crate::arena::CodeId;
use crate::arena::code::CodeArena;
use crate::bal::{self, BalColumns, ExistenceColumns, Limits};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::providers::ParentRows;
use crate::exec::block::tasks::ListState;
use crate::exec::evm::ids::IdMap;
use crate::exec::rules::fork::Fork;
use crate::executor::check::resolve_existence_log;
use crate::executor::job::Job;
use crate::executor::timeline::Stage;
use alloy_primitives::{B256, Bytes};

/// A decoded block access list.
pub(in crate::executor) struct DecodedList<'a> {
    pub(in crate::executor) columns: &'a BalColumns,
    /// Ids of the listed addresses and slot keys.
    pub(in crate::executor) id_map: &'a IdMap,
    pub(in crate::executor) existence_log: ExistenceColumns,
    /// Number of listed changes per block access index, including the events of the existence log.
    pub(in crate::executor) rows_at: Vec<u32>,
    /// keccak256 of each code row of the list.
    pub(in crate::executor) code_hashes: Vec<B256>,
    /// The arena's id of each code row of the list.
    pub(in crate::executor) code_rows: Vec<CodeId>,
}

impl<'a> DecodedList<'a> {
    /// Decodes a list into `columns` and `id_map`, and adds its codes to the arena.
    ///
    /// # Errors
    /// [`InvalidBlock::Bal`], also if the block's gas cannot pay for the list; [`InvalidBlock::Existence`]; an error of
    /// the store, from which an infeasible list's system contracts are read.
    pub(in crate::executor) fn new(
        job: &Job<'_>,
        bytes: &Bytes,
        columns: &'a mut BalColumns,
        id_map: &'a mut IdMap,
    ) -> Result<Self, BlockError> {
        let start = job.clock.now();
        let (block, rules) = (job.block, job.input.rules);
        let tx_count = block.transactions.len();
        let is_amsterdam = rules.fork >= Fork::Amsterdam;
        let limits = if is_amsterdam {
            Limits::amsterdam(tx_count, block.header.gas_limit)
        } else {
            Limits { tx_count, ..Limits::format_only() }
        };
        bal::decode_into(columns, bytes, &limits).map_err(InvalidBlock::Bal)?;
        let columns = &*columns;
        if is_amsterdam {
            check_feasible(columns, block, rules.fork_rules(), job.store)?;
        }
        id_map.fill(columns.addresses().as_slice(), columns.slot_keys().as_slice(), columns.slot_accounts().as_slice());
        let existence_log = resolve_existence_log(job, Some(columns))?;
        let mut rows_at = columns.rows_per_index(tx_count);
        existence_log.count_into(&mut rows_at);
        let code_hashes = bal::code_hashes(columns);
        let code_rows = intern_code_rows(columns, &code_hashes, job.codes);
        job.clock.record(Stage::Decode, start);
        Ok(Self { columns, id_map, existence_log, rows_at, code_hashes, code_rows })
    }

    /// What the tasks of the block need of the list.
    pub(in crate::executor) fn state<'b>(&'b self, job: &'b Job<'_>, parent: ParentRows<'b>) -> ListState<'b> {
        ListState {
            bal: self.columns,
            existence_log: &self.existence_log,
            id_map: self.id_map,
            parent,
            code_rows: &self.code_rows,
            rows_at: &self.rows_at,
            refused: &job.list_hash.refused,
            shuffle: job.shuffle,
        }
    }
}

/// Adds the code of every code row of a list to the arena and returns their ids.
fn intern_code_rows(bal: &BalColumns, hashes: &[B256], codes: &CodeArena) -> Vec<CodeId> {
    hashes.iter().enumerate().map(|(row, hash)| codes.insert(*hash, bal.code_shared(row))).collect()
}
