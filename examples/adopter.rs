//! What an adopter writes: a bundle in, a store of its own, results as alloy's types, a block built again from its parts.

use alloy_consensus::{Block, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::formats::{BundleState, Content, read_document};
use balustrade::{BlockInput, Executor, Header, Options, ParentAccount, SlotQuery, StateStore, StateTries, StoreError};
use std::collections::HashMap;

#[derive(Default)]
struct Maps(HashMap<Address, ParentAccount>, HashMap<(Address, U256), U256>, HashMap<B256, Bytes>);

impl StateStore for Maps {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        addresses.iter().zip(out).for_each(|(key, out)| *out = self.0.get(key).copied().unwrap_or_default());
        Ok(())
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        let value = |slot: &SlotQuery| self.1.get(&(slot.address, slot.key)).copied().unwrap_or_default();
        slots.iter().zip(out).for_each(|(slot, out)| *out = value(slot));
        Ok(())
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        hashes.iter().zip(out).for_each(|(key, out)| *out = self.2.get(key).cloned());
        Ok(())
    }
    fn block_hashes(&self, numbers: &[u64], _: &mut [B256]) -> Result<(), StoreError> {
        numbers.first().map_or(Ok(()), |number| Err(StoreError::MissingBlockHash(*number)))
    }
}
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "tests/data/erc20.json.gz".to_owned());
    let Content::Bundle(bundle) = Content::parse(&read_document(path.as_ref())?, None)? else {
        return Err("tests".into());
    };
    let BundleState::Complete { store: state, .. } = bundle.state else { return Err("a part of a state".into()) };
    let (mut tries, mut store) = (StateTries::from_memory(&state)?, Maps::default());
    for (address, account) in state.iter() {
        let (nonce, balance, code_hash, slots) = (account.nonce, account.balance, account.code_hash, &account.storage);
        store.0.insert(
            *address,
            ParentAccount { exists: true, nonce, balance, code_hash, has_storage: !slots.is_empty() },
        );
        store.1.extend(slots.iter().map(|(key, value)| ((*address, *key), *value)));
    }
    store.2.extend(state.iter_codes().map(|(hash, code)| (*hash, code.clone())));
    let (rules, list) = (bundle.rules.ok_or("an unknown fork")?, bundle.bal.ok_or("no list")?);
    let parent = Header::decode(&bundle.parent_header.ok_or("no parent")?)?;
    let input = BlockInput::new(&rules, bundle.block).with_list(list).with_parent(&parent);
    let mut executor = Executor::new(2)?;
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::automatic())?.require_complete()?;
    let (receipts, access_list) = (outcome.to_receipts(), outcome.to_access_list());
    println!("{} receipts, {} listed accounts, {} changed", receipts.len(), access_list.len(), outcome.changes.len());
    tries.rollback();
    let block = Block::<TxEnvelope>::try_from(&input)?;
    let transactions: Vec<Vec<u8>> = block.body.transactions.iter().map(Encodable2718::encoded_2718).collect();
    let built = executor.build(&rules, &block.header.into(), &transactions, &store, &mut tries)?;
    assert_eq!((built.block, built.bal), (input.block, outcome.bal), "the same block again");
    Ok(())
}
