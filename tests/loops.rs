//! All dispatch loops agree on random and hand-written programs, and need no native stack per instruction.

mod machine;

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::evm::call::{CallKind, CallRequest, Entered};
use balustrade::exec::evm::gas::TxGas;
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch, FrameEnd, Input, Status, TxEnv};
use balustrade::exec::evm::state::{StateScratch, TxState};
use balustrade::exec::interpreter::opcode;
use balustrade::exec::interpreter::trace::Eip3155;
use balustrade::exec::interpreter::{LoopKind, run_frames, run_frames_observed};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use machine::StoreBase;
use machine::programs::{Assembler, Rng};

const SENDER: Address = Address::repeat_byte(0x11);
const TARGET: Address = Address::repeat_byte(0x22);

/// The result of a call: how it ended, gas, output, logs, accessed accounts and slots, fault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    end: FrameEnd,
    gas: TxGas,
    output: Bytes,
    logs: Vec<(Address, Vec<B256>, Bytes)>,
    accounts: Vec<(Address, u64, U256, B256, u8)>,
    slots: Vec<(Address, U256, U256, u8)>,
    fault: Option<String>,
}

struct Call<'a> {
    fork: Fork,
    store: &'a MemoryStore,
    codes: &'a CodeArena,
    input: &'a [u8],
    gas: u64,
    reservoir: i64,
    value: U256,
}

impl Call<'_> {
    fn run(&self, drive: impl FnOnce(&mut Evm<'_>) -> FrameEnd) -> Outcome {
        let chain = ChainRules::mainnet(self.fork);
        let hashes = [B256::repeat_byte(1), B256::repeat_byte(2)];
        let block = BlockEnv {
            chain_id: 1,
            number: 300,
            timestamp: 1_700_000_000,
            coinbase: Address::repeat_byte(0xcb),
            gas_limit: 30_000_000,
            base_fee: 7,
            difficulty: U256::from(0x0dd1),
            blob_base_fee: U256::from(3),
            slot_number: 77,
        };
        let base = Box::new(StoreBase { store: self.store, codes: self.codes });
        let state = TxState::new(StateScratch::default(), None, base, self.codes, self.fork);
        let mut evm = Evm::new(EvmScratch::default(), &chain, &block, state);
        evm.tx = TxEnv { origin: SENDER, gas_price: U256::from(9), blob_hashes: &hashes, input: self.input };
        evm.gas = TxGas { reservoir: self.reservoir, ..TxGas::default() };
        let to = evm.state.account_id(&TARGET).expect("new addresses get ids");
        let code = evm.state.load(to).expect("loads").code;
        if self.fork >= Fork::Berlin {
            evm.state.warm(to);
        }
        let request = CallRequest {
            kind: CallKind::Call,
            gas: self.gas,
            to,
            code,
            value: self.value,
            input: Input::Tx,
            output: (0, 0),
            charged_new_account: false,
        };
        let end = match evm.enter_call(&request).expect("enters") {
            Entered::Frame => drive(&mut evm),
            Entered::Done(end) => end,
        };
        outcome(&evm, end)
    }
}

fn outcome(evm: &Evm<'_>, end: FrameEnd) -> Outcome {
    let state = &evm.state;
    let logs = (0..state.logs.len())
        .map(|index| {
            let (address, topics, data) = state.logs.get(index);
            (*address, topics.to_vec(), Bytes::copy_from_slice(data))
        })
        .collect();
    let mut accounts: Vec<_> = state
        .touched_accounts()
        .iter()
        .map(|id| {
            let row = state.row(*id);
            (state.address(*id), row.settled_nonce(), row.settled_balance(), state.codes.hash(row.code), row.flags)
        })
        .collect();
    let id_map = state.ids.get();
    let mut slots: Vec<_> = state
        .touched_slots()
        .iter()
        .map(|id| {
            let row = state.slot_row(*id);
            (id_map.addresses()[id_map.owners()[*id]], id_map.keys()[*id], row.value, row.flags)
        })
        .collect();
    accounts.sort();
    slots.sort();
    let output = Bytes::copy_from_slice(evm.return_data());
    Outcome { end, gas: evm.gas, output, logs, accounts, slots, fault: state.fault.as_ref().map(ToString::to_string) }
}

