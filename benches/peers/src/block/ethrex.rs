//! ethrex on whole blocks: sequentially with recording of the block access list, and driven by the list.

use super::case::Case;
use super::{Arrangement, Laps, Stages};
use crate::convert;
use crate::ethrex_flat::EthrexFlat;
use crate::ethrex_tries::{AccountChange, AccountStatus, EthrexTries};
use balustrade::StateChanges;
use ethrex_common::H256;
use ethrex_common::types::block_access_list::{BlockAccessList, synthesize_bal_updates};
use ethrex_common::types::{AccountUpdate, Block, ChainConfig, Code, ForkBlobSchedule, GLOBAL_SIGNER_CACHE};
use ethrex_common::validation::{
    validate_block_access_list_hash, validate_gas_used, validate_receipts_root_and_logs_bloom, validate_requests_hash,
};
use ethrex_crypto::NativeCrypto;
use ethrex_levm::db::gen_db::GeneralizedDatabase;
use ethrex_levm::vm::VMType;
use ethrex_rlp::decode::RLPDecode;
use ethrex_vm::BlockExecutionResult;
use ethrex_vm::backends::levm::LEVM;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The parent state of a case in ethrex's types.
pub(crate) fn flat(case: &Case, tries: &EthrexTries) -> EthrexFlat {
    let mut flat = EthrexFlat { config: config(case), ..EthrexFlat::default() };
    for (address, ..) in case.accounts() {
        let address = convert::address(address);
        flat.accounts.extend(tries.account(address).map(|state| (address, state)));
    }
    for (address, key, value) in case.slots() {
        flat.slots.insert((convert::address(address), convert::key(key)), convert::word(value));
    }
    for (hash, code) in &case.codes {
        let hash = convert::hash(*hash);
        flat.codes.insert(hash, Code::from_bytecode_unchecked(code.0.clone(), hash));
    }
    flat.block_hashes = case.block_hashes.iter().map(|(number, hash)| (*number, convert::hash(*hash))).collect();
    flat
}

/// Makes the changes of a block; `tries` have them already.
fn apply(flat: &mut EthrexFlat, tries: &EthrexTries, case: &Case, changes: &StateChanges) {
    for (hash, code) in &case.codes {
        let hash = convert::hash(*hash);
        flat.codes.insert(hash, Code::from_bytecode_unchecked(code.0.clone(), hash));
    }
    flat.block_hashes.extend(case.block_hashes.iter().map(|(number, hash)| (*number, convert::hash(*hash))));
    for (row, address) in changes.addresses.iter().enumerate() {
        let address = convert::address(*address);
        match tries.account(address) {
            Some(state) => drop(flat.accounts.insert(address, state)),
            None => drop(flat.accounts.remove(&address)),
        }
        for (key, value) in changes.slots(row) {
            let slot = (address, convert::key(key));
            if value.is_zero() {
                flat.slots.remove(&slot);
            } else {
                flat.slots.insert(slot, convert::word(value));
            }
        }
    }
}

/// All forks from genesis on.
fn config(case: &Case) -> ChainConfig {
    let (block, time) = (Some(0), Some(0));
    let schedule = case.rules.blob_schedule;
    let mut config = ChainConfig {
        chain_id: case.rules.chain_id,
        homestead_block: block,
        eip150_block: block,
        eip155_block: block,
        eip158_block: block,
        byzantium_block: block,
        constantinople_block: block,
        petersburg_block: block,
        istanbul_block: block,
        berlin_block: block,
        london_block: block,
        shanghai_time: time,
        cancun_time: time,
        prague_time: time,
        osaka_time: time,
        bpo1_time: time,
        bpo2_time: time,
        amsterdam_time: time,
        terminal_total_difficulty: Some(0),
        terminal_total_difficulty_passed: true,
        deposit_contract_address: convert::address(case.rules.deposit_contract),
        ..ChainConfig::default()
    };
    config.blob_schedule.amsterdam = Some(ForkBlobSchedule {
        base_fee_update_fraction: schedule.base_fee_update_fraction,
        max: schedule.max as u32,
        target: schedule.target as u32,
    });
    config
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
            Self::Sequential => "ethrex-seq",
            Self::List => "ethrex-bal",
        }
    }
}

pub(crate) struct Ethrex {
    case: Rc<Case>,
    way: Way,
    flat: Arc<EthrexFlat>,
    resident: Rc<EthrexTries>,
    tries: EthrexTries,
    /// Allocations of the last run, freed outside the measured time.
    leftovers: Vec<Box<dyn Any>>,
}

impl Ethrex {
    pub(crate) fn new(case: &Rc<Case>, way: Way, flat: &Arc<EthrexFlat>, resident: &Rc<EthrexTries>) -> Self {
        let (case, flat, resident) = (case.clone(), flat.clone(), resident.clone());
        Self { case, way, flat, resident, tries: EthrexTries::default(), leftovers: Vec::new() }
    }

    /// Executes and checks the next block of a chain and makes its changes.
    pub(crate) fn follow(&mut self, case: &Rc<Case>, changes: &StateChanges) -> Result<(), String> {
        self.case = case.clone();
        self.run()?;
        // They share the state.
        self.leftovers.clear();
        let flat = Arc::get_mut(&mut self.flat).ok_or("the state is in use")?;
        apply(flat, &self.tries, case, changes);
        Ok(())
    }

