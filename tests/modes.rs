//! `bal` and sequential mode give the same bytes for any number of threads; known and recovered senders give the same
//! outcome in all modes; stages of `bal` mode overlap. Not here: comparisons with optimistic mode (`tests/optimistic`).

mod hostile;
mod signed;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::bal::{Limits, decode};
use balustrade::exec::block::error::MismatchField;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::senders::SenderCache;
use balustrade::exec::wire::Header;
use balustrade::executor::{Recovery, Stage};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, BlockOutcome, Executor, InvalidBlock, Mode, Options};
use balustrade_cli::testing::template;
use secp256k1::SecretKey;
use signed::{Call, address_of, fund, list_of, secret, sign};

const CONTRACT: Address = Address::repeat_byte(0xcc);

/// A state with one contract and funded accounts with keys.
struct World {
    rules: ChainRules,
    store: MemoryStore,
    tries: StateTries,
}

/// A signed legacy transaction without data.
fn transaction(key: &SecretKey, nonce: u64, gas: u64, to: Address, value: u64) -> Vec<u8> {
    Call { nonce, gas, to: Some(to), value, data: &[] }.sign(key)
}

/// A signed transaction with an access list (EIP-2930): each account with one slot.
fn warming_transaction(key: &SecretKey, gas: u64, to: Address, warmed: &[(Address, U256)]) -> Vec<u8> {
    let mut fields = Vec::new();
    1u64.encode(&mut fields);
    0u64.encode(&mut fields);
    1_000u64.encode(&mut fields);
    gas.encode(&mut fields);
    to.encode(&mut fields);
    fields.extend([alloy_rlp::EMPTY_STRING_CODE; 2]);
    let accounts = warmed.iter().flat_map(|(address, slot)| {
        let mut account = Vec::new();
        address.encode(&mut account);
        let mut keys = Vec::new();
        B256::from(*slot).encode(&mut keys);
        account.extend(list_of(&keys));
        list_of(&account)
    });
    fields.extend(list_of(&accounts.collect::<Vec<u8>>()));
    let (r, s, parity) = sign(key, keccak256([vec![1], list_of(&fields)].concat()));
    parity.encode(&mut fields);
    r.encode(&mut fields);
    s.encode(&mut fields);
    [vec![1], list_of(&fields)].concat()
}

impl World {
    /// Twenty funded signers and a contract with this code.
    fn new(code: &[u8]) -> Self {
        let rules = ChainRules::mainnet(Fork::Cancun);
        let mut store = MemoryStore::default();
        fund(&mut store, 20);
        let hash = store.insert_code(code.to_vec().into());
        store.insert_account(CONTRACT, 1, U256::ZERO, hash, []);
        let tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
        Self { rules, store, tries }
    }

    fn template() -> Header {
        Header { coinbase: Address::repeat_byte(0xfe), ..template(Fork::Cancun) }
    }

    fn build(
        &mut self,
        executor: &mut Executor,
        transactions: &[Vec<u8>],
    ) -> (alloy_primitives::Bytes, alloy_primitives::Bytes) {
        let built = executor
            .build(&self.rules, &Self::template(), transactions, &self.store, &mut self.tries)
            .expect("the transactions are valid");
        (built.block, built.bal)
    }

    fn execute(
        &mut self,
        executor: &mut Executor,
        block: &alloy_primitives::Bytes,
        bal: &alloy_primitives::Bytes,
        mode: Mode,
    ) -> Result<BlockOutcome, BlockError> {
        let input = BlockInput::new(&self.rules, block.clone()).with_list(bal.clone());
        let outcome = executor.execute(&input, &self.store, Some(&mut self.tries), Options::new(mode));
        self.tries.rollback();
        outcome
    }
}

/// A block with calls that write storage, dependent transfers, and a failing call.
fn mixed_block() -> (World, Vec<Vec<u8>>) {
    // SSTORE(CALLER, NUMBER + SLOAD(CALLER)); the write of a later transaction depends on an earlier one's.
    let mut world = World::new(&[0x33, 0x54, 0x43, 0x01, 0x33, 0x55, 0x00]);
    world.store.insert_account(Address::repeat_byte(9), 0, U256::from(1), KECCAK_EMPTY, []);
    world.tries = StateTries::from_memory(&world.store).expect("a state in memory has a trie");
    let mut transactions = Vec::new();
    for round in 0..3u64 {
        for index in 0..20 {
            let key = secret(index);
            let (to, gas) = match index % 4 {
                0 => (CONTRACT, 100_000),
                1 => (address_of(&secret(index + 1)), 21_000),
                2 => (CONTRACT, 22_000),
                _ => (Address::repeat_byte(9), 21_000),
            };
            let value = if to == CONTRACT { 0 } else { 1_000 + index };
            transactions.push(transaction(&key, round, gas, to, value));
        }
    }
    (world, transactions)
}

