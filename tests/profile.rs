//! The instruction profile: counts and gas are exact in every mode, in every dispatch loop and for any number of
//! threads; the time of a call excludes the time of the called frame.

mod signed;

use alloy_primitives::{Address, Bytes, U256};
use balustrade::arena::store::MemoryStore;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::interpreter::opcode::op;
use balustrade::exec::interpreter::profile::{OUTSIDE, PrecompileRow, Row, WorkerProfile};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, BlockOutcome, Executor, Mode, Options};
use balustrade_cli::testing::template;
use signed::{Call, fund, secret};
use std::collections::BTreeMap;

const CALLER: Address = Address::repeat_byte(0xca);
const CALLEE: Address = Address::repeat_byte(0xce);
const FAILING: Address = Address::repeat_byte(0xfa);
const SENDERS: u64 = 12;
const GAS: u64 = 1_000_000;
/// Rounds of the callee's loop.
const TURNS: u64 = 2_000;

/// Calls the callee with all gas, then SHA256 of 64 bytes, then ends.
fn caller_code() -> Vec<u8> {
    let mut code = vec![op::PUSH0; 5];
    code.push(op::PUSH0 + 20);
    code.extend(CALLEE);
    code.extend([op::GAS, op::CALL, op::POP]);
    // output 32 at 0, input 64 at 0, address 2
    code.extend([op::PUSH1, 32, op::PUSH0, op::PUSH1, 64, op::PUSH0, op::PUSH1, 2, op::GAS, op::STATICCALL, op::STOP]);
    code
}

/// Counts down from [`TURNS`] to zero.
fn callee_code() -> Vec<u8> {
    let mut code = vec![op::PUSH1 + 1];
    code.extend((TURNS as u16).to_be_bytes());
    // At position 3: JUMPDEST, subtract one, jump back unless zero.
    code.extend([op::JUMPDEST, op::PUSH1, 1, op::SWAP1, op::SUB, op::DUP1, op::PUSH1, 3, op::JUMPI, op::STOP]);
    code
}

struct World {
    rules: ChainRules,
    store: MemoryStore,
    tries: StateTries,
    block: Bytes,
    bal: Bytes,
}

impl World {
    /// A block in which each sender calls one of the contracts.
    fn new() -> Self {
        let rules = ChainRules::mainnet(Fork::Cancun);
        let mut store = MemoryStore::default();
        fund(&mut store, SENDERS);
        // INVALID uses all remaining gas.
        for (address, code) in [(CALLER, caller_code()), (CALLEE, callee_code()), (FAILING, vec![op::PUSH0, 0xfe])] {
            let hash = store.insert_code(code.into());
            store.insert_account(address, 1, U256::ZERO, hash, []);
        }
        let mut tries = StateTries::from_memory(&store).expect("a state in memory has a trie");
        let to = |index| if index % 4 == 3 { FAILING } else { CALLER };
        let call = |index| Call { nonce: 0, gas: GAS, to: Some(to(index)), value: 0, data: &[] };
        let transactions: Vec<_> = (0..SENDERS).map(|index| call(index).sign(&secret(index))).collect();
        let template = Header { coinbase: Address::repeat_byte(0xfe), ..template(Fork::Cancun) };
        let mut executor = Executor::new(1).expect("a thread");
        let built = executor.build(&rules, &template, &transactions, &store, &mut tries).expect("valid transactions");
        Self { rules, store, tries, block: built.block, bal: built.bal }
    }

    fn execute(&mut self, executor: &mut Executor, mode: Mode, loop_kind: LoopKind) -> BlockOutcome {
        let mut input = BlockInput::new(&self.rules, self.block.clone());
        if mode == Mode::Bal {
            input = input.with_list(self.bal.clone());
        }
        let options = Options::new(mode).with_loop(loop_kind);
        let outcome = executor.execute(&input, &self.store, Some(&mut self.tries), options).expect("a valid block");
        self.tries.rollback();
        outcome
    }
}

/// Sums over all workers: rows of opcodes and [`OUTSIDE`], rows of precompiles, burned gas.
fn merged(workers: &[WorkerProfile]) -> (Vec<Row>, Vec<PrecompileRow>, u64) {
    let mut rows = vec![Row::default(); OUTSIDE + 1];
    let mut precompiles: Vec<PrecompileRow> = Vec::new();
    for worker in workers {
        rows.iter_mut().zip(worker.opcodes.rows()).for_each(|(sum, row)| sum.add(row));
        for row in worker.precompiles.rows() {
            match precompiles.iter_mut().find(|sum| sum.number == row.number) {
                Some(sum) => {
                    sum.row.add(&row.row);
                    sum.failed += row.failed;
                }
                None => precompiles.push(row),
            }
        }
    }
    (rows, precompiles, workers.iter().map(|worker| worker.opcodes.burned_gas()).sum())
}

/// Sums over all workers by contract, ordered by address.
fn contracts(workers: &[WorkerProfile]) -> Vec<(Address, Row)> {
    let mut sums: BTreeMap<Address, Row> = BTreeMap::new();
    for row in workers.iter().flat_map(|worker| worker.opcodes.contracts()) {
        sums.entry(row.address).or_default().add(&row.row);
    }
    sums.into_iter().collect()
}

/// Counts and gas, which do not depend on time.
fn exact(rows: &[Row]) -> Vec<(u64, u64)> {
    rows.iter().map(|row| (row.count, row.gas)).collect()
}