fn store_with(code: Bytes) -> MemoryStore {
    let mut store = MemoryStore::default();
    (0..300).for_each(|number| store.insert_block_hash(number, B256::from(U256::from(number + 1))));
    let hash = store.insert_code(code);
    store.insert_account(TARGET, 1, U256::from(1000), hash, []);
    store.insert_account(SENDER, 0, U256::from(10).pow(U256::from(20)), KECCAK_EMPTY, []);
    store
}

/// Runs `code` in every loop; asserts that all agree and returns the outcome.
fn run_code(fork: Fork, code: &[u8], input: &[u8], gas: u64) -> Outcome {
    let store = store_with(Bytes::copy_from_slice(code));
    let codes = CodeArena::default();
    let call = Call { fork, store: &store, codes: &codes, input, gas, reservoir: 0, value: U256::ZERO };
    let expected = call.run(|evm| run_frames(LoopKind::Match, evm));
    for kind in LoopKind::ALL {
        assert_eq!(call.run(|evm| run_frames(kind, evm)), expected, "{}", kind.name());
    }
    expected
}

fn trace(call: &Call<'_>, kind: LoopKind) -> String {
    let mut tracer = Eip3155::new(Vec::new());
    call.run(|evm| run_frames_observed(kind, evm, &mut tracer));
    String::from_utf8(tracer.into_inner()).expect("JSON is text")
}

#[test]
fn adds_and_returns() {
    // PUSH1 2 PUSH1 3 ADD PUSH0 MSTORE PUSH1 32 PUSH0 RETURN
    let outcome = run_code(Fork::Cancun, &hex!("60026003015f5260205ff3"), &[], 100);
    assert_eq!(outcome.end.status, Status::Success);
    assert_eq!(outcome.output, U256::from(5).to_be_bytes_vec());
    assert_eq!(outcome.end.left, 100 - 3 * 5 - 2 * 2 - 3);
}

#[test]
fn traces_each_instruction() {
    let store = store_with(Bytes::from_static(&hex!("6002600301")));
    let codes = CodeArena::default();
    let call = Call {
        fork: Fork::Cancun,
        store: &store,
        codes: &codes,
        input: &[],
        gas: 100,
        reservoir: 0,
        value: U256::ZERO,
    };
    let lines = trace(&call, LoopKind::Match);
    let line = lines.lines().nth(2).expect("three instructions and STOP");
    assert_eq!(
        line,
        "{\"pc\":4,\"op\":1,\"gas\":\"0x5e\",\"memSize\":0,\"depth\":1,\"refund\":0,\"stack\":[\"0x2\",\"0x3\"],\
         \"returnData\":\"0x\",\"gasCost\":\"0x3\",\"opName\":\"ADD\"}"
    );
    assert_eq!(lines.lines().count(), 4);
}

/// A random state: four contracts that call each other, and two accounts without code.
fn random_store(rng: &mut Rng) -> (MemoryStore, Vec<Address>) {
    let mut store = MemoryStore::default();
    (0..300).for_each(|number| store.insert_block_hash(number, B256::from(U256::from(number + 1))));
    let addresses: Vec<_> = [0x22, 0x33, 0x44, 0x55, 0x11, 0x99].into_iter().map(Address::repeat_byte).collect();
    for address in &addresses[..4] {
        let size = 40 + rng.below(300) as usize;
        let code = match rng.below(12) {
            0 => (0..size).map(|_| rng.next() as u8).collect(),
            _ => Assembler::program(rng, &addresses, size),
        };
        let code = if *address != TARGET && rng.chance(10) {
            // A delegation designator (EIP-7702); before Prague it is code that begins with an undefined opcode.
            [&hex!("ef0100")[..], rng.pick(&addresses).as_slice()].concat()
        } else {
            code
        };
        let code = if cfg!(miri) { without_divisions(code) } else { code };
        let hash = store.insert_code(code.into());
        let storage: Vec<_> =
            (0..6).filter(|_| rng.chance(40)).map(|key| (U256::from(key), U256::from(key + 1))).collect();
        store.insert_account(*address, 1, U256::from(rng.below(3000)), hash, storage);
    }
    store.insert_account(SENDER, 7, U256::from(10).pow(U256::from(20)), KECCAK_EMPTY, []);
    (store, addresses)
}

