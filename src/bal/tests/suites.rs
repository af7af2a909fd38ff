//! Test suites: every valid block's list decodes, hashes to its header's value and is encoded to
//! the same bytes.
//!
//! Needs the suites' archives in the shared folder, so these tests are ignored by default.

use crate::arena::BlockAccessIndex;
use crate::arena::store::MemoryStore;
use crate::bal::{BalColumns, CODE_LEN_MAX_AMSTERDAM, ITEM_COST, Limits, bal_hash, decode, encode};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use balustrade_cli::testing::shared;
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    expect_exception: Option<String>,
    block_header: Option<Header>,
    block_access_list: Option<Vec<Account>>,
    block_access_list_rlp: Option<Bytes>,
    #[serde(default)]
    transactions: Vec<serde::de::IgnoredAny>,
    #[serde(rename = "rlp_decoded")]
    rlp_decoded: Option<Decoded>,
}

#[derive(Deserialize)]
struct Decoded {
    #[serde(default)]
    transactions: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    gas_limit: U64,
    block_access_list_hash: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    address: Address,
    storage_changes: Vec<SlotChanges>,
    storage_reads: Vec<U256>,
    balance_changes: Vec<Change>,
    nonce_changes: Vec<Change>,
    code_changes: Vec<CodeChange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlotChanges {
    slot: U256,
    slot_changes: Vec<Change>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    block_access_index: U64,
    #[serde(alias = "postBalance", alias = "postNonce")]
    post_value: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CodeChange {
    block_access_index: U64,
    new_code: Bytes,
}

/// Calls `visit` with every block of the suite.
fn each_block(path: PathBuf, mut visit: impl FnMut(&str, &Block)) {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let mut text = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let is_test = entry.path().is_ok_and(|path| {
            path.extension().is_some_and(|ext| ext == "json") && !path.components().any(|c| c.as_os_str() == ".meta")
        });
        if !is_test {
            continue;
        }
        text.clear();
        entry.read_to_end(&mut text).unwrap();
        let tests: HashMap<String, Test> = serde_json::from_slice(&text).unwrap();
        for (name, test) in &tests {
            test.blocks.iter().for_each(|block| visit(name, block));
        }
    }
}

/// RLP of a list as the fixture's JSON contains it, encoded by alloy.
fn rlp(list: &[Account]) -> Bytes {
    use alloy_eip7928::{AccountChanges, BalanceChange, BlockAccessIndex, NonceChange, StorageChange};
    let index = |index: &U64| BlockAccessIndex::new(index.to());
    let accounts: Vec<AccountChanges> = list
        .iter()
        .map(|account| AccountChanges {
            address: account.address,
            storage_changes: account
                .storage_changes
                .iter()
                .map(|slot| {
                    let change = |c: &Change| StorageChange::new(index(&c.block_access_index), c.post_value);
                    alloy_eip7928::SlotChanges::new(slot.slot, slot.slot_changes.iter().map(change).collect())
                })
                .collect(),
            storage_reads: account.storage_reads.clone(),
            balance_changes: account
                .balance_changes
                .iter()
                .map(|c| BalanceChange::new(index(&c.block_access_index), c.post_value))
                .collect(),
            nonce_changes: account
                .nonce_changes
                .iter()
                .map(|c| NonceChange::new(index(&c.block_access_index), c.post_value.to()))
                .collect(),
            code_changes: account
                .code_changes
                .iter()
                .map(|c| alloy_eip7928::CodeChange::new(index(&c.block_access_index), c.new_code.clone()))
                .collect(),
        })
        .collect();
    super::model::rlp(&accounts)
}

/// Asserts that reduced values equal the values before an index above the block's last one.
fn check_reduced(columns: &BalColumns) {
    let changes = columns.state_changes(&MemoryStore::default()).expect("a store in memory");
    let after = BlockAccessIndex(u32::MAX);
    for (row, address) in changes.addresses.iter().enumerate() {
        let account = columns.find(address).expect("listed");
        assert_eq!(changes.balances[row], columns.balance_before(account, after));
        assert_eq!(changes.nonces[row], columns.nonce_before(account, after));
        for (key, value) in changes.slots(row) {
            let slot = columns.find_slot(account, &key).expect("listed");
            assert_eq!(Some(value), columns.slot_before(slot, after));
        }
    }
}

/// Checks all lists of a suite; returns the number of valid lists and the number of rejected lists
/// of invalid blocks.
fn check_suite(path: PathBuf) -> (usize, usize) {
    let (mut valid, mut refused) = (0, 0);
    each_block(path, |name, block| match (&block.block_header, &block.block_access_list) {
        (Some(header), Some(list)) => {
            let bytes = block.block_access_list_rlp.clone().unwrap_or_else(|| rlp(list));
            assert_eq!(rlp(list), bytes, "{name}");
            let limits = Limits::amsterdam(block.transactions.len(), header.gas_limit.to());
            let columns = decode(&bytes, &limits).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(bal_hash(&bytes), header.block_access_list_hash, "{name}");
            assert_eq!(encode(&columns), bytes, "{name}");
            check_reduced(&columns);
            valid += 1;
        }
        _ => refused += usize::from(check_invalid(name, block)),
    });
    (valid, refused)
}

/// Checks a list of an invalid block and returns whether it was rejected. It must be rejected if
/// EEST expects a malformed list; an error's class must be among those that EEST expects.
fn check_invalid(name: &str, block: &Block) -> bool {
    let (Some(exception), Some(bytes)) = (&block.expect_exception, &block.block_access_list_rlp) else {
        return false;
    };
    let limits = Limits {
        tx_count: block.rlp_decoded.as_ref().map_or(0, |decoded| decoded.transactions.len()),
        item_count_max: None,
        code_len_max: CODE_LEN_MAX_AMSTERDAM,
        ef_reserved: true,
    };
    // Blocks that cannot be decoded have no transactions in the fixture.
    if block.rlp_decoded.is_none() {
        return false;
    }
    let verdict = decode(bytes, &limits);
    let is_malformed = ["INCORRECT_BLOCK_FORMAT", "RLP_STRUCTURES"].iter().any(|class| exception.contains(class))
        && exception.contains("INVALID_BLOCK_ACCESS_LIST");
    match verdict {
        Ok(columns) => {
            assert!(!is_malformed, "{name}: {exception}, but the list decodes");
            assert_eq!(encode(&columns), *bytes, "{name}");
            false
        }
        Err(error) => {
            assert!(exception.contains(error.eest_class()), "{name}: {exception}, but {error}");
            true
        }
    }
}

#[test]
#[ignore = "needs ../shared/fixtures/amsterdam.tar.zst"]
fn amsterdam() {
    let (valid, refused) = check_suite(shared("fixtures/amsterdam.tar.zst"));
    assert!(valid > 14_000 && refused > 80, "{valid} valid lists, {refused} malformed ones");
}

#[test]
#[ignore = "needs ../shared/fixtures/eest-amsterdam-devnet5.tar.zst"]
fn amsterdam_draft_of_april() {
    let (valid, _) = check_suite(shared("fixtures/eest-amsterdam-devnet5.tar.zst"));
    assert!(valid > 7_900, "{valid} valid lists");
}

#[test]
fn item_cost_is_the_specs() {
    assert_eq!(ITEM_COST, 2_000);
}
