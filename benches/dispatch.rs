//! Time of each dispatch loop on each kind of instruction.
//!
//! Whole transactions over small synthetic programs, one group per program, one line per loop. `bench loop` measures
//! the same on larger workload files. Under `cargo test` each line runs once.

use alloy_primitives::Bytes;
use balustrade::exec::interpreter::LoopKind;
use balustrade_cli::measure::workload::{Workload, with_runner};
use criterion::{Criterion, criterion_group, criterion_main};

/// A loop of 1,000 rounds over `body` (hex). The body finds the counter on top and leaves the stack height unchanged.
fn program(name: &str, body: &str) -> Workload {
    let code = format!("6103e85b{body}600190038060035700");
    Workload {
        name: name.to_owned(),
        group: "dispatch".to_owned(),
        code: code.parse().expect("hex"),
        calldata: Bytes::new(),
        gas: 1_000_000_000,
        accounts: Vec::new(),
    }
}

fn dispatch(criterion: &mut Criterion) {
    let workloads = [
        // PUSH1 7 DUP2 ADD POP, eight times.
        program("arithmetic", &"6007810150".repeat(8)),
        // PUSH1 7 DUP2 SWAP1 POP POP, eight times.
        program("stack", &"600781905050".repeat(8)),
        // DUP1 PUSH1 64 MSTORE PUSH1 64 MLOAD POP, eight times.
        program("memory", &"8060405260405150".repeat(8)),
        // PUSH1 3 SLOAD POP, four times.
        program("storage read", &"60035450".repeat(4)),
        // DUP1 PUSH1 3 SSTORE.
        program("storage write", "80600355"),
        // PUSH1 0 four times, PUSH1 0x99, PUSH2 1000, STATICCALL, POP: an account without code.
        program("call", "600060006000600060996103e8fa50"),
    ];
    for workload in &workloads {
        let mut group = criterion.benchmark_group(&workload.name);
        for kind in LoopKind::ALL {
            let measured = with_runner(workload, kind, |run| {
                group.bench_function(kind.name(), |bencher| bencher.iter(|| run(false)));
                run(true)
            });
            let result = measured.expect("the program runs");
            assert!(result.success);
        }
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