/// The code with additions instead of divisions: the library's divisions are inline assembly, which Miri cannot
/// execute.
fn without_divisions(mut code: Vec<u8>) -> Vec<u8> {
    let mut pc = 0;
    while let Some(op) = code.get_mut(pc) {
        pc += match *op {
            0x04..=0x09 => {
                *op = 0x01;
                1
            }
            0x60..=0x7f => 2 + usize::from(*op - 0x60),
            _ => 1,
        };
    }
    code
}

/// Prints the first difference between this loop's trace and the match loop's.
fn print_divergence(call: &Call<'_>, kind: LoopKind) {
    let (left, right) = (trace(call, kind), trace(call, LoopKind::Match));
    let mut before = std::collections::VecDeque::new();
    for (left, right) in left.lines().zip(right.lines()) {
        if left != right {
            before.iter().for_each(|line| println!("both  {line}"));
            println!("{:5} {left}\nmatch {right}", kind.name());
            return;
        }
        before.push_back(left.to_owned());
        if before.len() > 3 {
            before.pop_front();
        }
    }
}

/// Removes rows whose key the other side lacks.
fn keep_common<R, K: PartialEq>(left: &mut Vec<R>, right: &mut Vec<R>, key: impl Fn(&R) -> K) {
    left.retain(|row| right.iter().any(|other| key(other) == key(row)));
    right.retain(|row| left.iter().any(|other| key(other) == key(row)));
}

/// The loops to compare; `BALUSTRADE_LOOPS=tail,reference` selects some.
fn kinds() -> Vec<LoopKind> {
    match std::env::var("BALUSTRADE_LOOPS") {
        Ok(names) => names.split(',').filter_map(LoopKind::from_name).collect(),
        Err(_) => LoopKind::ALL.to_vec(),
    }
}

/// Runs one random state in every loop, in each fork, with ample and with short gas, often enough that code is decoded.
fn compare_random(seed: u64) -> (usize, usize) {
    let mut rng = Rng(seed);
    let (store, _) = random_store(&mut rng);
    let input: Vec<u8> = (0..rng.below(100)).map(|_| rng.next() as u8).collect();
    let fork = rng.pick(&Fork::ALL);
    let codes = CodeArena::default();
    let ample = 30_000 + rng.below(400_000);
    let reservoir = if fork >= Fork::Amsterdam && rng.chance(50) { 400_000 } else { 0 };
    let mut used = ample;
    let (mut runs, mut succeeded) = (0, 0);
    for round in 0..12 {
        // Little gas, so that the programs run out of it at different instructions.
        let gas = if round % 2 == 0 { ample } else { rng.below(used + 1) };
        let value = U256::from(if rng.chance(20) { 5 } else { 0 });
        let call = Call { fork, store: &store, codes: &codes, input: &input, gas, reservoir, value };
        let expected = call.run(|evm| run_frames(LoopKind::Match, evm));
        for kind in kinds() {
            let mut outcome = call.run(|evm| run_frames(kind, evm));
            if kind == LoopKind::Reference && matches!(expected.end.status, Status::Halt(_)) {
                // The reference checks gas before the stack and before the instruction's existence: any halt is
                // accepted.
                assert!(matches!(outcome.end.status, Status::Halt(_)));
                outcome.end.status = expected.end.status;
            }
            let mut expected = expected.clone();
            if kind == LoopKind::Reference && fork < Fork::Amsterdam {
                // Before EIP-7928 the accesses of an instruction that runs out of gas have no effect.
                keep_common(&mut outcome.accounts, &mut expected.accounts, |row| row.0);
                keep_common(&mut outcome.slots, &mut expected.slots, |row| (row.0, row.1));
            }
            if outcome != expected {
                print_divergence(&call, kind);
            }
            assert_eq!(outcome, expected, "seed {seed:#x}, {}, {}, gas {gas}, round {round}", fork.name(), kind.name());
            runs += 1;
        }
        if round == 0 {
            if expected.end.status == Status::Success {
                succeeded += 1;
            }
            used = ample - expected.end.left.min(ample);
        }
    }
    (runs, succeeded)
}

