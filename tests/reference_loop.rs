//! Our dispatch loops against the reference loop.

mod differential;

use alloy_primitives::{Address, Bytes, U256, bytes};
use balustrade::exec::fork::Fork;
use balustrade::exec::reference::run_frames;
use differential::world::{Account, Entry, Outcome, Scenario, execute};
use std::collections::BTreeMap;

const TARGET: Address = Address::repeat_byte(0xaa);

/// A call to `code` with a million gas.
fn run(fork: Fork, code: &Bytes) -> Outcome {
    let account = Account { nonce: 1, balance: U256::from(1_000), code: code.clone(), storage: BTreeMap::new() };
    let scenario = Scenario {
        fork,
        accounts: BTreeMap::from([(TARGET, account)]),
        entry: Entry::Call(TARGET),
        value: U256::ZERO,
        input: bytes!("0102"),
        gas: 1_000_000,
        reservoir: 0,
        access_list: Vec::new(),
        faulty: None,
    };
    execute(&scenario, &mut |evm| run_frames(evm))
}

/// Gas used by the first frame.
fn used(outcome: &Outcome) -> u64 {
    1_000_000 - outcome.left
}

#[test]
fn a_first_sstore_costs_what_each_fork_says() {
    // PUSH1 1 PUSH1 0 SSTORE, then the same slot back to 0.
    let (set, clear) = (bytes!("6001600055"), bytes!("60016000556000600055"));
    let costs = [
        (Fork::Frontier, 20_006, 5_006, 15_000),
        (Fork::Constantinople, 20_006, 206, 19_800),
        (Fork::Petersburg, 20_006, 5_006, 15_000),
        (Fork::Istanbul, 20_006, 806, 19_200),
        (Fork::Berlin, 22_106, 106, 19_900),
        (Fork::Amsterdam, 12_106 + 97_920, 106 - 97_920, 10_000),
    ];
    for (fork, first, second, refund) in costs {
        let outcome = run(fork, &set);
        assert_eq!((outcome.status, used(&outcome) as i64), ("success", first), "{fork:?}");
        let outcome = run(fork, &clear);
        assert_eq!((used(&outcome) as i64, outcome.gas.refund), (first + second, refund), "{fork:?}");
        assert_eq!(outcome.gas.state_used, 0, "{fork:?}");
    }
}

#[test]
fn calldata_memory_and_return_data_pass_between_frames() {
    // The identity precompile copies calldata's first byte back; then the whole is returned.
    // CALLDATACOPY(0, 0, 2) STATICCALL(gas, 4, 0, 2, 32, 1) RETURN(0, 64)
    let code = bytes!("60026000600037600160206002600060045afa5060406000f3");
    let outcome = run(Fork::Cancun, &code);
    assert_eq!(outcome.status, "success");
    let mut expected = [0; 64];
    (expected[0], expected[1], expected[32]) = (1, 2, 1);
    assert_eq!(outcome.output, expected);
}

#[test]
fn random_programs_run_alike_on_every_loop() {
    for seed in 0..1_500 {
        if let Err(divergence) = differential::check(&differential::random_bytes(seed, 3_000)) {
            let divergence = differential::shrink(divergence);
            panic!("seed {seed}: {:#?}\n{}", divergence.scenario, divergence.what);
        }
    }
}