    fn sequential(&mut self) -> Result<Stages, String> {
        let mut laps = Laps::start();
        let block = Block::decode(&self.case.block).map_err(text)?;
        laps.lap("decode");
        // Recovered senders are cached in the transactions, where `execute_block` finds them.
        block.body.get_transactions_with_sender(&NativeCrypto).map_err(text)?;
        laps.lap("recover");
        let mut database = GeneralizedDatabase::new(self.flat.clone());
        let (result, list) =
            LEVM::execute_block(&block, &mut database, VMType::L1, &NativeCrypto, None).map_err(text)?;
        let updates = LEVM::get_state_transitions(&mut database).map_err(text)?;
        laps.lap("execute");
        let changes: Vec<AccountChange> = updates.iter().map(change).collect();
        let root = self.tries.update(&changes).map_err(text)?;
        laps.lap("root");
        check(&block, &self.flat.config, &result, root)?;
        let list = list.ok_or("no list was recorded")?;
        let count = block.body.transactions.len();
        validate_block_access_list_hash(&block.header, &self.flat.config, &list, count, &NativeCrypto).map_err(text)?;
        laps.lap("tail");
        self.leftovers.push(Box::new((block, database, result, updates, changes, list)));
        Ok(laps.stages)
    }

    fn with_list(&mut self) -> Result<Stages, String> {
        let mut laps = Laps::start();
        let block = Block::decode(&self.case.block).map_err(text)?;
        let list = Arc::new(BlockAccessList::decode(&self.case.list).map_err(text)?);
        laps.lap("decode");
        let mut database = GeneralizedDatabase::new(self.flat.clone());
        let tries = &mut self.tries;
        let case = &self.case;
        let bytes = &case.list;
        let (executed, root) = std::thread::scope(|scope| {
            let list_of_root = &list;
            let root = scope.spawn(move || {
                let mut laps = Laps::start();
                let hash = BlockAccessList::hash_of_canonical_encoding(bytes, &NativeCrypto);
                laps.lap("list_hash");
                let updates = synthesize_bal_updates(list_of_root);
                let changes: Vec<AccountChange> = updates
                    .into_iter()
                    .map(|(address, item)| AccountChange {
                        address,
                        status: AccountStatus::KeptUnlessEmpty,
                        nonce: item.nonce,
                        balance: item.balance,
                        code_hash: item.code_hash,
                        slots: item.added_storage.into_iter().collect(),
                    })
                    .collect();
                let root = tries.update(&changes).map_err(text);
                laps.lap("root");
                (root, hash, laps.stages, changes)
            });
            let executed = execute_with_list(&block, &mut database, &list, &mut laps);
            (executed, root.join())
        });
        let result = executed?;
        let (root, hash, root_stages, changes) = root.map_err(|_| "the root thread panicked".to_owned())?;
        laps.lap("wait");
        check(&block, &self.flat.config, &result, root?)?;
        if block.header.block_access_list_hash != Some(hash) {
            return Err("the list's hash differs from the header's".to_owned());
        }
        laps.lap("tail");
        laps.stages.extend(root_stages);
        self.leftovers.push(Box::new((block, database, result, list, changes)));
        Ok(laps.stages)
    }
}

fn execute_with_list(
    block: &Block,
    database: &mut GeneralizedDatabase,
    list: &Arc<BlockAccessList>,
    laps: &mut Laps,
) -> Result<BlockExecutionResult, String> {
    block.body.get_transactions_with_sender(&NativeCrypto).map_err(text)?;
    laps.lap("recover");
    let queue_length = AtomicUsize::new(0);
    let (result, _) = LEVM::execute_block_pipeline(
        block,
        database,
        VMType::L1,
        None,
        &queue_length,
        &NativeCrypto,
        Some(list.clone()),
        true,
        None,
    )
    .map_err(text)?;
    laps.lap("execute");
    Ok(result)
}

fn check(block: &Block, config: &ChainConfig, result: &BlockExecutionResult, root: H256) -> Result<(), String> {
    validate_gas_used(result.block_gas_used, &block.header).map_err(text)?;
    validate_receipts_root_and_logs_bloom(&block.header, &result.receipts, &NativeCrypto).map_err(text)?;
    validate_requests_hash(&block.header, config, &result.requests).map_err(text)?;
    if root != block.header.state_root {
        return Err(format!("the state root is {root:?}, the header's {:?}", block.header.state_root));
    }
    Ok(())
}

fn change(update: &AccountUpdate) -> AccountChange {
    let info = update.info.as_ref();
    AccountChange {
        address: update.address,
        status: match (update.removed, update.removed_storage) {
            (true, _) => AccountStatus::Removed,
            (false, true) => AccountStatus::StorageCleared,
            (false, false) => AccountStatus::Kept,
        },
        nonce: info.map(|info| info.nonce),
        balance: info.map(|info| info.balance),
        code_hash: info.map(|info| info.code_hash),
        slots: update.added_storage.iter().map(|(key, value)| (*key, *value)).collect(),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Arrangement for Ethrex {
    fn name(&self) -> &'static str {
        self.way.name()
    }

    fn prepare(&mut self) {
        self.leftovers.clear();
        self.tries = self.resident.deep_copy();
        if let Ok(mut signers) = GLOBAL_SIGNER_CACHE.lock() {
            signers.clear();
        }
    }

    fn run(&mut self) -> Result<Stages, String> {
        match self.way {
            Way::Sequential => self.sequential(),
            Way::List => self.with_list(),
        }
    }
}