#[test]
fn random_programs_run_the_same_in_every_loop() {
    let cases: u64 = std::env::var("BALUSTRADE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let start: u64 = std::env::var("BALUSTRADE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut runs, mut succeeded) = (0, 0);
    for seed in start..start + cases {
        let (more_runs, more_succeeded) = compare_random(seed);
        runs += more_runs;
        succeeded += more_succeeded;
    }
    println!("{cases} programs, {succeeded} of them succeed with ample gas; {runs} runs compared");
    // With few cases all may fail.
    assert!(cases < 50 || succeeded as u64 > cases / 10, "most programs fail: they test too little");
}

/// The EIP-3155 traces of all loops are equal, line by line.
#[test]
fn random_programs_leave_the_same_trace_in_every_loop() {
    let mut lines = 0;
    for seed in 5_000..5_150 {
        let mut rng = Rng(seed);
        let (store, _) = random_store(&mut rng);
        let codes = CodeArena::default();
        // The reference refuses a call without enough gas at another point: the last line may differ.
        let fork = rng.pick(&Fork::ALL);
        let gas = 30_000 + rng.below(400_000);
        let call = Call { fork, store: &store, codes: &codes, input: &[1, 2, 3], gas, reservoir: 0, value: U256::ZERO };
        let expected = trace(&call, LoopKind::Match);
        for kind in LoopKind::ALL {
            let actual = trace(&call, kind);
            for (number, (left, right)) in actual.lines().zip(expected.lines()).enumerate() {
                let halted = |line: &str| line.contains("\"error\"");
                if halted(left) && halted(right) {
                    // The reference may report another reason and another cost for an instruction that halts.
                    continue;
                }
                assert_eq!(left, right, "seed {seed}, {}, {}, line {number}", fork.name(), kind.name());
            }
            assert_eq!(actual.lines().count(), expected.lines().count(), "seed {seed}, {}", kind.name());
        }
        lines += expected.lines().count();
    }
    assert!(lines > 5_000, "{lines} lines are too few to mean anything");
}

/// A loop that runs `body` about `rounds` times and pops the words that `body` leaves on the stack.
fn looped(body: &[u8], rounds: u32) -> Vec<u8> {
    let (mut left_over, mut at) = (0, 0);
    while let Some(byte) = body.get(at) {
        let info = opcode::TABLE[usize::from(*byte)];
        left_over += usize::from(info.outputs);
        left_over -= usize::from(info.inputs);
        at += 1 + usize::from(info.immediate);
    }
    let mut code = vec![0x63];
    code.extend_from_slice(&rounds.to_be_bytes());
    code.push(0x5b);
    code.extend_from_slice(body);
    code.extend(core::iter::repeat_n(0x50, left_over));
    // PUSH1 1 SWAP1 SUB DUP1 PUSH1 5 JUMPI
    code.extend_from_slice(&hex!("600190038060055700"));
    code
}

