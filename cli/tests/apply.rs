//! `StateDb::apply`: headers and lists alone lead to the states of execution, in memory and on disk, in ranges of any
//! length, and back; what does not fit is refused, and the first wrong list is named.

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::keccak::keccak256;
use balustrade::arena::store::MemoryStore;
use balustrade::bal::{Limits, decode};
use balustrade::db::DiskOptions;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::executor::{Body, Check};
use balustrade::{ApplyError, BlockInput, Executor, InvalidBlock, ListedBlock, Mode, Options, Roots, StateDb};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::testing::Folder;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

/// Number of blocks of the chain.
const BLOCKS: usize = 30;

/// A generated chain: its blocks with their lists, and the state after each, the genesis first.
struct Chain {
    blocks: Vec<ListedBlock>,
    states: Vec<MemoryStore>,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let (mut devnet, rules) = (Devnet::default(), Devnet::rules());
    let (mut db, mut executor) = (genesis(), Executor::new(2).expect("threads"));
    let mut chain = Chain { blocks: Vec::new(), states: vec![db.memory().expect("in memory").clone()] };
    for _ in 0..BLOCKS {
        let template = Devnet::template(db.head());
        let transactions = devnet.transactions(template.base_fee.expect("London"));
        let withdrawals = devnet.withdrawals(template.number);
        let body = Body { transactions: &transactions, withdrawals: &withdrawals };
        let (store, tries) = db.parts();
        let built = executor.build_body(&rules, &template, body, store, tries, None).expect("valid");
        let input = BlockInput::new(&rules, built.block.clone()).with_list(built.bal.clone());
        let outcome = db.execute(&mut executor, &input, Options::new(Mode::Bal)).expect("valid");
        db.commit(&outcome).expect("it was executed");
        chain.blocks.push(ListedBlock { rules, block: built.block, bal: Some(built.bal) });
        chain.states.push(db.memory().expect("in memory").clone());
    }
    chain
});

fn genesis() -> StateDb {
    StateDb::at_genesis(Devnet::default().genesis_state(), Devnet::genesis_header).expect("a state")
}

type Flat = BTreeMap<Address, (u64, U256, B256, BTreeMap<U256, U256>)>;

/// Every account and slot.
fn flat(store: &MemoryStore) -> Flat {
    let storage = |account: &balustrade::MemoryAccount| account.storage.iter().map(|(k, v)| (*k, *v)).collect();
    store.iter().map(|(a, x)| (*a, (x.nonce, x.balance, x.code_hash, storage(x)))).collect()
}

/// The state at the head is that of the chain.
fn check(db: &StateDb, what: &str) {
    let number = db.head().number as usize;
    let expected = &CHAIN.states[number];
    if let Some(memory) = db.memory() {
        assert!(flat(memory) == flat(expected), "{what}: block {number}");
        assert!(expected.iter_codes().all(|(hash, code)| memory.code(hash) == Some(code)));
        return;
    }
    for (address, account) in expected.iter() {
        let found = db.account(*address).expect("a whole store");
        let values = (found.nonce, found.balance, found.code_hash);
        assert_eq!(values, (account.nonce, account.balance, account.code_hash), "{what}: block {number}, {address}");
        for (key, value) in &account.storage {
            assert_eq!(db.slot(*address, *key), Ok(*value), "{what}: block {number}, {address} {key}");
        }
    }
    db.disk().expect("on disk").check(|_| true).expect("all units are right");
}

#[test]
fn lists_lead_to_the_states_of_execution_and_back() {
    let blocks = &CHAIN.blocks;
    for (roots, range) in [(Roots::Last, BLOCKS), (Roots::Every, BLOCKS), (Roots::Last, 7), (Roots::Last, 1)] {
        let (mut db, what) = (genesis(), format!("{roots:?}, {range}"));
        for blocks in blocks.chunks(range) {
            let applied = db.apply(blocks, roots).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(applied.blocks, blocks.len() as u64);
            let checks: Vec<Check> = applied.unchecked.iter().map(|unchecked| unchecked.check).collect();
            let mut expected = vec![Check::Transactions, Check::Gas, Check::ReceiptsRoot, Check::Requests];
            expected.extend((roots == Roots::Last && blocks.len() > 1).then_some(Check::StateRoot));
            assert_eq!(checks, expected);
            check(&db, &what);
        }
        for number in (0..BLOCKS as u64).rev().step_by(3) {
            db.revert_to(number).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&db, &what);
        }
        let left = &blocks[db.head().number as usize..];
        db.apply(left, Roots::Last).expect("valid");
        check(&db, &what);
        // Execution goes on where lists ended.
        db.revert_to(BLOCKS as u64 - 1).expect("kept");
        let last = &blocks[BLOCKS - 1];
        let input = BlockInput::new(&last.rules, last.block.clone()).with_list(last.bal.clone().expect("a list"));
        let outcome = db.execute(&mut Executor::new(2).expect("threads"), &input, Options::automatic());
        db.commit(&outcome.expect("valid")).expect("it was executed");
        check(&db, &what);
    }
    // Without reverts, no values before are read or kept.
    let mut db = genesis().with_window(0);
    db.apply(blocks, Roots::Last).expect("valid");
    check(&db, "no window");
    assert!(db.revert_to(BLOCKS as u64 - 1).is_err());
}

