//! `StateDb`: chains are executed, reverted and executed again, with the same states, hashes and ancestors each time. The
//! values before a block are the same in every mode and undo it. Wrong calls are typed errors.

mod signed;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::changes::AccountStatus;
use balustrade::arena::store::{EMPTY_ROOT, KECCAK_EMPTY, MemoryStore};
use balustrade::bal::ExistenceLog;
use balustrade::db::DiskOptions;
use balustrade::disk::DiskError;
use balustrade::disk::store::PagesKind;
use balustrade::exec::rules::chain::ChainConfig;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::{EMPTY_OMMERS_HASH, next_difficulty};
use balustrade::exec::rules::ommers::Ancestor;
use balustrade::exec::wire::Header;
use balustrade::executor::Check;
use balustrade::formats::{BlockTest, BundleState, Content, Document, each_document, read_document};
use balustrade::trie::{StateTries, verify_account, verify_slot};
use balustrade::{
    BlockError, BlockInput, BlockOutcome, DbError, Executor, InvalidBlock, Mode, Options, StateChanges, StateDb,
};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::devnet::asm::assemble;
use balustrade_cli::testing::{Folder, GeneratedChain, shared, stored, template};
use signed::{Call, fund, list_of, secret};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A block with what the executor needs besides the head.
#[derive(Clone, Debug)]
struct Link {
    rules: ChainRules,
    block: Bytes,
    /// Recorded by the first execution.
    list: Option<(Bytes, ExistenceLog)>,
}

impl Link {
    fn new(rules: ChainRules, block: Bytes) -> Self {
        Self { rules, block, list: None }
    }

    fn execute(&self, db: &mut StateDb, executor: &mut Executor, mode: Mode) -> Result<BlockOutcome, BlockError> {
        let mut input = BlockInput::new(&self.rules, self.block.clone());
        if let (Mode::Bal, Some((bal, log))) = (mode, &self.list) {
            input = input.with_list(bal.clone());
            input.existence_log = (self.rules.fork < Fork::Cancun).then_some(log);
        }
        db.execute(executor, &input, Options::new(mode))
    }
}

/// Everything that can be asked of a head.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    hash: B256,
    number: u64,
    root: B256,
    accounts: BTreeMap<Address, (u64, U256, B256, BTreeMap<U256, U256>)>,
    /// Hashes that BLOCKHASH finds, by number.
    hashes: Vec<Option<B256>>,
}

fn flat(store: &MemoryStore) -> BTreeMap<Address, (u64, U256, B256, BTreeMap<U256, U256>)> {
    let storage = |account: &balustrade::MemoryAccount| account.storage.iter().map(|(k, v)| (*k, *v)).collect();
    store.iter().map(|(a, x)| (*a, (x.nonce, x.balance, x.code_hash, storage(x)))).collect()
}

/// What the head is; the answers of all methods have to agree.
fn see(db: &mut StateDb, numbers: std::ops::Range<u64>) -> Seen {
    let memory = db.memory().expect("in memory").clone();
    let root = db.state_root();
    assert_eq!(StateTries::from_memory(&memory).expect("a state").root(), root);
    assert_eq!(db.parts().1.root(), root);
    assert_eq!((db.head().hash(), db.head().state_root), (db.head_hash(), root));
    let accounts = flat(&memory);
    for (address, (nonce, balance, code_hash, storage)) in accounts.iter().take(3) {
        let account = db.account(*address).expect("in memory");
        assert!(account.exists);
        assert_eq!((account.nonce, account.balance, account.code_hash), (*nonce, *balance, *code_hash));
        let keys: Vec<U256> = storage.keys().copied().take(2).collect();
        let proof = db.prove(*address, &keys).expect("in memory");
        let leaf = verify_account(&root, address, &proof.nodes).expect("a proof").expect("it exists");
        for (key, slot) in keys.iter().zip(&proof.slots) {
            let value = db.slot(*address, *key).expect("in memory");
            assert_eq!((value, slot.value), (storage[key], storage[key]));
            assert_eq!(verify_slot(&leaf.storage_root, key, &slot.nodes).expect("a proof"), value);
        }
        if *code_hash != KECCAK_EMPTY {
            assert_eq!(keccak256(db.code(*code_hash).expect("in memory").expect("deployed")), *code_hash);
        }
    }
    let hash_of = |number| {
        let mut out = [B256::ZERO];
        db.store().block_hashes(&[number], &mut out).ok().map(|()| out[0])
    };
    let hashes = numbers.map(hash_of).collect();
    Seen { hash: db.head_hash(), number: db.head().number, root, accounts, hashes }
}

