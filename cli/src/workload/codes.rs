//! Families `deploy` and `7702`: contract deployments, and accounts that delegate to a wallet
//! contract.

use super::super::devnet::contracts::init_code;
use super::super::devnet::contracts::{batch_call, wallet};
use super::tokens::{balance_slot, token_code};
use super::world::{Call, Signed, World};
use super::{Family, Knobs};
use alloy_primitives::{Address, U256};
use clap::Args;
use serde::Serialize;

/// State gas per byte of code, and per new account (EIP-8037).
const CODE_BYTE_GAS: u64 = 1_530;
const ACCOUNT_GAS: u64 = 120 * CODE_BYTE_GAS;

/// Options of `deploy`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deploy {
    /// Length of each contract's code in bytes; by default what a thirtieth of the block's gas pays
    /// for, at most 24,000
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Knobs for Deploy {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let usual = || world.usual_tx_gas(ACCOUNT_GAS, 40_000_000) - ACCOUNT_GAS;
        let size = self.size.unwrap_or_else(|| (usual() / CODE_BYTE_GAS).clamp(32, 24_000));
        // Covers the state gas, the calldata floor, hashing and copying.
        let gas_limit = 500_000 + ACCOUNT_GAS + size * (CODE_BYTE_GAS + 70);
        world.tx_gas_max = world.tx_gas_max.max(gas_limit);
        Box::new(Deployments { size, gas_limit })
    }
}

struct Deployments {
    size: u64,
    gas_limit: u64,
}

impl Family for Deployments {
    fn next(&mut self, world: &mut World) -> Signed {
        let sender = world.any_sender();
        // The code begins with STOP: it has no reserved prefix (EIP-3541), and a call of it ends at
        // once.
        let mut runtime: Vec<u8> =
            (0..self.size.div_ceil(8)).flat_map(|_| world.random.next_u64().to_be_bytes()).collect();
        runtime.truncate(self.size as usize);
        runtime[0] = 0;
        let call = Call { input: init_code(&runtime), gas_limit: self.gas_limit, ..Call::default() };
        world.sign(sender, call)
    }
}

/// Options of `7702`.
#[derive(Clone, Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetCode {
    /// Number of token transfers by each delegated wallet
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=200))]
    batch: u64,
    /// Number of authorizations in each transaction
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    authorizations: u64,
}

impl Knobs for SetCode {
    fn start(&self, world: &mut World) -> Box<dyn Family> {
        let holders: Vec<_> =
            (0..world.senders()).map(|index| (balance_slot(world.account(index)), one_ether())).collect();
        let token = world.contract("token 0", token_code(), holders);
        // Two wallets alternate, so that each authorization changes the delegation.
        let wallets = ["wallet 0", "wallet 1"].map(|name| world.contract(name, wallet(), []));
        Box::new(Batches { token, wallets, turn: 0, knobs: self.clone() })
    }
}

fn one_ether() -> U256 {
    U256::from(10u128.pow(18))
}

struct Batches {
    token: Address,
    wallets: [Address; 2],
    turn: u64,
    knobs: SetCode,
}

impl Family for Batches {
    fn next(&mut self, world: &mut World) -> Signed {
        // Accounts in the first half of those with keys send; accounts in the second half delegate.
        // Recipients only receive tokens.
        let half = world.senders().div_ceil(2);
        let sender = world.below(half);
        let delegators = world.senders() - half;
        let SetCode { batch, authorizations } = self.knobs;
        let mut first = None;
        let authorizations = (0..authorizations)
            .map(|_| {
                self.turn += 1;
                let delegator = half + self.turn % delegators.max(1);
                first.get_or_insert(delegator);
                let wallet = self.wallets[(self.turn / delegators.max(1) % 2) as usize];
                world.authorize(delegator, wallet)
            })
            .collect::<Vec<_>>();
        let to = world.account(first.unwrap_or(half));
        let payees: Vec<(Address, Address)> = (0..batch)
            .map(|_| {
                let payee = world.any_sender();
                (self.token, world.account(payee))
            })
            .collect();
        let gas_limit = 100_000 + 60_000 * authorizations.len() as u64 + 60_000 * batch;
        let input = batch_call(&payees, 1 + world.below(1_000));
        world.sign(sender, Call { to: Some(to), input, gas_limit, authorizations, ..Call::default() })
    }
}
