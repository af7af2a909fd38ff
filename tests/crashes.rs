//! A state on disk is what was committed last, wherever its process is interrupted.
//!
//! A chain with commits, reverts and checkpoints runs on a simulated disk. At every operation of the disk the power may
//! fail: any part of what was not synced is lost. `BALUSTRADE_CRASHES` is the number of these crash points (default 60).

use alloy_primitives::{B256, Bytes};
use balustrade::db::DiskOptions;
use balustrade::disk::StoreId;
use balustrade::disk::files::simulated::{Disk, Random};
use balustrade::disk::store::{Description, PagesKind, Store};
use balustrade::exec::rules::fork::ChainRules;
use balustrade::executor::Body;
use balustrade::{BlockInput, DbError, Executor, Header, MemoryStore, Mode, Options, StateDb};
use balustrade_cli::devnet::Devnet;
use std::sync::{Arc, Mutex};

/// The chain that the tests run: its genesis, and blocks with their lists.
struct Chain {
    state: MemoryStore,
    genesis: Header,
    rules: ChainRules,
    blocks: Vec<(Bytes, Bytes)>,
    /// State root and hash of each head, the genesis first.
    heads: Vec<(B256, B256)>,
}

fn chain(count: usize, executor: &mut Executor) -> Chain {
    let mut devnet = Devnet::default();
    let (rules, state) = (Devnet::rules(), devnet.genesis_state());
    let mut db = StateDb::at_genesis(state.clone(), Devnet::genesis_header).expect("a state");
    let genesis = db.head().clone();
    let (mut blocks, mut heads) = (Vec::new(), vec![(db.state_root(), db.head_hash())]);
    for _ in 0..count {
        let template = Devnet::template(db.head());
        let transactions = devnet.transactions(template.base_fee.expect("London"));
        let withdrawals = devnet.withdrawals(template.number);
        let body = Body { transactions: &transactions, withdrawals: &withdrawals };
        let (store, tries) = db.parts();
        let built = executor.build_body(&rules, &template, body, store, tries, None).expect("valid");
        let input = BlockInput::new(&rules, built.block.clone());
        let outcome = db.execute(executor, &input, Options::new(Mode::Sequential)).expect("valid");
        db.commit(&outcome).expect("it was executed");
        blocks.push((built.block, outcome.bal.clone()));
        heads.push((db.state_root(), db.head_hash()));
    }
    Chain { state, genesis, rules, blocks, heads }
}

/// The error of a disk with faults.
type Stop = Box<dyn std::error::Error>;

/// Blocks above the genesis that the head may have after a crash: the acknowledged one, and the one in progress.
#[derive(Clone, Copy, Debug)]
struct Expected {
    acknowledged: usize,
    in_progress: usize,
}

impl Chain {
    fn commit(&self, db: &mut StateDb, executor: &mut Executor, at: usize) -> Result<(), Stop> {
        let (block, list) = &self.blocks[at];
        let input = BlockInput::new(&self.rules, block.clone()).with_list(list.clone());
        let outcome = db.execute(executor, &input, Options::new(Mode::Bal))?;
        Ok(db.commit(&outcome)?)
    }

    /// Commits all blocks with reverts between them; `expect` is called before each change with what it leads to.
    fn run(&self, db: &mut StateDb, executor: &mut Executor, mut expect: impl FnMut(Expected)) -> Result<(), Stop> {
        let mut head = 0;
        let mut step = |db: &mut StateDb, to: usize| {
            while head != to {
                let next = if to > head { head + 1 } else { head - 1 };
                expect(Expected { acknowledged: head, in_progress: next });
                match next > head {
                    true => self.commit(db, executor, head)?,
                    false => db.revert_to(next as u64)?,
                }
                head = next;
            }
            expect(Expected { acknowledged: head, in_progress: head });
            Ok::<(), Stop>(())
        };
        for to in [3, 1, self.blocks.len(), self.blocks.len() - 2, self.blocks.len()] {
            step(db, to)?;
        }
        Ok(())
    }
}

fn description(pages: PagesKind) -> Description {
    Description { pages, page_bytes: 2048, chain_id: 1, genesis: B256::ZERO, id: StoreId([7; 16]) }
}

fn options(pages: PagesKind, checkpoint_bytes: usize) -> DiskOptions {
    DiskOptions { pages, page_bytes: 2048, checkpoint_bytes, ..DiskOptions::default() }
}

