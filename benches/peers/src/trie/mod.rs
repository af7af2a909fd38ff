//! `peers trie`: state roots after block-like updates, against ethrex-trie and alloy-trie.
//!
//! In: shapes from the command's workload module (`balustrade_cli::measure::tries`). Out: per state size, update size and thread count the time of an
//! update, from addresses and keys to the root. Roots must be equal. Every contestant updates its resident tries in
//! place over a chain of different blocks. The first blocks of a shape warm up memory and are not counted; the time of
//! the very first is printed as cold. The limit is the number of Keccak permutations times the duration of one in full
//! batches, measured in the same run, divided by the number of threads.
//! Not measured: our commit, which recycles memory (printed separately); merging alloy's flat leaves.

mod alloy;

use crate::ethrex_tries::{AccountChange, AccountStatus as EthrexStatus, EthrexTries};
use crate::measure::{Clock, Stopwatch};
use crate::report::{Report, rounded, row};
use crate::{CommonArgs, PeersError, convert, threads};
use alloy::AlloyTries;
use alloy_primitives::B256;
use balustrade::arena::keccak::Width;
use balustrade::arena::store::MemoryStore;
use balustrade::{AccountStatus, StateChanges, StateTries};
use balustrade_cli::measure::tries::{Workload, permutation_ns};
use balustrade_cli::measure::{least, median, median_ratio, pool};
use clap::Args;
use rayon::ThreadPool;

/// Options of `trie`.
#[derive(Debug, Args)]
pub(crate) struct TrieArgs {
    /// Sizes of the states, in accounts
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    accounts: Vec<u64>,
    /// Accounts that a block changes; it also changes five times as many slots (four times for the smallest)
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [500, 2_000, 10_000])]
    updates: Vec<usize>,
    /// Kernel of our hashing: portable, avx2 or avx512; by default the widest that this machine supports
    #[arg(long, value_name = "KERNEL", value_parser = width_of_name, default_value = Width::detect().name())]
    keccak: Width,
    #[command(flatten)]
    common: CommonArgs,
}

fn width_of_name(name: &str) -> Result<Width, String> {
    Width::of_name(name).ok_or_else(|| "this machine has no such kernel".to_owned())
}

/// Names of the table's columns.
const COLUMNS: [&str; 9] =
    ["shape", "threads", "ours_ms", "ethrex_ms", "alloy_ms", "vs_ethrex", "vs_alloy", "over_keccak_limit", "scaling"];

/// Warm-up rounds of each shape, not counted.
const WARM_ROUNDS: u32 = 2;

/// Changed slots for this many changed accounts, as in the measurements from which the targets come.
fn slots_of(accounts: usize) -> usize {
    if accounts <= 500 { accounts * 4 } else { accounts * 5 }
}

/// Figures whose smallest or largest value goes to the summary.
#[derive(Default)]
struct Extremes {
    vs_ethrex: Vec<f64>,
    vs_alloy: Vec<f64>,
    over_limit: Vec<f64>,
    scaling: Vec<f64>,
}

/// Runs the command.
pub(crate) fn main(args: &TrieArgs) -> Result<(), PeersError> {
    let many = threads::bind(args.common.threads)?;
    let thread_counts = if many == 1 { vec![1] } else { vec![1, many] };
    let pools = thread_counts.iter().map(|count| pool(*count)).collect::<Result<Vec<_>, _>>()?;
    let mut report = Report::new(args.common.json, &COLUMNS);
    let mut extremes = Extremes::default();
    for accounts in &args.accounts {
        let mut contest = Contest::new(*accounts)?;
        contest.ours.set_width(args.keccak);
        for update in &args.updates {
            contest.shape(*update, &thread_counts, &pools, args, &mut report, &mut extremes)?;
        }
    }
    let least = |values: &[f64]| rounded(least(values.iter().copied()));
    report.summary(&row! {
        "vs_ethrex_min": least(&extremes.vs_ethrex),
        "vs_alloy_min": least(&extremes.vs_alloy),
        "over_keccak_limit_max": rounded(extremes.over_limit.iter().copied().fold(f64::NAN, f64::max)),
        "scaling_2_threads_min": least(&extremes.scaling),
    });
    Ok(())
}

/// The resident tries of all contestants, at the same state.
struct Contest {
    workload: Workload,
    store: MemoryStore,
    ours: StateTries,
    ethrex: EthrexTries,
    alloy: AlloyTries,
    blocks: u64,
}

/// Times of one shape at one thread count, round by round.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    commit: Vec<f64>,
    ethrex: Vec<f64>,
    alloy: Vec<f64>,
    over_limit: Vec<f64>,
    hashes: Vec<f64>,
    cold_ns: f64,
}

impl Contest {
    fn new(accounts: u64) -> Result<Self, PeersError> {
        let workload = Workload { accounts };
        let state = workload.state();
        let what = format!("state of {accounts} accounts");
        let failed = |who, error: String| mismatch(&what, who, error);
        let ours = StateTries::from_flat(&state).map_err(|error| failed("balustrade", error.to_string()))?;
        let mut ethrex = EthrexTries::default();
        let root = ethrex.update(&changes(&state)).map_err(|error| failed("ethrex", error.to_string()))?;
        agree(&what, "ethrex", ours.root(), B256::from(root.0))?;
        let mut alloy = AlloyTries::default();
        let mut staged = alloy.stage(&state);
        let root = alloy.update(&mut staged);
        alloy.settle(staged);
        agree(&what, "alloy", ours.root(), root)?;
        Ok(Self { workload, store: MemoryStore::default(), ours, ethrex, alloy, blocks: 0 })
    }

