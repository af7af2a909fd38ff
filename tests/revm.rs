//! The feature `revm`: its databases as stores, stores as its databases, and bundles that lead from the state before a
//! block to the one after it and back. Equality with revm's own bundles: `tests/alloy-evm`.

mod executed;

use alloy_primitives::{Address, B256, U256};
use balustrade::revm::{RevmStore, StoreRef};
use balustrade::{
    AccountStatus, BlockInput, Executor, MemoryStore, Mode, Options, ParentAccount, StateStore, StateTries, StoreError,
};
use executed::{Executed, each_executed};
use revm_database::bytecode::Bytecode;
use revm_database::state::AccountInfo;
use revm_database::{BundleState, CacheDB, DatabaseRef, EmptyDB, OriginalValuesKnown};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// The state as one of revm's databases.
fn cache_db(store: &MemoryStore, number: u64) -> CacheDB<EmptyDB> {
    let mut db = CacheDB::new(EmptyDB::default());
    for (_, code) in store.iter_codes() {
        let code = Bytecode::new_raw(code.clone());
        db.cache.contracts.insert(code.hash_slow(), code);
    }
    for (address, account) in store.iter() {
        let (nonce, balance, code_hash) = (account.nonce, account.balance, account.code_hash);
        let info = AccountInfo { nonce, balance, code_hash, code: None, ..AccountInfo::default() };
        db.insert_account_info(*address, info);
        for (key, value) in &account.storage {
            db.insert_account_storage(*address, *key, *value).expect("no database below");
        }
    }
    for number in number.saturating_sub(256)..number {
        let mut hash = [B256::ZERO];
        if store.block_hashes(&[number], &mut hash).is_ok() {
            db.cache.block_hashes.insert(U256::from(number), hash[0]);
        }
    }
    db
}

#[test]
fn blocks_run_on_databases_of_revm_as_on_stores() {
    let mut executor = Executor::new(2).expect("threads");
    let count = each_executed(&mut |Executed { name, rules, block, before, outcome }| {
        let mut tries = StateTries::from_memory(before).expect("a state");
        let input = BlockInput::new(rules, block.clone()).with_list(outcome.bal.clone());
        let input = input.with_existence_log(&outcome.existence_log);
        // The test of EIP-7610 is answered from the store.
        let accounts: BTreeMap<Address, bool> =
            before.iter().map(|(address, account)| (*address, !account.storage.is_empty())).collect();
        let has_storage = move |_: &CacheDB<EmptyDB>, address: Address| {
            Ok::<bool, Infallible>(accounts.get(&address).copied().unwrap_or_default())
        };
        let db = cache_db(before, outcome.number);
        let stores: [Box<dyn StateStore + '_>; 3] = [
            Box::new(RevmStore::resident(db.clone()).with_storage_test(has_storage.clone())),
            Box::new(RevmStore::new(db).with_storage_test(has_storage)),
            Box::new(StoreRefAsStore(RevmStore::new(StoreRef(before)), before)),
        ];
        for (store, mode) in stores.iter().zip([Mode::Bal, Mode::Bal, Mode::Sequential]) {
            let result = executor.execute(&input, &**store, Some(&mut tries), Options::new(mode));
            let result = result.unwrap_or_else(|error| panic!("{name} in {}: {error}", mode.name()));
            assert_eq!((result.state_root, &result.changes), (outcome.state_root, &outcome.changes), "{name}");
            tries.rollback();
        }
    });
    assert!(count > 35, "{count} blocks");
}

/// A store over a database over a store: what a `DatabaseRef` cannot say is asked of the store itself.
struct StoreRefAsStore<'a>(RevmStore<StoreRef<&'a MemoryStore>>, &'a MemoryStore);

impl StateStore for StoreRefAsStore<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.0.accounts(addresses, out)?;
        for (address, out) in addresses.iter().zip(out) {
            out.has_storage = self.1.account(address).is_some_and(|account| !account.storage.is_empty());
        }
        Ok(())
    }
    fn slots(&self, slots: &[balustrade::SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.0.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<alloy_primitives::Bytes>]) -> Result<(), StoreError> {
        self.0.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.0.block_hashes(numbers, out)
    }
}

