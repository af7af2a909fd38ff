//! Outcomes as what revm's executors return: `BundleState` with reverts, receipts and requests.
//!
//! Each changed account becomes one `TransitionAccount`, from its values before the block to those after it;
//! `revm-database` makes state and reverts of them, as it does for the transitions of its own blocks.

use super::store::{account_info, bytecode};
use crate::arena::changes::AccountStatus;
use crate::arena::store::{KECCAK_EMPTY, ParentAccount};
use crate::executor::BlockOutcome;
use alloy_consensus::ReceiptEnvelope;
use alloy_eips::eip7685::Requests;
use alloy_primitives::{U256, map::B256Map};
use revm_database::bytecode::Bytecode;
use revm_database::states::bundle_state::BundleRetention;
use revm_database::states::{AccountStatus as RevmStatus, StorageSlot};
use revm_database::{BundleState, TransitionAccount, TransitionState};

/// What `alloy_evm::block::BlockExecutionResult` holds, with the same names, so that a host moves the fields over:
/// alloy-evm itself is not a dependency of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionResult {
    /// The receipts.
    pub receipts: Vec<ReceiptEnvelope>,
    /// The requests (EIP-7685).
    pub requests: Requests,
    /// `gas_used` of the header.
    pub gas_used: u64,
    /// `blob_gas_used` of the header; zero before Cancun.
    pub blob_gas_used: u64,
}

impl BlockOutcome {
    /// Receipts, requests and gas in the shape of alloy-evm's result of a block.
    pub fn to_execution_result(&self) -> ExecutionResult {
        ExecutionResult {
            receipts: self.to_receipts(),
            requests: self.to_requests(),
            gas_used: self.gas_used,
            blob_gas_used: self.blob_gas_used,
        }
    }

    /// The block's changes as revm's bundle: state, contracts, and the reverts of this one block.
    ///
    /// It is made to equal the bundle of revm from Cancun on but in one point: an account that is deleted and
    /// credited again within the block has the status of a changed account here, as the block access list does not tell
    /// the two apart. Before Cancun the reverts of an account whose storage the block cleared say so (`wipe_storage`) and
    /// do not list that storage, as with revm.
    pub fn to_bundle_state(&self) -> BundleState {
        let codes: B256Map<Bytecode> =
            self.changes.codes.iter().map(|(hash, code)| (*hash, bytecode(code.clone()))).collect();
        let mut transitions = TransitionState::default();
        for (row, address) in self.changes.addresses.iter().enumerate() {
            if let Some(transition) = self.transition(row, &codes) {
                transitions.transitions.insert(*address, transition);
            }
        }
        let mut bundle = BundleState::default();
        bundle.apply_transitions_and_create_reverts(transitions, BundleRetention::Reverts);
        bundle
    }

    /// What the block did to the account in this row; `None` if it neither existed before nor does afterwards.
    fn transition(&self, row: usize, codes: &B256Map<Bytecode>) -> Option<TransitionAccount> {
        let (changes, parent, status) = (&self.changes, &self.parents[row], self.changes.statuses[row]);
        let previous_info = account_info(parent);
        let account = ParentAccount {
            exists: status != AccountStatus::Deleted,
            nonce: changes.nonces[row].unwrap_or(parent.nonce),
            balance: changes.balances[row].unwrap_or(parent.balance),
            code_hash: changes.code_hashes[row].unwrap_or(parent.code_hash),
            ..*parent
        };
        let mut info = account_info(&account);
        if let Some(info) = &mut info
            && (!parent.exists || info.code_hash != parent.code_hash)
        {
            let is_empty = info.code_hash == KECCAK_EMPTY;
            info.code = if is_empty { Some(Bytecode::default()) } else { codes.get(&info.code_hash).cloned() };
        }
        if info.is_none() && previous_info.is_none() {
            return None;
        }
        let has_no_nonce_and_code = parent.nonce == 0 && parent.code_hash == KECCAK_EMPTY;
        let previous_status = match &previous_info {
            None => RevmStatus::LoadedNotExisting,
            Some(info) if info.is_empty() => RevmStatus::LoadedEmptyEIP161,
            Some(_) => RevmStatus::Loaded,
        };
        let new_status = match status {
            AccountStatus::Deleted => RevmStatus::Destroyed,
            AccountStatus::StorageCleared => RevmStatus::DestroyedChanged,
            AccountStatus::Kept if !parent.exists || has_no_nonce_and_code => RevmStatus::InMemoryChange,
            AccountStatus::Kept => RevmStatus::Changed,
        };
        // `before` has the slots of the accounts that existed and were kept; those of others were zero.
        let mut before = self.before.slots(row).map(|(_, value)| value);
        let slots = changes.slots(row).map(|(key, value)| (key, before.next().unwrap_or(U256::ZERO), value));
        let storage = slots
            .filter(|(_, before, after)| before != after && status != AccountStatus::Deleted)
            .map(|(key, before, after)| (key, StorageSlot::new_changed(before, after)))
            .collect();
        Some(TransitionAccount {
            info,
            status: new_status,
            previous_info,
            previous_status,
            storage,
            storage_was_destroyed: status != AccountStatus::Kept,
        })
    }
}
