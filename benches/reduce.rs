//! Reduction of a decoded list to state changes, and building of a list from recorded rows.

use balustrade::arena::store::ParentAccount;
use balustrade::arena::{AccountId, Column, SlotId};
use balustrade::bal::{
    BalColumns, ExistenceColumns, ListedChanges, RecordedKeys, Recorder, bal_hash, code_hashes, reduce, sample,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SIZES: [(&str, usize, usize); 3] = [("50 KB", 50_000, 64), ("500 KB", 500_000, 16), ("5 MB", 5_000_000, 4)];

/// A list's rows under ids in reverse order: the worst case of a recorder is an order unlike that of the addresses.
struct Reversed {
    addresses: Column<AccountId, alloy_primitives::Address>,
    slot_keys: Column<SlotId, alloy_primitives::U256>,
    slot_accounts: Column<SlotId, AccountId>,
    recorder: Recorder,
}

fn reversed(bal: &BalColumns) -> Reversed {
    let (accounts, slots) = (bal.account_count() as u32, bal.slot_count() as u32);
    let account_id = |id: AccountId| AccountId(accounts - 1 - id.0);
    let slot_id = |id: SlotId| SlotId(slots - 1 - id.0);
    let mut recorder = Recorder::new();
    for (id, account) in bal.addresses().ids().map(|id| (id, account_id(id))) {
        recorder.touch_account(account);
        bal.balances().iter(id).for_each(|(index, value)| recorder.balance(account, index, *value));
        bal.nonces().iter(id).for_each(|(index, value)| recorder.nonce(account, index, *value));
        for row in bal.codes().rows(id) {
            recorder.code(account, bal.codes().index(row), bal.code_bytes(row));
        }
    }
    for (id, slot) in bal.slot_keys().ids().map(|id| (id, slot_id(id))) {
        recorder.touch_slot(slot);
        bal.storage().iter(id).for_each(|(index, value)| recorder.slot(slot, index, *value));
    }
    let reverse = |id: &AccountId| account_id(*id);
    Reversed {
        addresses: bal.addresses().as_slice().iter().rev().copied().collect::<Vec<_>>().into(),
        slot_keys: bal.slot_keys().as_slice().iter().rev().copied().collect::<Vec<_>>().into(),
        slot_accounts: bal.slot_accounts().as_slice().iter().rev().map(reverse).collect::<Vec<_>>().into(),
        recorder,
    }
}

impl Reversed {
    fn recorded(&self) -> RecordedKeys<'_> {
        RecordedKeys { addresses: &self.addresses, slot_keys: &self.slot_keys, slot_accounts: &self.slot_accounts }
    }
}

fn bench(criterion: &mut Criterion) {
    // `cargo bench` passes --bench; under `cargo test` one small list is enough.
    let is_test = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    for (name, len_bytes, count) in SIZES.iter().take(if is_test { 1 } else { SIZES.len() }) {
        let lists: Vec<BalColumns> = (0..*count as u64).map(|seed| sample::list(seed, *len_bytes).columns).collect();
        let mut group = criterion.benchmark_group(format!("list of {name}"));
        group.throughput(Throughput::Elements(lists[0].change_count() as u64));
        let existence_log = &ExistenceColumns::default();
        let inputs: Vec<(Column<AccountId, ParentAccount>, Vec<_>)> = lists
            .iter()
            .map(|bal| (vec![ParentAccount::default(); bal.account_count()].into(), code_hashes(bal)))
            .collect();
        let listed: Vec<ListedChanges<'_>> = lists
            .iter()
            .zip(&inputs)
            .map(|(bal, (parents, code_hashes))| ListedChanges {
                bal,
                existence_log,
                parents,
                code_hashes,
                clears_storage: false,
            })
            .collect();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            let mut next = listed.iter().cycle();
            group.bench_function(format!("reduce, codes hashed before, {threads} threads"), |bencher| {
                pool.install(|| bencher.iter_batched(|| next.next().unwrap(), reduce, BatchSize::SmallInput));
            });
        }
        let recordings: Vec<Reversed> = lists.iter().map(reversed).collect();
        println!("{} rows recorded", recordings[0].recorder.row_count());
        let mut next = recordings.iter().cycle();
        group.bench_function("record: rows to list", |bencher| {
            let finish = |recording: &Reversed| recording.recorder.finish(&recording.recorded());
            bencher.iter_batched(|| next.next().unwrap(), finish, BatchSize::LargeInput);
        });
        println!(
            "hash of the first list: {}",
            bal_hash(&recordings[0].recorder.finish(&recordings[0].recorded()).bytes)
        );
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