/// Runs each code on a small native stack, often enough that it runs in byte form and in decoded form.
fn run_on_small_stack(codes: Vec<Vec<u8>>) {
    let run = move || {
        for code in codes {
            let store = store_with(Bytes::from(code.clone()));
            let arena = CodeArena::default();
            for _ in 0..6 {
                let (input, value) = (&[][..], U256::ZERO);
                let fork = Fork::Amsterdam;
                let call = Call { fork, store: &store, codes: &arena, input, gas: 1 << 40, reservoir: 1 << 40, value };
                let outcome = call.run(|evm| run_frames(LoopKind::Tail, evm));
                assert_eq!(outcome.end.status, Status::Success, "{code:02x?}");
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(192 << 10).spawn(run).expect("a thread starts");
    thread.join().expect("no overflow");
}

/// Handlers must be jumped to, not called. Runs each instruction alone, tens of thousands of times: a stack frame of 16
/// bytes for each would overflow the native stack.
#[test]
fn no_instruction_keeps_native_stack() {
    let mut codes = Vec::new();
    for opcode in 0..=255u8 {
        let info = opcode::TABLE[usize::from(opcode)];
        // Left out: instructions that leave the loop, which start a new native frame, and jumps, which are in every
        // loop.
        let leaves = matches!(opcode, 0x00 | 0x56 | 0x57 | 0xf0 | 0xf3 | 0xf5 | 0xfd | 0xfe | 0xff);
        if !info.defined(Fork::Amsterdam) || leaves {
            continue;
        }
        let mut body = Vec::new();
        if matches!(opcode, 0xe6..=0xe8) {
            // Immediates 0x80 and 0x8e: item 17, items 1 and 2.
            (0..20).for_each(|_| body.extend_from_slice(&[0x60, 3]));
            body.extend_from_slice(&[opcode, if opcode == 0xe8 { 0x8e } else { 0x80 }]);
        } else {
            // RETURNDATACOPY succeeds with zeros only, because there is no return data.
            let word = if opcode == 0x3e { 0 } else { 0x99 };
            (0..info.inputs).for_each(|_| body.extend_from_slice(&[0x60, word]));
            body.push(opcode);
            body.extend(core::iter::repeat_n(0, usize::from(info.immediate)));
        }
        codes.push(looped(&body, 20_000));
    }
    run_on_small_stack(codes);
}

/// As `no_instruction_keeps_native_stack`, for the sequences that decoding fuses.
#[test]
fn no_fused_instruction_keeps_native_stack() {
    let mut codes = Vec::new();
    let wide = [&[0x7f][..], &[0x5a; 32]].concat();
    for opcode in [1, 2, 3, 4, 5, 6, 7, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c, 0x1d] {
        // PUSH; a wide PUSH; PUSH, DUP; SWAP; DUP, PUSH; DUP, DUP.
        let before: [&[u8]; 6] = [
            &hex!("60096002"),
            &[&hex!("6009")[..], &wide].concat(),
            &hex!("600981"),
            &hex!("6009600890"),
            &hex!("806002"),
            &hex!("8081"),
        ];
        for body in before {
            codes.push(looped(&[body, &[opcode]].concat(), 20_000));
        }
    }
    // MLOAD and MSTORE behind PUSH and DUP; pairs; several POPs; SWAP, POP; a selector's test.
    for body in [
        &hex!("602051")[..],
        &hex!("6007602052"),
        &hex!("60408051"),
        &hex!("600760608152"),
        &hex!("600160028080505050"),
        &hex!("60016002806003"),
        &hex!("6001600260039150"),
        &hex!("600380630000000914610013575b"),
    ] {
        codes.push(looped(body, 20_000));
    }
    for compare in [0x10, 0x11, 0x12, 0x13, 0x14] {
        for negations in 0..2 {
            let mut body = vec![0x60, 1, 0x60, 2, compare];
            body.extend(core::iter::repeat_n(0x15, negations));
            // Jumps over one byte, or does not: PUSH1 target JUMPI JUMPDEST.
            let target = 6 + body.len() as u8 + 3;
            body.extend_from_slice(&[0x60, target, 0x57, 0x5b]);
            codes.push(looped(&body, 20_000));
        }
    }
    run_on_small_stack(codes.into_iter().filter(|code| is_well_formed(code)).collect());
}

/// Whether the match loop runs the program to its end: a malformed test program would test nothing.
fn is_well_formed(code: &[u8]) -> bool {
    let outcome = run_code(Fork::Amsterdam, code, &[], 1 << 30);
    assert_eq!(outcome.end.status, Status::Success, "{code:02x?}");
    true
}

/// More than ten million instructions on a small native stack: handlers must be jumped to, not called.
#[test]
fn ten_million_instructions_need_no_native_stack() {
    // PUSH3 count, JUMPDEST, every kind of cheap instruction, PUSH1 1 SWAP1 SUB DUP1 PUSH1 4 JUMPI.
    let code = hex!("620c35005b5a5f526020515f0150303318506001900380600457");
    let run = move || {
        for kind in LoopKind::ALL {
            let store = store_with(Bytes::copy_from_slice(&code));
            let codes = CodeArena::default();
            // The first runs are in byte form, the others in decoded form.
            for _ in 0..6 {
                let (input, value) = (&[][..], U256::ZERO);
                let call =
                    Call { fork: Fork::Osaka, store: &store, codes: &codes, input, gas: 1 << 40, reservoir: 0, value };
                let outcome = call.run(|evm| run_frames(kind, evm));
                assert_eq!(outcome.end.status, Status::Success, "{}", kind.name());
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread starts");
    thread.join().expect("no overflow");
}
