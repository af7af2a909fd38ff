//! No transaction allocates in steady state.
//!
//! **Counted**: calls of `alloc`, `alloc_zeroed` and `realloc` by the worker's thread from the start of a transaction
//! until its effects are applied ([`Evm::execute_tx`] with the default loop, then the commit in sequential mode, or the
//! comparison with the block access list in `bal` mode): validity, fees, frames, state access, journal, settlement.
//! **Steady state**: the worker has run the same block before on the same scratch; its codes are analysed and decoded,
//! and its columns have the capacity that the block needs. Then the count is exactly 0 for every kind of transaction in
//! [`kinds::all`]. [`kinds::by_library`] has the precompiles whose libraries allocate; the test prints how often.
//!
//! The allocations of a block outside its transactions (columns of outcomes, the recorded list, a worker's results) are
//! also counted: their number may grow only with the doublings of columns, see [`whole_blocks_allocate_amortized`].
//! Logs and outcomes are returned with the block: their columns are allocated once per block, with the capacity that
//! the previous block needed.
//! Not counted: decoding, sender recovery, receipts, roots; the first use of a code, address, slot or hash.

mod counter;
mod kinds;

use alloy_primitives::{Address, B256, U256};
use balustrade::arena::code::CodeArena;
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore, ParentAccount, SlotQuery, StateStore};
use balustrade::arena::{BlockAccessIndex, CodeId, TxIndex};
use balustrade::bal::{self, BalColumns, ExistenceColumns, ExistenceLog, ListedParents};
use balustrade::exec::block::code_loader::CodeLoader;
use balustrade::exec::block::providers::{BalState, Overlay, OverlayState, ParentRows, PreState};
use balustrade::exec::block::tasks::{BlockContext, ListState, WorkerScratch, run_sequential, run_with_list};
use balustrade::exec::block::verify::{ListClaims, task_matches};
use balustrade::exec::evm::ids::IdMap;
use balustrade::exec::evm::machine::Evm;
use balustrade::exec::evm::state::TxState;
use balustrade::exec::interpreter::LoopKind;
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::senders::rows::SenderRows;
use balustrade::exec::tx::TxInput;
use balustrade::exec::wire::{Block, Header, assemble};
use balustrade_cli::devnet::contracts;
use counter::allocations_in;
use kinds::Kind;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const SENDER: Address = Address::repeat_byte(0x5e);
/// Number of transactions of the smaller block; the larger one has twice as many.
const COUNT: u64 = 48;
/// Runs before counting: a code is decoded in its fourth run.
const WARM_UP: usize = 3;

/// A block of one kind of transaction, with its parent state.
struct Bed {
    rules: ChainRules,
    store: MemoryStore,
    codes: CodeArena,
    block: Block,
    senders: Vec<Option<Address>>,
    authorities: Vec<Option<Address>>,
}

impl Bed {
    fn new(kind: &Kind, fork: Fork, count: u64) -> Self {
        let mut store = MemoryStore::default();
        store.insert_account(SENDER, 0, U256::from(10).pow(U256::from(30)), KECCAK_EMPTY, []);
        let code_hash = store.insert_code(kind.code.clone().into());
        let funds = (0..4u64).map(|slot| (U256::from(slot), U256::from(1)));
        let own_tokens = [(contracts::balance_slot(SENDER), U256::from(1_000_000))];
        store.insert_account(kind.target(), 1, U256::from(1_000_000), code_hash, funds.chain(own_tokens));
        let header = Header {
            number: 1,
            gas_limit: 1_000_000_000,
            base_fee: Some(7),
            withdrawals_root: Some(B256::ZERO),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_root: Some(B256::ZERO),
            requests_hash: Some(B256::ZERO),
            block_access_list_hash: (fork >= Fork::Amsterdam).then_some(B256::ZERO),
            slot_number: (fork >= Fork::Amsterdam).then_some(1),
            coinbase: Address::repeat_byte(0xcb),
            ..Header::default()
        };
        let transactions: Vec<_> = (0..count).map(|i| kind.transaction(i)).collect();
        let block = Block::decode(assemble(&header, &transactions).into()).expect("a block");
        let signers = kind.authorities();
        let authorities = (0..count).flat_map(|_| signers.iter().map(|signer| Some(*signer))).collect();
        Self {
            rules: ChainRules::mainnet(fork),
            store,
            codes: CodeArena::default(),
            block,
            senders: vec![Some(SENDER); count as usize],
            authorities,
        }
    }

