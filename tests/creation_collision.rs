//! EIP-7610: creation at an address that has storage, but neither nonce nor code, with the rule and without it.

mod signed;

use alloy_primitives::{Address, B256, U256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::trie::StateTries;
use balustrade::{BlockInput, BlockOutcome, Executor, Mode, Options};
use balustrade_cli::testing::template;
use signed::{Call, address_of, secret};

const FACTORY: Address = Address::repeat_byte(0xfa);
const FACTORY2: Address = Address::repeat_byte(0xfb);

/// SSTORE(2, SLOAD(0)); SSTORE(0, 9); deploys one zero byte.
const INIT: &[u8] = &[0x5f, 0x54, 0x60, 2, 0x55, 0x60, 9, 0x5f, 0x55, 0x60, 1, 0x5f, 0xf3];
/// SSTORE(2, SLOAD(0)); SSTORE(0, 9); SELFDESTRUCT(ADDRESS).
const INIT_DESTROYED: &[u8] = &[0x5f, 0x54, 0x60, 2, 0x55, 0x60, 9, 0x5f, 0x55, 0x30, 0xff];
/// Creates a contract from its input and stores the address in slot 0.
const CREATE: &[u8] = &[0x36, 0x5f, 0x5f, 0x37, 0x36, 0x5f, 0x5f, 0xf0, 0x5f, 0x55, 0x00];
/// The same with CREATE2 and salt 0.
const CREATE2: &[u8] = &[0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x36, 0x5f, 0x5f, 0xf5, 0x5f, 0x55, 0x00];

/// The ways to create a contract: name, recipient of the transaction, address of the created contract.
fn ways(init: &[u8]) -> [(&'static str, Option<Address>, Address); 3] {
    [
        ("transaction", None, address_of(&secret(0)).create(0)),
        ("CREATE", Some(FACTORY), FACTORY.create(1)),
        ("CREATE2", Some(FACTORY2), FACTORY2.create2(B256::ZERO, alloy_primitives::keccak256(init))),
    ]
}

/// The outcome of a block with one creation, the same in every mode and dispatch loop.
struct Created {
    outcome: BlockOutcome,
    after: MemoryStore,
}

fn create(rules: &ChainRules, init: &[u8], to: Option<Address>, destination: Address, slots: &[(u64, u64)]) -> Created {
    let mut store = MemoryStore::default();
    store.insert_account(address_of(&secret(0)), 0, U256::from(10).pow(U256::from(18)), KECCAK_EMPTY, []);
    for (factory, code) in [(FACTORY, CREATE), (FACTORY2, CREATE2)] {
        let hash = store.insert_code(code.to_vec().into());
        store.insert_account(factory, 1, U256::ZERO, hash, []);
    }
    if rules.fork >= Fork::Prague {
        let hash = store.insert_code(vec![0].into());
        balustrade::exec::block::system::SYSTEM_CONTRACTS
            .iter()
            .for_each(|contract| store.insert_account(*contract, 1, U256::ZERO, hash, []));
    }
    let slots = slots.iter().map(|(key, value)| (U256::from(*key), U256::from(*value)));
    store.insert_account(destination, 0, U256::ONE, KECCAK_EMPTY, slots);
    let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");

    let transaction = Call { nonce: 0, gas: 2_000_000, to, value: 0, data: init }.sign(&secret(0));
    let mut executor = Executor::new(2).expect("threads");
    let built =
        executor.build(rules, &template(rules.fork), &[transaction], &store, &mut tries).expect("a valid transaction");
    let mut first: Option<Created> = None;
    for mode in [Mode::Sequential, Mode::Bal, Mode::Optimistic] {
        for loop_kind in LoopKind::ALL {
            let input = BlockInput::new(rules, built.block.clone()).with_list(built.bal.clone());
            let options = Options::new(mode).with_loop(loop_kind);
            let outcome = executor.execute(&input, &store, Some(&mut tries), options).expect("valid");
            tries.rollback();
            let mut after = store.clone();
            outcome.changes.apply_to(&mut after);
            let root = StateTries::from_memory(&after).expect("a state in memory has a trie").root();
            assert_eq!(Some(root), outcome.state_root, "{mode:?}, {loop_kind:?}");
            match &first {
                None => first = Some(Created { outcome, after }),
                Some(first) => {
                    assert_eq!(outcome.changes, first.outcome.changes, "{mode:?}, {loop_kind:?}");
                    assert_eq!(outcome.bal, first.outcome.bal, "{mode:?}, {loop_kind:?}");
                    assert_eq!(outcome.gas, first.outcome.gas, "{mode:?}, {loop_kind:?}");
                }
            }
        }
    }
    first.expect("at least one mode")
}

impl Created {
    /// Nonce, length of the code and the first three slots of an account; `None` if it does not exist.
    fn account(&self, address: Address) -> Option<(u64, usize, [u64; 3])> {
        let account = self.after.account(&address)?;
        let code = self.after.code(&account.code_hash).map_or(0, |code| code.len());
        let slot = |key: usize| account.storage.get(&U256::from(key)).map_or(0, |value| value.to());
        Some((account.nonce, code, core::array::from_fn(slot)))
    }
}

/// Rules of a fork that has PUSH0, which the initcode uses, with EIP-7610 or without it.
fn rules(fork: Fork, storage_collision: bool) -> ChainRules {
    ChainRules { storage_collision, ..ChainRules::mainnet(fork) }
}

const STORAGE: [(u64, u64); 2] = [(0, 5), (1, 7)];

#[test]
fn storage_is_a_collision_with_the_rule() {
    for fork in [Fork::Shanghai, Fork::Cancun, Fork::Osaka, Fork::Amsterdam] {
        for (way, to, destination) in ways(INIT) {
            let created = create(&rules(fork, true), INIT, to, destination, &STORAGE);
            assert_eq!(created.account(destination), Some((0, 0, [5, 7, 0])), "{fork:?}, {way}");
            assert_eq!(created.outcome.transactions[0].success, to.is_some(), "{fork:?}, {way}");
            if let Some(factory) = to {
                assert_eq!(created.account(factory).map(|(nonce, _, slots)| (nonce, slots[0])), Some((2, 0)), "{way}");
            }
        }
    }
}

#[test]
fn storage_is_kept_without_the_rule() {
    for fork in [Fork::Shanghai, Fork::Cancun, Fork::Osaka, Fork::Amsterdam] {
        for (way, to, destination) in ways(INIT) {
            let created = create(&rules(fork, false), INIT, to, destination, &STORAGE);
            assert_eq!(created.account(destination), Some((1, 1, [9, 7, 5])), "{fork:?}, {way}");
            assert!(created.outcome.transactions[0].success, "{fork:?}, {way}");
        }
    }
}

/// SSTORE takes zero as the original value of each slot (`get_storage_original` of the executable specification). So
/// the two writes together cost the same as without storage: there the first is a no-op and the second sets a slot;
/// here the first sets a slot and the second does not change an original value.
#[test]
fn kept_storage_is_priced_as_if_it_had_been_empty() {
    for fork in [Fork::Shanghai, Fork::Cancun, Fork::Osaka, Fork::Amsterdam] {
        for (way, to, destination) in ways(INIT) {
            let with = create(&rules(fork, false), INIT, to, destination, &STORAGE);
            let without = create(&rules(fork, false), INIT, to, destination, &[]);
            assert_eq!(with.outcome.gas, without.outcome.gas, "{fork:?}, {way}");
        }
    }
}

/// EIP-8246 keeps the account and its balance; the writes of the destroyed contract are undone.
#[test]
fn kept_storage_remains_after_the_contract_destroys_itself() {
    for (way, to, destination) in ways(INIT_DESTROYED) {
        let created = create(&rules(Fork::Amsterdam, false), INIT_DESTROYED, to, destination, &STORAGE);
        assert_eq!(created.account(destination), Some((0, 0, [5, 7, 0])), "{way}");
        assert!(created.outcome.transactions[0].success, "{way}");
    }
}

#[test]
fn an_account_with_a_balance_alone_never_collides() {
    for storage_collision in [false, true] {
        for (way, to, destination) in ways(INIT) {
            let created = create(&rules(Fork::Amsterdam, storage_collision), INIT, to, destination, &[]);
            assert_eq!(created.account(destination), Some((1, 1, [9, 0, 0])), "{way}");
        }
    }
}