/// What a check has seen.
#[derive(Debug, Default)]
struct Counts {
    blocks: usize,
    changed: usize,
    /// Accounts that were deleted with storage, or lost their storage and were created again.
    deleted: usize,
    cleared: usize,
}

/// Checks the values before a block: applied after the changes they give the parent state and its root.
fn check_before(parent: &MemoryStore, outcome: &BlockOutcome, counts: &mut Counts) {
    let BlockOutcome { changes, before, .. } = outcome;
    assert_eq!(before.addresses, changes.addresses);
    let mut undo = StateChanges::default();
    for (row, address) in before.addresses.iter().enumerate() {
        let (status, existed) = (before.statuses[row], parent.account(address));
        assert_eq!(status == AccountStatus::Deleted, existed.is_none());
        undo.push_account(*address, status, before.nonces[row], before.balances[row], before.code_hashes[row]);
        let wiped = changes.statuses[row] != AccountStatus::Kept && existed.is_some();
        assert_eq!(status == AccountStatus::StorageCleared, wiped);
        if status == AccountStatus::Kept {
            let keys = |changes: &StateChanges| changes.slots(row).map(|(key, _)| key).collect::<Vec<_>>();
            assert_eq!(keys(before), keys(changes));
            assert_eq!(before.nonces[row].is_some(), changes.nonces[row].is_some());
            assert_eq!(before.balances[row].is_some(), changes.balances[row].is_some());
            assert_eq!(before.code_hashes[row].is_some(), changes.code_hashes[row].is_some());
        } else {
            assert_eq!(before.slots(row).len(), 0);
        }
        before.slots(row).for_each(|(key, value)| undo.push_slot(key, value));
        if let (true, Some(account)) = (wiped, existed) {
            counts.deleted +=
                usize::from(changes.statuses[row] == AccountStatus::Deleted && !account.storage.is_empty());
            counts.cleared += usize::from(changes.statuses[row] == AccountStatus::StorageCleared);
            account.storage.iter().for_each(|(key, value)| undo.push_slot(*key, *value));
        }
    }
    let mut store = parent.clone();
    changes.apply_to(&mut store);
    let mut tries = StateTries::from_memory(parent).expect("a state");
    let root = tries.root();
    assert_eq!(Some(tries.update(changes, parent).expect("in memory")), outcome.state_root);
    assert_eq!(tries.update(&undo, &store).expect("in memory"), root);
    undo.apply_to(&mut store);
    assert!(flat(&store) == flat(parent), "the state before the block");
}

/// Compares everything that a state on disk answers with the same state in memory; `all` are all addresses of the chain.
fn check_answers(what: &str, db: &mut StateDb, memory: &MemoryStore, all: &BTreeSet<Address>) {
    let root = db.state_root();
    for address in all {
        let (account, expected) = (db.account(*address).expect("a whole store"), memory.account(address));
        assert_eq!(account.exists, expected.is_some(), "{what}: {address}");
        let Some(expected) = expected else { continue };
        assert_eq!(
            (account.nonce, account.balance, account.code_hash, account.has_storage),
            (expected.nonce, expected.balance, expected.code_hash, !expected.storage.is_empty()),
            "{what}: {address}"
        );
        for (key, value) in &expected.storage {
            assert_eq!(db.slot(*address, *key), Ok(*value), "{what}: {address} {key}");
        }
        assert_eq!(db.slot(*address, U256::MAX), Ok(U256::ZERO));
        if account.code_hash != KECCAK_EMPTY {
            assert_eq!(db.code(account.code_hash).expect("a whole store").as_ref(), memory.code(&account.code_hash));
        }
    }
    for address in all.iter().take(3) {
        let proof = db.prove(*address, &[U256::ONE]).expect("a whole store");
        let leaf = verify_account(&root, address, &proof.nodes).expect("a proof");
        assert_eq!(leaf.map(|leaf| leaf.nonce), memory.account(address).map(|account| account.nonce));
    }
    db.disk().expect("on disk").check(|_| true).expect("all units are right");
}

