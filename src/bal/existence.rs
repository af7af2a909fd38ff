//! Existence log: account creations and removals that a block access list cannot express, for
//! blocks before Cancun.
//!
//! A list contains changed balances, nonces, codes and slots. But empty accounts are also created
//! and removed without such a change: before EIP-161 calls create empty accounts, and from EIP-161
//! on touching an empty account removes it. The existence log records these events by account and
//! block access index, next to the list. In JSON: `{"existence": [[address, index, exists]]}`,
//! strictly ascending by address and index. The storage that a SELFDESTRUCT clears before EIP-6780
//! needs no event: see [`BalColumns::storage_cleared_before`].
//!
//! In: an untrusted log. [`ExistenceLog::check`] rejects one that is not canonical before execution
//! starts; `exec::block::verify` compares every entry with the event that the task at its index
//! produced. Out: [`ExistenceColumns`], the events by account id, and whether an account exists
//! before an index ([`exists_before`]).
//! Not here: detecting the events during execution (`exec`), and the account's status after the
//! block (`reduce`).

use super::BalColumns;
use crate::arena::store::{KECCAK_EMPTY, ParentAccount};
use crate::arena::{AccountId, BlockAccessIndex, Id};
use alloy_primitives::Address;

/// Existence events by address and block access index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExistenceLog {
    /// (address, block access index, whether the account exists after this index). Contains only
    /// events that do not follow from the account's fields: an account that exists although it is
    /// empty, or one that was removed without a change of a field.
    #[cfg_attr(feature = "serde", serde(default))]
    pub existence: Vec<(Address, u32, bool)>,
}

/// Why an existence log is rejected before its block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExistenceFault {
    /// From Cancun on (EIP-6780) the block access list is complete, and the log must be empty.
    #[error("a block of Cancun or later has no existence log")]
    AfterCancun,
    /// Entries must strictly ascend by address and index. So there are never two entries for an
    /// account and an index.
    #[error("claim {position}, about {address} at index {index}, is not above the one before it")]
    Order {
        /// Position of the entry in the log, counted from 0.
        position: usize,
        /// The entry's address.
        address: Address,
        /// The entry's block access index.
        index: u32,
    },
    /// An entry with an index above the block's last one.
    #[error("the claim about {address} at index {index} exceeds the block's last index {max}")]
    IndexBeyondBlock {
        /// The account.
        address: Address,
        /// The entry's block access index.
        index: u32,
        /// `n + 1` for `n` transactions.
        max: u32,
    },
    /// An entry about an account that the block access list does not contain. Every event is an
    /// access, so the account must be listed.
    #[error("the claim about {0} has no entry in the block access list")]
    UnlistedAccount(Address),
}

/// Existence events by account id of one block access list: checked to be canonical and within the
/// block's indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExistenceColumns {
    existence: Vec<(AccountId, BlockAccessIndex, bool)>,
}

impl ExistenceLog {
    /// Whether there is no event; must be true for every block from Cancun on.
    pub fn is_empty(&self) -> bool {
        self.existence.is_empty()
    }

    /// Checks order and indices against a block whose last index is `last`.
    ///
    /// # Errors
    /// The first entry that is out of order ([`ExistenceFault::Order`]) or above the block's last
    /// index ([`ExistenceFault::IndexBeyondBlock`]).
    pub fn check(&self, last: BlockAccessIndex) -> Result<(), ExistenceFault> {
        let mut previous = None;
        for (position, &(address, index, _)) in self.existence.iter().enumerate() {
            if previous >= Some((address, index)) {
                return Err(ExistenceFault::Order { position, address, index });
            }
            if index > last.0 {
                return Err(ExistenceFault::IndexBeyondBlock { address, index, max: last.0 });
            }
            previous = Some((address, index));
        }
        Ok(())
    }

    /// Converts the events to account ids of `bal`, the list of a block whose last index is `last`.
    ///
    /// # Errors
    /// As [`Self::check`], then [`ExistenceFault::UnlistedAccount`] with the first address that the list lacks.
    pub fn resolve(&self, bal: &BalColumns, last: BlockAccessIndex) -> Result<ExistenceColumns, ExistenceFault> {
        self.check(last)?;
        // Ids ascend with addresses, so the events remain sorted.
        let events = self.existence.iter().map(|&(address, index, exists)| {
            let account = bal.find(&address).ok_or(ExistenceFault::UnlistedAccount(address))?;
            Ok((account, BlockAccessIndex(index), exists))
        });
        Ok(ExistenceColumns { existence: events.collect::<Result<_, _>>()? })
    }

