//! Execution time of a whole block, from its raw bytes to the last check, in each mode, on one thread and two.
//!
//! In: a block of the chain that `balustrade run` generates: 330 transactions, about 30 Mgas, sealed here.
//! Out: first a table in which the modes take turns, with medians and ratios to sequential mode on one thread; then
//! criterion's figures. The time is `BlockOutcome::elapsed_ns`; the rollback between repetitions is not measured.

use balustrade::arena::store::MemoryStore;
use balustrade::exec::rules::fork::ChainRules;
use balustrade::exec::wire::Header;
use balustrade::executor::BuiltBlock;
use balustrade::trie::StateTries;
use balustrade::{Binding, BlockInput, Executor, Mode, Options};
use balustrade_cli::devnet::Devnet;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MODES: [Mode; 3] = [Mode::Sequential, Mode::Optimistic, Mode::Bal];
/// Measured executions of each mode and thread count in the table.
const ROUNDS: usize = 31;

/// A block with its parent state.
struct Bed {
    rules: ChainRules,
    parent: Header,
    store: MemoryStore,
    tries: StateTries,
    built: BuiltBlock,
}

impl Bed {
    fn new() -> Self {
        let mut devnet = Devnet::default();
        let rules = Devnet::rules();
        let mut store = devnet.genesis_state();
        let mut tries = StateTries::from_memory(&store).expect("a state");
        let parent = Devnet::genesis_header(tries.root());
        store.insert_block_hash(0, parent.hash());
        let template = Devnet::template(&parent);
        let transactions = devnet.transactions(template.base_fee.expect("London"));
        let mut executor = Executor::new(1).expect("a thread");
        let built = executor.build(&rules, &template, &transactions, &store, &mut tries).expect("valid transactions");
        Self { rules, parent, store, tries, built }
    }

    /// Executes the block and rolls it back; returns `BlockOutcome::elapsed_ns`.
    fn run(&mut self, executor: &mut Executor, mode: Mode) -> Duration {
        let BuiltBlock { block, bal, .. } = &self.built;
        let mut input = BlockInput::new(&self.rules, block.clone()).with_parent(&self.parent);
        if mode == Mode::Bal {
            input = input.with_list(bal.clone());
        }
        let outcome = executor.execute(&input, &self.store, Some(&mut self.tries), Options::new(mode));
        let outcome = outcome.expect("a valid block");
        assert_eq!(outcome.hash, self.built.header.hash());
        self.tries.rollback();
        Duration::from_nanos(outcome.elapsed_ns)
    }
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Bound to processors: see [`Binding`].
fn executor(threads: usize) -> Executor {
    Executor::builder().threads(threads).binding(Binding::OneEach).build().expect("threads")
}

/// Measures all modes in turns on one thread and two, and prints the table.
fn compare(bed: &mut Bed) {
    let mut executors = [1, 2].map(executor);
    let mut times = vec![Vec::new(); MODES.len() * executors.len()];
    // The first three rounds are not counted: codes are analysed after a few runs.
    for round in 0..ROUNDS + 3 {
        for (i, executor) in executors.iter_mut().enumerate() {
            for (j, mode) in MODES.into_iter().enumerate() {
                let time = bed.run(executor, mode);
                if round >= 3 {
                    times[i * MODES.len() + j].push(time);
                }
            }
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median_ms).collect();
    let gas = bed.built.header.gas_used as f64;
    println!("{:>12} {:>8} {:>10} {:>10} {:>18}", "mode", "threads", "ms", "Ggas/s", "vs sequential, 1");
    for (row, ms) in medians.iter().enumerate() {
        let (mode, threads) = (MODES[row % MODES.len()].name(), executors[row / MODES.len()].threads());
        println!("{mode:>12} {threads:>8} {ms:>10.3} {:>10.2} {:>17.2}x", gas / ms / 1e6, medians[0] / ms);
    }
}

fn bench(criterion: &mut Criterion) {
    let mut bed = Bed::new();
    // `cargo bench` passes --bench; under `cargo test` one run of each is enough.
    let is_test = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    if !is_test && !std::env::args().any(|arg| arg == "--profile-time") {
        compare(&mut bed);
    }
    let mut group = criterion.benchmark_group("block");
    for threads in [1, 2] {
        let mut executor = executor(threads);
        for mode in MODES {
            group.bench_function(format!("{}/{threads}", mode.name()), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| bed.run(&mut executor, mode)).sum());
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = bench
}
criterion_main!(benches);
