//! The slow-block object: the cost of a block in the JSON form on which geth, Nethermind, Besu,
//! Reth and Erigon agreed ("cross-client execution metrics": one JSON object per block that starts
//! with `{"level":"warn","msg":"Slow block",`).
//!
//! In: an executed block. Out: times, throughput, and counts of reads and writes, taken from the
//! block's columns.
//! Fields that are not measured are left out, not filled with zeros: `commit_ms` (no database write
//! is part of the measured time); `state_read_ms` outside `bal` mode (reads happen while
//! instructions run); cache hits (a value that was read once is a column entry, and later reads of
//! it are not counted); `evm` unless instructions were counted, which no timed execution does.
//! Not here: measuring (`executor`).

use super::engine::{Accepted, Chain, Engine};
use super::report::{busy_ns, ggas_per_s};
use alloy_primitives::B256;
use balustrade::arena::store::KECCAK_EMPTY;
use balustrade::bal::{self, BalColumns, Limits};
use balustrade::exec::interpreter::opcode::op;
use balustrade::exec::interpreter::profile::WorkerProfile;
use balustrade::executor::Stage;
use balustrade::{AccountStatus, BlockOutcome};
use serde::Serialize;
use std::collections::BTreeMap;

/// The object of one block. The order of the fields is that of the other clients.
#[derive(Clone, Debug, Serialize)]
pub struct SlowBlock {
    level: &'static str,
    msg: &'static str,
    block: Block,
    timing: Timing,
    throughput: Throughput,
    state_reads: Reads,
    state_writes: Writes,
    cache: Cache,
    unique: Unique,
    #[serde(skip_serializing_if = "Option::is_none")]
    evm: Option<EvmCounts>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Block {
    number: u64,
    hash: B256,
    gas_used: u64,
    tx_count: usize,
}

/// Times in milliseconds. Stages overlap: their sum may exceed the total.
#[derive(Clone, Copy, Debug, Serialize)]
struct Timing {
    /// Time in which at least one thread executed transactions.
    execution_ms: f64,
    /// Time in which parent state was prefetched; `None` without prefetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_read_ms: Option<f64>,
    /// Time in which the state root was computed.
    state_hash_ms: f64,
    /// Time from the raw bytes to the last check.
    total_ms: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Throughput {
    mgas_per_sec: f64,
}

/// Items read from the store. The codes are those of accessed accounts, read now or kept in the
/// code cache.
#[derive(Clone, Copy, Debug, Serialize)]
struct Reads {
    accounts: usize,
    storage_slots: usize,
    code: usize,
    code_bytes: usize,
}

/// State changes of the block that remain after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Writes {
    accounts: usize,
    accounts_deleted: usize,
    storage_slots: usize,
    storage_slots_deleted: usize,
    code: usize,
    code_bytes: usize,
    eip7702_delegations_set: usize,
    eip7702_delegations_cleared: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Cache {
    account: Misses,
    storage: Misses,
}

/// Values that were read from the store.
#[derive(Clone, Copy, Debug, Serialize)]
struct Misses {
    misses: usize,
}

/// Distinct entries of the block access list: the given or the recorded one.
#[derive(Clone, Copy, Debug, Serialize)]
struct Unique {
    accounts: usize,
    storage_slots: usize,
    /// Accounts with code, including those that the block deployed.
    contracts: usize,
}

/// Number of executions of instructions, in all frames: also in reverted frames and in system
/// calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EvmCounts {
    sload: u64,
    sstore: u64,
    /// CALL, CALLCODE, DELEGATECALL and STATICCALL.
    calls: u64,
    /// CREATE and CREATE2.
    creates: u64,
}

impl EvmCounts {
    /// Sums over all workers of one execution.
    pub fn of(workers: &[WorkerProfile]) -> Self {
        let count = |opcodes: &[u8]| {
            let rows = |worker: &WorkerProfile| -> u64 {
                opcodes.iter().map(|opcode| worker.opcodes.rows()[usize::from(*opcode)].count).sum()
            };
            workers.iter().map(rows).sum()
        };
        Self {
            sload: count(&[op::SLOAD]),
            sstore: count(&[op::SSTORE]),
            calls: count(&[op::CALL, op::CALLCODE, op::DELEGATECALL, op::STATICCALL]),
            creates: count(&[op::CREATE, op::CREATE2]),
        }
    }
}

impl SlowBlock {
    /// Creates the object of an executed block. `chain` is at the block or at its parent; `engine`
    /// executed the block.
    pub fn new(accepted: &Accepted, evm: Option<EvmCounts>, chain: &Chain, engine: &Engine) -> Self {
        let outcome = &accepted.outcome;
        let columns = bal::decode(&outcome.bal, &Limits::format_only()).unwrap_or_default();
        let codes = codes_of(outcome, &columns, chain);
        let known: Vec<usize> = codes.keys().filter_map(|hash| engine.code_len(*hash)).collect();
        let ms = |ns: u64| ns as f64 / 1e6;
        let busy = |stage| busy_ns(&outcome.timeline, stage);
        let reads_ahead = outcome.timeline.iter().any(|span| span.stage == Stage::Read);
        let (accounts, storage_slots) = (outcome.reads.accounts, outcome.reads.slots);
        Self {
            level: "warn",
            msg: "Slow block",
            block: Block {
                number: outcome.number,
                hash: outcome.hash,
                gas_used: outcome.gas_used,
                tx_count: outcome.transactions.len(),
            },
            timing: Timing {
                execution_ms: ms(busy(Stage::Execute)),
                state_read_ms: reads_ahead.then(|| ms(busy(Stage::Read))),
                state_hash_ms: ms(busy(Stage::Root)),
                total_ms: ms(outcome.elapsed_ns),
            },
            throughput: Throughput { mgas_per_sec: 1e3 * ggas_per_s(outcome.gas_used, outcome.elapsed_ns) },
            state_reads: Reads { accounts, storage_slots, code: known.len(), code_bytes: known.iter().sum() },
            state_writes: Writes::of(outcome),
            cache: Cache { account: Misses { misses: accounts }, storage: Misses { misses: storage_slots } },
            unique: Unique {
                accounts: columns.account_count(),
                storage_slots: columns.slot_count(),
                contracts: codes.values().sum(),
            },
            evm,
        }
    }
}

/// Code hashes of the accounts that the block accesses, each with the number of its accounts. Where
/// the block changed an account's code, the new code counts.
fn codes_of(outcome: &BlockOutcome, columns: &BalColumns, chain: &Chain) -> BTreeMap<B256, usize> {
    let addresses = columns.addresses().as_slice();
    let changes = &outcome.changes;
    let changed: BTreeMap<_, _> = changes.addresses.iter().zip(&changes.code_hashes).collect();
    let mut codes = BTreeMap::new();
    for (address, hash) in addresses.iter().zip(chain.code_hashes(addresses)) {
        let hash = changed.get(address).copied().copied().flatten().unwrap_or(hash);
        if hash != KECCAK_EMPTY {
            *codes.entry(hash).or_default() += 1;
        }
    }
    codes
}

/// Length and prefix of a delegation designator (EIP-7702).
const DELEGATION_LEN: usize = 23;
const DELEGATION_PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

impl Writes {
    fn of(outcome: &BlockOutcome) -> Self {
        let changes = &outcome.changes;
        let deleted = changes.statuses.iter().filter(|status| **status == AccountStatus::Deleted).count();
        let slots_deleted = changes.slot_values.iter().filter(|value| value.is_zero()).count();
        let is_delegation = |code: &[u8]| code.len() == DELEGATION_LEN && code.starts_with(&DELEGATION_PREFIX);
        let codes = || changes.codes.iter().filter(|(_, code)| !code.is_empty());
        Self {
            accounts: changes.len() - deleted,
            accounts_deleted: deleted,
            storage_slots: changes.slot_values.len() - slots_deleted,
            storage_slots_deleted: slots_deleted,
            code: codes().count(),
            code_bytes: codes().map(|(_, code)| code.len()).sum(),
            eip7702_delegations_set: codes().filter(|(_, code)| is_delegation(code)).count(),
            // An account that stays can lose its code only if the code is a delegation.
            eip7702_delegations_cleared: changes
                .code_hashes
                .iter()
                .zip(&changes.statuses)
                .filter(|(hash, status)| **hash == Some(KECCAK_EMPTY) && **status == AccountStatus::Kept)
                .count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::devnet::Devnet;
    use super::super::engine::List;
    use super::super::output::OutputFile;
    use super::super::trace::Lines;
    use super::*;
    use balustrade::Mode;
    use balustrade::exec::interpreter::LoopKind;
    use balustrade::executor::BuiltBlock;
    use serde_json::Value;

    /// The first block of the generated chain, and a chain at its genesis.
    fn first_block() -> (Chain, Engine, BuiltBlock) {
        let mut devnet = Devnet::default();
        let mut chain = Chain::at_genesis(devnet.genesis_state(), Devnet::genesis_header).expect("a genesis");
        let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
        let built = engine.build_devnet(&mut chain, &mut devnet).expect("valid");
        (chain, engine, built)
    }

    #[test]
    fn the_object_has_the_common_prefix_and_equal_counts_in_every_mode() {
        let (mut chain, mut engine, built) = first_block();
        let mut objects = Vec::new();
        for (mode, keep) in
            [(Mode::Sequential, false), (Mode::Optimistic, false), (Mode::Bal, false), (Mode::Bal, true)]
        {
            let list = Some(&built.bal).into();
            let run = engine.execute_or_record(&mut chain, &Devnet::rules(), &built.block, list, Some(mode), keep);
            let text =
                serde_json::to_string(&SlowBlock::new(&run.expect("valid"), None, &chain, &engine)).expect("JSON");
            assert!(text.starts_with(r#"{"level":"warn","msg":"Slow block","block":{"number":1,"hash":"0x"#), "{text}");
            objects.push(serde_json::from_str::<Value>(&text).expect("JSON"));
        }
        let columns = bal::decode(&built.bal, &Limits::format_only()).expect("a list");
        for object in &objects {
            for part in ["block", "state_writes", "unique", "state_reads"] {
                assert_eq!(object[part], objects[0][part], "{part}");
            }
            assert_eq!(object["unique"]["accounts"], columns.account_count());
            assert_eq!(object["unique"]["storage_slots"], columns.slot_count());
            assert_eq!(object["state_writes"]["eip7702_delegations_set"], 2);
            assert_eq!(object["state_writes"]["code"], 6, "four deployments, two delegations");
            assert!(object["throughput"]["mgas_per_sec"].as_f64() > Some(0.0));
            assert!(object["timing"]["commit_ms"].is_null());
        }
        assert!(objects[0]["timing"]["state_read_ms"].is_null() && objects[2]["timing"]["state_read_ms"].is_f64());
    }

    #[test]
    fn instruction_counts_equal_those_of_the_trace() {
        let (mut chain, mut engine, built) = first_block();
        let list: List<'_> = Some(&built.bal).into();
        let watched = engine.watched(&mut chain, &Devnet::rules(), &built.block, list).expect("valid");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("trace.jsonl");
        engine.start_trace(Lines::File(OutputFile::create(&path).expect("writable")));
        let run = engine.execute_or_record(&mut chain, &Devnet::rules(), &built.block, list, None, false);
        run.expect("valid");
        engine.finish_trace().expect("written");
        let text = std::fs::read_to_string(&path).expect("text");
        let traced = |name: &str| text.matches(&format!(r#""opName":"{name}""#)).count() as u64;
        let counts = EvmCounts::of(&watched);
        let (creates, calls) = (traced("CREATE") + traced("CREATE2"), traced("CALL") + traced("STATICCALL"));
        assert_eq!((counts.creates, counts.calls), (creates, calls + traced("DELEGATECALL") + traced("CALLCODE")));
        assert!(counts.calls > 0 && counts.sload > 0 && counts.sstore > 0 && counts.creates > 0, "{counts:?}");
        // System calls are not traced, but their instructions are counted.
        assert!(counts.sload >= traced("SLOAD") && counts.sstore >= traced("SSTORE"), "{counts:?}");
    }
}
