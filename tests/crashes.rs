//! A state on disk is what was committed last, wherever its process is interrupted.
//!
//! Blocks of a small state form a tree. A walk through the tree commits blocks, reverts them and makes checkpoints on a
//! simulated disk. At every operation of the disk the power may fail: any part of what was not synced is lost. The state
//! that is opened afterwards must be that of the acknowledged block, or of one that the step in progress leads to: its
//! header, all accounts and all slots are compared. The next walk goes on from such a disk. Transactions are executed
//! once, when the tree is made. `BALUSTRADE_CRASHES` is the number of losses of power (default 2,000).

mod signed;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use balustrade::arena::store::{EMPTY_ROOT, KECCAK_EMPTY};
use balustrade::db::DiskOptions;
use balustrade::disk::StoreId;
use balustrade::disk::files::simulated::{Disk, Random};
use balustrade::disk::store::{Description, OpenOptions, PagesKind, Store};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::EMPTY_OMMERS_HASH;
use balustrade::{
    BlockError, BlockInput, BlockOutcome, DbError, Executor, Header, MemoryStore, Mode, Options, ParentAccount,
    SlotQuery, StateDb, StateStore, StoreError,
};
use balustrade_cli::devnet::Devnet;
use balustrade_cli::devnet::asm::assemble;
use balustrade_cli::testing::template;
use signed::{Call, fund, secret};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Sets the slot of the first word of the call's data to the second word. It has units of slots.
const LARGE: Address = Address::repeat_byte(0x5e);
/// The same with a storage that lies with the account, or has units when it grows.
const SMALL: Address = Address::repeat_byte(0x5a);
/// Creates the contract of the call's data with salt 0.
const FACTORY: Address = Address::repeat_byte(0xfa);
/// Accounts besides contracts and keys.
const ACCOUNTS: u64 = 100;
/// Keys with funds.
const KEYS: usize = 4;

/// A block of the tree, after which the state is known.
struct Node {
    header: Header,
    hash: B256,
    block: Bytes,
    /// What the executor returned.
    outcome: Mutex<Option<BlockOutcome>>,
    /// Node of the block before.
    parent: Option<usize>,
    children: Vec<usize>,
    state: MemoryStore,
    /// Nonces of the keys.
    nonces: [u64; KEYS],
    /// Values of all accounts and slots of the tree.
    values: Values,
}

type Values = (Vec<ParentAccount>, Vec<U256>);

/// Blocks of one fork. Node 0 is the genesis.
struct Tree {
    rules: ChainRules,
    nodes: Vec<Node>,
    /// All accounts and slots that any node has.
    addresses: Vec<Address>,
    slots: Vec<SlotQuery>,
}

fn genesis_state(fork: Fork) -> MemoryStore {
    let mut state = MemoryStore::default();
    fund(&mut state, KEYS as u64);
    for i in 0..ACCOUNTS {
        state.insert_account(account(i), i % 3, U256::from(i + 1), KECCAK_EMPTY, []);
    }
    let setter = state.insert_code(assemble("32 CALLDATALOAD 0 CALLDATALOAD SSTORE STOP").into());
    let slots = |count: u64| (0..count).map(|key| (U256::from(key), U256::from(key + 1)));
    state.insert_account(LARGE, 1, U256::ZERO, setter, slots(100));
    state.insert_account(SMALL, 1, U256::ZERO, setter, slots(22));
    let factory = assemble("CALLDATASIZE 0 0 CALLDATACOPY 0 CALLDATASIZE 0 0 CREATE2 STOP");
    let factory = state.insert_code(factory.into());
    state.insert_account(FACTORY, 1, U256::ZERO, factory, []);
    if fork >= Fork::Amsterdam {
        // The system contracts: contracts without storage.
        let devnet = Devnet::default().genesis_state();
        for (address, account) in devnet.iter().filter(|(_, account)| account.storage.is_empty()) {
            if let Some((_, code)) = devnet.iter_codes().find(|(hash, _)| **hash == account.code_hash) {
                let code = state.insert_code(code.clone());
                state.insert_account(*address, 1, U256::ZERO, code, []);
            }
        }
    }
    state
}

/// The plain account with this number; those from `ACCOUNTS` on do not exist at the genesis.
fn account(number: u64) -> Address {
    Address::from_slice(&keccak256(number.to_le_bytes())[12..])
}

/// Creation code of a contract with this number of slots, which calls destroy.
fn doomed(slots: usize) -> Vec<u8> {
    let sets: String = (1..=slots).map(|key| format!("{key} {key} SSTORE ")).collect();
    assemble(&format!("{sets} 0x33ff 0 MSTORE 2 30 RETURN"))
}

