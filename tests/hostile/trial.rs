//! One mutant: a block is taken apart, changed, resealed and executed in all modes.

use super::Rng;
use super::cases::{Chain, ListedBlock};
use super::list::{self, Account};
use super::mutators::{self, Part, Parts};
use super::report::{Report, Verdict};
use alloy_primitives::{Bytes, keccak256};
use alloy_rlp::{Encodable, Header as RlpHeader};
use balustrade::arena::TxIndex;
use balustrade::bal::{ExistenceLog, Limits, decode};
use balustrade::exec::rules::fork::Fork;
use balustrade::exec::wire::Block;
use balustrade::trie::{StateTries, ordered_root};
use balustrade::{BlockError, Executor, InvalidBlock, Mode, Options};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Decodes a valid block and its list into parts.
pub fn take_apart(valid: &ListedBlock) -> Parts {
    let block = Block::decode(valid.rlp.clone()).expect("valid");
    let columns = decode(&valid.bal, &Limits::format_only()).expect("valid");
    Parts {
        list: list::from_columns(&columns),
        raw_list: None,
        original_list: valid.bal.clone(),
        transactions: (0..block.transactions.len())
            .map(|index| block.transactions.encoded(TxIndex(index as u32)).to_vec())
            .collect(),
        withdrawals: block.withdrawals_encoded().map(<[u8]>::to_vec).collect(),
        existence: valid.existence_log.clone().unwrap_or_default().existence,
        header: block.header,
    }
}

fn wrap(out: &mut Vec<u8>, payload: &[u8]) {
    RlpHeader { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}

/// RLP of the block.
pub fn assemble(parts: &Parts) -> Vec<u8> {
    let mut payload = Vec::new();
    parts.header.encode(&mut payload);
    let mut items = Vec::new();
    for transaction in &parts.transactions {
        match transaction.as_slice() {
            legacy @ [0xc0..=0xff, ..] => items.extend_from_slice(legacy),
            typed => typed.encode(&mut items),
        }
    }
    wrap(&mut payload, &items);
    wrap(&mut payload, &[]);
    wrap(&mut payload, &parts.withdrawals.concat());
    let mut out = Vec::new();
    wrap(&mut out, &payload);
    out
}

/// Recomputes the header's commitments to body and list; with `root` also the state root from the list. Returns the
/// list's bytes, and whether the state root was recomputed. Headers before Amsterdam have no list hash and are not
/// changed.
fn reseal(parts: &mut Parts, part: Part, root: bool, chain: &mut Chain) -> (Bytes, bool) {
    let bytes: Bytes = parts.raw_list.clone().unwrap_or_else(|| list::encode(&parts.list)).into();
    let mut root_resealed = false;
    match part {
        Part::Header | Part::ExistenceLog => {}
        Part::List if chain.rules.fork < Fork::Amsterdam => {}
        Part::Body => {
            parts.header.transactions_root = ordered_root(&slices(&parts.transactions));
            parts.header.withdrawals_root = Some(ordered_root(&slices(&parts.withdrawals)));
        }
        Part::List => {
            parts.header.block_access_list_hash = Some(keccak256(&bytes));
            if root && let Some(root) = list::state_root(&bytes, &chain.store, &mut chain.tries) {
                parts.header.state_root = root;
                root_resealed = true;
            }
        }
    }
    (bytes, root_resealed)
}

fn slices(items: &[Vec<u8>]) -> Vec<&[u8]> {
    items.iter().map(Vec::as_slice).collect()
}

/// Executes a block on the chain's head; the chain is unchanged afterwards.
pub fn run(
    executor: &mut Executor,
    chain: &mut Chain,
    block: &ListedBlock,
    mode: Mode,
) -> std::thread::Result<Result<(), BlockError>> {
    let mut tries = std::mem::replace(&mut chain.tries, StateTries::empty());
    let root = tries.root();
    let given = chain.is_complete.then_some(&mut tries);
    let result = catch_unwind(AssertUnwindSafe(|| {
        executor.execute(&chain.input(block), &chain.store, given, Options::new(mode)).map(drop)
    }));
    tries.rollback();
    assert_eq!(tries.root(), root, "{}: the tries are not as before", chain.name);
    chain.tries = tries;
    result
}

/// A changed and resealed block.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Name of the mutator.
    pub name: &'static str,
    /// The part that it changed.
    pub part: Part,
    /// The changed block.
    pub block: ListedBlock,
    /// Whether the state root was recomputed from the wrong list.
    pub root_resealed: bool,
}

