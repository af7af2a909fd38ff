//! The executor in a program: rules, block, list, parent header and parent state in; receipts, changes and list out.

mod small_chain;

use balustrade::{BlockInput, Executor, Mode, Options, StateTries};
use small_chain::SmallChain;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let SmallChain { rules, mut store, parent, block, list } = SmallChain::new()?;
    let mut tries = StateTries::from_memory(&store)?;
    // Threads, memory and analysed codes stay with the executor from block to block.
    let mut executor = Executor::new(2)?;

    // With the parent's header and the tries every check is made; if one was not, this would be an error.
    let input = BlockInput::new(&rules, block).with_list(list.clone()).with_parent(&parent);
    let outcome = executor.execute(&input, &store, Some(&mut tries), Options::new(Mode::Bal))?.require_complete()?;
    println!("block {} is valid: state root {:?}, {} gas", outcome.number, outcome.state_root, outcome.gas_used);
    println!(
        "{} receipts, {} changed accounts, {} bytes of list",
        outcome.receipts.len(),
        outcome.changes.len(),
        list.len()
    );
    assert!(outcome.transactions.iter().all(|transaction| transaction.success));
    assert_eq!((outcome.receipts.len(), &outcome.bal), (2, &list));

    // The next block's parent is this one: the tries keep the update, the store takes the changes.
    tries.commit();
    outcome.changes.apply_to(&mut store);
    let counter = store.account(&small_chain::COUNTER).ok_or("no counter")?;
    assert_eq!(counter.storage.values().map(|count| count.to::<u64>()).collect::<Vec<_>>(), [42]);
    Ok(())
}
