//! Cancellation: blocks that would run for years stop soon after their token is cancelled, in every mode and dispatch
//! loop and in every stage. Afterwards tries and executor are as before, and no thread is left.

mod signed;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_rlp::Encodable;
use balustrade::arena::TxIndex;
use balustrade::arena::cancel::CancelToken;
use balustrade::arena::path::NodeQuery;
use balustrade::arena::store::{MemoryStore, ParentAccount, SlotQuery, StateStore, StoreError};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::interpreter::trace::TraceSink;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade::executor::Body;
use balustrade::trie::{StateTries, ordered_root};
use balustrade::{AccountStatus, BlockError, BlockInput, Executor, Mode, Options, StateChanges};
use signed::{Call, list_of as rlp_list};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MODES: [Mode; 3] = [Mode::Bal, Mode::Sequential, Mode::Optimistic];
/// More gas than any machine executes in a year.
const GAS_FOR_YEARS: u64 = 1 << 61;
/// Time until a test cancels.
const A_MOMENT: Duration = Duration::from_millis(30);
/// Time within which a block must have stopped: generous, because other processes may use the machine.
const SOON: Duration = Duration::from_secs(3);

const LOOPING: Address = Address::repeat_byte(0xaa);
const OUTER: Address = Address::repeat_byte(0xbb);

/// Codes that loop until the gas is used: name and hex.
const LOOPS: [(&str, &str); 6] = [
    ("JUMP", "5b600056"),
    ("dynamic jump", "60025b8056"),
    ("JUMPI over arithmetic", "60015b8060020150806002575b00"),
    ("memory", "5b600051600052602060002050600056"),
    ("cold and warm reads", "5b60005450600031506000600055600056"),
    ("inner frames", "5b60006000600060006000605a5af150600056"),
];

/// A transaction without replay protection and with the signature (1, 1), and its sender.
fn transaction(nonce: u64, to: Option<Address>, gas: u64, data: &[u8]) -> (Vec<u8>, Address) {
    Call { nonce, gas, to, value: 0, data }.free()
}

/// A block and its parent state.
struct Case {
    rules: ChainRules,
    block: Bytes,
    bal: Bytes,
    store: MemoryStore,
}

impl Case {
    /// A block of these transactions, whose senders exist. Its list has the accounts and no change.
    fn new(transactions: Vec<(Vec<u8>, Address)>, codes: &[(Address, Bytes)]) -> Self {
        let mut store = MemoryStore::default();
        let mut names: Vec<Address> = transactions.iter().map(|(_, sender)| *sender).collect();
        for sender in &names {
            store.insert_account(*sender, 0, U256::ONE, keccak256([]), []);
        }
        for (address, code) in codes {
            let hash = store.insert_code(code.clone());
            store.insert_account(*address, 1, U256::ZERO, hash, [(U256::ZERO, U256::ONE)]);
            names.push(*address);
        }
        // Addresses of created contracts.
        names.extend(transactions.iter().map(|(_, sender)| sender.create(0)));
        names.extend([Address::ZERO, Address::with_last_byte(0x5a)]);
        names.sort_unstable();
        names.dedup();
        let encoded: Vec<Vec<u8>> = transactions.into_iter().map(|(bytes, _)| bytes).collect();
        let slices: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        let header = Header {
            number: 12_300_000,
            gas_limit: GAS_FOR_YEARS * 2,
            gas_used: GAS_FOR_YEARS,
            difficulty: U256::from(1 << 20),
            ommers_hash: balustrade::exec::rules::header::EMPTY_OMMERS_HASH,
            transactions_root: ordered_root(&slices),
            ..Header::default()
        };
        Self {
            rules: ChainRules::mainnet(Fork::Berlin),
            block: assemble(&header, &encoded).into(),
            bal: list_of(&names, codes),
            store,
        }
    }

    fn looping(code: &str) -> Self {
        let code = Bytes::from(hex::decode(code).expect("hex"));
        Self::new(vec![transaction(0, Some(LOOPING), GAS_FOR_YEARS, &[])], &[(LOOPING, code)])
    }

    fn input(&self) -> BlockInput<'_> {
        BlockInput::new(&self.rules, self.block.clone()).with_list(self.bal.clone())
    }

    fn tries(&self) -> StateTries {
        StateTries::from_memory(&self.store).expect("a state in memory")
    }

    /// The header and the transactions from which a builder builds the block.
    fn template(&self) -> (Header, Vec<Vec<u8>>) {
        let block = Block::decode(self.block.clone()).expect("made here");
        let encoded = |index| block.transactions.encoded(TxIndex(index)).to_vec();
        let transactions = (0..block.transactions.len() as u32).map(encoded).collect();
        (block.header.clone(), transactions)
    }
}