    /// The first account and index, in canonical order, at which two canonical logs differ, with
    /// both entries.
    pub fn first_difference(&self, other: &Self) -> Option<ExistenceDifference> {
        let find = |existence_log: &Self, key: (Address, u32)| {
            let at = existence_log.existence.binary_search_by_key(&key, |event| (event.0, event.1)).ok()?;
            Some(existence_log.existence[at].2)
        };
        let difference = |&(address, index, _): &(Address, u32, bool)| {
            let key = (address, index);
            let (a, b) = (find(self, key), find(other, key));
            (a != b).then_some(ExistenceDifference { address, index: BlockAccessIndex(index), a, b })
        };
        let own = self.existence.iter().find_map(difference);
        let others = other.existence.iter().find_map(difference);
        own.into_iter().chain(others).min_by_key(|difference| (difference.address, difference.index))
    }
}

/// An account and an index at which two existence logs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExistenceDifference {
    /// The account.
    pub address: Address,
    /// The block access index.
    pub index: BlockAccessIndex,
    /// Whether the account exists according to the first log; `None`: no entry.
    pub a: Option<bool>,
    /// The same for the second log.
    pub b: Option<bool>,
}

impl ExistenceColumns {
    /// Whether there is no event.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.existence.is_empty()
    }

    /// Existence events, strictly ascending by account and index.
    pub fn existence(&self) -> &[(AccountId, BlockAccessIndex, bool)] {
        &self.existence
    }

    /// The account's last existence event below `index`: its index, and whether the account exists
    /// after it.
    pub fn existence_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<(BlockAccessIndex, bool)> {
        let end = self.existence.partition_point(|event| (event.0, event.1) < (account, index));
        self.existence[..end].last().filter(|event| event.0 == account).map(|event| (event.1, event.2))
    }

    /// The account's existence event at exactly this index: whether it exists after it.
    pub fn existence_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<bool> {
        let at = self.existence.binary_search_by_key(&(account, index), |event| (event.0, event.1)).ok()?;
        Some(self.existence[at].2)
    }

    /// Adds the number of events at each index to `rows_at`, which holds the number of the list's
    /// rows at each index (see [`BalColumns::rows_per_index`]). A log checked against the block has
    /// no event beyond `rows_at`.
    pub fn count_into(&self, rows_at: &mut [u32]) {
        for (_, index, _) in &self.existence {
            if let Some(count) = rows_at.get_mut(index.index()) {
                *count += 1;
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_below_an_index_counts() {
        let (a, b) = (AccountId(1), AccountId(2));
        let at = BlockAccessIndex;
        let columns = ExistenceColumns { existence: vec![(a, at(2), true), (a, at(7), false), (b, at(5), false)] };
        assert_eq!(columns.existence_before(a, at(7)), Some((at(2), true)));
        assert_eq!(columns.existence_before(a, at(9)), Some((at(7), false)));
        assert_eq!(columns.existence_before(b, at(5)), None);
        assert_eq!(columns.existence_at(b, at(5)), Some(false));
        let mut counts = [1; 8];
        columns.count_into(&mut counts);
        assert_eq!(counts, [1, 1, 2, 1, 1, 2, 1, 2]);
    }

    #[test]
    fn only_the_canonical_form_passes() {
        let [a, b] = [1, 2].map(Address::repeat_byte);
        let check = |existence: &[(Address, u32, bool)]| {
            ExistenceLog { existence: existence.to_vec() }.check(BlockAccessIndex(5))
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(a, 0, true), (a, 5, false), (b, 1, true)]), Ok(()));
        for wrong in [
            [(b, 1, true), (a, 1, true)],
            [(a, 2, true), (a, 1, true)],
            [(a, 1, true), (a, 1, true)],
            [(a, 1, false), (a, 1, true)],
        ] {
            let (address, index, _) = wrong[1];
            assert_eq!(check(&wrong), Err(ExistenceFault::Order { position: 1, address, index }));
        }
        for index in [6, u32::MAX] {
            assert_eq!(
                check(&[(a, index, false)]),
                Err(ExistenceFault::IndexBeyondBlock { address: a, index, max: 5 })
            );
        }
    }

    #[test]
    fn the_first_difference_is_that_of_the_lowest_account_and_index() {
        let [a, b] = [1, 2].map(Address::repeat_byte);
        let existence_log = |existence: &[(Address, u32, bool)]| ExistenceLog { existence: existence.to_vec() };
        let one = existence_log(&[(a, 1, true), (b, 1, true)]);
        assert_eq!(one.first_difference(&one), None);
        let found = |other: &[(Address, u32, bool)]| {
            one.first_difference(&existence_log(other)).map(|found| (found.address, found.index.0, found.a, found.b))
        };
        assert_eq!(found(&[(a, 1, true)]), Some((b, 1, Some(true), None)));
        assert_eq!(found(&[(a, 0, false), (b, 1, false)]), Some((a, 0, None, Some(false))));
        assert_eq!(found(&[(a, 1, false), (b, 1, true)]), Some((a, 1, Some(true), Some(false))));
    }
}
