//! The state on which a block is executed must be its parent's. Any other state is an error of the
//! host, which is found before execution and is no verdict on the block.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use balustrade::arena::TxIndex;
use balustrade::arena::store::{KECCAK_EMPTY, LatencyStore, MemoryStore, StateStore, WitnessStore};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::{next_base_fee, next_excess_blob_gas};
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade::executor::{BuiltBlock, Check};
use balustrade::trie::StateTries;
use balustrade::{BlockError, BlockInput, Executor, Mode, Options};
use balustrade_cli::testing::{Folder, cancun_parent, stored};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::fs::File;
use std::process::Command;
use std::time::Duration;

const MODES: [Mode; 3] = [Mode::Bal, Mode::Sequential, Mode::Optimistic];

/// A block with one withdrawal on a state with one account.
struct World {
    rules: ChainRules,
    store: MemoryStore,
    tries: StateTries,
    parent: Header,
    built: BuiltBlock,
}

impl World {
    fn new() -> Self {
        let rules = ChainRules::mainnet(Fork::Cancun);
        let mut store = MemoryStore::default();
        store.insert_account(Address::repeat_byte(1), 0, U256::from(7), KECCAK_EMPTY, []);
        let mut tries = StateTries::from_memory(&store).expect("a state");
        let parent = cancun_parent(tries.root());
        let built = build(&rules, &parent, &store, &mut tries);
        Self { rules, store, tries, parent, built }
    }

    fn input(&self) -> BlockInput<'_> {
        BlockInput::new(&self.rules, self.built.block.clone()).with_list(self.built.bal.clone())
    }
}

/// Builds a block on `parent` with one withdrawal.
fn build(rules: &ChainRules, parent: &Header, store: &MemoryStore, tries: &mut StateTries) -> BuiltBlock {
    let template = Header {
        parent_hash: parent.hash(),
        number: parent.number + 1,
        timestamp: parent.timestamp + 12,
        gas_limit: parent.gas_limit,
        base_fee: Some(next_base_fee(parent)),
        excess_blob_gas: Some(next_excess_blob_gas(rules, parent)),
        parent_beacon_root: Some(B256::ZERO),
        ..Header::default()
    };
    let mut withdrawal = vec![0xd8, 0x01, 0x02, 0x94];
    withdrawal.extend(Address::repeat_byte(1));
    withdrawal.push(0x05);
    let body = balustrade::executor::Body { transactions: &[], withdrawals: &[withdrawal] };
    Executor::new(1).expect("a thread").build_body(rules, &template, body, store, tries, None).expect("valid")
}

#[test]
fn a_block_is_refused_on_tries_that_already_contain_it() {
    let World { tries: mut held, .. } = World::new();
    let world = World::new();
    let input = world.input().with_parent(&world.parent);
    for mode in MODES {
        let mut executor = Executor::new(2).expect("threads");
        let mut run = |tries: &mut StateTries| executor.execute(&input, &world.store, Some(tries), Options::new(mode));
        run(&mut held).expect("valid on its parent's state").require_complete().expect("all is given");
        let (expected, actual) = (world.parent.state_root, world.built.header.state_root);
        // First with uncommitted tries, then with committed ones.
        let refusal = BlockError::ParentState { expected, actual };
        assert_eq!(run(&mut held).expect_err("it has run"), refusal, "{mode:?}");
        let mut committed = World::new().tries;
        run(&mut committed).expect("valid on its parent's state");
        committed.commit();
        assert_eq!(run(&mut committed).expect_err("it is committed"), refusal, "{mode:?}");
        assert_eq!(committed.root(), actual, "the refusal changes nothing");
        assert!(refusal.to_string().contains("rolled back"), "{refusal}");
        held.rollback();
        run(&mut held).expect("valid on its parent's state again");
        held.rollback();
    }
}

#[test]
fn nothing_is_executed_on_a_state_that_is_not_the_parents() {
    let mut world = World::new();
    let root = world.tries.root();
    let other = Header { state_root: B256::repeat_byte(0xde), ..world.parent.clone() };
    let refusal = BlockError::ParentState { expected: other.state_root, actual: root };
    let asked = LatencyStore::new(&world.store, Duration::ZERO, Duration::ZERO);
    let mut executor = Executor::new(2).expect("threads");
    for mode in MODES {
        let mut input = BlockInput::new(&world.rules, world.built.block.clone())
            .with_list(world.built.bal.clone())
            .with_parent(&other);
        for block in [world.built.block.clone(), Bytes::from_static(b"no block")] {
            // The result is the same for an undecodable block: the block is not examined.
            input.block = block;
            let result = executor.execute(&input, &asked, Some(&mut world.tries), Options::new(mode));
            assert_eq!(result.expect_err("another state"), refusal, "{mode:?}");
        }
        // Tries of which only the root is known are compared by it.
        let mut unresolved = StateTries::from_root(root);
        let result = executor.execute(&input, &asked, Some(&mut unresolved), Options::new(mode));
        assert_eq!(result.expect_err("another state"), refusal, "{mode:?}");
    }
    assert_eq!(asked.counts(), LatencyStore::new(&world.store, Duration::ZERO, Duration::ZERO).counts());
    assert_eq!(world.tries.root(), root);
}