    fn context(&self) -> BlockContext<'_> {
        let signers = SenderRows::Known { senders: &self.senders, authorities: &self.authorities, candidates: None };
        let mut context = BlockContext::new(&self.rules, &self.block, signers, LoopKind::default());
        context.system_phases = false;
        context
    }

    fn input(&self, tx: TxIndex) -> TxInput<'_> {
        let transactions = &self.block.transactions;
        let authorities = &self.authorities[transactions.authorization_rows(tx)];
        TxInput { transactions, index: tx, sender: Some(SENDER), authorities }
    }

    /// The block access list that sequential execution records.
    fn list(&self) -> List {
        let (_, recording) =
            run_sequential(&self.context(), &self.store, &self.codes, &mut WorkerScratch::default(), Instant::now())
                .expect("a valid block");
        let columns = recording.list.columns;
        let mut accounts = vec![ParentAccount::default(); columns.account_count()];
        self.store.accounts(columns.addresses().as_slice(), &mut accounts).expect("in memory");
        let queries: Vec<SlotQuery> = columns
            .slot_accounts()
            .iter()
            .map(|(slot, owner)| SlotQuery { address: columns.addresses()[*owner], key: columns.slot_keys()[slot] })
            .collect();
        let mut slots = vec![U256::ZERO; queries.len()];
        self.store.slots(&queries, &mut slots).expect("in memory");
        let codes: Vec<_> = accounts.iter().map(|account| self.codes.intern(account.code_hash)).collect();
        let code_rows = bal::code_hashes(&columns).into_iter().map(|hash| self.codes.intern(hash)).collect();
        let mut id_map = IdMap::default();
        id_map.fill(columns.addresses().as_slice(), columns.slot_keys().as_slice(), columns.slot_accounts().as_slice());
        List {
            rows_at: columns.rows_per_index(self.block.transactions.len()),
            existence_log: ExistenceLog::default().resolve(&columns, BlockAccessIndex(0)).expect("an empty one"),
            pre: PreState {
                parents: ListedParents { accounts: accounts.into(), slots: slots.into() },
                codes: codes.into(),
            },
            code_rows,
            id_map,
            columns,
        }
    }

    /// Runs every transaction on `evm`, each followed by `take_in`; returns the allocations of each.
    fn count<'b>(
        &'b self,
        evm: &mut Evm<'b>,
        kind: &Kind,
        mut take_in: impl FnMut(&mut Evm<'b>, BlockAccessIndex),
    ) -> Vec<u64> {
        let transactions = (0..self.block.transactions.len()).map(|tx| TxIndex(tx as u32));
        transactions
            .map(|tx| {
                let input = self.input(tx);
                let index = BlockAccessIndex(tx.0 + 1);
                let (allocations, outcome) = allocations_in(|| {
                    evm.state.set_index(index);
                    let outcome = evm.execute_tx(&input, &mut LoopKind::default().into());
                    take_in(evm, index);
                    outcome
                });
                let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error:?}", kind.name));
                assert_eq!(outcome.success, !kind.fails, "{} {tx:?}", kind.name);
                allocations
            })
            .collect()
    }

    /// Allocations per transaction in sequential mode, in steady state.
    fn count_sequential(&self, kind: &Kind) -> Vec<u64> {
        let context = self.context();
        let mut scratch = WorkerScratch::default();
        let mut overlay = Overlay::default();
        let mut counts = Vec::new();
        for _ in 0..=WARM_UP {
            overlay.clear();
            let base = Box::new(OverlayState { overlay: &mut overlay, store: &self.store, codes: &self.codes });
            let state = TxState::new(scratch.state, None, base, &self.codes, self.rules.fork);
            let mut evm = Evm::new(scratch.evm, &self.rules, &context.env, state);
            counts = self.count(&mut evm, kind, |evm, _| evm.state.commit());
            // The block's outcome keeps the logs; the next block starts with the same capacity.
            drop(evm.state.take_logs());
            (scratch.evm, scratch.state) = evm.into_scratch();
        }
        counts
    }

    /// The same in `bal` mode.
    fn count_with_list(&self, kind: &Kind) -> Vec<u64> {
        let context = self.context();
        let list = self.list();
        let claims =
            ListClaims { bal: &list.columns, existence_log: None, code_rows: &list.code_rows, rows_at: &list.rows_at };
        let mut scratch = WorkerScratch::default();
        let mut counts = Vec::new();
        for _ in 0..=WARM_UP {
            let List { columns, existence_log, pre, code_rows, .. } = &list;
            let parent = ParentRows::Known(pre);
            let loader = CodeLoader::new(&self.store, &self.codes);
            let base = Box::new(BalState::new(columns, existence_log, parent, code_rows, &loader, self.rules.fork));
            let state = TxState::new(scratch.state, Some(&list.id_map), base, &self.codes, self.rules.fork);
            let mut evm = Evm::new(scratch.evm, &self.rules, &context.env, state);
            counts = self.count(&mut evm, kind, |evm, index| assert!(task_matches(&evm.state, &claims, index)));
            drop(evm.state.take_logs());
            (scratch.evm, scratch.state) = evm.into_scratch();
        }
        counts
    }

    /// Allocations of a whole block in steady state on one worker: in sequential mode, and in `bal` mode.
    fn count_blocks(&self) -> (u64, u64) {
        let context = self.context();
        let list = self.list();
        let refused = AtomicBool::new(false);
        let list = ListState {
            bal: &list.columns,
            existence_log: &list.existence_log,
            id_map: &list.id_map,
            parent: ParentRows::Known(&list.pre),
            code_rows: &list.code_rows,
            rows_at: &list.rows_at,
            refused: &refused,
            shuffle: None,
        };
        let (mut scratch, scratches) = (WorkerScratch::default(), [Mutex::default()]);
        let mut counts = (0, 0);
        for _ in 0..=WARM_UP {
            let (sequential, result) = allocations_in(|| {
                run_sequential(&context, &self.store, &self.codes, &mut scratch, Instant::now()).map(drop)
            });
            result.expect("a valid block");
            let (with_list, result) = allocations_in(|| {
                let loader = CodeLoader::new(&self.store, &self.codes);
                run_with_list(&context, &list, &loader, &scratches, &|| (), Instant::now()).map(drop)
            });
            result.expect("a valid block");
            counts = (sequential, with_list);
        }
        counts
    }
}