#[test]
fn bal_and_sequential_mode_give_the_same_bytes_for_any_number_of_threads() {
    let (mut world, transactions) = mixed_block();
    let mut first = Executor::new(1).expect("threads");
    let (block, bal) = world.build(&mut first, &transactions);
    let expected = world.execute(&mut first, &block, &bal, Mode::Sequential).expect("valid");
    assert_eq!(expected.bal, bal);
    assert!(expected.transactions.iter().any(|outcome| !outcome.success), "some transactions fail");
    for threads in [1, 2, 3, 4, 8] {
        let mut executor = Executor::new(threads).expect("threads");
        for mode in [Mode::Bal, Mode::Sequential] {
            let outcome = world.execute(&mut executor, &block, &bal, mode).expect("valid");
            let receipts = |outcome: &BlockOutcome| outcome.receipts.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(receipts(&outcome), receipts(&expected), "{mode:?}, {threads} threads");
            assert_eq!(outcome.transactions, with_logs_of(&outcome, &expected));
            assert_eq!((outcome.state_root, &outcome.bal), (expected.state_root, &expected.bal));
            assert_eq!((outcome.gas, &outcome.changes), (expected.gas, &expected.changes));
        }
    }
}

#[test]
fn known_and_recovered_senders_give_the_same_outcome() {
    let (mut world, transactions) = mixed_block();
    let mut executor = Executor::new(2).expect("threads");
    let (block, bal) = world.build(&mut executor, &transactions);
    let expected = world.execute(&mut executor, &block, &bal, Mode::Bal).expect("valid");
    let none = SenderCache::new(1000);
    let (some, all) = (SenderCache::new(1000), SenderCache::new(1000));
    for (index, raw) in transactions.iter().enumerate() {
        let (hash, sender) = (keccak256(raw), address_of(&secret(index as u64 % 20)));
        all.insert(hash, sender);
        if index % 3 == 0 {
            some.insert(hash, sender);
        }
    }
    for known in [None, Some(&none), Some(&some), Some(&all)] {
        for recovery in [Recovery::Batched, Recovery::OneByOne] {
            for mode in [Mode::Bal, Mode::Sequential, Mode::Optimistic] {
                let mut input = BlockInput::new(&world.rules, block.clone()).with_list(bal.clone());
                input.known_senders = known;
                let options = Options::new(mode).with_recovery(recovery);
                let outcome =
                    executor.execute(&input, &world.store, Some(&mut world.tries), options).expect("the same block");
                world.tries.rollback();
                assert_eq!((outcome.state_root, &outcome.bal), (expected.state_root, &expected.bal));
            }
        }
    }
    // Senders from the caller are not verified: a wrong one changes the block.
    all.insert(keccak256(&transactions[0]), address_of(&secret(1)));
    let input = BlockInput::new(&world.rules, block.clone()).with_list(bal.clone()).with_known_senders(&all);
    let result = executor.execute(&input, &world.store, Some(&mut world.tries), Options::new(Mode::Bal));
    assert!(matches!(result, Err(BlockError::Invalid(_))));
}

/// The expected outcomes with the log ranges of `outcome`, which are positions in a worker's columns and may differ.
fn with_logs_of(outcome: &BlockOutcome, expected: &BlockOutcome) -> Vec<balustrade::exec::tx::TxOutcome> {
    let mut transactions = expected.transactions.clone();
    for (ours, theirs) in transactions.iter_mut().zip(&outcome.transactions) {
        assert_eq!(ours.logs.len(), theirs.logs.len());
        ours.logs = theirs.logs.clone();
    }
    transactions
}

#[test]
fn the_root_is_ready_before_a_long_transaction_ends() {
    // JUMPDEST, KECCAK256 of 32 bytes, POP, JUMP: loops until the gas is used.
    let mut world = World::new(&[0x5b, 0x60, 0x20, 0x5f, 0x20, 0x50, 0x5f, 0x56]);
    let mut executor = Executor::new(2).expect("threads");
    let transactions =
        [transaction(&secret(0), 0, 50_000_000, CONTRACT, 0), transaction(&secret(1), 0, 21_000, CONTRACT, 0)];
    let (block, bal) = world.build(&mut executor, &transactions);
    let outcome = world.execute(&mut executor, &block, &bal, Mode::Bal).expect("valid");
    let long = outcome.tasks.iter().find(|task| task.index.0 == 1).expect("it ran");
    let root = outcome.timeline.iter().find(|span| span.stage == Stage::Root).expect("there are tries");
    assert!(root.end_ns < long.end_ns, "root {root:?}, long transaction {long:?}");
}

