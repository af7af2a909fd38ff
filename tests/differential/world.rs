//! A small pre-state in memory, and one top-level call or creation on it.
//!
//! In: a [`Scenario`]. Out: an [`Outcome`] with every result on which loops must agree.
//! Not here: generating scenarios (`scenario`, `program`), and the loops that are compared (`mod`).

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use balustrade::arena::code::{CodeArena, EMPTY_CODE};
use balustrade::arena::{AccountId, CodeId, SlotId};
use balustrade::exec::evm::call::{CallKind, CallRequest, Entered};
use balustrade::exec::evm::gas::TxGas;
use balustrade::exec::evm::halt::{Fault, Halt};
use balustrade::exec::evm::ids::IdMap;
use balustrade::exec::evm::machine::{BlockEnv, Evm, EvmScratch, FrameEnd, Input, Status, TxEnv};
use balustrade::exec::evm::state::{AccountState, StateProvider, StateScratch, TxState, flag};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The sender of every transaction.
pub const ORIGIN: Address = address!("00000000000000000000000000000000000e0e0e");
/// Fee recipient of the block.
pub const COINBASE: Address = address!("00000000000000000000000000000000000c0c0c");

/// Blob hashes of the transaction.
static BLOB_HASHES: [B256; 2] = [B256::repeat_byte(1), B256::repeat_byte(2)];

/// An account before the transaction.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub nonce: u64,
    pub balance: U256,
    pub code: Bytes,
    pub storage: BTreeMap<U256, U256>,
}

/// The first frame.
#[derive(Clone, Debug)]
pub enum Entry {
    Call(Address),
    StaticCall(Address),
    Create(Bytes),
}

/// A pre-state and a transaction's first frame.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub fork: Fork,
    pub accounts: BTreeMap<Address, Account>,
    pub entry: Entry,
    pub value: U256,
    pub input: Bytes,
    pub gas: u64,
    /// State gas in addition to `gas` (EIP-8037); only from Amsterdam on.
    pub reservoir: u64,
    /// Addresses and storage keys that are warm at the start (EIP-2930).
    pub access_list: Vec<(Address, Vec<U256>)>,
    /// Gas that each code has used before: a loop may decode codes that run often.
    pub work_before: u64,
    /// JUMPDESTs that were reached before: bit `i % 64` stands for the `i`th JUMPDEST of each code.
    pub reached_before: u64,
    /// An address whose reads fail.
    pub faulty: Option<Address>,
}

/// An account after the transaction: flags, then start and end of nonce, balance and code hash.
pub type AccountAfter = (u8, [u64; 2], [U256; 2], [B256; 2]);

/// The results on which loops must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Without the kind of halt: loops may check conditions in different order.
    pub status: &'static str,
    pub left: u64,
    pub spilled: u64,
    pub refill_new_account: bool,
    pub created: Option<Address>,
    pub gas: TxGas,
    pub output: Vec<u8>,
    pub logs: Vec<(Address, Vec<B256>, Vec<u8>)>,
    pub accounts: BTreeMap<Address, AccountAfter>,
    /// Flags, original and value.
    pub slots: BTreeMap<(Address, U256), (u8, U256, U256)>,
    /// Transient values at the keys of `slots`.
    pub transient: BTreeMap<(Address, U256), U256>,
    pub fault: Option<Fault>,
}

thread_local! {
    static SCRATCH: Cell<Option<(EvmScratch, StateScratch)>> = const { Cell::new(None) };
}

struct Parent<'s>(&'s Scenario, &'s CodeArena);

