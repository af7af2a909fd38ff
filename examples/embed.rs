//! Embedding the executor: rules, block, list and a store in, a proven outcome out.
//!
//! A real host takes block and list from the network and implements `StateStore` over its database. Here the block is
//! built first: an empty one, with its system calls and withdrawals, on a small state in memory.

use alloy_primitives::{Address, B256, U256};
use balustrade::arena::store::{KECCAK_EMPTY, MemoryStore};
use balustrade::exec::fork::{ChainRules, Fork};
use balustrade::exec::wire::Header;
use balustrade::trie::StateTries;
use balustrade::{BlockInput, Executor, Mode, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = ChainRules::mainnet(Fork::Cancun);
    let mut store = MemoryStore::default();
    store.insert_account(Address::repeat_byte(1), 0, U256::from(7), KECCAK_EMPTY, []);
    let mut tries = StateTries::from_memory(&store)?;

    // Threads, memory and analysed codes live as long as the executor.
    let mut executor = Executor::new(2)?;
    let template = Header {
        number: 1,
        timestamp: 12,
        gas_limit: 30_000_000,
        base_fee: Some(7),
        excess_blob_gas: Some(0),
        parent_beacon_root: Some(B256::ZERO),
        ..Header::default()
    };
    let built = executor.build(&rules, &template, &[], &store, &mut tries)?;

    let input = BlockInput::new(&rules, built.block).with_list(built.bal);
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal))?;
    println!("block {} verified: state root {:?}, {} gas", outcome.number, outcome.state_root, outcome.gas_used);

    // The block is proven: make it the parent of the next one.
    tries.commit();
    outcome.changes.apply_to(&mut store);
    Ok(())
}
