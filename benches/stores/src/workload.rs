//! What a store must return.
//!
//! In: the blocks that all stores get. Out: the values before each of them.

use alloy_primitives::{Address, U256};
use balustrade::{ParentAccount, StateStore, StoreError};
use balustrade_cli::workload::state::State;
use balustrade_cli::workload::state_changes::ChangingBlock;
use std::collections::HashMap;

/// What a store returns for the names of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Nonce and balance of each account.
    pub(crate) accounts: Vec<(u64, U256)>,
    /// Value of each slot.
    pub(crate) slots: Vec<U256>,
}

/// The values at the head.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    state: &'a State,
    accounts: HashMap<Address, (u64, U256)>,
    slots: HashMap<(Address, U256), U256>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Self { state, accounts: HashMap::new(), slots: HashMap::new() }
    }

    /// The values before a block.
    ///
    /// # Errors
    /// None; the generated state always answers.
    pub(crate) fn before(&self, block: &ChangingBlock) -> Result<Rows, StoreError> {
        let addresses = block.addresses();
        let mut parents = vec![ParentAccount::default(); addresses.len()];
        self.state.accounts(&addresses, &mut parents)?;
        let queries = block.queries();
        let mut slots = vec![U256::ZERO; queries.len()];
        self.state.slots(&queries, &mut slots)?;
        let account = |(parent, address): (&ParentAccount, &Address)| {
            self.accounts.get(address).copied().unwrap_or((parent.nonce, parent.balance))
        };
        let accounts = parents.iter().zip(&addresses).map(account).collect();
        for (value, query) in slots.iter_mut().zip(&queries) {
            *value = self.slots.get(&(query.address, query.key)).copied().unwrap_or(*value);
        }
        Ok(Rows { accounts, slots })
    }

    /// Takes the values after a block.
    pub(crate) fn apply(&mut self, block: &ChangingBlock) {
        for changed in &block.changed {
            let address = block.accounts[changed.account].address;
            if let Some(fields) = changed.fields {
                self.accounts.insert(address, fields);
            }
            for (row, value) in &changed.slots {
                self.slots.insert((address, block.slots[*row].key), *value);
            }
        }
    }
}
