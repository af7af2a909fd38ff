//! Family `devnet`: the transaction mix of the chain that `run` generates, for any gas and any
//! number of other accounts.

use super::super::devnet;
use super::world::{Signed, World};
use super::{Family, Knobs};
use clap::Args;
use serde::Serialize;

/// Base fee in wei per gas that the mix assumes. Its transactions offer twice as much, and the base
/// fee never rises in generated workloads.
const BASE_FEE: u64 = 1_000_000_000;

/// Gas per block from which on loops have the same length as in the generated chain, in gas.
const USUAL_GAS: u64 = 30_000_000;

/// Options of `devnet`: none. Its 500 senders are those of the generated chain.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Devnet {}

impl Knobs for Devnet {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        // In a small block, loops of the usual length would take a large part of the gas.
        let loops_percent = (world.gas / (USUAL_GAS / 100)).min(100);
        let chain = devnet::Devnet::new(world.seed(), loops_percent);
        let state = chain.genesis_state();
        for (_, code) in state.iter_codes() {
            world.store.insert_code(code.clone());
        }
        for (address, account) in state.iter() {
            let storage = account.storage.iter().map(|(key, value)| (*key, *value));
            world.store.insert_account(*address, account.nonce, account.balance, account.code_hash, storage);
        }
        Box::new(chain)
    }
}

impl Family for devnet::Devnet {
    fn next(&mut self, world: &mut World) -> Signed {
        let (sender, encoded, blobs) = devnet::Devnet::next(self, BASE_FEE, world.blobs_left);
        Signed { sender, encoded, blobs }
    }

    fn withdrawals(&mut self, number: u64) -> Vec<Vec<u8>> {
        devnet::Devnet::withdrawals(self, number)
    }
}