#[test]
fn what_a_store_lacks_is_an_error_of_the_database_and_back() {
    let db = StoreRef(MemoryStore::default());
    assert_eq!(db.basic_ref(Address::ZERO).expect("no error"), None);
    assert_eq!(db.storage_ref(Address::ZERO, U256::ZERO).expect("no error"), U256::ZERO);
    let hash = B256::repeat_byte(1);
    assert_eq!(db.code_by_hash_ref(hash), Err(StoreError::MissingCode(hash)));
    assert_eq!(db.code_by_hash_ref(balustrade::KECCAK_EMPTY), Ok(Bytecode::default()));
    assert_eq!(db.block_hash_ref(7), Err(StoreError::MissingBlockHash(7)));
    let store = RevmStore::new(db);
    assert!(matches!(store.block_hashes(&[7], &mut [hash]), Err(StoreError::Failed(_))));
    let store = RevmStore::resident(CacheDB::new(EmptyDB::default()));
    let mut code = [None];
    store.codes(&[hash], &mut code).expect("no error");
    assert_eq!((code, store.is_resident()), ([None], true));
}

/// Accounts with nonce, balance, code hash and the slots that are not zero.
type Flat = BTreeMap<Address, (u64, U256, B256, BTreeMap<U256, U256>)>;

fn flat(store: &MemoryStore) -> Flat {
    let row = |account: &balustrade::MemoryAccount| {
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(key, value)| (*key, *value)).collect();
        (account.nonce, account.balance, account.code_hash, slots)
    };
    store.iter().map(|(address, account)| (*address, row(account))).collect()
}

fn set_account(state: &mut Flat, address: Address, info: Option<&AccountInfo>) {
    match info {
        None => drop(state.remove(&address)),
        Some(info) => {
            let row = state.entry(address).or_default();
            (row.0, row.1, row.2) = (info.nonce, info.balance, info.code_hash);
        }
    }
}

fn set_slots(state: &mut Flat, address: Address, wipes: bool, slots: impl Iterator<Item = (U256, U256)>) {
    let Some(row) = state.get_mut(&address) else { return };
    if wipes {
        row.3.clear();
    }
    for (key, value) in slots {
        if value.is_zero() {
            row.3.remove(&key);
        } else {
            row.3.insert(key, value);
        }
    }
}

fn apply(bundle: &BundleState, state: &mut Flat) {
    let changes = bundle.to_plain_state(OriginalValuesKnown::Yes);
    changes.accounts.iter().for_each(|(address, info)| set_account(state, *address, info.as_ref()));
    for change in changes.storage {
        set_slots(state, change.address, change.wipe_storage, change.storage.into_iter());
    }
}

/// Returns whether the reverts are complete: those of a wiped storage do not list it.
fn revert(bundle: &BundleState, state: &mut Flat) -> bool {
    let reverts = bundle.reverts.to_plain_state_reverts();
    let mut is_complete = true;
    reverts.accounts.iter().flatten().for_each(|(address, info)| set_account(state, *address, info.as_ref()));
    for change in reverts.storage.into_iter().flatten() {
        is_complete &= !change.wiped;
        let slots = change.storage_revert.iter().map(|(key, value)| (*key, value.to_previous_value()));
        set_slots(state, change.address, false, slots);
    }
    is_complete
}

#[test]
fn a_bundle_leads_to_the_state_after_the_block_and_back() {
    let mut complete = 0;
    let count = each_executed(&mut |Executed { name, before, outcome, .. }| {
        let bundle = outcome.to_bundle_state();
        let mut after = before.clone();
        outcome.changes.apply_to(&mut after);
        let mut state = flat(before);
        apply(&bundle, &mut state);
        assert_eq!(state, flat(&after), "{name}");
        let changes = &outcome.changes;
        for (row, hash) in changes.code_hashes.iter().enumerate() {
            let Some(hash) = hash.filter(|_| changes.statuses[row] != AccountStatus::Deleted) else { continue };
            let code = changes.codes.iter().find(|(deployed, _)| *deployed == hash).map(|(_, code)| code.clone());
            let found = bundle.contracts.get(&hash).map(Bytecode::original_bytes);
            assert_eq!(found, Some(code.unwrap_or_default()), "{name}");
        }
        if revert(&bundle, &mut state) {
            complete += 1;
            assert_eq!(state, flat(before), "{name}");
        }
        assert_eq!(bundle.reverts.len(), 1, "{name}");
    });
    assert!(count > 35 && complete >= 12, "{complete} of {count} blocks");
}

#[test]
fn the_execution_result_has_the_sums_of_the_header() {
    each_executed(&mut |Executed { name, block, outcome, .. }| {
        let header = balustrade::Header::of_block(block).expect("a header");
        let result = outcome.to_execution_result();
        assert_eq!(
            (result.gas_used, result.blob_gas_used),
            (header.gas_used, header.blob_gas_used.unwrap_or(0)),
            "{name}"
        );
        assert_eq!((result.receipts, result.requests), (outcome.to_receipts(), outcome.to_requests()), "{name}");
    });
}