/// Number of folders so far.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

/// The same chain on disk, closed and opened after each step: blocks, reverts, blocks again. `memories` are the states
/// in memory from the first head on.
fn check_on_disk(name: &str, head: &Header, memories: &[MemoryStore], links: &[Link], executor: &mut Executor) {
    let all: BTreeSet<Address> =
        memories.iter().flat_map(|memory| memory.iter().map(|(address, _)| *address)).collect();
    for pages in [PagesKind::Files, PagesKind::Redb] {
        let folder = Folder::new(&format!("state-db-{}", FOLDERS.fetch_add(1, Ordering::Relaxed)));
        let path = std::path::PathBuf::from(folder.path("db"));
        // Every second state on disk makes a checkpoint at each block.
        let checkpoint_bytes = if pages == PagesKind::Files { 0 } else { usize::MAX };
        let options = DiskOptions { pages, checkpoint_bytes, ..DiskOptions::default() };
        let reopen = |db: StateDb| {
            let hash = db.head_hash();
            drop(db);
            let (db, _) = StateDb::open(&path, options).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(db.head_hash(), hash, "{name}: nothing committed is lost");
            db
        };
        let first = head.number;
        let created = StateDb::create_from(&path, options, (1, None), &memories[0], head.clone());
        let mut db = reopen(created.unwrap_or_else(|error| panic!("{name}: {error}")));
        check_answers(name, &mut db, &memories[0], &all);
        for round in 0..2 {
            for (at, link) in links.iter().enumerate() {
                let mode = [Mode::Bal, Mode::Sequential, Mode::Optimistic][(at + round) % 3];
                let outcome = link.execute(&mut db, executor, mode).unwrap_or_else(|e| panic!("{name}: {e}"));
                db.commit(&outcome).unwrap_or_else(|error| panic!("{name}: {error}"));
                check_answers(name, &mut db, &memories[at + 1], &all);
                db = reopen(db);
                check_answers(name, &mut db, &memories[at + 1], &all);
            }
            if round == 0 {
                for left in (0..links.len()).rev() {
                    db.revert_to(first + left as u64).unwrap_or_else(|error| panic!("{name}: {error}"));
                    check_answers(name, &mut db, &memories[left], &all);
                    db = reopen(db);
                    check_answers(name, &mut db, &memories[left], &all);
                }
            }
        }
        db.checkpoint().expect("writable");
        drop(db);
        let (db, opened) = StateDb::open(&path, options).expect("a store");
        assert_eq!((opened.blocks, opened.cut_bytes), (0, 0));
        assert!(matches!(StateDb::open(&path, options), Err(DbError::Disk(DiskError::InUse(_)))));
        drop(db);
    }
}