fn create(disk: &Disk, chain: &Chain, options: DiskOptions) -> StateDb {
    let store = Store::create_in(disk.files(), description(options.pages), &options.files).expect("an empty disk");
    StateDb::create_in(store, options, &chain.state, chain.genesis.clone()).expect("a state")
}

fn open(disk: &Disk, options: DiskOptions) -> Result<StateDb, DbError> {
    let store = Store::open_in(disk.files(), description(options.pages), &options.files)?;
    Ok(StateDb::open_in(store, options)?.0)
}

#[test]
fn no_loss_of_power_loses_an_acknowledged_block() {
    let wanted: usize = std::env::var("BALUSTRADE_CRASHES").map_or(60, |count| count.parse().expect("a number"));
    let mut executor = Executor::new(2).expect("threads");
    let chain = chain(6, &mut executor);
    let mut done = 0;
    let mut seed = 0;
    let mut kinds = [0usize; 2];
    while done < wanted {
        seed += 1;
        // A checkpoint at each block, at some, at none.
        let options = options(PagesKind::Files, [0, 6_000, usize::MAX][seed as usize % 3]);
        let disk = Disk::default();
        let mut db = create(&disk, &chain, options);
        let expected = Arc::new(Mutex::new(Expected { acknowledged: 0, in_progress: 0 }));
        let crashes = Arc::new(Mutex::new(Vec::new()));
        let (watched, found) = (Arc::clone(&expected), Arc::clone(&crashes));
        let mut random = Random(seed * 104_729);
        let mut lots = Random(seed * 7_919);
        disk.watch(move |copy: Disk| {
            // A share of all operations, so that many runs with different losses are made.
            if lots.below(4) == 0 {
                found.lock().expect("no panic").push((copy, *watched.lock().expect("no panic")));
            }
        });
        chain
            .run(&mut db, &mut executor, |now| *expected.lock().expect("no panic") = now)
            .expect("a disk without faults");
        drop(db);
        for (disk, expected) in crashes.lock().expect("no panic").drain(..) {
            let mut db =
                open(&disk.power_loss(&mut random), options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let head = db.head().number as usize;
            assert!([expected.acknowledged, expected.in_progress].contains(&head), "{head}, {expected:?}");
            kinds[usize::from(head == expected.in_progress)] += 1;
            assert_eq!((db.state_root(), db.head_hash()), chain.heads[head]);
            db.disk().expect("on disk").check(|_| true).expect("all units are right");
            if done % 16 == 0 {
                // The chain goes on from there.
                for at in head..chain.blocks.len() {
                    chain.commit(&mut db, &mut executor, at).expect("a disk without faults");
                }
                assert_eq!((db.state_root(), db.head_hash()), chain.heads[chain.blocks.len()]);
            }
            done += 1;
        }
    }
    println!("{done} crash points, {} before and {} after the change in progress", kinds[0], kinds[1]);
    assert!(kinds[0] > 0 && kinds[1] > 0);
}

#[test]
fn a_full_disk_and_failed_operations_keep_the_head() {
    let mut executor = Executor::new(2).expect("threads");
    let chain = chain(4, &mut executor);
    let options = options(PagesKind::Files, 0);
    let last = {
        let disk = Disk::default();
        let mut db = create(&disk, &chain, options);
        chain.run(&mut db, &mut executor, |_| ()).expect("a disk without faults");
        disk.operations()
    };
    let mut failed = 0;
    for fault in 0..60 {
        let disk = Disk::default();
        let mut db = create(&disk, &chain, options);
        let first = disk.operations();
        let mut random = Random(fault + 1);
        if fault % 3 == 0 {
            disk.set_capacity(disk.bytes() + random.below(60_000));
        } else {
            disk.fail_at(first + random.below((last - first) as usize) as u64, &mut random);
        }
        let mut expected = Expected { acknowledged: 0, in_progress: 0 };
        let result = chain.run(&mut db, &mut executor, |now| expected = now);
        failed += usize::from(result.is_err());
        drop(db);
        // The faults have ended; a copy has none.
        let db = open(&disk.copy(), options).unwrap_or_else(|error| panic!("fault {fault}: {error}"));
        let head = db.head().number as usize;
        assert!([expected.acknowledged, expected.in_progress].contains(&head), "{head}, {expected:?}, {result:?}");
        assert_eq!((db.state_root(), db.head_hash()), chain.heads[head]);
        db.disk().expect("on disk").check(|_| true).expect("all units are right");
    }
    assert!(failed > 30, "{failed} runs failed");
}