/// RLP of a block access list with these accounts, a read of slot 0 of those with code, and no change.
fn list_of(names: &[Address], codes: &[(Address, Bytes)]) -> Bytes {
    let account = |name: &Address| {
        let mut fields = Vec::new();
        name.encode(&mut fields);
        let reads: &[u8] = if codes.iter().any(|(address, _)| address == name) { &[0x80] } else { &[] };
        [&[][..], reads, &[], &[], &[]].iter().for_each(|items| fields.extend(rlp_list(items)));
        rlp_list(&fields)
    };
    rlp_list(&names.iter().flat_map(account).collect::<Vec<_>>()).into()
}

/// Runs with a token whose deadline is after `patience`; returns the position that the error reports.
fn cancel_after<T: Debug>(
    patience: Duration,
    tries: &mut StateTries,
    run: impl FnOnce(&mut StateTries, &CancelToken) -> Result<T, BlockError>,
) -> String {
    let root = tries.root();
    let token = CancelToken::new().with_deadline(Instant::now() + patience);
    let start = Instant::now();
    let result = run(tries, &token);
    let elapsed = start.elapsed();
    assert!(elapsed < SOON, "{elapsed:?}");
    assert_eq!(tries.root(), root);
    match result {
        Err(BlockError::Cancelled(at)) => at,
        other => panic!("{other:?}"),
    }
}

/// Cancels with a growing patience until the error reports a position in the first transaction. On a busy machine the
/// shorter ones can end before that transaction begins; it never ends, so that a longer one cannot miss it.
fn assert_stops_in_transaction(what: &dyn Debug, mut cancel: impl FnMut(Duration) -> String) {
    let mut patience = A_MOMENT;
    loop {
        let at = cancel(patience);
        if at.contains("index 1") {
            return;
        }
        patience *= 4;
        assert!(patience < SOON, "{what:?}: {at}");
    }
}

/// Executes the case's block and cancels it after `patience`; returns the position that the error reports.
fn cancel_execution(
    executor: &mut Executor,
    case: &Case,
    store: &dyn StateStore,
    tries: &mut StateTries,
    options: Options,
    patience: Duration,
) -> String {
    cancel_after(patience, tries, |tries, token| {
        executor.execute(&case.input().with_cancel(token), store, Some(tries), options)
    })
}

/// Builds a block of the case's transactions and cancels it after `patience`; returns the position that the error
/// reports.
fn cancel_building(executor: &mut Executor, case: &Case, store: &dyn StateStore, patience: Duration) -> String {
    let (header, transactions) = case.template();
    let body = Body { transactions: &transactions, withdrawals: &[] };
    cancel_after(patience, &mut case.tries(), |tries, token| {
        executor.build_body(&case.rules, &header, body, store, tries, Some(token))
    })
}

/// Names of this process's live threads that an executor started.
fn executor_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with("balustrade-")).count()
}

/// A store with slow answers.
struct Slow<'a>(&'a MemoryStore);

impl StateStore for Slow<'_> {
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(50));
        self.0.accounts(addresses, out)
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(50));
        self.0.slots(slots, out)
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(50));
        self.0.codes(hashes, out)
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.0.block_hashes(numbers, out)
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.0.trie_nodes(nodes, out)
    }
}

