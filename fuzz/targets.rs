//! Fuzz targets of decoders and of the executor, shared by cargo-fuzz and by `tests/corpus.rs`.
//!
//! In: bytes. Out: nothing; a panic (also of an assertion) is a finding.

#![allow(unreachable_pub, reason = "a module of several crates")]

use alloy_primitives::{B256, Bytes, U256, keccak256};
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, WitnessStore};
use balustrade::bal::{self, Limits};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Block, Header};
use balustrade::{AccountStatus, BlockInput, Executor, Mode, Options, StateChanges, StateTries};

/// Name and function of a target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const TARGETS: &[Target] =
    &[("bal_decode", bal_decode), ("block_decode", block_decode), ("witness", witness), ("whole_block", whole_block)];

/// A block access list decodes or is refused; a decoded list is canonical and does not differ from itself.
pub fn bal_decode(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for limits in [Limits::format_only(), Limits::amsterdam(3, 60_000_000), Limits::amsterdam(0, 5_000)] {
        let Ok(columns) = bal::decode(&bytes, &limits) else { continue };
        assert_eq!(bal::encode(&columns), bytes, "a list that decodes is canonical");
        assert!(bal::diff(&columns, &columns).is_empty());
        let _ = (bal::show(&columns), columns.state_changes(&MemoryStore::default()));
    }
}

/// A block decodes or is refused; a decoded header encodes to the same bytes.
pub fn block_decode(bytes: &[u8]) {
    let _ = Header::of_block(bytes);
    if let Ok(header) = Header::decode(bytes) {
        let mut encoded = Vec::new();
        header.encode(&mut encoded);
        assert_eq!(encoded, bytes, "a header that decodes is canonical");
    }
    if let Ok(block) = Block::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(block.header.hash(), block.header_hash);
        let _ = (block.ommers_hash(), block.withdrawals_encoded().count());
    }
}

/// The bytes, split at 0xfe, are trie nodes, the first one the root: reads and updates succeed or fail without a panic,
/// and the root is unchanged after a rollback.
pub fn witness(bytes: &[u8]) {
    let nodes: Vec<Bytes> = bytes.split(|byte| *byte == 0xfe).map(Bytes::copy_from_slice).collect();
    let root = nodes.first().map(keccak256).unwrap_or_default();
    let store = WitnessStore::new(root, nodes, []);
    let address = alloy_primitives::Address::repeat_byte(bytes.first().copied().unwrap_or_default());
    let _ = store.accounts(&[address], &mut [ParentAccount::default()]);
    let _ = store.slots(&[SlotQuery { address, key: U256::ONE }], &mut [U256::ZERO]);
    let mut tries = StateTries::from_root(root);
    let changes = StateChanges {
        addresses: vec![address],
        statuses: vec![AccountStatus::Kept],
        nonces: vec![Some(1)],
        balances: vec![None],
        code_hashes: vec![None],
        slot_starts: vec![0, 1],
        slot_keys: vec![U256::ONE],
        slot_values: vec![U256::from(2)],
        ..Default::default()
    };
    if tries.update(&changes, &store).is_ok() {
        tries.rollback();
    }
    assert_eq!(tries.root(), root);
}

/// Two bytes with a length, a block of that length, and its list: `bal` and sequential mode both refuse it, or both
/// accept it with the same hash.
pub fn whole_block(bytes: &[u8]) {
    let (len, rest) = bytes.split_first_chunk::<2>().map_or((0, bytes), |(len, rest)| (u16::from_le_bytes(*len), rest));
    let (block, list) = rest.split_at(usize::from(len).min(rest.len()));
    let rules = ChainRules::mainnet(Fork::Amsterdam);
    let store = WitnessStore::new(B256::ZERO, [], []);
    let memory = balustrade::arena::store::MemoryStore::default();
    let mut executor = Executor::new(1).expect("a thread");
    let input = BlockInput::new(&rules, Bytes::copy_from_slice(block)).with_list(Bytes::copy_from_slice(list));
    let mut verdicts = [Mode::Bal, Mode::Sequential]
        .map(|mode| executor.execute(&input, &memory, None, Options::new(mode)).map(|outcome| outcome.hash).ok());
    assert_eq!(verdicts[0].take(), verdicts[1].take());
    let _ = executor.execute(&input, &store, Some(&mut StateTries::from_root(B256::ZERO)), Options::new(Mode::Bal));
    let _ = executor.diagnose(&input, &memory);
}
