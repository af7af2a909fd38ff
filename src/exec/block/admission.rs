//! Admission: the block-gas rules that depend on order, replayed in one cheap pass after the tasks ran.
//!
//! In: gas limits and outcomes in block order. Out: the block's gas in both dimensions, or the first transaction for
//! which there was no room. Sources: EIP-7778, 8037, 7825; yellow paper 6.2.
//! Not here: blob gas (a header rule, `header`).

use crate::exec::rules::fork::{Fork, ForkRules, TX_GAS_LIMIT_MAX};
use crate::exec::tx::{TxInvalid, TxOutcome};

/// Gas of a block, both dimensions and what senders paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockGas {
    /// Execution gas; before Amsterdam the only dimension.
    pub execution: u64,
    /// State gas (EIP-8037).
    pub state: u64,
    /// What all senders paid for: the last receipt's cumulative gas.
    pub paid: u64,
}

impl BlockGas {
    /// What the header must say.
    pub fn used(&self) -> u64 {
        self.execution.max(self.state)
    }

    /// Whether the block has room for a transaction with this gas limit.
    pub fn admit(&self, rules: &ForkRules, block_limit: u64, tx_limit: u64) -> Result<(), TxInvalid> {
        let execution_limit = if rules.at_least(Fork::Amsterdam) { tx_limit.min(TX_GAS_LIMIT_MAX) } else { tx_limit };
        if execution_limit > block_limit.saturating_sub(self.execution) {
            return Err(TxInvalid::GasAllowance("execution"));
        }
        if rules.at_least(Fork::Amsterdam) && tx_limit > block_limit.saturating_sub(self.state) {
            return Err(TxInvalid::GasAllowance("state"));
        }
        Ok(())
    }

    /// Adds an executed transaction.
    pub fn add(&mut self, outcome: &TxOutcome) {
        self.execution = self.execution.saturating_add(outcome.gas_execution);
        self.state = self.state.saturating_add(outcome.gas_state);
        self.paid = self.paid.saturating_add(outcome.gas_paid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dimension_has_its_own_room() {
        let rules = Fork::Amsterdam.rules();
        let gas = BlockGas { execution: 50_000_000, state: 10_000_000, paid: 0 };
        assert_eq!(gas.admit(rules, 60_000_000, 10_000_000), Ok(()));
        assert_eq!(gas.admit(rules, 60_000_000, 10_000_001), Err(TxInvalid::GasAllowance("execution")));
        let gas = BlockGas { execution: 0, state: 10_000_000, paid: 0 };
        assert_eq!(gas.admit(rules, 60_000_000, 50_000_000), Ok(()));
        assert_eq!(gas.admit(rules, 60_000_000, 50_000_001), Err(TxInvalid::GasAllowance("state")));
        assert_eq!(gas.used(), 10_000_000);
    }
}
