//! The valid blocks of `tests/data` with whole states, executed one after another: Spurious Dragon to Amsterdam.

#![allow(dead_code, unreachable_pub, reason = "each test that includes this uses a part of it")]

use alloy_primitives::Bytes;
use balustrade::formats::{BlockTest, BundleState, Content, Document, each_document};
use balustrade::{BlockInput, BlockOutcome, ChainRules, Executor, Header, MemoryStore, Mode, Options, StateTries};
use std::ops::ControlFlow;
use std::path::Path;

/// A block and what became of it.
#[derive(Debug)]
pub struct Executed<'a> {
    /// Name of the test or bundle, and the block's number.
    pub name: String,
    /// Rules of the block.
    pub rules: &'a ChainRules,
    /// RLP of the block.
    pub block: &'a Bytes,
    /// The state before it.
    pub before: &'a MemoryStore,
    /// Its outcome in sequential mode, with tries.
    pub outcome: &'a BlockOutcome,
}

/// Calls `visit` with each block; returns their number.
pub fn each_executed(visit: &mut dyn FnMut(Executed<'_>)) -> usize {
    let (mut executor, mut count) = (Executor::new(2).expect("threads"), 0);
    let mut chain = |name: &str, rules: ChainRules, mut store: MemoryStore, blocks: Vec<Bytes>| {
        let mut tries = StateTries::from_memory(&store).expect("a state");
        for block in blocks {
            let input = BlockInput::new(&rules, block.clone());
            let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Sequential));
            let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
            tries.commit();
            let name = format!("{name}, block {}", outcome.number);
            visit(Executed { name, rules: &rules, block: &block, before: &store, outcome: &outcome });
            outcome.changes.apply_to(&mut store);
            store.insert_block_hash(outcome.number, outcome.hash);
            count += 1;
        }
    };
    // `tests/alloy-evm` includes this file, too.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("tests/data"));
    let data = above.find(|data| data.is_dir()).expect("the stored blocks are here");
    let files = ["chains.tar.zst", "erc20.json.gz", "deploy.json.gz"].map(|name| data.join(name));
    let mut read = |document: Document| {
        match Content::parse(&document, None).expect("a bundle or tests") {
            Content::Bundle(bundle) => {
                let BundleState::Complete { store, .. } = bundle.state else { panic!("a whole state") };
                chain(&bundle.name, bundle.rules.expect("a known fork"), store, vec![bundle.block]);
            }
            Content::Tests(tests) => {
                for test in tests {
                    let BlockTest { name, network, genesis, pre, blocks, .. } = test;
                    let Some(network) = network else { continue };
                    let header = Header::of_block(&genesis).expect("a genesis");
                    let mut store = pre;
                    store.insert_block_hash(header.number, header.hash());
                    let valid = blocks.into_iter().filter(|block| block.expect_exception.is_none());
                    let blocks: Vec<Bytes> = valid.map(|block| block.rlp).collect();
                    let rules = network.rules(header.number, header.timestamp);
                    chain(&name, rules, store, blocks);
                }
            }
        }
        ControlFlow::Continue(())
    };
    for file in &files {
        let _ = each_document(file, &mut |_| (), &mut read).expect("readable");
    }
    count
}
