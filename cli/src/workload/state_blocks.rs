//! Blocks on a generated state, with accesses spread over all of its accounts and slots.
//!
//! In: a state, the number of accesses per block. Out: the transactions of block after block: value
//! transfers to any account, and calls of contracts that read or write slots. All of them succeed
//! under the rules of Amsterdam.
//! Not here: sealing, which needs the results of execution on a store that holds the state.

use super::super::devnet::{Devnet, Random};
use super::state::{State, access};
use super::world::{Call, Wallets};
use balustrade::Header;

/// Number of slots that a call reads or writes.
const SLOTS_PER_CALL: u64 = 20;
/// Upper bounds of the gas of a call, and of a slot that it reads and writes.
const CALL_GAS: u64 = 100_000;
const SLOT_GAS: u64 = 10_000;
/// Gas that a block may use for each access: more than a transfer takes for that of its recipient.
const ACCESS_GAS: u64 = 22_000;
/// Lowest gas limit of a block.
const GAS_LIMIT_MIN: u64 = 60_000_000;

/// The transactions of blocks on a generated state.
#[derive(Debug)]
pub struct StateBlocks<'a> {
    state: &'a State,
    wallets: Wallets,
    random: Random,
    accesses: u64,
    writes_percent: u64,
}

impl<'a> StateBlocks<'a> {
    /// Starts at the first block. A block accesses about `accesses` accounts and slots besides senders
    /// and system contracts; `writes_percent` percent of the slots are written.
    pub fn new(state: &'a State, accesses: u64, writes_percent: u64) -> Self {
        let sizes = state.sizes();
        let (wallets, random) = (Wallets::new(sizes.senders), Random(!sizes.seed));
        Self { state, wallets, random, accesses, writes_percent: writes_percent.min(100) }
    }

    /// Gas limit of all blocks: at least twice what a block uses, so that the base fee does not rise.
    pub fn gas_limit(&self) -> u64 {
        (2 * self.accesses * ACCESS_GAS).max(GAS_LIMIT_MIN)
    }

    /// The genesis header for the state root of the state.
    pub fn genesis_header(&self, state_root: alloy_primitives::B256) -> Header {
        Header { gas_limit: self.gas_limit(), ..Devnet::genesis_header(state_root) }
    }

    /// The header fields of the block after `parent` that do not depend on its execution. Blocks have
    /// the rules of the generated chain, [`Devnet::rules`].
    pub fn template(&self, parent: &Header) -> Header {
        Header { gas_limit: self.gas_limit(), ..Devnet::template(parent) }
    }

    /// The transactions of the next block, EIP-2718 encoded. Empty if the state has no senders or no
    /// other accounts.
    pub fn transactions(&mut self) -> Vec<Vec<u8>> {
        let sizes = *self.state.sizes();
        let mut encoded = Vec::new();
        if sizes.senders == 0 || sizes.accounts == 0 {
            return encoded;
        }
        // Each transaction accesses its recipient. About half of all accesses are slots.
        let (mut accounts, mut slots) = (0, 0);
        while accounts + slots < self.accesses {
            let call = if sizes.contracts > 0 && slots <= accounts {
                let (call, count) = self.call(self.accesses - accounts - slots);
                slots += count;
                call
            } else {
                self.transfer()
            };
            accounts += 1;
            let sender = self.random.below(sizes.senders);
            encoded.push(self.wallets.sign(sender, call).encoded);
        }
        encoded
    }

    /// A value transfer to any account without code; to a contract if there are no others.
    fn transfer(&mut self) -> Call {
        let sizes = self.state.sizes();
        let first = if sizes.contracts < sizes.accounts { sizes.contracts } else { 0 };
        let to = self.state.address(first + self.random.below(sizes.accounts - first));
        // A contract that is called without calldata ends at once.
        let value = 1 + self.random.below(1_000_000);
        Call { to: Some(to), value, gas_limit: CALL_GAS, ..Call::default() }
    }

    /// A call of a contract with at most `left` slots, and its number of slots.
    fn call(&mut self, left: u64) -> (Call, u64) {
        let contract = self.contract();
        let slots = self.state.slots_of(contract);
        let count = SLOTS_PER_CALL.min(slots).min(left.max(1));
        let mut input = Vec::with_capacity(32 * count as usize);
        for _ in 0..count {
            let write = self.random.below(100) < self.writes_percent;
            input.extend_from_slice(&access(self.random.below(slots), write));
        }
        let gas_limit = CALL_GAS + SLOT_GAS * count;
        (Call { to: Some(self.state.address(contract)), input, gas_limit, ..Call::default() }, count)
    }

    /// The index of a contract: one of `k` contracts where `k` is any power of two up to their number,
    /// so that the slots of large contracts are accessed more often, as their number of slots is
    /// larger in the same proportion.
    fn contract(&mut self) -> u64 {
        let contracts = self.state.sizes().contracts;
        let bits = u64::from(contracts.ilog2()) + 1;
        let width = self.random.below(bits + 1);
        self.random.below((1 << width).min(contracts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::engine::{Chain, Engine};
    use super::super::state::Sizes;
    use super::*;
    use balustrade::Mode;
    use balustrade::bal::{self, Limits};
    use balustrade::exec::interpreter::LoopKind;
    use balustrade::executor::Body;

    #[test]
    fn blocks_are_valid_and_access_as_much_as_they_should() {
        let sizes = Sizes { accounts: 30_000, contracts: 3_000, slots: 60_000, senders: 40, seed: 3 };
        let state = State::new(sizes);
        let mut blocks = StateBlocks::new(&state, 2_500, 50);
        let mut chain = Chain::at_genesis(state.to_memory(), |root| blocks.genesis_header(root)).expect("a genesis");
        let mut engine = Engine::new(Some(2), LoopKind::default()).expect("threads");
        for _ in 0..2 {
            let template = blocks.template(chain.head().expect("a head"));
            let transactions = blocks.transactions();
            let body = Body { transactions: &transactions, withdrawals: &[] };
            let built = engine.build(&mut chain, &Devnet::rules(), &template, body).expect("valid transactions");
            assert!(built.transactions.iter().all(|transaction| transaction.success));
            let list = Some(&built.bal).into();
            let mode = Some(Mode::Bal);
            let accepted =
                engine.execute_or_record(&mut chain, &Devnet::rules(), &built.block, list, mode, true).expect("valid");
            assert!(2 * accepted.outcome.gas_used <= blocks.gas_limit(), "{}", accepted.outcome.gas_used);
            let columns = bal::decode(&built.bal, &Limits::format_only()).expect("a list");
            let items = columns.item_count() as u64;
            assert!((2_000..3_000).contains(&items), "{items}");
            let slots = columns.slot_keys().len() as u64;
            assert!((700..1_700).contains(&slots), "{slots}");
        }
        assert_eq!(blocks.transactions().len() as u64, {
            let mut again = StateBlocks::new(&state, 2_500, 50);
            again.transactions();
            again.transactions();
            again.transactions().len() as u64
        });
    }

    #[test]
    fn a_state_without_contracts_or_accounts_has_blocks() {
        for (accounts, contracts, senders) in [(0, 0, 5), (5, 0, 0), (5, 0, 5), (5, 5, 5), (1, 0, 1), (1, 1, 1)] {
            let state = State::new(Sizes { accounts, contracts, slots: 9, senders, seed: 0 });
            let transactions = StateBlocks::new(&state, 30, 100).transactions();
            assert_eq!(transactions.is_empty(), accounts == 0 || senders == 0);
        }
    }
}
