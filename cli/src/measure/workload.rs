//! Reads interpreter workloads, sets them up and runs them repeatedly.
//!
//! In: workload files (code, calldata, gas, other accounts). Out: a function that runs the workload
//! once, and its median time. A run is one call transaction under the rules of Cancun with gas
//! price 0.
//! Not here: printing (`bench::loops`).

use super::median;
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_rlp::Encodable;
use balustrade::arena::TxIndex;
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::MemoryStore;
use balustrade::exec::block::providers::{Overlay, OverlayState};
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch};
use balustrade::exec::evm::state::{StateScratch, TxState};
use balustrade::exec::interpreter::{LoopKind, Runner};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::tx::TxInput;
use balustrade::exec::wire::Transactions;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The sender of the transaction.
pub const SENDER: Address = address!("1000000000000000000000000000000000000001");
/// The contract that the transaction calls.
pub const TARGET: Address = address!("2000000000000000000000000000000000000002");

/// Gas limit of the block around the transaction.
pub const BLOCK_GAS_LIMIT: u64 = 30_000_000_000;

/// Maximal length of a workload file in bytes; the parsed form takes up to twenty times as much
/// memory.
const WORKLOAD_BYTES_MAX: u64 = 64 << 20;

/// One workload file.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "an object with the fields of a workload")]
pub struct Workload {
    /// The workload's name.
    pub name: String,
    /// The group over which means are taken.
    #[serde(default)]
    pub group: String,
    /// Runtime code of the called contract.
    pub code: Bytes,
    /// Calldata.
    #[serde(default)]
    pub calldata: Bytes,
    /// Gas limit of the transaction.
    pub gas: u64,
    /// Accounts besides sender and target; an entry for the target gives its storage alone.
    #[serde(default)]
    pub accounts: Vec<WorkloadAccount>,
}

/// An account that a workload uses.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkloadAccount {
    /// Address.
    pub address: Address,
    /// Balance in wei, decimal.
    #[serde(default)]
    pub balance: U256,
    /// Runtime code.
    #[serde(default)]
    pub code: Bytes,
    /// Storage: slot keys and values, hex words.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
}

/// An account of the state before the transaction.
#[derive(Clone, Debug)]
pub struct Account {
    /// Address.
    pub address: Address,
    /// Nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Runtime code.
    pub code: Bytes,
    /// Storage: keys and values.
    pub storage: Vec<(U256, U256)>,
}

/// Why a workload cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No workload file is in the given paths.
    #[error("there is no workload file in the given paths")]
    Empty,
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a workload.
    #[error("{path}: {reason}")]
    Format {
        /// Path of the file.
        path: PathBuf,
        /// Description of the error.
        reason: String,
    },
    /// The transaction cannot be executed.
    #[error("{name}: {reason}")]
    Transaction {
        /// Name of the workload.
        name: String,
        /// Description of the error.
        reason: String,
    },
}

/// The measured figures of one workload.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BenchRow {
    /// Name of the workload.
    pub name: String,
    /// Group of the workload.
    pub group: String,
    /// The loop that ran the workload.
    #[serde(rename = "loop")]
    pub loop_name: &'static str,
    /// Median over the samples of nanoseconds per transaction.
    pub ns_per_run: f64,
    /// Execution gas of one transaction: the gas paid minus the intrinsic gas.
    pub gas: u64,
    /// Execution gas per second, in millions.
    pub mgas_per_s: f64,
    /// Whether the call succeeded.
    pub success: bool,
    /// Keccak-256 hash of the output.
    pub output_hash: B256,
}

