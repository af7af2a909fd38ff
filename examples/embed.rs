//! Embedding the executor in a client.
//!
//! In: rules, block, block access list, parent header and parent state. Out: an outcome for which every check was made.
//! A client takes block and list from the network and implements `StateStore` over its database. Here the block is
//! built first: one without transactions, with its system calls, on a small state in memory.

use alloy_primitives::{Address, B256, U256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::rules::fork::{ChainRules, Fork};
use balustrade::exec::rules::header::{next_base_fee, next_excess_blob_gas};
use balustrade::exec::wire::Header;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, Executor, Mode, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = ChainRules::mainnet(Fork::Cancun);
    let mut store = MemoryStore::default();
    store.insert_account(Address::repeat_byte(1), 0, U256::from(7), KECCAK_EMPTY, []);
    let mut tries = StateTries::from_memory(&store)?;
    let parent = Header {
        gas_limit: 30_000_000,
        base_fee: Some(7),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        state_root: tries.root(),
        ..Header::default()
    };

    // The executor owns threads, memory and analysed codes, and reuses them for each block.
    let mut executor = Executor::new(2)?;
    let template = Header {
        parent_hash: parent.hash(),
        number: 1,
        timestamp: 12,
        gas_limit: 30_000_000,
        base_fee: Some(next_base_fee(&parent)),
        excess_blob_gas: Some(next_excess_blob_gas(&rules, &parent)),
        parent_beacon_root: Some(B256::ZERO),
        ..Header::default()
    };
    let built = executor.build(&rules, &template, &[], &store, &mut tries)?;

    // With the parent's header and the tries every check is made; `require_complete` is an error otherwise.
    let input = BlockInput::new(&rules, built.block).with_list(built.bal).with_parent(&parent);
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal))?.require_complete()?;
    println!("block {} is valid: state root {:?}, {} gas", outcome.number, outcome.state_root, outcome.gas_used);

    // The block is valid: commit its state, so that it is the parent state of the next block.
    tries.commit();
    outcome.changes.apply_to(&mut store);
    Ok(())
}
