//! EIP-7928's check that a block's gas can pay for the entries of its block access list, before the first transaction.
//!
//! In: a decoded list, the block's gas limits, a store with the parent state. Out: nothing, or the rule that the list
//! breaks.
//! Relies on: `bal` for the cost of entries, `exec::block::system` for the system contracts.
//! Not here: the other rules of a list (`bal`), the comparison of its entries with execution (`exec::block::verify`).

use crate::arena::store::{ParentAccount, StateStore, StoreError};
use crate::arena::{AccountId, Id};
use crate::bal::{BalColumns, BalError, BalRule, GasBudget};
use crate::exec::block::error::{BlockError, InvalidBlock};
use crate::exec::block::system::{SYSTEM_CONTRACTS, only_uses_own_storage};
use crate::exec::rules::fork::{ForkRules, TX_GAS_LIMIT_MAX};
use crate::exec::tx::{SYSTEM_CALL_GAS, SYSTEM_CALL_RESERVOIR};
use crate::exec::wire::Block;
use alloy_primitives::Address;

/// Refuses a block access list with more entries than the block's gas can pay for (EIP-7928,
/// gas-budget feasibility).
///
/// The check is made before the first transaction, so the budget is the sum of the transactions'
/// gas limits (at most the block's gas limit) instead of the gas used. Slots of the system
/// contracts do not count, since their reads cost no block gas (ethereum/EIPs#12277).
///
/// A system call reads slots of other accounts only if its contract's code is neither that of its
/// EIP nor empty. So if a list exceeds the transactions' budget, the six system contracts are read
/// from the parent state: each whose code is such a different one, or is changed in this block,
/// adds the gas of a system call to the budget (15,000 slots at most).
pub(super) fn check_feasible(
    columns: &BalColumns,
    block: &Block,
    rules: &ForkRules,
    store: &dyn StateStore,
) -> Result<(), BlockError> {
    let sum = |limits: &mut dyn Iterator<Item = u64>| limits.fold(0, u64::saturating_add).min(block.header.gas_limit);
    let rows = block.transactions.rows();
    let mut budget = GasBudget {
        tx_count: rows.len(),
        execution: sum(&mut rows.iter().map(|tx| tx.gas_limit.min(TX_GAS_LIMIT_MAX))),
        state: sum(&mut rows.iter().map(|tx| tx.gas_limit)),
        system: SYSTEM_CONTRACTS.len() as u64 * (SYSTEM_CALL_GAS + SYSTEM_CALL_RESERVOIR),
        code_byte: rules.state_code_byte,
    };
    let mut checked = columns.check_affordable(&budget, &SYSTEM_CONTRACTS);
    if matches!(checked, Err(BalError { rule: BalRule::UnaffordableSlots { .. }, .. })) {
        let calls = system_calls_of_other_code(columns, store)?;
        if calls > 0 {
            budget.execution = budget.execution.saturating_add(calls * SYSTEM_CALL_GAS);
            checked = columns.check_affordable(&budget, &SYSTEM_CONTRACTS);
        }
    }
    Ok(checked.map_err(InvalidBlock::Bal)?)
}

/// Number of system contracts whose calls may read storage of other accounts: those whose code in
/// the parent state is neither that of their EIP nor empty, and those whose code the list changes.
fn system_calls_of_other_code(columns: &BalColumns, store: &dyn StateStore) -> Result<u64, StoreError> {
    let mut parents = SYSTEM_CONTRACTS.map(|_| ParentAccount::default());
    store.accounts(&SYSTEM_CONTRACTS, &mut parents)?;
    let reaches_others = |(contract, parent): (&Address, &ParentAccount)| {
        let listed = columns.addresses().as_slice().binary_search(contract);
        let is_changed = listed.is_ok_and(|row| !columns.codes().rows(AccountId::new(row)).is_empty());
        is_changed || !only_uses_own_storage(contract, &parent.code_hash)
    };
    Ok(SYSTEM_CONTRACTS.iter().zip(&parents).filter(|pair| reaches_others(*pair)).count() as u64)
}
