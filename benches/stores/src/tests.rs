//! All stores with a state root agree with a trie of ethrex-trie in memory.

use super::contestants::{Contestant, Failure, Mdbx, NomtStore, Ours, Redb, Rocks};
use super::workload::Model;
use alloy_primitives::B256;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use balustrade::MemoryStore;
use balustrade::disk::store::PagesKind;
use balustrade_cli::workload::state_changes::{ChangingBlock, ChangingState};
use ethrex_crypto::NativeCrypto;
use ethrex_trie::Trie;

/// The state root by ethrex-trie, from nothing but the values.
fn reference(state: &MemoryStore) -> Result<B256, Failure> {
    let mut accounts = Trie::new_temp();
    for (address, account) in state.iter() {
        let mut storage = Trie::new_temp();
        for (key, value) in &account.storage {
            let key = alloy_primitives::keccak256(key.to_be_bytes::<32>());
            storage.insert(key.to_vec(), alloy_rlp::encode(value))?;
        }
        let storage_root = if account.storage.is_empty() {
            EMPTY_ROOT_HASH
        } else {
            B256::from(storage.hash_no_commit(&NativeCrypto).0)
        };
        let (nonce, balance, code_hash) = (account.nonce, account.balance, account.code_hash);
        let leaf = alloy_rlp::encode(TrieAccount { nonce, balance, storage_root, code_hash });
        accounts.insert(alloy_primitives::keccak256(address).to_vec(), leaf)?;
    }
    Ok(B256::from(accounts.hash_no_commit(&NativeCrypto).0))
}

fn run(store: &mut dyn Contestant, block: &ChangingBlock, model: &Model<'_>, expected: B256) -> Result<(), Failure> {
    assert_eq!(store.read(block)?, model.before(block)?, "{}", store.name());
    let root = store.root(block, block.number % 2 == 0)?;
    assert!(!store.has_state_root() || root == Some(expected), "{}: {root:?}", store.name());
    store.commit(block)?;
    store.later(false)
}

#[test]
fn roots_and_values_are_those_of_the_state() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("stores-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let rows = 20_000;
    let workload = ChangingState::new(rows);
    let mut stores: Vec<Box<dyn Contestant>> = vec![
        Box::new(Ours::new(folder.join("files"), PagesKind::Files)),
        Box::new(Ours::new(folder.join("pages"), PagesKind::Redb)),
        Box::new(Rocks::new(folder.join("rocksdb"))?),
        Box::new(Mdbx::new(folder.join("mdbx"))?),
        Box::new(Redb::new(folder.join("redb"))?),
        Box::new(NomtStore::new(folder.join("nomt"), rows)?),
    ];
    let mut state = workload.state().to_memory();
    let mut expected = reference(&state)?;
    for store in &mut stores {
        let root = store.fill(workload.state())?;
        assert!(!store.has_state_root() || root == Some(expected), "{}: {root:?}", store.name());
        store.open()?;
    }
    let mut model = Model::new(workload.state());
    for number in 1..=6 {
        let block = workload.block(&workload.names(number / 2, 400), number);
        assert!(block.changed.len() > 50 && block.names() >= 400);
        block.changes.apply_to(&mut state);
        expected = reference(&state)?;
        for store in &mut stores {
            run(&mut **store, &block, &model, expected)?;
            if number == 3 {
                store.close()?;
                store.open()?;
            }
        }
        model.apply(&block);
    }
    for store in &mut stores {
        store.close()?;
    }
    drop(stores);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
