//! Verification of a block access list (BAL): the changes of each task equal the changes that the BAL and its existence
//! log claim for the task's index. Spec: EIP-7928.
//!
//! In: the settled state of one task, the claims. Out: [`TaskChecked`], or the first mismatch in list order.
//! The check needs no search: every change and every existence event of the task must equal the claimed row at its
//! index, and the number of equal rows must be the number of rows claimed at this index. So no claimed row lacks a
//! change.
//!
//! Proof tokens record what was checked. A [`TaskChecked`] of every task and the check of all accesses give
//! [`ListChecked`]. [`ListChecked`] gives access to the value of a [`Claimed`], and together with the check of the
//! header's commitments it gives [`Verified`].
//! Relies on: `evm::state` for the changes of a task, `bal` for the claims.
//! Not here: listed items without a change (`tasks` checks once per block that each was accessed).

use super::error::{BlockError, InternalFault, InvalidBlock, Mismatch, MismatchField};
use crate::arena::code::CodeArena;
use crate::arena::{AccountId, BlockAccessIndex, CodeId, SlotId};
use crate::bal::{BalColumns, ExistenceColumns};
use crate::exec::evm::state::TxState;
use crate::exec::wire::Header;
use alloy_primitives::{B256, Bloom, U256};
use sha2::{Digest, Sha256};

/// The claims of a block access list and its existence log, prepared for verification.
#[derive(Clone, Copy, Debug)]
pub struct ListClaims<'b> {
    /// The list.
    pub bal: &'b BalColumns,
    /// Existence changes that the list cannot express; `None` from Cancun on.
    pub existence_log: Option<&'b ExistenceColumns>,
    /// The arena's id of each code row of the list.
    pub code_rows: &'b [CodeId],
    /// Number of listed changes per block access index, including the events of the existence log.
    pub rows_at: &'b [u32],
}

/// Proof that one task made exactly the changes that are claimed at its index. Only [`check_task`] creates one.
#[derive(Debug)]
pub struct TaskChecked(());

/// Why a task differs from the claims at its index.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TaskDifference {
    /// The first difference in list order.
    Mismatch(Box<Mismatch>),
    /// [`task_matches`] found a difference and [`task_mismatches`] found none, so one of them has a bug.
    Internal(InternalFault),
}

/// Compares the settled state of one task with the claims at `index`.
///
/// # Errors
/// Whenever [`task_matches`] returns false. [`task_mismatches`] only locates the difference: if it finds none, the
/// result is [`TaskDifference::Internal`].
pub fn check_task(
    state: &TxState<'_>,
    claims: &ListClaims<'_>,
    codes: &CodeArena,
    index: BlockAccessIndex,
) -> Result<TaskChecked, TaskDifference> {
    if task_matches(state, claims, index) {
        return Ok(TaskChecked(()));
    }
    Err(match task_mismatches(state, claims, codes, index).into_iter().next() {
        Some(mismatch) => TaskDifference::Mismatch(Box::new(mismatch)),
        None => TaskDifference::Internal(InternalFault::Comparison(index)),
    })
}

/// Whether the changes in the settled state of one task equal the claims at `index`.
pub fn task_matches(state: &TxState<'_>, claims: &ListClaims<'_>, index: BlockAccessIndex) -> bool {
    let bal = claims.bal;
    let mut matched = 0u32;
    for &id in state.touched_accounts() {
        let row = state.row(id);
        if row.settled_balance() != row.balance_start {
            if bal.balances().at(id, index) != Some(&row.settled_balance()) {
                return false;
            }
            matched += 1;
        }
        if row.settled_nonce() != row.nonce_start {
            if bal.nonces().at(id, index) != Some(&row.settled_nonce()) {
                return false;
            }
            matched += 1;
        }
        if row.code != row.code_start {
            if bal.codes().row_at(id, index).map(|at| claims.code_rows[at]) != Some(row.code) {
                return false;
            }
            matched += 1;
        }
    }
    for &id in state.touched_slots() {
        let row = state.slot_row(id);
        if row.value != row.start {
            if bal.storage().at(id, index) != Some(&row.value) {
                return false;
            }
            matched += 1;
        }
    }
    if let Some(existence_log) = claims.existence_log {
        for &id in state.touched_accounts() {
            if let Some(exists) = state.row(id).existence_event() {
                if existence_log.existence_at(id, index) != Some(exists) {
                    return false;
                }
                matched += 1;
            }
        }
    }
    claims.rows_at.get(index.0 as usize) == Some(&matched)
}