/// Executes the blocks in every mode and commits them; reverts to each block, and executes and commits the rest again.
fn check_chain(name: &str, mut db: StateDb, links: &mut [Link], executor: &mut Executor, counts: &mut Counts) {
    let first = db.head().number;
    let numbers = || first..first + links.len() as u64 + 1;
    let all = numbers();
    let mut seen = vec![see(&mut db, all.clone())];
    let (head, mut memories) = (db.head().clone(), vec![db.memory().expect("in memory").clone()]);
    let mut unchecked = Vec::new();
    for link in links.iter_mut() {
        let parent = db.memory().expect("in memory").clone();
        let outcome = link.execute(&mut db, executor, Mode::Sequential).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_before(&parent, &outcome, counts);
        link.list = Some((outcome.bal.clone(), outcome.existence_log.clone()));
        assert!(flat(db.memory().expect("in memory")) == flat(&parent), "execution changes nothing");
        for mode in [Mode::Optimistic, Mode::Bal] {
            let other = link.execute(&mut db, executor, mode).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(other.changes, outcome.changes, "{name}, {mode:?}");
            assert_eq!(other.before, outcome.before, "{name}, {mode:?}");
        }
        counts.blocks += 1;
        counts.changed += outcome.changes.len();
        // The outcome of another mode is as good as that of the last one.
        db.commit(&outcome).expect("it was executed");
        unchecked.push(outcome.unchecked);
        seen.push(see(&mut db, all.clone()));
        memories.push(db.memory().expect("in memory").clone());
    }
    check_on_disk(name, &head, &memories, links, executor);
    for depth in 1..=links.len() {
        let left = links.len() - depth;
        db.revert_to(first + left as u64).unwrap_or_else(|e| panic!("{name}, {depth} blocks: {e}"));
        assert!(see(&mut db, all.clone()) == seen[left], "{name}: {depth} blocks reverted");
        for (at, link) in links.iter().enumerate().skip(left) {
            let mode = [Mode::Sequential, Mode::Optimistic, Mode::Bal][(at + depth) % 3];
            let outcome = link.execute(&mut db, executor, mode).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(outcome.unchecked, unchecked[at], "{name}: the same checks as the first time");
            db.commit(&outcome).expect("it was executed");
            assert!(see(&mut db, all.clone()) == seen[at + 1], "{name}: block {at} again");
        }
    }
}

/// The chain of a block test, and its valid blocks.
fn of_test(test: &BlockTest) -> Option<(StateDb, Vec<Link>)> {
    let network = test.network.as_ref()?;
    let genesis = Header::of_block(&test.genesis).ok()?;
    let db = StateDb::in_memory(test.pre.clone(), genesis).expect("the genesis state").with_schedule(network.clone());
    let valid = test.blocks.iter().filter(|block| block.expect_exception.is_none());
    let links = valid.map(|block| {
        let header = Header::of_block(&block.rlp).expect("a valid block");
        Link::new(network.rules(header.number, header.timestamp), block.rlp.clone())
    });
    let links = links.collect::<Vec<_>>();
    Some((db, links))
}

/// Checks the block tests of an archive: of every `step`th file the first `per_file` tests, without those whose valid
/// blocks are no single chain.
fn check_archive(path: &Path, step: usize, per_file: usize) -> Counts {
    let mut executor = Executor::new(2).expect("threads");
    let mut counts = Counts::default();
    let mut number = 0;
    let flow = each_document(path, &mut |_| (), &mut |document| {
        number += 1;
        if number % step == 0
            && let Content::Tests(tests) = Content::parse(&document, None).unwrap_or_else(|error| panic!("{error}"))
        {
            for test in tests.iter().take(per_file) {
                if let Some((db, mut links)) = of_test(test)
                    && is_chain(db.head_hash(), &links)
                {
                    check_chain(&test.name, db, &mut links, &mut executor, &mut counts);
                }
            }
        }
        ControlFlow::Continue(())
    });
    assert!(flow.expect("readable").is_continue());
    counts
}

/// Whether each block is the child of the one before it.
fn is_chain(mut parent: B256, links: &[Link]) -> bool {
    links.iter().all(|link| {
        let header = Header::of_block(&link.block).expect("a valid block");
        let is_child = header.parent_hash == parent;
        parent = header.hash();
        is_child
    })
}

#[test]
fn chains_of_every_fork_are_the_same_after_reverts() {
    let counts = check_archive(&stored("chains.tar.zst"), 1, usize::MAX);
    assert!(counts.blocks > 40 && counts.changed > 400 && counts.deleted > 0, "{counts:?}");
}