impl Workload {
    /// Reads a workload file.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let read = |source| BenchError::Read { path: path.to_owned(), source };
        let format = |reason: String| BenchError::Format { path: path.to_owned(), reason };
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(WORKLOAD_BYTES_MAX + 1).read_to_end(&mut text).map_err(read)?;
        if text.len() as u64 > WORKLOAD_BYTES_MAX {
            return Err(format(format!("a workload of more than {WORKLOAD_BYTES_MAX} bytes")));
        }
        let workload: Self = serde_json::from_slice(&text).map_err(|error| format(error.to_string()))?;
        workload.state().map_err(format)?;
        Ok(workload)
    }

    /// Reads files, and all workload files of folders, in the order of their names.
    pub fn find(paths: &[PathBuf]) -> Result<Vec<Self>, BenchError> {
        let mut files = Vec::new();
        for path in paths {
            let read = |source| BenchError::Read { path: path.clone(), source };
            if path.is_dir() {
                for entry in std::fs::read_dir(path).map_err(read)? {
                    let entry = entry.map_err(read)?.path();
                    // Only regular files: a FIFO or device in a folder may never end.
                    if entry.extension().is_some_and(|extension| extension == "json") && entry.is_file() {
                        files.push(entry);
                    }
                }
            } else {
                files.push(path.clone());
            }
        }
        if files.is_empty() {
            return Err(BenchError::Empty);
        }
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    /// The state before the transaction: sender, target and the others.
    ///
    /// # Errors
    /// A description: a slot's key or value is not a hex word.
    pub fn state(&self) -> Result<Vec<Account>, String> {
        let word = |text: &str| {
            U256::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|error| format!("storage: {error}"))
        };
        let sender = Account {
            address: SENDER,
            nonce: 0,
            balance: U256::from(10).pow(U256::from(20)),
            code: Bytes::new(),
            storage: Vec::new(),
        };
        let (balance, code) = (U256::from(1_000_000_000u64), self.code.clone());
        let mut state = vec![sender, Account { address: TARGET, nonce: 1, balance, code, storage: Vec::new() }];
        for WorkloadAccount { address, balance, code, storage } in &self.accounts {
            let storage = storage.iter().map(|(key, value)| Ok((word(key)?, word(value)?)));
            let storage = storage.collect::<Result<Vec<_>, String>>()?;
            if *address == TARGET {
                state[1].storage = storage;
            } else {
                state.push(Account { address: *address, nonce: 1, balance: *balance, code: code.clone(), storage });
            }
        }
        Ok(state)
    }

    /// Bytes of the signed transaction. Its signature is a placeholder that is never checked.
    fn transaction(&self) -> Bytes {
        let mut payload = Vec::new();
        0u64.encode(&mut payload);
        0u64.encode(&mut payload);
        self.gas.encode(&mut payload);
        TARGET.encode(&mut payload);
        U256::ZERO.encode(&mut payload);
        self.calldata.encode(&mut payload);
        for signature_part in [27u64, 1, 1] {
            signature_part.encode(&mut payload);
        }
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(&payload);
        out.into()
    }
}

/// The result of one run.
#[derive(Clone, Copy, Debug)]
pub struct RunResult {
    /// Whether the call succeeded.
    pub success: bool,
    /// Execution gas: the gas paid minus the intrinsic gas.
    pub gas: u64,
    /// Keccak-256 hash of the output, if requested.
    pub output_hash: Option<B256>,
}

/// Runs a workload repeatedly, in `samples` samples that take about `target` in total, and returns
/// the figures with the median time.
pub fn measure(
    workload: &Workload,
    loop_kind: LoopKind,
    target: Duration,
    samples: usize,
) -> Result<BenchRow, BenchError> {
    with_runner(workload, loop_kind, |run| {
        let RunResult { success, gas, output_hash } = run(true)?;
        // The interpreter analyses a code after a few runs.
        for _ in 0..8 {
            run(false)?;
        }
        let start = Instant::now();
        run(false)?;
        let once = start.elapsed().max(Duration::from_nanos(20));
        let per_sample = (target.as_nanos() / samples.max(1) as u128 / once.as_nanos()).clamp(1, 1_000_000) as u32;
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples.max(1) {
            let start = Instant::now();
            for _ in 0..per_sample {
                run(false)?;
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(per_sample));
        }
        let ns_per_run = median(&times);
        Ok(BenchRow {
            name: workload.name.clone(),
            group: workload.group.clone(),
            loop_name: loop_kind.name(),
            ns_per_run,
            gas,
            mgas_per_s: gas as f64 * 1_000.0 / ns_per_run,
            success,
            output_hash: output_hash.unwrap_or_default(),
        })
    })
}

