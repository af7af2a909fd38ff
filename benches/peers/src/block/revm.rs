//! revm on whole blocks: sequentially with building of the block access list, and driven by the list as in reth.

use super::case::Case;
use super::{Arrangement, Laps, Stages};
use crate::convert;
use crate::ethrex_tries::{AccountChange, AccountStatus, EthrexTries};
use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{Block, Transaction, TxEnvelope, TxReceipt};
use alloy_eip7928::{AccountChanges, validate_block_access_list};
use alloy_eips::eip7840::BlobParams;
use alloy_evm::block::{BlockExecutionResult, BlockExecutor};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor, EthTxResult};
use alloy_evm::{EthEvmFactory, Evm, EvmEnv, EvmFactory, FromRecoveredTx};
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::map::{AddressMap, B256Map, HashMap, U256Map};
use alloy_primitives::{Address, B256, Bloom, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use balustrade::StateChanges;
use rayon::prelude::*;
use revm::bytecode::Bytecode;
use revm::context::TxEnv;
use revm::context_interface::result::ResultAndState;
use revm::database::states::bundle_state::BundleRetention;
use revm::database::{State, WrapDatabaseRef};
use revm::database_interface::DatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::state::bal::{Bal, BlockAccessIndex};
use std::any::Any;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

type Receipt = alloy_consensus::ReceiptEnvelope;

/// A flat state in maps, with analysed codes.
#[derive(Debug, Default)]
pub(crate) struct RevmFlat {
    accounts: AddressMap<(AccountInfo, U256Map<U256>)>,
    codes: B256Map<Bytecode>,
    block_hashes: HashMap<u64, B256>,
}

impl RevmFlat {
    pub(crate) fn new(case: &Case) -> Self {
        let codes: B256Map<Bytecode> =
            case.codes.iter().map(|(hash, code)| (*hash, Bytecode::new_raw(code.clone()))).collect();
        let mut accounts: AddressMap<(AccountInfo, U256Map<U256>)> = AddressMap::default();
        for (address, nonce, balance, code_hash) in case.accounts() {
            let code = Some(codes.get(&code_hash).cloned().unwrap_or_default());
            let info = AccountInfo { nonce, balance, code_hash, code, ..AccountInfo::default() };
            accounts.insert(address, (info, U256Map::default()));
        }
        for (address, key, value) in case.slots() {
            accounts.entry(address).or_default().1.insert(key, value);
        }
        Self { accounts, codes, block_hashes: case.block_hashes.iter().copied().collect() }
    }
}

impl RevmFlat {
    /// Makes the changes of a block.
    fn apply(&mut self, case: &Case, changes: &StateChanges) {
        self.codes.extend(case.codes.iter().map(|(hash, code)| (*hash, Bytecode::new_raw(code.clone()))));
        self.block_hashes.extend(case.block_hashes.iter().copied());
        for (row, address) in changes.addresses.iter().enumerate() {
            if changes.statuses[row] == balustrade::AccountStatus::Deleted {
                self.accounts.remove(address);
                continue;
            }
            let (info, slots) = self.accounts.entry(*address).or_default();
            info.nonce = changes.nonces[row].unwrap_or(info.nonce);
            info.balance = changes.balances[row].unwrap_or(info.balance);
            if let Some(hash) = changes.code_hashes[row] {
                info.code_hash = hash;
                info.code = Some(self.codes.get(&hash).cloned().unwrap_or_default());
            }
            for (key, value) in changes.slots(row) {
                if value.is_zero() {
                    slots.remove(&key);
                } else {
                    slots.insert(key, value);
                }
            }
        }
    }
}

impl DatabaseRef for RevmFlat {
    type Error = Infallible;
    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.accounts.get(&address).map(|(info, _)| info.clone()))
    }
    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&code_hash).cloned().unwrap_or_default())
    }
    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, Infallible> {
        Ok(self.accounts.get(&address).and_then(|(_, slots)| slots.get(&key).copied()).unwrap_or_default())
    }
    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.block_hashes.get(&number).copied().unwrap_or_default())
    }
}

/// All forks from genesis on.
#[derive(Clone, Copy, Debug)]
struct Spec {
    deposit_contract: Address,
}