/// A random transaction: target, value in wei and data.
fn transaction(random: &mut Random) -> (Address, u64, Vec<u8>) {
    let words =
        |key: usize, value: usize| [U256::from(key), U256::from(value)].map(|word| word.to_be_bytes::<32>()).concat();
    let code = doomed([3, 40][random.below(2)]);
    match random.below(6) {
        0 => (account(random.below(2 * ACCOUNTS as usize) as u64), 1, Vec::new()),
        1 | 2 => (LARGE, 0, words(random.below(150), random.below(3))),
        3 => (SMALL, 0, words(random.below(40), random.below(2))),
        4 => (FACTORY, 0, code),
        _ => (FACTORY.create2(B256::ZERO, keccak256(code)), 0, Vec::new()),
    }
}

fn values(store: &dyn StateStore, addresses: &[Address], queries: &[SlotQuery]) -> Values {
    let mut accounts = vec![ParentAccount::default(); addresses.len()];
    store.accounts(addresses, &mut accounts).expect("accounts");
    let mut slots = vec![U256::ZERO; queries.len()];
    store.slots(queries, &mut slots).expect("slots");
    (accounts, slots)
}

impl Tree {
    /// Executes `count` blocks of random transactions, each on one of the last three nodes.
    fn new(fork: Fork, count: usize, random: &mut Random) -> Self {
        let rules = ChainRules::mainnet(fork);
        let state = genesis_state(fork);
        let genesis = |state_root| Header {
            state_root,
            number: 0,
            timestamp: 0,
            gas_used: 30_000_000,
            ommers_hash: EMPTY_OMMERS_HASH,
            withdrawals_root: Some(EMPTY_ROOT),
            blob_gas_used: (fork >= Fork::Cancun).then_some(0),
            requests_hash: (fork >= Fork::Prague).then_some(B256::ZERO),
            block_access_list_hash: (fork >= Fork::Amsterdam).then_some(B256::ZERO),
            slot_number: (fork >= Fork::Amsterdam).then_some(0),
            ..template(fork)
        };
        let header = StateDb::at_genesis(state.clone(), genesis).expect("a state").head().clone();
        let mut executor = Executor::new(2).expect("threads");
        let mut nodes = vec![Node {
            hash: header.hash(),
            header,
            block: Bytes::new(),
            outcome: Mutex::default(),
            parent: None,
            children: Vec::new(),
            state,
            nonces: [0; KEYS],
            values: Values::default(),
        }];
        while nodes.len() <= count {
            let parent = nodes.len() - 1 - random.below(nodes.len().min(3));
            let (child, number) = (nodes[parent].child(parent, &rules, &mut executor, random), nodes.len());
            nodes[parent].children.push(number);
            nodes.push(child);
        }
        let states = || nodes.iter().flat_map(|node| node.state.iter());
        let addresses: BTreeSet<Address> = states().map(|(address, _)| *address).collect();
        let slots: BTreeSet<(Address, U256)> =
            states().flat_map(|(address, account)| account.storage.keys().map(|key| (*address, *key))).collect();
        let addresses: Vec<Address> = addresses.into_iter().collect();
        let slots: Vec<SlotQuery> = slots.into_iter().map(|(address, key)| SlotQuery { address, key }).collect();
        for node in &mut nodes {
            node.values = values(&node.state, &addresses, &slots);
        }
        Self { rules, nodes, addresses, slots }
    }

    /// Commits a child of the head, without executing its transactions again.
    fn commit(&self, db: &mut StateDb, node: usize) -> Result<(), Stop> {
        let Node { block, outcome, .. } = &self.nodes[node];
        let mut kept = outcome.lock().expect("no panic");
        let input = BlockInput::new(&self.rules, block.clone());
        let outcome = db.execute_with(&input, |_, store, tries| {
            let outcome = kept.take().expect("each use returns it");
            match tries.update(&outcome.changes, store) {
                Ok(_) => Ok(outcome),
                Err(error) => {
                    *kept = Some(outcome);
                    Err(BlockError::Store(StoreError::Failed(error.to_string())))
                }
            }
        })?;
        let committed = db.commit(&outcome);
        *kept = Some(outcome);
        Ok(committed?)
    }

    /// The node of the head. The state must be that of the node.
    fn node_of(&self, db: &StateDb) -> usize {
        let node = self.nodes.iter().position(|node| node.hash == db.head_hash()).expect("a block of the tree");
        assert_eq!(db.head(), &self.nodes[node].header);
        assert_eq!(values(db.store(), &self.addresses, &self.slots), self.nodes[node].values);
        node
    }