/// All mismatches of one task at `index`, ordered by account, field and slot. Slower than [`task_matches`]: it visits
/// every listed account and slot.
pub fn task_mismatches(
    state: &TxState<'_>,
    claims: &ListClaims<'_>,
    codes: &CodeArena,
    index: BlockAccessIndex,
) -> Vec<Mismatch> {
    let bal = claims.bal;
    let mut found = Vec::new();
    let hash = |code: CodeId| U256::from_be_bytes(codes.hash(code).0);
    let touched_accounts: std::collections::BTreeSet<AccountId> = state.touched_accounts().iter().copied().collect();
    let touched_slots: std::collections::BTreeSet<SlotId> = state.touched_slots().iter().copied().collect();
    for account in bal.addresses().ids() {
        let address = bal.addresses()[account];
        let row = touched_accounts.contains(&account).then(|| state.row(account));
        let changed = |differs: bool, value: U256| differs.then_some(value);
        let produced = row.map(|row| {
            (
                changed(row.settled_balance() != row.balance_start, row.settled_balance()),
                changed(row.settled_nonce() != row.nonce_start, U256::from(row.settled_nonce())),
                changed(row.code != row.code_start, hash(row.code)),
            )
        });
        let (balance, nonce, code) = produced.unwrap_or_default();
        let claimed_code = bal.codes().row_at(account, index).map(|at| hash(claims.code_rows[at]));
        for (field, claimed, produced) in [
            (MismatchField::Balance, bal.balance_at(account, index), balance),
            (MismatchField::Nonce, bal.nonce_at(account, index).map(U256::from), nonce),
            (MismatchField::Code, claimed_code, code),
        ] {
            if claimed != produced {
                found.push(Mismatch { address, field, slot: None, index: Some(index), claimed, produced });
            }
        }
        if let Some(existence_log) = claims.existence_log {
            let flag = |exists: bool| U256::from(u8::from(exists));
            let claimed = existence_log.existence_at(account, index).map(flag);
            let produced = row.and_then(|row| row.existence_event()).map(flag);
            if claimed != produced {
                let field = MismatchField::Existence;
                found.push(Mismatch { address, field, slot: None, index: Some(index), claimed, produced });
            }
        }
        for slot in bal.slots(account) {
            let row = touched_slots.contains(&slot).then(|| state.slot_row(slot));
            let produced = row.and_then(|row| (row.value != row.start).then_some(row.value));
            let claimed = bal.slot_at(slot, index);
            if claimed != produced {
                let slot = Some(bal.slot_keys()[slot]);
                let field = MismatchField::Storage;
                found.push(Mismatch { address, field, slot, index: Some(index), claimed, produced });
            }
        }
    }
    found
}

/// Number of a block's tasks that have a [`TaskChecked`] so far.
#[derive(Debug, Default)]
pub(in crate::exec) struct TasksChecked(usize);

impl TasksChecked {
    /// Counts one checked task.
    pub(in crate::exec) fn add(&mut self, _task: TaskChecked) {
        self.0 += 1;
    }
}

/// Proof that a block access list and its existence log hold exactly the changes and accesses of the block's tasks.
#[derive(Debug)]
pub struct ListChecked(());

impl ListChecked {
    /// Proof for a given list, from the proofs of its `task_count` tasks and the first listed item that no task
    /// accessed, if any.
    ///
    /// # Errors
    /// [`InternalFault::UncheckedTask`] where the proof of a task is missing, else [`InvalidBlock::Mismatch`] with the
    /// unaccessed item.
    pub(in crate::exec) fn given(
        tasks: &TasksChecked,
        task_count: usize,
        unaccessed: Option<Mismatch>,
    ) -> Result<Self, BlockError> {
        if tasks.0 != task_count {
            return Err(InternalFault::UncheckedTask.into());
        }
        match unaccessed {
            Some(mismatch) => Err(InvalidBlock::Mismatch(Box::new(mismatch)).into()),
            None => Ok(Self(())),
        }
    }

    /// Proof for a list that was recorded from the tasks themselves.
    pub(in crate::exec) fn recorded() -> Self {
        Self(())
    }
}

/// A value derived from a list and an existence log before they are verified, such as a candidate state root. It cannot
/// be read without a [`ListChecked`].
#[derive(Debug)]
pub struct Claimed<T>(T);

