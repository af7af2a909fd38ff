//! A C program executes blocks from a store of its own, through the shared and the static library.
//!
//! Its results are those of the library; its callbacks fail, answer from several threads, cancel and call back; wrong
//! arguments are refused; a thousand blocks leave no memory behind.

mod common;
#[path = "../../../examples/small_chain/mod.rs"]
mod small_chain;

use balustrade::list::{self, Limits};
use balustrade::{BlockInput, BlockOutcome, Executor, Header, Mode, Options, StateChanges, StateTries};
use common::Case;
use small_chain::SmallChain;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

static SAMPLE: LazyLock<PathBuf> = LazyLock::new(|| Case::sample().write("sample.bin"));
static SHARED: LazyLock<PathBuf> = LazyLock::new(|| common::compile("host-shared", true));

/// What the program prints in a mode.
fn host(mode: &str) -> String {
    common::output(Command::new(&*SHARED).arg(mode).arg(&*SAMPLE))
}

/// What the program has to print for the sample.
fn expected() -> String {
    let case = Case::sample();
    let parent = Header::decode(&case.parent).expect("a header");
    let store =
        balustrade::WitnessStore::new(parent.state_root, case.nodes.values().cloned(), case.codes.values().cloned());
    let mut tries = StateTries::from_root(parent.state_root);
    let input = BlockInput::new(&case.rules, case.block.clone()).with_list(case.list.clone()).with_parent(&parent);
    let mut executor = Executor::new(2).expect("threads");
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal)).expect("valid");
    printed(&outcome, Header::of_block(&case.block).expect("a header"))
}

fn printed(outcome: &BlockOutcome, header: Header) -> String {
    let sum = |changes: &StateChanges| {
        let last = |bytes: &[u8]| u64::from(bytes[bytes.len() - 1]);
        let word = |word: &alloy_primitives::U256| u64::from(word.to_be_bytes::<32>()[31]);
        let mut sum: u64 = changes.nonces.iter().flatten().sum();
        sum += changes.addresses.iter().map(|address| last(address.as_slice())).sum::<u64>();
        sum += changes.balances.iter().flatten().map(word).sum::<u64>();
        sum += changes.code_hashes.iter().flatten().map(|hash| last(hash.as_slice())).sum::<u64>();
        sum += changes.statuses.iter().map(|status| *status as u64).sum::<u64>();
        sum += changes.slot_keys.iter().chain(&changes.slot_values).map(word).sum::<u64>();
        sum += changes.codes.iter().map(|(hash, code)| code.len() as u64 + last(hash.as_slice())).sum::<u64>();
        let count = |rows: Vec<bool>| rows.into_iter().filter(|is_some| *is_some).count();
        let bits = count(changes.nonces.iter().map(Option::is_some).collect())
            + 2 * count(changes.balances.iter().map(Option::is_some).collect())
            + 4 * count(changes.code_hashes.iter().map(Option::is_some).collect());
        let (accounts, slots, codes) = (changes.len(), changes.slot_keys.len(), changes.codes.len());
        format!("{accounts} accounts, {slots} slots, {codes} codes, bits {bits}, sum {sum}")
    };
    let mut requests = Vec::new();
    let rows: Vec<&[u8]> = outcome.requests.iter().map(Vec::as_slice).collect();
    alloy_rlp::encode_list::<_, [u8]>(&rows, &mut requests);
    let receipts: usize = outcome.receipts.iter().map(<[u8]>::len).sum();
    format!(
        "status 0\nhash {:x}\ngas {}\nstate root {:x}\nreceipts root {:x}\ncomplete 1\nreceipts {}, {receipts} bytes, then \
         0\nlist {} bytes, requests {} bytes\nchanges {}\nbefore {}\n",
        outcome.hash,
        outcome.gas_used,
        outcome.state_root.expect("tries were given"),
        header.receipts_root,
        outcome.receipts.len(),
        outcome.bal.len(),
        requests.len(),
        sum(&outcome.changes),
        sum(&outcome.before),
    )
}

