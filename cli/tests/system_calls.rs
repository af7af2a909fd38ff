//! System calls: which addresses and slots are warm when each begins, and what one call leaves for
//! the next (EIP-2929, EIP-1153).

#[path = "../../tests/hostile/list.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses a part of it")]
mod list;

use alloy_primitives::{Address, U256, hex, keccak256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::block::system::{
    BEACON_ROOTS, BUILDER_DEPOSITS, BUILDER_EXITS, CONSOLIDATION_REQUESTS, HISTORY_STORAGE, SYSTEM_CONTRACTS,
    WITHDRAWAL_REQUESTS,
};
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::executor::Body;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, Executor, Mode, Options};
use balustrade_cli::testing::shared;
use list::{Account, encode};
use std::process::Command;

const COINBASE: Address = Address::repeat_byte(0xcb);
const SYSTEM_ADDRESS: Address = Address::new(hex!("fffffffffffffffffffffffffffffffffffffffe"));
const IDENTITY: Address = Address::with_last_byte(4);
const STRANGER: Address = Address::repeat_byte(0x77);

/// Slots in which a measuring contract stores its results.
#[derive(Clone, Copy)]
enum Found {
    Precompile,
    Coinbase,
    Caller,
    Itself,
    Stranger,
    Slot,
    Transient,
}

/// Code that stores the gas of the first access to several accounts and a slot, and the value of a
/// transient slot, which it then sets.
fn measuring_code(itself: Address) -> Vec<u8> {
    let mut code = Vec::new();
    let mut measure = |found: Found, access: &[u8]| {
        code.push(0x5a);
        code.extend(access);
        // POP GAS SWAP1 SUB PUSH1 found SSTORE
        code.extend([0x50, 0x5a, 0x90, 0x03, 0x60, found as u8, 0x55]);
    };
    let balance_of = |address: Address| [&[0x73], address.as_slice(), &[0x31]].concat();
    measure(Found::Precompile, &balance_of(IDENTITY));
    measure(Found::Coinbase, &balance_of(COINBASE));
    measure(Found::Caller, &balance_of(SYSTEM_ADDRESS));
    measure(Found::Itself, &balance_of(itself));
    measure(Found::Stranger, &balance_of(STRANGER));
    measure(Found::Slot, &[0x60, 0xff, 0x54]);
    // SSTORE(found, TLOAD(1) + 1); TSTORE(1, 1)
    code.extend([0x60, 1, 0x5c, 0x60, 1, 0x01, 0x60, Found::Transient as u8, 0x55, 0x60, 1, 0x60, 1, 0x5d, 0x00]);
    code
}

/// Gas of the GAS, PUSH and POP instructions around a measured access.
const AROUND: u64 = 2 + 3 + 2;

/// The results that a system call of this fork must store, in the order of [`Found`].
fn expected(fork: Fork) -> [u64; 7] {
    let (cold, warm) = if fork >= Fork::Amsterdam { (3_000, 100) } else { (2_600, 2_600) };
    let [warm, cold, slot] = [warm, cold, 2_100].map(|access| access + AROUND);
    [warm, warm, warm, warm, cold, slot, 1]
}

fn called(fork: Fork) -> &'static [Address] {
    match fork {
        Fork::Cancun => &[BEACON_ROOTS],
        Fork::Prague | Fork::Osaka => &[BEACON_ROOTS, HISTORY_STORAGE, WITHDRAWAL_REQUESTS, CONSOLIDATION_REQUESTS],
        _ => &[
            BEACON_ROOTS,
            HISTORY_STORAGE,
            WITHDRAWAL_REQUESTS,
            CONSOLIDATION_REQUESTS,
            BUILDER_DEPOSITS,
            BUILDER_EXITS,
        ],
    }
}

/// The header of an empty block of this fork.
fn template(fork: Fork) -> Header {
    Header { coinbase: COINBASE, ..balustrade_cli::testing::template(fork) }
}

#[test]
fn each_call_begins_with_the_accessed_sets_of_its_fork() {
    for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka, Fork::Amsterdam] {
        let rules = ChainRules::mainnet(fork);
        let mut store = MemoryStore::default();
        store.insert_account(STRANGER, 0, U256::ONE, KECCAK_EMPTY, []);
        for contract in SYSTEM_CONTRACTS {
            let hash = store.insert_code(measuring_code(contract).into());
            store.insert_account(contract, 1, U256::ZERO, hash, []);
        }
        let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
        let mut executor = Executor::new(2).expect("threads");
        // A withdrawal touches a precompile in the same task before the system calls.
        let withdrawals = [withdrawal_to(IDENTITY)];
        let body = Body { transactions: &[], withdrawals: &withdrawals };
        let built = executor.build_body(&rules, &template(fork), body, &store, &mut tries, None).expect("valid");
        for mode in [Mode::Bal, Mode::Sequential, Mode::Optimistic] {
            for loop_kind in LoopKind::ALL {
                let input = BlockInput::new(&rules, built.block.clone()).with_list(built.bal.clone());
                let options = Options::new(mode).with_loop(loop_kind);
                let outcome = executor.execute(&input, &store, Some(&mut tries), options).expect("valid");
                tries.rollback();
                let mut after = store.clone();
                outcome.changes.apply_to(&mut after);
                for contract in called(fork) {
                    let account = after.account(contract).expect("there");
                    let found = core::array::from_fn(|slot| {
                        account.storage.get(&U256::from(slot)).map_or(0, |value| value.to::<u64>())
                    });
                    assert_eq!(found, expected(fork), "{fork:?}, {mode:?}, {loop_kind:?}, {contract}");
                }
            }
        }
    }
}

/// RLP of a withdrawal of one gwei.
fn withdrawal_to(address: Address) -> Vec<u8> {
    [&[0xd8, 0x80, 0x80, 0x94], address.as_slice(), &[0x01]].concat()
}

/// In this case the first system contract touches a precompile. The second measures the cost of
/// accessing that one, another precompile, the coinbase, the caller and itself, and stores the gas
/// price. The header commits to a block access list that was made with cold prices (3,007 gas).
#[test]
#[ignore = "needs ../shared/cases"]
fn a_list_made_with_cold_prices_is_refused_in_every_mode() {
    let case = shared("cases/syswarm.json.gz");
    let touched = [Address::with_last_byte(2), Address::with_last_byte(3), COINBASE, SYSTEM_ADDRESS];
    let mut accounts: Vec<Account> = touched.into_iter().chain(SYSTEM_CONTRACTS).map(Account::bare).collect();
    accounts.sort_by_key(|account| account.address);
    let measured = accounts.iter_mut().find(|account| account.address == HISTORY_STORAGE).expect("listed");
    let warm = U256::from(100 + AROUND);
    let base_fee = U256::from(7);
    let values = [warm, warm, warm, warm, warm, base_fee];
    measured.changes = (0..).map(U256::from).zip(values.map(|value| vec![(0, value)])).collect();
    let produced = format!("block access list hash {}", keccak256(encode(&accounts)));
    for mode in ["sequential", "optimistic", "all"] {
        let output = Command::new(env!("CARGO_BIN_EXE_balustrade"))
            .args(["run", "--mode", mode, "--json", case.to_str().expect("text")])
            .output()
            .expect("the command starts");
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(1), "{mode}: {text}");
        assert!(text.contains(&produced), "{mode}: {produced}, {text}");
    }
}