/// Draws a mutant of `original`; `None` if it is equal to the original.
pub fn draw(chain: &mut Chain, original: &ListedBlock, rng: &mut Rng) -> Option<Mutant> {
    let mut parts = take_apart(original);
    let is_older = chain.rules.fork < Fork::Amsterdam;
    let is_wanted = |part| !is_older || matches!(part, Part::List | Part::ExistenceLog);
    // Most older blocks have few claims: half of the mutants change them.
    let only_existence_log = is_older && rng.below(2) == 0;
    let (name, part) = loop {
        let (part, (name, change)) =
            mutators::draw(rng, |part| if only_existence_log { part == Part::ExistenceLog } else { is_wanted(part) });
        let mut changed = parts.clone();
        if change(&mut changed, rng) {
            parts = changed;
            break (name, part);
        }
    };
    let (bal, root_resealed) = reseal(&mut parts, part, rng.below(8) != 0, chain);
    let rlp = if is_older || part == Part::ExistenceLog { original.rlp.clone() } else { assemble(&parts).into() };
    let has_existence_log = original.existence_log.is_some() || part == Part::ExistenceLog;
    let existence_log = has_existence_log.then_some(ExistenceLog { existence: parts.existence });
    let block = ListedBlock { valid: false, rlp, bal, existence_log };
    let differs =
        (&block.rlp, &block.bal, &block.existence_log) != (&original.rlp, &original.bal, &original.existence_log);
    differs.then_some(Mutant { name, part, block, root_resealed })
}

/// Calls `found` with the list without each item in turn of this field of the account at `at`.
fn each_without<T>(
    list: &[Account],
    at: usize,
    field: fn(&mut Account) -> &mut Vec<T>,
    mut found: impl FnMut(Vec<Account>),
) {
    let count = field(&mut list[at].clone()).len();
    for item in 0..count {
        let mut list = list.to_vec();
        field(&mut list[at]).remove(item);
        found(list);
    }
}