impl StateProvider for Parent<'_> {
    fn account(&mut self, _: AccountId, address: &Address) -> Result<AccountState, Fault> {
        if self.0.faulty == Some(*address) {
            return Err(Fault::Cancelled);
        }
        let Some(account) = self.0.accounts.get(address) else {
            return Ok(AccountState::default());
        };
        Ok(AccountState {
            exists: true,
            has_storage: !account.storage.is_empty(),
            nonce: account.nonce,
            balance: account.balance,
            code: if account.code.is_empty() { EMPTY_CODE } else { self.1.intern(keccak256(&account.code)) },
        })
    }

    fn slot(&mut self, _: SlotId, _: AccountId, address: &Address, key: &U256) -> Result<U256, Fault> {
        Ok(self.0.accounts.get(address).and_then(|account| account.storage.get(key)).copied().unwrap_or_default())
    }

    fn code(&mut self, id: CodeId, codes: &CodeArena) -> Result<(), Fault> {
        let hash = codes.hash(id);
        if let Some(account) = self.0.accounts.values().find(|account| keccak256(&account.code) == hash) {
            codes.provide(id, account.code.clone());
        }
        Ok(())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        Ok(keccak256(number.to_be_bytes()))
    }
}

/// The block of every scenario.
pub fn block() -> BlockEnv {
    BlockEnv {
        chain_id: 1,
        number: 1_000_000,
        timestamp: 1_790_000_000,
        coinbase: COINBASE,
        gas_limit: 60_000_000,
        base_fee: 7,
        difficulty: U256::from(0xd1ff),
        blob_base_fee: U256::from(3),
        slot_number: 12_345_678,
    }
}