#[test]
fn a_host_in_c_gets_what_the_library_gives() {
    let expected = expected();
    for mode in ["run", "resident", "sequential", "stateless"] {
        assert_eq!(host(mode), expected, "{mode}");
    }
    let linked = common::compile("host-static", false);
    assert_eq!(common::output(Command::new(linked).arg("run").arg(&*SAMPLE)), expected, "static library");
}

#[test]
fn callbacks_that_fail_end_the_block_and_nothing_else() {
    let printed = host("faults");
    let (lines, outcome) = printed.split_at(printed.find("status").expect("a last run"));
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 12);
    for line in &lines {
        let is_rare = line.starts_with("block_hashes") || line.starts_with("has_storage");
        assert!(line.ends_with(": store") || is_rare && line.ends_with(": not asked"), "{line}");
    }
    assert!(lines.contains(&"codes half-way: store") && lines.contains(&"trie_nodes half-way: store"));
    assert_eq!(outcome, expected(), "after all failures");
}

#[test]
fn callbacks_may_answer_from_several_threads() {
    assert_eq!(host("threads"), expected());
}

#[test]
fn a_call_from_within_a_callback_is_refused() {
    assert_eq!(host("busy"), expected());
}

#[test]
fn a_token_cancels_a_block() {
    let cancelled = "late 0\ncancelled 3\nstill cancelled 3\n";
    assert_eq!(host("cancel"), format!("{cancelled}{}", expected()));
}

#[test]
fn an_invalid_block_has_a_text_and_classes() {
    let printed = host("invalid");
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("status 1"));
    assert!(lines.next().is_some_and(|line| line.starts_with("error ")), "{printed}");
    assert!(lines.next().is_some_and(|line| line.starts_with("class BlockException.")), "{printed}");
}

#[test]
fn wrong_arguments_are_refused() {
    let printed = host("usage");
    assert!(printed.ends_with("27 cases\n") && !printed.contains("another status"), "{printed}");
    for text in [
        "executor is null",
        "bal_rules is null",
        "bal_store is null",
        "block.ptr is null, block.len is 1",
        "bal_rules.size is 7, this library expects 72",
        "99 is no bal_fork",
        "bal_store.slots is null",
        "bal_store.flags has unknown bits: 0x6",
        "the witness is neither RLP nor JSON",
    ] {
        assert!(printed.lines().any(|line| line == text), "{text}: {printed}");
    }
}

/// A block of two transactions.
fn small_block() -> PathBuf {
    let SmallChain { rules, store, parent, block, list } = SmallChain::new().expect("a chain");
    let mut tries = StateTries::from_memory(&store).expect("tries");
    let input = BlockInput::new(&rules, block.clone()).with_list(list.clone());
    let mut executor = Executor::new(1).expect("a thread");
    let outcome = executor.execute(&input, &store, None, Options::new(Mode::Bal)).expect("valid");
    let columns = list::decode(&list, &Limits::format_only()).expect("a list");
    let addresses = columns.addresses().as_slice();
    let nodes = tries.witness(&store, addresses, &columns.slot_queries(), &outcome.changes).expect("a witness");
    let mut header = Vec::new();
    parent.encode(&mut header);
    Case::of_memory(rules, (block, list, header.into()), &store, nodes).write("small.bin")
}

#[test]
fn a_thousand_blocks_leave_no_memory_behind() {
    let small = small_block();
    let printed = common::output(Command::new(&*SHARED).arg("repeat").arg(&small).arg("1000"));
    let pages = printed.trim_end().strip_prefix("1000 blocks, ").and_then(|rest| rest.strip_suffix(" pages more"));
    let pages: i64 = pages.and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // One page per block would be 750: allocators and stacks of other threads grow by less.
    assert!(pages < 300, "{pages} pages after 750 blocks");

    let mut valgrind = Command::new("valgrind");
    if valgrind.arg("--version").output().is_err() {
        return println!("skipped: valgrind is not here; blocks were not run under it");
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9"]);
    let printed =
        common::output(valgrind.arg("--show-leak-kinds=definite").arg(&*SHARED).arg("repeat").arg(&small).arg("30"));
    assert!(printed.starts_with("30 blocks"), "{printed}");
    println!("valgrind found no leak in 30 blocks");
}
