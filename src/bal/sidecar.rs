//! Sidecar: what an access list cannot say about blocks before Cancun.
//!
//! A list holds balances, nonces, codes and slots that changed. Accounts also come and go while empty: calls create
//! empty accounts before EIP-161, touching removes them after. Such events travel beside the list, by account and block
//! access index. In JSON: `{"existence": [[address, index, exists]]}`, sorted.
//! (The storage that a SELFDESTRUCT clears before EIP-6780 needs no event: see [`BalColumns::wiped_before`].)
//! Not here: how an execution finds the events (`exec`), what they do to a trie (`executor`).

use super::BalColumns;
use crate::arena::{AccountId, BlockAccessIndex};
use alloy_primitives::Address;

/// Events by address, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sidecar {
    /// Whether the account is in the state after this index, where its fields do not tell: it exists though empty, or
    /// it went without a change of any field.
    #[cfg_attr(feature = "serde", serde(default))]
    pub existence: Vec<(Address, u32, bool)>,
}

/// The same by id of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarColumns {
    existence: Vec<(AccountId, BlockAccessIndex, bool)>,
}

impl Sidecar {
    /// Whether there is no event: true for every block from Cancun on.
    pub fn is_empty(&self) -> bool {
        self.existence.is_empty()
    }

    /// Events by id of a list.
    ///
    /// # Errors
    /// The first address that the list does not name: every event is an access.
    pub fn resolve(&self, bal: &BalColumns) -> Result<SidecarColumns, Address> {
        let find = |address: &Address| bal.find(address).ok_or(*address);
        let mut columns = SidecarColumns::default();
        for (address, index, exists) in &self.existence {
            columns.existence.push((find(address)?, BlockAccessIndex(*index), *exists));
        }
        columns.existence.sort_unstable();
        columns.existence.dedup();
        Ok(columns)
    }
}

impl SidecarColumns {
    /// Whether there is no event.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.existence.is_empty()
    }

    /// Existence events by account and index.
    pub fn existence(&self) -> &[(AccountId, BlockAccessIndex, bool)] {
        &self.existence
    }

    /// The last existence event below `index`.
    pub fn existence_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<(BlockAccessIndex, bool)> {
        let end = self.existence.partition_point(|event| (event.0, event.1) < (account, index));
        self.existence[..end].last().filter(|event| event.0 == account).map(|event| (event.1, event.2))
    }

    /// The existence event at exactly this index.
    pub fn existence_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<bool> {
        let at = self.existence.binary_search_by_key(&(account, index), |event| (event.0, event.1)).ok()?;
        Some(self.existence[at].2)
    }

    /// Number of events at exactly this index.
    pub fn count_at(&self, index: BlockAccessIndex) -> usize {
        self.existence.iter().filter(|(_, at, _)| *at == index).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_below_an_index_counts() {
        let (a, b) = (AccountId(1), AccountId(2));
        let at = BlockAccessIndex;
        let columns = SidecarColumns { existence: vec![(a, at(2), true), (a, at(7), false), (b, at(5), false)] };
        assert_eq!(columns.existence_before(a, at(7)), Some((at(2), true)));
        assert_eq!(columns.existence_before(a, at(9)), Some((at(7), false)));
        assert_eq!(columns.existence_before(b, at(5)), None);
        assert_eq!(columns.existence_at(b, at(5)), Some(false));
        assert_eq!(columns.count_at(at(7)), 1);
    }
}
