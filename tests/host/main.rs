//! The library in a host's process: whose threads it uses and how, and what a store may do in its methods.
//!
//! One test, as it counts the threads of the process: that count would change under tests beside it.

#[path = "../signed/mod.rs"]
mod signed;

use alloy_primitives::{Address, B256, Bytes, U256};
use balustrade::arena::path::NodeQuery;
use balustrade::list::{BalColumns, Limits, decode};
use balustrade::{
    Binding, BlockInput, ChainRules, Executor, Fork, Header, MemoryStore, Mode, Options, ParentAccount, Pool,
    SlotQuery, StateStore, StateTries, StoreError, WitnessStore,
};
use balustrade_cli::testing::{cancun_parent, template};
use rayon::prelude::*;
use signed::{Call, fund, secret};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const MODES: [Mode; 3] = [Mode::Bal, Mode::Sequential, Mode::Optimistic];
const THREADS: usize = 3;
/// How many calls the library asks a store for at a time where that is not resident.
const READERS: usize = 8;
/// Long after every block of this test is over.
const DEADLOCK: Duration = Duration::from_secs(240);

/// A block of forty calls of twenty contracts on a small state, and a witness of what it needs.
struct World {
    rules: ChainRules,
    parent: Header,
    block: Bytes,
    list: Bytes,
    witness: WitnessStore,
}

impl World {
    fn new(executor: &mut Executor) -> Self {
        let rules = ChainRules::mainnet(Fork::Cancun);
        let mut store = MemoryStore::default();
        fund(&mut store, 40);
        let mut calls = Vec::new();
        for index in 0..40u64 {
            // slot[CALLER] = index + slot[NUMBER]; each pair of senders shares a contract.
            let contract = Address::with_last_byte(0x80 + index as u8 / 2);
            let code = store.insert_code(vec![0x60, index as u8 / 2, 0x43, 0x54, 0x01, 0x33, 0x55, 0x00].into());
            let slots = (0..4).map(|key| (U256::from(key), U256::from(index + 7)));
            store.insert_account(contract, 1, U256::ZERO, code, slots);
            let call = Call { nonce: 0, gas: 100_000, to: Some(contract), value: index, data: &[] };
            calls.push(call.sign(&secret(index)));
        }
        let mut tries = StateTries::from_memory(&store).expect("in memory");
        let parent = cancun_parent(tries.root());
        let template = Header { parent_hash: parent.hash(), ..template(Fork::Cancun) };
        let built = executor.build(&rules, &template, &calls, &store, &mut tries).expect("a valid block");
        let input = BlockInput::new(&rules, built.block.clone());
        let outcome = executor.execute(&input, &store, None, Options::new(Mode::Sequential)).expect("valid");
        let columns = decode(&built.bal, &Limits::format_only()).expect("recorded");
        let addresses = columns.addresses().as_slice();
        let nodes = tries.witness(&store, addresses, &slots_of(&columns), &outcome.changes).expect("in memory");
        let witness = WitnessStore::new(tries.root(), nodes, store.iter_codes().map(|(_, code)| code.clone()));
        Self { rules, parent, block: built.block, list: built.bal, witness }
    }

    /// Executes the block and drops the codes that it loaded.
    fn execute(&self, executor: &mut Executor, store: &dyn StateStore, mode: Mode) {
        self.run(executor, store, mode);
        executor.forget_codes();
    }

    /// Executes the block; it has to be valid, with every check made.
    fn run(&self, executor: &mut Executor, store: &dyn StateStore, mode: Mode) {
        let mut tries = StateTries::from_root(self.parent.state_root);
        let input =
            BlockInput::new(&self.rules, self.block.clone()).with_list(self.list.clone()).with_parent(&self.parent);
        let outcome = executor.execute(&input, store, Some(&mut tries), Options::new(mode)).expect("valid");
        assert!(outcome.require_complete().is_ok(), "{mode:?}");
    }
}