/// A single test, so that `executor_threads` counts no executor of a parallel test.
#[test]
fn cancelled_blocks_stop_in_every_stage_and_leave_no_thread() {
    let mut executor = Executor::new(3).expect("threads");

    // One frame that never ends, and frames whose callee or initcode never ends.
    let mut cases: Vec<(&str, Case)> = LOOPS.iter().map(|(name, code)| (*name, Case::looping(code))).collect();
    let inner = Bytes::from(hex::decode("5b600056").expect("hex"));
    let outer = [&hex!("6000600060006000600073")[..], LOOPING.as_slice(), &hex!("5af1")].concat();
    let call = vec![transaction(0, Some(OUTER), GAS_FOR_YEARS, &[])];
    cases.push(("inner frame", Case::new(call, &[(LOOPING, inner.clone()), (OUTER, outer.into())])));
    cases.push(("initcode", Case::new(vec![transaction(0, None, GAS_FOR_YEARS, &inner)], &[])));
    for (name, case) in &cases {
        let mut tries = case.tries();
        for mode in MODES {
            for loop_kind in [LoopKind::Tail, LoopKind::Match, LoopKind::Levm] {
                // Codes are decoded after a few runs, so that five runs cover both forms.
                for _ in 0..if loop_kind == LoopKind::Tail { 5 } else { 1 } {
                    let options = Options::new(mode).with_loop(loop_kind);
                    assert_stops_in_transaction(&(name, options), |patience| {
                        cancel_execution(&mut executor, case, &case.store, &mut tries, options, patience)
                    });
                }
            }
        }
        if *name == "inner frame" {
            executor.trace_to(Some(TraceSink::new(Arc::new(Mutex::new(std::io::sink())))));
            let options = Options::new(Mode::Sequential);
            cancel_execution(&mut executor, case, &case.store, &mut tries, options, A_MOMENT);
            executor.trace_to(None);
        }
        assert_stops_in_transaction(&(name, "built"), |patience| {
            cancel_building(&mut executor, case, &case.store, patience)
        });
        let options = Options::new(Mode::Sequential);
        assert_stops_in_transaction(&(name, "transact"), |patience| {
            cancel_after(patience, &mut tries, |tries, token| {
                executor.transact(&case.rules, case.block.clone(), &case.store, tries, options, Some(token))
            })
        });
    }

    // Diagnosis.
    let case = Case::looping(LOOPS[0].1);
    let token = CancelToken::new().with_deadline(Instant::now() + Duration::from_millis(30));
    let start = Instant::now();
    let result = executor.diagnose(&case.input().with_cancel(&token), &case.store);
    assert!(matches!(result, Err(BlockError::Cancelled(_))) && start.elapsed() < SOON, "{result:?}");

    // A store whose total answer time is longer than the deadline.
    let codes: Vec<(Address, Bytes)> =
        (0..50).map(|i| (Address::repeat_byte(i + 1), Bytes::from_static(&[0]))).collect();
    let calls = codes.iter().map(|(address, _)| transaction(0, Some(*address), 100_000, &[])).collect();
    let case = Case::new(calls, &codes);
    for mode in MODES {
        let options = Options::new(mode);
        cancel_execution(&mut executor, &case, &Slow(&case.store), &mut case.tries(), options, A_MOMENT);
    }
    cancel_building(&mut executor, &case, &Slow(&case.store), A_MOMENT);

    // Thousands of signatures.
    let many = (0..4000).map(|i| transaction(0, Some(LOOPING), 21_000 + i, &[])).collect();
    let case = Case::new(many, &[]);
    let token = CancelToken::new();
    token.cancel();
    for mode in MODES {
        let start = Instant::now();
        let result = executor.execute(&case.input().with_cancel(&token), &case.store, None, Options::new(mode));
        assert!(matches!(result, Err(BlockError::Cancelled(_))), "{result:?}");
        assert!(start.elapsed() < SOON);
    }
    let at = cancel_building(&mut executor, &case, &case.store, Duration::ZERO);
    assert!(at.contains("senders"), "{at}");

    // Afterwards the executor gives the same results as a new one.
    let mut fresh = Executor::new(3).expect("threads");
    let case = Case::new(vec![transaction(0, Some(LOOPING), 200_000, &[])], &[(LOOPING, inner)]);
    for mode in MODES {
        let run = |executor: &mut Executor| {
            let mut tries = case.tries();
            let result = executor.execute(&case.input(), &case.store, Some(&mut tries), Options::new(mode));
            format!("{:?}", result.map(|outcome| outcome.receipts.iter().map(keccak256).collect::<Vec<_>>()))
        };
        assert_eq!(run(&mut executor), run(&mut fresh), "{mode:?}");
    }
    let (header, transactions) = case.template();
    let build = |executor: &mut Executor| {
        let built = executor.build(&case.rules, &header, &transactions, &case.store, &mut case.tries());
        built.expect("a transaction that runs out of gas is valid").block
    };
    assert_eq!(build(&mut executor), build(&mut fresh));

    drop((executor, fresh));
    let start = Instant::now();
    while executor_threads() > 0 {
        assert!(start.elapsed() < SOON, "{} threads are left", executor_threads());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cancelled_update_of_the_tries_is_rolled_back() {
    /// A store whose `is_cancelled` is true from the `n`th call on.
    struct CancelledAfter(MemoryStore, core::sync::atomic::AtomicI64);
    impl StateStore for CancelledAfter {
        fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
            self.0.accounts(addresses, out)
        }
        fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
            self.0.slots(slots, out)
        }
        fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
            self.0.codes(hashes, out)
        }
        fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
            self.0.block_hashes(numbers, out)
        }
        fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
            self.0.trie_nodes(nodes, out)
        }
        fn is_cancelled(&self) -> bool {
            self.1.fetch_sub(1, core::sync::atomic::Ordering::Relaxed) <= 0
        }
    }
    let rows = 20_000u32;
    let addresses: Vec<Address> = (0..rows).map(|i| Address::from_word(keccak256(i.to_be_bytes()))).collect();
    let count = rows as usize;
    let changes = StateChanges {
        statuses: vec![AccountStatus::Kept; count],
        nonces: vec![Some(1); count],
        balances: vec![Some(U256::ONE); count],
        code_hashes: vec![None; count],
        slot_starts: (0..=rows).collect(),
        slot_keys: vec![U256::ONE; count],
        slot_values: vec![U256::from(2); count],
        addresses,
        ..Default::default()
    };
    let mut tries = StateTries::empty();
    let root = tries.root();
    let mut looks = 0;
    loop {
        let store = CancelledAfter(MemoryStore::default(), looks.into());
        match tries.update(&changes, &store) {
            Err(error) => assert!(error.to_string().contains("cancelled"), "{error}"),
            Ok(_) => break,
        }
        assert_eq!(tries.root(), root);
        looks += 1;
    }
    assert!(looks > 10, "{looks} looks");
    let mut other = StateTries::empty();
    let expected = other.update(&changes, &MemoryStore::default()).expect("all is in memory");
    assert_eq!(tries.root(), expected);
}