impl EthereumHardforks for Spec {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        match fork {
            EthereumHardfork::Dao
            | EthereumHardfork::Bpo3
            | EthereumHardfork::Bpo4
            | EthereumHardfork::Bpo5
            | EthereumHardfork::Bogota => ForkCondition::Never,
            fork if fork >= EthereumHardfork::Shanghai => ForkCondition::ZERO_TIMESTAMP,
            _ => ForkCondition::ZERO_BLOCK,
        }
    }
}

impl EthExecutorSpec for Spec {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(self.deposit_contract)
    }
}

/// How a block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sequential,
    List,
}

impl Way {
    /// Name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "revm-seq",
            Self::List => "revm-bal",
        }
    }
}

pub(crate) struct Revm {
    case: Rc<Case>,
    way: Way,
    threads: usize,
    flat: Arc<RevmFlat>,
    resident: Rc<EthrexTries>,
    tries: EthrexTries,
    /// Allocations of the last run, freed outside the measured time.
    leftovers: Vec<Box<dyn Any>>,
}

/// The parts of a run that are the same in both ways.
struct Setting {
    env: EvmEnv<SpecId>,
    spec: Spec,
}

impl Revm {
    pub(crate) fn new(
        case: &Rc<Case>,
        way: Way,
        threads: usize,
        flat: &Arc<RevmFlat>,
        resident: &Rc<EthrexTries>,
    ) -> Self {
        let (case, flat, resident) = (case.clone(), flat.clone(), resident.clone());
        Self { case, way, threads, flat, resident, tries: EthrexTries::default(), leftovers: Vec::new() }
    }

    /// Executes and checks the next block of a chain and makes its changes.
    pub(crate) fn follow(&mut self, case: &Rc<Case>, changes: &StateChanges) -> Result<(), String> {
        self.case = case.clone();
        self.run()?;
        // They may borrow the state.
        self.leftovers.clear();
        let flat = Arc::get_mut(&mut self.flat).ok_or("the state is in use")?;
        flat.apply(case, changes);
        Ok(())
    }

    fn setting(&self, block: &Block<TxEnvelope>) -> Setting {
        let rules = &self.case.rules;
        let schedule = rules.blob_schedule;
        let spec = Spec { deposit_contract: rules.deposit_contract };
        let blobs = BlobParams {
            target_blob_count: schedule.target,
            max_blob_count: schedule.max,
            update_fraction: u128::from(schedule.base_fee_update_fraction),
            ..BlobParams::bpo2()
        };
        let env = EvmEnv::for_eth_block(&block.header, spec, rules.chain_id, Some(blobs));
        Setting { env, spec }
    }