#[test]
#[ignore = "needs ../shared/fixtures/eest-legacy.tar.zst and others"]
fn chains_of_the_suites_are_the_same_after_reverts() {
    // Each chain is kept on disk, too, opened and synced at each step, which bounds their number.
    for (archive, step) in [("eest-legacy", 20), ("eest-paris", 20), ("eest-shanghai", 20), ("amsterdam", 80)] {
        let counts = check_archive(&shared(&format!("fixtures/{archive}.tar.zst")), step, 10);
        assert!(counts.blocks > 0, "{archive}: {counts:?}");
        println!("{archive}: {counts:?}");
    }
}

#[test]
fn empty_accounts_are_removed_and_created_again() {
    let document: Document = read_document(&stored("existence-log.json.gz")).expect("a bundle");
    let Ok(Content::Bundle(bundle)) = Content::parse(&document, None) else { panic!("no bundle") };
    let BundleState::Complete { store, .. } = bundle.state else { panic!("no whole state") };
    let parent = Header::decode(&bundle.parent_header.expect("a parent")).expect("a header");
    let db = StateDb::in_memory(store, parent).expect("the parent's state");
    let mut links = vec![Link::new(bundle.rules.expect("Homestead"), bundle.block)];
    let mut counts = Counts::default();
    check_chain("empty accounts", db, &mut links, &mut Executor::new(2).expect("threads"), &mut counts);
    assert!(!links[0].list.as_ref().expect("recorded").1.existence.is_empty());
}

/// The genesis of the generated chain, and its first blocks.
fn devnet(count: usize) -> (StateDb, Vec<Link>) {
    let chain = GeneratedChain::new(count);
    let links = chain.blocks.iter().map(|(block, _)| Link::new(Devnet::rules(), block.clone()));
    (chain.db(), links.collect())
}

#[test]
fn the_generated_chain_is_the_same_after_reverts() {
    let (db, mut links) = devnet(4);
    let mut counts = Counts::default();
    check_chain("devnet", db, &mut links, &mut Executor::new(3).expect("threads"), &mut counts);
    assert_eq!(counts.blocks, 4);
}

#[test]
fn wiped_storage_comes_back() {
    const FACTORY: Address = Address::repeat_byte(0xfa);
    const DOOMED: Address = Address::repeat_byte(0xdd);
    let rules = ChainRules::mainnet(Fork::Shanghai);
    // The created contract sets two slots; its code destroys it.
    let init = assemble("33 2 SSTORE 44 3 SSTORE 0x33ff 0 MSTORE 2 30 RETURN");
    let address = FACTORY.create2(B256::ZERO, keccak256(&init));
    // CREATE2 with the call's data as initcode and salt 0.
    let factory = assemble("CALLDATASIZE 0 0 CALLDATACOPY 0 CALLDATASIZE 0 0 CREATE2 STOP");
    let mut state = MemoryStore::default();
    fund(&mut state, 1);
    let code = state.insert_code(factory.into());
    state.insert_account(FACTORY, 1, U256::ZERO, code, []);
    let code = state.insert_code(vec![0x33, 0xff].into());
    let storage = || (1..=20u64).map(|key| (U256::from(key), U256::from(key + 10)));
    state.insert_account(address, 1, U256::from(5), code, storage());
    state.insert_account(DOOMED, 1, U256::ZERO, code, storage());
    let genesis = |state_root| Header {
        state_root,
        gas_limit: 60_000_000,
        gas_used: 30_000_000,
        base_fee: Some(7),
        ommers_hash: EMPTY_OMMERS_HASH,
        withdrawals_root: Some(EMPTY_ROOT),
        ..Header::default()
    };
    let mut db = StateDb::at_genesis(state.clone(), genesis).expect("a state");
    let mut executor = Executor::new(2).expect("threads");
    let mut nonce = 0;
    let mut call = |to, data: &[u8]| {
        nonce += 1;
        Call { nonce: nonce - 1, gas: 500_000, to: Some(to), value: 0, data }.sign(&secret(0))
    };
    // The first block destroys both contracts and creates one of them again, the second destroys the new one.
    let mut links = Vec::new();
    let bodies = [vec![call(address, &[]), call(DOOMED, &[]), call(FACTORY, &init)], vec![call(address, &[])]];
    for (number, transactions) in (1..).zip(&bodies) {
        let parent_hash = db.head_hash();
        let template = Header { parent_hash, number, timestamp: 12 * number, ..template(Fork::Shanghai) };
        let (store, tries) = db.parts();
        let built = executor.build(&rules, &template, transactions, store, tries).expect("valid");
        assert!(built.transactions.iter().all(|outcome| outcome.success));
        let link = Link::new(rules, built.block);
        let outcome = link.execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
        db.commit(&outcome).expect("it was executed");
        links.push(link);
        if number == 1 {
            let account = db.memory().expect("in memory").account(&address).expect("created again").clone();
            assert_eq!(account.storage.len(), 2);
        }
    }
    let db = StateDb::at_genesis(state, genesis).expect("a state");
    let mut counts = Counts::default();
    check_chain("wiped storage", db, &mut links, &mut executor, &mut counts);
    assert_eq!((counts.deleted, counts.cleared), (2, 1));
}