    fn create(&self, disk: &Disk, options: DiskOptions) -> StateDb {
        let store = Store::create_in(disk.files(), description(options), &options.files).expect("an empty disk");
        let Node { state, header, .. } = &self.nodes[0];
        StateDb::create_in(store, options, state, header.clone()).expect("a state")
    }

    /// A random step from the head: a commit, a revert or a checkpoint. `progress` gets what it may lead to.
    fn step(&self, db: &mut StateDb, progress: &Mutex<Progress>, random: &mut Random) -> Result<(), Stop> {
        let head = progress.lock().expect("no panic").acknowledged;
        let begin = |next: Vec<usize>| progress.lock().expect("no panic").next = next;
        let Node { children, header, .. } = &self.nodes[head];
        let last = match (random.below(8), &children[..]) {
            (0..5, [_, ..]) => {
                let child = children[random.below(children.len())];
                begin(vec![child]);
                self.commit(db, child)?;
                child
            }
            (0..7, _) if head > 0 => {
                let mut path = Vec::new();
                let mut at = head;
                for _ in 0..1 + random.below(3) {
                    let Some(parent) = self.nodes[at].parent else { break };
                    path.push(parent);
                    at = parent;
                }
                let number = header.number - path.len() as u64;
                begin(path);
                db.revert_to(number)?;
                at
            }
            _ => {
                db.checkpoint()?;
                head
            }
        };
        *progress.lock().expect("no panic") = Progress { acknowledged: last, next: Vec::new() };
        Ok(())
    }
}

impl Node {
    /// A block of random transactions on this one, which is node `number`.
    fn child(&self, number: usize, rules: &ChainRules, executor: &mut Executor, random: &mut Random) -> Self {
        let mut db = StateDb::in_memory(self.state.clone(), self.header.clone()).expect("the state of the header");
        let mut nonces = self.nonces;
        let mut transactions = Vec::new();
        for _ in 0..1 + random.below(3) {
            let key = random.below(KEYS);
            let (to, value, data) = transaction(random);
            let call = Call { nonce: nonces[key], gas: 1_500_000, to: Some(to), value, data: &data };
            transactions.push(call.sign(&secret(key as u64)));
            nonces[key] += 1;
        }
        let fork = rules.fork;
        let next = self.header.number + 1;
        let template = Header {
            parent_hash: self.hash,
            number: next,
            timestamp: 12 * next,
            slot_number: (fork >= Fork::Amsterdam).then_some(next),
            ..template(fork)
        };
        let (store, tries) = db.parts();
        let block = executor.build(rules, &template, &transactions, store, tries).expect("valid").block;
        let input = BlockInput::new(rules, block.clone());
        let outcome = db.execute(executor, &input, Options::new(Mode::Sequential)).expect("valid");
        db.commit(&outcome).expect("it was executed");
        Self {
            header: db.head().clone(),
            hash: db.head_hash(),
            block,
            outcome: Mutex::new(Some(outcome)),
            parent: Some(number),
            children: Vec::new(),
            state: db.memory().expect("in memory").clone(),
            nonces,
            values: Values::default(),
        }
    }
}

/// The error of a disk with faults.
type Stop = Box<dyn std::error::Error>;

/// Nodes that may be the head after a crash.
#[derive(Clone, Debug)]
struct Progress {
    acknowledged: usize,
    /// What the step in progress leads to, in order.
    next: Vec<usize>,
}

fn description(options: DiskOptions) -> Description {
    let DiskOptions { pages, page_bytes, .. } = options;
    Description { pages, page_bytes, chain_id: 1, genesis: B256::ZERO, id: StoreId([7; 16]) }
}

/// A checkpoint at each block, at some, or when it is asked for.
fn options(pages: PagesKind, kind: usize) -> DiskOptions {
    let mut files = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    // Small, so that segments begin and end often.
    files.log.segment_bytes = 8_000;
    let checkpoint_bytes = [0, 4_000, usize::MAX][kind % 3];
    DiskOptions { files, pages, page_bytes: 2048, cache_bytes: 1 << 20, checkpoint_bytes, tries_bytes: 20_000 }
}

fn open(disk: &Disk, options: DiskOptions) -> Result<StateDb, DbError> {
    let store = Store::open_in(disk.files(), description(options), &options.files)?;
    Ok(StateDb::open_in(store, options)?.0)
}

/// Opens the state that a crash left; returns it with its node.
fn opened(tree: &Tree, disk: &Disk, options: DiskOptions, progress: &Progress) -> (StateDb, usize) {
    let db = open(disk, options).unwrap_or_else(|error| panic!("{error}"));
    let node = tree.node_of(&db);
    assert!(node == progress.acknowledged || progress.next.contains(&node), "node {node}, {progress:?}");
    (db, node)
}

