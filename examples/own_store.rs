//! A state store of one's own, here over maps of the standard library. A database answers each batch with one query.

mod small_chain;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::{BlockInput, Executor, Mode, Options, ParentAccount, SlotQuery, StateStore, StateTries, StoreError};
use small_chain::{COUNTER, SmallChain};
use std::collections::HashMap;

/// The state in flat maps.
#[derive(Default)]
struct FlatStore {
    accounts: HashMap<Address, ParentAccount>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytes>,
}

impl StateStore for FlatStore {
    // Answers come from memory: no reader threads are needed.
    fn is_resident(&self) -> bool {
        true
    }

    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        for (address, out) in addresses.iter().zip(out) {
            *out = self.accounts.get(address).copied().unwrap_or_default();
        }
        Ok(())
    }

    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        for (slot, out) in slots.iter().zip(out) {
            *out = self.slots.get(&(slot.address, slot.key)).copied().unwrap_or_default();
        }
        Ok(())
    }

    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        for (hash, out) in hashes.iter().zip(out) {
            *out = self.codes.get(hash).cloned();
        }
        Ok(())
    }

    fn block_hashes(&self, numbers: &[u64], _out: &mut [B256]) -> Result<(), StoreError> {
        numbers.first().map_or(Ok(()), |number| Err(StoreError::MissingBlockHash(*number)))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let SmallChain { rules, store: memory, parent, block, list } = SmallChain::new()?;
    let mut tries = StateTries::from_memory(&memory)?;
    let mut store = FlatStore::default();
    for (address, account) in memory.iter() {
        let has_storage = !account.storage.is_empty();
        let (nonce, balance, code_hash) = (account.nonce, account.balance, account.code_hash);
        store.accounts.insert(*address, ParentAccount { exists: true, nonce, balance, code_hash, has_storage });
        store.slots.extend(account.storage.iter().map(|(key, value)| ((*address, *key), *value)));
    }
    store.codes.extend(memory.iter_codes().map(|(hash, code)| (*hash, code.clone())));

    let input = BlockInput::new(&rules, block).with_list(list).with_parent(&parent);
    let options = Options::new(Mode::Bal);
    let outcome = Executor::new(2)?.execute(&input, &store, Some(&mut tries), options)?.require_complete()?;

    // Changes are columns: one row per account, which has a range of the slot columns.
    let changes = &outcome.changes;
    for (i, address) in changes.addresses.iter().enumerate() {
        store.slots.extend(changes.slots(i).map(|(key, value)| ((*address, key), value)));
    }
    println!("block {} is valid; slots that it changed: {}", outcome.number, changes.slot_keys.len());
    assert_eq!(store.slots[&(COUNTER, U256::ZERO)], U256::from(42));
    Ok(())
}