impl<T> Claimed<T> {
    /// Marks a value as derived from claims.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value, given the proof of the claims.
    pub fn release(self, _proof: &ListChecked) -> T {
        self.0
    }
}

/// Proof that a block's access list and its header's commitments were checked. Only [`commitments`] creates one, from a
/// [`ListChecked`].
#[derive(Debug)]
pub struct Verified(());

/// Values from execution that are compared with the header. Absent values are not compared.
#[derive(Clone, Copy, Debug)]
pub struct Produced<'a> {
    /// Gas used by the block.
    pub gas_used: u64,
    /// Root of the receipt trie.
    pub receipts_root: Option<B256>,
    /// Union of the receipts' blooms.
    pub logs_bloom: &'a Bloom,
    /// Requests, type byte first (EIP-7685).
    pub requests: &'a [Vec<u8>],
    /// State root.
    pub state_root: Option<B256>,
}

/// Compares `produced` with the header's commitments, in the order of the header checks in the execution specs.
///
/// # Errors
/// The first commitment that differs.
pub fn commitments(header: &Header, produced: &Produced<'_>, _list: ListChecked) -> Result<Verified, InvalidBlock> {
    if header.gas_used != produced.gas_used {
        return Err(InvalidBlock::GasUsed { claimed: header.gas_used, produced: produced.gas_used });
    }
    if let Some(root) = produced.receipts_root
        && root != header.receipts_root
    {
        return Err(InvalidBlock::ReceiptsRoot { claimed: header.receipts_root, produced: root });
    }
    if *produced.logs_bloom != header.logs_bloom {
        return Err(InvalidBlock::LogsBloom);
    }
    if let Some(claimed) = header.requests_hash {
        let hash = requests_hash(produced.requests);
        if hash != claimed {
            return Err(InvalidBlock::RequestsHash { claimed, produced: hash });
        }
    }
    if let Some(root) = produced.state_root
        && root != header.state_root
    {
        return Err(InvalidBlock::StateRoot { claimed: header.state_root, produced: root });
    }
    Ok(Verified(()))
}

/// Requests hash of EIP-7685: sha256 of the concatenated sha256 hashes of the requests.
pub fn requests_hash(requests: &[Vec<u8>]) -> B256 {
    let mut outer = Sha256::new();
    for request in requests {
        outer.update(Sha256::digest(request));
    }
    B256::from_slice(&outer.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::store::MemoryStore;
    use crate::exec::block::code_loader::CodeLoader;
    use crate::exec::block::providers::{BalState, ParentRows, PreState};
    use crate::exec::evm::ids::IdMap;
    use crate::exec::evm::state::StateScratch;
    use crate::exec::rules::fork::Fork;

    /// Checks a task without changes at index 1 against an empty list whose row count at index 1 is `rows`.
    fn check_idle_task(rows: u32) -> Result<(), TaskDifference> {
        let list = BalColumns::default();
        let (store, codes, pre) = (MemoryStore::default(), CodeArena::default(), PreState::default());
        let existence_log = ExistenceColumns::default();
        let (id_map, loader) = (IdMap::default(), CodeLoader::new(&store, &codes));
        let base = BalState::new(&list, &existence_log, ParentRows::Known(&pre), &[], &loader, Fork::Shanghai);
        let state = TxState::new(StateScratch::default(), Some(&id_map), Box::new(base), &codes, Fork::Shanghai);
        let claims =
            ListClaims { bal: &list, existence_log: Some(&existence_log), code_rows: &[], rows_at: &[0, rows, 0] };
        check_task(&state, &claims, &codes, BlockAccessIndex(1)).map(drop)
    }

    #[test]
    fn comparisons_that_disagree_are_an_internal_fault() {
        assert_eq!(check_idle_task(0), Ok(()));
        // The row count claims one row and the list has none: the fast comparison fails, the complete one finds
        // nothing.
        let fault = InternalFault::Comparison(BlockAccessIndex(1));
        assert_eq!(check_idle_task(1), Err(TaskDifference::Internal(fault)));
    }

    #[test]
    fn a_missing_task_proof_prevents_the_proof_of_the_list() {
        let mut tasks = TasksChecked::default();
        tasks.add(TaskChecked(()));
        assert!(ListChecked::given(&tasks, 1, None).is_ok());
        assert_eq!(ListChecked::given(&tasks, 2, None).map(drop), Err(InternalFault::UncheckedTask.into()));
    }
}