fn create(path: &Path, options: DiskOptions) -> StateDb {
    let head = genesis().head().clone();
    StateDb::create_from(path, options, (1, None), &CHAIN.states[0], head).expect("a new store")
}

#[test]
fn a_store_keeps_applied_blocks() {
    let blocks = &CHAIN.blocks;
    for (at, checkpoint_bytes) in [0, usize::MAX].into_iter().enumerate() {
        let folder = Folder::new(&format!("apply-{at}"));
        let path = Path::new(&folder.path("db")).to_owned();
        let options = DiskOptions { checkpoint_bytes, ..DiskOptions::default() };
        let mut db = create(&path, options);
        for (blocks, roots) in
            [(&blocks[..12], Roots::Last), (&blocks[12..15], Roots::Every), (&blocks[15..20], Roots::Last)]
        {
            db.apply(blocks, roots).expect("valid");
            check(&db, "applied");
        }
        // Dropped without a checkpoint: the log has the blocks.
        drop(db);
        let (mut db, _) = StateDb::open(&path, options).expect("a store");
        assert_eq!(db.head().number, 20);
        check(&db, "opened again");
        let logged = db.block(7).expect("in the log");
        assert_eq!((Some(&logged.bal), &logged.block), (blocks[6].bal.as_ref(), &blocks[6].block));
        // Into the middle of a range of which only the last root was compared.
        for number in [17, 14, 5] {
            db.revert_to(number).expect("kept");
            check(&db, "reverted");
        }
        drop(db);
        let (mut db, _) = StateDb::open(&path, options).expect("a store");
        assert_eq!(db.head().number, 5);
        db.apply(&blocks[5..], Roots::Last).expect("valid");
        check(&db, "again");

        // Detached, the state moves in memory alone.
        let mut db = db.detached(10).expect("kept");
        check(&db, "detached");
        assert_eq!(db.oldest(), 10);
        db.apply(&blocks[10..13], Roots::Every).expect("valid");
        check(&db, "detached and applied");
        assert!(db.revert_to(12).is_err());
        db.checkpoint().expect("nothing to write");
        drop(db);
        let (db, _) = StateDb::open(&path, options).expect("a store");
        assert_eq!(db.head().number, BLOCKS as u64);
        check(&db, "not changed by the detached one");
    }
}

#[test]
fn headers_without_bodies_are_enough() {
    let of_header = |block: &ListedBlock| {
        let header = Header::of_block(&block.block).expect("a header");
        ListedBlock::of_header(block.rules, &header, block.bal.clone().expect("a list"))
    };
    let headers: Vec<ListedBlock> = CHAIN.blocks.iter().map(of_header).collect();
    let mut db = genesis();
    db.apply(&headers, Roots::Last).expect("valid");
    check(&db, "headers");
}

/// Puts `header` in the place of the header of a block; both have the same length.
fn with_header(block: &Bytes, header: &Header) -> Bytes {
    let encode = |header: &Header| {
        let mut out = Vec::new();
        header.encode(&mut out);
        out
    };
    let old = encode(&Header::of_block(block).expect("a header"));
    let at = block.windows(old.len()).position(|window| window == old).expect("the header");
    let mut changed = block.to_vec();
    changed[at..at + old.len()].copy_from_slice(&encode(header));
    changed.into()
}

/// The chain with another header of block `at`, and the parent hashes of those behind it.
fn resealed(blocks: &[ListedBlock], at: usize, change: impl FnOnce(&mut Header)) -> Vec<ListedBlock> {
    let mut blocks = blocks.to_vec();
    let mut header = Header::of_block(&blocks[at].block).expect("a header");
    change(&mut header);
    blocks[at].block = with_header(&blocks[at].block, &header);
    for block in &mut blocks[at + 1..] {
        let parent_hash = header.hash();
        header = Header { parent_hash, ..Header::of_block(&block.block).expect("a header") };
        block.block = with_header(&block.block, &header);
    }
    blocks
}