fn slots_of(columns: &BalColumns) -> Vec<SlotQuery> {
    let owners = columns.slot_accounts().as_slice().iter().map(|owner| columns.addresses()[*owner]);
    owners.zip(columns.slot_keys().as_slice()).map(|(address, key)| SlotQuery { address, key: *key }).collect()
}

/// A store whose every method runs rayon jobs in the current pool and answers each item in a job of its own.
struct RayonStore<'a> {
    inner: &'a WitnessStore,
    is_resident: bool,
    calls: &'a AtomicUsize,
}

impl RayonStore<'_> {
    fn each<Q: Sync, A: Send>(
        &self,
        questions: &[Q],
        out: &mut [A],
        answer: impl Fn(&[Q], &mut [A]) -> Result<(), StoreError> + Sync,
    ) -> Result<(), StoreError> {
        assert!(rayon::current_thread_index().is_some(), "a store is asked in pool threads");
        self.calls.fetch_add(1, Ordering::Relaxed);
        // Jobs enough that others take some of them, so that this thread waits and takes up other tasks meanwhile.
        (0..12).into_par_iter().with_max_len(1).for_each(|_| std::thread::sleep(Duration::from_micros(1)));
        let items = questions.par_chunks(1).zip(out.par_chunks_mut(1)).with_max_len(1);
        items.map(|(question, out)| answer(question, out)).collect()
    }
}

impl StateStore for RayonStore<'_> {
    fn is_resident(&self) -> bool {
        self.is_resident
    }
    fn accounts(&self, addresses: &[Address], out: &mut [ParentAccount]) -> Result<(), StoreError> {
        self.each(addresses, out, |addresses, out| self.inner.accounts(addresses, out))
    }
    fn slots(&self, slots: &[SlotQuery], out: &mut [U256]) -> Result<(), StoreError> {
        self.each(slots, out, |slots, out| self.inner.slots(slots, out))
    }
    fn codes(&self, hashes: &[B256], out: &mut [Option<Bytes>]) -> Result<(), StoreError> {
        self.each(hashes, out, |hashes, out| self.inner.codes(hashes, out))
    }
    fn block_hashes(&self, numbers: &[u64], out: &mut [B256]) -> Result<(), StoreError> {
        self.each(numbers, out, |numbers, out| self.inner.block_hashes(numbers, out))
    }
    fn trie_nodes(&self, nodes: &[NodeQuery], out: &mut [Bytes]) -> Result<(), StoreError> {
        self.each(nodes, out, |nodes, out| self.inner.trie_nodes(nodes, out))
    }
}