/// What walks have seen.
#[derive(Default)]
struct Seen {
    crashes: usize,
    /// Crashes within a commit or a revert after which it was lost.
    lost: usize,
    /// Crashes within a commit or a revert after which it was there, at least one block of it.
    kept: usize,
    /// A disk after a crash with the node of its head: the next walk begins there.
    next: Option<(Disk, usize)>,
}

/// Walks until `wanted` losses of power are checked.
fn walk(tree: &Arc<Tree>, pages: PagesKind, wanted: usize, seed: u64) -> Seen {
    let mut random = Random(seed);
    let seen = Arc::new(Mutex::new(Seen::default()));
    for walk in 0.. {
        if seen.lock().expect("no panic").crashes >= wanted {
            break;
        }
        let options = options(pages, walk);
        let begin = seen.lock().expect("no panic").next.take().filter(|_| walk % 16 > 0);
        let (disk, node) = begin.unwrap_or_else(|| {
            let disk = Disk::default();
            drop(tree.create(&disk, options));
            (disk, 0)
        });
        let progress = Arc::new(Mutex::new(Progress { acknowledged: node, next: Vec::new() }));
        let (shared, now, found) = (Arc::clone(tree), Arc::clone(&progress), Arc::clone(&seen));
        let mut chance = Random(random.number());
        disk.watch(move |disk| {
            let now = now.lock().expect("no panic").clone();
            let disk = if chance.below(8) == 0 { disk.copy() } else { disk.power_loss(&mut chance) };
            let left = disk.power_loss(&mut chance);
            let (db, node) = opened(&shared, &left.copy(), options, &now);
            if chance.below(32) == 0 {
                db.disk().expect("on disk").check(|_| true).expect("all units are right");
            }
            let mut seen = found.lock().expect("no panic");
            seen.crashes += 1;
            seen.lost += usize::from(!now.next.is_empty() && node == now.acknowledged);
            seen.kept += usize::from(now.next.contains(&node));
            if chance.below(16) == 0 {
                seen.next = Some((left, node));
            }
        });
        // Losses of power while the store is opened are part of the walk.
        let mut db = open(&disk, options).expect("it was opened before");
        for _ in 0..8 {
            tree.step(&mut db, &progress, &mut random).expect("a disk without faults");
        }
    }
    core::mem::take(&mut *seen.lock().expect("no panic"))
}

/// Trees of two forks: with cleared storage, and with lists in headers.
fn trees() -> [Arc<Tree>; 2] {
    [Fork::Shanghai, Fork::Amsterdam].map(|fork| Arc::new(Tree::new(fork, 40, &mut Random(fork as u64))))
}

#[test]
fn no_loss_of_power_loses_an_acknowledged_block() {
    let wanted: usize = std::env::var("BALUSTRADE_CRASHES").map_or(2_000, |count| count.parse().expect("a number"));
    let trees = trees();
    // The database takes some 20 times as long for an operation.
    for (pages, wanted) in [(PagesKind::Files, wanted), (PagesKind::Redb, wanted / 20)] {
        let walks = trees.each_ref().map(|tree| {
            let tree = Arc::clone(tree);
            std::thread::spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
                pool.install(|| walk(&tree, pages, wanted.div_ceil(2), 104_729))
            })
        });
        for walk in walks {
            let Seen { crashes, lost, kept, .. } = walk.join().expect("nothing acknowledged was lost");
            println!("{pages:?}: {crashes} losses of power; within steps {lost} lost the step, {kept} kept it");
            assert!(lost > 0 && kept > 0);
        }
    }
}

#[test]
fn a_full_disk_and_failed_operations_keep_the_head() {
    let mut failed = 0;
    for (fault, tree) in (0..120).zip(trees().iter().cycle()) {
        let mut random = Random(fault + 1);
        let options = options(PagesKind::Files, 0);
        let disk = Disk::default();
        let mut db = tree.create(&disk, options);
        if fault % 3 == 0 {
            disk.set_capacity(disk.bytes() + random.below(60_000));
        } else {
            disk.fail_at(disk.operations() + random.below(300) as u64, &mut random);
        }
        let progress = Mutex::new(Progress { acknowledged: 0, next: Vec::new() });
        let result = (0..20).try_for_each(|_| tree.step(&mut db, &progress, &mut random));
        failed += usize::from(result.is_err());
        drop(db);
        // The faults have ended; a copy has none.
        let progress = progress.into_inner().expect("no panic");
        let (db, _) = opened(tree, &disk.copy(), options, &progress);
        db.disk().expect("on disk").check(|_| true).expect("all units are right");
    }
    assert!(failed > 60, "{failed} runs failed");
}
