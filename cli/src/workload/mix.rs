//! The mix of the chain that `run` generates, for any gas and with any number of accounts around it.

use super::super::devnet;
use super::world::{Signed, World};
use super::{Family, Knobs};
use clap::Args;
use serde::Serialize;

/// Base fee that the mix reckons with: fees are twice as high, and the base fee never rises here.
const BASE_FEE: u64 = 1_000_000_000;

/// Gas from which on loops are as long as in the generated chain.
const USUAL_GAS: u64 = 30_000_000;

/// Knobs of `devnet`: none of its own; its 500 senders are those of the generated chain.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Devnet {}

impl Knobs for Devnet {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        // In a small block loops of the usual length would be a large part of it.
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
