//! Post-state accounts: changed fields joined with unchanged fields of the parent state.
//!
//! In: `Reduced` and the parent accounts. Out: complete accounts for the trie leaves, or their
//! removal.
//! Spec: EIP-161 (empty accounts are removed), EIP-8246 (a destroyed account keeps its balance and
//! so remains).
//! Not here: storage roots, and hashing of leaves.

use super::{BalColumns, ExistenceColumns, Reduced};
use crate::arena::store::{KECCAK_EMPTY, ParentAccount};
use crate::arena::{AccountId, BlockAccessIndex, Column};
use alloy_primitives::{B256, U256};

/// A changed account after the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostAccount {
    /// Whether it has a trie leaf. A changed account without nonce, balance and code is removed
    /// together with its storage (EIP-161).
    pub exists: bool,
    /// Nonce: number of transactions sent by the account, or of contracts created by it.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code.
    pub code_hash: B256,
}

/// Whether an account exists in the state before `index`. The latest source decides: the existence
/// log if its last event is not older than the last field change; else the fields if one changed
/// (empty accounts are removed, EIP-161); else the parent state.
pub fn exists_before(
    bal: &BalColumns,
    existence_log: &ExistenceColumns,
    parent: &ParentAccount,
    account: AccountId,
    index: BlockAccessIndex,
) -> bool {
    let balance = bal.balances().row_before(account, index);
    let nonce = bal.nonces().row_before(account, index);
    let code = bal.codes().row_before(account, index);
    let changed_at = [
        balance.map(|row| bal.balances().index(row)),
        nonce.map(|row| bal.nonces().index(row)),
        code.map(|row| bal.codes().index(row)),
    ]
    .into_iter()
    .flatten()
    .max();
    if !existence_log.is_empty()
        && let Some((at, exists)) = existence_log.existence_before(account, index)
        && changed_at.is_none_or(|changed| at >= changed)
    {
        return exists;
    }
    if changed_at.is_none() {
        return parent.exists;
    }
    let has_balance = balance.map_or(!parent.balance.is_zero(), |row| !bal.balances().value(row).is_zero());
    let has_nonce = nonce.map_or(parent.nonce != 0, |row| *bal.nonces().value(row) != 0);
    let has_code = code.map_or(parent.code_hash != KECCAK_EMPTY, |row| !bal.code_bytes(row).is_empty());
    has_balance || has_nonce || has_code
}

impl Reduced {
    /// The account at `position` of [`Self::accounts`], after the block.
    pub fn post_account(&self, position: usize, parent: &ParentAccount) -> PostAccount {
        let nonce = self.nonces[position].unwrap_or(parent.nonce);
        let balance = self.balances[position].unwrap_or(parent.balance);
        let code_hash = self.code_hash(position).unwrap_or(parent.code_hash);
        PostAccount { exists: nonce != 0 || !balance.is_zero() || code_hash != KECCAK_EMPTY, nonce, balance, code_hash }
    }

    /// All changed accounts after the block, in the order of [`Self::accounts`].
    pub fn post_accounts(&self, parents: &Column<AccountId, ParentAccount>) -> Vec<PostAccount> {
        self.accounts
            .iter()
            .enumerate()
            .map(|(position, account)| self.post_account(position, &parents[*account]))
            .collect()
    }
}