/// Name and processors of each thread of the process, by thread id.
#[cfg(target_os = "linux")]
fn threads() -> BTreeMap<u32, (String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    tasks
        .filter_map(|task| {
            let id = task.ok()?.file_name().into_string().ok()?.parse().ok()?;
            // A thread that has ended meanwhile has no file any more.
            let status = std::fs::read_to_string(format!("/proc/self/task/{id}/status")).ok()?;
            let field = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
            Some((id, (field("Name:")?, field("Cpus_allowed_list:")?)))
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn named(prefix: &str) -> usize {
    threads().values().filter(|(name, _)| name.starts_with(prefix)).count()
}

#[cfg(target_os = "linux")]
fn threads_are_the_executors_own_and_unbound(world: &World, host: &Arc<rayon::ThreadPool>) {
    let process = threads()[&std::process::id()].1.clone();
    let resident = RayonStore { inner: &world.witness, is_resident: true, calls: &AtomicUsize::new(0) };
    let remote = RayonStore { is_resident: false, ..resident };
    let others = threads().len();

    let mut shared = Executor::builder()
        .pool(Pool::Shared(Arc::clone(host)))
        .thread_name("shared")
        .build()
        .expect("no threads are needed");
    MODES.into_iter().for_each(|mode| world.execute(&mut shared, &resident, mode));
    assert_eq!(threads().len(), others, "an executor on the host's pool has no threads: {:?}", threads());
    MODES.into_iter().for_each(|mode| world.execute(&mut shared, &remote, mode));
    assert_eq!((threads().len(), named("shared-reader")), (others + READERS, READERS), "{:?}", threads());

    let mut own = Executor::builder().threads(THREADS).thread_name("own").build().expect("threads");
    for store in [&resident, &remote] {
        MODES.into_iter().for_each(|mode| world.execute(&mut own, store, mode));
    }
    // No thread besides these: the global pool of rayon was not started.
    assert_eq!(threads().len(), others + READERS + THREADS + READERS, "{:?}", threads());
    assert_eq!((named("own-reader"), named("own-")), (READERS, THREADS + READERS), "{:?}", threads());
    assert!(threads().values().all(|(_, processors)| *processors == process), "{:?}", threads());

    // The check sees threads that are bound.
    let processors = std::thread::available_parallelism().expect("known").get();
    if processors > 1 {
        let builder = Executor::builder().threads(processors).binding(Binding::OneEach).thread_name("bound");
        let mut bound = builder.build().expect("threads");
        world.execute(&mut bound, &resident, Mode::Bal);
        let differ = |(name, processors): &&(String, String)| name.starts_with("bound-") && *processors != process;
        assert_eq!(threads().values().filter(differ).count(), processors, "{:?}", threads());
    }
}

/// Sets the flag when it goes out of scope, by a panic as well.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Blocks one after another in every mode, on a pool that is also the store's, while the host uses its pool, too.
fn stores_may_use_rayon(world: &World, host: &Arc<rayon::ThreadPool>) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _guard = SetOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                host.install(|| (0..100).into_par_iter().for_each(|_| std::thread::sleep(Duration::from_micros(5))));
            }
        });
        for pool in [Pool::Own { threads: THREADS }, Pool::Own { threads: 1 }, Pool::Shared(Arc::clone(host))] {
            let mut executor = Executor::builder().pool(pool).build().expect("threads");
            for is_resident in [true, false] {
                for mode in MODES {
                    let calls = AtomicUsize::new(0);
                    let store = RayonStore { inner: &world.witness, is_resident, calls: &calls };
                    (0..3).for_each(|_| world.execute(&mut executor, &store, mode));
                    // Called by a thread of the same pool as well.
                    host.install(|| world.execute(&mut executor, &store, mode));
                    assert!(calls.into_inner() > 4, "the store was asked");
                }
            }
        }
    });
}

/// A block raises the memory that an executor holds to what it needs; repeating it does not raise it further.
fn memory_is_bounded_by_the_largest_block(world: &World) {
    for mode in MODES {
        let mut executor = Executor::new(1).expect("a thread");
        let idle = executor.memory_bytes();
        let mut run = || {
            world.run(&mut executor, &world.witness, mode);
            executor.memory_bytes()
        };
        let first = run();
        assert!(first.codes > idle.codes && first.scratch > idle.scratch, "{mode:?}: {idle:?}, then {first:?}");
        assert_eq!(first.columns > idle.columns, mode == Mode::Bal, "{mode:?}: {idle:?}, then {first:?}");
        assert_eq!(first.total(), first.codes + first.scratch + first.columns);
        // The second block has room for the logs of the first.
        let second = run();
        for _ in 0..10 {
            assert_eq!(run(), second, "{mode:?}");
        }
    }
}

#[test]
fn an_executor_leaves_the_hosts_process_as_it_is() {
    let (sender, done) = mpsc::channel();
    let test = std::thread::spawn(move || {
        let host = rayon::ThreadPoolBuilder::new().num_threads(THREADS).thread_name(|index| format!("host-{index}"));
        let host = Arc::new(host.build().expect("threads"));
        let world = host.install(|| {
            let mut executor = Executor::builder().pool(Pool::Shared(Arc::clone(&host))).build().expect("shared");
            World::new(&mut executor)
        });
        #[cfg(target_os = "linux")]
        threads_are_the_executors_own_and_unbound(&world, &host);
        stores_may_use_rayon(&world, &host);
        memory_is_bounded_by_the_largest_block(&world);
        sender.send(()).expect("the test waits");
    });
    match done.recv_timeout(DEADLOCK) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a block waits for itself"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {}
    }
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
