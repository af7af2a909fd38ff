//! Our dispatch loops agree with the reference loop.

mod differential;

use alloy_primitives::{Address, Bytes, U256, bytes};
use balustrade::exec::evm::halt::{Fault, Halt};
use balustrade::exec::evm::machine::{Evm, FrameEnd};
use balustrade::exec::interpreter::observe::{Observer, StepView};
use balustrade::exec::interpreter::reference::{run_frames, run_frames_observed};
use balustrade::exec::interpreter::trace::Eip3155;
use balustrade::exec::interpreter::{self, LoopKind};
use balustrade::exec::rules::fork::Fork;
use differential::world::{Account, Entry, Outcome, Scenario, execute};
use std::collections::BTreeMap;

const TARGET: Address = Address::repeat_byte(0xaa);

/// The outcome of a call of `code` with a million gas.
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
        work_before: 0,
        reached_before: 0,
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
    // The identity precompile returns the first byte of the calldata; then all 64 bytes of memory are returned.
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

/// An observer that records the greatest call depth.
struct Deepest(usize);

impl Observer for Deepest {
    const ON: bool = true;
    fn step(&mut self, _: &Evm<'_>, _: &StepView<'_>) {}
    fn step_end(&mut self, _: &Evm<'_>, _: u64, _: Option<Halt>) {}
    fn enter(&mut self, evm: &Evm<'_>) {
        self.0 = self.0.max(evm.depth());
    }
    fn leave(&mut self, _: &Evm<'_>, _: &FrameEnd) {}
}

#[test]
fn the_1024th_frame_is_the_last_on_every_loop() {
    let calls = [
        // CALL(gas - 100, self, 0, 0, 0, 0, 0), and a CREATE of the code itself.
        bytes!("600060006000600060003060645a03f1"),
        bytes!("3860006000393860006000f0"),
    ];
    for fork in [Fork::Frontier, Fork::Homestead, Fork::Byzantium, Fork::Osaka, Fork::Amsterdam] {
        for code in &calls {
            let account = Account { nonce: 1, balance: U256::from(5), code: code.clone(), storage: BTreeMap::new() };
            let scenario = Scenario {
                fork,
                accounts: BTreeMap::from([(TARGET, account)]),
                entry: Entry::Call(TARGET),
                value: U256::ZERO,
                input: Bytes::new(),
                gas: 1_000_000_000_000_000,
                reservoir: 1_000_000_000,
                access_list: Vec::new(),
                work_before: 0,
                reached_before: 0,
                faulty: None,
            };
            if let Err(divergence) = differential::compare(&scenario, true) {
                panic!("{fork:?}: {}", divergence.what);
            }
            let mut deepest = Deepest(0);
            let outcome = execute(&scenario, &mut |evm| run_frames_observed(evm, &mut deepest));
            // The first frame has depth 0, so that there are 1,025 frames.
            assert_eq!((outcome.status, deepest.0), ("success", 1_025), "{fork:?} {code}");
        }
    }
}

#[test]
fn a_fault_ends_every_frame() {
    // CALL of a contract that reads the balance of an account whose read fails.
    let outer = bytes!("6000600060006000600073bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb5af16001600055");
    let inner = bytes!("73cccccccccccccccccccccccccccccccccccccccc31");
    let account = |code| Account { nonce: 1, balance: U256::ZERO, code, storage: BTreeMap::new() };
    let scenario = Scenario {
        fork: Fork::Amsterdam,
        accounts: BTreeMap::from([(TARGET, account(outer)), (Address::repeat_byte(0xbb), account(inner))]),
        entry: Entry::Call(TARGET),
        value: U256::ZERO,
        input: Bytes::new(),
        gas: 1_000_000,
        reservoir: 0,
        access_list: Vec::new(),
        work_before: 0,
        reached_before: 0,
        faulty: Some(Address::repeat_byte(0xcc)),
    };
    let outcome = execute(&scenario, &mut |evm| run_frames(evm));
    assert_eq!((outcome.status, outcome.fault), ("fault", Some(Fault::Cancelled)));
    assert!(outcome.slots.is_empty(), "nothing ran after the fault");
}

/// EIP-3155 lines of a run, without the cost and the reason of a halting instruction, in which loops may differ.
fn trace(scenario: &Scenario, kind: LoopKind) -> Vec<String> {
    let mut tracer = Eip3155::new(Vec::new());
    execute(scenario, &mut |evm| interpreter::run_frames_observed(kind, evm, &mut tracer));
    let text = String::from_utf8(tracer.into_inner()).expect("a trace is text");
    let cut = |line: &str| match (line.contains("\"error\""), line.find(",\"gasCost\"")) {
        (true, Some(end)) => line[..end].to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(cut).collect()
}

#[test]
fn traces_are_the_same_text_on_every_loop() {
    for seed in 0..150 {
        let bytes = differential::random_bytes(seed, 1_500);
        let mut scenario = differential::scenario::scenario(&mut differential::scenario::Source(&bytes));
        scenario.gas = scenario.gas.min(100_000);
        scenario.faulty = None;
        let expected = trace(&scenario, LoopKind::Reference);
        for kind in LoopKind::ALL {
            assert_eq!(expected, trace(&scenario, kind), "seed {seed}, {kind:?}");
        }
    }
}