#[test]
fn missing_inputs_are_listed_and_make_the_outcome_incomplete() {
    let mut world = World::new();
    for mode in MODES {
        let mut executor = Executor::new(2).expect("threads");
        for (parent, tries, missing) in [
            (true, true, &[][..]),
            (true, false, &[Check::ParentState, Check::StateRoot]),
            (false, true, &[Check::ParentRules, Check::ParentState]),
            (false, false, &[Check::ParentRules, Check::ParentState, Check::StateRoot]),
        ] {
            let mut input = BlockInput::new(&world.rules, world.built.block.clone()).with_list(world.built.bal.clone());
            input.parent = parent.then_some(&world.parent);
            let given = tries.then_some(&mut world.tries);
            let outcome = executor.execute(&input, &world.store, given, Options::new(mode)).expect("valid");
            world.tries.rollback();
            let checks: Vec<Check> = outcome.unchecked.iter().map(|unchecked| unchecked.check).collect();
            assert_eq!(checks, missing, "{mode:?}, parent {parent}, tries {tries}");
            match outcome.require_complete() {
                Ok(outcome) => assert!(missing.is_empty() && outcome.state_root.is_some()),
                Err(incomplete) => {
                    let listed: Vec<Check> = incomplete.unchecked.iter().map(|unchecked| unchecked.check).collect();
                    assert_eq!(listed, missing);
                    let text = incomplete.to_string();
                    assert!(missing.iter().all(|check| text.contains(check.name())), "{text}");
                }
            }
        }
    }
}

#[test]
fn the_seal_before_the_merge_and_omitted_ommers_are_listed_as_unchecked() {
    let rules = ChainRules::mainnet(Fork::Byzantium);
    let store = MemoryStore::default();
    let mut tries = StateTries::from_memory(&store).expect("a state");
    let template =
        Header { number: 5_000_000, gas_limit: 1_000_000, difficulty: U256::from(1 << 20), ..Header::default() };
    let mut executor = Executor::new(1).expect("a thread");
    let built = executor.build(&rules, &template, &[], &store, &mut tries).expect("valid");
    let mut input = BlockInput::new(&rules, built.block);
    input.ommers_omitted = true;
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::automatic()).expect("valid");
    let listed = outcome.require_complete().expect_err("not all was checked").unchecked;
    for check in [Check::Seal, Check::Ommers, Check::OmmerRules] {
        assert!(listed.iter().any(|unchecked| unchecked.check == check), "{check:?}: {listed:?}");
    }
}

/// A bundle in which the state root in the parent's header is not that of the complete state.
fn case() -> Value {
    let file = File::open(stored("erc20.json.gz")).expect("readable");
    let mut bundle: Value = serde_json::from_reader(GzDecoder::new(file)).expect("JSON");
    let mut parent = Header::decode(&bytes(&bundle["parentHeader"])).expect("a header");
    parent.state_root = B256::repeat_byte(0xde);
    let mut parent_rlp = Vec::new();
    parent.encode(&mut parent_rlp);
    let block = Block::decode(bytes(&bundle["block"])).expect("a block");
    let transactions = (0..block.transactions.len()).map(|index| block.transactions.encoded(TxIndex(index as u32)));
    let header = Header { parent_hash: parent.hash(), ..block.header.clone() };
    let changed = Bytes::from(assemble(&header, &transactions.collect::<Vec<_>>()));
    (bundle["block"], bundle["hash"]) = (json!(changed), json!(header.hash()));
    (bundle["parentHeader"], bundle["headers"]) = (json!(Bytes::from(parent_rlp)), json!([]));
    bundle
}

fn bytes(value: &Value) -> Bytes {
    hex::decode(value.as_str().expect("hex")).expect("hex").into()
}

#[test]
fn a_state_root_other_than_the_parent_headers_is_a_host_error() {
    let bundle = case();
    let root: B256 = bundle["preStateRoot"].as_str().expect("hash").parse().expect("hash");
    let parent = Header::decode(&bytes(&bundle["parentHeader"])).expect("a header");
    assert_ne!(parent.state_root, root);
    let rules = ChainRules { chain_id: 1337, ..ChainRules::mainnet(Fork::Amsterdam) };
    let input = BlockInput::new(&rules, bytes(&bundle["block"])).with_list(bytes(&bundle["blockAccessList"]));
    let input = input.with_parent(&parent);
    // The store has no nodes and no accounts: a read would fail.
    let store = WitnessStore::new(root, [], []);
    for mode in MODES {
        for threads in [1, 3] {
            let mut executor = Executor::new(threads).expect("threads");
            let mut tries = StateTries::from_root(root);
            let result = executor.execute(&input, &store as &dyn StateStore, Some(&mut tries), Options::new(mode));
            let refusal = BlockError::ParentState { expected: parent.state_root, actual: root };
            assert_eq!(result.expect_err("another state"), refusal, "{mode:?}");
        }
    }
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_balustrade")).args(args).output().expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_exits_with_two_and_names_the_required_state() {
    let mut bundle = case();
    let folder = Folder::new("parent-state");
    let path = folder.file("parent-root.json", &bundle.to_string());
    let parent = Header::decode(&bytes(&bundle["parentHeader"])).expect("a header");
    let claimed = parent.state_root.to_string();
    for mode in ["bal", "sequential", "optimistic", "all"] {
        let (status, _, complaint) = run(&["run", "--mode", mode, &path]);
        assert_eq!(status, Some(2), "{mode}: {complaint}");
        assert!(complaint.contains(&claimed) && complaint.contains("the state after the parent block"), "{complaint}");
        let (status, lines, _) = run(&["run", "--json", "--mode", mode, &path]);
        assert_eq!(status, Some(2), "{mode}");
        let line: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
        assert_eq!((&line["kind"], &line["valid"]), (&Value::from("host"), &Value::Bool(false)), "{line}");
    }
    // The pre-state root that the file names is compared with that state too.
    bundle["preStateRoot"] = Value::from(claimed.clone());
    let path = folder.file("other-root.json", &bundle.to_string());
    let (status, _, complaint) = run(&["run", &path]);
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains(&claimed) && complaint.contains("the state after the parent block"), "{complaint}");
}
