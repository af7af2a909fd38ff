//! Roots of real states: complete pre-states, and witnesses of real blocks before and after the changes of their block
//! access lists.

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rlp::Header;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore, ParentAccount, SlotQuery, StateStore, WitnessStore};
use balustrade::{AccountStatus, StateChanges, StateTries};
use balustrade_cli::testing::shared;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;

/// The compressed bundles in a folder of the shared folder.
fn bundles(part: &str) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(shared(part)?).ok()?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "gz"));
    paths.sort();
    Some(paths)
}

fn read(path: &PathBuf) -> Value {
    serde_json::from_reader(GzDecoder::new(File::open(path).expect("readable"))).expect("JSON")
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("hex")).expect("hex").into()
}

fn word(value: &Value) -> U256 {
    value.as_str().expect("quantity").parse().expect("quantity")
}

fn hash(value: &Value) -> B256 {
    value.as_str().expect("hash").parse().expect("hash")
}

/// One account of `preState`; its slots are unordered.
struct PreAccount {
    address: Address,
    nonce: u64,
    balance: U256,
    code_hash: B256,
    storage: Vec<(U256, U256)>,
}

fn pre_state(bundle: &Value) -> Vec<PreAccount> {
    let accounts = bundle["preState"].as_object().expect("preState");
    let storage = |account: &Value| {
        let slots = account.get("storage").and_then(Value::as_object);
        slots.into_iter().flatten().map(|(key, value)| (key.parse().expect("key"), word(value))).collect()
    };
    accounts
        .iter()
        .map(|(address, account)| PreAccount {
            address: address.parse().expect("address"),
            nonce: word(&account["nonce"]).to(),
            balance: word(&account["balance"]),
            code_hash: hash(&account["codeHash"]),
            storage: storage(account),
        })
        .collect()
}

#[test]
fn complete_states_have_their_roots() {
    let Some(paths) = bundles("blocks") else {
        println!("skipped: no shared folder with blocks");
        return;
    };
    for path in paths.iter().step_by(5) {
        let bundle = read(path);
        let mut store = MemoryStore::default();
        for account in pre_state(&bundle) {
            let PreAccount { address, nonce, balance, code_hash, storage } = account;
            store.insert_account(address, nonce, balance, code_hash, storage);
        }
        let tries = StateTries::from_memory(&store).expect("a small state");
        assert_eq!(tries.root(), hash(&bundle["preStateRoot"]), "{}", path.display());
    }
}

/// Splits the payload of an RLP list into the payloads of its items.
fn list(mut payload: &[u8]) -> Vec<&[u8]> {
    let mut items = Vec::new();
    while !payload.is_empty() {
        let header = Header::decode(&mut payload).expect("RLP");
        let (item, rest) = payload.split_at(header.payload_length);
        items.push(item);
        payload = rest;
    }
    items
}

fn outer(mut rlp: &[u8]) -> Vec<&[u8]> {
    Header::decode(&mut rlp).expect("RLP");
    list(rlp)
}

/// The second item of the last pair in a list of pairs.
fn last(pairs: &[u8]) -> Option<&[u8]> {
    list(pairs).last().map(|pair| list(pair)[1])
}

fn witness(bundle: &Value) -> WitnessStore {
    let all =
        |name: &str| -> Vec<Bytes> { bundle["witness"][name].as_array().expect("array").iter().map(bytes).collect() };
    WitnessStore::new(hash(&bundle["preStateRoot"]), all("state"), all("codes"))
}

#[test]
fn witnesses_give_the_pre_state_and_lead_to_the_post_state() {
    let Some(paths) = bundles("bundles/trie") else {
        println!("skipped: no shared folder with bundles");
        return;
    };
    let mut roots = 0;
    for path in &paths {
        let bundle = read(path);
        let name = path.display();
        let store = witness(&bundle);
        let mut tries = StateTries::from_root(store.state_root());
        let accounts = pre_state(&bundle);
        let addresses: Vec<Address> = accounts.iter().map(|account| account.address).collect();
        let expected: Vec<(u64, U256, B256)> = accounts.iter().map(|a| (a.nonce, a.balance, a.code_hash)).collect();
        let slots: Vec<SlotQuery> = accounts
            .iter()
            .flat_map(|a| a.storage.iter().map(|(key, _)| SlotQuery { address: a.address, key: *key }))
            .collect();
        let values: Vec<U256> = accounts.iter().flat_map(|a| a.storage.iter().map(|(_, value)| *value)).collect();
        let mut out = vec![ParentAccount::default(); addresses.len()];
        let mut words = vec![U256::ZERO; slots.len()];
        for from_tries in [false, true] {
            if from_tries {
                tries.accounts(&store, &addresses, &mut out).expect("a full witness");
                tries.slots(&store, &slots, &mut words).expect("a full witness");
            } else {
                store.accounts(&addresses, &mut out).expect("a full witness");
                store.slots(&slots, &mut words).expect("a full witness");
            }
            let found: Vec<(u64, U256, B256)> = out.iter().map(|a| (a.nonce, a.balance, a.code_hash)).collect();
            assert_eq!(found, expected, "{name}");
            assert_eq!(words, values, "{name}");
        }

        let block = bytes(&bundle["block"]);
        let state_root = B256::from_slice(list(outer(&block)[0])[3]);
        let verified = bundle["verified"].as_array().expect("array").iter().any(|check| check == "balStateRoot");
        if !verified {
            println!("{name}: the list alone does not give the root");
            continue;
        }
        let post = post_state(&bytes(&bundle["blockAccessList"]), &store);
        for round in 0..2 {
            assert_eq!(tries.update(&post, &store), Ok(state_root), "{name} round {round}");
            tries.rollback();
            assert_eq!(tries.root(), store.state_root());
        }
        roots += 1;
    }
    println!("{roots} of {} post-state roots", paths.len());
    assert!(roots * 10 >= paths.len() * 8);
}

/// The last value of every change in a block access list, read from its RLP without the library's decoder.
fn post_state(access_list: &[u8], store: &WitnessStore) -> StateChanges {
    let mut post = StateChanges::default();
    for account in outer(access_list) {
        let [address, changes, _, balances, nonces, codes] = list(account)[..] else { panic!("six fields") };
        let address = Address::from_slice(address);
        let mut parent = [ParentAccount::default()];
        store.accounts(&[address], &mut parent).expect("a full witness");
        let balance = last(balances).map(U256::from_be_slice);
        let nonce = last(nonces).map(|nonce| U256::from_be_slice(nonce).to::<u64>());
        let code_hash = last(codes).map(keccak256);
        let changes = list(changes);
        if changes.is_empty() && balance.is_none() && nonce.is_none() && code_hash.is_none() {
            continue;
        }
        let empty = balance.unwrap_or(parent[0].balance).is_zero()
            && nonce.unwrap_or(parent[0].nonce) == 0
            && code_hash.unwrap_or(parent[0].code_hash) == KECCAK_EMPTY;
        let status = if empty { AccountStatus::Deleted } else { AccountStatus::Kept };
        post.push_account(address, status, nonce, balance, code_hash);
        for change in changes {
            let slot = list(change);
            post.push_slot(U256::from_be_slice(slot[0]), last(slot[1]).map(U256::from_be_slice).expect("a change"));
        }
    }
    post
}