/// A workload that is ready to run.
pub struct Prepared {
    chain: ChainRules,
    block: BlockEnv,
    store: MemoryStore,
    /// Analysed codes, kept between machines.
    codes: CodeArena,
    transactions: Transactions,
    /// The memory of the machine; `None` while a machine uses it.
    memory: Option<(StateScratch, EvmScratch)>,
}

impl Prepared {
    /// Builds the state and the transaction.
    ///
    /// # Errors
    /// [`BenchError::Transaction`]: a field is malformed.
    pub fn new(workload: &Workload) -> Result<Self, BenchError> {
        let error = |reason: String| BenchError::Transaction { name: workload.name.clone(), reason };
        let mut store = MemoryStore::default();
        for Account { address, nonce, balance, code, storage } in workload.state().map_err(error)? {
            let code_hash = store.insert_code(code);
            store.insert_account(address, nonce, balance, code_hash, storage);
        }
        let block = BlockEnv {
            chain_id: 1,
            number: 1,
            timestamp: 1,
            gas_limit: BLOCK_GAS_LIMIT,
            blob_base_fee: U256::ONE,
            ..BlockEnv::default()
        };
        let transactions =
            Transactions::decode_one(workload.transaction()).map_err(|fault| error(fault.to_string()))?;
        let chain = ChainRules::mainnet(Fork::Cancun);
        Ok(Self { chain, block, store, codes: CodeArena::default(), transactions, memory: Some(Default::default()) })
    }

    /// Builds a machine without ids and cached hashes, as for a new block, calls `work` with it and takes its memory
    /// back.
    pub fn on_new_machine<T>(&mut self, work: impl for<'b> FnOnce(&mut Evm<'b>, &TxInput<'b>) -> T) -> T {
        let mut overlay = Overlay::default();
        let base = Box::new(OverlayState { overlay: &mut overlay, store: &self.store, codes: &self.codes });
        let (state, evm) = self.memory.take().unwrap_or_default();
        let state = TxState::new(state, None, base, &self.codes, self.chain.fork);
        let mut evm = Evm::new(evm, &self.chain, &self.block, state);
        let transactions = &self.transactions;
        let input = TxInput { transactions, index: TxIndex(0), sender: Some(SENDER), authorities: &[] };
        let result = work(&mut evm, &input);
        let (mut evm, state) = evm.into_scratch();
        evm.forget_hashes();
        self.memory = Some((state, evm));
        result
    }
}

/// Sets a workload up and calls `body` with a function that runs it once; the argument of that
/// function says whether to hash the output.
pub fn with_runner<T>(
    workload: &Workload,
    loop_kind: LoopKind,
    body: impl FnOnce(&mut dyn FnMut(bool) -> Result<RunResult, BenchError>) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let error = |reason: String| BenchError::Transaction { name: workload.name.clone(), reason };
    let mut prepared = Prepared::new(workload)?;
    let fork_rules = prepared.chain.fork_rules();
    let mut runner = Runner::from(loop_kind);
    prepared.on_new_machine(|evm, input| {
        let (intrinsic, _) = balustrade::exec::tx::intrinsic_gas(fork_rules, input);
        body(&mut |hash_output| {
            evm.state.logs.clear();
            evm.state.begin();
            let outcome = evm.execute_tx(input, &mut runner).map_err(|fault| error(format!("{fault:?}")))?;
            Ok(RunResult {
                success: outcome.success,
                gas: outcome.gas_paid - intrinsic,
                output_hash: hash_output.then(|| keccak256(evm.return_data())),
            })
        })
    })
}
