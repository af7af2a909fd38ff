//! Post-state: reduced rows joined with the parent fields that the block left alone.
//!
//! In: `Reduced` and the parent accounts. Out: whole accounts, as their leaves need them, or their removal.
//! Spec: EIP-161 (empty accounts are removed), EIP-8246 (a destroyed account keeps a balance and so stays).
//! Not here: storage roots, hashing of leaves.

use super::Reduced;
use crate::arena::store::{KECCAK_EMPTY, ParentAccount};
use crate::arena::{AccountId, Column};
use alloy_primitives::{B256, U256};

/// A changed account after the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostAccount {
    /// Whether it has a leaf; a changed account without nonce, balance and code is removed (EIP-161), with what
    /// storage it may have.
    pub exists: bool,
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// keccak256 of the code.
    pub code_hash: B256,
}

impl Reduced {
    /// The changed account at `position` after the block.
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
