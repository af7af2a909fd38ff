//! Gas of one frame and of its transaction, in both dimensions (EIP-8037).
//!
//! `left` is execution gas; the transaction's `reservoir` holds gas usable for state charges only. Before Amsterdam
//! the reservoir is empty and no state charge is ever made, so that everything is as it always was.

/// Gas of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameGas {
    /// Execution gas left; a dispatch loop keeps it in a register and stores it here when it leaves.
    pub left: u64,
    /// State gas that was drawn from `left`.
    pub spilled: u64,
    /// Of the transaction, when the frame began: what a revert restores.
    pub at_entry: TxGas,
}

/// Gas state of a transaction, shared by its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxGas {
    /// Gas for state charges only. Signed: a frame that hands back more than it took is undone below zero.
    pub reservoir: i64,
    /// State gas used so far, net of refills.
    pub state_used: i64,
    /// Refund counter (EIP-3529).
    pub refund: i64,
}

impl TxGas {
    /// Charges state gas: the reservoir first, the rest from `left`. False, and nothing changed, when both lack it.
    #[inline]
    #[must_use]
    pub fn charge_state(&mut self, left: &mut u64, spilled: &mut u64, amount: u64) -> bool {
        let from_reservoir = (self.reservoir.max(0) as u64).min(amount);
        let rest = amount - from_reservoir;
        if rest > *left {
            return false;
        }
        self.reservoir -= from_reservoir as i64;
        *left -= rest;
        *spilled += rest;
        self.state_used += amount as i64;
        true
    }

    /// Gives state gas back: what spilled returns to `left` first (last in, first out).
    #[inline]
    pub fn refill(&mut self, left: &mut u64, spilled: &mut u64, amount: u64) {
        let to_left = (*spilled).min(amount);
        *left += to_left;
        *spilled -= to_left;
        self.reservoir += (amount - to_left) as i64;
        self.state_used -= amount as i64;
    }

    /// After a successful child: gas that the child put into the reservoir repays what this frame had spilled.
    #[inline]
    pub fn repay(&mut self, left: &mut u64, spilled: &mut u64) {
        let amount = (self.reservoir.max(0) as u64).min(*spilled);
        *left += amount;
        *spilled -= amount;
        self.reservoir -= amount as i64;
    }
}

/// Gas of a memory of `words` words: 3 per word plus the square over 512.
#[inline(always)]
pub const fn memory_gas(words: u64) -> u64 {
    3 * words + words * words / 512
}

/// Words that hold `bytes` bytes.
#[inline(always)]
pub const fn words(bytes: u64) -> u64 {
    bytes.div_ceil(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_takes_the_reservoir_first_and_a_refill_returns_the_spill_first() {
        let mut tx = TxGas { reservoir: 100, ..TxGas::default() };
        let (mut left, mut spilled) = (1_000, 0);
        assert!(tx.charge_state(&mut left, &mut spilled, 150));
        assert_eq!((tx.reservoir, tx.state_used, left, spilled), (0, 150, 950, 50));
        tx.refill(&mut left, &mut spilled, 150);
        assert_eq!((tx.reservoir, tx.state_used, left, spilled), (100, 0, 1_000, 0));
        assert!(!tx.charge_state(&mut left, &mut spilled, 1_101));
        assert_eq!((tx.reservoir, left), (100, 1_000));
    }
}