/// A Frontier block without transactions on the head, with these ommers.
fn pow_block(db: &mut StateDb, config: &ChainConfig, executor: &mut Executor, extra: u8, ommers: &[Header]) -> Link {
    let encode = |headers: &[Header]| {
        let mut out = Vec::new();
        headers.iter().for_each(|header| header.encode(&mut out));
        out
    };
    let (number, timestamp) = (db.head().number + 1, db.head().timestamp + 12);
    let rules = config.rules(number, timestamp);
    let mut header = Header {
        parent_hash: db.head_hash(),
        ommers_hash: keccak256(list_of(&encode(ommers))),
        coinbase: Address::repeat_byte(extra),
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        difficulty: next_difficulty(&rules, number, timestamp, db.head()),
        number,
        gas_limit: db.head().gas_limit,
        timestamp,
        extra_data: vec![extra].into(),
        ..Header::default()
    };
    let block = |header: &Header| {
        let parts = [encode(std::slice::from_ref(header)), vec![0xc0], list_of(&encode(ommers))];
        Bytes::from(list_of(&parts.concat()))
    };
    let (store, tries) = db.parts();
    let input = BlockInput::new(&rules, block(&header));
    let produced = executor.execute_unverified(&input, store, Some(tries)).expect("it decodes");
    header.state_root = produced.state_root.expect("tries");
    Link::new(rules, block(&header))
}

/// A chain of five blocks before the merge, of which the third and the fifth have an ommer.
fn pow_chain(executor: &mut Executor) -> (impl Fn() -> StateDb + use<>, Vec<Link>) {
    let config = ChainConfig::of_chain_id(1).expect("mainnet");
    let mut state = MemoryStore::default();
    fund(&mut state, 1);
    let schedule = config.clone();
    let new = move || {
        let genesis = |state_root| Header {
            state_root,
            ommers_hash: EMPTY_OMMERS_HASH,
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            difficulty: U256::from(1 << 20),
            gas_limit: 1_000_000,
            ..Header::default()
        };
        StateDb::at_genesis(state.clone(), genesis).expect("a state").with_schedule(schedule.clone())
    };
    let mut db = new();
    let (mut links, mut siblings) = (Vec::new(), Vec::new());
    for number in 1..=5u8 {
        let sibling = pow_block(&mut db, &config, executor, 100 + number, &[]);
        siblings.push(Header::of_block(&sibling.block).expect("made here"));
        // The ommer is the sibling of the parent, or of the block three before.
        let ommers = match number {
            3 => vec![siblings[1].clone()],
            5 => vec![siblings[0].clone()],
            _ => Vec::new(),
        };
        let link = pow_block(&mut db, &config, executor, number, &ommers);
        let outcome = link.execute(&mut db, executor, Mode::Sequential).expect("valid");
        assert!(outcome.unchecked.iter().all(|unchecked| unchecked.check == Check::Seal), "{:?}", outcome.unchecked);
        db.commit(&outcome).expect("it was executed");
        links.push(link);
    }
    (new, links)
}