/// A recorded block access list, prepared as in `bal` mode.
struct List {
    columns: BalColumns,
    existence_log: ExistenceColumns,
    id_map: IdMap,
    pre: PreState,
    code_rows: Vec<CodeId>,
    rows_at: Vec<u32>,
}

#[test]
fn no_transaction_allocates_in_steady_state() {
    for fork in [Fork::Osaka, Fork::Amsterdam] {
        for kind in kinds::all() {
            let bed = Bed::new(&kind, fork, COUNT);
            let none = vec![0; COUNT as usize];
            assert_eq!(bed.count_sequential(&kind), none, "{} in sequential mode, {fork:?}", kind.name);
            assert_eq!(bed.count_with_list(&kind), none, "{} in bal mode, {fork:?}", kind.name);
        }
    }
}

#[test]
fn precompile_libraries_allocate_a_constant_number_of_times() {
    for kind in kinds::by_library() {
        let bed = Bed::new(&kind, Fork::Amsterdam, COUNT);
        let counts = bed.count_with_list(&kind);
        println!("{}: {} allocations per transaction, one call each", kind.name, counts[0]);
        assert!(counts.iter().all(|count| *count == counts[0] && *count < 40), "{}: {counts:?}", kind.name);
    }
}

/// Twice as many transactions need no further allocation in `bal` mode, from scheduling tasks to merging the workers'
/// results. In sequential mode they need at most one more for each column of the recorded list that grows: at most 8 in
/// total.
#[test]
fn whole_blocks_allocate_amortized() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| {
        for kind in kinds::all() {
            let (sequential, with_list) = Bed::new(&kind, Fork::Amsterdam, COUNT).count_blocks();
            let (twice_sequential, twice_with_list) = Bed::new(&kind, Fork::Amsterdam, 2 * COUNT).count_blocks();
            println!(
                "{}: a block of {COUNT} and one of {}: sequential {sequential}, {twice_sequential}; bal {with_list}, \
                 {twice_with_list}",
                kind.name,
                2 * COUNT,
            );
            assert!(twice_sequential - sequential <= 8, "{}", kind.name);
            assert_eq!(twice_with_list, with_list, "{}", kind.name);
        }
    });
}
