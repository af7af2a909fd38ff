//! Admission: whether a transaction's gas limit fits into the gas that is left in the block.
//!
//! The rule depends on the order of the transactions. Parallel modes therefore check it in one sequential pass after
//! the tasks ran; sequential execution checks it before each transaction.
//! In: gas limits and outcomes in block order. Out: the block's gas in both dimensions, or the first transaction whose
//! gas limit exceeds the gas left. Sources: EIP-7778, 8037, 7825; yellow paper 6.2.
//! Not here: blob gas (a header rule, `rules::header`).

use crate::exec::rules::fork::{Fork, ForkRules, TX_GAS_LIMIT_MAX};
use crate::exec::tx::{TxInvalid, TxOutcome};

/// Gas of a block's transactions so far, in both dimensions of EIP-8037, and the gas that senders paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockGas {
    /// Execution gas. Before Amsterdam this is all gas.
    pub execution: u64,
    /// State gas (EIP-8037); 0 before Amsterdam.
    pub state: u64,
    /// Gas that all senders paid for: the cumulative gas of the last receipt.
    pub paid: u64,
}

impl BlockGas {
    /// The gas used that the header must have: the larger of the two dimensions (EIP-8037).
    pub fn used(&self) -> u64 {
        self.execution.max(self.state)
    }

    /// Checks that a transaction with gas limit `tx_limit` fits into a block with gas limit `block_limit`.
    ///
    /// # Errors
    /// [`TxInvalid::GasAllowance`] with the first dimension, execution before state, in which the gas left is too low.
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

    /// Adds the gas of an executed transaction.
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
    fn each_gas_dimension_is_admitted_separately() {
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