/// Drops every item of the list of `original` in turn, reseals with the state root of the remaining list, and executes
/// each in `bal` mode, which must refuse it. (For the modes that record the list it makes no difference which item is
/// missing.)
pub fn try_every_drop(executor: &mut Executor, chain: &mut Chain, original: &ListedBlock, report: &mut Report) {
    let parts = take_apart(original);
    let mut drops: Vec<(&'static str, Vec<Account>)> = Vec::new();
    for at in 0..parts.list.len() {
        each_without(&parts.list, at, |a| &mut a.reads, |list| drops.push(("each read", list)));
        each_without(&parts.list, at, |a| &mut a.changes, |list| drops.push(("each slot", list)));
        each_without(&parts.list, at, |a| &mut a.balances, |list| drops.push(("each balance", list)));
        each_without(&parts.list, at, |a| &mut a.nonces, |list| drops.push(("each nonce", list)));
        each_without(&parts.list, at, |a| &mut a.codes, |list| drops.push(("each code", list)));
    }
    for at in 0..parts.list.len() {
        let mut list = parts.list.clone();
        list.remove(at);
        drops.push(("each account", list));
    }
    for (name, list) in drops {
        let mut parts = Parts { list, ..parts.clone() };
        let (bal, root_resealed) = reseal(&mut parts, Part::List, true, chain);
        let block = ListedBlock { valid: false, rlp: assemble(&parts).into(), bal, existence_log: None };
        let result = run(executor, chain, &block, Mode::Bal);
        let context = || format!("{} ({name}), block {}, list {}", chain.name, block.rlp, block.bal);
        match result {
            Ok(Err(BlockError::Invalid(invalid))) if is_about_the_list(&invalid) => {
                report.add(name, root_resealed, Verdict::Refused { check: check_name(&invalid), same_class: true });
            }
            Ok(other) => report.finding("a dropped item is not missed", format!("{other:?}: {}", context())),
            Err(_) => {
                report.finding("panic", context());
                *executor = Executor::new(executor.threads()).expect("threads");
            }
        }
    }
}

/// Draws a mutant of `original`, executes it in all modes and adds the result to the report.
pub fn try_one(executor: &mut Executor, chain: &mut Chain, original: &ListedBlock, rng: &mut Rng, report: &mut Report) {
    let Some(Mutant { name, part, block: mutant, root_resealed }) = draw(chain, original, rng) else {
        report.unchanged += 1;
        return;
    };
    let [parallel, sequential, optimistic] =
        [Mode::Bal, Mode::Sequential, Mode::Optimistic].map(|mode| run(executor, chain, &mutant, mode));
    let context =
        format!("{} ({name}), block {}, list {}, {:?}", chain.name, mutant.rlp, mutant.bal, mutant.existence_log);
    let (Ok(parallel), Ok(sequential), Ok(optimistic)) = (parallel, sequential, optimistic) else {
        report.finding("panic", context);
        *executor = Executor::new(executor.threads()).expect("threads");
        return;
    };
    if sequential != optimistic {
        report.finding("recording modes disagree", format!("{sequential:?} but {optimistic:?}: {context}"));
        return;
    }
    let verdict = match (&parallel, &sequential) {
        (Ok(()), Ok(())) => Verdict::Equivalent,
        (Err(BlockError::Invalid(invalid)), Err(BlockError::Invalid(other))) => {
            let classes = other.eest_classes();
            let same_class = invalid.eest_classes().iter().any(|class| classes.contains(class));
            Verdict::Refused { check: check_name(invalid), same_class }
        }
        _ => {
            report.finding("modes disagree", format!("{parallel:?} but {sequential:?}: {context}"));
            return;
        }
    };
    if matches!(part, Part::List | Part::ExistenceLog) && !refused_for_its_list(&parallel) {
        report.finding("a wrong list has another fault", format!("{parallel:?}: {context}"));
    }
    if chain.rules.fork < Fork::Cancun && chain.is_complete {
        // Without tries no root is checked: only the comparison with the claims can refuse the block.
        chain.is_complete = false;
        let rootless = run(executor, chain, &mutant, Mode::Bal);
        chain.is_complete = true;
        match rootless {
            Ok(rootless) if rootless == parallel => {}
            other => report.finding("another result without tries", format!("{other:?}, not {parallel:?}: {context}")),
        }
    }
    report.add(name, root_resealed, verdict);
}

/// Factor for the mutants of a block whose existence log has claims, because few older blocks have any.
const WITH_CLAIMS: usize = 8;

/// Records list and existence log of each valid block of a chain before Cancun, and tries `per_block` mutants of them,
/// [`WITH_CLAIMS`] times as many where there are claims.
pub fn try_older_chain(
    executor: &mut Executor,
    mut chain: Chain,
    per_block: usize,
    rng: &mut Rng,
    report: &mut Report,
) {
    for block in chain.take_valid() {
        let advanced = chain.record(executor, &block).and_then(|block| {
            let has_claims = block.existence_log.as_ref().is_some_and(|existence_log| !existence_log.is_empty());
            for _ in 0..per_block * if has_claims { WITH_CLAIMS } else { 1 } {
                try_one(executor, &mut chain, &block, rng, report);
            }
            chain.advance(executor, &block)
        });
        if let Err(error) = advanced {
            return report.finding("a valid block is refused", format!("{}: {error}", chain.name));
        }
    }
}

/// Whether a block whose only fault is its list was refused for its list.
fn refused_for_its_list(result: &Result<(), BlockError>) -> bool {
    matches!(result, Err(BlockError::Invalid(invalid)) if is_about_the_list(invalid))
}

fn is_about_the_list(invalid: &InvalidBlock) -> bool {
    matches!(invalid, InvalidBlock::Bal(_) | InvalidBlock::Existence(_) | InvalidBlock::Mismatch(_))
}

/// Name of the check that refused a block, for the table.
pub fn check_name(invalid: &InvalidBlock) -> String {
    let leading = |text: String| text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    match invalid {
        InvalidBlock::Bal(error) => format!("decode: {}", leading(format!("{:?}", error.rule))),
        InvalidBlock::Existence(fault) => format!("existence: {}", leading(format!("{fault:?}"))),
        InvalidBlock::Mismatch(mismatch) => format!("verify: {:?}", mismatch.field),
        InvalidBlock::Header(fault) => format!("header: {}", leading(format!("{fault:?}"))),
        InvalidBlock::Tx { .. } => "transaction".to_owned(),
        InvalidBlock::Wire(_) => "block bytes".to_owned(),
        other => format!("commitment: {}", leading(format!("{other:?}"))),
    }
}