/// The chain in which the list of block `at` gives another balance to an account that no later block changes.
fn with_wrong_balance(at: usize) -> Vec<ListedBlock> {
    let blocks = &CHAIN.blocks;
    let columns =
        |block: &ListedBlock| decode(block.bal.as_ref().expect("a list"), &Limits::format_only()).expect("valid");
    let later: Vec<_> = blocks[at + 1..].iter().map(columns).collect();
    let columns = columns(&blocks[at]);
    let is_last = |address: &Address| later.iter().all(|list| list.find(address).is_none());
    let value = |id| columns.balance_post(id).map(|balance| balance.to_be_bytes_trimmed_vec());
    let mut changed = columns.addresses().iter().filter(|(_, address)| is_last(address));
    let found =
        changed.find_map(|(id, address)| value(id).filter(|value| value.len() > 2).map(|value| (address, value)));
    let (address, value) = found.expect("an account");
    let mut list = blocks[at].bal.clone().expect("a list").to_vec();
    let entry = list.windows(20).position(|window| window == address.as_slice()).expect("listed");
    let place = entry + list[entry..].windows(value.len()).position(|window| window == value).expect("its balance");
    list[place + value.len() - 1] ^= 1;
    let list = Bytes::from(list);
    let hash = keccak256(&list);
    let mut changed = resealed(blocks, at, |header| header.block_access_list_hash = Some(hash));
    changed[at].bal = Some(list);
    changed
}

#[test]
fn the_first_wrong_list_is_named_and_the_blocks_before_it_stay() {
    for at in [0, 1, 13, 14, 22, BLOCKS - 1] {
        let blocks = with_wrong_balance(at);
        for (roots, range) in [(Roots::Last, BLOCKS), (Roots::Every, BLOCKS), (Roots::Last, 16)] {
            let mut db = genesis();
            let error = blocks.chunks(range).find_map(|blocks| db.apply(blocks, roots).err());
            let Some(ApplyError::Invalid { number, fault }) = error else { panic!("block {at}: {error:?}") };
            assert!(matches!(*fault, InvalidBlock::StateRoot { .. }), "{fault}");
            assert_eq!((number, db.head().number), (at as u64 + 1, at as u64), "{roots:?}, {range}");
            check(&db, "before the wrong list");
            db.apply(&CHAIN.blocks[at..], Roots::Last).expect("the right lists");
            check(&db, "after the right lists");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_the_blocks_before_it_stay() {
    type Change = fn(&mut Vec<ListedBlock>);
    let refuse = |change: Change| {
        let (mut blocks, mut db) = (CHAIN.blocks[..6].to_vec(), genesis());
        change(&mut blocks);
        let error = db.apply(&blocks, Roots::Last).expect_err("refused");
        assert_eq!(db.head().number, 3, "{error}");
        check(&db, "refused");
        error
    };
    let fault = |change| match refuse(change) {
        ApplyError::Invalid { number: 4, fault } => *fault,
        error => panic!("{error}"),
    };
    assert!(matches!(fault(|blocks| blocks[3].block = Bytes::from_static(&[0xc2, 1, 2])), InvalidBlock::Wire(_)));
    assert!(matches!(fault(|blocks| drop(blocks.remove(3))), InvalidBlock::Header(_)));
    assert!(matches!(
        fault(|blocks| *blocks = resealed(blocks, 3, |header| header.gas_limit += 1 << 20)),
        InvalidBlock::Header(_)
    ));
    assert!(matches!(
        fault(|blocks| *blocks = resealed(blocks, 3, |header| header.gas_used = header.gas_limit + 1)),
        InvalidBlock::Header(_)
    ));
    assert!(matches!(fault(|blocks| blocks[3].bal = blocks[2].bal.clone()), InvalidBlock::BalHash { .. }));
    assert!(matches!(fault(|blocks| blocks[3].bal = Some(Bytes::from_static(&[0xc1]))), InvalidBlock::Bal(_)));
    assert_eq!(refuse(|blocks| blocks[3].bal = None), ApplyError::NoList { number: 4 });
    let too_old = refuse(|blocks| blocks[3].rules = ChainRules { fork: Fork::Shanghai, ..blocks[3].rules });
    assert_eq!(too_old, ApplyError::TooOld { number: 4, fork: Fork::Shanghai });
    // Nothing to do.
    let mut db = genesis();
    assert_eq!(db.apply(&[], Roots::Last).expect("nothing").unchecked, []);
}
