//! Gas of a frame and of its transaction, in both dimensions: execution gas and state gas (EIP-8037).
//!
//! `left` is execution gas. The transaction's `reservoir` pays for state charges only; what it cannot pay is taken from
//! `left` ("spilled"). Before Amsterdam the reservoir is empty and there are no state charges, so that only
//! `left` changes.
//! Not here: the prices (`rules`), intrinsic gas and refunds at the end of a transaction (`tx`).

/// Gas of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameGas {
    /// Execution gas left. A dispatch loop keeps it in a register and stores it here when it leaves.
    pub left: u64,
    /// State gas that was taken from `left`.
    pub spilled: u64,
    /// The transaction's gas state when the frame began; a revert restores it.
    pub at_entry: TxGas,
}

/// Gas state of a transaction, shared by all its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxGas {
    /// Gas for state charges only. Signed, because reverting a frame that refilled more than it charged may
    /// make it negative.
    pub reservoir: i64,
    /// State gas used so far, less refills.
    pub state_used: i64,
    /// Refund counter (EIP-3529).
    pub refund: i64,
}

impl TxGas {
    /// Charges state gas: from the reservoir first, the rest from `left`. Returns false and changes nothing if
    /// both together are less than `amount`.
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

    /// Refills state gas: first to `left`, up to `spilled`, then to the reservoir (last in, first out).
    #[inline]
    pub fn refill(&mut self, left: &mut u64, spilled: &mut u64, amount: u64) {
        let to_left = (*spilled).min(amount);
        *left += to_left;
        *spilled -= to_left;
        self.reservoir += (amount - to_left) as i64;
        self.state_used -= amount as i64;
    }

    /// After a successful child frame: returns to `left` what this frame had spilled, as far as the reservoir holds it.
    #[inline]
    pub fn repay(&mut self, left: &mut u64, spilled: &mut u64) {
        let amount = (self.reservoir.max(0) as u64).min(*spilled);
        *left += amount;
        *spilled -= amount;
        self.reservoir -= amount as i64;
    }
}

/// Gas of a memory of `words` words: 3 per word plus `words` squared over 512 (Yellow Paper, appendix H).
#[inline(always)]
pub const fn memory_gas(words: u64) -> u64 {
    3 * words + words * words / 512
}

/// The number of 32-byte words that hold `bytes` bytes.
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