#[test]
fn counts_and_gas_are_exact_on_every_loop_in_every_mode_on_any_number_of_threads() {
    let mut world = World::new();
    let callers = SENDERS - SENDERS / 4;
    let mut first = None;
    for loop_kind in LoopKind::ALL {
        for (mode, threads) in
            [(Mode::Sequential, 1), (Mode::Bal, 1), (Mode::Bal, 2), (Mode::Bal, 3), (Mode::Optimistic, 2)]
        {
            let mut executor = Executor::new(threads).expect("threads");
            let plain = world.execute(&mut executor, mode, loop_kind);
            executor.start_profile(true);
            let outcome = world.execute(&mut executor, mode, loop_kind);
            let workers = executor.take_profile();
            let (rows, precompiles, burned) = merged(&workers);
            assert!(executor.take_profile().is_empty(), "a profile is taken once");
            assert_eq!((plain.hash, plain.gas), (outcome.hash, outcome.gas), "profiling does not change the outcome");
            // A repeated run of a transaction counts again.
            if outcome.speculation.is_some_and(|speculation| speculation.re_executions > 0) {
                continue;
            }
            let name = format!("{} {mode:?} {threads}", loop_kind.name());
            assert_eq!(rows[usize::from(op::CALL)].count, callers, "{name}");
            assert_eq!(rows[usize::from(op::STATICCALL)].count, callers, "{name}");
            assert_eq!(rows[usize::from(op::JUMPI)].count, callers * TURNS, "{name}");
            assert_eq!(rows[usize::from(op::JUMPI)].gas, callers * TURNS * 10, "{name}");
            // A cold account; a warm precompile and two words of memory. Without the gas of the called frames.
            assert_eq!(rows[usize::from(op::CALL)].gas, callers * 2_600, "{name}");
            assert_eq!(rows[usize::from(op::STATICCALL)].gas, callers * (100 + 6), "{name}");
            let [sha] = precompiles.as_slice() else { panic!("{name}: {precompiles:?}") };
            assert_eq!((sha.number, sha.row.count, sha.row.gas, sha.failed), (2, callers, callers * (60 + 24), 0));
            // The sum is the gas that the senders paid, without the intrinsic gas. Loops differ in the gas that a
            // halting instruction has charged before it halts.
            let spent: u64 = rows.iter().map(|row| row.gas).sum::<u64>() + sha.row.gas + burned;
            let paid: u64 = outcome.transactions.iter().map(|transaction| transaction.gas_paid - 21_000).sum();
            assert_eq!(spent, paid, "{name}");
            let contracts = contracts(&workers);
            let frames: Vec<_> = contracts.iter().map(|(address, row)| (*address, row.count)).collect();
            assert_eq!(frames, [(CALLER, callers), (CALLEE, callers), (FAILING, SENDERS / 4)], "{name}");
            assert_eq!(contracts.iter().map(|(_, row)| row.gas).sum::<u64>(), paid, "{name}");
            assert_eq!(contracts[2].1.gas, SENDERS / 4 * (GAS - 21_000), "a halt burns all gas; {name}");
            let mut exact = exact(&rows);
            exact[0xfe].1 = 0;
            assert_eq!(first.get_or_insert_with(|| exact.clone()), &exact, "{name}");
        }
    }
}

#[test]
fn the_time_of_a_call_excludes_the_called_frame() {
    let mut world = World::new();
    for loop_kind in [LoopKind::Tail, LoopKind::Match, LoopKind::Reference] {
        let mut executor = Executor::new(1).expect("a thread");
        executor.start_profile(true);
        world.execute(&mut executor, Mode::Bal, loop_kind);
        let workers = executor.take_profile();
        let (rows, precompiles, _) = merged(&workers);
        let [(_, caller), (_, called), _] = contracts(&workers).try_into().expect("three contracts");
        assert!(caller.ticks < called.ticks, "{}: {} {}", loop_kind.name(), caller.ticks, called.ticks);
        // What the contracts took is what their instructions and precompiles took.
        let all: u64 = rows[..OUTSIDE].iter().map(|row| row.ticks).sum::<u64>() + precompiles[0].row.ticks;
        let outside = rows[OUTSIDE].ticks;
        let of_contracts: u64 = contracts(&workers).iter().map(|(_, row)| row.ticks).sum();
        assert!((all..=all + outside).contains(&of_contracts), "{of_contracts} of {all} and {outside}");
        let ticks = |opcode: u8| rows[usize::from(opcode)].ticks;
        let callee: u64 = [op::JUMPDEST, op::PUSH1, op::SWAP1, op::SUB, op::DUP1, op::JUMPI].map(ticks).iter().sum();
        assert!(ticks(op::CALL) < callee / 4, "{}: {} of {callee}", loop_kind.name(), ticks(op::CALL));
        assert!(precompiles[0].row.ticks > 0);
        let readings: u64 = rows.iter().map(|row| row.readings).sum();
        let count: u64 = rows.iter().map(|row| row.count).sum();
        assert!(readings >= count, "{readings} {count}");
    }
}

#[test]
fn an_untimed_profile_measures_nothing() {
    let mut world = World::new();
    for loop_kind in LoopKind::ALL {
        let mut executor = Executor::new(2).expect("threads");
        executor.start_profile(false);
        world.execute(&mut executor, Mode::Bal, loop_kind);
        let workers = executor.take_profile();
        assert_eq!(workers.len(), 2);
        assert!(workers.iter().all(|worker| worker.opcodes.rows().iter().all(|row| *row == Row::default())));
    }
}