#[test]
fn ommers_are_checked_after_reverts() {
    let mut executor = Executor::new(2).expect("threads");
    let (new, mut links) = pow_chain(&mut executor);
    check_chain("ommers", new(), &mut links, &mut executor, &mut Counts::default());
    // A database that starts in the middle needs the ancestors.
    let mut db = new();
    let mut ancestors = vec![Ancestor::of_header(db.head().clone())];
    for link in &links[..4] {
        let outcome = link.execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
        db.commit(&outcome).expect("it was executed");
        ancestors.insert(0, Ancestor::of_block(link.block.clone()).expect("a block"));
    }
    let schedule = ChainConfig::of_chain_id(1).expect("mainnet");
    let middle = || {
        let state = db.memory().expect("in memory").clone();
        StateDb::in_memory(state, db.head().clone()).expect("the state").with_schedule(schedule.clone())
    };
    for (mut middle, expected) in [(middle(), false), (middle().with_ancestors(ancestors), true)] {
        let outcome = links[4].execute(&mut middle, &mut executor, Mode::Sequential).expect("valid");
        let checked = outcome.unchecked.iter().all(|unchecked| unchecked.check != Check::OmmerRules);
        assert_eq!(checked, expected);
    }
}

#[test]
fn wrong_calls_are_typed_errors() {
    let (mut db, links) = devnet(3);
    let mut executor = Executor::new(2).expect("threads");
    // A state of another block.
    let wrong = Header { state_root: B256::repeat_byte(7), ..db.head().clone() };
    let state = db.memory().expect("in memory").clone();
    let refused = StateDb::in_memory(state, wrong).expect_err("another root");
    let found = db.state_root();
    assert_eq!(refused, DbError::StateRoot { number: 0, expected: B256::repeat_byte(7), found });
    // A block that is not a child of the head.
    let error = links[1].execute(&mut db, &mut executor, Mode::Sequential).expect_err("a grandchild");
    let BlockError::Invalid(invalid) = error else { panic!("{error}") };
    assert!(matches!(*invalid, InvalidBlock::Header(_)), "{invalid}");
    // Commits of anything but the last executed block.
    let outcome = links[0].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    let not_executed = Err(DbError::NotExecuted { given: outcome.hash });
    db.prove(Address::ZERO, &[]).expect("in memory");
    assert_eq!(db.commit(&outcome), not_executed, "dropped by a proof");
    links[0].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    links[1].execute(&mut db, &mut executor, Mode::Sequential).expect_err("a grandchild");
    assert_eq!(db.commit(&outcome), not_executed, "dropped by the next execution");
    links[0].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    assert_eq!(db.commit(&outcome), Ok(()));
    assert_eq!(db.commit(&outcome), not_executed, "committed already");
    let second = links[1].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    assert_eq!(db.commit(&outcome), not_executed, "not the last one");
    assert_eq!(db.commit(&second), Ok(()), "the refusal changed nothing");
    // Reverts above the head, and out of the window.
    assert_eq!(db.revert_to(3), Err(DbError::AboveHead { number: 3, head: 2 }));
    assert_eq!(db.revert_to(2), Ok(()));
    let mut db = db.with_window(1);
    assert_eq!(db.revert_to(0), Err(DbError::OutOfWindow { number: 0, oldest: 1 }));
    assert_eq!(db.head().number, 2);
    // A revert drops an executed block, also one that reverts nothing.
    let third = links[2].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    assert_eq!(db.revert_to(2), Ok(()));
    assert_eq!(db.commit(&third), Err(DbError::NotExecuted { given: third.hash }));
    let third = links[2].execute(&mut db, &mut executor, Mode::Sequential).expect("valid");
    assert_eq!(db.commit(&third), Ok(()));
    assert_eq!(db.revert_to(1), Err(DbError::OutOfWindow { number: 1, oldest: 2 }));
    assert_eq!(db.revert_to(2), Ok(()));
    assert_eq!(db.revert_to(1), Err(DbError::OutOfWindow { number: 1, oldest: 2 }), "the window does not grow");
    assert_eq!(db.head_hash(), second.hash);
}
