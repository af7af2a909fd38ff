//! Sidecar: what an access list cannot say about blocks before Cancun.
//!
//! A list holds balances, nonces, codes and slots that changed. Before EIP-6780 a SELFDESTRUCT clears storage that
//! nothing else touched, and accounts come and go while empty: calls create empty accounts before EIP-161, touching
//! removes them after. Such events travel beside the list, by account and block access index.
//! In JSON: `{"wipes": [[address, index]], "existence": [[address, index, exists]]}`, each sorted.
//! Not here: how an execution finds the events (`exec`), what they do to a trie (`executor`).

use super::BalColumns;
use crate::arena::{AccountId, BlockAccessIndex};
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Events by address, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// The account's storage was cleared at this index.
    #[serde(default)]
    pub wipes: Vec<(Address, u32)>,
    /// Whether the account is in the state after this index, where its fields do not tell: it exists though empty, or
    /// it went without a change of any field.
    #[serde(default)]
    pub existence: Vec<(Address, u32, bool)>,
}

/// The same by id of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarColumns {
    wipes: Vec<(AccountId, BlockAccessIndex)>,
    existence: Vec<(AccountId, BlockAccessIndex, bool)>,
}

impl Sidecar {
    /// Whether there is no event: true for every block from Cancun on.
    pub fn is_empty(&self) -> bool {
        self.wipes.is_empty() && self.existence.is_empty()
    }

    /// Events by id of a list.
    ///
    /// # Errors
    /// The first address that the list does not name: every event is an access.
    pub fn resolve(&self, bal: &BalColumns) -> Result<SidecarColumns, Address> {
        let find = |address: &Address| bal.find(address).ok_or(*address);
        let mut columns = SidecarColumns::default();
        for (address, index) in &self.wipes {
            columns.wipes.push((find(address)?, BlockAccessIndex(*index)));
        }
        for (address, index, exists) in &self.existence {
            columns.existence.push((find(address)?, BlockAccessIndex(*index), *exists));
        }
        columns.wipes.sort_unstable();
        columns.wipes.dedup();
        columns.existence.sort_unstable();
        columns.existence.dedup();
        Ok(columns)
    }
}

impl SidecarColumns {
    /// Whether there is no event.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.wipes.is_empty() && self.existence.is_empty()
    }

    /// Storage clearings by account and index.
    pub fn wipes(&self) -> &[(AccountId, BlockAccessIndex)] {
        &self.wipes
    }

    /// Existence events by account and index.
    pub fn existence(&self) -> &[(AccountId, BlockAccessIndex, bool)] {
        &self.existence
    }

    /// The last index below `index` at which the account's storage was cleared.
    pub fn wiped_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<BlockAccessIndex> {
        let end = self.wipes.partition_point(|event| *event < (account, index));
        self.wipes[..end].last().filter(|(owner, _)| *owner == account).map(|(_, at)| *at)
    }

    /// The last existence event below `index`.
    pub fn existence_before(&self, account: AccountId, index: BlockAccessIndex) -> Option<(BlockAccessIndex, bool)> {
        let end = self.existence.partition_point(|event| (event.0, event.1) < (account, index));
        self.existence[..end].last().filter(|event| event.0 == account).map(|event| (event.1, event.2))
    }

    /// Whether the account's storage is cleared at exactly this index.
    pub fn wiped_at(&self, account: AccountId, index: BlockAccessIndex) -> bool {
        self.wipes.binary_search(&(account, index)).is_ok()
    }

    /// The existence event at exactly this index.
    pub fn existence_at(&self, account: AccountId, index: BlockAccessIndex) -> Option<bool> {
        let at = self.existence.binary_search_by_key(&(account, index), |event| (event.0, event.1)).ok()?;
        Some(self.existence[at].2)
    }

    /// Number of events at exactly this index.
    pub fn count_at(&self, index: BlockAccessIndex) -> usize {
        self.wipes.iter().filter(|(_, at)| *at == index).count()
            + self.existence.iter().filter(|(_, at, _)| *at == index).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_below_an_index_counts() {
        let (a, b) = (AccountId(1), AccountId(2));
        let at = BlockAccessIndex;
        let columns = SidecarColumns {
            wipes: vec![(a, at(3)), (a, at(7)), (b, at(1))],
            existence: vec![(a, at(2), true), (b, at(5), false)],
        };
        assert_eq!(columns.wiped_before(a, at(3)), None);
        assert_eq!(columns.wiped_before(a, at(7)), Some(at(3)));
        assert_eq!(columns.wiped_before(a, at(9)), Some(at(7)));
        assert_eq!(columns.wiped_before(b, at(1)), None);
        assert_eq!(columns.existence_before(a, at(9)), Some((at(2), true)));
        assert_eq!(columns.existence_before(b, at(5)), None);
        assert_eq!(columns.existence_at(b, at(5)), Some(false));
        assert_eq!(columns.count_at(at(7)), 1);
    }
}