/// Runs a scenario; `run` is the dispatch loop that runs the first frame.
pub fn execute(scenario: &Scenario, run: &mut dyn FnMut(&mut Evm<'_>) -> FrameEnd) -> Outcome {
    execute_listed(scenario, None, run)
}

/// The addresses and storage keys that a run accessed, as a block access list would give them.
pub fn listed_ids(outcome: &Outcome) -> IdMap {
    let mut id_map = IdMap::default();
    let ids: BTreeMap<_, _> = outcome.accounts.keys().map(|address| (*address, id_map.add_account(*address))).collect();
    for (address, key) in outcome.slots.keys() {
        id_map.add_slot(ids[address], *key);
    }
    id_map
}

/// [`execute`] where every access outside `listed` is a fault.
pub fn execute_listed(
    scenario: &Scenario,
    listed: Option<&IdMap>,
    run: &mut dyn FnMut(&mut Evm<'_>) -> FrameEnd,
) -> Outcome {
    let codes = CodeArena::default();
    if scenario.work_before > 0 {
        for account in scenario.accounts.values() {
            if let Some(code) = codes.get(codes.insert_hashing(account.code.clone())) {
                code.count_work(scenario.work_before);
                let jumpdests = (0..code.len()).filter(|pc| code.is_jumpdest(*pc)).enumerate();
                let reached = jumpdests.filter(|(index, _)| scenario.reached_before >> (index % 64) & 1 == 1);
                reached.for_each(|(_, pc)| code.mark_reached(pc));
            }
        }
    }
    let chain = ChainRules::mainnet(scenario.fork);
    let block = block();
    let base = Box::new(Parent(scenario, &codes));
    // Scratch memory is reused, because a new stack column takes 34 MB; contents of earlier runs must have no effect.
    let (evm_scratch, state_scratch) = SCRATCH.take().unwrap_or_default();
    let state = TxState::new(state_scratch, listed, base, &codes, scenario.fork);
    let mut evm = Evm::new(evm_scratch, &chain, &block, state);
    evm.tx = TxEnv { origin: ORIGIN, gas_price: U256::from(11), blob_hashes: &BLOB_HASHES, input: &scenario.input };
    if scenario.fork >= Fork::Amsterdam {
        evm.gas.reservoir = scenario.reservoir as i64;
    }
    let (mut panicked, nothing) =
        (false, FrameEnd { status: Status::Revert, left: 0, spilled: 0, refill_new_account: false, created: None });
    let end = match begin(&mut evm, scenario) {
        Ok(Entered::Done(end)) => end,
        Ok(Entered::Frame) => catch_unwind(AssertUnwindSafe(|| run(&mut evm))).unwrap_or_else(|_| {
            panicked = true;
            nothing
        }),
        Err(halt) => {
            FrameEnd { status: Status::Halt(halt), left: 0, spilled: 0, refill_new_account: false, created: None }
        }
    };
    let mut outcome = outcome(&evm, &end);
    if panicked {
        outcome.status = "panic";
    }
    SCRATCH.set(Some(evm.into_scratch()));
    outcome
}

fn begin(evm: &mut Evm<'_>, scenario: &Scenario) -> Result<Entered, Halt> {
    let berlin = scenario.fork >= Fork::Berlin;
    let origin = evm.state.account_id(&ORIGIN)?;
    evm.state.load(origin)?;
    if berlin {
        evm.state.warm(origin);
        for (address, keys) in &scenario.access_list {
            let Some(id) = evm.state.warm_name(address) else { continue };
            keys.iter().for_each(|key| evm.state.warm_slot_name(id, key));
        }
    }
    let (address, kind) = match &scenario.entry {
        Entry::Call(address) => (*address, CallKind::Call),
        Entry::StaticCall(address) => (*address, CallKind::StaticCall),
        Entry::Create(initcode) => {
            evm.state.load(origin)?;
            let (nonce, balance) = (evm.state.nonce(origin), evm.state.balance(origin));
            let created = ORIGIN.create(nonce);
            evm.state.set_nonce(origin, nonce + 1);
            let destination = evm.state.account_id(&created)?;
            if berlin {
                evm.state.warm(destination);
            }
            evm.state.load(destination)?;
            let value = scenario.value.min(balance);
            let initcode = evm.init_code_of(initcode);
            return evm.enter_create(origin, ORIGIN, destination, created, value, initcode, scenario.gas, false);
        }
    };
    let to = evm.state.account_id(&address)?;
    if berlin {
        evm.state.warm(to);
    }
    let code = evm.state.load(to)?.code;
    evm.enter_call(&CallRequest {
        kind,
        gas: scenario.gas,
        to,
        code,
        value: if kind == CallKind::Call { scenario.value } else { U256::ZERO },
        input: Input::Tx,
        output: (0, 0),
        charged_new_account: false,
    })
}

fn outcome(evm: &Evm<'_>, end: &FrameEnd) -> Outcome {
    let state = &evm.state;
    let id_map = state.ids.get();
    let hash = |code| state.codes.hash(code);
    let mut accounts = BTreeMap::new();
    for id in state.touched_accounts() {
        let row = state.row(*id);
        let after = (
            row.flags,
            [row.nonce_start, row.settled_nonce()],
            [row.balance_start, row.settled_balance()],
            [hash(row.code_start), hash(row.code)],
        );
        accounts.insert(state.address(*id), after);
    }
    let (mut slots, mut transient) = (BTreeMap::new(), BTreeMap::new());
    for id in state.touched_slots() {
        let owner = id_map.owners()[*id];
        let name = (state.address(owner), id_map.keys()[*id]);
        let row = state.slot_row(*id);
        // Before Berlin a mere access has no effect, and loops may charge gas before or after they read.
        if evm.fork() < Fork::Berlin && row.start == row.value {
            continue;
        }
        slots.insert(name, (row.flags & (flag::WARM | flag::LOADED), row.start, row.value));
        transient.insert(name, state.transient(owner, &name.1));
    }
    Outcome {
        status: match end.status {
            Status::Success => "success",
            Status::Revert => "revert",
            Status::Halt(Halt::Fault) => "fault",
            Status::Halt(_) => "halt",
        },
        left: end.left,
        spilled: end.spilled,
        refill_new_account: end.refill_new_account,
        created: end.created,
        gas: evm.gas,
        output: evm.return_data().to_vec(),
        logs: (0..state.logs.len())
            .map(|index| {
                let (address, topics, data) = state.logs.get(index);
                (*address, topics.to_vec(), data.to_vec())
            })
            .collect(),
        accounts,
        slots,
        transient,
        fault: state.fault.clone(),
    }
}
