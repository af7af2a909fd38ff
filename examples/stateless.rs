//! Stateless execution: a prover that has the state makes an execution witness, a verifier that has only the parent's
//! header executes the block from it. Nothing in a witness is trusted: nodes and codes are found by their hashes.

mod small_chain;

use alloy_primitives::Bytes;
use balustrade::list::{self, Limits};
use balustrade::{BlockInput, Executor, Mode, Options, StateTries, WitnessStore};
use small_chain::SmallChain;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chain = SmallChain::new()?;
    let mut executor = Executor::new(2)?;
    let (nodes, codes) = witness(&chain, &mut executor)?;

    // The verifier: rules, parent header, block, list, and the witness.
    let SmallChain { rules, parent, block, list, .. } = chain;
    let store = WitnessStore::new(parent.state_root, nodes.clone(), codes.clone());
    let mut tries = StateTries::from_root(parent.state_root);
    let input = BlockInput::new(&rules, block).with_list(list).with_parent(&parent);
    let options = Options::new(Mode::Bal);
    let outcome = executor.execute(&input, &store, Some(&mut tries), options)?.require_complete()?;
    println!("block {} is valid by {} trie nodes and {} codes", outcome.number, nodes.len(), codes.len());

    // Without one of the nodes it fails: as an error of the store, which says nothing about the block.
    let less = WitnessStore::new(parent.state_root, nodes[1..].to_vec(), codes);
    let mut tries = StateTries::from_root(parent.state_root);
    let refused = executor.execute(&input, &less, Some(&mut tries), options);
    assert!(matches!(refused, Err(balustrade::BlockError::Store(_))), "{refused:?}");
    Ok(())
}

/// Trie nodes and codes that the block needs, from the whole state.
fn witness(
    chain: &SmallChain,
    executor: &mut Executor,
) -> Result<(Vec<Bytes>, Vec<Bytes>), Box<dyn std::error::Error>> {
    let mut tries = StateTries::from_memory(&chain.store)?;
    // What the block reads is in its list; what it changes comes from its execution.
    let input = BlockInput::new(&chain.rules, chain.block.clone()).with_list(chain.list.clone());
    let outcome = executor.execute(&input, &chain.store, None, Options::new(Mode::Bal))?;
    let list = list::decode(&chain.list, &Limits::format_only())?;
    let addresses = list.addresses().as_slice();
    let nodes = tries.witness(&chain.store, addresses, &list.slot_queries(), &outcome.changes)?;
    let codes = addresses.iter().filter_map(|address| chain.store.code(&chain.store.account(address)?.code_hash));
    Ok((nodes, codes.cloned().collect()))
}