    fn shape(
        &mut self,
        accounts: usize,
        thread_counts: &[usize],
        pools: &[ThreadPool],
        args: &TrieArgs,
        report: &mut Report,
        extremes: &mut Extremes,
    ) -> Result<(), PeersError> {
        let slots = slots_of(accounts);
        let mut by_threads: Vec<Times> = thread_counts.iter().map(|_| Times::default()).collect();
        for round in 0..args.common.rounds + WARM_ROUNDS {
            for ((pool, times), count) in pools.iter().zip(&mut by_threads).zip(thread_counts) {
                self.blocks += 1;
                let block = self.workload.block(self.blocks, accounts, slots);
                let counted = round >= WARM_ROUNDS;
                pool.install(|| self.block(&block, *count, args.keccak, counted, times))?;
            }
        }
        let one = median(&by_threads[0].ours);
        for (times, count) in by_threads.iter().zip(thread_counts) {
            let ours = median(&times.ours);
            let (vs_ethrex, vs_alloy) =
                (median_ratio(&times.ethrex, &times.ours), median_ratio(&times.alloy, &times.ours));
            let over_limit = median(&times.over_limit);
            extremes.vs_ethrex.push(vs_ethrex);
            extremes.vs_alloy.push(vs_alloy);
            extremes.over_limit.push(over_limit);
            if *count > 1 {
                extremes.scaling.push(one / ours);
            }
            let ms = |ns: f64| rounded(ns / 1e6);
            report.row(&row! {
                "shape": format!("{} + {accounts} + {slots}", self.workload.accounts),
                "accounts": self.workload.accounts,
                "changed_accounts": accounts,
                "changed_slots": slots,
                "threads": count,
                "ours_ms": ms(ours),
                "cold_ms": ms(times.cold_ns),
                "commit_ms": ms(median(&times.commit)),
                "ethrex_ms": ms(median(&times.ethrex)),
                "alloy_ms": ms(median(&times.alloy)),
                "vs_ethrex": rounded(vs_ethrex),
                "vs_alloy": rounded(vs_alloy),
                "mhash_per_s": rounded(median(&times.hashes)),
                "over_keccak_limit": rounded(over_limit),
                "scaling": rounded(one / ours),
            });
        }
        Ok(())
    }

    /// Applies one block with all contestants and compares the roots.
    fn block(
        &mut self,
        block: &StateChanges,
        threads: usize,
        width: Width,
        counted: bool,
        times: &mut Times,
    ) -> Result<(), PeersError> {
        let what = format!("block {} of {} accounts", self.blocks, self.workload.accounts);
        let peer_changes = changes(block);
        let mut staged = self.alloy.stage(block);
        let clock = Clock::for_threads(threads);

        let watch = Stopwatch::start(clock);
        let root = self.ours.update(block, &self.store);
        let ours_ns = watch.ns();
        let root = root.map_err(|error| mismatch(&what, "balustrade", error.to_string()))?;
        let watch = Stopwatch::start(clock);
        self.ours.commit();
        let commit_ns = watch.ns();
        let limit_ns = permutation_ns(width);

        let watch = Stopwatch::start(clock);
        let ethrex = self.ethrex.update(&peer_changes);
        let ethrex_ns = watch.ns();
        let ethrex = ethrex.map_err(|error| mismatch(&what, "ethrex", error.to_string()))?;
        agree(&what, "ethrex", root, B256::from(ethrex.0))?;

        let watch = Stopwatch::start(clock);
        let alloy = self.alloy.update(&mut staged);
        let alloy_ns = watch.ns();
        self.alloy.settle(staged);
        agree(&what, "alloy", root, alloy)?;

        if times.cold_ns == 0.0 {
            times.cold_ns = ours_ns;
        }
        if !counted {
            return Ok(());
        }
        let count = self.ours.hash_count();
        times.ours.push(ours_ns);
        times.commit.push(commit_ns);
        times.ethrex.push(ethrex_ns);
        times.alloy.push(alloy_ns);
        times.over_limit.push(ours_ns * threads as f64 / (count.permutations as f64 * limit_ns));
        times.hashes.push(count.hashes as f64 * 1000.0 / ours_ns);
        Ok(())
    }
}

fn mismatch(what: &str, who: &'static str, difference: String) -> PeersError {
    PeersError::Mismatch { what: what.to_owned(), who, difference }
}

fn agree(what: &str, who: &'static str, ours: B256, theirs: B256) -> Result<(), PeersError> {
    if ours == theirs {
        return Ok(());
    }
    Err(mismatch(what, who, format!("the root is {theirs}, ours {ours}")))
}

/// Converts the changes to ethrex's types.
fn changes(columns: &StateChanges) -> Vec<AccountChange> {
    (0..columns.addresses.len())
        .map(|row| AccountChange {
            address: convert::address(columns.addresses[row]),
            status: match columns.statuses[row] {
                AccountStatus::Kept => EthrexStatus::Kept,
                AccountStatus::StorageCleared => EthrexStatus::StorageCleared,
                AccountStatus::Deleted => EthrexStatus::Removed,
            },
            nonce: columns.nonces[row],
            balance: columns.balances[row].map(convert::word),
            code_hash: columns.code_hashes[row].map(convert::hash),
            slots: columns.slots(row).map(|(key, value)| (convert::key(key), convert::word(value))).collect(),
        })
        .collect()
}
