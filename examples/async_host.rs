//! Blocks in an asynchronous program: `execute` blocks its thread, so it runs in `spawn_blocking`; a token with a deadline
//! stops a block whose store answers too slowly.

mod small_chain;

use balustrade::{
    BlockError, BlockInput, BlockOutcome, CancelToken, Executor, LatencyStore, MemoryStore, Options, StateStore,
};
use small_chain::SmallChain;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the host keeps for executing blocks. The mutex is locked in blocking tasks only.
struct Host {
    executor: Mutex<Executor>,
    chain: SmallChain,
}

impl Host {
    fn execute(&self, store: &dyn StateStore, cancel: &CancelToken) -> Result<BlockOutcome, BlockError> {
        let SmallChain { rules, parent, block, list, .. } = &self.chain;
        let input = BlockInput::new(rules, block.clone()).with_list(list.clone()).with_parent(parent);
        let mut executor = self.executor.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        executor.execute(&input.with_cancel(cancel), store, None, Options::automatic())
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let host = Arc::new(Host { executor: Mutex::new(Executor::new(2)?), chain: SmallChain::new()? });

    let shared = Arc::clone(&host);
    let task = tokio::task::spawn_blocking(move || shared.execute(&shared.chain.store, &CancelToken::new()));
    let outcome = task.await??;
    println!("block {} was executed: {} gas", outcome.number, outcome.gas_used);

    // Each answer of this store takes a tenth of a second; the block has half of that. It ends with the first answer.
    let token = CancelToken::new().with_deadline(Instant::now() + Duration::from_millis(50));
    let start = Instant::now();
    let task = tokio::task::spawn_blocking(move || {
        let slow: LatencyStore<&MemoryStore> =
            LatencyStore::new(&host.chain.store, Duration::from_millis(100), Duration::ZERO);
        host.execute(&slow, &token)
    });
    let Err(BlockError::Cancelled(place)) = task.await? else { return Err("the block was not cancelled".into()) };
    println!("a block was cancelled after {} ms: {place}", start.elapsed().as_millis());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?.block_on(run())
}