#[test]
fn a_wrong_list_is_refused_with_the_same_error_for_any_number_of_threads() {
    let (mut world, transactions) = mixed_block();
    let mut executor = Executor::new(2).expect("threads");
    let (block, bal) = world.build(&mut executor, &transactions);
    // The last byte of the list belongs to its last account: a nonce or a balance.
    let refusals: Vec<_> = [1, 2, 4]
        .into_iter()
        .map(|threads| {
            let mut executor = Executor::new(threads).expect("threads");
            let list =
                balustrade::bal::decode(&bal, &balustrade::bal::Limits::format_only()).expect("it is well-formed");
            let victim = list.addresses().ids().find(|id| list.balance_post(*id).is_some()).expect("balances change");
            let balance = list.balance_post(victim).expect("it has one");
            let mut bytes = bal.to_vec();
            let needle = alloy_rlp::encode(balance);
            let at = bytes.windows(needle.len()).position(|window| window == needle).expect("its encoding is there");
            bytes[at + needle.len() - 1] ^= 1;
            match world.execute(&mut executor, &block, &bytes.into(), Mode::Bal) {
                Err(BlockError::Invalid(invalid)) => {
                    assert!(matches!(*invalid, InvalidBlock::Mismatch(_)), "{invalid}");
                    invalid.to_string()
                }
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "{refusals:?}");
}

/// An address or slot that a transaction's access list (EIP-2930) warms, but that the block access list lacks, is
/// reported when it is accessed. The gas of the frame pays for a warm access and not for a cold one: an executor that
/// treats the missing entry as cold runs out of gas before the access and does not report it.
#[test]
fn a_warmed_entry_that_the_list_lacks_is_reported() {
    const INNER: Address = Address::repeat_byte(0xdd);
    const OTHER: Address = Address::repeat_byte(0xee);
    let slot = U256::from(7);
    let on_other = |opcode: &[u8]| [&[0x73], OTHER.as_slice(), opcode].concat();
    let call = [&[0x5f; 5], &[0x73][..], OTHER.as_slice(), &[0x5f, 0xf1]].concat();
    let copy = [&[0x5f; 3], &[0x73][..], OTHER.as_slice(), &[0x3c]].concat();
    // Name, code of the frame, its gas, whether the entry is an account (or a slot).
    let cases: [(&str, Vec<u8>, u16, bool); 8] = [
        ("BALANCE", on_other(&[0x31]), 3 + 100, true),
        ("EXTCODESIZE", on_other(&[0x3b]), 3 + 100, true),
        ("EXTCODECOPY", copy, 9 + 100, true),
        ("EXTCODEHASH", on_other(&[0x3f]), 3 + 100, true),
        ("CALL", call, 15 + 100, true),
        ("SELFDESTRUCT", on_other(&[0xff]), 3 + 5_000, true),
        ("SLOAD", vec![0x60, 0x07, 0x54], 3 + 100, false),
        ("SSTORE", vec![0x60, 0x01, 0x60, 0x07, 0x55], 6 + 20_000, false),
    ];
    let mut executor = Executor::new(2).expect("threads");
    for (name, code, gas, is_account) in cases {
        let [high, low] = gas.to_be_bytes();
        let outer = [&[0x5f; 5], &[0x73][..], INNER.as_slice(), &[0x61, high, low, 0xf1, 0x00]].concat();
        let mut world = World::new(&outer);
        let hash = world.store.insert_code(code.into());
        world.store.insert_account(INNER, 1, U256::ZERO, hash, []);
        world.store.insert_account(OTHER, 0, U256::ONE, KECCAK_EMPTY, []);
        world.tries = StateTries::from_memory(&world.store).expect("a state in memory has a trie");
        let warming = warming_transaction(&secret(0), 200_000, CONTRACT, &[(OTHER, U256::ZERO), (INNER, slot)]);
        let (block, bal) = world.build(&mut executor, &[warming]);
        world.execute(&mut executor, &block, &bal, Mode::Bal).expect(name);

        let mut list = hostile::list::from_columns(&decode(&bal, &Limits::format_only()).expect("recorded"));
        let before = list.clone();
        if is_account {
            list.retain(|account| account.address != OTHER);
        } else {
            list.iter_mut().for_each(|account| {
                account.reads.retain(|key| account.address != INNER || *key != slot);
                account.changes.retain(|(key, _)| account.address != INNER || *key != slot);
            });
        }
        assert_ne!(list, before, "{name}: the access is listed");
        let wrong = Bytes::from(hostile::list::encode(&list));
        for loop_kind in LoopKind::ALL {
            let input = BlockInput::new(&world.rules, block.clone()).with_list(wrong.clone());
            let options = Options::new(Mode::Bal).with_loop(loop_kind);
            let result = executor.execute(&input, &world.store, None, options).map(drop);
            let field = if is_account { MismatchField::UnlistedAccount } else { MismatchField::UnlistedSlot };
            let found = match &result {
                Err(BlockError::Invalid(invalid)) => match &**invalid {
                    InvalidBlock::Mismatch(mismatch) => Some(mismatch.field),
                    _ => None,
                },
                _ => None,
            };
            assert_eq!(found, Some(field), "{name}, {}: {result:?}", loop_kind.name());
        }
    }
}
