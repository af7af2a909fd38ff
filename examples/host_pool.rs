//! Blocks on a thread pool that belongs to the host and does other work, too. The executor starts no threads.

mod small_chain;

use balustrade::{BlockInput, Executor, Options, Pool, StateTries};
use rayon::prelude::*;
use small_chain::SmallChain;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let SmallChain { rules, store, parent, block, list } = SmallChain::new()?;
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).thread_name(|i| format!("host-{i}")).build()?);
    let mut executor = Executor::builder().pool(Pool::Shared(Arc::clone(&pool))).build()?;
    // Tries use the current rayon pool. Outside of `install` that would be rayon's global one.
    let mut tries = pool.install(|| StateTries::from_memory(&store))?;

    let input = BlockInput::new(&rules, block).with_list(list).with_parent(&parent);
    let (sum, outcome) = pool.install(|| {
        rayon::join(
            || (1..=1_000_000u64).into_par_iter().sum::<u64>(),
            || executor.execute(&input, &store, Some(&mut tries), Options::automatic()),
        )
    });
    let outcome = outcome?.require_complete()?;
    println!("block {} is valid; the host's sum beside it is {sum}", outcome.number);
    assert_eq!((executor.threads(), sum), (3, 500_000_500_000));
    Ok(())
}