    fn sequential(&mut self) -> Result<Stages, String> {
        let mut laps = Laps::start();
        let block = Block::<TxEnvelope>::decode(&mut &self.case.block[..]).map_err(text)?;
        let setting = self.setting(&block);
        laps.lap("decode");
        let signers: Vec<Address> = block
            .body
            .transactions
            .par_iter()
            .map(|tx| tx.recover_signer().map_err(text))
            .collect::<Result<_, String>>()?;
        laps.lap("recover");
        let mut state = State::builder().with_database_ref(&*self.flat).with_bundle_update().with_bal_builder().build();
        let evm = EthEvmFactory::default().create_evm(&mut state, setting.env);
        let mut executor = EthBlockExecutor::new(evm, context(&block), setting.spec, AlloyReceiptBuilder::default());
        executor.apply_pre_execution_changes().map_err(text)?;
        for (index, (tx, signer)) in block.body.transactions.iter().zip(&signers).enumerate() {
            executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(index as u64 + 1));
            executor.execute_transaction(Recovered::new_unchecked(tx, *signer)).map_err(text)?;
        }
        executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(signers.len() as u64 + 1));
        let (_, result) = executor.finish().map_err(text)?;
        state.merge_transitions(BundleRetention::PlainState);
        let bundle = state.take_bundle();
        laps.lap("execute");
        let changes: Vec<AccountChange> = bundle
            .state
            .iter()
            .map(|(address, account)| {
                let wiped = account.was_destroyed();
                let status = match (&account.info, wiped) {
                    (None, _) => AccountStatus::Removed,
                    (Some(_), true) => AccountStatus::StorageCleared,
                    (Some(_), false) => AccountStatus::Kept,
                };
                let info = account.info.as_ref();
                let slots = account.storage.iter().filter(|(_, slot)| wiped || slot.is_changed());
                AccountChange {
                    address: convert::address(*address),
                    status,
                    nonce: info.map(|info| info.nonce),
                    balance: info.map(|info| convert::word(info.balance)),
                    code_hash: info.map(|info| convert::hash(info.code_hash)),
                    slots: slots.map(|(key, slot)| (convert::key(*key), convert::word(slot.present_value))).collect(),
                }
            })
            .collect();
        let root = self.tries.update(&changes).map_err(text)?;
        laps.lap("root");
        let list = state.take_built_alloy_bal().ok_or("no list was built")?;
        let mut encoded = Vec::with_capacity(self.case.list.len());
        list.encode(&mut encoded);
        check(&block, &result, B256::from(root.0), keccak256(&encoded))?;
        laps.lap("tail");
        drop(state);
        self.leftovers.push(Box::new((block, result, bundle, changes, list, encoded)));
        Ok(laps.stages)
    }

    fn with_list(&mut self) -> Result<Stages, String> {
        let mut laps = Laps::start();
        let block = Block::<TxEnvelope>::decode(&mut &self.case.block[..]).map_err(text)?;
        let setting = self.setting(&block);
        let list = alloy_rlp::decode_exact::<Vec<AccountChanges>>(&self.case.list).map_err(text)?;
        validate_block_access_list(&list, block.body.transactions.len()).map_err(text)?;
        let reads = Arc::new(Bal::clone_from_alloy(&list).map_err(text)?);
        laps.lap("decode");

        let Self { case, threads, flat, tries, .. } = self;
        let threads = *threads;
        let transactions = &block.body.transactions;
        let next = AtomicUsize::new(0);
        let (sender, results) = mpsc::channel();
        let (list, next, flat, case) = (&list, &next, &**flat, &**case);
        let mut state = State::builder().with_database_ref(flat).with_bal_builder().build();
        let (executed, root) = std::thread::scope(|scope| {
            let root = scope.spawn(move || {
                let mut laps = Laps::start();
                let changes: Vec<AccountChange> =
                    list.iter().filter(|account| account.has_changes()).map(change).collect();
                let root = tries.update(&changes).map_err(text);
                laps.lap("root");
                (root, laps.stages, changes)
            });
            for _ in 0..threads {
                let sender = sender.clone();
                let (env, reads) = (setting.env.clone(), reads.clone());
                scope.spawn(move || {
                    let state = State::builder().with_database_ref(flat).with_bal(reads).build();
                    let mut evm = EthEvmFactory::default().create_evm(state, env);
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(tx) = transactions.get(index) else { break };
                        let result = tx.recover_signer().map_err(text).and_then(|signer| {
                            evm.db_mut().set_bal_index(BlockAccessIndex::new(index as u64 + 1));
                            evm.transact(TxEnv::from_recovered_tx(tx, signer)).map_err(text)
                        });
                        if sender.send((index, result)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let executed = commit_in_order(&block, &setting, &mut state, &results);
            laps.lap("execute");
            if executed.is_err() {
                next.store(transactions.len(), Ordering::Relaxed);
            }
            (executed, root.join())
        });
        let result = executed?;
        let (root, root_stages, changes) = root.map_err(|_| "the root thread panicked".to_owned())?;
        laps.lap("wait");
        let built = state.take_built_alloy_bal().ok_or("no list was built")?;
        let mut encoded = Vec::with_capacity(case.list.len());
        built.encode(&mut encoded);
        check(&block, &result, B256::from(root?.0), keccak256(&encoded))?;
        if encoded[..] != case.list[..] {
            return Err("the list that was built differs from the given one".to_owned());
        }
        laps.lap("tail");
        laps.stages.extend(root_stages);
        drop(state);
        self.leftovers.push(Box::new((result, changes, built, encoded, reads)));
        Ok(laps.stages)
    }
}

type TxOutcome = Result<ResultAndState, String>;

/// The main thread's work: system calls, admission, commits and receipts in the order of the block.
fn commit_in_order(
    block: &Block<TxEnvelope>,
    setting: &Setting,
    state: &mut State<WrapDatabaseRef<&RevmFlat>>,
    results: &mpsc::Receiver<(usize, TxOutcome)>,
) -> Result<BlockExecutionResult<Receipt>, String> {
    let evm = EthEvmFactory::default().create_evm(state, setting.env.clone());
    let mut executor = EthBlockExecutor::new(evm, context(block), setting.spec, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes().map_err(text)?;
    let transactions = &block.body.transactions;
    let mut waiting: Vec<Option<TxOutcome>> = transactions.iter().map(|_| None).collect();
    for (index, tx) in transactions.iter().enumerate() {
        while waiting[index].is_none() {
            let (done, result) = results.recv().map_err(|_| "the workers are gone".to_owned())?;
            waiting[done] = Some(result);
        }
        let result = waiting[index].take().unwrap_or_else(|| Err("no result".to_owned()))?;
        let limit = block.header.gas_limit;
        let execution_gas = tx.gas_limit().min(alloy_eips::eip7825::MAX_TX_GAS_LIMIT_OSAKA);
        if execution_gas > limit - executor.block_regular_gas_used
            || tx.gas_limit() > limit - executor.block_state_gas_used
        {
            return Err(format!("transaction {index} exceeds the block's gas limit"));
        }
        executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(index as u64 + 1));
        let blob_gas_used = tx.blob_gas_used().unwrap_or_default();
        executor.commit_transaction(EthTxResult { result, blob_gas_used, tx_type: tx.tx_type() });
    }
    executor.evm_mut().db_mut().set_bal_index(BlockAccessIndex::new(transactions.len() as u64 + 1));
    executor.finish().map(|(_, result)| result).map_err(text)
}

fn context(block: &Block<TxEnvelope>) -> EthBlockExecutionCtx<'_> {
    EthBlockExecutionCtx {
        parent_hash: block.header.parent_hash,
        parent_beacon_block_root: block.header.parent_beacon_block_root,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref().map(|list| std::borrow::Cow::Borrowed(list.as_slice())),
        extra_data: block.header.extra_data.clone(),
        tx_count_hint: Some(block.body.transactions.len()),
        slot_number: block.header.slot_number,
    }
}

/// The account's changes after the block, according to the list.
fn change(account: &AccountChanges) -> AccountChange {
    AccountChange {
        address: convert::address(account.address),
        status: AccountStatus::KeptUnlessEmpty,
        nonce: account.nonce_post_state(),
        balance: account.balance_post_state().map(convert::word),
        code_hash: account.code_hash_post_state().map(convert::hash),
        slots: account.storage_post_states().map(|(key, value)| (convert::key(key), convert::word(value))).collect(),
    }
}

fn check(
    block: &Block<TxEnvelope>,
    result: &BlockExecutionResult<Receipt>,
    root: B256,
    list_hash: B256,
) -> Result<(), String> {
    let header = &block.header;
    let bloom = result.receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    let differs = if result.gas_used != header.gas_used {
        "gas used"
    } else if alloy_consensus::proofs::calculate_receipt_root(&result.receipts) != header.receipts_root {
        "receipts root"
    } else if bloom != header.logs_bloom {
        "logs bloom"
    } else if Some(result.requests.requests_hash()) != header.requests_hash {
        "requests hash"
    } else if Some(list_hash) != header.block_access_list_hash {
        "list hash"
    } else if root != header.state_root {
        "state root"
    } else {
        return Ok(());
    };
    Err(format!("{differs} differs from the header's"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Arrangement for Revm {
    fn name(&self) -> &'static str {
        self.way.name()
    }

    fn prepare(&mut self) {
        self.leftovers.clear();
        self.tries = self.resident.deep_copy();
    }

    fn run(&mut self) -> Result<Stages, String> {
        match self.way {
            Way::Sequential => self.sequential(),
            Way::List => self.with_list(),
        }
    }
}
