//! Roots of whole states: complete pre-states, and witnesses before and after the changes of their blocks' access lists.

mod hostile;

use alloy_primitives::{Address, B256, U256};
use balustrade::arena::store::{ParentAccount, SlotQuery, StateStore};
use balustrade::bal::{self, Limits};
use balustrade::exec::wire::Header;
use balustrade::formats::{BundleState, read_document};
use balustrade::trie::StateTries;
use hostile::cases::{self, shared, stored};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The compressed bundles in a folder of the shared folder.
fn bundles(part: &str) -> Vec<PathBuf> {
    let entries = shared(part).read_dir().expect("a folder").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "gz"));
    paths.sort();
    paths
}

fn check_complete_state(path: &Path) {
    let BundleState::Complete { store, root } = cases::read_bundle(path).state else {
        panic!("{}: no complete state", path.display())
    };
    let tries = StateTries::from_memory(&store).expect("a small state");
    assert_eq!(Some(tries.root()), root, "{}", path.display());
}

#[test]
fn complete_states_have_their_roots() {
    for name in ["erc20.json.gz", "compute.json.gz", "deploy.json.gz", "existence-log.json.gz"] {
        check_complete_state(&stored(name));
    }
}

#[test]
#[ignore = "needs ../shared/blocks"]
fn complete_states_of_large_blocks_have_their_roots() {
    bundles("blocks").iter().step_by(5).for_each(|path| check_complete_state(path));
}

fn word(value: &Value) -> U256 {
    value.as_str().expect("quantity").parse().expect("quantity")
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
            code_hash: word(&account["codeHash"]).into(),
            storage: storage(account),
        })
        .collect()
}

/// Compares a witness with the flat pre-state of the same bundle, and the root after the changes of its list with the
/// header's. Returns whether the bundle says that the list alone gives the root, which was then compared.
fn check_witness(path: &Path) -> bool {
    let document = read_document(path).expect("readable");
    let json: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let name = path.display();
    let case = cases::witness(path);
    let store = &case.store;
    let mut tries = StateTries::from_root(store.state_root());
    let accounts = pre_state(&json);
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
            tries.accounts(store, &addresses, &mut out).expect("a full witness");
            tries.slots(store, &slots, &mut words).expect("a full witness");
        } else {
            store.accounts(&addresses, &mut out).expect("a full witness");
            store.slots(&slots, &mut words).expect("a full witness");
        }
        let found: Vec<(u64, U256, B256)> = out.iter().map(|a| (a.nonce, a.balance, a.code_hash)).collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(words, values, "{name}");
    }

    if !json["verified"].as_array().expect("array").iter().any(|check| check == "balStateRoot") {
        return false;
    }
    let state_root = Header::of_block(&case.block.rlp).expect("a header").state_root;
    let columns = bal::decode(&case.block.bal, &Limits::format_only()).expect("a list");
    let changes = columns.state_changes(store).expect("a full witness");
    for round in 0..2 {
        assert_eq!(tries.update(&changes, store), Ok(state_root), "{name} round {round}");
        tries.rollback();
        assert_eq!(tries.root(), store.state_root());
    }
    true
}

#[test]
fn a_witness_gives_the_pre_state_and_leads_to_the_post_state() {
    assert!(check_witness(&stored("sample.json.gz")));
}

#[test]
#[ignore = "needs ../shared/bundles"]
fn witnesses_of_public_chains_give_the_pre_states_and_lead_to_the_post_states() {
    let paths = bundles("bundles/trie");
    let roots = paths.iter().filter(|path| check_witness(path)).count();
    println!("{roots} of {} post-state roots", paths.len());
    assert!(roots * 10 >= paths.len() * 8);
}
